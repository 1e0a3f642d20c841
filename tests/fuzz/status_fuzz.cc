// What `nornicdb status` makes of servers' answers: each asks for the same bytes, a line for each kind of answer.
#include "base/check.h"
#include "cli/status/cluster.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace nornic;
    const std::string_view text{reinterpret_cast<const char*>(data), std::min<std::size_t>(size, 16'384)};
    const std::size_t line = text.find('\n');
    const std::string status{text.substr(0, line)};
    const std::string other{line == std::string_view::npos ? std::string_view{} : text.substr(line + 1)};
    const auto report = cli::look_at_cluster({http::Site{}}, [&](const http::Site&, std::string_view target) -> Result<http::Answer> {
        return http::Answer{200, target == "/admin/cluster/status" ? status : other, {}};
    });
    if (!report) {
        NORNIC_CHECK(!report.error().message().empty(), "an error without a reason");
        return 0;
    }
    NORNIC_CHECK(!cli::to_text(report.value()).empty(), "a report without a word");
    NORNIC_CHECK(cli::to_json(report.value()).at("healthy").as_bool() == report.value().healthy(), "two opinions");
    return 0;
}
