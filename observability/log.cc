#include "observability/log.h"

#include "base/mutex.h"

#include <spdlog/pattern_formatter.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/rotating_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <atomic>
#include <forward_list>
#include <memory>

namespace nornic::log {
namespace {

constexpr std::size_t kFileBytes = std::size_t{20} << 20;
constexpr std::size_t kFilesKept = 7;
/// Whose payload is made for the format already.
constexpr std::string_view kEventLogger = "event";

std::atomic<const std::string*> node{nullptr};  // never freed: a thread may be reading it
std::atomic<Format> format_now{Format::kText};

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

/// One event is one line, whatever a client put into it.
void append_line_text(std::string_view text, spdlog::memory_buf_t& out) {
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '\n') {
            fmt::format_to(std::back_inserter(out), "\\n");
        } else if (byte < 0x20 && c != '\t') {
            fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
        } else {
            out.push_back(c);
        }
    }
}

void append_json_field(std::string_view name, std::string_view value, spdlog::memory_buf_t& out) {
    fmt::format_to(std::back_inserter(out), ",\"{}\":\"", name);
    append_json_text(value, out);
    out.push_back('"');
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
            fmt::format_to(std::back_inserter(out), "{}.{:03}Z {:<5} ", stamp, ms, name_of(line.level));
            append_line_text(text, out);
            out.push_back('\n');
            return;
        }
        fmt::format_to(std::back_inserter(out), R"({{"time":"{}.{:03}Z","level":"{}")", stamp, ms, name_of(line.level));
        if (const std::string* const own = node.load(std::memory_order_acquire)) {
            append_json_field("node", *own, out);
        }
        if (std::string_view{line.logger_name.data(), line.logger_name.size()} == kEventLogger) {
            out.append(text.data(), text.data() + text.size());
        } else {
            append_json_field("message", text, out);
        }
        fmt::format_to(std::back_inserter(out), "}}\n");
    }
    [[nodiscard]] std::unique_ptr<spdlog::formatter> clone() const override {
        return std::make_unique<LineFormatter>(format_);
    }

private:
    Format format_;
};

struct Loggers {
    spdlog::logger lines;
    spdlog::logger events{std::string{kEventLogger}};  // every level
    spdlog::logger audit{std::string{kEventLogger}};   // the file alone; without one it has no sinks
    Loggers() : lines{"nornicdb", std::make_shared<spdlog::sinks::stderr_sink_mt>()} {
        lines.set_level(spdlog::level::info);
        lines.flush_on(spdlog::level::debug);
        events.sinks() = lines.sinks();
        for (spdlog::logger* const one : {&events, &audit}) {
            one->set_level(spdlog::level::debug);
            one->flush_on(spdlog::level::debug);
        }
        set_format(Format::kText);
    }
    void set_format(Format format) {
        format_now.store(format, std::memory_order_relaxed);
        for (spdlog::logger* const one : {&lines, &audit}) {
            one->set_formatter(std::make_unique<LineFormatter>(format));
        }
    }
};

Loggers& loggers() {
    static Loggers instance;
    return instance;
}

bool needs_quotes(std::string_view text) {
    return text.empty() || text.find_first_of(" \"=\\\t\n\r") != std::string_view::npos;
}

/// Text: the message and name=value, with quotes where they are needed. JSON: the members of the object behind its level.
std::string event_line(std::string_view name, std::string_view message, std::span<const Field> fields) {
    const bool json = format_now.load(std::memory_order_relaxed) == Format::kJson;
    spdlog::memory_buf_t out;
    if (json) {
        append_json_field("event", name, out);
        append_json_field("message", message, out);
    } else {
        out.append(message.data(), message.data() + message.size());
    }
    for (const Field& field : fields) {
        const auto* const number = std::get_if<std::int64_t>(&field.value);
        const std::string_view text = number != nullptr ? std::string_view{} : std::get<std::string_view>(field.value);
        if (number != nullptr) {
            fmt::format_to(std::back_inserter(out), json ? fmt::runtime(",\"{}\":{}") : fmt::runtime(" {}={}"), field.name, *number);
        } else if (json) {
            append_json_field(field.name, text, out);
        } else if (needs_quotes(text)) {
            fmt::format_to(std::back_inserter(out), " {}=\"", field.name);
            append_json_text(text, out);
            out.push_back('"');
        } else {
            fmt::format_to(std::back_inserter(out), " {}={}", field.name, text);
        }
    }
    return {out.data(), out.size()};
}

}  // namespace

Result<> configure(const Settings& settings) {
    Loggers& all = loggers();
    try {
        if (!settings.directory.empty()) {
            auto file = std::make_shared<spdlog::sinks::rotating_file_sink_mt>(settings.directory + "/debug.log", kFileBytes, kFilesKept);
            all.lines.sinks().push_back(file);
            all.events.sinks().push_back(std::move(file));
        }
        if (!settings.audit_file.empty()) {
            all.audit.sinks().push_back(std::make_shared<spdlog::sinks::basic_file_sink_mt>(settings.audit_file));
        }
    } catch (const spdlog::spdlog_ex& e) {
        return fail(ErrorCode::kIo, fmt::format("a log file cannot be written: {}", e.what()));
    }
    configure(settings.level, settings.format);
    return success();
}

void configure(Level level, Format format) {
    loggers().set_format(format);
    loggers().lines.set_level(to_spdlog(level));
}

void set_node(std::string_view id) {
    // Other threads may be reading the last one, at the process' very end, too.
    static Mutex mutex;
    static auto& names = *new std::forward_list<std::string>;
    MutexLock lock{mutex};
    names.emplace_front(id);
    node.store(&names.front(), std::memory_order_release);
}

bool enabled(Level level) noexcept {
    return loggers().lines.should_log(to_spdlog(level));
}

void write(Level level, std::string_view message) {
    loggers().lines.log(to_spdlog(level), spdlog::string_view_t{message.data(), message.size()});
}

void event_always(Level level, std::string_view name, std::string_view message, std::initializer_list<Field> fields) {
    loggers().events.log(to_spdlog(level), spdlog::string_view_t{event_line(name, message, fields)});
}

void event(Level level, std::string_view name, std::string_view message, std::initializer_list<Field> fields) {
    if (enabled(level)) {
        event_always(level, name, message, fields);
    }
}

void audit(std::string_view message, std::initializer_list<Field> fields) {
    const std::string line = event_line("audit", message, fields);
    loggers().events.log(spdlog::level::info, spdlog::string_view_t{line});
    loggers().audit.log(spdlog::level::info, spdlog::string_view_t{line});
}

void flush() {
    loggers().lines.flush();
    loggers().audit.flush();
}

}  // namespace nornic::log
