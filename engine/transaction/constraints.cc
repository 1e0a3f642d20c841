// Unique and key constraints (checked at each write, under a lock on the key), existence and
// property types (checked in prepare), and whether existing data fits a new constraint.
#include "engine/owned_index.h"
#include "engine/transaction/storable.h"
#include "engine/transaction/transaction_impl.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <compare>
#include <deque>
#include <unordered_map>

namespace nornic::engine {
namespace {

bool is_unique(const ConstraintRule& rule) noexcept {
    return rule.type == ConstraintType::kUnique || rule.type == ConstraintType::kKey;
}

std::string entity_text(EntityKind entity, std::uint64_t id) {
    return fmt::format("{}({})", entity == EntityKind::kNode ? "Node" : "Relationship", id);
}

/// "label `L`" or "type `T`".
std::string token_text(const Tokens& tokens, const ConstraintRule& rule) {
    return rule.entity == EntityKind::kNode
               ? fmt::format("label `{}`", tokens.name(TokenKind::kLabel, rule.token))
               : fmt::format("type `{}`", tokens.name(TokenKind::kRelationshipType, rule.token));
}

/// "property `k` = 1" or "properties `a` = 1, `b` = 2".
std::string values_text(const Tokens& tokens,
                        const ConstraintRule& rule,
                        std::span<const PropertyEntry> properties) {
    std::string out = rule.properties.size() == 1 ? "property " : "properties ";
    std::string_view separator;
    for (const PropertyKeyId key : rule.properties) {
        const Value* value = find_property(properties, key);
        out += fmt::format("{}`{}` = {}",
                           separator,
                           tokens.name(key),
                           value != nullptr ? to_cypher_text(*value) : "NO_VALUE");
        separator = ", ";
    }
    return out;
}

/// "the property `p`" or "the properties (`a`, `b`)".
std::string names_text(const Tokens& tokens, const ConstraintRule& rule) {
    if (rule.properties.size() == 1) {
        return fmt::format("the property `{}`", tokens.name(rule.properties.front()));
    }
    std::string out = "the properties (";
    std::string_view separator;
    for (const PropertyKeyId key : rule.properties) {
        out += fmt::format("{}`{}`", separator, tokens.name(key));
        separator = ", ";
    }
    return out + ")";
}

IndexRule key_rule(const ConstraintRule& rule) {
    IndexRule out;
    out.entity = rule.entity;
    out.tokens = {rule.token};
    out.properties = rule.properties;
    return out;
}

/// The newest committed state, held still while it is looked at.
class NewestSnapshot {
public:
    explicit NewestSnapshot(Snapshots& snapshots)
        : snapshots_{snapshots}, at{snapshots.acquire()} {}
    ~NewestSnapshot() { snapshots_.release(at); }
    NewestSnapshot(const NewestSnapshot&) = delete;
    NewestSnapshot& operator=(const NewestSnapshot&) = delete;

private:
    Snapshots& snapshots_;

public:
    const LogIndex at;
};

/// All that is kept of each entity of a label while their keys are compared: a label may have many millions. Where two hashes
/// meet, the keys decide.
struct KeyHolder {
    std::uint64_t hash;
    std::uint64_t id;
    auto operator<=>(const KeyHolder&) const = default;
};

template <class Id, class Cursor, class Visit>
Result<> each_id(Cursor& cursor, Visit&& visit) {
    std::array<Id, 256> ids;
    std::size_t count = 0;
    do {
        count = cursor.next(ids);
        for (std::size_t i = 0; i < count; ++i) {
            NORNIC_TRY(visit(ids[i]));
        }
    } while (count == ids.size());
    return success();
}

template <class Data>
bool has_token(const Data& data, std::uint32_t token) {
    if constexpr (std::is_same_v<Data, NodeData>) {
        return data.has_label(LabelId{token});
    } else {
        return data.type.value == token;
    }
}

}  // namespace

Result<> TransactionImpl::check_unique(NodeId id,
                                       const NodeData& data,
                                       std::optional<LabelId> label,
                                       std::optional<PropertyKeyId> key) {
    for (const ConstraintRule& rule : rules_->constraints) {
        if (!is_unique(rule) || rule.entity != EntityKind::kNode ||
            !data.has_label(LabelId{rule.token}) || (label && label->value != rule.token) ||
            (key && std::find(rule.properties.begin(), rule.properties.end(), *key) ==
                        rule.properties.end())) {
            continue;
        }
        NORNIC_TRY(check_unique_rule(rule, id.value, data.properties));
    }
    return success();
}

Result<> TransactionImpl::check_unique(RelId id,
                                       const RelData& data,
                                       std::optional<PropertyKeyId> key) {
    for (const ConstraintRule& rule : rules_->constraints) {
        if (!is_unique(rule) || rule.entity != EntityKind::kRelationship ||
            rule.token != data.type.value ||
            (key && std::find(rule.properties.begin(), rule.properties.end(), *key) ==
                        rule.properties.end())) {
            continue;
        }
        NORNIC_TRY(check_unique_rule(rule, id.value, data.properties));
    }
    return success();
}

Result<> TransactionImpl::check_unique_rule(const ConstraintRule& rule,
                                            std::uint64_t id,
                                            std::span<const PropertyEntry> properties) {
    const auto latest = database_->indexes();
    if (database_->schema.version() != rules_->version) {
        // An entry that came from elsewhere waits for no lock of ours. Looked at after the indexes, which go last.
        const auto newest = database_->schema.schema();
        if (std::ranges::find(newest->constraints, rule.id, &ConstraintRule::id) == newest->constraints.end()) {
            return fail(ErrorCode::kConflict,
                        fmt::format("Constraint `{}` was dropped after this transaction began to write. Run the whole "
                                    "transaction again.",
                                    rule.name));
        }
    }
    IndexHandle* handle = latest->find(rule.owned_index.value_or(SchemaRuleId{}));
    if (handle == nullptr || !holds_up(handle->rule, rule)) {
        // Another region dropped the constraint meanwhile, or its rule has the place of the index: nothing holds it up then, and
        // the conflict log says so (GraphMerge::note_unenforced()).
        return success();
    }
    std::string key;
    if (!index_key_of(handle->rule, properties, key)) {
        return success();  // a missing value is never a duplicate
    }
    if (!handle->online) {
        if (const Result<> online = await_index(handle->rule.id, [this] { return killed(); }); !online) {
            return killed() ? kill_reason().value() : online.error();
        }
    }
    NORNIC_TRY(lock(LockKey::index_key(database_->info.id, hash_index_key(rule.id.value, key)),
                    LockMode::kExclusive));
    const auto violation = [&](std::uint64_t other) {
        return fail(ErrorCode::kConstraintViolation,
                    fmt::format("{} already exists with {} and {}",
                                entity_text(rule.entity, other),
                                token_text(tokens(), rule),
                                values_text(tokens(), rule, properties)));
    };
    const auto same_key = [&](const auto* data) {
        std::string other_key;
        return data != nullptr && has_token(*data, rule.token) &&
               index_key_of(handle->rule, data->properties, other_key) && other_key == key;
    };

    const bool nodes = rule.entity == EntityKind::kNode;
    const auto& entries = own_entries(*handle).entries;
    for (auto at = entries.lower_bound({key, 0}); at != entries.end() && at->first == key; ++at) {
        if (at->second != id &&
            (nodes ? same_key(own(NodeId{at->second})) : same_key(own(RelId{at->second})))) {
            return violation(at->second);
        }
    }

    std::vector<std::uint64_t> candidates;
    NORNIC_TRY(handle->index.seek_equals(key, candidates));
    const NewestSnapshot newest{engine_.snapshots()};
    for (const std::uint64_t other : candidates) {
        if (other == id || (nodes ? changed(NodeId{other}) : changed(RelId{other}))) {
            continue;  // what this transaction made of it was looked at above
        }
        bool taken = false;
        bool seen = false;
        const auto look = [&](const auto& slots) {
            const auto& slot = slots[slot_of(other)];
            const auto* version = visible_version(slot, newest.at);
            taken = version != nullptr && same_key(&(*version)->data);
            seen = taken && visible_version(slot, snapshot_) == version;
        };
        if (nodes) {
            database_->nodes.read(page_of(other), look);
        } else {
            database_->relationships.read(page_of(other), look);
        }
        if (taken && seen) {
            return violation(other);
        }
        if (taken) {
            // Committed after this snapshot. Run again, it is either matched or reported as a
            // duplicate.
            return conflict(nodes ? "Node" : "Relationship", other);
        }
    }
    return success();
}

// ---- Existence and property types ----

Result<> TransactionImpl::check_required_rule(const ConstraintRule& rule,
                                              std::uint64_t id,
                                              std::span<const PropertyEntry> properties) const {
    for (const PropertyKeyId key : rule.properties) {
        const Value* value = find_property(properties, key);
        if (rule.type == ConstraintType::kPropertyType) {
            if (value != nullptr && !has_type(*value, rule.property_types)) {
                return fail(ErrorCode::kConstraintViolation,
                            fmt::format("{} with {} required the property `{}` to be of type `{}`, "
                                        "but was of type `{}`.",
                                        entity_text(rule.entity, id),
                                        token_text(tokens(), rule),
                                        tokens().name(key),
                                        to_string(rule.property_types),
                                        stored_type_name(*value)));
            }
        } else if (value == nullptr) {
            return fail(ErrorCode::kConstraintViolation,
                        fmt::format("{} with {} must have {}",
                                    entity_text(rule.entity, id),
                                    token_text(tokens(), rule),
                                    names_text(tokens(), rule)));
        }
    }
    return success();
}

Result<> TransactionImpl::check_required(NodeId id, const NodeData& data) {
    for (const ConstraintRule& rule : rules_->constraints) {
        if (rule.type != ConstraintType::kUnique && rule.entity == EntityKind::kNode &&
            data.has_label(LabelId{rule.token})) {
            NORNIC_TRY(check_required_rule(rule, id.value, data.properties));
        }
    }
    return success();
}

Result<> TransactionImpl::check_required(RelId id, const RelData& data) {
    for (const ConstraintRule& rule : rules_->constraints) {
        if (rule.type != ConstraintType::kUnique && rule.entity == EntityKind::kRelationship &&
            rule.token == data.type.value) {
            NORNIC_TRY(check_required_rule(rule, id.value, data.properties));
        }
    }
    return success();
}

Result<> TransactionImpl::check_all_required() {
    if (!rules_ ||
        std::none_of(
            rules_->constraints.begin(), rules_->constraints.end(), [](const ConstraintRule& rule) {
                return rule.type != ConstraintType::kUnique;
            })) {
        return success();
    }
    Result<> checked = success();
    created_nodes_.each([&](std::uint64_t id, const auto& item) {
        if (checked && !item.deleted) {
            checked = check_required(NodeId{id}, *item.data);
        }
    });
    created_rels_.each([&](std::uint64_t id, const auto& item) {
        if (checked && !item.deleted) {
            checked = check_required(RelId{id}, *item.data);
        }
    });
    NORNIC_TRY(std::move(checked));
    for (const auto& [id, change] : node_changes_) {
        if (!change.deleted) {
            NORNIC_TRY(check_required(id, *change.data));
        }
    }
    for (const auto& [id, change] : rel_changes_) {
        if (!change.deleted) {
            NORNIC_TRY(check_required(id, *change.data));
        }
    }
    return success();
}

// ---- A new constraint over what is there ----

Result<> TransactionImpl::validate_existing(const ConstraintRule& rule) {
    const IndexRule keys = key_rule(rule);
    const bool nodes = rule.entity == EntityKind::kNode;
    std::deque<KeyHolder> holders;
    std::string key;
    const auto refused = [&](std::string_view why) {
        return fail(
            ErrorCode::kConstraintCreationFailed,
            fmt::format(
                "Unable to create {}:\n{}. Note that only the first found violation is shown.",
                description(rule, tokens(), false),
                why));
    };
    const auto visit = [&](std::uint64_t id, const auto& look) -> Result<> {
        if (killed()) {
            return kill_reason().value();
        }
        if (nodes) {
            const NodePtr data = node(NodeId{id});
            return data ? look(id, data->properties) : success();
        }
        const RelPtr data = relationship(RelId{id});
        return data ? look(id, data->properties) : success();
    };

    const std::size_t charged_before = memory_bytes_;
    const auto check = [&](std::uint64_t id,
                           std::span<const PropertyEntry> properties) -> Result<> {
        if (rule.type != ConstraintType::kUnique) {
            if (const Result<> fits = check_required_rule(rule, id, properties); !fits) {
                return refused(fits.error().message());
            }
        }
        if (is_unique(rule) && index_key_of(keys, properties, key)) {
            NORNIC_TRY(charge(sizeof(KeyHolder)));
            holders.push_back({hash_index_key(0, key), id});
        }
        return success();
    };
    const auto check_id = [&](auto id) { return visit(id.value, check); };
    if (nodes) {
        NORNIC_TRY(each_id<NodeId>(*scan_label(LabelId{rule.token}), check_id));
    } else {
        const RelTypeId type{rule.token};
        NORNIC_TRY(each_id<RelId>(*scan_relationships(std::span{&type, 1}), check_id));
    }

    std::sort(holders.begin(), holders.end());
    std::unordered_map<std::string, std::uint64_t> of_one_hash;
    const auto compare = [&](std::uint64_t id,
                             std::span<const PropertyEntry> properties) -> Result<> {
        if (!index_key_of(keys, properties, key)) {
            return success();
        }
        const auto [at, inserted] = of_one_hash.try_emplace(key, id);
        if (inserted) {
            return success();
        }
        return refused(fmt::format("Both {} and {} have the {} and {}",
                                   entity_text(rule.entity, at->second),
                                   entity_text(rule.entity, id),
                                   token_text(tokens(), rule),
                                   values_text(tokens(), rule, properties)));
    };
    for (auto from = holders.begin(); from != holders.end();) {
        const auto to = std::find_if(
            from, holders.end(), [&](const KeyHolder& holder) { return holder.hash != from->hash; });
        if (to - from > 1) {
            of_one_hash.clear();
            for (auto at = from; at != to; ++at) {
                NORNIC_TRY(visit(at->id, compare));
            }
        }
        from = to;
    }
    memory_bytes_ = charged_before;
    return success();
}

}  // namespace nornic::engine
