// Conversation: what each request does.
#include "bolt/conversation.h"
#include "bolt/conversation_scope.h"

#include <fmt/format.h>

namespace nornic::bolt {

namespace {

void inherit(NotificationFilter& filter, const NotificationFilter& from) {
    if (filter.minimum_severity == NotificationSeverity::kDefault) {
        filter.minimum_severity = from.minimum_severity;
    }
    if (filter.disabled_categories.empty()) {
        filter.disabled_categories = from.disabled_categories;
    }
}

}  // namespace

Conversation::Step Conversation::handle(std::string_view message, Scope& scope) {
    // Before a login RESET is a violation like any other message, and interrupts nothing.
    const bool logged_in = state_ != State::kNegotiation && state_ != State::kAuthentication;
    const bool skipping = state_ == State::kFailed ||
                          (logged_in && resets_pending_.load(std::memory_order_relaxed) > 0);
    if (skipping && !is_reset(message) && !is_goodbye(message)) {
        ignored();
        return Step::kNext;
    }
    decode_request(message, dialect_, decoded_);
    if (scope.shared() && !done_at_once(message)) {
        return Step::kElsewhere;
    }
    switch (decoded_.outcome) {
        case DecodeOutcome::kDecoded:
            return dispatch(scope);
        case DecodeOutcome::kInvalidFields:
            // The state stays: what is pipelined behind it may then be a violation.
            write_failure(decoded_.error);
            return Step::kNext;
        case DecodeOutcome::kUnknownMessage:
            break;
    }
    return Step::kClose;
}

/// By a call that may be made on the thread that many connections share.
bool Conversation::done_at_once(std::string_view message) const {
    constexpr std::size_t kBytesMax = 8192;
    if (decoded_.outcome != DecodeOutcome::kDecoded || message.size() > kBytesMax) {
        return false;
    }
    if (std::holds_alternative<PullRequest>(decoded_.request)) {
        return state_ == State::kAutoCommit && session_->pulls_at_once();
    }
    const auto* const run = std::get_if<RunRequest>(&decoded_.request);
    return run != nullptr && state_ == State::kReady && session_->runs_at_once(run->query, run->options);
}

bool Conversation::allowed(const Request& request) const noexcept {
    const bool ready = state_ == State::kReady;
    struct Visitor {
        State state;
        bool ready;
        bool operator()(const HelloRequest&) const { return state == State::kNegotiation; }
        bool operator()(const LogonRequest&) const { return state == State::kAuthentication; }
        bool operator()(const LogoffRequest&) const { return ready; }
        bool operator()(const TelemetryRequest&) const { return ready; }
        bool operator()(const GoodbyeRequest&) const { return true; }
        bool operator()(const ResetRequest&) const {
            return state != State::kNegotiation && state != State::kAuthentication;
        }
        bool operator()(const RunRequest&) const { return ready || state == State::kInTransaction; }
        bool operator()(const BeginRequest&) const { return ready; }
        bool operator()(const CommitRequest&) const { return state == State::kInTransaction; }
        bool operator()(const RollbackRequest&) const { return state == State::kInTransaction; }
        bool operator()(const PullRequest&) const {
            return state == State::kAutoCommit || state == State::kInTransaction;
        }
        bool operator()(const DiscardRequest&) const {
            return state == State::kAutoCommit || state == State::kInTransaction;
        }
        bool operator()(const RouteRequest&) const { return ready; }
    };
    return std::visit(Visitor{state_, ready}, request);
}

Conversation::Step Conversation::dispatch(Scope& scope) {
    if (!allowed(decoded_.request)) {
        return violation(request_name(decoded_.request));
    }
    scope.enter();
    return std::visit([this](auto& request) { return on(request); }, decoded_.request);
}

Conversation::Step Conversation::on(HelloRequest& request) {
    {
        MutexLock lock{mutex_};
        info_.user_agent = std::move(request.user_agent);
        info_.bolt_agent = std::move(request.bolt_agent);
        info_.routing_context = std::move(request.routing);
    }
    hello_filter_ = std::move(request.notifications);
    dialect_.utc_patch = request.utc_patch;
    std::shared_ptr<Session> session = backend_.open_session(info_);
    NORNIC_CHECK(session != nullptr, "no session for {}", info_.connection_id);
    {
        MutexLock lock{mutex_};
        session_ = std::move(session);
    }
    if (!dialect_.has_logon()) {
        login_in_hello_ = true;
        return log_in(request.auth);
    }
    state_ = State::kAuthentication;
    hello_success(nullptr);
    return Step::kNext;
}

Conversation::Step Conversation::on(LogonRequest& request) {
    login_in_hello_ = false;
    return log_in(request.auth);
}

Conversation::Step Conversation::log_in(const AuthToken& token) {
    if (backend_.authentication_enabled()) {
        std::string problem;
        if (token.scheme.empty()) {
            problem = "missing key `scheme`";
        } else if (token.scheme == "none") {
            problem = "scheme 'none' is only allowed when auth is disabled.";
        } else if (token.scheme != "basic") {
            problem = fmt::format("scheme '{}' is not supported.", token.scheme);
        } else if (!token.has_credentials) {
            problem = "missing key `credentials`";
        }
        if (!problem.empty()) {
            result_ = Result<Login>{
                fail(ErrorCode::kUnauthorized, "Unsupported authentication token, " + problem)};
            call_ = Call::kLogin;
            return on_result();
        }
    }
    return call<Login>(Call::kLogin,
                       [&](Completion<Login> done) { session_->login(token, std::move(done)); });
}

Conversation::Step Conversation::on(LogoffRequest&) {
    session_->logoff();
    {
        MutexLock lock{mutex_};
        user_.clear();
    }
    state_ = State::kAuthentication;
    success_empty();
    return Step::kNext;
}

Conversation::Step Conversation::on(TelemetryRequest& request) {
    if (settings_.on_telemetry) {
        settings_.on_telemetry(request.api);
    }
    success_empty();
    return Step::kNext;
}

Conversation::Step Conversation::on(GoodbyeRequest&) {
    return Step::kClose;
}

Conversation::Step Conversation::on(ResetRequest&) {
    bool needed = state_ != State::kReady;
    {
        MutexLock lock{mutex_};
        needed = needed || interrupted_;
        // Before reset(): a RESET that comes while it runs interrupts anew and is cleared by
        // itself.
        interrupted_ = false;
    }
    resets_pending_.fetch_sub(1, std::memory_order_relaxed);
    if (needed) {
        session_->reset();
    }
    streams_.clear();
    state_ = State::kReady;
    success_empty();
    return Step::kNext;
}

Conversation::Step Conversation::on(RunRequest& request) {
    if (dialect_.is_legacy()) {
        // Drivers of that age send a statement that they repeat only once.
        if (request.query.empty()) {
            request.query = repeated_;
        } else {
            repeated_ = request.query;
        }
    }
    if (state_ == State::kInTransaction) {
        return call<Running>(Call::kRunInTransaction, [&](Completion<Running> done) {
            session_->run_in_transaction(
                std::move(request.query), std::move(request.parameters), std::move(done));
        });
    }
    inherit(request.options.notifications, hello_filter_);
    filter_ = request.options.notifications;
    names_database_ = !request.options.database.empty();
    return call<Running>(Call::kRun, [&](Completion<Running> done) {
        session_->run(std::move(request.query),
                      std::move(request.parameters),
                      std::move(request.options),
                      std::move(done));
    });
}

Conversation::Step Conversation::on(BeginRequest& request) {
    inherit(request.options.notifications, hello_filter_);
    filter_ = request.options.notifications;
    names_database_ = !request.options.database.empty();
    return call<Begun>(Call::kBegin, [&](Completion<Begun> done) {
        session_->begin(std::move(request.options), std::move(done));
    });
}

Conversation::Step Conversation::on(CommitRequest&) {
    return call<std::string>(
        Call::kCommit, [&](Completion<std::string> done) { session_->commit(std::move(done)); });
}

Conversation::Step Conversation::on(RollbackRequest&) {
    return call<void>(Call::kRollback,
                      [&](Completion<void> done) { session_->rollback(std::move(done)); });
}

Conversation::Step Conversation::on(PullRequest& request) {
    limit_ = request;
    sunk_ = 0;
    counted_ = 0;
    return pull_more();
}

Conversation::Step Conversation::pull_more() {
    if (ending_.load(std::memory_order_relaxed)) {
        return Step::kClose;
    }
    if (resets_pending_.load(std::memory_order_relaxed) > 0) {
        // The RESET came while the peer was not reading: the session may not have heard of it.
        return failed(Error{ErrorCode::kTerminated, {}});
    }
    const std::int64_t count = limit_.count < 0 ? -1 : limit_.count - sunk_;
    return call<Pulled>(Call::kPull, [&](Completion<Pulled> done) {
        session_->pull(limit_.statement_id, count, *this, std::move(done));
    });
}

Conversation::Step Conversation::on(DiscardRequest& request) {
    limit_ = request;
    sunk_ = 0;
    counted_ = 0;
    return call<Pulled>(Call::kDiscard, [&](Completion<Pulled> done) {
        session_->discard(limit_.statement_id, limit_.count, std::move(done));
    });
}

Conversation::Step Conversation::on(RouteRequest& request) {
    return call<RoutingTable>(Call::kRoute, [&](Completion<RoutingTable> done) {
        session_->route(std::move(request.context),
                        std::move(request.bookmarks),
                        std::move(request.database),
                        std::move(request.impersonated_user),
                        std::move(done));
    });
}

}  // namespace nornic::bolt
