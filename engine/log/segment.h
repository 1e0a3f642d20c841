// One file of the log while it is in use, and a buffered way to read its records.
#pragma once

#include "base/ids.h"
#include "base/result.h"
#include "engine/log/codec.h"
#include "engine/log/file.h"

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::engine {

/// How much is zero-written at a time: small enough that a stop or a writer never waits long.
inline constexpr std::uint64_t kZeroChunkBytes = std::uint64_t{1} << 20;

/// What is not said otherwise belongs to the log's writer and is guarded by the log's mutex.
struct Segment {
    std::uint64_t sequence = 0;
    std::uint64_t salt = 0;
    std::string path;
    std::unique_ptr<File> file;
    std::uint64_t end = 0;  // Where the next record goes.
    std::uint32_t last_crc = 0;

    // The live entries in this segment have the indexes first, first + 1, …; offsets hold where
    // each stands, in units of kRecordAlignment.
    LogIndex first;
    std::vector<std::uint32_t> offsets;

    std::atomic<bool> recycled{false};  // A reader that finds nonsense looks here.

    // The file is zero-written (or written) and synced up to here.
    std::uint64_t prepared = 0;

    [[nodiscard]] bool holds_entries() const noexcept { return !offsets.empty(); }
    [[nodiscard]] LogIndex last() const noexcept {
        return LogIndex{first.value + offsets.size() - 1};
    }
};

/// Zero-writes [from, to) in chunks.
Result<> write_zeros(File& file, std::uint64_t from, std::uint64_t to);

std::string segment_name(std::uint64_t sequence);                      // 000000000000001f.log
std::optional<std::uint64_t> segment_sequence(std::string_view name);  // nullopt: not a segment
std::string join_path(const std::string& directory, std::string_view name);

/// Reads a file forwards through a buffer. Not thread-safe; views live until the next call.
class FileWindow {
public:
    /// Bytes at or past `limit` are not read.
    FileWindow(File& file, std::uint64_t limit) : file_{file}, limit_{limit} {}

    /// Up to `size` bytes at `offset`; fewer only where the file or the limit ends.
    Result<std::string_view> at(std::uint64_t offset, std::uint64_t size);
    /// The valid record at `offset`, or nullopt if there is none.
    Result<std::optional<RecordView>> record(std::uint64_t offset, std::uint64_t salt);

private:
    File& file_;
    std::uint64_t limit_;
    std::vector<char> buffer_;
    std::uint64_t start_ = 0;
    std::size_t filled_ = 0;
};

}  // namespace nornic::engine
