#include "engine/region/conflicts.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "engine/region/codec.h"
#include "graph/codec.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::engine {
namespace {

constexpr std::size_t kValueBytesMax = std::size_t{64} << 10;  // of a value that is kept in a row

std::string_view kind_name(ConflictKind kind) {
    switch (kind) {
        case ConflictKind::kProperty:
            return "property";
        case ConflictKind::kLabel:
            return "label";
        case ConflictKind::kDeleted:
            return "deleted";
        case ConflictKind::kEndpointDeleted:
            return "endpoint_deleted";
        case ConflictKind::kUnique:
            return "unique";
        case ConflictKind::kCatalog:
            return "catalog";
        case ConflictKind::kSchema:
            return "schema";
    }
    return "";
}

Value side_row(const Conflict::Side& side,
               const std::function<std::string(RegionNumber)>& region_name,
               const std::function<Value(const Stamp&)>& metadata) {
    std::string bytes;
    ByteWriter out{bytes};
    encode_value(side.value, out);
    Map row;
    row.set("value",
            bytes.size() <= kValueBytesMax ? side.value : Value{fmt::format("({} bytes, too many to be kept)", bytes.size())});
    row.set("region", Value{region_name(side.stamp.region)});
    row.set("time", Value{static_cast<std::int64_t>(side.stamp.time)});
    row.set("rank", Value{static_cast<std::int64_t>(side.stamp.rank)});
    if (Value known = metadata(side.stamp); !known.is_null()) {
        row.set("metadata", std::move(known));
    }
    return Value{std::move(row)};
}

}  // namespace

std::string conflict_key(const Conflict& conflict) {
    std::string bytes;
    ByteWriter out{bytes};
    out.put_string(conflict.database);
    out.put_u8(conflict.entity ? static_cast<std::uint8_t>(*conflict.entity) + 1 : 0);
    const bool unique = conflict.kind == ConflictKind::kUnique;
    out.put_u64(unique ? static_cast<std::uint64_t>(std::min(conflict.winner.value.as_integer(), conflict.loser.value.as_integer())) : conflict.id);
    out.put_u8(conflict.kind == ConflictKind::kLabel ? 1 : 0);  // a label may have the name of a key
    out.put_string(conflict.cell);
    if (unique) {
        // One may be in conflict with many, and stamps of creations expire.
        out.put_u64(static_cast<std::uint64_t>(std::max(conflict.winner.value.as_integer(), conflict.loser.value.as_integer())));
    } else {
        put_stamp(std::min(conflict.winner.stamp, conflict.loser.stamp), out);
        put_stamp(std::max(conflict.winner.stamp, conflict.loser.stamp), out);
    }
    return fmt::format("{}{:016x}-{:016x}",
                       kConflictPrefix,
                       std::max(conflict.winner.stamp.time, conflict.loser.stamp.time),
                       fnv1a(bytes));
}

Value conflict_row(const Conflict& conflict,
                   std::uint64_t at,
                   const std::function<std::string(RegionNumber)>& region_name,
                   const std::function<Value(const Stamp&)>& metadata) {
    Map row;
    row.set("kind", Value{kind_name(conflict.kind)});
    row.set("database", Value{conflict.database});
    row.set("entity",
            conflict.entity ? Value{*conflict.entity == EntityKind::kNode ? "node" : "relationship"} : Value{});
    row.set("id", conflict.entity ? Value{static_cast<std::int64_t>(conflict.id)} : Value{});
    row.set("cell", Value{conflict.cell});
    row.set("winner", side_row(conflict.winner, region_name, metadata));
    row.set("loser", side_row(conflict.loser, region_name, metadata));
    row.set("at", Value{static_cast<std::int64_t>(at)});
    row.set("state", Value{conflict.open ? "open" : "resolved"});
    return Value{std::move(row)};
}

void ConflictLog::note(std::string_view key, const Value* row) {
    if (row == nullptr) {
        if (const auto at = rows_.find(key); at != rows_.end()) {
            rows_.erase(at);
        }
        if (const auto at = resolved_.find(key); at != resolved_.end()) {
            resolved_.erase(at);
        }
        return;
    }
    rows_.emplace(key);
    const Value* const state = row->is_map() ? row->as_map().find("state") : nullptr;
    if (state != nullptr && state->is_string() && state->as_string() == "open") {
        if (const auto at = resolved_.find(key); at != resolved_.end()) {
            resolved_.erase(at);
        }
    } else {
        resolved_.emplace(key);
    }
}

std::optional<std::string> ConflictLog::victim() const {
    if (rows_.size() < kConflictsMax) {
        return std::string{};
    }
    return resolved_.empty() ? std::nullopt : std::optional{*resolved_.begin()};
}

}  // namespace nornic::engine
