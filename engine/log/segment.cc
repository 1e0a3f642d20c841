#include "engine/log/segment.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace nornic::engine {
namespace {

constexpr std::uint64_t kWindowBytes = std::uint64_t{1} << 20;
constexpr std::string_view kSegmentSuffix = ".log";
constexpr std::size_t kSequenceDigits = 16;

std::string_view zeros() {
    static const std::string bytes(std::size_t{256} << 10, '\0');
    return bytes;
}

}  // namespace

Result<> write_zeros(File& file, std::uint64_t from, std::uint64_t to) {
    while (from < to) {
        const std::string_view piece = zeros().substr(
            0, static_cast<std::size_t>(std::min<std::uint64_t>(to - from, zeros().size())));
        NORNIC_TRY(file.write(from, piece));
        from += piece.size();
    }
    return success();
}

std::string segment_name(std::uint64_t sequence) {
    return fmt::format("{:016x}{}", sequence, kSegmentSuffix);
}

std::optional<std::uint64_t> segment_sequence(std::string_view name) {
    if (name.size() != kSequenceDigits + kSegmentSuffix.size() || !name.ends_with(kSegmentSuffix)) {
        return std::nullopt;
    }
    std::uint64_t sequence = 0;
    const char* const end = name.data() + kSequenceDigits;
    const auto [stopped, error] = std::from_chars(name.data(), end, sequence, 16);
    // The name must be exactly what segment_name() makes, or two names would mean one segment.
    if (error != std::errc{} || stopped != end || segment_name(sequence) != name) {
        return std::nullopt;
    }
    return sequence;
}

std::string join_path(const std::string& directory, std::string_view name) {
    return fmt::format("{}/{}", directory, name);
}

Result<std::string_view> FileWindow::at(std::uint64_t offset, std::uint64_t size) {
    size = offset >= limit_ ? 0 : std::min(size, limit_ - offset);
    if (size == 0) {
        return std::string_view{};
    }
    if (offset < start_ || offset + size > start_ + filled_) {
        const std::uint64_t want = std::min(std::max(size, kWindowBytes), limit_ - offset);
        if (buffer_.size() < want) {
            buffer_.resize(want);
        }
        start_ = offset;
        filled_ = 0;
        NORNIC_TRY(filled_, file_.read(offset, std::span{buffer_.data(), want}));
    }
    const std::uint64_t skip = offset - start_;
    return std::string_view{
        buffer_.data() + skip,
        static_cast<std::size_t>(std::min<std::uint64_t>(size, filled_ - skip))};
}

Result<std::optional<RecordView>> FileWindow::record(std::uint64_t offset, std::uint64_t salt) {
    NORNIC_TRY(std::string_view bytes, at(offset, kRecordHeaderBytes));
    const std::optional<std::uint64_t> claimed = claimed_record_bytes(bytes, salt);
    if (!claimed || offset + *claimed > limit_) {
        return std::optional<RecordView>{};
    }
    NORNIC_TRY(bytes, at(offset, *claimed));
    return decode_record(bytes, salt, offset);
}

}  // namespace nornic::engine
