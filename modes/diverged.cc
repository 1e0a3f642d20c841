#include "modes/diverged.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <unistd.h>

namespace nornic::modes {
namespace {

std::string_view kind_name(engine::EntryKind kind) {
    switch (kind) {
        case engine::EntryKind::kNoop:
            return "noop";
        case engine::EntryKind::kWriteSet:
            return "write_set";
        case engine::EntryKind::kMembership:
            return "membership";
    }
    return "unknown";
}

Result<> io_error(const std::string& path) {
    const int error = errno;
    return fail(error == ENOSPC || error == EDQUOT ? ErrorCode::kDiskFull : ErrorCode::kIo,
                fmt::format("'{}' cannot be written: {}", path, std::strerror(error)));
}

Result<> sync_path(const std::string& path, int flags) {
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC);
    if (fd < 0) {
        return io_error(path);
    }
    const bool ok = ::fsync(fd) == 0;
    ::close(fd);
    return ok ? Result<>{success()} : io_error(path);
}

}  // namespace

std::string diverged_name(const std::vector<engine::LogEntry>& entries) {
    return fmt::format("epoch-{}-entries-{}-{}.jsonl",
                       entries.back().term.value,
                       entries.front().index.value,
                       entries.back().index.value);
}

std::string describe_entries(const std::vector<engine::LogEntry>& entries, const engine::TokenNames& names) {
    std::string text;
    for (const engine::LogEntry& entry : entries) {
        text += fmt::format(R"({{"index":{},"epoch":{},"time_ms":{},"kind":"{}","changes":[)",
                            entry.index.value,
                            entry.term.value,
                            entry.hybrid_time >> 16,
                            kind_name(entry.kind));
        if (entry.kind == engine::EntryKind::kWriteSet) {
            // One object a line; here they are the elements of an array.
            std::string_view rest;
            const std::string changes = engine::describe_write_set(entry.payload, names);
            rest = changes;
            bool first = true;
            while (!rest.empty()) {
                const std::size_t end = rest.find('\n');
                const std::string_view line = rest.substr(0, end);
                rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
                if (!line.empty()) {
                    text += first ? "" : ",";
                    text += line;
                    first = false;
                }
            }
        }
        text += "]}\n";
    }
    return text;
}

Result<> save_diverged(const std::string& directory, const std::string& name, const std::string& text) {
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (error) {
        return fail(ErrorCode::kIo, fmt::format("'{}' cannot be created: {}", directory, error.message()));
    }
    const std::string path = directory + "/" + name;
    const std::string temporary = path + ".new";
    const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0) {
        return io_error(temporary);
    }
    std::string_view rest = text;
    while (!rest.empty()) {
        const ssize_t n = ::write(fd, rest.data(), rest.size());
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            const Result<> failed = io_error(temporary);
            ::close(fd);
            return failed;
        }
        rest.remove_prefix(static_cast<std::size_t>(n));
    }
    const bool synced = ::fsync(fd) == 0;
    ::close(fd);
    if (!synced || ::rename(temporary.c_str(), path.c_str()) != 0) {
        return io_error(path);
    }
    return sync_path(directory, O_RDONLY | O_DIRECTORY);
}

}  // namespace nornic::modes
