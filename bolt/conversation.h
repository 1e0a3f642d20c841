// One Bolt connection after its handshake, without the socket: bytes come in through receive(),
// answers go out through a Transport. The state machine of Neo4j (docs/bolt.md, "States").
//
// Threads: one reader calls receive(), then work(). Whoever calls work() first works on all queued
// requests; meanwhile the reader goes on reading, so that RESET can interrupt a running call. When
// the backend completes a call later on another thread, that thread writes the answer, that to the
// PULL of a statement that is done included; other requests behind it go on through Transport::post().
#pragma once

#include "base/mutex.h"
#include "bolt/backend.h"
#include "bolt/framing.h"
#include "bolt/messages.h"
#include "bolt/packstream.h"
#include "bolt/settings.h"
#include "bolt/version.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace nornic::bolt {

/// What carries a conversation's answers. All calls are thread-safe.
class Transport {
public:
    virtual ~Transport() = default;
    /// Takes whole messages and leaves `bytes` empty. Never blocks; what the peer does not take at
    /// once waits. After a lost connection it drops them. Returns how many bytes wait now.
    virtual std::size_t write(std::string& bytes) = 0;
    /// True if nothing waits to be sent, or nothing ever can be. Else false, and on_writable() is
    /// called once when that is so; it may be called before this returns.
    virtual bool drained_or_notify() = 0;
    /// Ends the connection once everything written is sent. The conversation is done with it.
    virtual void close() = 0;
    /// The reader may read again after wants_input() was false.
    virtual void resume_input() = 0;
    /// Runs it soon on a thread where calls of the backend may be made.
    virtual void post(std::function<void()> task) = 0;
    /// On the thread of ConversationSettings::shared_io, where only what does not block may be done.
    [[nodiscard]] virtual bool on_shared_thread() const { return false; }
    /// Keeps this and the conversation alive.
    virtual std::shared_ptr<void> share() = 0;
};

class Conversation final : private RecordSink {
public:
    enum class State : std::uint8_t {
        kNegotiation,
        kAuthentication,
        kReady,
        kAutoCommit,
        kInTransaction,
        kFailed,
        kDefunct,
    };

    /// All references must outlive it. info.user_agent and the like are filled by HELLO.
    Conversation(Backend& backend,
                 const ConversationSettings& settings,
                 Metrics& metrics,
                 Transport& transport,
                 ConnectionInfo info,
                 Dialect dialect,
                 bool by_manifest);
    ~Conversation() override;
    Conversation(const Conversation&) = delete;
    Conversation& operator=(const Conversation&) = delete;

    /// Queues the messages that `bytes` completes. A RESET among them interrupts what runs.
    void receive(std::string_view bytes);
    /// False while so much is queued that the reader should wait for resume_input().
    [[nodiscard]] bool wants_input();
    /// Works on what is queued, unless another thread does already.
    void work();
    /// See Transport::drained_or_notify().
    void on_writable();
    /// The peer is gone, or the connection must end now: interrupts what runs, drops what is queued
    /// (unless a GOODBYE is: then all before it is still done, if `now` is false).
    void terminate(bool now);
    /// Ends as soon as its client is logged in, nothing runs and no statement or transaction is open.
    void close_when_idle();

    /// Answers to what came before the request under work leave, and records that are ready leave soon, though
    /// their pull goes on: called now and then while a statement takes long. Any thread.
    void flush_soon();

    /// Session::waits_elsewhere(). Any thread.
    [[nodiscard]] bool waits_elsewhere() const;
    /// Whether the peer's version knows keep-alives. Any thread.
    [[nodiscard]] bool takes_noops() const noexcept { return takes_noops_; }
    [[nodiscard]] bool authenticated() const noexcept {
        return authenticated_.load(std::memory_order_relaxed);
    }
    /// How often it had something to do by now.
    [[nodiscard]] std::uint64_t turns() const noexcept { return turns_.load(std::memory_order_relaxed); }
    /// Nanoseconds of system_clock() since when requests are being worked on; 0: none is.
    [[nodiscard]] std::int64_t busy_since() const noexcept {
        return busy_since_.load(std::memory_order_relaxed);
    }
    [[nodiscard]] std::string user() const;
    [[nodiscard]] std::string user_agent() const;
    /// Of the working thread, or when nobody works.
    [[nodiscard]] State state() const noexcept { return state_; }

private:
    enum class Step : std::uint8_t {
        kNext,       // answered; take the next message
        kPending,    // the backend or the socket goes on later; members must not be touched
        kPullAgain,  // a paused pull can go on
        kElsewhere,  // not on this thread
        kClose,
    };
    enum class Call : std::uint8_t {
        kNone,
        kLogin,
        kRun,
        kRunInTransaction,
        kBegin,
        kCommit,
        kRollback,
        kPull,
        kDiscard,
        kRoute
    };
    enum class Parked : std::uint8_t { kNo, kLoop, kPull };
    using CallResult = std::variant<std::monostate,
                                    Result<Login>,
                                    Result<Running>,
                                    Result<Begun>,
                                    Result<std::string>,
                                    Result<void>,
                                    Result<Pulled>,
                                    Result<RoutingTable>>;
    class Scope;

