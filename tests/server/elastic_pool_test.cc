#include "server/elastic_pool.h"

#include <boost/asio/post.hpp>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <condition_variable>
#include <functional>

namespace nornic::server {
namespace {

/// Opens once for all who wait.
class Gate {
public:
    void open() {
        const std::lock_guard lock{mutex_};
        open_ = true;
        changed_.notify_all();
    }
    void wait() {
        std::unique_lock lock{mutex_};
        changed_.wait(lock, [this] { return open_; });
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    bool open_ = false;
};

/// A short one of `client`; then `done`.
template <class Done>
void request(ElasticPool& pool, const void* client, Done done) {
    boost::asio::post(pool.io(), [&pool, client, done] {
        pool.enter(client);
        pool.leave();
        done();
    });
}

TEST(ElasticPool, BlockedThreadsAreMadeUpForSoThatOtherWorkRuns) {
    ElasticPool pool{{2, 64}};
    pool.start();
    Gate release;
    constexpr int kBlocked = 20;
    for (int i = 0; i < kBlocked; ++i) {
        boost::asio::post(pool.io(), [&] {
            pool.enter(nullptr);
            release.wait();
            pool.leave();
        });
    }
    Gate ran;
    boost::asio::post(pool.io(), [&] { ran.open(); });
    ran.wait();  // hangs for ever if no thread is added
    EXPECT_GT(pool.threads(), static_cast<std::size_t>(kBlocked));
    release.open();
    pool.stop();
}

TEST(ElasticPool, ThoseThatWaitForAnotherMemberAreReplacedAtOnceAndComeBack) {
    ElasticPool pool{{2, 64}};
    pool.start();
    Gate release;
    constexpr std::size_t kAway = 20;
    std::atomic<std::size_t> away{0};
    std::atomic<std::size_t> threads{0};
    Gate all;
    for (std::size_t i = 0; i < kAway; ++i) {
        boost::asio::post(pool.io(), [&] {
            const ElasticPool::Away waiting{pool};
            if (++away == kAway) {
                threads = pool.threads();
                all.open();
            }
            release.wait();
        });
    }
    all.wait();
    EXPECT_GE(threads, kAway + 2);
    release.open();
    pool.stop();
}

TEST(ElasticPool, ThoseNoLongerNeededLeaveThoughThereIsWork) {
    ElasticPool pool{{2, 64}};
    pool.start();
    Gate release;
    constexpr int kBlocked = 10;
    for (int i = 0; i < kBlocked; ++i) {
        boost::asio::post(pool.io(), [&] {
            const ElasticPool::Away waiting{pool};
            release.wait();
        });
    }
    while (pool.threads() < kBlocked + 2) {
        std::this_thread::yield();
    }
    release.open();
    // Work for all of them without a pause: each task brings the next. One is in work all the time, so that one thread is not enough.
    Gate over;
    boost::asio::post(pool.io(), [&] {
        pool.enter(nullptr);
        over.wait();
        pool.leave();
    });
    std::atomic<bool> enough{false};
    std::atomic<int> under_way{4};
    std::function<void()> next = [&] {
        if (enough.load()) {
            --under_way;
        } else {
            request(pool, nullptr, [&] { next(); });
        }
    };
    for (int i = under_way; i > 0; --i) {
        request(pool, nullptr, [&] { next(); });
    }
    while (pool.threads() > 3) {  // for ever if they stay
        std::this_thread::sleep_for(std::chrono::milliseconds{1});
    }
    enough = true;
    over.open();
    while (under_way > 0) {
        std::this_thread::yield();
    }
    pool.stop();
}

TEST(ElasticPool, NeverGrowsPastItsMaximum) {
    ElasticPool pool{{1, 3}};
    pool.start();
    Gate release;
    std::atomic<int> inside{0};
    std::mutex mutex;
    std::condition_variable changed;
    for (int i = 0; i < 10; ++i) {
        boost::asio::post(pool.io(), [&] {
            pool.enter(nullptr);
            {
                const std::lock_guard lock{mutex};
                ++inside;
                changed.notify_all();
            }
            release.wait();
            pool.leave();
        });
    }
    {
        std::unique_lock lock{mutex};
        changed.wait(lock, [&] { return inside == 3; });
    }
    EXPECT_EQ(pool.threads(), 3U);
    release.open();
    pool.stop();
    EXPECT_EQ(inside, 10);
}

TEST(ElasticPool, ShortWorkAddsNoThreads) {
    ElasticPool pool{{2, 64}};
    pool.start();
    constexpr int kTasks = 2000;
    std::atomic<int> done{0};
    Gate all;
    for (int i = 0; i < kTasks; ++i) {
        request(pool, nullptr, [&] {
            if (++done == kTasks) {
                all.open();
            }
        });
    }
    all.wait();
    EXPECT_LE(pool.threads(), 4U);
    pool.stop();
}

/// Requests one behind the other, as of one client, until `done` says so.
template <class Done>
void one_at_a_time(ElasticPool& pool, Done done) {
    while (!done()) {
        Gate answered;
        request(pool, nullptr, [&] { answered.open(); });
        answered.wait();
    }
}

void until_one_is_active(ElasticPool& pool) {
    one_at_a_time(pool, [&] { return pool.active_threads() == 1; });
}

TEST(ElasticPool, OneThreadIsEnoughForOneClient) {
    ElasticPool pool{{3, 64}};
    pool.start();
    EXPECT_EQ(pool.active_threads(), 3U);
    until_one_is_active(pool);
    EXPECT_EQ(pool.threads(), 3U);
    pool.stop();
    EXPECT_EQ(pool.threads(), 0U);
}

TEST(ElasticPool, TheOthersAreBackWhereClientsTakeTurns) {
    ElasticPool pool{{3, 64}};
    pool.start();
    until_one_is_active(pool);
    const std::array<int, 2> clients{};
    constexpr int kRounds = 4;
    Gate done;
    for (int i = 0; i < kRounds; ++i) {
        for (const int& client : clients) {
            request(pool, &client, [&, last = i + 1 == kRounds && &client == &clients.back()] {
                if (last) {
                    done.open();
                }
            });
        }
    }
    done.wait();
    while (pool.active_threads() < 3) {  // hangs for ever if they stay away
        std::this_thread::yield();
    }
    pool.stop();
}

TEST(ElasticPool, OneClientThatIsFasterThanItsThreadKeepsOnlyThat) {
    ElasticPool pool{{3, 64}};
    pool.start();
    until_one_is_active(pool);
    Gate there;
    boost::asio::post(pool.io(), [&] { there.wait(); });
    Gate done;
    constexpr int kRequests = 10;
    std::size_t most = 0;
    for (int i = 0; i < kRequests; ++i) {
        request(pool, &pool, [&, last = i + 1 == kRequests] {
            most = std::max(most, pool.active_threads());
            if (last) {
                done.open();
            }
        });
    }
    there.open();
    done.wait();
    EXPECT_EQ(most, 1U);
    pool.stop();
}

TEST(ElasticPool, WhileTheOneThreadIsHeldUpAnotherWatches) {
    ElasticPool pool{{3, 64}};
    pool.start();
    for (int round = 0; round < 3; ++round) {
        until_one_is_active(pool);
        Gate release;
        Gate inside;
        Gate left;
        boost::asio::post(pool.io(), [&] {
            pool.enter(nullptr);
            inside.open();
            release.wait();
            pool.leave();
            left.open();
        });
        inside.wait();
        Gate seen;
        boost::asio::post(pool.io(), [&] { seen.open(); });
        seen.wait();  // hangs for ever if nobody watches
        release.open();
        left.wait();
    }
    pool.stop();
}

TEST(ElasticPool, OneThatWaitsForAnotherMemberCallsTheOthersBack) {
    ElasticPool pool{{2, 64}};
    pool.start();
    until_one_is_active(pool);
    Gate release;
    Gate seen;
    boost::asio::post(pool.io(), [&] {
        const ElasticPool::Away waiting{pool};
        boost::asio::post(pool.io(), [&] { seen.open(); });
        release.wait();
    });
    seen.wait();
    EXPECT_GE(pool.threads(), 3U);
    release.open();
    pool.stop();
}

TEST(ElasticPool, ManyClientsAndOneInTurnLoseNoRequest) {
    ElasticPool pool{{3, 64}};
    pool.start();
    constexpr int kRounds = 20;
    constexpr int kAtOnce = 50;
    for (int round = 0; round < kRounds; ++round) {
        until_one_is_active(pool);
        std::atomic<int> done{0};
        Gate all;
        for (int i = 0; i < kAtOnce; ++i) {
            request(pool, nullptr, [&] {
                if (++done == kAtOnce) {
                    all.open();
                }
            });
        }
        all.wait();
    }
    pool.stop();
    EXPECT_EQ(pool.active_threads(), 0U);
}

}  // namespace
}  // namespace nornic::server
