// The table of paths and the Query API, without sockets. Input: method, path, content type, accept,
// one a line; the rest is the body. Each request is answered exactly once, with a status that
// exists and, where it says so, with JSON.

#include "base/check.h"
#include "http/query_api.h"
#include "tests/fuzz/http_backend.h"

#include <boost/json.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace {

std::string take_line(std::string_view& rest) {
    const std::size_t end = rest.find('\n');
    const std::string line{rest.substr(0, end)};
    rest = end == std::string_view::npos ? std::string_view{} : rest.substr(end + 1);
    return line;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace nornic::http;
    std::string_view rest;
    if (size > 0) {
        rest = {reinterpret_cast<const char*>(data), size};
    }
    ApiRequest request;
    request.method = take_line(rest);
    request.path = take_line(rest);
    request.content_type = take_line(rest);
    request.accept = take_line(rest);
    request.body = std::string{rest};
    request.host = "localhost";
    request.credentials = {"someone", "something", true};
    fuzzing::EchoBackend backend;
    int answers = 0;
    handle(backend, std::move(request), [&](ApiResponse response) {
        ++answers;
        NORNIC_CHECK(response.status >= 200 && response.status < 600, "status {}", response.status);
        if (response.content_type.find("json") != std::string::npos && !response.body.empty()) {
            boost::json::error_code error;
            boost::json::parse_options options;
            options.max_depth = 1000;  // Deeper than what a request may nest.
            static_cast<void>(boost::json::parse(response.body, error, {}, options));
            NORNIC_CHECK(!error, "an answer that is not JSON: {}", response.body);
        }
    });
    NORNIC_CHECK(answers == 1, "{} answers", answers);
    return 0;
}