    // ---- conversation.cc: whose turn it is ----
    void loop();
    void loop_elsewhere();
    void run_loop(Scope& scope);
    bool take_batch(Scope& scope);
    bool park(Parked where);
    void finish(Scope& scope);
    void flush();
    void hold();
    void take_back();
    void resume();
    [[nodiscard]] bool must_end() const noexcept;
    [[nodiscard]] bool more_is_queued();
    [[nodiscard]] bool only_the_end_is_asked();

    /// Makes a call of the session; `start` gets its completion. Returns what to do next.
    template <class T, class Start>
    Step call(Call kind, Start start);

    // ---- requests.cc: what each message does ----
    Step handle(std::string_view message, Scope& scope);
    Step dispatch(Scope& scope);
    Step on(HelloRequest& request);
    Step on(LogonRequest& request);
    Step on(LogoffRequest& request);
    Step on(TelemetryRequest& request);
    Step on(GoodbyeRequest& request);
    Step on(ResetRequest& request);
    Step on(RunRequest& request);
    Step on(BeginRequest& request);
    Step on(CommitRequest& request);
    Step on(RollbackRequest& request);
    Step on(PullRequest& request);
    Step on(DiscardRequest& request);
    Step on(RouteRequest& request);
    Step log_in(const AuthToken& token);
    Step pull_more();
    [[nodiscard]] bool allowed(const Request& request) const noexcept;
    [[nodiscard]] bool done_at_once(std::string_view message) const;

    // ---- answers.cc: what each result says ----
    Step on_result();
    Step finished(Result<Login>& result);
    Step finished(Result<Running>& result);
    Step finished(Result<Begun>& result);
    Step finished(Result<std::string>& result);
    Step finished(Result<void>& result);
    Step finished(Result<Pulled>& result);
    Step finished(Result<RoutingTable>& result);
    void hello_success(const Login* login);
    void success_empty();
    void ignored();
    void write_failure(const Error& error, bool retry_is_safe = false);
    /// The answer is a failure and everything up to RESET is ignored.
    Step failed(const Error& error, bool retry_is_safe = false);
    Step violation(std::string_view message_name);
    Step too_large();
    [[nodiscard]] std::string_view state_name() const noexcept;

    bool record(std::span<const Value> values) override;
    bool packed_record(std::string_view message) override;
    bool sunk();
    void pass_on(std::string_view message);

    struct Stream {
        std::int64_t id = 0;
        bool has_fields = false;
        std::int64_t records = 0;
        bool finished = false;  // Running::finished
    };
    Stream& stream_of(std::int64_t statement_id);
    void pack_end(const Pulled& pulled, const Stream& stream);

    Backend& backend_;
    const ConversationSettings& settings_;
    Metrics& metrics_;
    Transport& transport_;
    const bool by_manifest_;
    const bool takes_noops_;

    // Of the working thread alone.
    Dialect dialect_;
    State state_ = State::kNegotiation;
    std::string out_;
    MessageFramer framer_{out_};
    bool holding_ = false;     // held_ may have something
    bool backlogged_ = false;  // more waits for the socket than is to pile up
    MessageBatch current_;
    std::size_t next_ = 0;
    Decoded decoded_;
    NotificationFilter hello_filter_;
    NotificationFilter filter_;
    std::vector<Stream> streams_;
    bool names_database_ = false;  // the client did, in the RUN or BEGIN under work
    std::string repeated_;         // what an empty statement stands for (legacy)
    StreamLimit limit_;
    std::int64_t sunk_ = 0;  // records of the pull under work
    std::int64_t counted_ =
        0;  // of those, the ones that earlier passes of a paused pull handed over
    bool login_in_hello_ = false;
    Parked parked_ = Parked::kNo;

    // The call under work: 0 = its caller is on the stack, 1 = the caller left, 2 = it completed.
    std::atomic<int> call_state_{0};
    Call call_ = Call::kNone;
    CallResult result_;
    std::shared_ptr<void> keep_;

    // Answers that wait for the end of the call under work, to leave in one write with its own.
    Mutex held_mutex_;
    std::string held_ GUARDED_BY(held_mutex_);

    mutable Mutex mutex_;
    ChunkReader reader_ GUARDED_BY(mutex_);
    MessageBatch incoming_ GUARDED_BY(mutex_);
    std::size_t excess_ GUARDED_BY(mutex_) = 0;
    bool working_ GUARDED_BY(mutex_) = false;
    bool closed_ GUARDED_BY(mutex_) = false;
    bool interrupted_ GUARDED_BY(mutex_) = false;
    bool goodbye_queued_ GUARDED_BY(mutex_) = false;
    bool input_paused_ GUARDED_BY(mutex_) = false;
    // Written by the working thread under the mutex, so that a reader may interrupt it.
    std::shared_ptr<Session> session_;
    ConnectionInfo info_;
    std::string user_;

    std::atomic<int> resets_pending_{0};
    std::atomic<bool> ending_{false};           // now
    std::atomic<bool> ending_politely_{false};  // after a queued GOODBYE
    std::atomic<bool> ending_when_idle_{false};
    std::atomic<bool> flush_wanted_{false};
    std::atomic<bool> authenticated_{false};
    std::atomic<std::int64_t> busy_since_{0};
    std::atomic<std::uint64_t> turns_{0};
};

}  // namespace nornic::bolt
