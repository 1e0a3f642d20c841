#include "bolt/messages.h"

#include "bolt/packstream.h"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <limits>

namespace nornic::bolt {

namespace {

constexpr std::string_view kUnknown = "50N42";
constexpr std::string_view kInvalidType = "08N06>22G03>22N01";
constexpr std::string_view kInvalidValue = "08N06>22N04";
constexpr std::string_view kOutOfRange = "08N06>22N03";

std::string_view value_type_name(const Value& v) {
    switch (v.type()) {
        case ValueType::kNull:
            return "NONE";
        case ValueType::kBoolean:
            return "BOOLEAN";
        case ValueType::kInteger:
            return "INT";
        case ValueType::kFloat:
            return "FLOAT";
        case ValueType::kString:
            return "STRING";
        case ValueType::kBytes:
            return "BYTES";
        case ValueType::kList:
            return "LIST";
        case ValueType::kMap:
            return "MAP";
        default:
            return "STRUCT";
    }
}

/// Picks typed entries out of a metadata map; the first wrong one is the error.
class Fields {
public:
    Fields(Unpacker& unpacker, const Map& map) : unpacker_{unpacker}, map_{map} {}

    bool illegal(std::string_view field, std::string message, std::string_view gql) {
        if (unpacker_.ok()) {
            unpacker_.fail(std::move(message), std::string{gql});
            unpacker_.add_field(field);
        }
        return false;
    }
    bool wrong_type(std::string_view field, std::string_view expected, const Value& got) {
        return illegal(
            field,
            fmt::format("Unexpected type: Expected {} but got {}", expected, value_type_name(got)),
            kInvalidType);
    }
    /// nullptr if absent or null.
    [[nodiscard]] const Value* find(std::string_view field) const {
        const Value* v = map_.find(field);
        return v == nullptr || v->is_null() ? nullptr : v;
    }
    bool text(std::string_view field, std::string& out) {
        const Value* v = find(field);
        if (v == nullptr) {
            return true;
        }
        if (!v->is_string()) {
            return wrong_type(field, "STRING", *v);
        }
        out = v->as_string();
        return true;
    }
    bool required_text(std::string_view field, std::string& out) {
        if (find(field) == nullptr) {
            return illegal(field, "Expected value to be non-null", kUnknown);
        }
        return text(field, out);
    }
    bool texts(std::string_view field, std::vector<std::string>& out) {
        const Value* v = find(field);
        return v == nullptr || texts_of(field, *v, out);
    }
    bool texts_of(std::string_view field, const Value& list, std::vector<std::string>& out) {
        if (!list.is_list()) {
            return wrong_type(field, "LIST", list);
        }
        for (const Value& item : list.as_list()) {
            if (!item.is_string()) {
                return wrong_type(field, "STRING", item);
            }
            out.emplace_back(item.as_string());
        }
        return true;
    }
    bool map_or_null(std::string_view field, Value& out) {
        const Value* v = find(field);
        if (v == nullptr) {
            return true;
        }
        if (!v->is_map()) {
            return wrong_type(field, "MAP", *v);
        }
        out = *v;
        return true;
    }
    [[nodiscard]] bool empty() const { return map_.empty(); }

private:
    Unpacker& unpacker_;
    const Map& map_;
};

bool read_filter(Fields& fields, const Dialect& dialect, NotificationFilter& out) {
    if (!dialect.at_least(5, 2)) {
        return true;
    }
    std::string severity;
    if (!fields.text("notifications_minimum_severity", severity)) {
        return false;
    }
    if (severity == "OFF") {
        out.minimum_severity = NotificationSeverity::kOff;
    } else if (severity == "WARNING") {
        out.minimum_severity = NotificationSeverity::kWarning;
    } else if (severity == "INFORMATION") {
        out.minimum_severity = NotificationSeverity::kInformation;
    } else if (!severity.empty()) {
        return fields.illegal(
            "notifications_minimum_severity",
            fmt::format(
                "Expecting severity to be one of 'OFF', 'WARNING' or 'INFORMATION', but got: '{}'",
                severity),
            kInvalidValue);
    }
    // From 5.6 on categories go by the name of classifications, and the old key is not looked at.
    return fields.texts(dialect.has_statuses() ? "notifications_disabled_classifications"
                                               : "notifications_disabled_categories",
                        out.disabled_categories);
}

bool read_auth(Fields& fields, AuthToken& out) {
    if (!fields.text("scheme", out.scheme) || !fields.text("principal", out.principal) ||
        !fields.text("realm", out.realm)) {
        return false;
    }
    out.has_credentials = fields.find("credentials") != nullptr;
    return fields.text("credentials", out.credentials);
}

bool read_options(Fields& fields, const Dialect& dialect, TransactionOptions& out) {
    out.mode_unsaid = dialect.is_legacy() && fields.find("mode") == nullptr;
    if (fields.empty()) {
        return true;
    }
    std::string mode;
    if (!fields.texts("bookmarks", out.bookmarks) ||
        !fields.map_or_null("tx_metadata", out.metadata) ||
        (!dialect.is_legacy() && !fields.text("db", out.database)) || !fields.text("mode", mode)) {
        return false;
    }
    if (mode == "r") {
        out.mode = AccessMode::kRead;
    } else if (!mode.empty() && mode != "w") {
        return fields.illegal(
            "mode", "Expecting access mode value to be 'r' or 'w'", kInvalidValue);
    }
    if (const Value* timeout = fields.find("tx_timeout")) {
        if (!timeout->is(ValueType::kInteger)) {
            return fields.wrong_type("tx_timeout", "INT", *timeout);
        }
        // 0 and below: no time-out. Above what nanoseconds can hold (292 years) there is none
        // either.
        constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max() / 1'000'000;
        const std::int64_t ms = timeout->as_integer();
        out.timeout = ms <= 0 || ms > kMost ? Duration{0} : Duration{std::chrono::milliseconds{ms}};
    }
    if (dialect.at_least(4, 4) && !fields.text("imp_user", out.impersonated_user)) {
        return false;
    }
    return read_filter(fields, dialect, out.notifications);
}

bool read_hello(Unpacker& in, const Dialect& dialect, HelloRequest& out) {
    Map extra;
    if (!in.map(extra)) {
        in.add_field("extra");
        return false;
    }
    Fields fields{in, extra};
    if (!fields.required_text("user_agent", out.user_agent)) {
        return false;
    }
    if (dialect.has_bolt_agent()) {
        const Value* agent = fields.find("bolt_agent");
        bool good = agent != nullptr && agent->is_map();
        if (good) {
            for (const auto& [key, item] : agent->as_map()) {
                good = good && item.is_string();
            }
        }
        if (!good) {
            return fields.illegal(
                "bolt_agent", "Must be a map with string keys and string values.", kInvalidType);
        }
        out.bolt_agent = *agent;
    }
    if (!fields.map_or_null("routing", out.routing) ||
        !read_filter(fields, dialect, out.notifications)) {
        return false;
    }
    if (dialect.at_least(4, 3) && !dialect.at_least(5, 0)) {
        std::vector<std::string> patches;
        if (!fields.texts("patch_bolt", patches)) {
            return false;
        }
        for (const std::string& patch : patches) {
            out.utc_patch = out.utc_patch || patch == "utc";
        }
    }
    return dialect.has_logon() || read_auth(fields, out.auth);
}

bool read_limit(Unpacker& in, const Dialect& dialect, StreamLimit& out) {
    if (dialect.is_legacy()) {
        return true;
    }
    Map meta;
    if (!in.map(meta)) {
        in.add_field("meta");
        return false;
    }
    Fields fields{in, meta};
    const auto integer = [&](std::string_view field, std::int64_t& to) {
        const Value* v = fields.find(field);
        if (v != nullptr && !v->is(ValueType::kInteger)) {
            return fields.wrong_type(field, "INT", *v);
        }
        if (v != nullptr) {
            to = v->as_integer();
        }
        return true;
    };
    bool good = fields.find("n") != nullptr ||
                fields.illegal("n", "Expected value to be non-null", kUnknown);
    good = good && integer("n", out.count) && integer("qid", out.statement_id);
    if (good && out.count != -1 && out.count < 1) {
        good =
            fields.illegal("n",
                           fmt::format("Expecting size to be at least 1, but got: {}", out.count),
                           kOutOfRange);
    }
    if (good && out.statement_id < -1) {
        good = fields.illegal(
            "qid",
            fmt::format("Expecting id to be at least -1, but got: {}", out.statement_id),
            kOutOfRange);
    }
    if (!good) {
        in.add_field("meta");
    }
    return good;
}

bool read_run(Unpacker& in, const Dialect& dialect, RunRequest& out) {
    std::string_view query;
    if (!in.string(query)) {
        in.add_field("statement");
        return false;
    }
    out.query = query;
    Map parameters;
    if (!in.map(parameters)) {
        in.add_field("params");
        return false;
    }
    out.parameters = Value{std::move(parameters)};
    Map extra;
    if (!in.map(extra)) {
        in.add_field("metadata");
        return false;
    }
    Fields fields{in, extra};
    return read_options(fields, dialect, out.options);
}

bool read_begin(Unpacker& in, const Dialect& dialect, BeginRequest& out) {
    Map extra;
    if (!in.map(extra)) {
        in.add_field("metadata");
        return false;
    }
    Fields fields{in, extra};
    return read_options(fields, dialect, out.options);
}

bool read_route(Unpacker& in, const Dialect& dialect, RouteRequest& out) {
    Map context;
    if (!in.map(context)) {
        in.add_field("routing");
        return false;
    }
    out.context = Value{std::move(context)};
    Value bookmarks;
    if (!in.value(bookmarks)) {
        in.add_field("bookmarks");
        return false;
    }
    const Map none;
    Fields outer{in, none};
    if (!bookmarks.is_null() && !outer.texts_of("bookmarks", bookmarks, out.bookmarks)) {
        return false;
    }
    if (!dialect.at_least(4, 4)) {
        Value database;
        if (!in.value(database)) {
            in.add_field("db");
            return false;
        }
        if (!database.is_null() && !database.is_string()) {
            return outer.wrong_type("db", "STRING", database);
        }
        if (database.is_string()) {
            out.database = database.as_string();
        }
        return true;
    }
    Map extra;
    if (!in.map(extra)) {
        in.add_field("extra");
        return false;
    }
    Fields fields{in, extra};
    return fields.text("db", out.database) && fields.text("imp_user", out.impersonated_user);
}

bool read_logon(Unpacker& in, LogonRequest& out) {
    Map auth;
    if (!in.map(auth)) {
        in.add_field("auth");
        return false;
    }
    Fields fields{in, auth};
    return read_auth(fields, out.auth);
}

bool read_telemetry(Unpacker& in, TelemetryRequest& out, Error& error) {
    Value api;
    if (!in.value(api)) {
        in.add_field("api");
        return false;
    }
    if (!api.is(ValueType::kInteger) || api.as_integer() < 0 || api.as_integer() > 3) {
        // Neo4j answers this one as an internal error, with the exception's name in the text.
        error = Error{ErrorCode::kInternal,
                      "org.neo4j.packstream.error.reader.PackstreamReaderException: Unknown driver "
                      "interface type " +
                          to_plain_text(api)};
        return false;
    }
    out.api = static_cast<int>(api.as_integer());
    return true;
}

/// How many fields a message has in this version; -1: the version does not know it.
int field_count(std::uint8_t tag, const Dialect& dialect) {
    switch (static_cast<MessageTag>(tag)) {
        case MessageTag::kHello:
        case MessageTag::kBegin:
            return 1;
        case MessageTag::kDiscard:
        case MessageTag::kPull:
            return dialect.is_legacy() ? 0 : 1;  // PULL_ALL, DISCARD_ALL
        case MessageTag::kGoodbye:
        case MessageTag::kReset:
        case MessageTag::kCommit:
        case MessageTag::kRollback:
            return 0;
        case MessageTag::kRun:
            return 3;
        case MessageTag::kTelemetry:
            return dialect.has_telemetry() ? 1 : -1;
        case MessageTag::kRoute:
            return dialect.has_route() ? 3 : -1;
        case MessageTag::kLogon:
            return dialect.has_logon() ? 1 : -1;
        case MessageTag::kLogoff:
            return dialect.has_logon() ? 0 : -1;
        default:
            return -1;
    }
}

}  // namespace

void decode_request(std::string_view message, const Dialect& dialect, Decoded& out) {
    Unpacker in{message, dialect};
    std::uint8_t tag = 0;
    std::size_t fields = 0;
    out.outcome = DecodeOutcome::kUnknownMessage;
    if (!in.structure(tag, fields)) {
        return;
    }
    const int expected = field_count(tag, dialect);
    if (expected < 0) {
        return;
    }
    bool good =
        fields == static_cast<std::size_t>(expected) ||
        in.fail(fmt::format("Illegal struct size: Expected struct to be {} fields but got {}",
                            expected,
                            fields),
                std::string{kUnknown});
    Error own{ErrorCode::kInvalidRequest, {}};
    if (good) {
        switch (static_cast<MessageTag>(tag)) {
            case MessageTag::kHello:
                good = read_hello(in, dialect, out.request.emplace<HelloRequest>());
                break;
            case MessageTag::kGoodbye:
                out.request.emplace<GoodbyeRequest>();
                break;
            case MessageTag::kReset:
                out.request.emplace<ResetRequest>();
                break;
            case MessageTag::kRun:
                good = read_run(in, dialect, out.request.emplace<RunRequest>());
                break;
            case MessageTag::kBegin:
                good = read_begin(in, dialect, out.request.emplace<BeginRequest>());
                break;
            case MessageTag::kCommit:
                out.request.emplace<CommitRequest>();
                break;
            case MessageTag::kRollback:
                out.request.emplace<RollbackRequest>();
                break;
            case MessageTag::kDiscard:
                good = read_limit(in, dialect, out.request.emplace<DiscardRequest>());
                break;
            case MessageTag::kPull:
                good = read_limit(in, dialect, out.request.emplace<PullRequest>());
                break;
            case MessageTag::kTelemetry:
                good = read_telemetry(in, out.request.emplace<TelemetryRequest>(), own);
                break;
            case MessageTag::kRoute:
                good = read_route(in, dialect, out.request.emplace<RouteRequest>());
                break;
            case MessageTag::kLogon:
                good = read_logon(in, out.request.emplace<LogonRequest>());
                break;
            default:
                out.request.emplace<LogoffRequest>();
                break;
        }
    }
    if (good) {
        out.outcome = DecodeOutcome::kDecoded;
        return;
    }
    out.outcome = DecodeOutcome::kInvalidFields;
    out.error =
        in.ok() ? own : Error{ErrorCode::kInvalidRequest, in.message(), std::nullopt, in.gql()};
}

std::string_view request_name(const Request& request) noexcept {
    static constexpr std::array<std::string_view, std::variant_size_v<Request>> kNames{
        "HelloMessage",
        "LogonMessage",
        "LogoffMessage",
        "TelemetryMessage",
        "GoodbyeMessage",
        "ResetMessage",
        "RunMessage",
        "BeginMessage",
        "CommitMessage",
        "RollbackMessage",
        "PullMessage",
        "DiscardMessage",
        "RouteMessage"};
    return kNames[request.index()];
}

}  // namespace nornic::bolt
