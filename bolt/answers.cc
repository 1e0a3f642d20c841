// Conversation: what each result says to the client.
#include "bolt/conversation.h"
#include "bolt/failure.h"
#include "bolt/summary.h"

#include <fmt/format.h>

namespace nornic::bolt {

namespace {

constexpr std::uint8_t kSuccess = static_cast<std::uint8_t>(MessageTag::kSuccess);
constexpr std::uint8_t kRecord = static_cast<std::uint8_t>(MessageTag::kRecord);
constexpr std::uint8_t kFailure = static_cast<std::uint8_t>(MessageTag::kFailure);

}  // namespace

bool Conversation::record(std::span<const Value> values) {
    if (holding_) {
        take_back();
    }
    framer_.begin();
    Packer out{out_, dialect_};
    out.structure(kRecord, 1);
    out.list(values.size());
    for (const Value& v : values) {
        out.value(v);
    }
    framer_.end();
    return sunk();
}

bool Conversation::packed_record(std::string_view message) {
    if (holding_) {
        take_back();
    }
    pass_on(message);
    return sunk();
}

void Conversation::pass_on(std::string_view message) {
    framer_.begin();
    out_.append(message);
    framer_.end();
}

/// Counts a record; false: the client must read first.
bool Conversation::sunk() {
    ++sunk_;
    // At the last record that was asked for there is nothing to pause.
    const bool room =
        out_.size() < settings_.output_bytes_max && !flush_wanted_.load(std::memory_order_relaxed);
    return room || sunk_ == limit_.count;
}

void Conversation::success_empty() {
    out_.append("\x00\x03\xB1\x70\xA0\x00\x00", 7);
}

void Conversation::ignored() {
    out_.append("\x00\x02\xB0\x7E\x00\x00", 6);
}

void Conversation::write_failure(const Error& error, bool retry_is_safe) {
    metrics_.messages_failed.fetch_add(1, std::memory_order_relaxed);
    framer_.begin();
    Packer out{out_, dialect_};
    out.structure(kFailure, 1);
    pack_failure(out, dialect_, to_failure(error), retry_is_safe);
    framer_.end();
}

Conversation::Step Conversation::failed(const Error& error, bool retry_is_safe) {
    write_failure(error, retry_is_safe);
    state_ = State::kFailed;
    streams_.clear();
    return Step::kNext;
}

std::string_view Conversation::state_name() const noexcept {
    switch (state_) {
        case State::kNegotiation:
            return "NEGOTIATION";
        case State::kAuthentication:
            return "AUTHENTICATION";
        case State::kReady:
            return "READY";
        case State::kAutoCommit:
            return "AUTO_COMMIT";
        case State::kInTransaction:
            return "IN_TRANSACTION";
        case State::kFailed:
            return "FAILED";
        case State::kDefunct:
            return "DEFUNCT";
    }
    return "";
}

Conversation::Step Conversation::violation(std::string_view message_name) {
    write_failure(
        Error{ErrorCode::kInvalidRequest,
              fmt::format("Message of type {} cannot be handled by a session in the {} state.",
                          message_name,
                          state_name()),
              std::nullopt,
              "50N42"});
    return Step::kClose;
}

Conversation::Step Conversation::too_large() {
    std::size_t size = 0;
    {
        MutexLock lock{mutex_};
        size = excess_;
    }
    const std::size_t limit =
        authenticated() ? settings_.message_bytes_max : settings_.message_bytes_max_unauthenticated;
    write_failure(Error{ErrorCode::kInvalidRequest,
                        fmt::format("Value of size {} exceeded limit of {}", size, limit),
                        std::nullopt,
                        "22N56"});
    return Step::kClose;
}

Conversation::Step Conversation::on_result() {
    if (holding_) {
        take_back();
    }
    CallResult result = std::move(result_);
    result_ = std::monostate{};
    return std::visit(
        [this](auto& r) -> Step {
            if constexpr (std::is_same_v<std::decay_t<decltype(r)>, std::monostate>) {
                NORNIC_CHECK(false, "call {} completed without a result", static_cast<int>(call_));
                return Step::kClose;
            } else {
                return finished(r);
            }
        },
        result);
}

void Conversation::hello_success(const Login* login) {
    const bool hints = dialect_.at_least(4, 3);
    const bool telemetry = settings_.telemetry_hint && dialect_.has_telemetry();
    const bool routing = settings_.server_side_routing_hint && dialect_.has_server_side_routing();
    const bool expired = login != nullptr && login->credentials_expired;
    framer_.begin();
    Packer out{out_, dialect_};
    out.structure(kSuccess, 1);
    out.map(std::size_t{2} + (hints ? 1 : 0) + (dialect_.utc_patch ? 1 : 0) +
            (by_manifest_ ? 1 : 0) + (expired ? 1 : 0));
    out.string("server");
    out.string(backend_.server_agent());
    out.string("connection_id");
    out.string(info_.connection_id);
    if (hints) {
        out.string("hints");
        out.map(std::size_t{1} + (telemetry ? 1 : 0) + (routing ? 1 : 0));
        out.string("connection.recv_timeout_seconds");
        out.integer(settings_.receive_timeout_hint_seconds);
        if (telemetry) {
            out.string("telemetry.enabled");
            out.boolean(true);
        }
        if (routing) {
            out.string("ssr.enabled");
            out.boolean(true);
        }
    }
    if (dialect_.utc_patch) {
        out.string("patch_bolt");
        out.list(1);
        out.string("utc");
    }
    if (by_manifest_) {
        out.string("protocol_version");
        out.string(info_.protocol_version);
    }
    if (expired) {
        out.string("credentials_expired");
        out.boolean(true);
    }
    framer_.end();
}

Conversation::Step Conversation::finished(Result<Login>& result) {
    if (!result) {
        metrics_.authentication_failures.fetch_add(1, std::memory_order_relaxed);
        write_failure(result.error());
        return Step::kClose;
    }
    Login& login = result.value();
    state_ = State::kReady;
    authenticated_.store(true, std::memory_order_relaxed);
    if (login_in_hello_) {
        hello_success(&login);
    } else {
        const bool address = dialect_.has_server_side_routing();
        framer_.begin();
        Packer out{out_, dialect_};
        out.structure(kSuccess, 1);
        out.map(std::size_t{0} + (address ? 1 : 0) + (login.credentials_expired ? 1 : 0));
        if (address) {
            out.string("advertised_address");
            out.string(backend_.advertised_address());
        }
        if (login.credentials_expired) {
            out.string("credentials_expired");
            out.boolean(true);
        }
        framer_.end();
    }
    MutexLock lock{mutex_};
    user_ = std::move(login.user);
    return Step::kNext;
}

Conversation::Step Conversation::finished(Result<Running>& result) {
    const bool in_transaction = call_ == Call::kRunInTransaction;
    if (!result) {
        const ErrorCode code = result.error().code();
        // Refused before anything was tried: drivers may send an autocommit statement again.
        const bool untried =
            code == ErrorCode::kNotLeader || code == ErrorCode::kDatabaseUnavailable;
        return failed(result.error(), untried && !in_transaction);
    }
    const Running& running = result.value();
    if (!in_transaction) {
        state_ = State::kAutoCommit;
        streams_.clear();
    }
    streams_.push_back({running.statement_id, !running.fields.empty(), 0, running.finished});
    if (!running.packed.empty()) {
        pass_on(running.packed);
        return Step::kNext;
    }
    const bool database = !in_transaction && !names_database_ && dialect_.has_server_side_routing();
    const bool numbered = in_transaction && !dialect_.is_legacy();
    framer_.begin();
    Packer out{out_, dialect_};
    out.structure(kSuccess, 1);
    out.map(std::size_t{2} + (numbered ? 1 : 0) + (database ? 1 : 0));
    out.string("t_first");
    out.integer(running.available_after_ms);
    out.string("fields");
    out.list(running.fields.size());
    for (const std::string& field : running.fields) {
        out.string(field);
    }
    if (numbered) {
        out.string("qid");
        out.integer(running.statement_id);
    }
    if (database) {
        out.string("db");
        out.string(running.database);
    }
    framer_.end();
    return Step::kNext;
}

Conversation::Step Conversation::finished(Result<Begun>& result) {
    if (!result) {
        return failed(result.error());
    }
    state_ = State::kInTransaction;
    streams_.clear();
    if (names_database_ || !dialect_.has_server_side_routing()) {
        success_empty();
        return Step::kNext;
    }
    framer_.begin();
    Packer out{out_, dialect_};
    out.structure(kSuccess, 1);
    out.map(1);
    out.string("db");
    out.string(result.value().database);
    framer_.end();
    return Step::kNext;
}

/// COMMIT's bookmark.
Conversation::Step Conversation::finished(Result<std::string>& result) {
    if (!result) {
        return failed(result.error());
    }
    state_ = State::kReady;
    streams_.clear();
    if (result.value().empty()) {
        success_empty();
        return Step::kNext;
    }
    framer_.begin();
    Packer out{out_, dialect_};
    out.structure(kSuccess, 1);
    const std::int64_t version = dialect_.is_legacy() ? 0 : session_->data_version();
    out.map(std::size_t{1} + (version > 0 ? 1 : 0));
    out.string("bookmark");
    out.string(result.value());
    if (version > 0) {
        out.string("data_version");
        out.integer(version);
    }
    framer_.end();
    return Step::kNext;
}

/// ROLLBACK.
Conversation::Step Conversation::finished(Result<void>& result) {
    if (!result) {
        return failed(result.error());
    }
    state_ = State::kReady;
    streams_.clear();
    success_empty();
    return Step::kNext;
}

/// statement_id -1: the last one.
Conversation::Stream& Conversation::stream_of(std::int64_t statement_id) {
    for (std::size_t i = streams_.size(); i-- > 0;) {
        if (statement_id == -1 || streams_[i].id == statement_id) {
            return streams_[i];
        }
    }
    return streams_.emplace_back(Stream{statement_id, true, 0});
}

Conversation::Step Conversation::finished(Result<Pulled>& result) {
    metrics_.records_sent.fetch_add(static_cast<std::uint64_t>(sunk_ - counted_),
                                    std::memory_order_relaxed);
    counted_ = sunk_;
    if (!result) {
        return failed(result.error());
    }
    Pulled& pulled = result.value();
    if (pulled.outcome == PullOutcome::kPaused) {
        NORNIC_CHECK(call_ == Call::kPull && sunk_ != limit_.count,
                     "paused at {} of {} records",
                     sunk_,
                     limit_.count);
        return Step::kPullAgain;
    }
    Stream& stream = stream_of(limit_.statement_id);
    stream.records += call_ == Call::kPull ? sunk_ : pulled.records;
    if (pulled.outcome == PullOutcome::kHasMore) {
        out_.append("\x00\x0D\xB1\x70\xA1\x88has_more\xC3\x00\x00", 17);
        return Step::kNext;
    }
    if (!pulled.packed.empty()) {
        pass_on(pulled.packed);
    } else {
        pack_end(pulled, stream);
    }
    if (state_ == State::kAutoCommit) {
        state_ = State::kReady;
        streams_.clear();
    } else {
        std::erase_if(streams_, [id = stream.id](const Stream& s) { return s.id == id; });
    }
    return Step::kNext;
}

/// The SUCCESS behind the last record of a statement.
void Conversation::pack_end(const Pulled& pulled, const Stream& stream) {
    SummaryContext context;
    context.has_fields = stream.has_fields;
    context.records = std::max(stream.records, pulled.summary.records);
    context.filter = filter_;
    if (state_ == State::kAutoCommit) {
        context.bookmark = pulled.bookmark;
        context.data_version = session_->data_version();
    }
    framer_.begin();
    Packer out{out_, dialect_};
    out.structure(kSuccess, 1);
    pack_summary(out, dialect_, pulled.summary, context);
    framer_.end();
}

Conversation::Step Conversation::finished(Result<RoutingTable>& result) {
    if (!result) {
        return failed(result.error());
    }
    const RoutingTable& table = result.value();
    framer_.begin();
    Packer out{out_, dialect_};
    out.structure(kSuccess, 1);
    out.map(1);
    out.string("rt");
    const bool database = dialect_.at_least(4, 4);
    out.map(std::size_t{2} + (database ? 1 : 0));
    out.string("servers");
    out.list(table.servers.size());
    for (const RoutingTable::Server& server : table.servers) {
        out.map(2);
        out.string("addresses");
        out.list(server.addresses.size());
        for (const std::string& address : server.addresses) {
            out.string(address);
        }
        out.string("role");
        out.string(server.role);
    }
    out.string("ttl");
    out.integer(table.ttl_seconds);
    if (database) {
        out.string("db");
        out.string(table.database);
    }
    framer_.end();
    return Step::kNext;
}

}  // namespace nornic::bolt
