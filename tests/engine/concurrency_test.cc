// Many threads on one engine: counters that lose nothing, snapshots that hold still, checkpoints
// and evictions beside all that.
#include "base/random.h"
#include "tests/engine/harness.h"

#include <atomic>
#include <thread>

namespace nornic::engine {
namespace {

using namespace testing;

TEST(EngineConcurrency, IncrementsFromManyThreadsLoseNothing) {
    Harness h;
    NodeId n;
    ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
        NORNIC_TRY(n, create(t, "C", "n", 0));
        return success();
    }));
    constexpr int kThreads = 8;
    constexpr int kEach = 200;
    std::atomic<int> reruns{0};
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
        threads.emplace_back([&] {
            for (int k = 0; k < kEach; ++k) {
                auto t = h.begin();
                const PropertyKeyId property = key(*t, "n");
                for (int attempt = 0;; ++attempt) {
                    const std::int64_t now = t->node(n)->property(property)->as_integer();
                    const auto set = t->set_property(n, property, now + 1);
                    if (set) {
                        break;
                    }
                    ASSERT_EQ(set.error().code(), ErrorCode::kConflict);
                    // The lock was kept, so a second run cannot lose again.
                    ASSERT_LT(attempt, 1);
                    ++reruns;
                    t->restart_keeping_locks();
                }
                ASSERT_TRUE(h.commit(*t));
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    auto t = h.begin();
    EXPECT_EQ(t->node(n)->property(key(*t, "n"))->as_integer(), kThreads * kEach);
}

TEST(EngineConcurrency, SumsHoldInEverySnapshotWhileMoneyMovesUnderCheckpoints) {
    Settings settings = quiet_settings();
    settings.cache_bytes_max = 256 << 10;
    settings.checkpoint_log_bytes = 8 << 10;
    Harness h{settings};
    constexpr int kAccounts = 1500;
    constexpr std::int64_t kEach = 100;
    ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
        for (int i = 0; i < kAccounts; ++i) {
            NORNIC_TRY(create(t, "Account", "balance", kEach));
        }
        return success();
    }));
    std::atomic<bool> stop{false};
    std::vector<std::thread> threads;
    std::atomic<int> moved{0};
    for (std::uint64_t seed = 1; seed <= 3; ++seed) {
        threads.emplace_back([&, seed] {
            Random random{seed};
            for (int i = 0; i < 400; ++i) {
                const NodeId from{random.below(kAccounts) << kRegionBits};
                const NodeId to{random.below(kAccounts) << kRegionBits};
                const auto done = h.write([&](Transaction& t) -> Result<> {
                    const PropertyKeyId balance = key(t, "balance");
                    const std::int64_t amount = 1 + static_cast<std::int64_t>(random.below(5));
                    NORNIC_TRY(t.set_property(
                        from, balance, t.node(from)->property(balance)->as_integer() - amount));
                    NORNIC_TRY(t.set_property(
                        to, balance, t.node(to)->property(balance)->as_integer() + amount));
                    NORNIC_TRY(t.create_relationship(from, type(t, "PAID"), to, {}));
                    return success();
                });
                if (done) {
                    ++moved;
                } else {
                    ASSERT_TRUE(done.error().code() == ErrorCode::kConflict ||
                                done.error().code() == ErrorCode::kDeadlock)
                        << done.error().message();
                }
            }
        });
    }
    threads.emplace_back([&] {
        while (!stop) {
            auto t = h.begin(AccessMode::kRead);
            const PropertyKeyId balance = key(*t, "balance");
            for (int round = 0; round < 2; ++round) {
                std::int64_t sum = 0;
                std::uint64_t nodes = 0;
                std::uint64_t outgoing = 0;
                std::uint64_t incoming = 0;
                for (const std::uint64_t id : drain(*t->scan_label(label(*t, "Account")))) {
                    sum += t->node(NodeId{id})->property(balance)->as_integer();
                    outgoing += t->degree(NodeId{id}, Direction::kOutgoing, {});
                    incoming += t->degree(NodeId{id}, Direction::kIncoming, {});
                    ++nodes;
                }
                ASSERT_EQ(nodes, static_cast<std::uint64_t>(kAccounts));
                ASSERT_EQ(sum, kAccounts * kEach);
                ASSERT_EQ(outgoing, incoming);
                ASSERT_EQ(outgoing, t->relationship_count(std::nullopt));
            }
        }
    });
    for (std::size_t i = 0; i < 3; ++i) {
        threads[i].join();
    }
    stop = true;
    threads.back().join();
    EXPECT_GT(moved, 0);
    ASSERT_TRUE(h->checkpoint());
    const std::uint64_t before = h->digest().value();
    h.crash();
    EXPECT_EQ(h->digest().value(), before);
    EXPECT_EQ(h.begin()->relationship_count(std::nullopt),
              static_cast<std::uint64_t>(moved.load()));
}

