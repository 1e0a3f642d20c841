// ConflictLog: which rows of the catalogue tell of conflicts, so that their number stays bounded. The rows are the state; this
// is what is counted of them, and how they are written.
#pragma once

#include "engine/region.h"
#include "engine/schema.h"
#include "graph/value.h"

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>

namespace nornic::engine {

enum class ConflictKind : std::uint8_t { kProperty, kLabel, kDeleted, kEndpointDeleted, kUnique, kCatalog, kSchema };

struct Conflict {
    struct Side {
        Value value;
        Stamp stamp;
    };
    ConflictKind kind = ConflictKind::kProperty;
    std::string_view database;                    // name
    std::optional<EntityKind> entity = std::nullopt;
    std::uint64_t id = 0;
    std::string_view cell;  // name of a key, label, row or rule
    Side winner;
    Side loser;
    bool open = false;  // waits for a person
};

/// Names it alike in all regions: time of the later write, and a hash over what it is of and both stamps.
std::string conflict_key(const Conflict& conflict);
/// `region_name` gives a region's name by its number, `metadata` what is known of a write's transaction; null: nothing.
Value conflict_row(const Conflict& conflict,
                   std::uint64_t at,
                   const std::function<std::string(RegionNumber)>& region_name,
                   const std::function<Value(const Stamp&)>& metadata);

class ConflictLog {
public:
    /// A row became this; nullptr: it was erased.
    void note(std::string_view key, const Value* row);
    [[nodiscard]] bool knows(std::string_view key) const { return rows_.contains(key); }
    /// The row that goes if one more comes: empty if none must, nullopt if none may.
    [[nodiscard]] std::optional<std::string> victim() const;
    [[nodiscard]] std::size_t size() const noexcept { return rows_.size(); }
    [[nodiscard]] std::size_t open() const noexcept { return rows_.size() - resolved_.size(); }

private:
    std::set<std::string, std::less<>> rows_;
    std::set<std::string, std::less<>> resolved_;
};

}  // namespace nornic::engine
