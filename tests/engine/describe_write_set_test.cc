#include "engine/region/codec.h"
#include "engine/schema_catalog.h"
#include "engine/snapshot.h"
#include "engine/write_set.h"

#include <gtest/gtest.h>

#include <limits>

namespace nornic::engine {
namespace {

TEST(DescribeWriteSet, EachChangeIsALineOfJson) {
    std::string bytes;
    WriteSetWriter writer{bytes, DatabaseId{1}};
    writer.create_token(TokenKind::kLabel, 4, "Person");
    NodeData node;
    node.labels = {LabelId{4}, LabelId{5}};
    node.properties = {{PropertyKeyId{0}, Value{"a \"quoted\" line\n"}}, {PropertyKeyId{9}, Value{1.5}}};
    writer.create_node(NodeId{256}, node);
    RelData relationship;
    relationship.type = RelTypeId{2};
    relationship.start = NodeId{256};
    relationship.end = NodeId{512};
    writer.create_relationship(RelId{7}, relationship);
    writer.add_label(NodeId{512}, LabelId{4});
    writer.remove_label(NodeId{512}, LabelId{6});
    writer.set_property(NodeId{512}, PropertyKeyId{0}, Value{List{Value{true}, Value{}}});
    writer.set_property(NodeId{512}, PropertyKeyId{0}, Value{});
    writer.set_property(RelId{7}, PropertyKeyId{0}, Value{Map{{"k", std::numeric_limits<double>::infinity()}}});
    writer.delete_relationship(RelId{7});
    writer.delete_node(NodeId{512});
    writer.put_catalog("user/bob", Value{"secret"});
    writer.erase_catalog("user/eve");
    writer.create_database(DatabaseId{3}, "other", "uuid");
    writer.drop_rule(SchemaRuleId{11});
    const auto names = [](DatabaseId database, TokenKind kind, std::uint32_t id) -> std::string {
        return database == DatabaseId{1} && kind == TokenKind::kPropertyKey && id == 0 ? "name" : "";
    };
    EXPECT_EQ(describe_write_set(bytes, names),
              R"({"database":1,"change":"new label","id":4,"name":"Person"}
{"database":1,"change":"create node","id":256,"labels":["Person","#5"],"properties":{"name":"a \"quoted\" line\u000a","#9":1.5}}
{"database":1,"change":"create relationship","id":7,"type":"#2","start":256,"end":512,"properties":{}}
{"database":1,"change":"add label","id":512,"label":"Person"}
{"database":1,"change":"remove label","id":512,"label":"#6"}
{"database":1,"change":"set node property","id":512,"property":"name","value":[true,null]}
{"database":1,"change":"remove node property","id":512,"property":"name"}
{"database":1,"change":"set relationship property","id":7,"property":"name","value":{"k":"Infinity"}}
{"database":1,"change":"delete relationship","id":7}
{"database":1,"change":"delete node","id":512}
{"database":1,"change":"put row","row":"user/bob"}
{"database":1,"change":"erase row","row":"user/eve"}
{"database":1,"change":"create database","id":3,"name":"other","uuid":"uuid"}
{"database":1,"change":"drop index or constraint","id":11}
)");
}

TEST(DescribeWriteSet, RulesAreNamedWithWhatTheyAreOver) {
    IndexRule index;
    index.id = SchemaRuleId{5};
    index.name = "by_name";
    index.tokens = {4};
    index.properties = {PropertyKeyId{0}};
    std::string encoded;
    ByteWriter out{encoded};
    encode_rule(index, out);
    std::string bytes;
    WriteSetWriter writer{bytes, DatabaseId{1}};
    writer.put_rule(WriteOp::kPutIndex, encoded);
    writer.put_rule(WriteOp::kPutConstraint, "?");
    EXPECT_EQ(describe_write_set(bytes),
              R"({"database":1,"change":"create index","id":5,"name":"by_name","labels":["#4"],"properties":["#0"]}
{"database":1,"change":"create constraint","bytes":"3f"}
)");
}

TEST(DescribeWriteSet, WhatCannotBeReadIsShownAsItStands) {
    EXPECT_EQ(describe_write_set("\x09zz"), "{\"change\":\"not readable\",\"bytes\":\"097a7a\"}\n");
    EXPECT_EQ(describe_write_set(""), "{\"change\":\"not readable\",\"bytes\":\"\"}\n");
    std::string bytes;
    WriteSetWriter writer{bytes, DatabaseId{1}};
    writer.delete_node(NodeId{3});
    bytes += "\xFF\x01";
    EXPECT_EQ(describe_write_set(bytes),
              "{\"database\":1,\"change\":\"delete node\",\"id\":3}\n"
              "{\"change\":\"not readable\",\"bytes\":\"ff01\"}\n");
}

TEST(DescribeWriteSet, TextThatIsNotUtf8StaysValidJson) {
    std::string bytes;
    WriteSetWriter writer{bytes, DatabaseId{1}};
    writer.erase_catalog("\xC3\xA4\xFF\x01\xE2\x82\\");
    EXPECT_EQ(describe_write_set(bytes),
              "{\"database\":1,\"change\":\"erase row\",\"row\":\"\xC3\xA4\\ufffd\\u0001\\ufffd\\ufffd\\\\\"}\n");
}

TEST(DescribeWriteSet, WritesOfRegionsSayWhatStandsBeforeThem) {
    std::string plain;
    WriteSetWriter writer{plain, DatabaseId{1}};
    writer.delete_node(NodeId{33});
    const std::string own = stamp_write_set(RegionHeader{.rank = 2, .epoch = 3, .manual = false, .seen = {0, 7}}, plain);
    EXPECT_EQ(describe_write_set(own),
              R"({"change":"write of this region","rank":2,"epoch":3,"seen":[0,7]}
{"database":1,"change":"delete node","id":33}
)");
    RegionBatch batch;
    batch.origin = 4;
    batch.writes.push_back(decode_stamped(own).value());
    batch.writes.back().index = LogIndex{9};
    batch.writes.back().time = 10;
    batch.writes.push_back(batch.writes.back());
    batch.writes.back().operations = "\xff";
    EXPECT_EQ(describe_write_set(encode_region_batch(batch)),
              R"({"change":"write of another region","region":4,"index":9,"time":10,"rank":2,"epoch":3,"seen":[0,7]}
{"database":1,"change":"delete node","id":33}
{"change":"write of another region","region":4,"index":9,"time":10,"rank":2,"epoch":3,"seen":[0,7]}
{"change":"not readable","bytes":"ff"}
)");
    RegionChange change;
    change.kind = RegionChange::Kind::kPromote;
    change.number = 2;
    change.epoch = 5;
    EXPECT_EQ(describe_write_set(region_change_write_set(RegionHeader{}, change)),
              R"({"change":"write of this region","rank":0,"epoch":0,"seen":[]}
{"database":2,"change":"promote region","region":2,"epoch":5,"cursor":0,"time":0}
)");
}

}  // namespace
}  // namespace nornic::engine
