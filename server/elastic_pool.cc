#include "server/elastic_pool.h"

#include "observability/log.h"

#include <boost/asio/post.hpp>
#include <pthread.h>

namespace nornic::server {
namespace {
// All threads occupied and none of them done for this long: add one.
constexpr std::chrono::milliseconds kSaturationPatience{1};
// The same for the lone thread: each of its requests has it watched.
constexpr std::chrono::milliseconds kLonePatience{5};
constexpr std::chrono::seconds kIdleLife{10};
constexpr std::chrono::seconds kExtraLife{1};
constexpr std::chrono::milliseconds kBetweenLeaves{20};
constexpr int kCalmRounds = 20;
// Two clients that both work have met long before.
constexpr std::uint32_t kInTurnUntilLone = 256;
constexpr std::uint32_t kChangesUntilMany = 4;

// Of the thread that runs: park_unless_needed() is called by the io_context, which passes nothing on.
thread_local bool is_extra = false;
thread_local bool parked_for_long = false;
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
        parked_.notify_all();
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
        threads_.fetch_add(1);
        active_.fetch_add(1);
    }
    std::thread{[this, extra] {
        pthread_setname_np(pthread_self(), extra ? "worker+" : "worker");
        if (extra) {
            run_extra();
        } else {
            io_.run();
        }
        const std::lock_guard lock{mutex_};
        active_.fetch_sub(1);
        threads_.fetch_sub(1);
        --running_;
        ended_.notify_all();
    }}.detach();
}

void ElasticPool::run_extra() {
    is_extra = true;
    while (io_.run_one_for(kIdleLife) > 0 || !may_leave()) {
        if (parked_for_long || is_too_many()) {
            return;
        }
    }
}

/// As many are needed as there are now.
void ElasticPool::keep_extra() {
    extra_until_.store((std::chrono::steady_clock::now() + kExtraLife).time_since_epoch().count(), std::memory_order_relaxed);
}

/// Of all extra threads that ask, one each while is to leave, as long as nothing has shown that it was needed.
bool ElasticPool::is_too_many() {
    const auto now = std::chrono::steady_clock::now();
    auto until = extra_until_.load(std::memory_order_relaxed);
    return now.time_since_epoch().count() >= until &&
           extra_until_.compare_exchange_strong(until, (now + kBetweenLeaves).time_since_epoch().count(), std::memory_order_relaxed) &&
           may_leave();
}

/// The last one that watches the sockets stays, though it was extra and found nothing to do for long.
bool ElasticPool::may_leave() {
    const std::lock_guard lock{mutex_};
    return io_.stopped() || active_.load() > 1;
}

/// Whichever thread comes by is parked, as there is no calling one of them away from the io_context.
void ElasticPool::call_to_park() {
    boost::asio::post(io_, [this] { park_unless_needed(); });
}

/// Where one active thread is enough and another one watches the sockets, waits until that has changed.
void ElasticPool::park_unless_needed() {
    std::unique_lock lock{mutex_};
    if (!lone_.load() || stopping_ || active_.load() <= blocked_.load() + 1) {
        return;
    }
    active_.fetch_sub(1);
    const auto needed = [this] { return stopping_ || !lone_.load() || called_ > 0; };
    if (!is_extra) {
        parked_.wait(lock, needed);
    } else {
        parked_for_long = !parked_.wait_for(lock, kIdleLife, needed);
    }
    if (called_ > 0 && !parked_for_long) {
        --called_;
    }
    active_.fetch_add(1);
}

void ElasticPool::become_lone() {
    std::size_t others = 0;
    {
        const std::lock_guard lock{mutex_};
        if (stopping_ || lone_.load() || away_.load() > 0) {
            return;
        }
        lone_.store(true);
        changes_.store(0);
        called_ = 0;
        others = active_.load() - 1;
    }
    for (std::size_t i = 0; i < others; ++i) {
        call_to_park();
    }
}

void ElasticPool::become_many() {
    const std::lock_guard lock{mutex_};
    lone_.store(false);
    in_turn_.store(0);
    parked_.notify_all();
}

void ElasticPool::go_away() {
    away_.fetch_add(1);
    if (lone_.load()) {
        become_many();
    }
    // Those that come at the same moment see each other, so none is left without a replacement.
    const std::size_t threads = threads_.load();
    const std::size_t needed = away_.load() + settings_.threads_min;
    if (threads <= needed) {
        keep_extra();
    }
    if (threads < needed && threads < settings_.threads_max) {
        add_thread(true);
    }
}

/// Whether clients so often follow upon each other that one's requests will have waited for another's.
bool ElasticPool::clients_change(const void* client) {
    if (client_.exchange(client, std::memory_order_relaxed) == client) {
        changes_.store(0, std::memory_order_relaxed);
        return false;
    }
    return changes_.fetch_add(1, std::memory_order_relaxed) + 1 >= kChangesUntilMany;
}

void ElasticPool::enter(const void* client) {
    const std::size_t others = blocked_.fetch_add(1);
    if (lone_.load(std::memory_order_relaxed)) {
        if (others > 0 || (client != nullptr && clients_change(client))) {
            become_many();
        }
    } else if (others > 0) {
        in_turn_.store(0, std::memory_order_relaxed);
    } else if (settings_.may_park && in_turn_.fetch_add(1, std::memory_order_relaxed) + 1 == kInTurnUntilLone) {
        become_lone();
    }
    if (others + 1 >= active_.load(std::memory_order_relaxed) &&
        !armed_.load(std::memory_order_relaxed) && !armed_.exchange(true)) {
        const std::lock_guard lock{mutex_};
        wake_.notify_one();
    }
}

void ElasticPool::leave() {
    blocked_.fetch_sub(1);
    left_.fetch_add(1, std::memory_order_relaxed);
    // Another one came to watch meanwhile.
    if (lone_.load(std::memory_order_relaxed) && active_.load(std::memory_order_relaxed) > 1) {
        call_to_park();
    }
}

void ElasticPool::watch() {
    pthread_setname_np(pthread_self(), "pool-watch");
    std::unique_lock lock{mutex_};
    while (!stopping_) {
        wake_.wait(lock, [this] { return stopping_ || armed_.load(); });
        int calm = 0;
        while (!stopping_ && calm < kCalmRounds) {
            const std::uint64_t before = left_.load();
            wake_.wait_for(lock, lone_.load() ? kLonePatience : kSaturationPatience, [this] { return stopping_; });
            const bool saturated = blocked_.load() >= active_.load();
            calm = saturated ? 0 : calm + 1;
            if (!saturated || left_.load() != before || stopping_) {
                continue;
            }
            keep_extra();
            if (active_.load() < threads_.load()) {
                ++called_;
                parked_.notify_one();
            } else if (threads_.load() < settings_.threads_max) {
                lock.unlock();
                add_thread(true);
                lock.lock();
            }
        }
        armed_.store(false);
    }
}

}  // namespace nornic::server
