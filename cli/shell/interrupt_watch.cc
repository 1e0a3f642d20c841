#include "cli/shell/interrupt_watch.h"

#include <csignal>
#include <pthread.h>

namespace nornic::cli {
namespace {

sigset_t only_interrupt() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    return set;
}

}  // namespace

InterruptWatch::InterruptWatch() {
    // A shell started in the background inherits an ignored SIGINT, which would never become pending.
    std::signal(SIGINT, [](int) {});
    const sigset_t set = only_interrupt();
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    thread_ = std::thread{[this] { wait_for_signals(); }};
}

InterruptWatch::~InterruptWatch() {
    {
        const std::lock_guard lock{mutex_};
        stopping_ = true;
    }
    pthread_kill(thread_.native_handle(), SIGINT);
    thread_.join();
    const sigset_t set = only_interrupt();
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

void InterruptWatch::watch(bolt::Client* client) {
    const std::lock_guard lock{mutex_};
    client_ = client;
}

void InterruptWatch::wait_for_signals() {
    const sigset_t set = only_interrupt();
    for (;;) {
        int signal = 0;
        sigwait(&set, &signal);
        const std::lock_guard lock{mutex_};
        if (stopping_) {
            return;
        }
        if (client_ != nullptr) {
            client_->interrupt();
        }
    }
}

}  // namespace nornic::cli
