// What sessions say of themselves in the log: statements as they may be shown, and who changed what.
#pragma once

#include "base/result.h"
#include "cypher/cypher.h"
#include "http/backend.h"
#include "graph/value.h"
#include "observability/trace.h"

#include <optional>
#include <string>
#include <string_view>

namespace nornic::server {

/// The W3C context that a client put into its transaction's metadata, as "traceparent".
std::optional<TraceContext> trace_parent(const Value& metadata);

/// At most 2,000 bytes of it, whole characters.
std::string cut(std::string text);
/// A statement's text for logs and traces, cut; quoted parts of one that administers are hidden, as they may be passwords.
std::string shown_text(std::string_view text, const cypher::PreparedInfo& info);

/// Who did something.
struct Actor {
    std::string_view user;
    std::string_view client;  // address
    std::string_view via;     // connection, or "http"
    std::string_view agent;   // what the client calls itself; of a forwarded statement it names the first client
};
/// `action` is one line: a statement, or method and path. error nullptr: it was done.
void audit(const Actor& actor, std::string_view database, std::string_view action, const Error* error);

/// `done`, and before it the line of an administrator's request that changes something.
http::Completion<http::Document> audited(const http::AdminRequest& request, http::Completion<http::Document> done);

}  // namespace nornic::server
