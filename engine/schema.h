// Indexes and constraints as data: what SHOW INDEXES prints, what the planner chooses from and what
// a WriteSet carries.
#pragma once

#include "base/ids.h"
#include "base/result.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::engine {

enum class EntityKind : std::uint8_t { kNode, kRelationship };
enum class IndexType : std::uint8_t { kRange, kLookup, kText, kPoint, kFulltext, kVector };
enum class IndexState : std::uint8_t { kPopulating, kOnline, kFailed };
enum class ConstraintType : std::uint8_t { kUnique, kKey, kExists, kPropertyType };

/// A set of types a property may have ("INTEGER | STRING"); bits by PropertyTypeBit, lists in the
/// high half.
struct PropertyTypes {
    std::uint64_t bits = 0;
    bool operator==(const PropertyTypes&) const = default;
};

/// An index as replicated. The labels or types are one token (two or more for full-text).
struct IndexRule {
    SchemaRuleId id;
    std::string name;
    IndexType type = IndexType::kRange;
    EntityKind entity = EntityKind::kNode;
    std::vector<std::uint32_t> tokens;  // LabelId or RelTypeId values
    std::vector<PropertyKeyId> properties;
    std::optional<SchemaRuleId> owning_constraint;
    std::string options;  // opaque to the engine
};

struct ConstraintRule {
    SchemaRuleId id;
    std::string name;
    ConstraintType type = ConstraintType::kUnique;
    EntityKind entity = EntityKind::kNode;
    std::uint32_t token = 0;
    std::vector<PropertyKeyId> properties;
    PropertyTypes property_types;             // kPropertyType
    std::optional<SchemaRuleId> owned_index;  // kUnique, kKey
};

/// An index as this member holds it now.
struct IndexView {
    IndexRule rule;
    IndexState state = IndexState::kOnline;
    double population_percent = 100.0;
    std::string failure;
    std::uint64_t entries = 0;          // about; for the planner
    std::uint64_t distinct_values = 0;  // about; 0 where unknown
    std::uint64_t reads = 0;
    std::int64_t last_read_ms = 0;  // wall clock; 0: never
};

/// All rules at one moment; immutable and shared. version grows with every change, also of a
/// state, so that cached plans know when they are old.
struct Schema {
    std::uint64_t version = 0;
    std::vector<IndexView> indexes;
    std::vector<ConstraintRule> constraints;

    /// The online index over exactly these; nullptr if none.
    [[nodiscard]] const IndexView* find_index(EntityKind entity,
                                              std::uint32_t token,
                                              const std::vector<PropertyKeyId>& properties,
                                              IndexType type = IndexType::kRange) const;
    [[nodiscard]] const IndexView* index_named(std::string_view name) const;
    [[nodiscard]] const ConstraintRule* constraint_named(std::string_view name) const;
};

}  // namespace nornic::engine
