#include "engine/log/file.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <system_error>
#include <unistd.h>

namespace nornic::engine {
namespace {

Error system_error(std::string_view action, const std::string& path, int number) {
    const ErrorCode code = number == ENOSPC || number == EDQUOT ? ErrorCode::kDiskFull
                           : number == ENOENT                   ? ErrorCode::kNotFound
                                                                : ErrorCode::kIo;
    return Error{code,
                 fmt::format("cannot {} {}: {}",
                             action,
                             path,
                             std::error_code{number, std::generic_category()}.message())};
}

/// Owns a descriptor.
class Descriptor {
public:
    explicit Descriptor(int value) noexcept : value_{value} {}
    ~Descriptor() {
        if (value_ >= 0) {
            ::close(value_);
        }
    }
    Descriptor(Descriptor&& other) noexcept : value_{std::exchange(other.value_, -1)} {}
    Descriptor& operator=(Descriptor&&) = delete;
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    [[nodiscard]] int get() const noexcept { return value_; }

private:
    int value_;
};

class PosixFile final : public File {
public:
    PosixFile(Descriptor descriptor, std::string path)
        : descriptor_{std::move(descriptor)}, path_{std::move(path)} {}

    Result<std::size_t> read(std::uint64_t offset, std::span<char> into) override {
        std::size_t done = 0;
        while (done < into.size()) {
            const ssize_t n = ::pread(descriptor_.get(),
                                      into.data() + done,
                                      into.size() - done,
                                      static_cast<off_t>(offset + done));
            if (n < 0) {
                if (errno == EINTR) {
                    continue;
                }
                return boost::outcome_v2::failure(system_error("read", path_, errno));
            }
            if (n == 0) {
                break;
            }
            done += static_cast<std::size_t>(n);
        }
        return done;
    }

