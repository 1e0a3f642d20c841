// NORNIC_CHECK: what only our own bug could break. Stays on in release and aborts with the values.
// Bytes from disk, network or users are never checked this way: they are an Error.
#pragma once

#include <fmt/format.h>

#include <string>

namespace nornic::detail {
/// Prints "CHECK failed: <condition> (<message>) at <file>:<line>" to standard error and aborts.
[[noreturn]] void check_failed(const char* condition,
                               const char* file,
                               int line,
                               const std::string& message);
}  // namespace nornic::detail

/// NORNIC_CHECK(a <= b, "a={} b={}", a, b)
#define NORNIC_CHECK(condition, ...)       \
    (static_cast<bool>(condition)          \
         ? static_cast<void>(0)            \
         : ::nornic::detail::check_failed( \
               #condition, __FILE__, __LINE__, ::fmt::format(__VA_ARGS__)))

#ifdef NDEBUG
#define NORNIC_DCHECK(condition, ...) static_cast<void>(0)
#else
#define NORNIC_DCHECK(condition, ...) NORNIC_CHECK(condition, __VA_ARGS__)
#endif
