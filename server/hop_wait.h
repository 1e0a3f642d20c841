// HopWait: waits on the pool's shared thread until the other end of a hop has sent something, without holding a thread up.
#pragma once

#include <boost/asio/io_context.hpp>

#include <functional>
#include <memory>

namespace nornic::server {

class HopWait {
public:
    explicit HopWait(boost::asio::io_context& shared_io);
    /// Nobody may be waiting.
    ~HopWait();
    HopWait(const HopWait&) = delete;
    HopWait& operator=(const HopWait&) = delete;

    [[nodiscard]] bool on_its_thread() const;
    /// On the shared thread, while nobody waits. `then` is called there once: with true when there is something to read, with false
    /// after cancel(), or when it has taken so long that a thread may as well wait.
    void start(int descriptor, std::function<void(bool)> then);
    /// Any thread.
    void cancel();
    /// Before the descriptor is closed, while nobody waits.
    void forget_descriptor();

private:
    struct State;
    std::shared_ptr<State> state_;
};

}  // namespace nornic::server
