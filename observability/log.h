// Log lines: one facade over the sinks. A line says what happened, to what, and, where an operator
// can do something, what.
//
// Text: "2026-01-02 03:04:05.678Z INFO  Bolt enabled on 127.0.0.1:7687." JSON: one object a line
// with time, level, message. Lines go to standard error.
#pragma once

#include "base/result.h"

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace nornic::log {

enum class Level : std::uint8_t { kDebug, kInfo, kWarn, kError };
enum class Format : std::uint8_t { kText, kJson };

/// Call once, before threads start. Before it, text at level info.
void configure(Level level, Format format);
[[nodiscard]] bool enabled(Level level) noexcept;
/// Thread-safe.
void write(Level level, std::string_view message);
void flush();

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
