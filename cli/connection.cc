#include "cli/connection.h"

#include "env/settings.h"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <unistd.h>

namespace nornic::cli {
namespace {

constexpr std::string_view kFirstUser = "admin:admin";  // what a server makes where nothing else is set

std::string value_of(const std::map<std::string, std::string>& environment, const std::string& name) {
    const auto at = environment.find(name);
    return at == environment.end() ? std::string{} : at->second;
}

/// "user:password" or "user/password", as NORNICDB_AUTH has it; whichever stands first separates.
void set_credentials(std::string_view text, http::Site& site) {
    const std::size_t at = text.find_first_of(":/");
    site.user = std::string{text.substr(0, at)};
    site.password = at == std::string_view::npos ? std::string{} : std::string{text.substr(at + 1)};
}

Result<> read_credentials(const Arguments& arguments, const std::map<std::string, std::string>& environment, http::Site& site) {
    const bool given = arguments.has("user");
    const std::string set = value_of(environment, "NORNICDB_AUTH");
    if (given) {
        set_credentials(arguments.get("user"), site);
    } else if (set == "none") {
        return success();
    } else {
        set_credentials(set.empty() ? kFirstUser : std::string_view{set}, site);
    }
    if (const std::string path = arguments.get("password-file"); !path.empty()) {
        std::ifstream file{path};
        if (!std::getline(file, site.password)) {
            return fail(ErrorCode::kInvalidArgument, fmt::format("--password-file '{}' cannot be read, or is empty", path));
        }
    } else if (given && arguments.get("user").find_first_of(":/") == std::string::npos && ::isatty(STDIN_FILENO) != 0) {
        if (const char* typed = ::getpass("password: ")) {
            site.password = typed;
        }
    }
    return success();
}

}  // namespace

Result<std::vector<http::Site>> sites_of(const Arguments& arguments, const std::map<std::string, std::string>& environment) {
    http::Site defaults;
    defaults.tls_ca_file = arguments.get("tls-ca");
    defaults.tls_verify = !arguments.has("insecure");
    NORNIC_TRY(read_credentials(arguments, environment, defaults));
    if (arguments.has("timeout")) {
        auto timeout = env::parse_duration(arguments.get("timeout"), std::chrono::seconds{1});
        if (!timeout || timeout.value() <= Duration::zero()) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("--timeout '{}': it takes seconds, or 500ms", arguments.get("timeout")));
        }
        defaults.timeout = std::chrono::ceil<std::chrono::milliseconds>(timeout.value());
    }
    std::vector<std::string> addresses = env::split_list(arguments.get("address"));
    if (addresses.empty()) {
        const std::string port = value_of(environment, "NORNICDB_HTTP_PORT");
        const bool tls = value_of(environment, "NORNICDB_HTTP_TLS_REQUIRE") == "true";
        addresses.push_back(fmt::format("{}://127.0.0.1:{}", tls ? "https" : "http", port.empty() || port == "0" ? "7474" : port));
    }
    std::vector<http::Site> out;
    for (const std::string& address : addresses) {
        NORNIC_TRY(http::Site site, http::parse_site(address, defaults));
        out.push_back(std::move(site));
    }
    return out;
}

std::vector<http::Site> doors_of(const http::Site& asked, std::string_view http_address, std::string_view cluster_address) {
    std::vector<http::Site> out;
    if (auto shown = http::parse_site(http_address, asked)) {
        out.push_back(std::move(shown).value());
    }
    if (const auto cluster = env::parse_host_port(cluster_address)) {
        http::Site beside = asked;
        beside.host = cluster->first;
        if (out.empty() || out.front().url() != beside.url()) {
            out.push_back(std::move(beside));
        }
    }
    return out;
}

}  // namespace nornic::cli
