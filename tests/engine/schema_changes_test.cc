// Indexes and constraints through transactions: population beside writes, validation, races.
#include "engine/transaction/storable.h"
#include "tests/engine/harness.h"

#include <atomic>
#include <thread>

namespace nornic::engine {
namespace {

using namespace testing;

Deadline soon() {
    return system_clock().now() + std::chrono::seconds{30};
}

IndexQuery equals_query(const Value& value) {
    IndexQuery query;
    query.columns.push_back({.kind = IndexQuery::Kind::kEquals, .value = value});
    return query;
}

TEST(SchemaChanges, ADatabaseBeginsWithItsTwoLookupIndexes) {
    Harness h;
    auto t = h.begin();
    ASSERT_EQ(t->schema()->indexes.size(), 2U);
    EXPECT_NE(t->schema()->index_named("index_343aff4e"), nullptr);
    EXPECT_NE(t->schema()->index_named("index_f7700477"), nullptr);
}

TEST(SchemaChanges, AnIndexMadeOverExistingDataWhileOthersWriteMissesNothing) {
    Harness h;
    constexpr int kBefore = 20000;
    ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
        for (int i = 0; i < kBefore; ++i) {
            NORNIC_TRY(create(t, "P", "id", i));
        }
        return success();
    }));
    std::atomic<bool> stop{false};
    std::atomic<int> written{kBefore};
    std::thread writer{[&] {
        while (!stop) {
            const int id = written.load();
            ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
                NORNIC_TRY(create(t, "P", "id", id));
                // And one that moves to another key, which the index must follow.
                NORNIC_TRY(
                    t.set_property(NodeId{static_cast<std::uint64_t>(id % 100) << kRegionBits},
                                   key(t, "id"),
                                   -id));
                return success();
            }));
            ++written;
        }
    }};
    ASSERT_TRUE(h.write([&](Transaction& t) {
        return t.create_index({.name = "ids", .tokens = {"P"}, .properties = {"id"}});
    }));
    const auto online = h->await_indexes("neo4j", "ids", soon());
    stop = true;
    writer.join();
    ASSERT_TRUE(online) << online.error().message();
    for (int round = 0; round < 3; ++round) {
        auto t = h.begin();
        const IndexView* index = t->schema()->index_named("ids");
        ASSERT_NE(index, nullptr);
        ASSERT_EQ(index->state, IndexState::kOnline);
        const PropertyKeyId id_key = key(*t, "id");
        for (const std::uint64_t id : drain(*t->scan_label(label(*t, "P")))) {
            const Value value = *t->node(NodeId{id})->property(id_key);
            const auto found = drain(*t->seek_nodes(index->rule.id, equals_query(value)));
            ASSERT_TRUE(std::find(found.begin(), found.end(), id) != found.end())
                << id << " " << to_cypher_text(value);
        }
        t.reset();
        if (round == 0) {
            ASSERT_TRUE(h->checkpoint());
        }
        h.crash();
        ASSERT_TRUE(h->await_indexes("neo4j", "ids", soon()));
    }
}

TEST(SchemaChanges, ErrorTextsOfRulesThatExistOrDoNot) {
    Harness h;
    const IndexDefinition definition{.name = "pra", .tokens = {"PR"}, .properties = {"a"}};
    ASSERT_TRUE(h.write([&](Transaction& t) { return t.create_index(definition); }));
    auto t = h.begin();
    EXPECT_EQ(t->create_index(definition).error().message(),
              "An equivalent index already exists, 'Index( id=3, name='pra', type='RANGE', "
              "schema=(:PR {a}), "
              "indexProvider='range-1.0' )'.");
    t = h.begin();
    EXPECT_EQ(
        t->create_index({.name = "other", .tokens = {"PR"}, .properties = {"a"}}).error().message(),
        "There already exists an index (:PR {a}).");
    t = h.begin();
    EXPECT_EQ(t->drop_index("nope").error().message(),
              "Unable to drop index called `nope`. There is no such index.");
    t = h.begin();
    ASSERT_TRUE(create(*t, "PR", "a", 1));
    EXPECT_EQ(t->create_index({.tokens = {"PR"}, .properties = {"b"}}).error().code(),
              ErrorCode::kForbiddenByTransactionType);
    t.reset();
    ASSERT_TRUE(h.write([&](Transaction& w) { return w.drop_index("pra"); }));
    EXPECT_EQ(h.begin()->schema()->index_named("pra"), nullptr);
    ASSERT_TRUE(h->checkpoint());
    h.crash();
    EXPECT_EQ(h.begin()->schema()->index_named("pra"), nullptr);
}

