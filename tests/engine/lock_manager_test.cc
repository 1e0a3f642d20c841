#include "engine/lock_manager.h"

#include <gtest/gtest.h>

#include <atomic>
#include <random>
#include <thread>

namespace nornic::engine {
namespace {

LockKey node(std::uint64_t id) {
    return LockKey::node(DatabaseId{1}, NodeId{id});
}

/// Runs a request on a thread of its own, since it is expected to wait.
class Request {
public:
    Request(LockManager& manager,
            LockClient& client,
            LockKey key,
            LockMode mode,
            Deadline deadline = kNoDeadline)
        : thread_{[this, &manager, &client, key, mode, deadline] {
              result_.emplace(manager.acquire(client, key, mode, deadline));
              done_.store(true);
          }} {}
    Result<> result() {
        thread_.join();
        return *result_;
    }
    bool done() const { return done_.load(); }

private:
    std::optional<Result<>> result_;
    std::atomic<bool> done_{false};
    std::thread thread_;
};

void wait_until_waiting(const LockManager& manager, std::size_t count) {
    while (manager.waiting().size() < count) {
        std::this_thread::yield();
    }
}

TEST(LockManager, AnExclusiveLockIsReentrantAndGoneAfterRelease) {
    LockManager manager;
    LockClient a{manager, TransactionId{1}};
    LockClient b{manager, TransactionId{2}};
    ASSERT_TRUE(manager.acquire(a, node(7), LockMode::kExclusive).has_value());
    ASSERT_TRUE(manager.acquire(a, node(7), LockMode::kExclusive).has_value());
    ASSERT_TRUE(manager.acquire(a, node(7), LockMode::kShared).has_value());
    EXPECT_EQ(a.held(), 1U);
    EXPECT_TRUE(manager.holds(a, node(7), LockMode::kExclusive));
    EXPECT_FALSE(manager.holds(b, node(7), LockMode::kShared));
    EXPECT_FALSE(manager.try_acquire(b, node(7), LockMode::kShared));
    manager.release_all(a);
    EXPECT_EQ(manager.locked_keys(), 0U);
    EXPECT_TRUE(manager.try_acquire(b, node(7), LockMode::kExclusive));
}

TEST(LockManager, KeysOfDifferentKindsAndDatabasesDoNotMeet) {
    LockManager manager;
    LockClient a{manager, TransactionId{1}};
    LockClient b{manager, TransactionId{2}};
    ASSERT_TRUE(manager.try_acquire(a, node(1), LockMode::kExclusive));
    EXPECT_TRUE(manager.try_acquire(
        b, LockKey::relationship(DatabaseId{1}, RelId{1}), LockMode::kExclusive));
    EXPECT_TRUE(
        manager.try_acquire(b, LockKey::node(DatabaseId{2}, NodeId{1}), LockMode::kExclusive));
    EXPECT_TRUE(manager.try_acquire(b, LockKey::index_key(DatabaseId{1}, 1), LockMode::kExclusive));
    EXPECT_TRUE(manager.try_acquire(b, LockKey::merge(DatabaseId{1}, 1), LockMode::kExclusive));
    EXPECT_EQ(manager.locked_keys(), 5U);
}

TEST(LockManager, SharersShareAndTheLastOneMayUpgrade) {
    LockManager manager;
    LockClient a{manager, TransactionId{1}};
    LockClient b{manager, TransactionId{2}};
    LockClient c{manager, TransactionId{3}};
    for (LockClient* client : {&a, &b, &c}) {
        ASSERT_TRUE(manager.try_acquire(*client, node(1), LockMode::kShared));
    }
    EXPECT_FALSE(manager.try_acquire(a, node(1), LockMode::kExclusive));
    manager.release_all(b);
    manager.release_all(c);
    EXPECT_TRUE(manager.try_acquire(a, node(1), LockMode::kExclusive));
    EXPECT_FALSE(manager.try_acquire(b, node(1), LockMode::kShared));
    EXPECT_EQ(a.held(), 1U);
}

TEST(LockManager, AWaiterIsServedWhenTheHolderEnds) {
    LockManager manager;
    LockClient a{manager, TransactionId{1}};
    LockClient b{manager, TransactionId{2}};
    ASSERT_TRUE(manager.try_acquire(a, node(13), LockMode::kExclusive));
    Request request{manager, b, node(13), LockMode::kExclusive};
    wait_until_waiting(manager, 1);
    const std::vector<LockWait> waits = manager.waiting();
    EXPECT_EQ(waits[0].transaction, TransactionId{2});
    EXPECT_EQ(waits[0].key, node(13));
    EXPECT_EQ(waits[0].blockers, std::vector{TransactionId{1}});
    EXPECT_FALSE(request.done());
    manager.release_all(a);
    EXPECT_TRUE(request.result().has_value());
    EXPECT_TRUE(manager.holds(b, node(13), LockMode::kExclusive));
    EXPECT_TRUE(manager.waiting().empty());
}

TEST(LockManager, ASharedRequestDoesNotOvertakeAWaitingWriter) {
    LockManager manager;
    LockClient reader{manager, TransactionId{1}};
    LockClient writer{manager, TransactionId{2}};
    LockClient late{manager, TransactionId{3}};
    ASSERT_TRUE(manager.try_acquire(reader, node(1), LockMode::kShared));
    Request write{manager, writer, node(1), LockMode::kExclusive};
    wait_until_waiting(manager, 1);
    EXPECT_FALSE(manager.try_acquire(late, node(1), LockMode::kShared));
    Request read{manager, late, node(1), LockMode::kShared};
    wait_until_waiting(manager, 2);
    manager.release_all(reader);
    EXPECT_TRUE(write.result().has_value());
    EXPECT_FALSE(read.done());
    manager.release_all(writer);
    EXPECT_TRUE(read.result().has_value());
}

TEST(LockManager, TheRequestThatClosesACircleFailsAtOnce) {
    LockManager manager;
    LockClient a{manager, TransactionId{355}};
    LockClient b{manager, TransactionId{356}};
    ASSERT_TRUE(manager.try_acquire(a, node(12), LockMode::kExclusive));
    ASSERT_TRUE(manager.try_acquire(b, node(13), LockMode::kExclusive));
    Request waits{manager, b, node(12), LockMode::kExclusive};
    wait_until_waiting(manager, 1);
    const Result<> victim = manager.acquire(a, node(13), LockMode::kExclusive);
    ASSERT_FALSE(victim.has_value());
    EXPECT_EQ(victim.error().code(), ErrorCode::kDeadlock);
    EXPECT_EQ(victim.error().message(),
              "Transaction[355] can't acquire ExclusiveLock on NODE(13) because holders of that "
              "lock are waiting for "
              "Transaction[355].\n Wait list:\n Transaction[355] waits for ExclusiveLock on "
              "NODE(13) held by "
              "Transaction[356]\n Transaction[356] waits for ExclusiveLock on NODE(12) held by "
              "Transaction[355]");
    EXPECT_EQ(manager.deadlocks(), 1U);
    EXPECT_TRUE(manager.holds(a, node(12), LockMode::kExclusive));
    manager.release_all(a);
    EXPECT_TRUE(waits.result().has_value());
}

TEST(LockManager, TwoSharersThatBothUpgradeAreADeadlock) {
    LockManager manager;
    LockClient a{manager, TransactionId{1}};
    LockClient b{manager, TransactionId{2}};
    ASSERT_TRUE(manager.try_acquire(a, node(1), LockMode::kShared));
    ASSERT_TRUE(manager.try_acquire(b, node(1), LockMode::kShared));
    Request upgrade{manager, a, node(1), LockMode::kExclusive};
    wait_until_waiting(manager, 1);
    const Result<> victim = manager.acquire(b, node(1), LockMode::kExclusive);
    ASSERT_FALSE(victim.has_value());
    EXPECT_EQ(victim.error().code(), ErrorCode::kDeadlock);
    manager.release_all(b);
    EXPECT_TRUE(upgrade.result().has_value());
    EXPECT_EQ(a.held(), 1U);
}

TEST(LockManager, ACircleThroughAQueueIsFound) {
    // c waits behind b in the queue for 1, b waits for a; a then asks for what c holds.
    LockManager manager;
    LockClient a{manager, TransactionId{1}};
    LockClient b{manager, TransactionId{2}};
    LockClient c{manager, TransactionId{3}};
    LockClient d{manager, TransactionId{4}};
    ASSERT_TRUE(manager.try_acquire(d, node(1), LockMode::kShared));
    ASSERT_TRUE(manager.try_acquire(a, node(2), LockMode::kExclusive));
    ASSERT_TRUE(manager.try_acquire(c, node(3), LockMode::kExclusive));
    Request b_waits{manager, b, node(1), LockMode::kExclusive};
    wait_until_waiting(manager, 1);
    Request c_waits{
        manager, c, node(1), LockMode::kShared};  // d shares it too: only b is in the way
    wait_until_waiting(manager, 2);
    ASSERT_TRUE(manager.try_acquire(b, LockKey::schema(DatabaseId{1}), LockMode::kShared));
    // d → c: not a circle yet, as a waits for nothing.
    Request d_waits{manager, d, node(2), LockMode::kExclusive};
    wait_until_waiting(manager, 3);
    const Result<> victim = manager.acquire(a, node(3), LockMode::kExclusive);
    ASSERT_FALSE(victim.has_value());
    EXPECT_EQ(victim.error().code(), ErrorCode::kDeadlock);
    manager.release_all(a);
    EXPECT_TRUE(d_waits.result().has_value());
    manager.release_all(d);
    EXPECT_TRUE(b_waits.result().has_value());
    manager.release_all(b);
    EXPECT_TRUE(c_waits.result().has_value());
}

TEST(LockManager, ADeadlineEndsAWaitAndLetsTheNextOneIn) {
    LockManager manager;
    LockClient reader{manager, TransactionId{1}};
    LockClient writer{manager, TransactionId{2}};
    LockClient late{manager, TransactionId{3}};
    ASSERT_TRUE(manager.try_acquire(reader, node(1), LockMode::kShared));
    Request write{manager,
                  writer,
                  node(1),
                  LockMode::kExclusive,
                  std::chrono::steady_clock::now() + std::chrono::milliseconds{200}};
    wait_until_waiting(manager, 1);
    Request read{manager, late, node(1), LockMode::kShared};
    const Result<> timed_out = write.result();
    ASSERT_FALSE(timed_out.has_value());
    EXPECT_EQ(timed_out.error().code(), ErrorCode::kLockTimeout);
    EXPECT_TRUE(read.result().has_value());
}

TEST(LockManager, AnInterruptEndsTheWaitWithItsReason) {
    LockManager manager;
    LockClient a{manager, TransactionId{1}};
    LockClient b{manager, TransactionId{2}};
    ASSERT_TRUE(manager.try_acquire(a, node(1), LockMode::kExclusive));
    Request request{manager, b, node(1), LockMode::kExclusive};
    wait_until_waiting(manager, 1);
    b.interrupt(Error{ErrorCode::kTerminated, "killed"});
    const Result<> result = request.result();
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code(), ErrorCode::kTerminated);
    EXPECT_EQ(manager.acquire(b, node(1), LockMode::kShared).error().message(), "killed");
    EXPECT_TRUE(manager.waiting().empty());
    EXPECT_EQ(b.held(), 0U);
}

TEST(LockManager, ATransactionMayHoldManyLocks) {
    LockManager manager;
    constexpr std::uint64_t kLocks = 200'000;
    {
        LockClient bulk{manager, TransactionId{1}};
        LockClient other{manager, TransactionId{2}};
        for (std::uint64_t i = 0; i < kLocks; ++i) {
            ASSERT_TRUE(manager.acquire(bulk, node(i * 32), LockMode::kExclusive).has_value());
        }
        EXPECT_EQ(bulk.held(), kLocks);
        EXPECT_EQ(manager.locked_keys(), kLocks);
        EXPECT_LT(bulk.memory_bytes(), kLocks * 100);
        for (std::uint64_t i = 0; i < kLocks; i += 997) {
            EXPECT_FALSE(manager.try_acquire(other, node(i * 32), LockMode::kShared));
        }
    }
    EXPECT_EQ(manager.locked_keys(), 0U);
}

TEST(LockManager, ManyThreadsLoseNoUpdateAndAllEnd) {
    LockManager manager;
    constexpr int kThreads = 6;
    constexpr int kRounds = 1500;
    constexpr std::uint64_t kNodes = 8;
    std::array<std::int64_t, kNodes> counters{};  // each under the lock of its node
    std::atomic<std::int64_t> expected{0};
    std::atomic<std::uint64_t> ids{1};
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            std::mt19937_64 random{static_cast<std::uint64_t>(t) + 1};
            for (int round = 0; round < kRounds; ++round) {
                LockClient client{manager, TransactionId{ids.fetch_add(1)}};
                std::array<std::uint64_t, 3> wanted{};
                bool all = true;
                for (std::uint64_t& id : wanted) {
                    id = random() % kNodes;
                    if (random() % 4 == 0) {
                        all =
                            all && manager.acquire(client, node(id), LockMode::kShared).has_value();
                    }
                    const Result<> locked =
                        all ? manager.acquire(client, node(id), LockMode::kExclusive) : success();
                    if (!locked.has_value()) {
                        EXPECT_EQ(locked.error().code(), ErrorCode::kDeadlock);
                        all = false;
                    }
                }
                if (all) {
                    for (const std::uint64_t id : wanted) {
                        ++counters[id];
                        expected.fetch_add(1, std::memory_order_relaxed);
                    }
                }
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    std::int64_t sum = 0;
    for (const std::int64_t c : counters) {
        sum += c;
    }
    EXPECT_EQ(sum, expected.load());
    EXPECT_EQ(manager.locked_keys(), 0U);
    EXPECT_TRUE(manager.waiting().empty());
}

}  // namespace
}  // namespace nornic::engine
