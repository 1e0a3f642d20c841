#include "bolt/packstream.h"

#include "support.h"

#include <limits>

namespace nornic::bolt {
namespace {

constexpr Dialect kNow{{5, 8}, false};
constexpr Dialect kOld{{4, 4}, false};
constexpr Dialect kPatched{{4, 4}, true};

std::string packed(const Value& v, Dialect dialect = kNow) {
    std::string out;
    Packer{out, dialect}.value(v);
    return hex_of(out);
}

struct Unpacked {
    bool good = false;
    Value value;
    std::string message;
    std::string gql;
};
Unpacked unpacked(std::string_view hex,
                  Dialect dialect = kNow,
                  Unpacker::Entities entities = Unpacker::Entities::kRefused) {
    const std::string bytes = bytes_of(hex);
    Unpacker in{bytes, dialect, entities};
    Unpacked u;
    u.good = in.value(u.value);
    u.message = in.message();
    u.gql = in.gql();
    return u;
}

Node some_node(std::uint64_t id) {
    Node n;
    n.id = NodeId{id};
    n.element_id = "4:u:" + std::to_string(id);
    n.labels = {"A"};
    n.properties = map_of({{"k", 1}});
    return n;
}

Relationship some_relationship(std::uint64_t id, std::uint64_t start, std::uint64_t end) {
    Relationship r;
    r.id = RelId{id};
    r.element_id = "5:u:" + std::to_string(id);
    r.start = NodeId{start};
    r.start_element_id = "4:u:" + std::to_string(start);
    r.end = NodeId{end};
    r.end_element_id = "4:u:" + std::to_string(end);
    r.type = "T";
    return r;
}

TEST(PackStream, IntegersTakeTheirShortestForm) {
    const std::pair<std::int64_t, const char*> rows[] = {
        {0, "00"},
        {127, "7F"},
        {-16, "F0"},
        {-17, "C8EF"},
        {-128, "C880"},
        {128, "C90080"},
        {-129, "C9FF7F"},
        {32767, "C97FFF"},
        {32768, "CA00008000"},
        {-2147483648LL, "CA80000000"},
        {2147483648LL, "CB0000000080000000"},
        {std::numeric_limits<std::int64_t>::min(), "CB8000000000000000"},
        {std::numeric_limits<std::int64_t>::max(), "CB7FFFFFFFFFFFFFFF"},
    };
    for (const auto& [number, hex] : rows) {
        EXPECT_EQ(packed(Value{number}), hex) << number;
        const Unpacked back = unpacked(hex);
        ASSERT_TRUE(back.good) << number;
        EXPECT_EQ(back.value.as_integer(), number);
    }
}

TEST(PackStream, EachTypeHasItsBytes) {
    const std::pair<Value, const char*> rows[] = {
        {Value{}, "C0"},
        {Value{true}, "C3"},
        {Value{false}, "C2"},
        {Value{1.1}, "C13FF199999999999A"},
        {Value{""}, "80"},
        {Value{"a"}, "8161"},
        {Value{"abcdefghijklmnop"}, "D0106162636465666768696A6B6C6D6E6F70"},
        {Value::bytes({"\x01\x02", 2}), "CC020102"},
        {Value{List{1, 2}}, "920102"},
        {Value{Map{{"a", 1}}}, "A1816101"},
        {Value{Date{17532}}, "B144C9447C"},
        {Value{LocalTime{1}}, "B17401"},
        {Value{Time{1, 3600}}, "B25401C90E10"},
        {Value{LocalDateTime{-1, 500000000}}, "B264FFCA1DCD6500"},
        {Value{DateTime{1704157445, 6, 7200, ""}}, "B349CA6593610506C91C20"},
        {Value{DurationValue{1, 2, 0, 500000000}}, "B445010200CA1DCD6500"},
        {Value{Point{Point::kCartesian, 1, 2, 0}},
         "B358C91C23C13FF0000000000000C14000000000000000"},
        {Value{Point{Point::kWgs84_3D, 1, 2, 3}},
         "B459C91373C13FF0000000000000C14000000000000000C14008000000000000"},
    };
    for (const auto& [value, hex] : rows) {
        EXPECT_EQ(packed(value), hex);
        const Unpacked back = unpacked(hex);
        ASSERT_TRUE(back.good) << hex << ": " << back.message;
        EXPECT_EQ(packed(back.value), hex);
    }
}

TEST(PackStream, SizesTakeTheirShortestHeader) {
    EXPECT_EQ(packed(Value{List(16)}).substr(0, 4), "D410");
    EXPECT_EQ(packed(Value{List(256)}).substr(0, 6), "D50100");
    EXPECT_EQ(packed(Value{List(65536)}).substr(0, 10), "D600010000");
    EXPECT_EQ(packed(Value{std::string(300, 'x')}).substr(0, 6), "D1012C");
    EXPECT_EQ(packed(Value::bytes(std::string(70000, 'x'))).substr(0, 10), "CE00011170");
}

TEST(PackStream, NodesCarryElementIdsFromFiveOn) {
    EXPECT_EQ(packed(Value{some_node(3)}, kNow), "B44E03918141A1816B0185343A753A33");
    EXPECT_EQ(packed(Value{some_node(3)}, kOld), "B34E03918141A1816B01");
}

TEST(PackStream, RelationshipsCarryElementIdsFromFiveOn) {
    EXPECT_EQ(packed(Value{some_relationship(7, 1, 2)}, kOld), "B5520701028154A0");
    EXPECT_EQ(packed(Value{some_relationship(7, 1, 2)}, kNow),
              "B8520701028154A085353A753A3785343A753A3185343A753A32");
}

TEST(PackStream, PathsSendEachEntityOnceAndSignTheDirection) {
    Path p;
    p.nodes = {some_node(1), some_node(2), some_node(1)};
    p.relationships = {some_relationship(7, 1, 2), some_relationship(8, 1, 2)};
    const std::string node1 = "B34E01918141A1816B01";
    const std::string node2 = "B34E02918141A1816B01";
    // Forward along 7 to the second node, then 8 against its direction back to the first.
    EXPECT_EQ(packed(Value{p}, kOld),
              "B35092" + node1 + node2 + "92B372078154A0B372088154A0" + "940101FE00");
}

TEST(PackStream, APathComesBackAsItWas) {
    Path p;
    p.nodes = {some_node(1), some_node(2), some_node(3)};
    p.relationships = {some_relationship(7, 1, 2), some_relationship(8, 3, 2)};
    std::string bytes;
    Packer{bytes, kNow}.value(Value{p});
    Unpacker in{bytes, kNow, Unpacker::Entities::kTaken};
    Value back;
    ASSERT_TRUE(in.value(back)) << in.message();
    const Path& q = back.as_path();
    ASSERT_EQ(q.relationships.size(), 2U);
    EXPECT_EQ(q.relationships[1].start, NodeId{3});
    EXPECT_EQ(q.relationships[1].end_element_id, "4:u:2");
    EXPECT_EQ(q.nodes[2].labels, std::vector<std::string>{"A"});
}

TEST(PackStream, PathIndicesOutOfRangeAreRefused) {
    for (const char* walk : {"920201", "92FE00", "920002", "9101", "920005"}) {
        const Unpacked u = unpacked(
            std::string{"B35091B34E0190A091B372078154A0"} + walk, kOld, Unpacker::Entities::kTaken);
        EXPECT_FALSE(u.good) << walk;
    }
}

TEST(PackStream, DateTimesAreLocalBeforeFiveUnlessPatched) {
    const Value offset{DateTime{1704157445, 0, 7200, ""}};
    EXPECT_EQ(packed(offset, kOld), "B346CA65937D2500C91C20");  // 1704164645: local wall seconds
    EXPECT_EQ(packed(offset, kPatched), "B349CA6593610500C91C20");
    const Value zoned{DateTime{1704157445, 0, 3600, "Europe/Berlin"}};
    EXPECT_EQ(packed(zoned, kNow), "B369CA65936105008D4575726F70652F4265726C696E");
    EXPECT_EQ(packed(zoned, kOld), "B366CA65936F15008D4575726F70652F4265726C696E");
    for (const Dialect& d : {kOld, kPatched, kNow}) {
        for (const Value& v : {offset, zoned}) {
            const Unpacked back = unpacked(packed(v, d), d);
            ASSERT_TRUE(back.good) << back.message;
            EXPECT_EQ(back.value.as_date_time(), v.as_date_time());
        }
    }
}

TEST(PackStream, ADurationsNanosecondsAreNormalized) {
    const Unpacked u = unpacked("B445000000CAE2329B00");  // -500,000,000 ns
    ASSERT_TRUE(u.good);
    EXPECT_EQ(u.value.as_duration(), (DurationValue{0, 0, -1, 500000000}));
}

struct Refusal {
    const char* hex;
    const char* message;
    const char* gql;
};

TEST(PackStream, WhatIsWrongIsSaidInNeo4jsWords) {
    const Refusal rows[] = {
        {"A28161018161 02", "Duplicate map key: \"a\"", "08N06>22N54"},
        {"B44E0190A08161", "Unexpected struct tag: 0x4E", "08N06>22N00>22N97"},
        {"B346000000", "Unexpected struct tag: 0x46", "08N06>22N00>22N97"},
        {"B35801C13FF0000000000000C14000000000000000",
         "Illegal value for field \"crs\": Illegal coordinate reference system: \"1\"",
         "08N06>22N00>22N03"},
        {"B369000086 4E6F70652F58",
         "Illegal value for field \"tz_id\": Illegal zone identifier: \"Nope/X\"",
         "08N06>22N00>22N03"},
        {"D2FFFFFFFF", "Value of size 4294967295 exceeded limit of 2147483647", "08N06>22N56"},
        {"A10101", "Unexpected type: Expected STRING but got INT", "08N06>22G03>22N01"},
        {"B2440102",
         "Illegal struct size: Expected struct to be 1 fields but got 2",
         "08N06>22N00>22N97"},
        {"C7", "Unexpected marker byte: 0xC7", "50N42"},
        {"B1748", "Unexpected end of message", "50N42"},
    };
    for (const Refusal& row : rows) {
        const Unpacked u = unpacked(row.hex);
        EXPECT_FALSE(u.good) << row.hex;
        EXPECT_EQ(u.message, row.message) << row.hex;
        EXPECT_EQ(u.gql, row.gql) << row.hex;
    }
}

TEST(PackStream, LegacyDateTimesAreTakenByOldVersionsOnly) {
    EXPECT_TRUE(unpacked("B346000000", kOld).good);
    EXPECT_FALSE(unpacked("B346000000", kPatched).good);
    EXPECT_FALSE(unpacked("B349000000", kOld).good);
    EXPECT_TRUE(unpacked("B349000000", kPatched).good);
}

TEST(PackStream, SizesThatHaveNoBytesBehindThemAllocateNothing) {
    for (const char* hex :
         {"D67FFFFFFF01", "DA7FFFFFFF8161", "D27FFFFFFF61", "CE7FFFFFFF61", "D60FFFFFFF"}) {
        const Unpacked u = unpacked(hex);
        EXPECT_FALSE(u.good) << hex;
        EXPECT_EQ(u.message, "Unexpected end of message") << hex;
    }
}

TEST(PackStream, NestingIsBounded) {
    std::string hex;
    for (int i = 0; i < kNestingMax - 1; ++i) {
        hex += "91";
    }
    EXPECT_TRUE(unpacked(hex + "9101").good);
    EXPECT_FALSE(unpacked(hex + "919101").good);
    std::string endless(1 << 20, '\x91');
    Unpacker in{endless};
    Value v;
    EXPECT_FALSE(in.value(v));
    EXPECT_EQ(in.message(), "Values are nested deeper than 64 levels");
}

TEST(PackStream, EveryPrefixOfAValueIsRefused) {
    std::string bytes;
    Packer{bytes, kNow}.value(
        Value{Map{{"a", List{1, "text", 2.5, DateTime{1, 2, 3600, "Europe/Berlin"}}},
                  {"b", Point{Point::kWgs84, 1, 2, 0}}}});
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        Unpacker in{std::string_view{bytes}.substr(0, n)};
        Value v;
        EXPECT_FALSE(in.value(v)) << n;
        EXPECT_FALSE(in.ok()) << n;
    }
}

}  // namespace
}  // namespace nornic::bolt
