#include "tests/engine/member.h"

#include "base/bytes.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

namespace nornic::engine {
namespace {

using testing::all_chunks;
using testing::Member;
using testing::still_settings;

Result<> copy(EngineHost& from, EngineHost& to, std::size_t bytes = 4096) {
    NORNIC_TRY(const auto out, from.begin_export());
    NORNIC_TRY(auto in, to.begin_import(out->info()));
    NORNIC_TRY(out->seek(in->position()));
    while (!in->complete()) {
        NORNIC_TRY(const SnapshotChunk chunk, out->next(bytes));
        NORNIC_TRY(in->add(chunk));
    }
    return to.install(std::move(in));
}

TEST(EngineHost, BehavesLikeTheEngineInIt) {
    Member a{make_memory_kv_home()};
    EXPECT_EQ(a->applied_term(), Term{0});
    EXPECT_EQ(a->history().size(), 36U);
    a.fill(100);
    EXPECT_EQ(a.things(), 100U);
    EXPECT_EQ(a->applied_term(), Term{1});
    EXPECT_EQ(a->applied_index(), LogIndex{a.log.size()});
    EXPECT_TRUE(a->await_indexes("neo4j", "by_value", kNoDeadline));
    LogIndex told;
    a->on_checkpoint([&](LogIndex at) { told = at; });
    ASSERT_TRUE(a->checkpoint());
    EXPECT_EQ(told, a->applied_index());
    EXPECT_EQ(a->durable_index(), a->applied_index());
    const std::uint64_t digest = a.digest();
    const std::string history = a->history();
    a.close();
    crash_memory_kv_home(a.home());
    a.open();
    EXPECT_EQ(a.digest(), digest);
    EXPECT_EQ(a->history(), history);
    EXPECT_EQ(a->applied_term(), Term{1});
}

TEST(EngineHost, AnotherHistoryIsThereAfterARestartAndChangesNothingElse) {
    Member a{make_memory_kv_home()};
    a.fill(10);
    const std::string history = a->history();
    const std::string element_uuid = a->databases().front().uuid;
    ASSERT_TRUE(a->renew_history());
    const std::string renewed = a->history();
    EXPECT_NE(renewed, history);
    EXPECT_EQ(renewed.size(), 36U);
    EXPECT_EQ(a.things(), 10U);
    EXPECT_EQ(a->databases().front().uuid, element_uuid);
    a.close();
    crash_memory_kv_home(a.home());
    a.open();
    EXPECT_EQ(a->history(), renewed);
    EXPECT_EQ(a.things(), 10U);
    a.create(Value{"more"}, Term{2});
    ASSERT_TRUE(a->checkpoint());
    a.restart();
    EXPECT_EQ(a->history(), renewed);
    EXPECT_EQ(a.things(), 11U);
}

TEST(EngineHost, ReloadForgetsWhatNoCheckpointHolds) {
    Member a{make_memory_kv_home()};
    a.fill(100);
    ASSERT_TRUE(a->checkpoint());
    const LogIndex durable = a->durable_index();
    const std::uint64_t digest = a.digest();
    a.create(Value{"lost"}, Term{3});
    a.create(Value{"lost, too"}, Term{3});
    EXPECT_NE(a.digest(), digest);
    LogIndex told;
    a->on_checkpoint([&](LogIndex at) { told = at; });
    ASSERT_TRUE(a->reload());
    EXPECT_EQ(a->applied_index(), durable);
    EXPECT_EQ(a->durable_index(), durable);
    EXPECT_EQ(a->applied_term(), Term{1});
    EXPECT_EQ(a.digest(), digest);
    EXPECT_EQ(a.things(), 100U);
    // Another branch goes on from there, and the callback with it.
    a.create(Value{"kept"}, Term{4});
    ASSERT_TRUE(a->checkpoint());
    EXPECT_EQ(told, LogIndex{durable.value + 1});
    EXPECT_EQ(a->applied_term(), Term{4});
    EXPECT_EQ(a.things(), 101U);
}

using Membership = std::pair<LogIndex, std::string>;

Membership change_membership(Member& member, const std::string& payload) {
    EXPECT_TRUE(member.apply(payload, Term{1}, EntryKind::kMembership));
    return {member->applied_index(), payload};
}

TEST(EngineHost, TheNewestMembershipIsPartOfTheState) {
    Member a{make_memory_kv_home()};
    const std::uint64_t without = a.digest();
    EXPECT_EQ(a->membership(), (Membership{LogIndex{0}, ""}));
    change_membership(a, "a");
    const Membership two = change_membership(a, std::string{"a, b\0", 5});
    a.create(Value{"later"});
    EXPECT_EQ(a->membership(), two);
    EXPECT_NE(a.digest(), without);
    ASSERT_TRUE(a->checkpoint());
    a.create(Value{"later still"});
    ASSERT_TRUE(a->checkpoint()) << "one in which it did not change";
    a.close();
    crash_memory_kv_home(a.home());
    a.open();
    EXPECT_EQ(a->membership(), two);
}

TEST(EngineHost, AMembershipThatNoCheckpointHoldsIsForgottenWithTheRest) {
    Member a{make_memory_kv_home()};
    const Membership one = change_membership(a, "a");
    ASSERT_TRUE(a->checkpoint());
    change_membership(a, "a, b");
    ASSERT_TRUE(a->reload());
    EXPECT_EQ(a->membership(), one);
    const Membership other = change_membership(a, "a, c");
    EXPECT_EQ(a->membership(), other);
    ASSERT_TRUE(a->checkpoint());
    a.restart();
    EXPECT_EQ(a->membership(), other);
}

TEST(EngineHost, ASnapshotBringsTheMembershipOrItsAbsence) {
    Member a{make_memory_kv_home()};
    Member b{make_memory_kv_home(), still_settings(2)};
    a.fill(10);
    ASSERT_TRUE(copy(*a, *b));
    EXPECT_EQ(b->membership(), (Membership{LogIndex{0}, ""}));
    const Membership one = change_membership(a, std::string(5000, 'm'));
    a.create(Value{"later"});
    ASSERT_TRUE(copy(*a, *b, 512));
    EXPECT_EQ(b->membership(), one);
    EXPECT_EQ(b.digest(), a.digest());
    b.restart();
    EXPECT_EQ(b->membership(), one);
}

TEST(EngineHost, TransactionsOfTheStateBeforeEndWithStopping) {
    Member a{make_memory_kv_home()};
    a.fill(200);
    ASSERT_TRUE(a->checkpoint());
    auto reader = a.begin();
    auto cursor = reader->scan_label(*reader->tokens().label("Thing"));
    NodeId ids[10];
    ASSERT_EQ(cursor->next(ids), 10U);
    auto writer = a.begin();
    const NodeId id = writer->create_node({}, {}).value();
    auto prepared = a.begin();
    ASSERT_TRUE(prepared->create_node({}, {}));
    ASSERT_TRUE(prepared->prepare());

    ASSERT_TRUE(a->reload());
    for (Transaction* transaction : {reader.get(), writer.get()}) {
        EXPECT_TRUE(transaction->killed());
        EXPECT_EQ(transaction->kill_reason()->code(), ErrorCode::kStopping);
    }
    // Nothing that is still done with them does harm.
    static_cast<void>(cursor->next(ids));
    static_cast<void>(reader->node(ids[0]));
    EXPECT_EQ(reader->node_count(std::nullopt), 200U);
    EXPECT_FALSE(writer->create_node({}, {}));
    EXPECT_FALSE(writer->prepare());
    static_cast<void>(writer->node(id));
    for (int i = 0; i < 50; ++i) {
        a.create(Value{std::int64_t{i}});
    }
    ASSERT_TRUE(a->checkpoint());
    cursor.reset();
    reader.reset();
    prepared->finish();
    EXPECT_EQ(a.things(), 250U);
    a.close();
    writer.reset();
    prepared.reset();
}

TEST(EngineHost, TellsThatTheStateIsReplacedBetweenTheTwo) {
    Member a{make_memory_kv_home()};
    Member b{make_memory_kv_home(), still_settings(2)};
    a.fill(50);
    std::vector<std::uint64_t> nodes;
    b->on_replaced([&] {
        EXPECT_EQ(b.try_begin().error().code(), ErrorCode::kStopping);
        nodes.push_back(b->applied_index().value);
    });
    ASSERT_TRUE(b->reload());
    ASSERT_TRUE(copy(*a, *b));
    EXPECT_EQ(nodes.size(), 2U);
    EXPECT_EQ(b.things(), 50U);
}

TEST(EngineHost, ASnapshotPutsOneMembersStateInThePlaceOfAnothers) {
    Member a{make_memory_kv_home()};
    Member b{make_memory_kv_home(), still_settings(2)};
    a.fill(500);
    b.fill(100);
    b.create(Value{"only there"});
    EXPECT_NE(a->history(), b->history());
    auto old = b.begin();
    LogIndex told;
    b->on_checkpoint([&](LogIndex at) { told = at; });
    const Result<> copied = copy(*a, *b);
    ASSERT_TRUE(copied) << copied.error().message();
    EXPECT_EQ(b.digest(), a.digest());
    EXPECT_EQ(b->history(), a->history());
    EXPECT_EQ(b->applied_index(), a->applied_index());
    EXPECT_EQ(b->durable_index(), a->applied_index());
    EXPECT_EQ(b->applied_term(), a->applied_term());
    EXPECT_EQ(b.things(), 500U);
    EXPECT_EQ(old->kill_reason()->code(), ErrorCode::kStopping);
    EXPECT_TRUE(b->await_indexes("neo4j", "by_value", kNoDeadline));
    // Both go on alike.
    b.log = a.log;
    for (int i = 0; i < 20; ++i) {
        a.create(Value{std::int64_t{i}}, Term{5});
        ASSERT_TRUE(b.apply(a.log.back().payload, Term{5}));
    }
    EXPECT_EQ(b.digest(), a.digest());
    ASSERT_TRUE(b->checkpoint());
    EXPECT_EQ(told, b->applied_index());
    b.close();
    crash_memory_kv_home(b.home());
    b.open();
    EXPECT_EQ(b.digest(), a.digest());
}

TEST(EngineHost, AnExportIsOfItsIndexWhateverIsAppliedMeanwhile) {
    Member a{make_memory_kv_home()};
    a.fill(100);
    const std::uint64_t digest = a.digest();
    const auto out = a->begin_export();
    ASSERT_TRUE(out);
    EXPECT_EQ(out.value()->info().index, a->applied_index());
    for (int i = 0; i < 20; ++i) {
        a.create(Value{std::int64_t{i}});
        ASSERT_TRUE(a->checkpoint());
    }
    Member b{make_memory_kv_home(), still_settings(2)};
    auto in = b->begin_import(out.value()->info()).value();
    for (const SnapshotChunk& chunk : all_chunks(*out.value(), 1000)) {
        ASSERT_TRUE(in->add(chunk));
    }
    ASSERT_TRUE(b->install(std::move(in)));
    EXPECT_EQ(b.digest(), digest);
}

TEST(EngineHost, IsFreshlyInstalledUntilSomethingOnTopOfItIsDurable) {
    Member a{make_memory_kv_home()};
    Member b{make_memory_kv_home(), still_settings(2)};
    a.fill(50);
    EXPECT_FALSE(b->freshly_installed());
    ASSERT_TRUE(copy(*a, *b));
    EXPECT_TRUE(b->freshly_installed());
    ASSERT_TRUE(b->checkpoint());
    EXPECT_TRUE(b->freshly_installed());
    ASSERT_TRUE(b->reload());
    EXPECT_TRUE(b->freshly_installed());
    b.close();
    crash_memory_kv_home(b.home());
    b.open();
    EXPECT_TRUE(b->freshly_installed());
    EXPECT_EQ(b.digest(), a.digest());

    // It can be given on, and is the same there.
    Member c{make_memory_kv_home(), still_settings(3)};
    ASSERT_TRUE(copy(*b, *c, 77));
    EXPECT_EQ(c.digest(), a.digest());
    EXPECT_TRUE(c->freshly_installed());

    b.create(Value{1});
    EXPECT_TRUE(b->freshly_installed());
    ASSERT_TRUE(b->checkpoint());
    EXPECT_FALSE(b->freshly_installed());
    b.close();
    crash_memory_kv_home(b.home());
    b.open();
    EXPECT_FALSE(b->freshly_installed());
}

TEST(EngineHost, AnImportGoesOnAfterARestartAndBeginsAnewUnderAnotherId) {
    Member a{make_memory_kv_home()};
    Member b{make_memory_kv_home(), still_settings(2)};
    a.fill(500);
    const auto out = a->begin_export().value();
    const std::vector<SnapshotChunk> chunks = all_chunks(*out, 2000);
    {
        auto in = b->begin_import(out->info()).value();
        for (std::size_t i = 0; i < chunks.size() / 2; ++i) {
            ASSERT_TRUE(in->add(chunks[i]));
        }
        const auto second = b->begin_import(out->info());
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().code(), ErrorCode::kBusy);
        EXPECT_EQ(b->discard_import().error().code(), ErrorCode::kBusy);
        EXPECT_FALSE(b->install(std::move(in))) << "it is not complete";
    }
    b.restart();
    {
        const auto in = b->begin_import(out->info()).value();
        EXPECT_GT(in->position().pair_count, 0U);
        EXPECT_EQ(in->position().last_key.empty(), false);
    }
    {
        const auto other = a->begin_export().value();
        EXPECT_NE(other->info().id, out->info().id);
        const auto in = b->begin_import(other->info()).value();
        EXPECT_EQ(in->position(), SnapshotPosition{});
    }
    auto in = b->begin_import(out->info()).value();
    EXPECT_EQ(in->position(), SnapshotPosition{});
    ASSERT_TRUE(in->add(chunks[0]));
    in.reset();
    ASSERT_TRUE(b->discard_import());
    in = b->begin_import(out->info()).value();
    EXPECT_EQ(in->position(), SnapshotPosition{});
    for (const SnapshotChunk& chunk : chunks) {
        ASSERT_TRUE(in->add(chunk));
    }
    ASSERT_TRUE(b->install(std::move(in)));
    EXPECT_EQ(b.digest(), a.digest());
}

TEST(EngineHost, ACompleteImportThatIsNotWhatWasAnnouncedChangesNothing) {
    Member a{make_memory_kv_home()};
    Member b{make_memory_kv_home(), still_settings(2)};
    a.fill(50);
    b.fill(60);
    const std::uint64_t before = b.digest();
    for (int what = 0; what < 4; ++what) {
        const auto out = a->begin_export().value();
        SnapshotInfo info = out->info();
        switch (what) {
            case 0:
                ++info.index.value;
                break;
            case 1:
                ++info.term.value;
                break;
            case 2:
                info.history = b->history();
                break;
            default:
                break;
        }
        auto in = b->begin_import(info).value();
        std::vector<SnapshotChunk> chunks = all_chunks(*out, 4096);
        if (what == 3) {
            // Well-formed pairs that are no state.
            std::string pairs;
            ByteWriter writer{pairs};
            writer.put_string("mstate");
            writer.put_string("nonsense");
            chunks = {SnapshotChunk{pairs, crc32c(0, pairs), true, 1, 0}};
            std::uint64_t digest = kSnapshotDigestStart;
            for (const char c : pairs) {
                digest = (digest ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
            }
            chunks.front().digest = digest;
        }
        for (const SnapshotChunk& chunk : chunks) {
            ASSERT_TRUE(in->add(chunk));
        }
        auto running = b.begin();
        const Result<> installed = b->install(std::move(in));
        ASSERT_FALSE(installed);
        EXPECT_EQ(installed.error().code(), ErrorCode::kCorruption);
        EXPECT_FALSE(running->killed());
        EXPECT_EQ(b.digest(), before);
    }
    b.create(Value{"it goes on"});
}

TEST(EngineHost, TheSameEntriesGiveTheSameStateAndTheSamePairs) {
    Member a{make_memory_kv_home()};
    Member b{make_memory_kv_home()};
    EXPECT_EQ(a->history(), b->history()) << "one seed";
    a.fill(500);
    for (const LogEntry& entry : a.log) {
        ASSERT_TRUE(b->apply(entry));
    }
    EXPECT_EQ(a.digest(), b.digest());
    const auto pairs = [](Member& member) {
        std::string all;
        for (const SnapshotChunk& chunk : all_chunks(*member->begin_export().value(), 5000)) {
            all += chunk.pairs;
        }
        return all;
    };
    EXPECT_EQ(pairs(a), pairs(b));
    Member c{make_memory_kv_home(), still_settings(9)};
    EXPECT_NE(a->history(), c->history());
}

TEST(EngineHost, WithoutThreadsDirtyPagesAreWrittenByWhoNeedsTheRoom) {
    Settings settings = still_settings(1);
    settings.cache_bytes_max = std::size_t{1} << 20;
    Member a{make_memory_kv_home(), settings};
    for (int i = 0; i < 300; ++i) {
        a.create(Value{std::string(20'000, 'x')});
    }
    EXPECT_GT(a->stats().checkpoints, 1U);
    EXPECT_EQ(a.things(), 300U);
}

TEST(EngineHost, AStoppedOneBeginsNothing) {
    Member a{make_memory_kv_home(), Settings{}};
    auto transaction = a.begin();
    a->stop();
    EXPECT_EQ(transaction->kill_reason()->code(), ErrorCode::kStopping);
    EXPECT_EQ(a.try_begin().error().code(), ErrorCode::kStopping);
    EXPECT_EQ(a->reload().error().code(), ErrorCode::kStopping);
    EXPECT_EQ(a->begin_import({"x", LogIndex{1}, Term{1}, "h", 0}).error().code(), ErrorCode::kStopping);
}

TEST(EngineHost, ReadersAndCheckpointsRunBesideReplacements) {
    Settings settings;
    settings.checkpoint_interval = std::chrono::milliseconds{1};
    Member a{make_memory_kv_home(), settings};
    a.fill(300);
    ASSERT_TRUE(a->checkpoint());
    Member b{make_memory_kv_home(), settings};
    ASSERT_TRUE(copy(*a, *b));
    std::atomic<bool> done{false};
    std::atomic<int> reads{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back([&] {
            while (!done) {
                auto begun = b.try_begin();
                if (!begun) {
                    EXPECT_EQ(begun.error().code(), ErrorCode::kStopping);
                    continue;
                }
                Transaction& transaction = *begun.value();
                const auto label = transaction.tokens().label("Thing");
                auto cursor = transaction.scan_label(*label);
                NodeId ids[64];
                std::size_t seen = 0;
                std::size_t n = 0;
                do {
                    n = cursor->next(ids);
                    for (std::size_t j = 0; j < n; ++j) {
                        seen += transaction.node(ids[j]) != nullptr ? 1 : 0;
                    }
                } while (n == std::size(ids));
                if (!transaction.killed()) {
                    EXPECT_GE(seen, 300U);
                    ++reads;
                }
            }
        });
    }
    threads.emplace_back([&] {
        while (!done) {
            const Result<> written = b->checkpoint();
            EXPECT_TRUE(written || written.error().code() == ErrorCode::kStopping);
            static_cast<void>(b->begin_export());
            static_cast<void>(b->stats());
        }
    });
    for (int round = 0; round < 40; ++round) {
        for (int i = 0; i < 5; ++i) {
            b.create(Value{std::int64_t{i}});
        }
        if (round % 4 == 3) {
            ASSERT_TRUE(copy(*a, *b));
        } else {
            ASSERT_TRUE(b->reload());
        }
    }
    while (reads < 5) {
        std::this_thread::yield();
    }
    done = true;
    for (std::thread& thread : threads) {
        thread.join();
    }
}

}  // namespace
}  // namespace nornic::engine
