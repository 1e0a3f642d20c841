// How writes of several regions merge, rule by rule (docs/modes/multi_region.md).
#include "engine/region/conflicts.h"
#include "engine/store/keys.h"
#include "tests/engine/region_support.h"

#include <fmt/format.h>

#include <functional>

namespace nornic::engine::testing {
namespace {

const DatabaseId kGraph{1};
const LabelId kLabel{0};
const LabelId kOther{1};
const PropertyKeyId kKey{0};
const PropertyKeyId kOtherKey{1};
const RelTypeId kType{0};

NodeId node_id(std::uint64_t sequence, RegionNumber region) {
    return NodeId{id_of(sequence, region)};
}
RelId rel_id(std::uint64_t sequence, RegionNumber region) {
    return RelId{id_of(sequence, region)};
}
Value number(std::int64_t value) {
    return Value{value};
}
NodeData thing(std::int64_t value) {
    NodeData data;
    data.labels = {kLabel};
    data.properties = {{kKey, number(value)}};
    return data;
}
RelData edge(NodeId start, NodeId end) {
    RelData data;
    data.type = kType;
    data.start = start;
    data.end = end;
    return data;
}

using Fill = std::function<void(WriteSetWriter&)>;

std::string write_set(const Fill& fill) {
    std::string bytes;
    WriteSetWriter writer{bytes, kGraph};
    fill(writer);
    return bytes;
}

/// Regions 1 to n that know the same names under the same ids. 1 and 2 write; what they write reaches the others in any order.
class RegionMerge : public ::testing::Test {
protected:
    explicit RegionMerge(RegionNumber count = 4) {
        for (RegionNumber i = 1; i <= count; ++i) {
            auto& region = *regions.emplace_back(std::make_unique<Region>(i));
            region.form(rows_of(count));
        }
        write(1, [](WriteSetWriter& w) {
            w.create_token(TokenKind::kLabel, 0, "Thing");
            w.create_token(TokenKind::kLabel, 1, "Other");
            w.create_token(TokenKind::kPropertyKey, 0, "value");
            w.create_token(TokenKind::kPropertyKey, 1, "other");
            w.create_token(TokenKind::kRelationshipType, 0, "KNOWS");
            w.create_node(NodeId{0}, thing(0));
            w.create_node(NodeId{32}, thing(0));
            w.set_property(NodeId{0}, kOtherKey, number(0));
            w.create_relationship(RelId{0}, edge(NodeId{0}, NodeId{32}));
        });
        settle();
        tick = 1000;
    }

    Region& operator[](int number) { return *regions[static_cast<std::size_t>(number - 1)]; }
    void write(int at, const Fill& fill, bool manual = false) {
        RegionHeader header = (*this)[at].header();
        header.manual = manual;
        expect_ok((*this)[at].apply(stamp_write_set(header, write_set(fill)), std::max((*this)[at].now(), ++tick)));
    }
    void deliver(int from, int to) { (*this)[to].catch_up((*this)[from]); }
    /// 3 hears of 1 first, 4 of 2; then of the other.
    void cross() {
        deliver(1, 3);
        deliver(2, 3);
        deliver(2, 4);
        deliver(1, 4);
    }
    void settle() {
        for (std::size_t round = 0; round < 2; ++round) {
            for (std::size_t i = 1; i <= regions.size(); ++i) {
                for (std::size_t j = 1; j <= regions.size(); ++j) {
                    if (i != j) {
                        deliver(static_cast<int>(i), static_cast<int>(j));
                    }
                }
            }
        }
    }
    void expect_equal() {
        settle();
        const std::string first = dump((*this)[1]);
        for (std::size_t i = 2; i <= regions.size(); ++i) {
            EXPECT_EQ(dump((*this)[static_cast<int>(i)]), first) << "region " << i;
        }
    }
    NodePtr node(int at, NodeId id) { return (*this)[at].begin(AccessMode::kRead)->node(id); }
    RelPtr relationship(int at, RelId id) { return (*this)[at].begin(AccessMode::kRead)->relationship(id); }
    Value value(int at, NodeId id, PropertyKeyId key = kKey) {
        const NodePtr found = node(at, id);
        const Value* const held = found ? found->property(key) : nullptr;
        return held != nullptr ? *held : Value{};
    }
    std::size_t degree(int at, NodeId id) {
        return (*this)[at].begin(AccessMode::kRead)->degree(id, Direction::kBoth, {});
    }
    std::vector<std::pair<std::string, Value>> conflicts(int at) { return (*this)[at]->catalog_range(kConflictPrefix); }
    static std::string text(const Value& row, std::string_view field) { return to_cypher_text(*row.as_map().find(field)); }
    static const Map& side(const Value& row, std::string_view which) { return row.as_map().find(which)->as_map(); }

