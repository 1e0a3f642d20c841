// The command line and the shell's splitter. First byte 0: the rest is the arguments of `serve`,
// one a line. Any other: the rest is typed into the shell, cut into pieces of that many bytes;
// where it is cut does not matter.

#include "base/check.h"
#include "cli/cli.h"
#include "cli/shell/splitter.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace nornic;

void read_arguments(std::string_view text) {
    std::vector<std::string> arguments;
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        arguments.emplace_back(text.substr(0, end));
        text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
    }
    auto source = cli::parse_serve(arguments);
    if (!source) {
        const bool help = std::ranges::any_of(
            arguments, [](const std::string& a) { return a == "--help" || a == "-h"; });
        NORNIC_CHECK(source.error().code() == ErrorCode::kInvalidArgument || help,
                     "help that nobody asked for");
        NORNIC_CHECK(!source.error().message().empty(), "a refusal without a reason");
        return;
    }
    for (const auto& [name, value] : source.value().command_line) {
        NORNIC_CHECK(name.starts_with("NORNICDB_") || name.starts_with("OTEL_"), "a flag became '{}'", name);
    }
    // No file that the fuzzer may name is read.
    source.value().config_file.clear();
    const auto loaded = env::load(source.value());
    NORNIC_CHECK(loaded || !loaded.error().message().empty(), "a refusal without a reason");
}

std::vector<std::string> split(std::string_view text, std::size_t piece) {
    cli::Splitter splitter;
    std::vector<std::string> out;
    while (!text.empty()) {
        splitter.feed(text.substr(0, piece));
        text.remove_prefix(std::min(piece, text.size()));
        while (auto statement = splitter.next()) {
            out.push_back(std::move(*statement));
        }
        static_cast<void>(splitter.in_statement());
    }
    if (auto last = splitter.rest()) {
        out.push_back(std::move(*last));
    }
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    // The splitter looks again at what is pending with each piece; long input in small pieces is
    // its own cost.
    const std::string_view text{reinterpret_cast<const char*>(data) + 1,
                                std::min<std::size_t>(size - 1, 4096)};
    if (data[0] == 0) {
        read_arguments(text);
        return 0;
    }
    const auto whole = split(text, text.size() + 1);
    const auto pieces = split(text, data[0]);
    NORNIC_CHECK(whole == pieces,
                 "{} statements at once, {} in pieces of {}",
                 whole.size(),
                 pieces.size(),
                 data[0]);
    return 0;
}
