// Settings from nonsense: an even first byte makes the rest a config file, an odd one lines of
// NAME=VALUE, which go to the environment or, where they begin with '-', to the command line.
// Loading them ends in settings or in one line of reason, and does so the same way twice. The whole
// input is also read as one duration, size and address.

#include "base/check.h"
#include "env/settings.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <sys/mman.h>
#include <unistd.h>

namespace {

/// A file in memory that has a path.
class MemoryFile {
public:
    MemoryFile() : file_{memfd_create("settings", 0)} { NORNIC_CHECK(file_ >= 0, "memfd_create"); }
    void write(std::string_view text) const {
        NORNIC_CHECK(ftruncate(file_, 0) == 0, "ftruncate");
        NORNIC_CHECK(
            pwrite(file_, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size()),
            "pwrite");
    }
    [[nodiscard]] std::string path() const { return "/proc/self/fd/" + std::to_string(file_); }

private:
    int file_;
};

nornic::env::Source read_lines(std::string_view text) {
    nornic::env::Source source;
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        std::string_view line = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view{} : text.substr(end + 1);
        auto& where = line.starts_with('-') ? source.command_line : source.environment;
        if (line.starts_with('-')) {
            line.remove_prefix(1);
        }
        const std::size_t equals = line.find('=');
        if (equals != std::string_view::npos) {
            // Both sources are promised to hold names with this prefix alone.
            std::string name{line.substr(0, equals)};
            if (!name.starts_with("NORNICDB_")) {
                name.insert(0, "NORNICDB_");
            }
            where[name] = std::string{line.substr(equals + 1)};
        }
    }
    return source;
}

void read_one(std::string_view text) {
    using namespace nornic;
    using namespace nornic::env;
    if (const auto duration = parse_duration(text, std::chrono::seconds{1})) {
        NORNIC_CHECK(
            duration.value() >= Duration::zero(), "'{}' is {} ns", text, duration.value().count());
    }
    if (const auto bytes = parse_bytes(text)) {
        NORNIC_CHECK(bytes.value() <= std::uint64_t{9'000'000'000'000'000'000},
                     "'{}' is {} bytes",
                     text,
                     bytes.value());
    }
    if (const auto address = parse_host_port(text)) {
        const bool ip6 = address->first.find(':') != std::string::npos;
        const auto again =
            parse_host_port(ip6 ? "[" + address->first + "]:" + std::to_string(address->second)
                                : address->first + ":" + std::to_string(address->second));
        NORNIC_CHECK(again == address, "'{}' is read in two ways", text);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const MemoryFile file;
    if (size == 0) {
        return 0;
    }
    const std::string_view text{reinterpret_cast<const char*>(data) + 1, size - 1};
    read_one(text);
    nornic::env::Source source;
    if (data[0] % 2 == 0) {
        file.write(text);
        source.config_file = file.path();
    } else {
        source = read_lines(text);
    }
    const auto loaded = nornic::env::load(source);
    const auto again = nornic::env::load(source);
    NORNIC_CHECK(loaded.has_value() == again.has_value(),
                 "the same settings were taken once and refused once");
    if (loaded) {
        NORNIC_CHECK(loaded.value().explicit_values == again.value().explicit_values,
                     "the same settings differ");
        for (const std::string& warning : loaded.value().warnings) {
            NORNIC_CHECK(!warning.empty(), "an empty warning");
        }
    } else {
        NORNIC_CHECK(!loaded.error().message().empty(), "a refusal without a reason");
        NORNIC_CHECK(loaded.error().message() == again.error().message(),
                     "the same settings refused for two reasons");
    }
    return 0;
}
