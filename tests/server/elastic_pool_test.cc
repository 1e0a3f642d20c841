#include "server/elastic_pool.h"

#include <boost/asio/post.hpp>
#include <gtest/gtest.h>

#include <condition_variable>

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

TEST(ElasticPool, BlockedThreadsAreMadeUpForSoThatOtherWorkRuns) {
    ElasticPool pool{{2, 64}};
    pool.start();
    Gate release;
    constexpr int kBlocked = 20;
    for (int i = 0; i < kBlocked; ++i) {
        boost::asio::post(pool.io(), [&] {
            pool.enter();
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

TEST(ElasticPool, NeverGrowsPastItsMaximum) {
    ElasticPool pool{{1, 3}};
    pool.start();
    Gate release;
    std::atomic<int> inside{0};
    std::mutex mutex;
    std::condition_variable changed;
    for (int i = 0; i < 10; ++i) {
        boost::asio::post(pool.io(), [&] {
            pool.enter();
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
        boost::asio::post(pool.io(), [&] {
            pool.enter();
            pool.leave();
            if (++done == kTasks) {
                all.open();
            }
        });
    }
    all.wait();
    EXPECT_LE(pool.threads(), 4U);
    pool.stop();
}

}  // namespace
}  // namespace nornic::server
