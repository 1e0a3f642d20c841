#include "server/hop_wait.h"

#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <utility>

namespace nornic::server {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;
using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPatience{50};

}  // namespace

// Of the shared thread alone, but for forget_descriptor().
struct HopWait::State : std::enable_shared_from_this<HopWait::State> {
    explicit State(asio::io_context& own_io) : io{own_io}, descriptor{own_io}, timer{own_io} {}

    void end(bool readable) {
        if (const auto ended = std::exchange(then, nullptr)) {
            ended(readable);
        }
    }
    void watch() {
        descriptor.async_wait(asio::posix::stream_descriptor::wait_read, [self = shared_from_this(), number = number](const error_code& error) {
            // One that was cancelled may be told of when the next has begun.
            if (number == self->number) {
                self->end(!error);
            }
        });
    }
    /// One timer goes on from wait to wait, so that a short one costs nothing.
    void tick() {
        ticking = true;
        timer.expires_at(began + kPatience);
        timer.async_wait([self = shared_from_this()](const error_code&) {
            self->ticking = false;
            if (!self->then) {
                return;
            }
            if (Clock::now() < self->began + kPatience) {
                self->tick();
            } else {
                self->give_up();
            }
        });
    }
    void give_up() {
        ++number;
        error_code ignored;
        descriptor.cancel(ignored);
        end(false);
    }

    asio::io_context& io;
    asio::posix::stream_descriptor descriptor;
    asio::steady_timer timer;
    std::function<void(bool)> then;
    std::uint64_t number = 0;  // of the wait
    Clock::time_point began;
    bool ticking = false;
};

HopWait::HopWait(asio::io_context& shared_io) : state_{std::make_shared<State>(shared_io)} {}

HopWait::~HopWait() {
    forget_descriptor();
}

bool HopWait::on_its_thread() const {
    return state_->io.get_executor().running_in_this_thread();
}

void HopWait::start(int descriptor, std::function<void(bool)> then) {
    State& state = *state_;
    state.then = std::move(then);
    state.began = Clock::now();
    ++state.number;
    if (!state.descriptor.is_open()) {
        error_code error;
        state.descriptor.assign(descriptor, error);
        if (error) {
            state.end(false);
            return;
        }
    }
    state.watch();
    if (!state.ticking) {
        state.tick();
    }
}

void HopWait::cancel() {
    asio::post(state_->io, [state = state_] {
        if (state->then) {
            state->give_up();
        }
    });
}

void HopWait::forget_descriptor() {
    if (state_->descriptor.is_open()) {
        state_->descriptor.release();
    }
}

}  // namespace nornic::server