TEST(SchemaChanges, AUniqueConstraintRefusesDuplicatesOldAndNew) {
    Harness h;
    ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
        NORNIC_TRY(create(t, "UQ", "k", 7));
        NORNIC_TRY(create(t, "UQ", "k", 7));
        NORNIC_TRY(create(t, "UQ", "k", 1));
        return success();
    }));
    const ConstraintDefinition unique{.name = "c", .token = "UQ", .properties = {"k"}};
    auto t = h.begin();
    auto refused = t->create_constraint(unique);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kConstraintCreationFailed);
    EXPECT_NE(refused.error().message().find(
                  "Both Node(0) and Node(32) have the label `UQ` and property `k` = 7"),
              std::string::npos)
        << refused.error().message();
    t.reset();
    ASSERT_TRUE(h.write([&](Transaction& w) {
        return w.set_property(NodeId{0}, key(w, "k"), 2).has_value()
                   ? Result<>{success()}
                   : fail(ErrorCode::kInternal, "");
    }));
    const auto made = h.write([&](Transaction& w) { return w.create_constraint(unique); });
    ASSERT_TRUE(made) << made.error().message();

    for (int round = 0; round < 2; ++round) {
        t = h.begin();
        EXPECT_EQ(t->schema()->constraints.size(), 1U);
        const auto twice = create(*t, "UQ", "k", 1);
        ASSERT_FALSE(twice);
        EXPECT_EQ(twice.error().code(), ErrorCode::kConstraintViolation);
        EXPECT_EQ(twice.error().message(),
                  "Node(64) already exists with label `UQ` and property `k` = 1");
        t = h.begin();
        EXPECT_FALSE(create(*t, "UQ", "k", 1.0)) << "1 and 1.0 are one value";
        t = h.begin();
        ASSERT_TRUE(create(*t, "UQ", "k", 50));
        EXPECT_FALSE(create(*t, "UQ", "k", 50)) << "its own count too";
        t = h.begin();
        const NodeId moved{64};
        ASSERT_TRUE(t->set_property(moved, key(*t, "k"), 99));
        EXPECT_TRUE(create(*t, "UQ", "k", 1)) << "the value is free again in this transaction";
        t = h.begin();
        const NodeId other = create(*t, "Other", "k", 1).value();
        EXPECT_FALSE(t->add_label(other, label(*t, "UQ")));
        t.reset();
        ASSERT_TRUE(h->checkpoint());
        h.crash();
        ASSERT_TRUE(h->await_indexes("neo4j", "", soon()));
    }
    EXPECT_TRUE(h.write([&](Transaction& w) { return w.drop_constraint("c"); }));
    t = h.begin();
    EXPECT_TRUE(create(*t, "UQ", "k", 1));
    EXPECT_EQ(t->schema()->indexes.size(), 2U) << "its index went with it";
}

