// Turns SIGINT into Client::interrupt(), on a thread of its own: that call takes a lock that a signal handler might
// find held by the very thread it interrupts.
#pragma once

#include "bolt/client.h"

#include <mutex>
#include <thread>

namespace nornic::cli {

/// While it lives, SIGINT is blocked in the thread that made it and in threads started by that one.
class InterruptWatch {
public:
    InterruptWatch();
    ~InterruptWatch();
    InterruptWatch(const InterruptWatch&) = delete;
    InterruptWatch& operator=(const InterruptWatch&) = delete;

    /// Whose statement a Ctrl-C ends; nullptr: nobody's. The client before is not used any more when this returns.
    void watch(bolt::Client* client);

private:
    void wait_for_signals();

    std::mutex mutex_;
    bolt::Client* client_ = nullptr;
    bool stopping_ = false;
    std::thread thread_;
};

}  // namespace nornic::cli
