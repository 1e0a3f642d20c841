#include "engine/region/stamps.h"

#include "engine/region/codec.h"

#include <algorithm>
#include <limits>

namespace nornic::engine {
namespace {

template <class Cells>
auto cell_at(Cells& cells, std::uint32_t token) {
    return std::lower_bound(
        cells.begin(), cells.end(), token, [](const CellStamp& cell, std::uint32_t t) { return cell.token < t; });
}

void put_cells(const std::vector<CellStamp>& cells, ByteWriter& out) {
    out.put_varint(cells.size());
    for (const CellStamp& cell : cells) {
        out.put_varint(cell.token);
        put_stamp(cell.stamp, out);
    }
}

bool get_cells(ByteReader& in, std::vector<CellStamp>& cells) {
    const std::uint64_t count = in.get_varint();
    if (!in.ok() || count > in.remaining() / 2) {  // each takes at least two bytes
        return false;
    }
    cells.clear();
    cells.reserve(count);
    for (std::uint64_t i = 0; i < count; ++i) {
        const std::uint64_t token = in.get_varint();
        CellStamp cell;
        if (token > std::numeric_limits<std::uint32_t>::max() || !get_stamp(in, cell.stamp)) {
            return false;
        }
        cell.token = static_cast<std::uint32_t>(token);
        cells.push_back(cell);
    }
    return true;
}

}  // namespace

Stamp stamp_of(const EntityStamps& stamps, const std::vector<CellStamp>& cells, std::uint32_t token, bool present) noexcept {
    const auto at = cell_at(cells, token);
    if (at != cells.end() && at->token == token) {
        return at->stamp;
    }
    return present && stamps.life != Life::kAwaited ? stamps.stamp : Stamp{};
}

void set_stamp(std::vector<CellStamp>& cells, std::uint32_t token, const Stamp& stamp) {
    const auto at = cell_at(cells, token);
    if (at != cells.end() && at->token == token) {
        at->stamp = stamp;
    } else {
        cells.insert(at, CellStamp{token, stamp});
    }
}

void encode_stamps(const EntityStamps& stamps, ByteWriter& out) {
    out.put_u8(static_cast<std::uint8_t>(stamps.life));
    put_stamp(stamps.stamp, out);
    put_cells(stamps.labels, out);
    put_cells(stamps.properties, out);
}

bool decode_stamps(ByteReader& in, EntityStamps& stamps) {
    const std::uint8_t life = in.get_u8();
    if (life > static_cast<std::uint8_t>(Life::kDead) || !get_stamp(in, stamps.stamp) || !get_cells(in, stamps.labels) ||
        !get_cells(in, stamps.properties)) {
        return false;
    }
    stamps.life = static_cast<Life>(life);
    return in.ok();
}

}  // namespace nornic::engine