TEST(EngineConcurrency, ALongChainOfOldVersionsIsLetGoOfWithoutATrace) {
    Harness h;
    NodeId n;
    ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
        NORNIC_TRY(n, create(t, "C", "n", 0));
        return success();
    }));
    auto old = h.begin(AccessMode::kRead);
    for (int i = 1; i <= 30000; ++i) {
        ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
            NORNIC_TRY(t.set_property(n, key(t, "n"), i));
            return success();
        }));
    }
    EXPECT_EQ(old->node(n)->property(key(*old, "n"))->as_integer(), 0);
    const std::size_t full = h->stats().cache_bytes;
    old.reset();
    ASSERT_TRUE(h->checkpoint());
    EXPECT_LT(h->stats().cache_bytes, full / 10);
}

TEST(EngineConcurrency, WritersWaitForTheDiskWhenDirtyPagesFillTheCache) {
    Settings settings = quiet_settings();
    settings.cache_bytes_max = 512 << 10;
    Harness h{settings};
    for (int i = 0; i < 60; ++i) {
        ASSERT_TRUE(h.write([&](Transaction& t) -> Result<> {
            for (int k = 0; k < 200; ++k) {
                NORNIC_TRY(create(t, "P", "id", i * 200 + k));
            }
            return success();
        }));
    }
    EXPECT_GT(h->stats().checkpoints, 1U);
    EXPECT_LT(h->stats().cache_bytes, std::size_t{2} << 20);
    EXPECT_EQ(drain(*h.begin()->scan_nodes()).size(), 12000U);
    h.kv_view->fail_writes = true;
    Result<> last = success();
    for (int i = 0; i < 100 && last; ++i) {
        last = h.write([&](Transaction& t) -> Result<> {
            for (int k = 0; k < 200; ++k) {
                NORNIC_TRY(create(t, "P", "id", k));
            }
            return success();
        });
    }
    ASSERT_FALSE(last);
    EXPECT_EQ(last.error().code(), ErrorCode::kDiskFull);
    h.kv_view->fail_writes = false;
    while (!h->checkpoint()) {
    }
    EXPECT_TRUE(h.write([&](Transaction& t) -> Result<> {
        NORNIC_TRY(create(t, "P", "id", 1));
        return success();
    }));
}

TEST(EngineConcurrency, AMemberThatCatchesUpHoldsNotMuchMoreThanItsCache) {
    Harness ahead;
    for (int i = 0; i < 200; ++i) {
        ASSERT_TRUE(ahead.write([&](Transaction& t) -> Result<> {
            for (int k = 0; k < 200; ++k) {
                NORNIC_TRY(create(t, "P", "id", i * 200 + k));
            }
            return success();
        }));
    }
    Settings settings = quiet_settings();
    settings.cache_bytes_max = 512 << 10;
    Harness behind{settings};
    std::size_t most = 0;
    for (const LogEntry& entry : ahead.log()) {
        ASSERT_TRUE(behind.apply(entry));
        most = std::max(most, behind->stats().cache_bytes);
    }
    EXPECT_LT(most, std::size_t{3} << 20);
    EXPECT_EQ(behind->digest().value(), ahead->digest().value());
    // Where nothing can be written it goes on: what is committed must be applied.
    behind.kv_view->fail_writes = true;
    for (int i = 0; i < 30; ++i) {
        ASSERT_TRUE(ahead.write([&](Transaction& t) -> Result<> {
            for (int k = 0; k < 200; ++k) {
                NORNIC_TRY(create(t, "P", "id", k));
            }
            return success();
        }));
        ASSERT_TRUE(behind.apply(ahead.last_entry()));
    }
    behind.kv_view->fail_writes = false;
}

}  // namespace
}  // namespace nornic::engine
