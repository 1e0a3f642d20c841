#include "engine/region/codec.h"

#include "base/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

namespace nornic::engine {
namespace {

constexpr std::uint8_t kChangeFormat = 1;
constexpr std::uint8_t kStateFormat = 1;
constexpr std::uint8_t kManualFlag = 1;
constexpr std::uint8_t kAuthorFlag = 2;
constexpr std::uint8_t kDroppedFlag = 1;
constexpr std::uint8_t kPartialFlag = 2;
constexpr std::uint8_t kSettledFlag = 4;
constexpr std::uint8_t kRegionOperation = 18;  // WriteOp::kRegion
constexpr std::size_t kTextBytesMax = 1024;  // a region's name, a history's uuid

bool get_text(ByteReader& in, std::string& text) {
    const std::string_view bytes = in.get_string();
    text = bytes;
    return in.ok() && bytes.size() <= kTextBytesMax;
}

bool get_number(ByteReader& in, RegionNumber& number) {
    number = in.get_u8();
    return in.ok() && number <= kRegionNumberMax;
}

bool get_flag(ByteReader& in, bool& flag) {
    const std::uint8_t value = in.get_u8();
    flag = value == 1;
    return in.ok() && value <= 1;
}

bool get_rank(ByteReader& in, std::uint16_t& rank) {
    const std::uint64_t value = in.get_varint();
    rank = static_cast<std::uint16_t>(value);
    return in.ok() && value <= std::numeric_limits<std::uint16_t>::max();
}

void put_row(const RegionRow& row, ByteWriter& out) {
    out.put_u8(row.number);
    out.put_string(row.name);
    out.put_string(row.history);
    out.put_u8(static_cast<std::uint8_t>((row.dropped ? kDroppedFlag : 0) | (row.partial ? kPartialFlag : 0) | (row.settled ? kSettledFlag : 0)));
    out.put_varint(row.cursor.value);
    out.put_varint(row.cursor_time);
    put_frontier(row.reported, out);
    out.put_varint(row.acked.value);
    out.put_varint(row.era);
}

bool get_row(ByteReader& in, RegionRow& row) {
    if (!get_number(in, row.number) || !get_text(in, row.name) || !get_text(in, row.history)) {
        return false;
    }
    const std::uint8_t flags = in.get_u8();
    if (!in.ok() || flags > (kDroppedFlag | kPartialFlag | kSettledFlag)) {
        return false;
    }
    row.dropped = (flags & kDroppedFlag) != 0;
    row.partial = (flags & kPartialFlag) != 0;
    row.settled = (flags & kSettledFlag) != 0;
    row.cursor = LogIndex{in.get_varint()};
    row.cursor_time = in.get_varint();
    if (!get_frontier(in, row.reported)) {
        return false;
    }
    row.acked = LogIndex{in.get_varint()};
    row.era = in.get_varint();
    return in.ok();
}

void put_rows(const std::vector<RegionRow>& rows, ByteWriter& out) {
    out.put_varint(rows.size());
    for (const RegionRow& row : rows) {
        put_row(row, out);
    }
}

bool get_rows(ByteReader& in, std::vector<RegionRow>& rows) {
    const std::uint64_t count = in.get_varint();
    if (!in.ok() || count > kRegionNumberMax) {
        return false;
    }
    rows.resize(count);
    return std::all_of(rows.begin(), rows.end(), [&](RegionRow& row) { return get_row(in, row); });
}

void put_header(const RegionHeader& header, ByteWriter& out) {
    out.put_varint(header.rank);
    out.put_varint(header.epoch);
    out.put_u8(static_cast<std::uint8_t>((header.manual ? kManualFlag : 0) | (header.author != 0 ? kAuthorFlag : 0)));
    if (header.author != 0) {
        out.put_u8(header.author);
    }
    put_frontier(header.seen, out);
}

bool get_header(ByteReader& in, RegionHeader& header) {
    if (!get_rank(in, header.rank)) {
        return false;
    }
    header.epoch = in.get_varint();
    const std::uint8_t flags = in.get_u8();
    header.manual = (flags & kManualFlag) != 0;
    header.author = 0;
    return in.ok() && flags <= (kManualFlag | kAuthorFlag) && ((flags & kAuthorFlag) == 0 || get_number(in, header.author)) &&
           get_frontier(in, header.seen);
}

bool get_database(ByteReader& in, DatabaseId& database) {
    const std::uint64_t value = in.get_varint();
    database = DatabaseId{static_cast<std::uint32_t>(value)};
    return in.ok() && value <= std::numeric_limits<std::uint32_t>::max();
}

Error malformed(std::string_view what, const ByteReader& in) {
    return Error{ErrorCode::kCorruption,
                 fmt::format("{}: cut off or not valid at or before offset {}", what, in.position())};
}

}  // namespace

// ---- Parts ----

void put_stamp(const Stamp& stamp, ByteWriter& out) {
    out.put_varint(stamp.time);
    if (!stamp.none()) {
        out.put_varint(stamp.rank);
        out.put_u8(stamp.region);
    }
}

bool get_stamp(ByteReader& in, Stamp& stamp) {
    stamp = Stamp{.time = in.get_varint()};
    return stamp.none() ? in.ok() : get_rank(in, stamp.rank) && get_number(in, stamp.region);
}

void put_frontier(const Frontier& frontier, ByteWriter& out) {
    out.put_varint(frontier.size());
    for (const std::uint64_t time : frontier) {
        out.put_varint(time);
    }
}

bool get_frontier(ByteReader& in, Frontier& frontier) {
    const std::uint64_t size = in.get_varint();
    if (!in.ok() || size > kRegionNumberMax + 1U) {
        return false;
    }
    frontier.resize(size);
    for (std::uint64_t& time : frontier) {
        time = in.get_varint();
    }
    return in.ok();
}

// ---- RegionState ----

const RegionRow* RegionState::find(RegionNumber number) const noexcept {
    const auto at = std::find_if(regions.begin(), regions.end(), [&](const RegionRow& row) { return row.number == number; });
    return at == regions.end() ? nullptr : &*at;
}

const RegionRow* RegionState::find(std::string_view name) const noexcept {
    // One that was dropped may have come back, under another number.
    const RegionRow* found = nullptr;
    for (const RegionRow& row : regions) {
        if (row.name == name && (found == nullptr || !row.dropped)) {
            found = &row;
        }
    }
    return found;
}

const RegionRow* RegionState::with_history(std::string_view history) const noexcept {
    // An empty one means that it is not known, so it names nobody.
    const auto at = std::find_if(regions.begin(), regions.end(), [&](const RegionRow& row) {
        return !history.empty() && row.history == history;
    });
    return at == regions.end() ? nullptr : &*at;
}

Frontier RegionState::frontier() const {
    std::size_t size = self + std::size_t{1};
    for (const RegionRow& row : regions) {
        size = std::max(size, row.number + std::size_t{1});
    }
    Frontier known(size);
    for (const RegionRow& row : regions) {
        known[row.number] = row.settled ? kAllTime : row.cursor_time;
        if (row.partial) {
            known[0] = 1;
        }
    }
    if (self != 0) {
        known[self] = time;
    }
    return known;
}

std::string encode_region_state(const RegionState& state) {
    std::string bytes;
    ByteWriter out{bytes};
    out.put_u8(kStateFormat);
    out.put_u8(state.self);
    out.put_varint(state.began.value);
    out.put_u8(state.pristine ? 1 : 0);
    out.put_varint(state.epoch);
    out.put_u8(state.primary);
    out.put_varint(state.rank);
    out.put_varint(state.watermark);
    out.put_varint(state.time);
    put_rows(state.regions, out);
    out.put_varint(state.conflicts);
    out.put_varint(state.conflicts_open);
    out.put_varint(state.tombstones);
    return bytes;
}

Result<RegionState> decode_region_state(std::string_view bytes) {
    ByteReader in{bytes};
    if (const std::uint8_t format = in.get_u8(); format != kStateFormat) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("state of regions: format {}, this version reads {}", format, kStateFormat));
    }
    RegionState state;
    bool ok = get_number(in, state.self);
    state.began = LogIndex{in.get_varint()};
    ok = ok && get_flag(in, state.pristine);
    state.epoch = in.get_varint();
    ok = ok && get_number(in, state.primary) && get_rank(in, state.rank);
    state.watermark = in.get_varint();
    state.time = in.get_varint();
    ok = ok && get_rows(in, state.regions);
    state.conflicts = in.get_varint();
    state.conflicts_open = in.get_varint();
    state.tombstones = in.get_varint();
    if (!ok || !in.ok() || !in.at_end()) {
        return malformed("state of regions", in);
    }
    return state;
}

