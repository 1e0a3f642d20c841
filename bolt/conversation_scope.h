// Parts of Conversation that its three .cc files share; no one else includes this.
#pragma once

#include "bolt/conversation.h"

namespace nornic::bolt {

/// The blocking scope of one turn of work, entered at the first call that needs it.
class Conversation::Scope {
public:
    /// kForeign: it is the backend's; it may write answers, but make no calls. kShared: calls that are done at once.
    enum class Thread : std::uint8_t { kOwn, kForeign, kShared };
    explicit Scope(const Conversation& conversation, Thread thread = Thread::kOwn)
        : hook_{thread == Thread::kOwn ? conversation.settings_.blocking_scope : nullptr}, client_{&conversation}, thread_{thread} {}
    ~Scope() {
        if (entered_) {
            hook_->leave();
        }
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    void enter() {
        if (hook_ != nullptr && !entered_) {
            hook_->enter(client_);
            entered_ = true;
        }
    }

    [[nodiscard]] Thread thread() const { return thread_; }
    [[nodiscard]] bool foreign() const { return thread_ == Thread::kForeign; }
    [[nodiscard]] bool shared() const { return thread_ == Thread::kShared; }

private:
    BlockingScope* hook_;
    const void* client_;
    Thread thread_;
    bool entered_ = false;
};

template <class T, class Start>
Conversation::Step Conversation::call(Call kind, Start start) {
    if (!out_.empty()) {
        hold();
    }
    call_ = kind;
    call_state_.store(0, std::memory_order_relaxed);
    // The completion may outlive the socket; a raw `this` fits std::function without allocation.
    keep_ = transport_.share();
    Completion<T> completion = [this](Result<T> result) {
        result_ = std::move(result);
        if (call_state_.exchange(2, std::memory_order_acq_rel) == 1) {
            resume();
        }
    };
    start(std::move(completion));
    if (call_state_.exchange(1, std::memory_order_acq_rel) == 2) {
        keep_.reset();
        return on_result();
    }
    return Step::kPending;
}

}  // namespace nornic::bolt
