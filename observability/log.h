// Log lines: one facade over the sinks. A line says what happened, to what, and, where an operator
// can do something, what.
//
// Text: "2026-01-02 03:04:05.678Z INFO  Bolt enabled on 127.0.0.1:7687." JSON: one object a line
// with time, level, node, message. An event has a name and fields besides, which are "name=value" behind the text, or keys of
// the object. Lines go to standard error, and to a file if one is set. docs/logging.md.
#pragma once

#include "base/result.h"

#include <fmt/format.h>

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace nornic::log {

enum class Level : std::uint8_t { kDebug, kInfo, kWarn, kError };
enum class Format : std::uint8_t { kText, kJson };

struct Settings {
    Level level = Level::kInfo;
    Format format = Format::kText;
    std::string directory;   // of debug.log; empty: none
    std::string audit_file;  // that audit() writes to as well; empty: none
};

/// Call once, before threads start. Before it, text at level info. kIo naming the file.
Result<> configure(const Settings& settings);
void configure(Level level, Format format);
/// From now on JSON lines name this member.
void set_node(std::string_view id);
[[nodiscard]] bool enabled(Level level) noexcept;
/// Thread-safe.
void write(Level level, std::string_view message);
void flush();

struct Field {
    std::string_view name;
    std::variant<std::string_view, std::int64_t> value;
};
/// A line of a kind that is looked for by its name: "slow_query".
void event(Level level, std::string_view name, std::string_view message, std::initializer_list<Field> fields);
/// The same whatever the level is.
void event_always(Level level, std::string_view name, std::string_view message, std::initializer_list<Field> fields);
/// An event named "audit", which is written whatever the level is, also to the audit file.
void audit(std::string_view message, std::initializer_list<Field> fields);

template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::kDebug)) {
        write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
    }
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::kInfo)) {
        write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
    }
}
template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::kWarn)) {
        write(Level::kWarn, fmt::format(format, std::forward<Args>(args)...));
    }
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
    if (enabled(Level::kError)) {
        write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
    }
}

}  // namespace nornic::log