// ---- RegionChange: all fields of all kinds; changes are rare, so what is unused may cost its few bytes ----

std::string encode_region_change(const RegionChange& change) {
    std::string bytes;
    ByteWriter out{bytes};
    out.put_u8(kChangeFormat);
    out.put_u8(static_cast<std::uint8_t>(change.kind));
    out.put_u8(change.number);
    put_rows(change.regions, out);
    out.put_varint(change.epoch);
    out.put_varint(change.cursor.value);
    out.put_varint(change.time);
    put_frontier(change.frontier, out);
    out.put_varint(change.acked.value);
    out.put_string(change.history);
    return bytes;
}

Result<RegionChange> decode_region_change(std::string_view bytes) {
    ByteReader in{bytes};
    if (const std::uint8_t format = in.get_u8(); format != kChangeFormat) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("change of regions: format {}, this version reads {}", format, kChangeFormat));
    }
    RegionChange change;
    const std::uint8_t kind = in.get_u8();
    change.kind = static_cast<RegionChange::Kind>(kind);
    bool ok = kind >= static_cast<std::uint8_t>(RegionChange::Kind::kForm) &&
              kind <= static_cast<std::uint8_t>(RegionChange::Kind::kMerged) && get_number(in, change.number) &&
              get_rows(in, change.regions);
    change.epoch = in.get_varint();
    change.cursor = LogIndex{in.get_varint()};
    change.time = in.get_varint();
    ok = ok && get_frontier(in, change.frontier);
    change.acked = LogIndex{in.get_varint()};
    ok = ok && get_text(in, change.history);
    if (!ok || !in.ok() || !in.at_end()) {
        return malformed("change of regions", in);
    }
    return change;
}

