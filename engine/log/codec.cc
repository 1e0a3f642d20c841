#include "engine/log/codec.h"

#include "base/bytes.h"
#include "base/check.h"

#include <fmt/format.h>

#include <array>
#include <cstring>

namespace nornic::engine {
namespace {

constexpr std::string_view kSegmentMagic = "NORNLOG\n";
constexpr std::size_t kSegmentFieldsBytes = 72;  // Magic to previous_crc; the checksum follows.

std::uint32_t place_crc(std::uint64_t salt, std::uint64_t offset) noexcept {
    std::array<char, 16> bytes{};
    std::memcpy(bytes.data(), &salt, 8);
    std::memcpy(bytes.data() + 8, &offset, 8);
    return crc32c(0, {bytes.data(), bytes.size()});
}

}  // namespace

std::string encode_segment_header(SegmentHeader& header) {
    std::string out;
    out.reserve(kSegmentHeaderBytes);
    ByteWriter writer{out};
    writer.put_raw(kSegmentMagic);
    writer.put_u32(kLogFormatVersion);
    writer.put_u32(static_cast<std::uint32_t>(kSegmentHeaderBytes));
    writer.put_u64(header.sequence);
    writer.put_u64(header.salt);
    writer.put_u64(header.created_bytes);
    writer.put_u64(header.first_index.value);
    writer.put_u64(header.previous_term.value);
    writer.put_u64(header.previous_end);
    writer.put_u32(header.previous_crc);
    writer.put_u32(0);
    NORNIC_CHECK(out.size() == kSegmentFieldsBytes, "{}", out.size());
    header.crc = crc32c(0, out);
    writer.put_u32(header.crc);
    out.resize(kSegmentHeaderBytes, '\0');
    return out;
}

Result<SegmentHeader> decode_segment_header(std::string_view bytes, const std::string& path) {
    if (bytes.size() < kSegmentHeaderBytes) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("log segment {} is {} bytes long, shorter than its header of {}",
                                path,
                                bytes.size(),
                                kSegmentHeaderBytes));
    }
    if (!bytes.starts_with(kSegmentMagic)) {
        return fail(
            ErrorCode::kCorruption,
            fmt::format("log segment {} does not begin like a log segment at offset 0", path));
    }
    ByteReader reader{bytes};
    reader.get_raw(kSegmentMagic.size());
    const std::uint32_t version = reader.get_u32();
    const std::uint32_t header_bytes = reader.get_u32();
    SegmentHeader header;
    header.sequence = reader.get_u64();
    header.salt = reader.get_u64();
    header.created_bytes = reader.get_u64();
    header.first_index = LogIndex{reader.get_u64()};
    header.previous_term = Term{reader.get_u64()};
    header.previous_end = reader.get_u64();
    header.previous_crc = reader.get_u32();
    reader.get_u32();
    header.crc = reader.get_u32();
    if (header.crc != crc32c(0, bytes.substr(0, kSegmentFieldsBytes))) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("the header of log segment {} is damaged: checksum {:08x} at "
                                "offset {} does not match",
                                path,
                                header.crc,
                                kSegmentFieldsBytes));
    }
    if (version != kLogFormatVersion || header_bytes != kSegmentHeaderBytes) {
        return fail(ErrorCode::kUnsupported,
                    fmt::format("log segment {} has format version {}; this program knows {}",
                                path,
                                version,
                                kLogFormatVersion));
    }
    return header;
}

std::uint32_t record_tag(std::uint64_t salt) noexcept {
    // Never 0, which is what unwritten space looks like.
    return (static_cast<std::uint32_t>(salt) ^ static_cast<std::uint32_t>(salt >> 32)) | 1U;
}

Result<> check_hard_state(const HardState& state) {
    if (state.voted_for.size() > kVotedForBytesMax) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("a member's name of {} bytes is over the limit of {}",
                                state.voted_for.size(),
                                kVotedForBytesMax));
    }
    if (state.extra.size() > kHardStateExtraBytesMax) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("a mode's own hard state of {} bytes is over the limit of {}",
                                state.extra.size(),
                                kHardStateExtraBytesMax));
    }
    return success();
}

std::uint64_t hard_state_record_bytes(const HardState& state) {
    return record_bytes(state.voted_for.size() +
                        (state.extra.empty() ? 0 : sizeof(std::uint32_t) + state.extra.size()));
}

