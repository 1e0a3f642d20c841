#include "server/elastic_pool.h"

#include "observability/log.h"

#include <pthread.h>

namespace nornic::server {
namespace {
// All threads occupied and none of them done for this long: add one.
constexpr std::chrono::milliseconds kSaturationPatience{1};
constexpr std::chrono::seconds kIdleLife{10};
constexpr int kCalmRounds = 20;
}  // namespace

ElasticPool::ElasticPool(Settings settings)
    : settings_{settings}, work_{boost::asio::make_work_guard(io_)}, shared_work_{boost::asio::make_work_guard(shared_io_)} {}

ElasticPool::~ElasticPool() {
    stop();
}

void ElasticPool::start() {
    for (std::size_t i = 0; i < settings_.threads_min; ++i) {
        add_thread(false);
    }
    watcher_ = std::thread{[this] { watch(); }};
    shared_thread_ = std::thread{[this] {
        pthread_setname_np(pthread_self(), "relay");
        shared_io_.run();
    }};
}

void ElasticPool::stop() {
    // It may still give the others something to do.
    shared_work_.reset();
    if (shared_thread_.joinable()) {
        shared_thread_.join();
    }
    work_.reset();
    {
        std::unique_lock lock{mutex_};
        stopping_ = true;
        wake_.notify_all();
        ended_.wait(lock, [this] { return running_ == 0; });
    }
    if (watcher_.joinable()) {
        watcher_.join();
    }
}

void ElasticPool::add_thread(bool extra) {
    {
        const std::lock_guard lock{mutex_};
        if (stopping_) {
            return;
        }
        ++running_;
    }
    threads_.fetch_add(1);
    std::thread{[this, extra] {
        pthread_setname_np(pthread_self(), extra ? "worker+" : "worker");
        if (extra) {
            while (io_.run_one_for(kIdleLife) > 0) {
            }
        } else {
            io_.run();
        }
        threads_.fetch_sub(1);
        const std::lock_guard lock{mutex_};
        --running_;
        ended_.notify_all();
    }}.detach();
}

void ElasticPool::go_away() {
    away_.fetch_add(1);
    // Those that come at the same moment see each other, so none is left without a replacement.
    const std::size_t threads = threads_.load();
    if (threads < away_.load() + settings_.threads_min && threads < settings_.threads_max) {
        add_thread(true);
    }
}

void ElasticPool::enter() {
    const std::size_t blocked = blocked_.fetch_add(1) + 1;
    if (blocked >= threads_.load(std::memory_order_relaxed) &&
        !armed_.load(std::memory_order_relaxed) && !armed_.exchange(true)) {
        const std::lock_guard lock{mutex_};
        wake_.notify_one();
    }
}

void ElasticPool::leave() {
    blocked_.fetch_sub(1);
    left_.fetch_add(1, std::memory_order_relaxed);
}

void ElasticPool::watch() {
    pthread_setname_np(pthread_self(), "pool-watch");
    std::unique_lock lock{mutex_};
    while (!stopping_) {
        wake_.wait(lock, [this] { return stopping_ || armed_.load(); });
        int calm = 0;
        while (!stopping_ && calm < kCalmRounds) {
            const std::uint64_t before = left_.load();
            wake_.wait_for(lock, kSaturationPatience, [this] { return stopping_; });
            const std::size_t threads = threads_.load();
            const bool saturated = blocked_.load() >= threads;
            calm = saturated ? 0 : calm + 1;
            if (saturated && left_.load() == before && threads < settings_.threads_max &&
                !stopping_) {
                lock.unlock();
                add_thread(true);
                lock.lock();
            }
        }
        armed_.store(false);
    }
}

}  // namespace nornic::server
