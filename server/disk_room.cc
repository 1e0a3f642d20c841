#include "server/disk_room.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <cstdint>
#include <optional>

namespace nornic::server {
namespace {

constexpr std::uint64_t kStartBytes = std::uint64_t{4} << 20;

std::optional<std::uint64_t> free_bytes(const std::string& directory) {
    struct statvfs disk {};
    if (::statvfs(directory.c_str(), &disk) != 0) {
        return std::nullopt;
    }
    return static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
}

}  // namespace

bool disk_is_full(const modes::ReplicaStats& stats, const env::Settings& settings) {
    return stats.disk_full && free_bytes(settings.data_directory).value_or(0) < settings.disk_reserve_bytes;
}

Result<> check_room_to_start(const std::string& directory) {
    const auto bytes = free_bytes(directory);
    if (bytes && *bytes < kStartBytes) {
        return fail(ErrorCode::kDiskFull,
                    fmt::format("the disk of NORNICDB_DATA_DIR='{}' is full: {} bytes are free, and opening the data takes {}; make room and "
                                "start again",
                                directory,
                                *bytes,
                                kStartBytes));
    }
    return success();
}

}  // namespace nornic::server