Result<HardState> decode_hard_state(const RecordHeader& header, std::string_view payload) {
    HardState state;
    state.term = Term{header.term};
    state.committed = LogIndex{header.index};
    if (header.type == RecordType::kHardState) {
        state.voted_for = std::string{payload};
        return state;
    }
    ByteReader reader{payload};
    state.voted_for = std::string{reader.get_raw(reader.get_u32())};
    if (!reader.ok() || reader.at_end()) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("a hard state of {} bytes is shorter than it says", payload.size()));
    }
    state.extra = std::string{reader.get_raw(reader.remaining())};
    return state;
}

void RecordEncoder::add(RecordHeader header, std::string_view payload) {
    const std::size_t start = out_.size();
    NORNIC_CHECK(payload.size() <= UINT32_MAX, "payload of {} bytes", payload.size());
    NORNIC_CHECK(place_.synced <= place_.offset, "{} {}", place_.synced, place_.offset);
    header.length = static_cast<std::uint32_t>(payload.size());
    header.tag = record_tag(place_.salt);
    header.previous_crc = place_.previous_crc;
    header.synced = static_cast<std::uint32_t>(place_.synced / kRecordAlignment);
    const std::uint64_t bytes = record_bytes(payload.size());
    out_.append(reinterpret_cast<const char*>(&header), sizeof header);
    out_.append(payload);
    out_.append(start + bytes - out_.size(), '\0');
    const std::uint32_t crc = crc32c(place_crc(place_.salt, place_.offset),
                                     std::string_view{out_}.substr(start + sizeof header.crc));
    std::memcpy(out_.data() + start, &crc, sizeof crc);
    place_.previous_crc = crc;
    place_.offset += bytes;
}

void RecordEncoder::add_entry(const LogEntry& entry) {
    RecordHeader header;
    header.type = RecordType::kEntry;
    header.kind = entry.kind;
    header.term = entry.term.value;
    header.index = entry.index.value;
    header.hybrid_time = entry.hybrid_time;
    add(header, entry.payload);
}

// A type of its own and not a longer payload: a version that does not know `extra` must stop rather than forget it.
void RecordEncoder::add_hard_state(const HardState& state) {
    RecordHeader header;
    header.type = state.extra.empty() ? RecordType::kHardState : RecordType::kHardStateExtra;
    header.term = state.term.value;
    header.index = state.committed.value;
    if (state.extra.empty()) {
        add(header, state.voted_for);
        return;
    }
    std::string payload;
    ByteWriter writer{payload};
    writer.put_u32(static_cast<std::uint32_t>(state.voted_for.size()));
    writer.put_raw(state.voted_for);
    writer.put_raw(state.extra);
    add(header, payload);
}

void RecordEncoder::add_cut(LogIndex from, Term previous_term) {
    RecordHeader header;
    header.type = RecordType::kCut;
    header.term = previous_term.value;
    header.index = from.value;
    add(header, {});
}

void RecordEncoder::add_reset(LogIndex next, Term previous_term) {
    RecordHeader header;
    header.type = RecordType::kReset;
    header.term = previous_term.value;
    header.index = next.value;
    add(header, {});
}

void RecordEncoder::add_mark() {
    RecordHeader header;
    header.type = RecordType::kMark;
    add(header, {});
}

std::optional<std::uint64_t> claimed_record_bytes(std::string_view bytes, std::uint64_t salt) {
    if (bytes.size() < kRecordHeaderBytes) {
        return std::nullopt;
    }
    RecordHeader header;
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.tag != record_tag(salt)) {
        return std::nullopt;
    }
    return record_bytes(header.length);
}

std::optional<RecordView> decode_record(std::string_view bytes,
                                        std::uint64_t salt,
                                        std::uint64_t offset) {
    const std::optional<std::uint64_t> claimed = claimed_record_bytes(bytes, salt);
    if (!claimed || *claimed > bytes.size()) {
        return std::nullopt;
    }
    RecordView view;
    std::memcpy(&view.header, bytes.data(), sizeof view.header);
    view.payload = bytes.substr(kRecordHeaderBytes, view.header.length);
    const std::uint32_t crc =
        crc32c(place_crc(salt, offset),
               bytes.substr(sizeof view.header.crc, *claimed - sizeof view.header.crc));
    if (crc != view.header.crc) {
        return std::nullopt;
    }
    return view;
}

}  // namespace nornic::engine