    Result<> write(std::uint64_t offset, std::string_view bytes) override {
        while (!bytes.empty()) {
            const ssize_t n =
                ::pwrite(descriptor_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
            if (n < 0) {
                if (errno == EINTR) {
                    continue;
                }
                return boost::outcome_v2::failure(system_error("write", path_, errno));
            }
            if (n == 0) {
                return boost::outcome_v2::failure(system_error("write", path_, EIO));
            }
            // A short write is not yet an error; what stopped it is told by the next one.
            offset += static_cast<std::uint64_t>(n);
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
        return success();
    }

    Result<> sync_data() override {
        while (::fdatasync(descriptor_.get()) != 0) {
            if (errno != EINTR) {
                return boost::outcome_v2::failure(system_error("sync", path_, errno));
            }
        }
        return success();
    }

    Result<std::uint64_t> size() override {
        struct stat status{};
        if (::fstat(descriptor_.get(), &status) != 0) {
            return boost::outcome_v2::failure(system_error("look at", path_, errno));
        }
        return static_cast<std::uint64_t>(status.st_size);
    }

private:
    Descriptor descriptor_;
    std::string path_;
};

class PosixLock final : public DirectoryLock {
public:
    explicit PosixLock(Descriptor descriptor) : descriptor_{std::move(descriptor)} {}

private:
    Descriptor descriptor_;
};

/// Those that hold the names of `directory` and of what is missing above it; what may not be read is not ours to repair.
std::vector<std::string> parents_to_sync(const std::string& directory) {
    std::vector<std::string> out;
    std::error_code ignored;
    auto at = std::filesystem::absolute(directory, ignored).lexically_normal();
    if (!at.has_filename()) {
        at = at.parent_path();  // it ended with a slash
    }
    while (at.has_relative_path()) {
        at = at.parent_path();
        const bool is_there = std::filesystem::exists(at, ignored);
        if (!is_there || ::access(at.c_str(), R_OK) == 0) {
            out.push_back(at.string());
        }
        if (is_there) {
            break;
        }
    }
    return out;
}

class PosixFileSystem final : public FileSystem {
public:
    Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override {
        const int flags = O_RDWR | O_CLOEXEC | (mode == OpenMode::kCreate ? O_CREAT | O_EXCL : 0);
        Descriptor descriptor{::open(path.c_str(), flags, 0640)};
        if (descriptor.get() < 0) {
            return boost::outcome_v2::failure(system_error("open", path, errno));
        }
        return std::unique_ptr<File>{std::make_unique<PosixFile>(std::move(descriptor), path)};
    }

    Result<> rename(const std::string& from, const std::string& to) override {
        if (::rename(from.c_str(), to.c_str()) != 0) {
            return boost::outcome_v2::failure(system_error("rename", from, errno));
        }
        return success();
    }

    Result<> remove(const std::string& path) override {
        if (::unlink(path.c_str()) != 0) {
            return boost::outcome_v2::failure(system_error("remove", path, errno));
        }
        return success();
    }

    Result<> make_directories(const std::string& directory) override {
        std::error_code error;
        const bool was_there = std::filesystem::exists(directory, error);
        const std::vector<std::string> parents = parents_to_sync(directory);
        std::filesystem::create_directories(directory, error);
        if (error) {
            return boost::outcome_v2::failure(
                system_error("create the directory", directory, error.value()));
        }
        for (const std::string& parent : parents) {
            // Where it was there, who made it may have died before this; but not every file system can do it.
            if (auto synced = sync_directory(parent); !synced && !was_there) {
                return synced;
            }
        }
        return success();
    }

    Result<std::vector<std::string>> list(const std::string& directory) override {
        std::error_code error;
        std::vector<std::string> names;
        std::filesystem::directory_iterator at{directory, error};
        for (; !error && at != std::filesystem::directory_iterator{}; at.increment(error)) {
            names.push_back(at->path().filename().string());
        }
        if (error) {
            return boost::outcome_v2::failure(system_error("list", directory, error.value()));
        }
        std::sort(names.begin(), names.end());
        return names;
    }

    Result<> sync_directory(const std::string& directory) override {
        const Descriptor descriptor{::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)};
        if (descriptor.get() < 0 || ::fsync(descriptor.get()) != 0) {
            return boost::outcome_v2::failure(system_error("sync the directory", directory, errno));
        }
        return success();
    }

    Result<std::uint64_t> free_bytes(const std::string& directory) override {
        struct statvfs status{};
        if (::statvfs(directory.c_str(), &status) != 0) {
            return boost::outcome_v2::failure(
                system_error("ask for the free space of", directory, errno));
        }
        return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
    }

    Result<std::unique_ptr<DirectoryLock>> lock(const std::string& directory) override {
        const std::string path = directory + "/lock";
        Descriptor descriptor{::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0640)};
        if (descriptor.get() < 0) {
            return boost::outcome_v2::failure(system_error("open", path, errno));
        }
        if (::flock(descriptor.get(), LOCK_EX | LOCK_NB) != 0) {
            if (errno != EWOULDBLOCK) {
                return boost::outcome_v2::failure(system_error("lock", path, errno));
            }
            char text[24] = {};
            const ssize_t n = ::pread(descriptor.get(), text, sizeof text - 1, 0);
            std::string holder{text, n > 0 ? static_cast<std::size_t>(n) : 0};
            std::erase_if(holder, [](char c) { return c < '0' || c > '9'; });
            return fail(ErrorCode::kBusy,
                        fmt::format("the directory {} is in use by process {}; stop it, or "
                                    "choose another directory",
                                    directory,
                                    holder.empty() ? "unknown" : holder));
        }
        const std::string pid = fmt::format("{}\n", ::getpid());
        // The name of the holder is a courtesy; the lock itself is what counts.
        if (::ftruncate(descriptor.get(), 0) == 0) {
            [[maybe_unused]] const ssize_t n =
                ::pwrite(descriptor.get(), pid.data(), pid.size(), 0);
        }
        return std::unique_ptr<DirectoryLock>{std::make_unique<PosixLock>(std::move(descriptor))};
    }
};

}  // namespace

FileSystem& posix_file_system() {
    static PosixFileSystem file_system;
    return file_system;
}

}  // namespace nornic::engine
