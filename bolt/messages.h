// Requests of a Bolt client, decoded and checked.
#pragma once

#include "base/result.h"
#include "bolt/backend.h"
#include "bolt/version.h"
#include "graph/value.h"

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace nornic::bolt {

enum class MessageTag : std::uint8_t {
    kHello = 0x01,
    kGoodbye = 0x02,
    kReset = 0x0F,
    kRun = 0x10,
    kBegin = 0x11,
    kCommit = 0x12,
    kRollback = 0x13,
    kDiscard = 0x2F,
    kPull = 0x3F,
    kTelemetry = 0x54,
    kRoute = 0x66,
    kLogon = 0x6A,
    kLogoff = 0x6B,
    kSuccess = 0x70,
    kRecord = 0x71,
    kIgnored = 0x7E,
    kFailure = 0x7F,
};

struct HelloRequest {
    std::string user_agent;
    Value bolt_agent;  // map or null
    Value routing;     // map or null
    NotificationFilter notifications;
    bool utc_patch = false;
    AuthToken auth;  // up to 5.0
};
struct LogonRequest {
    AuthToken auth;
};
struct LogoffRequest {};
struct TelemetryRequest {
    int api = 0;  // 0 managed, 1 explicit, 2 implicit, 3 execute_query
};
struct GoodbyeRequest {};
struct ResetRequest {};
struct RunRequest {
    std::string query;
    Value parameters;
    TransactionOptions options;
};
struct BeginRequest {
    TransactionOptions options;
};
struct CommitRequest {};
struct RollbackRequest {};
struct StreamLimit {
    std::int64_t count = -1;         // -1: all
    std::int64_t statement_id = -1;  // -1: the last
};
struct PullRequest : StreamLimit {};
struct DiscardRequest : StreamLimit {};
struct RouteRequest {
    Value context;
    std::vector<std::string> bookmarks;
    std::string database;
    std::string impersonated_user;
};

using Request = std::variant<HelloRequest,
                             LogonRequest,
                             LogoffRequest,
                             TelemetryRequest,
                             GoodbyeRequest,
                             ResetRequest,
                             RunRequest,
                             BeginRequest,
                             CommitRequest,
                             RollbackRequest,
                             PullRequest,
                             DiscardRequest,
                             RouteRequest>;

/// "RunMessage", as Neo4j's texts name it.
std::string_view request_name(const Request& request) noexcept;

enum class DecodeOutcome : std::uint8_t {
    kDecoded,
    /// A known message whose fields are wrong: the error is answered and the session goes on.
    kInvalidFields,
    /// Not a message of this version: the connection is closed without an answer.
    kUnknownMessage,
};

struct Decoded {
    DecodeOutcome outcome = DecodeOutcome::kDecoded;
    Request request;
    Error error{ErrorCode::kInvalidRequest, {}};
};

/// `out` is used again from message to message. Trailing bytes are let pass, as Neo4j does.
void decode_request(std::string_view message, const Dialect& dialect, Decoded& out);

/// True for the message RESET, without decoding it.
inline bool is_reset(std::string_view message) noexcept {
    return message.size() == 2 && message[0] == '\xB0' && message[1] == '\x0F';
}
inline bool is_goodbye(std::string_view message) noexcept {
    return message.size() == 2 && message[0] == '\xB0' && message[1] == '\x02';
}
inline bool is_pull_or_discard(std::string_view message) noexcept {
    return message.size() >= 2 && (message[1] == static_cast<char>(MessageTag::kPull) || message[1] == static_cast<char>(MessageTag::kDiscard));
}

}  // namespace nornic::bolt
