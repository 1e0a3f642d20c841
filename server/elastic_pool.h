// The threads that run the io_context. A request works on the thread that received it, so a long or
// blocked one occupies a thread; when all are occupied for a while another is added, so that
// sockets are still watched (RESET, health checks). Extra threads leave when they have been idle, and one by one where no more
// were needed for a while: on a busy server none is idle, and too many are in each other's way.
// While requests come one at a time, one thread alone runs the io_context and the others are parked: nobody has to be
// woken to watch the sockets during a request that is over at once (docs/decisions/0002-work-where-it-arrives.md).
// Beside it one thread runs an io_context of its own for whatever only passes bytes on.
#pragma once

#include "bolt/settings.h"

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <thread>

namespace nornic::server {

class ElasticPool final : public bolt::BlockingScope {
public:
    struct Settings {
        std::size_t threads_min = 3;
        std::size_t threads_max = 400;
        bool may_park = true;  // one thread alone where that is enough
    };

    explicit ElasticPool(Settings settings);
    /// stop() must have been called or start() not.
    ~ElasticPool() override;

    [[nodiscard]] boost::asio::io_context& io() noexcept { return io_; }
    [[nodiscard]] boost::asio::io_context& shared_io() noexcept { return shared_io_; }
    void start();
    /// Ends when the io_context has no more work; join after everything that uses it was stopped.
    void stop();

    void enter(const void* client) override;
    void leave() override;

    /// While one of its threads waits for another member. That takes no CPU, so another thread has its place at once: as many
    /// such waits run side by side as there may be threads.
    class Away {
    public:
        explicit Away(ElasticPool& pool) : pool_{pool} { pool_.go_away(); }
        ~Away() { pool_.away_.fetch_sub(1); }
        Away(const Away&) = delete;
        Away& operator=(const Away&) = delete;

    private:
        ElasticPool& pool_;
    };

    /// All, the parked ones included.
    [[nodiscard]] std::size_t threads() const noexcept {
        return threads_.load(std::memory_order_relaxed);
    }
    /// Those that run the io_context now.
    [[nodiscard]] std::size_t active_threads() const noexcept {
        return active_.load(std::memory_order_relaxed);
    }

private:
    void add_thread(bool extra);
    void run_extra();
    bool may_leave();
    void keep_extra();
    bool is_too_many();
    void call_to_park();
    void park_unless_needed();
    void become_lone();
    void become_many();
    bool clients_change(const void* client);
    void go_away();
    void watch();

    const Settings settings_;
    using WorkGuard = boost::asio::executor_work_guard<boost::asio::io_context::executor_type>;
    boost::asio::io_context io_;
    std::optional<WorkGuard> work_;
    boost::asio::io_context shared_io_{1};  // one thread
    std::optional<WorkGuard> shared_work_;
    std::thread shared_thread_;
    std::atomic<std::size_t> threads_{0};
    std::atomic<std::size_t> active_{0};  // those of them that are not parked
    std::atomic<std::size_t> blocked_{0};
    std::atomic<std::size_t> away_{0};
    std::atomic<std::uint64_t> left_{0};  // grows with each leave(): progress
    std::atomic<bool> armed_{false};      // the watcher is looking

    std::atomic<std::chrono::steady_clock::rep> extra_until_{0};  // no extra thread leaves before, of those that have work

    std::atomic<bool> lone_{false};          // one active thread is enough
    std::atomic<std::uint32_t> in_turn_{0};  // not lone: requests in a row during which no other was in work
    std::atomic<std::uint32_t> changes_{0};  // lone: requests in a row each of which was another client's than the one before
    std::atomic<const void*> client_{nullptr};

    std::mutex mutex_;
    std::condition_variable wake_;
    std::condition_variable ended_;
    std::condition_variable parked_;
    std::size_t called_ = 0;  // parked threads that are to come back though one active thread is enough
    bool stopping_ = false;
    std::size_t running_ = 0;  // threads that have not returned yet
    std::thread watcher_;
};

}  // namespace nornic::server
