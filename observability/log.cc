#include "observability/log.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

namespace nornic::log {
namespace {

spdlog::level::level_enum to_spdlog(Level level) {
    switch (level) {
        case Level::kDebug:
            return spdlog::level::debug;
        case Level::kInfo:
            return spdlog::level::info;
        case Level::kWarn:
            return spdlog::level::warn;
        case Level::kError:
            return spdlog::level::err;
    }
    return spdlog::level::info;
}

std::string_view name_of(spdlog::level::level_enum level) {
    switch (level) {
        case spdlog::level::debug:
            return "DEBUG";
        case spdlog::level::warn:
            return "WARN";
        case spdlog::level::err:
            return "ERROR";
        default:
            return "INFO";
    }
}

void append_json_text(std::string_view text, spdlog::memory_buf_t& out) {
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        switch (c) {
            case '"':
                fmt::format_to(std::back_inserter(out), "\\\"");
                break;
            case '\\':
                fmt::format_to(std::back_inserter(out), "\\\\");
                break;
            case '\n':
                fmt::format_to(std::back_inserter(out), "\\n");
                break;
            case '\t':
                fmt::format_to(std::back_inserter(out), "\\t");
                break;
            case '\r':
                fmt::format_to(std::back_inserter(out), "\\r");
                break;
            default:
                if (byte < 0x20) {
                    fmt::format_to(std::back_inserter(out), "\\u{:04x}", byte);
                } else {
                    out.push_back(c);
                }
        }
    }
}

/// Both formats in one formatter: UTC, milliseconds.
class LineFormatter final : public spdlog::formatter {
public:
    explicit LineFormatter(Format format) : format_{format} {}
    void format(const spdlog::details::log_msg& line, spdlog::memory_buf_t& out) override {
        const auto since_epoch = line.time.time_since_epoch();
        const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(since_epoch);
        const auto ms =
            std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch - seconds).count();
        const std::time_t time = static_cast<std::time_t>(seconds.count());
        std::tm utc{};
        gmtime_r(&time, &utc);
        char stamp[32];
        std::strftime(stamp,
                      sizeof stamp,
                      format_ == Format::kText ? "%Y-%m-%d %H:%M:%S" : "%Y-%m-%dT%H:%M:%S",
                      &utc);
        const std::string_view text{line.payload.data(), line.payload.size()};
        if (format_ == Format::kText) {
            fmt::format_to(std::back_inserter(out),
                           "{}.{:03}Z {:<5} {}\n",
                           stamp,
                           ms,
                           name_of(line.level),
                           text);
            return;
        }
        fmt::format_to(std::back_inserter(out),
                       R"({{"time":"{}.{:03}Z","level":"{}","message":")",
                       stamp,
                       ms,
                       name_of(line.level));
        append_json_text(text, out);
        fmt::format_to(std::back_inserter(out), "\"}}\n");
    }
    [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override {
        return std::make_unique<LineFormatter>(format_);
    }

private:
    Format format_;
};

spdlog::logger& logger() {
    static const std::shared_ptr<spdlog::logger> instance = [] {
        auto out = std::make_shared<spdlog::logger>(
            "nornicdb", std::make_shared<spdlog::sinks::stderr_sink_mt>());
        out->set_formatter(std::make_unique<LineFormatter>(Format::kText));
        out->set_level(spdlog::level::info);
        out->flush_on(spdlog::level::debug);
        return out;
    }();
    return *instance;
}

}  // namespace

void configure(Level level, Format format) {
    logger().set_formatter(std::make_unique<LineFormatter>(format));
    logger().set_level(to_spdlog(level));
}

bool enabled(Level level) noexcept {
    return logger().should_log(to_spdlog(level));
}

void write(Level level, std::string_view message) {
    logger().log(to_spdlog(level), spdlog::string_view_t{message.data(), message.size()});
}

void flush() {
    logger().flush();
}

}  // namespace nornic::log