TEST(SchemaChanges, OfManyThreadsThatCreateOneKeyExactlyOneWins) {
    Harness h;
    ASSERT_TRUE(h.write(
        [&](Transaction& t) { return t.create_constraint({.token = "UQ", .properties = {"k"}}); }));
    constexpr int kKeys = 40;
    constexpr int kThreads = 4;
    std::atomic<int> won{0};
    std::atomic<int> violated{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
        threads.emplace_back([&] {
            for (int k = 0; k < kKeys; ++k) {
                while (true) {
                    const auto done = h.write([&](Transaction& t) -> Result<> {
                        NORNIC_TRY(create(t, "UQ", "k", k));
                        return success();
                    });
                    if (done) {
                        ++won;
                    } else if (done.error().code() == ErrorCode::kConstraintViolation) {
                        ++violated;
                    } else {
                        ASSERT_EQ(done.error().code(), ErrorCode::kConflict)
                            << done.error().message();
                        continue;
                    }
                    break;
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    EXPECT_EQ(won, kKeys);
    EXPECT_EQ(violated, kKeys * (kThreads - 1));
    EXPECT_EQ(h.begin()->node_count(std::nullopt), static_cast<std::uint64_t>(kKeys));
}

TEST(SchemaChanges, ExistenceKeyAndTypeAreCheckedAtTheEnd) {
    Harness h;
    ASSERT_TRUE(h.write([&](Transaction& t) {
        return t.create_constraint(
            {.type = ConstraintType::kExists, .token = "L", .properties = {"p"}});
    }));
    ASSERT_TRUE(h.write([&](Transaction& t) {
        return t.create_constraint({.type = ConstraintType::kPropertyType,
                                    .token = "L",
                                    .properties = {"n"},
                                    .property_types = {property_type(PropertyTypeBit::kInteger)}});
    }));
    auto t = h.begin();
    const LabelId l = label(*t, "L");
    const NodeId n = t->create_node(std::span{&l, 1}, {}).value();
    const auto missing = t->prepare();
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().message(), "Node(0) with label `L` must have the property `p`");
    EXPECT_EQ(missing.error().code(), ErrorCode::kConstraintViolation);
    ASSERT_TRUE(t->set_property(n, key(*t, "p"), 1)) << "may be set step by step";
    ASSERT_TRUE(t->set_property(n, key(*t, "n"), "text"));
    EXPECT_EQ(t->prepare().error().message(),
              "Node(0) with label `L` required the property `n` to be of type `INTEGER`, but was "
              "of type `STRING`.");
    ASSERT_TRUE(t->set_property(n, key(*t, "n"), 5));
    EXPECT_TRUE(h.commit(*t));
    t = h.begin();
    ASSERT_TRUE(t->set_property(n, key(*t, "p"), Value{}));
    EXPECT_FALSE(t->prepare());
}

TEST(SchemaChanges, APlanOlderThanADropEndsItsTransactionInsteadOfTheProcess) {
    Harness h;
    ASSERT_TRUE(h.write([&](Transaction& t) {
        return t.create_index({.name = "i", .tokens = {"P"}, .properties = {"x"}});
    }));
    ASSERT_TRUE(h->await_indexes("neo4j", "i", soon()));
    ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
        NORNIC_TRY(create(t, "P", "x", 1));
        return success();
    }));
    auto before = h.begin(AccessMode::kRead);
    const SchemaRuleId index = before->schema()->index_named("i")->rule.id;
    EXPECT_EQ(before->schema()->index_named("i")->entries, 1U);
    ASSERT_TRUE(h.write([&](Transaction& t) { return t.drop_index("i"); }));
    EXPECT_EQ(drain(*before->seek_nodes(index, equals_query(1))).size(), 1U)
        << "its snapshot still has the index";
    ASSERT_TRUE(h->checkpoint());
    EXPECT_EQ(drain(*before->seek_nodes(index, equals_query(1))).size(), 1U);
    auto after = h.begin(AccessMode::kRead);
    EXPECT_TRUE(drain(*after->seek_nodes(index, equals_query(1))).empty());
    ASSERT_TRUE(after->killed());
    EXPECT_EQ(after->kill_reason()->code(), ErrorCode::kConflict);
    EXPECT_EQ(h->await_indexes("neo4j", "i", soon()).error().code(), ErrorCode::kIndexNotFound);
}

constexpr std::string_view kIndexEntries = "x";
const ConstraintDefinition kUniqueKey{.name = "c", .token = "UQ", .properties = {"k"}};

/// A unique constraint with some entries, all durable.
void make_constraint(Harness& h, int nodes) {
    ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
        for (int i = 0; i < nodes; ++i) {
            NORNIC_TRY(create(t, "UQ", "k", i));
        }
        return success();
    }));
    ASSERT_TRUE(h.write([&](Transaction& t) { return t.create_constraint(kUniqueKey); }));
    ASSERT_TRUE(h->await_indexes("neo4j", "c", soon()));
    ASSERT_TRUE(h->checkpoint());
    ASSERT_EQ(h.keys(kIndexEntries), static_cast<std::size_t>(nodes) + 1) << "and its statistics";
}
Result<> drop_constraint(Harness& h) {
    return h.write([&](Transaction& t) { return t.drop_constraint("c"); });
}

TEST(SchemaChanges, ADropThatComesWhileACheckpointIsWrittenTakesNoEntriesFromTheStateOnDisk) {
    Harness h;
    make_constraint(h, 20);
    const std::size_t before = h.entries();
    h.kv_view->on_flush = [&] { ASSERT_TRUE(drop_constraint(h)); };
    ASSERT_TRUE(h->checkpoint());
    ASSERT_EQ(h.entries(), before + 1);
    ASSERT_TRUE(h.kv_view->flush());
    h.crash(before);
    auto t = h.begin();
    ASSERT_NE(t->schema()->constraint_named("c"), nullptr);
    EXPECT_EQ(create(*t, "UQ", "k", 7).error().code(), ErrorCode::kConstraintViolation);
    EXPECT_EQ(drain(*t->seek_nodes(t->schema()->index_named("c")->rule.id, equals_query(7))).size(), 1U);
}