// ---- Write sets ----

std::string stamp_write_set(const RegionHeader& header, std::string_view write_set) {
    std::string bytes;
    bytes.reserve(write_set.size() + 32);
    ByteWriter out{bytes};
    out.put_u8(kStampedFormat);
    ByteReader in{write_set};
    static_cast<void>(in.get_u8());  // its format
    const std::uint64_t database = in.get_varint();
    if (const std::string_view rest = write_set.substr(in.position()); rest.starts_with(static_cast<char>(WriteOp::kSeen))) {
        RegionHeader seen = header;
        static_cast<void>(in.get_u8());
        ByteReader frontier{in.get_string()};
        const bool valid = get_frontier(frontier, seen.seen);
        NORNIC_CHECK(valid && in.ok(), "what a transaction had seen cannot be read");
        put_header(seen, out);
    } else {
        put_header(header, out);
    }
    if (in.ok()) {
        out.put_varint(database);
    }
    out.put_raw(write_set.substr(in.position()));
    return bytes;
}

std::string region_change_write_set(const RegionHeader& header, const RegionChange& change) {
    std::string bytes;
    const WriteSetWriter begin{bytes, kSystemDatabase};
    ByteWriter out{bytes};
    out.put_u8(kRegionOperation);
    out.put_string(encode_region_change(change));
    return stamp_write_set(header, bytes);
}

Result<StampedWrite> decode_stamped(std::string_view payload) {
    ByteReader in{payload};
    if (const std::uint8_t format = in.get_u8(); format != kStampedFormat) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("write of a region: format {}, expected {}", format, kStampedFormat));
    }
    StampedWrite write;
    if (!get_header(in, write.header) || !get_database(in, write.database)) {
        return malformed("write of a region", in);
    }
    write.operations = payload.substr(in.position());
    return write;
}

std::string encode_region_batch(const RegionBatch& batch) {
    std::string bytes;
    ByteWriter out{bytes};
    out.put_u8(kRegionBatchFormat);
    out.put_u8(batch.origin);
    out.put_varint(batch.writes.size());
    for (const StampedWrite& write : batch.writes) {
        out.put_varint(write.index.value);
        out.put_varint(write.time);
        put_header(write.header, out);
        out.put_varint(write.database.value);
        out.put_string(write.operations);
    }
    out.put_varint(batch.through.value);
    out.put_varint(batch.through_time);
    put_frontier(batch.frontier, out);
    out.put_varint(batch.acked.value);
    return bytes;
}

Result<RegionBatch> decode_region_batch(std::string_view payload) {
    ByteReader in{payload};
    if (const std::uint8_t format = in.get_u8(); format != kRegionBatchFormat) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("writes of another region: format {}, expected {}", format, kRegionBatchFormat));
    }
    RegionBatch batch;
    const bool head = get_number(in, batch.origin) && batch.origin != 0;
    const std::uint64_t count = in.get_varint();
    if (!head || !in.ok() || count > in.remaining()) {
        return malformed("writes of another region", in);
    }
    // Not reserved: a count is believed only as far as there are bytes for it.
    for (std::uint64_t i = 0; i < count; ++i) {
        StampedWrite& write = batch.writes.emplace_back();
        write.index = LogIndex{in.get_varint()};
        write.time = in.get_varint();
        if (!get_header(in, write.header) || !get_database(in, write.database)) {
            return malformed(fmt::format("writes of another region, write {}", i), in);
        }
        write.operations = in.get_string();
        if (!in.ok()) {
            return malformed(fmt::format("writes of another region, write {}", i), in);
        }
    }
    batch.through = LogIndex{in.get_varint()};
    batch.through_time = in.get_varint();
    const bool frontier = get_frontier(in, batch.frontier);
    batch.acked = LogIndex{in.get_varint()};
    if (!frontier || !in.ok() || !in.at_end()) {
        return malformed("writes of another region", in);
    }
    return batch;
}

}  // namespace nornic::engine
