// What the parts of QuerySession share: query_session.cc (logins, transactions, routing), query_session_freshness.cc (waits for what
// a client has seen or asks for) and query_session_statements.cc (statements and their records).
#pragma once

#include "server/query_session.h"

#include <atomic>
#include <memory>
#include <string>

namespace nornic::server {

struct QuerySession::Statement {
    Span trace;  // in an explicit transaction; else that of the session is the statement's
    std::int64_t id = 0;
    std::string text;
    Map parameters;
    std::shared_ptr<const cypher::PreparedQuery> query;
    std::unique_ptr<cypher::Execution> execution;
    bool does_work_first = false;  // it writes: all its work comes before its first record
    bool worked = false;
    bool autocommit = false;
    bool committed = false;
    std::string bookmark;
    std::int64_t records = 0;
    Deadline started;
    Deadline last_event;
    bool reported = false;
};

/// What answers a request that waits: whoever has the outcome first, or interrupt().
struct QuerySession::Wait {
    Wait(Done next, Error interrupted) : then{std::move(next)}, if_interrupted{std::move(interrupted)} {}
    std::atomic<bool> over{false};
    Done then;
    const Error if_interrupted;
};

}  // namespace nornic::server
