// Neo4j's Query API: POST /db/{name}/query/v2 and its transactions, without sockets: a parsed
// request in, a status and a body out.
#pragma once

#include "http/backend.h"

#include <functional>
#include <string>
#include <string_view>

namespace nornic::http {

struct ApiRequest {
    std::string method;
    std::string path;  // decoded, without the query string
    std::string content_type;
    std::string accept;
    std::string body;
    std::string host;
    std::string client_address;
    std::string trace_parent;  // W3C trace context
    Credentials credentials;
};

struct ApiResponse {
    int status = 200;
    std::string content_type = "application/json";
    std::string body;
    std::string allow;             // 405: the methods there are
    bool ask_credentials = false;  // 401: WWW-Authenticate
};

using Respond = std::function<void(ApiResponse)>;

/// Answers any request of this server: the one table of paths. `respond` is called exactly once.
void handle(Backend& backend, ApiRequest request, Respond respond);

/// True where `handle` may compute for long: callers then make sure that another thread watches the
/// sockets.
bool may_block(const ApiRequest& request);

/// {"errors": [{"code": …, "message": …}]} with the status that fits.
ApiResponse error_response(const Error& error);

}  // namespace nornic::http