TEST(SchemaChanges, EntriesOfADroppedIndexThatCannotBeErasedSpoilNoCheckpointAndGoWithTheNext) {
    Harness h;
    make_constraint(h, 20);
    ASSERT_TRUE(drop_constraint(h));
    std::atomic<int> told{0};
    h->on_checkpoint([&](LogIndex) { ++told; });
    h.kv_view->on_flush = [&] { h.kv_view->fail_writes = true; };
    ASSERT_TRUE(h->checkpoint());
    EXPECT_EQ(told, 1);
    EXPECT_EQ(h.kv_view->refused_writes, 1);
    EXPECT_EQ(h.keys(kIndexEntries), 21U);
    h.kv_view->fail_writes = false;
    ASSERT_TRUE(h->checkpoint());
    EXPECT_EQ(h.keys(kIndexEntries), 0U);
}

TEST(SchemaChanges, EntriesOfADroppedIndexThatACrashLeftGoAtTheNextStart) {
    Harness h;
    make_constraint(h, 20);
    ASSERT_TRUE(h.write([&](Transaction& t) {
        return t.create_index({.name = "kept", .tokens = {"UQ"}, .properties = {"other"}});
    }));
    ASSERT_TRUE(h->await_indexes("neo4j", "kept", soon()));
    ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
        NORNIC_TRY(create(t, "UQ", "other", 1));
        return success();
    }));
    ASSERT_TRUE(drop_constraint(h));
    ASSERT_TRUE(h->checkpoint());
    h.crash();
    EXPECT_EQ(h.keys(kIndexEntries), 2U) << "an entry and the statistics of the index that stays";
    auto t = h.begin();
    EXPECT_EQ(drain(*t->seek_nodes(t->schema()->index_named("kept")->rule.id, equals_query(1))).size(), 1U);
}

TEST(SchemaChanges, AnIndexThatAFullDiskKeepsFromBeingPopulatedIsPopulatedOnceThereIsRoom) {
    Harness h;
    ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
        NORNIC_TRY(create(t, "P", "x", 1));
        return success();
    }));
    h.kv_view->fail_writes = true;
    ASSERT_TRUE(h.write([&](Transaction& t) {
        return t.create_index({.name = "i", .tokens = {"P"}, .properties = {"x"}});
    }));
    while (h.kv_view->refused_writes == 0) {
        std::this_thread::yield();
    }
    h.kv_view->fail_writes = false;
    const auto online = h->await_indexes("neo4j", "i", soon());
    ASSERT_TRUE(online) << online.error().message();
    auto t = h.begin();
    EXPECT_EQ(drain(*t->seek_nodes(t->schema()->index_named("i")->rule.id, equals_query(1))).size(), 1U);
}

TEST(SchemaChanges, WhatAnswersWhetherALabelFitsAConstraintCountsAgainstTheTransactionsMemoryAndIsGivenBack) {
    constexpr std::size_t kBytesMax = 64 << 10;
    Settings settings = quiet_settings();
    settings.transaction_bytes_max = kBytesMax;
    Harness h{settings};
    const auto add = [&](int from, int to) {
        for (int i = from; i < to; i += 100) {
            ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
                for (int j = i; j < i + 100; ++j) {
                    NORNIC_TRY(create(t, "UQ", "k", j));
                }
                return success();
            }));
        }
    };
    add(0, 2000);
    {
        auto t = h.begin();
        const std::size_t before = t->memory_bytes();
        ASSERT_TRUE(t->create_constraint(kUniqueKey));
        EXPECT_LT(t->memory_bytes(), before + (8 << 10));
    }
    add(2000, 5000);
    auto t = h.begin();
    EXPECT_EQ(t->create_constraint(kUniqueKey).error().code(), ErrorCode::kMemoryLimit);
}

