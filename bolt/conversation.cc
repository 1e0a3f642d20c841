// Conversation: queueing, and whose turn it is to work.
#include "bolt/conversation.h"

#include "base/clock.h"
#include "bolt/conversation_scope.h"

#include <algorithm>

namespace nornic::bolt {

namespace {

/// Set while this thread is inside Session::interrupt() of a conversation, under its mutex: a
/// completion that comes out of that call must not work here.
thread_local const Conversation* interrupting = nullptr;

std::int64_t steady_now() {
    return system_clock().now().time_since_epoch().count();
}

}  // namespace

Conversation::Conversation(Backend& backend,
                           const ConversationSettings& settings,
                           Metrics& metrics,
                           Transport& transport,
                           ConnectionInfo info,
                           Dialect dialect,
                           bool by_manifest)
    : backend_{backend},
      settings_{settings},
      metrics_{metrics},
      transport_{transport},
      by_manifest_{by_manifest},
      takes_noops_{dialect.has_noop()},
      dialect_{dialect},
      info_{std::move(info)} {
    info_.protocol_version = dialect.version.to_text();
}

Conversation::~Conversation() = default;

std::string Conversation::user() const {
    MutexLock lock{mutex_};
    return user_;
}

std::string Conversation::user_agent() const {
    MutexLock lock{mutex_};
    return info_.user_agent;
}

void Conversation::receive(std::string_view bytes) {
    const bool known = authenticated_.load(std::memory_order_relaxed);
    MutexLock lock{mutex_};
    if (closed_ || excess_ != 0) {
        return;
    }
    const std::size_t before = incoming_.size();
    if (!reader_.feed(
            bytes,
            known ? settings_.message_bytes_max : settings_.message_bytes_max_unauthenticated,
            incoming_)) {
        excess_ = reader_.excess();
    }
    int resets = 0;
    for (std::size_t i = before; i < incoming_.size(); ++i) {
        if (is_reset(incoming_[i])) {
            ++resets;
        } else if (is_goodbye(incoming_[i])) {
            goodbye_queued_ = true;
        }
    }
    if (resets == 0) {
        return;
    }
    resets_pending_.fetch_add(resets, std::memory_order_relaxed);
    if (known && working_ && session_ != nullptr) {
        // Under the mutex, so that the RESET cannot be worked on before its interrupt was made.
        interrupted_ = true;
        interrupting = this;
        session_->interrupt();
        interrupting = nullptr;
    }
}

bool Conversation::wants_input() {
    MutexLock lock{mutex_};
    if (closed_ || excess_ != 0) {
        return true;  // Read on, to see the peer leave; what comes is thrown away.
    }
    const std::size_t most =
        authenticated_.load(std::memory_order_relaxed)
            ? settings_.input_bytes_max
            : std::min(settings_.input_bytes_max, 4 * settings_.message_bytes_max_unauthenticated);
    input_paused_ = working_ && incoming_.memory_bytes() > most;
    return !input_paused_;
}

void Conversation::work() {
    {
        MutexLock lock{mutex_};
        if (working_ || closed_ || (incoming_.size() == 0 && excess_ == 0 && !must_end())) {
            return;
        }
        working_ = true;
    }
    Scope scope{*this, transport_.on_shared_thread() ? Scope::Thread::kShared : Scope::Thread::kOwn};
    run_loop(scope);
}

bool Conversation::waits_elsewhere() const {
    MutexLock lock{mutex_};
    return session_ != nullptr && session_->waits_elsewhere();
}

bool Conversation::must_end() const noexcept {
    const bool idle = state_ == State::kReady || state_ == State::kFailed ||
                      (state_ == State::kAuthentication && authenticated());  // logged off
    return ending_.load(std::memory_order_relaxed) ||
           (idle && ending_when_idle_.load(std::memory_order_relaxed));
}

void Conversation::loop() {
    Scope scope{*this};
    run_loop(scope);
}

void Conversation::loop_elsewhere() {
    transport_.post([this, keep = transport_.share()] { loop(); });
}

void Conversation::run_loop(Scope& scope) {
    if (busy_since_.load(std::memory_order_relaxed) == 0) {
        busy_since_.store(steady_now(), std::memory_order_relaxed);
        turns_.fetch_add(1, std::memory_order_relaxed);
        metrics_.connections_running.fetch_add(1, std::memory_order_relaxed);
    }
    while (true) {
        if (ending_.load(std::memory_order_relaxed)) {
            // The end of a session may block.
            if (scope.thread() != Scope::Thread::kOwn) {
                loop_elsewhere();
            } else {
                finish(scope);
            }
            return;
        }
        if (next_ >= current_.size() && !take_batch(scope)) {
            return;
        }
        Step step = handle(current_[next_++], scope);
        while (step == Step::kPullAgain) {
            if (!park(Parked::kPull)) {
                return;
            }
            step = pull_more();
        }
        if (step == Step::kPending) {
            return;
        }
        if (step == Step::kElsewhere) {
            --next_;
            loop_elsewhere();
            return;
        }
        if (step == Step::kClose && scope.thread() != Scope::Thread::kOwn) {
            ending_.store(true, std::memory_order_relaxed);
            continue;
        }
        if (step == Step::kClose) {
            finish(scope);
            return;
        }
        if (out_.size() >= settings_.flush_bytes && !park(Parked::kLoop)) {
            return;
        }
    }
}

/// The next messages to work on. False if the turn is over.
bool Conversation::take_batch(Scope& scope) {
    current_.clear();
    next_ = 0;
    bool resume_input = false;
    while (true) {
        MutexLock lock{mutex_};
        const bool over = excess_ != 0 || must_end() || ending_politely_.load(std::memory_order_relaxed);
        if ((over && scope.thread() != Scope::Thread::kOwn) || (incoming_.size() > 0 && scope.foreign())) {
            lock.unlock();
            loop_elsewhere();
            return false;
        }
        if (incoming_.size() > 0 && backlogged_ && !over) {
            // A peer that asks and never reads: what it asked before has to leave first.
            lock.unlock();
            if (!park(Parked::kLoop)) {
                return false;
            }
            continue;
        }
        if (incoming_.size() > 0) {
            std::swap(current_, incoming_);
            resume_input = input_paused_;
            input_paused_ = false;
            break;
        }
        if (excess_ != 0) {
            lock.unlock();
            too_large();
            finish(scope);
            return false;
        }
        if (!out_.empty()) {
            // Everything is answered: one write for all of it.
            lock.unlock();
            flush();
            continue;
        }
        if (must_end() || ending_politely_.load(std::memory_order_relaxed)) {
            lock.unlock();
            finish(scope);
            return false;
        }
        busy_since_.store(0, std::memory_order_relaxed);
        metrics_.connections_running.fetch_sub(1, std::memory_order_relaxed);
        working_ = false;
        return false;
    }
    metrics_.messages_received.fetch_add(current_.size(), std::memory_order_relaxed);
    if (resume_input) {
        transport_.resume_input();
    }
    return true;
}

void Conversation::flush() {
    flush_wanted_.store(false, std::memory_order_relaxed);
    if (!out_.empty()) {
        backlogged_ = transport_.write(out_) > settings_.output_bytes_max;
    }
}

void Conversation::hold() {
    const MutexLock lock{held_mutex_};
    held_.swap(out_);
    holding_ = true;
}

void Conversation::take_back() {
    const MutexLock lock{held_mutex_};
    held_.swap(out_);
    holding_ = false;
}

void Conversation::flush_soon() {
    flush_wanted_.store(true, std::memory_order_relaxed);
    // Under the mutex, so that nothing overtakes it.
    const MutexLock lock{held_mutex_};
    if (!held_.empty()) {
        transport_.write(held_);
    }
}

/// Sends what is there. False if the peer must read first: on_writable() then goes on at `where`.
bool Conversation::park(Parked where) {
    flush();
    // Set before asking: the answer "later" may be followed by on_writable() at once.
    parked_ = where;
    backlogged_ = false;
    return transport_.drained_or_notify();
}

void Conversation::on_writable() {
    Scope scope{*this};
    if (parked_ == Parked::kPull) {
        Step step = Step::kPullAgain;
        while (step == Step::kPullAgain) {
            scope.enter();
            step = pull_more();
            if (step == Step::kPullAgain && !park(Parked::kPull)) {
                return;
            }
        }
        if (step == Step::kPending) {
            return;
        }
        if (step == Step::kClose) {
            finish(scope);
            return;
        }
    }
    run_loop(scope);
}

/// A call completed after its caller had left: go on here.
void Conversation::resume() {
    if (interrupting != nullptr) {
        transport_.post([this] { resume(); });
        return;
    }
    const std::shared_ptr<void> keep = std::move(keep_);
    const Step step = on_result();
    if (step == Step::kPending) {
        return;
    }
    const bool shared = transport_.on_shared_thread();
    if (step == Step::kNext && (shared || !more_is_queued() || only_the_end_is_asked())) {
        // The answer leaves from here, without waking another thread.
        Scope scope{*this, shared ? Scope::Thread::kShared : Scope::Thread::kForeign};
        run_loop(scope);
        return;
    }
    // Further calls must not run on a thread that is the backend's.
    transport_.post([this, keep, step] {
        if (step == Step::kPullAgain) {
            if (park(Parked::kPull)) {
                on_writable();
            }
            return;
        }
        if (step == Step::kClose) {
            Scope scope{*this};
            finish(scope);
            return;
        }
        loop();
    });
}

bool Conversation::more_is_queued() {
    if (next_ < current_.size() || ending_.load(std::memory_order_relaxed)) {
        return true;
    }
    MutexLock lock{mutex_};
    return incoming_.size() > 0 || excess_ != 0 || must_end() ||
           ending_politely_.load(std::memory_order_relaxed);
}

/// The one request behind a statement that is done is for how it ended, which any thread may tell.
bool Conversation::only_the_end_is_asked() {
    if (state_ != State::kAutoCommit || streams_.size() != 1 || !streams_.front().finished || current_.size() - next_ != 1 ||
        !is_pull_or_discard(current_[next_]) || ending_.load(std::memory_order_relaxed)) {
        return false;
    }
    MutexLock lock{mutex_};
    return incoming_.size() == 0 && excess_ == 0 && !ending_politely_.load(std::memory_order_relaxed);
}

void Conversation::terminate(bool now) {
    {
        MutexLock lock{mutex_};
        if (closed_) {
            return;
        }
        if (!now && goodbye_queued_) {
            ending_politely_.store(true, std::memory_order_relaxed);
        } else {
            ending_.store(true, std::memory_order_relaxed);
            if (working_ && session_ != nullptr) {
                interrupted_ = true;
                interrupting = this;
                session_->interrupt();
                interrupting = nullptr;
            }
        }
        if (working_) {
            return;
        }
        working_ = true;
    }
    loop();
}

void Conversation::close_when_idle() {
    ending_when_idle_.store(true, std::memory_order_relaxed);
    work();
}

/// The last turn of work.
void Conversation::finish(Scope& scope) {
    state_ = State::kDefunct;
    if (holding_) {
        take_back();
    }
    flush();
    std::shared_ptr<Session> session;
    {
        MutexLock lock{mutex_};
        closed_ = true;
        working_ = false;
        session = std::move(session_);
        session_.reset();
        incoming_.clear();
    }
    if (busy_since_.exchange(0, std::memory_order_relaxed) != 0) {
        metrics_.connections_running.fetch_sub(1, std::memory_order_relaxed);
    }
    if (session != nullptr) {
        // Rolls back what is open.
        scope.enter();
        session.reset();
    }
    transport_.close();
}

}  // namespace nornic::bolt