    std::vector<std::unique_ptr<Region>> regions;
    std::uint64_t tick = 0;
};

// ---- Cells

TEST_F(RegionMerge, TheLaterWriteOfAPropertyWinsInAnyOrder) {
    write(1, [](auto& w) { w.set_property(NodeId{0}, kKey, number(1)); });
    write(2, [](auto& w) { w.set_property(NodeId{0}, kKey, number(2)); });
    cross();
    EXPECT_EQ(value(3, NodeId{0}).as_integer(), 2);
    EXPECT_EQ(value(4, NodeId{0}).as_integer(), 2);
    expect_equal();
}

TEST_F(RegionMerge, OfEqualTimesTheHigherRegionWinsAndRankWinsOverTime) {
    const auto at = [&](int region, std::uint64_t time, std::uint16_t rank, std::int64_t value) {
        RegionHeader header = (*this)[region].header();
        header.rank = rank;
        expect_ok((*this)[region].apply(
            stamp_write_set(header, write_set([&](auto& w) { w.set_property(NodeId{0}, kKey, number(value)); })), time));
    };
    at(1, 5000, 0, 1);
    at(2, 5000, 0, 2);
    cross();
    EXPECT_EQ(value(3, NodeId{0}).as_integer(), 2);
    EXPECT_EQ(value(4, NodeId{0}).as_integer(), 2);
    at(1, 5001, 3, 3);
    at(2, 5002, 2, 4);
    cross();
    EXPECT_EQ(value(3, NodeId{0}).as_integer(), 3);
    EXPECT_EQ(value(4, NodeId{0}).as_integer(), 3);
    EXPECT_EQ((*this)[3].state()->rank, 3);
    expect_equal();
}

TEST_F(RegionMerge, ARemovedPropertyKeepsItsStamp) {
    write(1, [](auto& w) { w.set_property(NodeId{0}, kKey, number(1)); });
    write(2, [](auto& w) { w.set_property(NodeId{0}, kKey, Value{}); });
    cross();
    EXPECT_TRUE(value(3, NodeId{0}).is_null());
    EXPECT_TRUE(value(4, NodeId{0}).is_null());
    expect_equal();
}

TEST_F(RegionMerge, ALabelIsACellPresentOrAbsent) {
    write(1, [](auto& w) {
        w.add_label(NodeId{0}, kOther);
        w.remove_label(NodeId{32}, kLabel);
    });
    write(2, [](auto& w) {
        w.remove_label(NodeId{0}, kOther);
        w.add_label(NodeId{32}, kLabel);
    });
    cross();
    for (const int at : {3, 4}) {
        EXPECT_FALSE(node(at, NodeId{0})->has_label(kOther));
        EXPECT_TRUE(node(at, NodeId{32})->has_label(kLabel));
    }
    expect_equal();
}

TEST_F(RegionMerge, DifferentCellsOfOneEntityDoNotMeet) {
    write(1, [](auto& w) { w.set_property(NodeId{0}, kKey, number(1)); });
    write(2, [](auto& w) { w.set_property(NodeId{0}, kOtherKey, number(2)); });
    settle();
    for (const int at : {1, 2, 3, 4}) {
        EXPECT_EQ(value(at, NodeId{0}).as_integer(), 1);
        EXPECT_EQ(value(at, NodeId{0}, kOtherKey).as_integer(), 2);
        EXPECT_TRUE(conflicts(at).empty());
    }
}

// ---- Existence

TEST_F(RegionMerge, DeletingIsFinalWhateverTheStamps) {
    write(1, [](auto& w) {
        w.delete_relationship(RelId{0});
        w.delete_node(NodeId{0});
    });
    write(2, [](auto& w) { w.set_property(NodeId{0}, kKey, number(2)); });
    cross();
    EXPECT_EQ(node(3, NodeId{0}), nullptr);
    EXPECT_EQ(node(4, NodeId{0}), nullptr);
    expect_equal();
    EXPECT_GT((*this)[3].state()->tombstones, 0U);
}

TEST_F(RegionMerge, AWriteThatOvertookTheCreationWaitsUnseenAndMergesWithIt) {
    const NodeId made = node_id(7, 1);
    write(1, [&](auto& w) { w.create_node(made, thing(1)); });
    deliver(1, 2);
    write(2, [&](auto& w) {
        w.set_property(made, kKey, number(2));
        w.remove_label(made, kLabel);
        w.add_label(made, kOther);
    });
    deliver(2, 4);
    EXPECT_EQ(node(4, made), nullptr);
    EXPECT_EQ((*this)[4].begin(AccessMode::kRead)->node_count({}), 2U);
    deliver(1, 4);
    EXPECT_EQ(value(4, made).as_integer(), 2);
    EXPECT_FALSE(node(4, made)->has_label(kLabel));
    EXPECT_TRUE(node(4, made)->has_label(kOther));
    EXPECT_EQ((*this)[4].state()->tombstones, 0U);
    EXPECT_TRUE(conflicts(4).empty());
    expect_equal();
}

TEST_F(RegionMerge, ADeleteThatOvertookTheCreationHoldsItDown) {
    const NodeId made = node_id(7, 1);
    write(1, [&](auto& w) { w.create_node(made, thing(1)); });
    deliver(1, 2);
    write(2, [&](auto& w) { w.delete_node(made); });
    deliver(2, 4);
    deliver(1, 4);
    EXPECT_EQ(node(4, made), nullptr);
    expect_equal();
}

TEST_F(RegionMerge, ARelationshipIsHiddenUntilItsEndsAreThere) {
    const NodeId made = node_id(7, 1);
    const RelId between = rel_id(7, 2);
    write(1, [&](auto& w) { w.create_node(made, thing(1)); });
    deliver(1, 2);
    write(2, [&](auto& w) { w.create_relationship(between, edge(NodeId{0}, made)); });
    deliver(2, 4);
    EXPECT_EQ(relationship(4, between), nullptr);
    EXPECT_EQ(degree(4, NodeId{0}), 1U);
    EXPECT_EQ((*this)[4].begin(AccessMode::kRead)->relationship_count({}), 1U);
    // It can be written to and deleted meanwhile, as anything can.
    write(2, [&](auto& w) { w.set_property(between, kKey, number(5)); });
    deliver(2, 4);
    deliver(1, 4);
    ASSERT_NE(relationship(4, between), nullptr);
    EXPECT_EQ(relationship(4, between)->property(kKey)->as_integer(), 5);
    EXPECT_EQ(degree(4, NodeId{0}), 2U);
    EXPECT_EQ(degree(4, made), 1U);
    EXPECT_EQ((*this)[4].state()->tombstones, 0U);
    expect_equal();
}

TEST_F(RegionMerge, ARelationshipToADeadNodeIsDeadAndPeopleHearOfItUnderOneName) {
    const RelId between = rel_id(7, 2);
    write(1, [](auto& w) {
        w.delete_relationship(RelId{0});
        w.delete_node(NodeId{32});
    });
    write(2, [&](auto& w) { w.create_relationship(between, edge(NodeId{0}, NodeId{32})); });
    cross();
    settle();
    for (const int at : {1, 2, 3, 4}) {
        EXPECT_EQ(relationship(at, between), nullptr);
        EXPECT_EQ(degree(at, NodeId{0}), 0U);
        ASSERT_EQ(conflicts(at).size(), 1U) << at;
        EXPECT_EQ(conflicts(at).front().first, conflicts(1).front().first);
        EXPECT_EQ(text(conflicts(at).front().second, "kind"), "'endpoint_deleted'");
    }
    expect_equal();
}

TEST_F(RegionMerge, ADeleteThatOvertookTheNodeKillsTheRelationshipsThatWaitForIt) {
    const NodeId made = node_id(7, 1);
    const RelId between = rel_id(7, 3);
    write(1, [&](auto& w) { w.create_node(made, thing(1)); });
    deliver(1, 2);
    deliver(1, 3);
    write(3, [&](auto& w) { w.create_relationship(between, edge(NodeId{0}, made)); });
    write(2, [&](auto& w) { w.delete_node(made); });
    deliver(3, 4);
    deliver(2, 4);
    EXPECT_EQ(relationship(4, between), nullptr);
    deliver(1, 4);
    EXPECT_EQ(relationship(4, between), nullptr);
    EXPECT_EQ(degree(4, NodeId{0}), 1U);
    expect_equal();
}

TEST_F(RegionMerge, AnOwnWriteMayMeetWhatAMergeDeletedMeanwhile) {
    Region& second = (*this)[2];
    auto transaction = second.begin();
    const PropertyKeyId key = transaction->property_key_or_create("value").value();
    ASSERT_TRUE(transaction->set_property(NodeId{0}, key, number(9)));
    auto prepared = transaction->prepare();
    ASSERT_TRUE(prepared);
    write(1, [](auto& w) {
        w.delete_relationship(RelId{0});
        w.delete_node(NodeId{0});
    });
    deliver(1, 2);
    expect_ok(second.write(prepared.value()));
    transaction->finish();
    EXPECT_EQ(node(2, NodeId{0}), nullptr);
    ASSERT_EQ(conflicts(2).size(), 1U);  // it was acknowledged, so people hear that it is lost
    EXPECT_EQ(text(conflicts(2).front().second, "kind"), "'deleted'");
    expect_equal();
    EXPECT_EQ(conflicts(1).front().first, conflicts(2).front().first);
}

TEST_F(RegionMerge, AWriteIsAppliedOnceHoweverOftenItComes) {
    write(1, [](auto& w) { w.set_property(NodeId{0}, kKey, number(1)); });
    const RegionWrites writes = (*this)[1].ship((*this)[1].last(), (*this)[1].last());
    auto payload = (*this)[3]->regions()->localize(writes, false);
    ASSERT_TRUE(payload);
    expect_ok((*this)[3].apply(payload.value(), 5000));
    EXPECT_EQ((*this)[3].cursor_of((*this)[1]), (*this)[1].last());
    const std::string after = dump((*this)[3]);
    expect_ok((*this)[3].apply(payload.value(), 5001));
    EXPECT_EQ(dump((*this)[3]), after);
    EXPECT_EQ((*this)[3].cursor_of((*this)[1]), (*this)[1].last());
}

// ---- What is forgotten

TEST_F(RegionMerge, TheWatermarkLetsGoOfTombstonesAndStampsAndChangesNothingThatIsSeen) {
    write(1, [](auto& w) {
        w.delete_relationship(RelId{0});
        w.delete_node(NodeId{32});
        w.set_property(NodeId{0}, kKey, number(1));
    });
    settle();
    const std::string before = dump((*this)[3]);
    ASSERT_EQ((*this)[3].state()->tombstones, 2U);
    (*this)[3].advance_watermark((*this)[3].state()->time);
    EXPECT_EQ((*this)[3].state()->tombstones, 0U);
    EXPECT_EQ(dump((*this)[3]), before);
    write(1, [](auto& w) { w.set_property(NodeId{0}, kKey, number(2)); });
    deliver(1, 3);
    EXPECT_EQ(value(3, NodeId{0}).as_integer(), 2);
}

TEST_F(RegionMerge, ManyTombstonesGoInSlices) {
    constexpr std::uint64_t kMany = 2500;
    write(1, [&](auto& w) {
        for (std::uint64_t i = 0; i < kMany; ++i) {
            w.create_node(node_id(100 + i, 1), thing(1));
        }
    });
    write(1, [&](auto& w) {
        for (std::uint64_t i = 0; i < kMany; ++i) {
            w.delete_node(node_id(100 + i, 1));
        }
    });
    Region& first = (*this)[1];
    ASSERT_EQ(first.state()->tombstones, kMany);
    first.advance_watermark(first.state()->time);
    EXPECT_EQ(first.state()->tombstones, kMany - 1000);
    write(1, [](auto& w) { w.set_property(NodeId{0}, kKey, number(1)); });
    write(1, [](auto& w) { w.set_property(NodeId{0}, kKey, number(2)); });
    EXPECT_EQ(first.state()->tombstones, 0U);
}

TEST_F(RegionMerge, AGhostWhoseCreationNeverComesIsForgotten) {
    write(2, [](auto& w) {
        w.set_property(node_id(9, 1), kKey, number(1));
        w.create_relationship(rel_id(9, 2), edge(NodeId{0}, node_id(10, 1)));
    });
    EXPECT_EQ((*this)[2].state()->tombstones, 3U);
    (*this)[2].advance_watermark((*this)[2].state()->time);
    EXPECT_EQ((*this)[2].state()->tombstones, 0U);
}

// ---- Conflicts

TEST_F(RegionMerge, AConflictHasOneNameAndBothValuesInAllRegions) {
    write(1, [](auto& w) { w.set_property(NodeId{0}, kKey, number(1)); });
    write(2, [](auto& w) { w.set_property(NodeId{0}, kKey, number(2)); });
    cross();
    settle();
    for (const int at : {1, 2, 3, 4}) {
        const auto rows = conflicts(at);
        ASSERT_EQ(rows.size(), 1U) << at;
        EXPECT_EQ(rows.front().first, conflicts(1).front().first);
        const Value& row = rows.front().second;
        EXPECT_EQ(text(row, "kind"), "'property'");
        EXPECT_EQ(text(row, "database"), "'neo4j'");
        EXPECT_EQ(text(row, "entity"), "'node'");
        EXPECT_EQ(text(row, "id"), "0");
        EXPECT_EQ(text(row, "cell"), "'value'");
        EXPECT_EQ(text(row, "state"), "'resolved'");
        EXPECT_EQ(side(row, "winner").find("value")->as_integer(), 2);
        EXPECT_EQ(side(row, "winner").find("region")->as_string(), "region-2");
        EXPECT_EQ(side(row, "loser").find("value")->as_integer(), 1);
        EXPECT_EQ((*this)[at].state()->conflicts, 1U);
        EXPECT_EQ((*this)[at].state()->conflicts_open, 0U);
    }
}

TEST_F(RegionMerge, AConflictTellsTheMetadataOfBothTransactionsInAllRegions) {
    const auto written_by = [](std::string_view app) {
        return [=](WriteSetWriter& w) {
            w.note_metadata(Value{Map{{"app", Value{app}}}});
            w.set_property(NodeId{0}, kKey, Value{app});
        };
    };
    write(1, written_by("one"));
    write(2, written_by("two"));
    deliver(1, 3);
    ASSERT_TRUE((*this)[3]->checkpoint());
    (*this)[3].restart();
    cross();
    settle();
    for (const int at : {1, 2, 3, 4}) {
        const auto rows = conflicts(at);
        ASSERT_EQ(rows.size(), 1U) << at;
        EXPECT_EQ(to_cypher_text(*side(rows.front().second, "winner").find("metadata")), "{app: 'two'}") << at;
        EXPECT_EQ(to_cypher_text(*side(rows.front().second, "loser").find("metadata")), "{app: 'one'}") << at;
    }
}

TEST_F(RegionMerge, MetadataGoesAlongAsFarAsItsPlaceReaches) {
    BeginOptions options;
    options.metadata = Value{Map{{"app", Value{"one"}}, {"text", Value{std::string(2000, 'x')}}, {"job", Value{std::int64_t{7}}}}};
    auto transaction = (*this)[1]->begin(options).value();
    ASSERT_TRUE(transaction->set_property(NodeId{0}, kKey, number(1)));
    const std::string bytes = transaction->prepare().value();
    EXPECT_LT(bytes.size(), kMetadataBytesMax);
    WriteSetReader reader = WriteSetReader::open(bytes).value();
    WriteOperation operation;
    ASSERT_TRUE(reader.next(operation).value());
    EXPECT_EQ(operation.op, WriteOp::kSeen);
    ASSERT_TRUE(reader.next(operation).value());
    EXPECT_EQ(operation.op, WriteOp::kMetadata);
    EXPECT_EQ(to_cypher_text(operation.value), "{app: 'one', job: 7}");
}

// ---- Dropped regions, states that are merged by half

TEST_F(RegionMerge, WhatComesOfADroppedRegionIsAsIfItHadNotCome) {
    write(1, [](auto& w) { w.set_property(NodeId{0}, kKey, number(1)); });
    const LogIndex cursor = (*this)[2].cursor_of((*this)[1]);
    const auto under_way = (*this)[2]->regions()->localize((*this)[1].ship(LogIndex{cursor.value + 1}, (*this)[1].last(), 2), false).value();
    RegionChange drop;
    drop.kind = RegionChange::Kind::kDrop;
    drop.number = 1;
    (*this)[2].change(drop);
    expect_ok((*this)[2].apply(under_way, (*this)[2].now() + 1000));
    EXPECT_EQ(value(2, NodeId{0}).as_integer(), 0);
    EXPECT_EQ((*this)[2].cursor_of((*this)[1]), cursor);
    EXPECT_TRUE((*this)[2].state()->find(RegionNumber{1})->reported.empty());
}

TEST_F(RegionMerge, ThereMayBeMoreThanTheFrontierSaysUntilAWholeStateIsMerged) {
    const auto may_be_more = [&] { return known_of((*this)[2].state()->frontier(), 0) == 1; };
    const auto seed = (*this)[1]->regions()->begin_seed().value();
    expect_ok((*this)[2].take(*seed->next(4096).value()));
    EXPECT_TRUE(may_be_more());
    ASSERT_TRUE((*this)[2]->checkpoint());
    (*this)[2].restart();
    EXPECT_TRUE(may_be_more());
    (*this)[2].take_seed(*(*this)[1]->regions()->begin_seed().value());
    EXPECT_FALSE(may_be_more());

    RegionChange drop;
    drop.kind = RegionChange::Kind::kDrop;
    drop.number = 3;
    (*this)[2].change(drop);
    RegionChange settled;
    settled.kind = RegionChange::Kind::kCursor;
    settled.number = 3;
    settled.time = kAllTime;
    const std::uint64_t time = (*this)[2].state()->time;
    (*this)[2].change(settled);
    EXPECT_EQ(known_of((*this)[2].state()->frontier(), 3), kAllTime);
    EXPECT_LT((*this)[2].state()->time, time + 1000);  // its clock stays
}

TEST_F(RegionMerge, ATransactionHasSeenWhatItsSnapshotHad) {
    auto open = (*this)[2].begin();
    ASSERT_TRUE(open->set_property(NodeId{0}, kKey, number(2)));
    write(1, [](auto& w) { w.set_property(NodeId{0}, kKey, number(1)); });
    deliver(1, 2);  // before the transaction ends, and behind its snapshot
    tick += 100;
    expect_ok((*this)[2].write(open->prepare().value()));
    open->finish();
    settle();
    for (const int at : {1, 2, 3, 4}) {
        EXPECT_EQ(value(at, NodeId{0}).as_integer(), 2) << at;
        ASSERT_EQ(conflicts(at).size(), 1U) << at;
        EXPECT_EQ(side(conflicts(at).front().second, "loser").find("value")->as_integer(), 1) << at;
    }
}

TEST_F(RegionMerge, ARowInASeedIsOfTheRegionThatWroteIt) {
    write(1, [](auto& w) { w.put_catalog("row", number(1)); });
    deliver(1, 2);
    deliver(1, 4);
    (*this)[3].take_seed(*(*this)[2]->regions()->begin_seed().value());
    write(4, [](auto& w) { w.put_catalog("row", number(2)); });  // it had seen what 1 wrote, and 2 wrote nothing
    deliver(4, 3);
    EXPECT_EQ((*this)[3]->catalog("row")->as_integer(), 2);
    EXPECT_TRUE(conflicts(3).empty());
}

TEST_F(RegionMerge, WhatTheWriterHadSeenAndWhatIsEqualIsNoConflict) {
    write(1, [](auto& w) { w.set_property(NodeId{0}, kKey, number(1)); });
    deliver(1, 2);
    write(2, [](auto& w) { w.set_property(NodeId{0}, kKey, number(2)); });
    settle();
    write(1, [](auto& w) { w.set_property(NodeId{0}, kOtherKey, number(3)); });
    write(2, [](auto& w) { w.set_property(NodeId{0}, kOtherKey, number(3)); });
    settle();
    for (const int at : {1, 2, 3, 4}) {
        EXPECT_TRUE(conflicts(at).empty());
    }
}

TEST_F(RegionMerge, WhatCameBeforeWhatItsWriterHadSeenIsNoConflict) {
    write(1, [&](auto& w) {
        w.set_property(NodeId{0}, kKey, number(1));
        w.add_label(NodeId{0}, kOther);
        w.set_property(NodeId{32}, kOtherKey, number(1));
        w.create_relationship(rel_id(7, 1), edge(NodeId{0}, NodeId{32}));
    });
    deliver(1, 2);
    write(2, [&](auto& w) {
        w.set_property(NodeId{0}, kKey, number(2));
        w.remove_label(NodeId{0}, kOther);
        w.delete_relationship(RelId{0});
        w.delete_relationship(rel_id(7, 1));
        w.delete_node(NodeId{32});
    });
    deliver(2, 4);
    expect_ok((*this)[4]->checkpoint());
    (*this)[4].restart();
    deliver(1, 4);
    EXPECT_EQ(value(4, NodeId{0}).as_integer(), 2);
    EXPECT_TRUE(conflicts(4).empty());
    // One that is a conflict is still found.
    write(1, [&](auto& w) { w.set_property(NodeId{0}, kKey, number(3)); });
    deliver(1, 4);
    EXPECT_EQ(conflicts(4).size(), 1U);
}

TEST_F(RegionMerge, ADeleteOfWhatItHadNotSeenTellsWhatIsLost) {
    write(1, [](auto& w) {
        w.set_property(NodeId{0}, kKey, number(1));
        w.add_label(NodeId{0}, kOther);
    });
    write(2, [](auto& w) {
        w.delete_relationship(RelId{0});
        w.delete_node(NodeId{0});
    });
    cross();
    settle();
    for (const int at : {1, 2, 3, 4}) {
        const auto rows = conflicts(at);
        ASSERT_EQ(rows.size(), 2U) << at;
        for (std::size_t i = 0; i < rows.size(); ++i) {
            EXPECT_EQ(rows[i].first, conflicts(1)[i].first);
            EXPECT_EQ(text(rows[i].second, "kind"), "'deleted'");
        }
    }
}

TEST_F(RegionMerge, WithManualConflictsWaitForAPersonAndAResolutionTravels) {
    write(1, [](auto& w) { w.set_property(NodeId{0}, kKey, number(1)); }, true);
    write(2, [](auto& w) { w.set_property(NodeId{0}, kKey, number(2)); }, true);
    settle();
    for (const int at : {1, 2}) {
        EXPECT_EQ((*this)[at].state()->conflicts_open, 1U) << at;
        EXPECT_EQ(value(at, NodeId{0}).as_integer(), 2);
    }
    const auto [key, row] = conflicts(1).front();
    write(1, [&](auto& w) {
        w.set_property(NodeId{0}, kKey, number(1));
        Map resolved = row.as_map();
        resolved.set("state", Value{"resolved"});
        w.put_catalog(key, Value{std::move(resolved)});
    });
    settle();
    for (const int at : {1, 2}) {
        EXPECT_EQ((*this)[at].state()->conflicts_open, 0U) << at;
        EXPECT_EQ(value(at, NodeId{0}).as_integer(), 1);
        EXPECT_EQ(conflicts(at).size(), 1U);
    }
}

TEST_F(RegionMerge, OfTooManyConflictsTheOldestResolvedGoes) {
    constexpr std::uint64_t kMany = kConflictsMax + 5;
    write(1, [](auto& w) {
        for (std::uint64_t i = 0; i < kMany; ++i) {
            w.create_node(node_id(100 + i, 1), NodeData{});
        }
    });
    deliver(1, 2);
    const auto all = [](std::int64_t value) {
        return [=](WriteSetWriter& w) {
            for (std::uint64_t i = 0; i < kMany; ++i) {
                w.set_property(node_id(100 + i, 1), kKey, number(value));
            }
        };
    };
    write(1, all(1));
    write(2, all(2));
    deliver(2, 1);
    EXPECT_EQ(conflicts(1).size(), kConflictsMax);
    EXPECT_EQ((*this)[1].state()->conflicts, kMany);
}

TEST_F(RegionMerge, ASecondNodeOfAUniqueKeyStaysAndIsReported) {
    Region& first = (*this)[1];
    first.commit([](Transaction& t) {
        ConstraintDefinition rule;
        rule.name = "one";
        rule.type = ConstraintType::kUnique;
        rule.entity = EntityKind::kNode;
        rule.token = "Other";
        rule.properties = {"value"};
        auto made = t.create_constraint(rule);
        ASSERT_TRUE(made) << made.error().message();
    });
    settle();
    NodeData data = thing(7);
    data.labels = {kOther};
    write(1, [&](auto& w) { w.create_node(node_id(5, 1), data); });
    write(2, [&](auto& w) { w.create_node(node_id(5, 2), data); });
    cross();
    settle();
    for (const int at : {1, 2, 3, 4}) {
        EXPECT_NE(node(at, node_id(5, 1)), nullptr);
        EXPECT_NE(node(at, node_id(5, 2)), nullptr);
        const auto rows = conflicts(at);
        ASSERT_EQ(rows.size(), 1U) << at;
        EXPECT_EQ(rows.front().first, conflicts(1).front().first);
        EXPECT_EQ(text(rows.front().second, "kind"), "'unique'");
        EXPECT_EQ(static_cast<std::uint64_t>(side(rows.front().second, "loser").find("value")->as_integer()), node_id(5, 2).value);
    }
    expect_equal();
}

TEST_F(RegionMerge, ASecondRelationshipOfAUniqueKeyStaysAndIsReported) {
    (*this)[1].commit([](Transaction& t) {
        ConstraintDefinition rule;
        rule.name = "one";
        rule.type = ConstraintType::kUnique;
        rule.entity = EntityKind::kRelationship;
        rule.token = "KNOWS";
        rule.properties = {"value"};
        auto made = t.create_constraint(rule);
        ASSERT_TRUE(made) << made.error().message();
    });
    settle();
    RelData data = edge(NodeId{0}, NodeId{32});
    data.properties = {{kKey, number(7)}};
    write(1, [&](auto& w) { w.create_relationship(rel_id(5, 1), data); });
    write(2, [&](auto& w) { w.create_relationship(rel_id(5, 2), data); });
    cross();
    settle();
    for (const int at : {1, 2, 3, 4}) {
        EXPECT_NE(relationship(at, rel_id(5, 1)), nullptr);
        EXPECT_NE(relationship(at, rel_id(5, 2)), nullptr);
        const auto rows = conflicts(at);
        ASSERT_EQ(rows.size(), 1U) << at;
        EXPECT_EQ(rows.front().first, conflicts(1).front().first);
        EXPECT_EQ(text(rows.front().second, "kind"), "'unique'");
        EXPECT_EQ(text(rows.front().second, "entity"), "'relationship'");
    }
    expect_equal();
}

TEST_F(RegionMerge, AConstraintWhoseIndexIsAnotherRegionsRuleIsNotEnforcedAndPeopleHearOfIt) {
    const auto promote = [&](int at, std::uint64_t epoch) {
        RegionChange change;
        change.kind = RegionChange::Kind::kPromote;
        change.number = static_cast<RegionNumber>(at);
        change.epoch = epoch;
        (*this)[at].change(change);
    };
    const auto make_constraint = [&](int at) {
        (*this)[at].commit([](Transaction& t) {
            ConstraintDefinition rule;
            rule.name = "one";
            rule.type = ConstraintType::kUnique;
            rule.token = "Other";
            rule.properties = {"value"};
            auto made = t.create_constraint(rule);
            ASSERT_TRUE(made) << made.error().message();
        });
    };
    // In a cut two primaries draw the same ids: one for a constraint and its index, the other for an index that it drops.
    make_constraint(1);
    promote(2, 1);
    (*this)[2].commit([](Transaction& t) {
        IndexDefinition rule;
        rule.name = "by_other";
        rule.tokens = {"Thing"};
        rule.properties = {"other"};
        auto made = t.create_index(rule);
        ASSERT_TRUE(made) << made.error().message();
    });
    const auto twice = [&](int at) {
        (*this)[at].commit([](Transaction& t) {
            const LabelId label = t.label_or_create("Other").value();
            const PropertyEntry property{t.property_key_or_create("value").value(), number(7)};
            for (int i = 0; i < 2; ++i) {
                auto made = t.create_node(std::span{&label, 1}, std::span{&property, 1});
                ASSERT_TRUE(made) << made.error().message();
            }
        });
    };
    const auto unenforced = [&](int at) {
        return std::ranges::count_if(conflicts(at), [](const auto& row) {
            return text(row.second, "kind") == "'schema'" && text(row.second, "cell") == "'one'" && text(row.second, "state") == "'open'";
        });
    };
    cross();
    settle();
    for (const int at : {1, 2, 3, 4}) {
        const auto schema = (*this)[at].begin(AccessMode::kRead)->schema();
        ASSERT_NE(schema->index_named("by_other"), nullptr) << at;
        ASSERT_NE(schema->constraint_named("one"), nullptr) << at;
        EXPECT_EQ(unenforced(at), 1) << at;
        twice(at);
    }
    expect_equal();
    (*this)[2].commit([](Transaction& t) { expect_ok(t.drop_index("by_other")); });
    settle();
    for (const int at : {1, 2}) {
        EXPECT_EQ((*this)[at].begin(AccessMode::kRead)->schema()->index_named("by_other"), nullptr) << at;
        twice(at);
    }
    expect_equal();
    (*this)[2].commit([](Transaction& t) { expect_ok(t.drop_constraint("one")); });
    settle();
    for (const int at : {1, 2, 3, 4}) {
        EXPECT_EQ((*this)[at].begin(AccessMode::kRead)->schema()->constraint_named("one"), nullptr) << at;
    }
}

TEST_F(RegionMerge, ADropOfAnUnenforcedConstraintLeavesTheIndexThatHasItsPlace) {
    (*this)[1].commit([](Transaction& t) {
        ConstraintDefinition rule;
        rule.name = "one";
        rule.type = ConstraintType::kUnique;
        rule.token = "Other";
        rule.properties = {"value"};
        ASSERT_TRUE(t.create_constraint(rule));
    });
    RegionChange change;
    change.kind = RegionChange::Kind::kPromote;
    change.number = 2;
    change.epoch = 1;
    (*this)[2].change(change);
    (*this)[2].commit([](Transaction& t) {
        IndexDefinition rule;
        rule.name = "by_other";
        rule.tokens = {"Thing"};
        rule.properties = {"other"};
        ASSERT_TRUE(t.create_index(rule));
    });
    settle();
    (*this)[2].commit([](Transaction& t) { expect_ok(t.drop_constraint("one")); });
    settle();
    for (const int at : {1, 2, 3, 4}) {
        const auto schema = (*this)[at].begin(AccessMode::kRead)->schema();
        EXPECT_EQ(schema->constraint_named("one"), nullptr) << at;
        EXPECT_NE(schema->index_named("by_other"), nullptr) << at;
    }
}

TEST_F(RegionMerge, ATransactionWhoseConstraintAnotherRegionDropsMeanwhileRunsAgain) {
    (*this)[1].commit([](Transaction& t) {
        ConstraintDefinition rule;
        rule.name = "one";
        rule.type = ConstraintType::kUnique;
        rule.token = "Other";
        rule.properties = {"value"};
        ASSERT_TRUE(t.create_constraint(rule));
    });
    settle();
    const auto one_more = [](Transaction& t) {
        const LabelId label = t.label_or_create("Other").value();
        const PropertyEntry property{t.property_key_or_create("value").value(), number(7)};
        return t.create_node(std::span{&label, 1}, std::span{&property, 1});
    };
    {
        const auto overtaken = (*this)[2].begin(AccessMode::kWrite);
        ASSERT_TRUE(one_more(*overtaken));
        (*this)[1].commit([](Transaction& other) { expect_ok(other.drop_constraint("one")); });
        deliver(1, 2);
        const auto again = one_more(*overtaken);
        ASSERT_FALSE(again);
        EXPECT_EQ(again.error().code(), ErrorCode::kConflict);
        overtaken->finish();
    }
    (*this)[2].commit([&](Transaction& t) {
        ASSERT_TRUE(one_more(t));
        ASSERT_TRUE(one_more(t));
    });
    settle();
    expect_equal();
}

TEST_F(RegionMerge, ADropOfARegionThatIsNotKnownMakesNone) {
    RegionChange change;
    change.kind = RegionChange::Kind::kDrop;
    change.number = 9;
    (*this)[1].change(change);
    deliver(1, 2);
    for (const int at : {1, 2}) {
        EXPECT_EQ((*this)[at].state()->find(RegionNumber{9}), nullptr);
    }
}

// ---- Small things

TEST_F(RegionMerge, RowsOfTheCatalogueAreCellsUnderTheEpoch) {
    const auto put = [&](int at, std::uint64_t epoch, std::uint64_t time, std::int64_t value) {
        RegionHeader header = (*this)[at].header();
        header.epoch = epoch;
        expect_ok((*this)[at].apply(
            stamp_write_set(header, write_set([&](auto& w) { w.put_catalog("row", number(value)); })), time));
    };
    put(1, 2, 5000, 1);
    put(2, 1, 5001, 2);
    cross();
    EXPECT_EQ((*this)[3]->catalog("row")->as_integer(), 1);
    EXPECT_EQ((*this)[4]->catalog("row")->as_integer(), 1);
    settle();
    EXPECT_EQ((*this)[2]->catalog("row")->as_integer(), 1);
}

TEST_F(RegionMerge, ADroppedIndexStaysDroppedAndAnIndexIsFilledWhereItArrives) {
    Region& first = (*this)[1];
    first.commit([](Transaction& t) {
        IndexDefinition rule;
        rule.name = "by_value";
        rule.tokens = {"Thing"};
        rule.properties = {"value"};
        auto made = t.create_index(rule);
        ASSERT_TRUE(made) << made.error().message();
    });
    deliver(1, 3);
    {
        auto t = (*this)[3].begin(AccessMode::kRead);
        const IndexView* index = t->schema()->index_named("by_value");
        ASSERT_NE(index, nullptr);
        EXPECT_EQ(index->state, IndexState::kOnline);
        IndexQuery query;
        query.columns.push_back({.kind = IndexQuery::Kind::kEquals, .value = number(0), .lower = {}, .upper = {}});
        std::vector<NodeId> found(8);
        EXPECT_EQ(t->seek_nodes(index->rule.id, query)->next(found), 2U);
    }
    first.commit([](Transaction& t) { expect_ok(t.drop_index("by_value")); });
    settle();
    EXPECT_EQ((*this)[3].begin(AccessMode::kRead)->schema()->index_named("by_value"), nullptr);
    EXPECT_EQ((*this)[4].begin(AccessMode::kRead)->schema()->index_named("by_value"), nullptr);
}

TEST_F(RegionMerge, PromotionsTravelAndTheNewerEpochHolds) {
    RegionChange change;
    change.kind = RegionChange::Kind::kPromote;
    change.number = 2;
    change.epoch = 5;
    (*this)[2].change(change);
    settle();
    for (const int at : {1, 2, 3, 4}) {
        EXPECT_EQ((*this)[at].state()->primary, 2);
        EXPECT_EQ((*this)[at].state()->epoch, 5U);
    }
    change.number = 1;
    change.epoch = 4;
    (*this)[1].change(change);
    EXPECT_EQ((*this)[1].state()->primary, 2);
}

TEST_F(RegionMerge, IdsAreDrawnUnderTheRegionsNumber) {
    (*this)[3].commit([](Transaction& t) {
        const NodeId id = t.create_node({}, {}).value();
        EXPECT_EQ(region_of(id.value), 3U);
    });
    EXPECT_TRUE((*this)[3].state()->pristine);
}

// ---- What survives

TEST_F(RegionMerge, ARestartKeepsStampsGhostsTombstonesAndTheStateOfRegions) {
    const NodeId made = node_id(7, 1);
    write(1, [&](auto& w) { w.create_node(made, thing(1)); });
    deliver(1, 2);
    write(2, [&](auto& w) {
        w.set_property(made, kKey, number(2));                               // a ghost at 4
        w.create_relationship(rel_id(7, 2), edge(NodeId{0}, made));          // hidden there
        w.set_property(NodeId{0}, kKey, number(3));                          // a stamped cell
        w.delete_relationship(RelId{0});
        w.delete_node(NodeId{32});                                           // tombstones
    });
    deliver(2, 4);
    Region& fourth = (*this)[4];
    const std::uint64_t digest = fourth->digest().value();
    const RegionState state = *fourth.state();
    expect_ok(fourth->checkpoint());
    fourth.restart();
    EXPECT_EQ(fourth->digest().value(), digest);
    EXPECT_EQ(*fourth.state(), state);
    EXPECT_EQ(state.tombstones, 4U);
    write(1, [&](auto& w) { w.set_property(NodeId{0}, kKey, number(1)); });  // later, and of another region
    settle();
    EXPECT_EQ(value(4, NodeId{0}).as_integer(), 1);
    EXPECT_EQ(value(4, made).as_integer(), 2);
    EXPECT_NE(relationship(4, rel_id(7, 2)), nullptr);
    expect_equal();
    // What was remembered by time came back, too.
    expect_ok(fourth->checkpoint());
    fourth.restart();
    fourth.advance_watermark(fourth.state()->time);
    EXPECT_EQ(fourth.state()->tombstones, 0U);
    expect_ok(fourth->checkpoint());
    fourth.restart();
    EXPECT_EQ(fourth.state()->tombstones, 0U);
    expect_equal();
}

TEST_F(RegionMerge, ASnapshotBringsAllOfItAlong) {
    write(1, [](auto& w) {
        w.delete_relationship(RelId{0});
        w.delete_node(NodeId{32});
        w.set_property(node_id(50, 2), kKey, number(1));
    });
    Region& first = (*this)[1];
    auto from = first->begin_export();
    ASSERT_TRUE(from) << from.error().message();
    Member to{make_memory_kv_home()};
    auto into = to->begin_import(from.value()->info());
    ASSERT_TRUE(into) << into.error().message();
    while (!into.value()->complete()) {
        auto chunk = from.value()->next(100);
        ASSERT_TRUE(chunk);
        expect_ok(into.value()->add(chunk.value()));
    }
    expect_ok(to->install(std::move(into).value()));
    EXPECT_EQ(to->digest().value(), first->digest().value());
    EXPECT_EQ(*to->regions()->region_state(), *first.state());
}

TEST_F(RegionMerge, MembersOfARegionHaveOneDigestWheneverTheyWroteCheckpoints) {
    write(1, [](auto& w) { w.set_property(NodeId{0}, kKey, number(1)); });
    write(2, [](auto& w) {
        w.set_property(NodeId{0}, kKey, number(2));
        w.delete_relationship(RelId{0});
        w.delete_node(NodeId{32});
    });
    deliver(2, 1);
    Region& first = (*this)[1];
    first.advance_watermark(first.state()->time - 1);
    write(1, [](auto& w) { w.set_property(NodeId{0}, kKey, number(3)); });
    Member other{make_memory_kv_home()};
    for (const LogEntry& entry : first.log) {
        expect_ok(other->apply(entry));
        expect_ok(other->checkpoint());
        if (entry.index.value % 2 == 0) {
            other.restart();
        }
    }
    EXPECT_EQ(other->digest().value(), first->digest().value());
}

TEST_F(RegionMerge, MalformedOperationsAreRefusedNotGuessed) {
    const auto refused = [&](const Fill& fill) {
        Member member{make_memory_kv_home()};
        for (const LogEntry& entry : (*this)[1].log) {
            expect_ok(member->apply(entry));
        }
        LogEntry entry;
        entry.term = Term{1};
        entry.index = LogIndex{member->applied_index().value + 1};
        entry.hybrid_time = 9000;
        entry.payload = stamp_write_set((*this)[1].header(), write_set(fill));
        const Result<> done = member->apply(entry);
        EXPECT_FALSE(done);
        EXPECT_EQ(done.error().code(), ErrorCode::kCorruption);
    };
    refused([](auto& w) { w.delete_node(NodeId{UINT64_MAX}); });
    refused([](auto& w) { w.create_relationship(RelId{5}, edge(NodeId{UINT64_MAX}, NodeId{0})); });
    refused([](auto& w) {
        NodeData hidden;
        auto stamps = std::make_shared<EntityStamps>();
        stamps->life = Life::kHidden;
        hidden.stamps = stamps;
        w.merge_node(NodeId{64}, hidden);
    });
}

}  // namespace
}  // namespace nornic::engine::testing