TEST(SchemaChanges, NobodyWhoCommitsAConstraintIsHeldUpByItsIndexUnlessHeWantsToBe) {
    Harness h;
    ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
        NORNIC_TRY(create(t, "UQ", "k", 1));
        return success();
    }));
    h.kv_view->fail_writes = true;  // so that the index is not populated
    auto maker = h.begin();
    ASSERT_TRUE(maker->create_constraint(kUniqueKey));
    EXPECT_FALSE(maker->awaits_indexes()) << "nothing is committed";
    ASSERT_TRUE(h.commit(*maker));
    EXPECT_TRUE(maker->awaits_indexes());
    {
        // A writer of the label waits for it, as long as it has time.
        auto t = h.begin(AccessMode::kWrite, system_clock().now() + std::chrono::milliseconds{300});
        EXPECT_EQ(create(*t, "UQ", "k", 2).error().code(), ErrorCode::kTransactionTimedOut);
        auto killed = h.begin();
        std::thread writer{[&] { EXPECT_EQ(create(*killed, "UQ", "k", 2).error().code(), ErrorCode::kTerminated); }};
        killed->terminate(Error{ErrorCode::kTerminated, "no longer wanted"});
        writer.join();
        EXPECT_TRUE(create(*h.begin(), "Other", "k", 2));
    }
    auto impatient = h.begin();
    ASSERT_TRUE(impatient->create_constraint({.name = "c2", .token = "UQ", .properties = {"other"}}));
    ASSERT_TRUE(h.commit(*impatient));
    ASSERT_TRUE(impatient->awaits_indexes());
    impatient->terminate(Error{ErrorCode::kTerminated, "no longer wanted"});
    impatient->await_indexes();
    EXPECT_TRUE(impatient->awaits_indexes());

    h.kv_view->fail_writes = false;
    maker->await_indexes();
    EXPECT_FALSE(maker->awaits_indexes());
    auto t = h.begin();
    EXPECT_EQ(t->schema()->index_named("c")->state, IndexState::kOnline);
    EXPECT_EQ(create(*t, "UQ", "k", 1).error().code(), ErrorCode::kConstraintViolation);
}

TEST(SchemaChanges, AWriterWhoseConstraintIsDroppedByAnEntryFromElsewhereRunsAgain) {
    Harness h;
    Harness elsewhere;
    for (Harness* member : {&h, &elsewhere}) {
        make_constraint(*member, 3);
    }
    auto t = h.begin();
    ASSERT_TRUE(create(*t, "UQ", "k", 50));
    ASSERT_TRUE(drop_constraint(elsewhere));
    ASSERT_TRUE(h.apply(elsewhere.last_entry()));
    EXPECT_EQ(create(*t, "UQ", "k", 51).error().code(), ErrorCode::kConflict);
    t->restart_keeping_locks();
    EXPECT_TRUE(create(*t, "UQ", "k", 50));
    EXPECT_TRUE(create(*t, "UQ", "k", 1)) << "nothing forbids it any more";
    EXPECT_TRUE(h.commit(*t));
}

TEST(SchemaChanges, OwnChangesAreFoundThroughTheIndexInItsOrder) {
    Harness h;
    ASSERT_TRUE(h.write([&](Transaction& t) {
        return t.create_index({.name = "i", .tokens = {"P"}, .properties = {"x"}});
    }));
    ASSERT_TRUE(h->await_indexes("neo4j", "i", soon()));
    ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
        for (int i = 0; i < 300; i += 2) {
            NORNIC_TRY(create(t, "P", "x", i));
        }
        return success();
    }));
    auto t = h.begin();
    const SchemaRuleId index = t->schema()->index_named("i")->rule.id;
    for (int i = 1; i < 300; i += 2) {
        ASSERT_TRUE(create(*t, "P", "x", i));
    }
    ASSERT_TRUE(t->set_property(NodeId{0}, key(*t, "x"), 1000));
    ASSERT_TRUE(t->delete_node(NodeId{1 << kRegionBits}));
    for (const bool descending : {false, true}) {
        IndexQuery query;
        query.columns.push_back({});
        query.descending = descending;
        std::vector<std::int64_t> got;
        for (const std::uint64_t id : drain(*t->seek_nodes(index, query))) {
            got.push_back(t->node(NodeId{id})->property(key(*t, "x"))->as_integer());
        }
        if (descending) {
            std::reverse(got.begin(), got.end());
        }
        std::vector<std::int64_t> want{1};
        for (int i = 3; i < 300; ++i) {
            want.push_back(i);
        }
        want.push_back(1000);
        EXPECT_EQ(got, want);
    }
    EXPECT_TRUE(drain(*t->seek_nodes(index, equals_query(0))).empty());
    EXPECT_EQ(drain(*t->seek_nodes(index, equals_query(1000))), std::vector<std::uint64_t>{0});
}

}  // namespace
}  // namespace nornic::engine
