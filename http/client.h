// A small blocking HTTP client, for the commands: one request, one answer, one connection.
#pragma once

#include "base/result.h"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nornic::http {

/// "http://host:port" and how to get in there.
struct Site {
    std::string host = "127.0.0.1";
    std::uint16_t port = 7474;
    bool tls = false;
    /// PEM file of the authorities to trust; empty: the system's.
    std::string tls_ca_file;
    /// false takes any certificate.
    bool tls_verify = true;
    std::string user;  // empty: no credentials are sent
    std::string password;
    std::chrono::milliseconds timeout{5'000};  // of everything together

    [[nodiscard]] std::string url() const;
};

/// "http://host:port", "https://host:port", "host:port", "host" (port 7474); a path behind it is ignored. What else a site
/// has is taken from `defaults`. kInvalidArgument.
Result<Site> parse_site(std::string_view text, const Site& defaults);

struct Answer {
    int status = 0;
    std::string body;
    std::optional<std::int64_t> date;  // of the server's clock, in seconds since 1970
};

using Headers = std::vector<std::pair<std::string, std::string>>;

/// kIo with a sentence where nobody is reached: nothing was asked. kUnknownCommit where it was asked and no whole answer came in time.
/// An answer has at most 64 MiB.
/// `headers` take the place of those that are sent anyway (JSON is spoken).
Result<Answer> fetch(const Site& site,
                     std::string_view method,
                     std::string_view target,
                     std::string body = {},
                     const Headers& headers = {});

}  // namespace nornic::http
