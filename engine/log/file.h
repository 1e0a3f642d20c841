// The disk as the log sees it: a seam, so that tests and the simulator can stand a failing disk
// beneath the real log. Errors: kDiskFull (ENOSPC, EDQUOT), kNotFound, kIo; each names the path.
#pragma once

#include "base/result.h"

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::engine {

/// An open file. Thread-safe; closed by the destructor.
class File {
public:
    virtual ~File() = default;
    /// Fills `into` from `offset`; the count is smaller only where the file ends.
    virtual Result<std::size_t> read(std::uint64_t offset, std::span<char> into) = 0;
    /// Writes all of `bytes`. On an error any part of them may have been written.
    virtual Result<> write(std::uint64_t offset, std::string_view bytes) = 0;
    /// Everything written so far survives a power failure, and so does the size.
    virtual Result<> sync_data() = 0;
    virtual Result<std::uint64_t> size() = 0;
};

/// Holds a directory for one process until it is destroyed.
class DirectoryLock {
public:
    virtual ~DirectoryLock() = default;
};

enum class OpenMode { kExisting, kCreate };

/// Thread-safe. Names are durable only after sync_directory().
class FileSystem {
public:
    virtual ~FileSystem() = default;
    /// kCreate fails if the file exists.
    virtual Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) = 0;
    virtual Result<> rename(const std::string& from, const std::string& to) = 0;
    virtual Result<> remove(const std::string& path) = 0;
    /// With those above it that are missing; the names of all that it made are durable.
    virtual Result<> make_directories(const std::string& directory) = 0;
    /// The names in it, sorted, without "." and "..".
    virtual Result<std::vector<std::string>> list(const std::string& directory) = 0;
    virtual Result<> sync_directory(const std::string& directory) = 0;
    /// Bytes that an ordinary user may still take.
    virtual Result<std::uint64_t> free_bytes(const std::string& directory) = 0;
    /// kBusy naming the directory and the process that holds it.
    virtual Result<std::unique_ptr<DirectoryLock>> lock(const std::string& directory) = 0;
};

/// The machine's own disk.
FileSystem& posix_file_system();

}  // namespace nornic::engine
