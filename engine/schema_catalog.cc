#include "engine/schema_catalog.h"

#include "base/check.h"
#include "base/hash.h"
#include "engine/owned_index.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::engine {
namespace {

constexpr std::uint8_t kRuleVersion = 1;
// What a rule read back may have at most; the DDL that made it allows far less.
constexpr std::uint64_t kTokensMax = 1024;
constexpr std::uint64_t kPropertiesMax = 1024;

std::string token_name(EntityKind entity, std::uint32_t token, const Tokens& tokens) {
    return std::string{tokens.name(
        entity == EntityKind::kNode ? TokenKind::kLabel : TokenKind::kRelationshipType, token)};
}

std::string shape_text(EntityKind entity,
                       const std::vector<std::uint32_t>& names,
                       const std::vector<PropertyKeyId>& keys,
                       const Tokens& tokens) {
    std::string text = entity == EntityKind::kNode ? "(" : "()-[";
    if (names.empty()) {
        text += entity == EntityKind::kNode ? ":<any-labels>" : ":<any-types>";
    }
    for (std::size_t i = 0; i < names.size(); ++i) {
        // Neo4j joins labels by ':' and types by '|'.
        text += i == 0 || entity == EntityKind::kNode ? ":" : "|";
        text += token_name(entity, names[i], tokens);
    }
    if (!keys.empty()) {
        text += " {";
        for (std::size_t i = 0; i < keys.size(); ++i) {
            text += i == 0 ? "" : ", ";
            text += tokens.name(keys[i]);
        }
        text += "}";
    }
    return text + (entity == EntityKind::kNode ? ")" : "]-()");
}

bool same_shape(const IndexRule& a, const IndexRule& b) {
    return a.type == b.type && a.entity == b.entity && a.tokens == b.tokens &&
           a.properties == b.properties;
}

bool same_place(const ConstraintRule& a, const ConstraintRule& b) {
    return a.entity == b.entity && a.token == b.token && a.properties == b.properties;
}

bool owns_index(const ConstraintRule& rule) {
    return rule.type == ConstraintType::kUnique || rule.type == ConstraintType::kKey;
}

/// Of two constraints on one place: a key and a uniqueness exclude each other, as both want the
/// index.
bool same_kind(const ConstraintRule& a, const ConstraintRule& b) {
    return a.type == b.type || (owns_index(a) && owns_index(b));
}

const ConstraintRule* owner_of(const Schema& schema, const IndexRule& index) {
    for (const ConstraintRule& c : schema.constraints) {
        if (holds_up(index, c)) {
            return &c;
        }
    }
    return nullptr;
}

std::string constraint_text(EntityKind entity,
                            std::uint32_t token,
                            const std::vector<PropertyKeyId>& keys,
                            const Tokens& tokens) {
    return shape_text(entity, {token}, keys, tokens);
}

/// A name that an index or a constraint has already.
Result<> check_name(const Schema& schema, std::string_view name) {
    if (schema.constraint_named(name) != nullptr) {
        return fail(ErrorCode::kConstraintAlreadyExists,
                    fmt::format("There already exists a constraint called '{}'.", name));
    }
    if (schema.index_named(name) != nullptr) {
        return fail(ErrorCode::kIndexAlreadyExists,
                    fmt::format("There already exists an index called '{}'.", name));
    }
    return success();
}

/// FNV-1a, and a last mix so that all 32 bits depend on all letters.
std::uint32_t name_hash(std::string_view text) noexcept {
    std::uint64_t h = fnv1a(text);
    h = (h ^ (h >> 29)) * 0xBF58476D1CE4E5B9ULL;
    return static_cast<std::uint32_t>(h >> 32);
}

/// A count that bytes may claim, against what could follow.
std::uint64_t read_count(ByteReader& reader,
                         std::uint64_t max,
                         Result<>& bad,
                         std::string_view what) {
    const std::uint64_t n = reader.get_varint();
    if (n > max) {
        bad = fail(ErrorCode::kCorruption,
                   fmt::format("a schema rule has {} {}, at most {} are possible", n, what, max));
        return 0;
    }
    return n;
}

template <class Enum>
Enum read_enum(ByteReader& reader, Enum last, Result<>& bad, std::string_view what) {
    const std::uint8_t v = reader.get_u8();
    if (v > static_cast<std::uint8_t>(last)) {
        bad = fail(ErrorCode::kCorruption,
                   fmt::format("a schema rule has {} {}, the last one known is {}",
                               what,
                               v,
                               static_cast<int>(last)));
        return Enum{};
    }
    return static_cast<Enum>(v);
}

void put_id(ByteWriter& out, const std::optional<SchemaRuleId>& id) {
    out.put_varint(id ? std::uint64_t{id->value} + 1 : 0);
}

std::uint32_t get_u32_varint(ByteReader& reader, Result<>& bad) {
    const std::uint64_t v = reader.get_varint();
    if (v > UINT32_MAX) {
        bad = fail(ErrorCode::kCorruption,
                   fmt::format("a schema rule has the id {}, ids have 32 bits", v));
        return 0;
    }
    return static_cast<std::uint32_t>(v);
}

std::optional<SchemaRuleId> get_id(ByteReader& reader, Result<>& bad) {
    const std::uint32_t v = get_u32_varint(reader, bad);
    return v == 0 ? std::nullopt : std::optional{SchemaRuleId{v - 1}};
}

void put_properties(ByteWriter& out, const std::vector<PropertyKeyId>& properties) {
    out.put_varint(properties.size());
    for (const PropertyKeyId key : properties) {
        out.put_varint(key.value);
    }
}

std::vector<PropertyKeyId> get_properties(ByteReader& reader, Result<>& bad) {
    std::vector<PropertyKeyId> out;
    for (std::uint64_t n = read_count(reader, kPropertiesMax, bad, "properties");
         n > 0 && reader.ok();
         --n) {
        out.emplace_back(get_u32_varint(reader, bad));
    }
    return out;
}

}  // namespace

// ---- Schema

const IndexView* Schema::find_index(EntityKind entity,
                                    std::uint32_t token,
                                    const std::vector<PropertyKeyId>& properties,
                                    IndexType type) const {
    for (const IndexView& view : indexes) {
        if (view.state == IndexState::kOnline && view.rule.type == type &&
            view.rule.entity == entity && view.rule.properties == properties &&
            std::ranges::find(view.rule.tokens, token) != view.rule.tokens.end()) {
            return &view;
        }
    }
    return nullptr;
}

const IndexView* Schema::index_named(std::string_view name) const {
    const auto found = std::ranges::find(
        indexes, name, [](const IndexView& view) -> std::string_view { return view.rule.name; });
    return found == indexes.end() ? nullptr : &*found;
}

const ConstraintRule* Schema::constraint_named(std::string_view name) const {
    const auto found =
        std::ranges::find(constraints, name, [](const ConstraintRule& rule) -> std::string_view {
            return rule.name;
        });
    return found == constraints.end() ? nullptr : &*found;
}

// ---- Texts

std::string_view index_type_name(IndexType type) noexcept {
    switch (type) {
        case IndexType::kRange:
            return "RANGE";
        case IndexType::kLookup:
            return "LOOKUP";
        case IndexType::kText:
            return "TEXT";
        case IndexType::kPoint:
            return "POINT";
        case IndexType::kFulltext:
            return "FULLTEXT";
        case IndexType::kVector:
            return "VECTOR";
    }
    return "";
}

std::string_view index_provider_name(IndexType type) noexcept {
    switch (type) {
        case IndexType::kRange:
            return "range-1.0";
        case IndexType::kLookup:
            return "token-lookup-1.0";
        case IndexType::kText:
            return "text-2.0";
        case IndexType::kPoint:
            return "point-1.0";
        case IndexType::kFulltext:
            return "fulltext-1.0";
        case IndexType::kVector:
            return "vector-2.0";
    }
    return "";
}

std::string_view constraint_type_name(ConstraintType type, EntityKind entity) noexcept {
    const bool node = entity == EntityKind::kNode;
    switch (type) {
        case ConstraintType::kUnique:
            return node ? "UNIQUENESS" : "RELATIONSHIP UNIQUENESS";
        case ConstraintType::kKey:
            return node ? "NODE KEY" : "RELATIONSHIP KEY";
        case ConstraintType::kExists:
            return node ? "NODE PROPERTY EXISTENCE" : "RELATIONSHIP PROPERTY EXISTENCE";
        case ConstraintType::kPropertyType:
            return node ? "NODE PROPERTY TYPE" : "RELATIONSHIP PROPERTY TYPE";
    }
    return "";
}

std::string schema_text(const IndexRule& rule, const Tokens& tokens) {
    return shape_text(rule.entity, rule.tokens, rule.properties, tokens);
}

std::string schema_text(const ConstraintRule& rule, const Tokens& tokens) {
    return constraint_text(rule.entity, rule.token, rule.properties, tokens);
}

std::string description(const IndexRule& rule, const Tokens& tokens) {
    std::string text =
        fmt::format("Index( id={}, name='{}', type='{}', schema={}, indexProvider='{}'",
                    rule.id.value,
                    rule.name,
                    index_type_name(rule.type),
                    schema_text(rule, tokens),
                    index_provider_name(rule.type));
    if (rule.owning_constraint) {
        text += fmt::format(", owningConstraint={}", rule.owning_constraint->value);
    }
    return text + " )";
}

std::string description(const ConstraintRule& rule, const Tokens& tokens, bool with_id) {
    std::string text = "Constraint( ";
    if (with_id) {
        text += fmt::format("id={}, ", rule.id.value);
    }
    // A constraint that failed to be made has no name worth showing either: Neo4j leaves both out.
    if (with_id || !rule.name.empty()) {
        text += fmt::format("name='{}', ", rule.name);
    }
    text += fmt::format("type='{}', schema={}",
                        constraint_type_name(rule.type, rule.entity),
                        schema_text(rule, tokens));
    if (with_id && rule.owned_index) {
        text += fmt::format(", ownedIndex={}", rule.owned_index->value);
    }
    return text + " )";
}

std::string default_name(const IndexRule& rule, const Tokens& tokens) {
    const std::string said =
        fmt::format("{} {}", index_type_name(rule.type), schema_text(rule, tokens));
    return fmt::format("index_{:08x}", name_hash(said));
}

std::string default_name(const ConstraintRule& rule, const Tokens& tokens) {
    const std::string said = fmt::format("{} {} {:x}",
                                         constraint_type_name(rule.type, rule.entity),
                                         schema_text(rule, tokens),
                                         rule.property_types.bits);
    return fmt::format("constraint_{:08x}", name_hash(said));
}

// ---- Checks

Result<> check_new_index(const Schema& schema, const IndexRule& rule, const Tokens& tokens) {
    NORNIC_CHECK(!rule.name.empty(), "an index without a name");
    for (const IndexView& view : schema.indexes) {
        if (!same_shape(view.rule, rule)) {
            continue;
        }
        const ConstraintRule* owner = owner_of(schema, view.rule);
        if (owner != nullptr) {
            return fail(ErrorCode::kConstraintAlreadyExists,
                        fmt::format("There is a uniqueness constraint on {}, so an index is "
                                    "already created that matches this.",
                                    schema_text(rule, tokens)));
        }
        if (view.rule.name == rule.name) {
            return fail(ErrorCode::kEquivalentSchemaRuleAlreadyExists,
                        fmt::format("An equivalent index already exists, '{}'.",
                                    description(view.rule, tokens)));
        }
        return fail(ErrorCode::kIndexAlreadyExists,
                    fmt::format("There already exists an index {}.", schema_text(rule, tokens)));
    }
    return check_name(schema, rule.name);
}

Result<> check_new_constraint(const Schema& schema,
                              const ConstraintRule& rule,
                              const Tokens& tokens) {
    NORNIC_CHECK(!rule.name.empty(), "a constraint without a name");
    for (const ConstraintRule& other : schema.constraints) {
        if (!same_place(other, rule) || !same_kind(other, rule)) {
            continue;
        }
        if (other.type == rule.type && other.property_types == rule.property_types &&
            other.name == rule.name) {
            return fail(ErrorCode::kEquivalentSchemaRuleAlreadyExists,
                        fmt::format("An equivalent constraint already exists, '{}'.",
                                    description(other, tokens)));
        }
        const bool conflicts =
            other.type == rule.type && other.property_types != rule.property_types;
        return fail(ErrorCode::kConstraintAlreadyExists,
                    fmt::format("{}onstraint already exists: {}",
                                conflicts ? "Conflicting c" : "C",
                                description(other, tokens)));
    }
    if (owns_index(rule)) {
        for (const IndexView& view : schema.indexes) {
            if (view.rule.type == IndexType::kRange && view.rule.entity == rule.entity &&
                view.rule.tokens == std::vector{rule.token} &&
                view.rule.properties == rule.properties) {
                return fail(ErrorCode::kIndexAlreadyExists,
                            fmt::format("There already exists an index {}. A constraint cannot be "
                                        "created until the index has been dropped.",
                                        schema_text(view.rule, tokens)));
            }
        }
    }
    return check_name(schema, rule.name);
}

Result<const IndexRule*> check_drop_index(const Schema& schema, std::string_view name) {
    const IndexView* view = schema.index_named(name);
    if (view == nullptr) {
        return fail(ErrorCode::kIndexDropFailed,
                    fmt::format("Unable to drop index called `{}`. There is no such index.", name));
    }
    if (const ConstraintRule* owner = owner_of(schema, view->rule); owner != nullptr) {
        return fail(
            ErrorCode::kIndexDropFailed,
            fmt::format("Unable to drop index: Index belongs to constraint: `{}`", owner->name));
    }
    return &view->rule;
}

Result<const ConstraintRule*> check_drop_constraint(const Schema& schema, std::string_view name) {
    const ConstraintRule* rule = schema.constraint_named(name);
    if (rule == nullptr) {
        return fail(ErrorCode::kConstraintDropFailed,
                    fmt::format("Unable to drop constraint `{0}`: No such constraint {0}.", name));
    }
    return rule;
}

// ---- Stored form

void encode_rule(const IndexRule& rule, ByteWriter& out) {
    out.put_u8(kRuleVersion);
    out.put_varint(rule.id.value);
    out.put_string(rule.name);
    out.put_u8(static_cast<std::uint8_t>(rule.type));
    out.put_u8(static_cast<std::uint8_t>(rule.entity));
    out.put_varint(rule.tokens.size());
    for (const std::uint32_t token : rule.tokens) {
        out.put_varint(token);
    }
    put_properties(out, rule.properties);
    put_id(out, rule.owning_constraint);
    out.put_string(rule.options);
}

void encode_rule(const ConstraintRule& rule, ByteWriter& out) {
    out.put_u8(kRuleVersion);
    out.put_varint(rule.id.value);
    out.put_string(rule.name);
    out.put_u8(static_cast<std::uint8_t>(rule.type));
    out.put_u8(static_cast<std::uint8_t>(rule.entity));
    out.put_varint(rule.token);
    put_properties(out, rule.properties);
    out.put_varint(rule.property_types.bits);
    put_id(out, rule.owned_index);
}

Result<IndexRule> decode_index_rule(ByteReader& reader) {
    Result<> bad = success();
    IndexRule rule;
    if (const std::uint8_t version = reader.get_u8(); reader.ok() && version != kRuleVersion) {
        return fail(
            ErrorCode::kCorruption,
            fmt::format("an index rule has version {}, {} was expected", version, kRuleVersion));
    }
    rule.id = SchemaRuleId{get_u32_varint(reader, bad)};
    rule.name = reader.get_string();
    rule.type = read_enum(reader, IndexType::kVector, bad, "index type");
    rule.entity = read_enum(reader, EntityKind::kRelationship, bad, "entity kind");
    for (std::uint64_t n = read_count(reader, kTokensMax, bad, "labels"); n > 0 && reader.ok();
         --n) {
        rule.tokens.push_back(get_u32_varint(reader, bad));
    }
    rule.properties = get_properties(reader, bad);
    rule.owning_constraint = get_id(reader, bad);
    rule.options = reader.get_string();
    NORNIC_TRY(std::move(bad));
    NORNIC_TRY(reader.finish("an index rule"));
    return rule;
}

Result<ConstraintRule> decode_constraint_rule(ByteReader& reader) {
    Result<> bad = success();
    ConstraintRule rule;
    if (const std::uint8_t version = reader.get_u8(); reader.ok() && version != kRuleVersion) {
        return fail(
            ErrorCode::kCorruption,
            fmt::format(
                "a constraint rule has version {}, {} was expected", version, kRuleVersion));
    }
    rule.id = SchemaRuleId{get_u32_varint(reader, bad)};
    rule.name = reader.get_string();
    rule.type = read_enum(reader, ConstraintType::kPropertyType, bad, "constraint type");
    rule.entity = read_enum(reader, EntityKind::kRelationship, bad, "entity kind");
    rule.token = get_u32_varint(reader, bad);
    rule.properties = get_properties(reader, bad);
    rule.property_types.bits = reader.get_varint();
    rule.owned_index = get_id(reader, bad);
    NORNIC_TRY(std::move(bad));
    NORNIC_TRY(reader.finish("a constraint rule"));
    return rule;
}

// ---- Catalogue

SchemaCatalog::SchemaCatalog(std::string key_prefix) : prefix_{std::move(key_prefix)} {
    auto first = std::make_shared<Schema>();
    first->version = 1;
    schema_ = std::move(first);
}

SchemaCatalog::~SchemaCatalog() = default;

std::vector<IndexRule> SchemaCatalog::initial_rules() {
    // The names Neo4j gives them in every database.
    IndexRule labels;
    labels.id = SchemaRuleId{1};
    labels.name = "index_343aff4e";
    labels.type = IndexType::kLookup;
    IndexRule types = labels;
    types.id = SchemaRuleId{2};
    types.name = "index_f7700477";
    types.entity = EntityKind::kRelationship;
    return {labels, types};
}

/// Runs `edit` on a copy and swaps it in if it says that something changed.
template <class Change>
void SchemaCatalog::change(Change&& edit) {
    auto next = std::make_shared<Schema>(*schema_);
    if (edit(*next)) {
        ++next->version;
        version_.store(next->version, std::memory_order_release);
        schema_ = std::move(next);
    }
}

void SchemaCatalog::mark(SchemaRuleId id) {
    dirty_.insert(id.value);
    next_id_ = std::max(next_id_, id.value + 1);
}

Result<> SchemaCatalog::load(Kv& kv) {
    Schema loaded;
    std::uint32_t next_id = 1;
    const std::unique_ptr<KvCursor> cursor = kv.new_cursor();
    for (cursor->seek(prefix_); cursor->valid() && cursor->key().starts_with(prefix_);
         cursor->next()) {
        const std::string_view rest = cursor->key().substr(prefix_.size());
        ByteReader reader{cursor->value()};
        if (rest == "n") {
            next_id = std::max(next_id, reader.get_u32());
        } else if (rest.starts_with('i')) {
            IndexView view;
            view.state = IndexState::kPopulating;
            const std::uint8_t state = reader.get_u8();
            reader.get_string();  // why it failed: a start is a new attempt
            NORNIC_TRY(view.rule, decode_index_rule(reader));
            if (state == static_cast<std::uint8_t>(IndexState::kOnline)) {
                view.state = IndexState::kOnline;
            }
            view.population_percent = view.state == IndexState::kOnline ? 100.0 : 0.0;
            next_id = std::max(next_id, view.rule.id.value + 1);
            loaded.indexes.push_back(std::move(view));
        } else if (rest.starts_with('c')) {
            NORNIC_TRY(ConstraintRule rule, decode_constraint_rule(reader));
            next_id = std::max(next_id, rule.id.value + 1);
            loaded.constraints.push_back(std::move(rule));
        } else {
            return fail(ErrorCode::kCorruption,
                        fmt::format("the schema holds a row of unknown kind ({} bytes of key)",
                                    rest.size()));
        }
        NORNIC_TRY(reader.finish("a schema row"));
    }
    NORNIC_TRY(cursor->status());
    const std::lock_guard lock{mutex_};
    next_id_ = next_id;
    counters_.clear();
    for (const IndexView& view : loaded.indexes) {
        counters_[view.rule.id.value] = std::make_shared<IndexCounters>();
    }
    change([&](Schema& schema) {
        loaded.version = schema.version;
        schema = std::move(loaded);
        return true;
    });
    return success();
}

std::shared_ptr<const Schema> SchemaCatalog::schema() const {
    const std::lock_guard lock{mutex_};
    return schema_;
}

Schema SchemaCatalog::schema_with_counters() const {
    const std::lock_guard lock{mutex_};
    Schema out = *schema_;
    for (IndexView& view : out.indexes) {
        const IndexCounters& c = *counters_.at(view.rule.id.value);
        view.reads = c.reads.load(std::memory_order_relaxed);
        view.last_read_ms = c.last_read_ms.load(std::memory_order_relaxed);
    }
    return out;
}

std::shared_ptr<IndexCounters> SchemaCatalog::counters(SchemaRuleId index) const {
    const std::lock_guard lock{mutex_};
    const auto found = counters_.find(index.value);
    return found == counters_.end() ? nullptr : found->second;
}

SchemaRuleId SchemaCatalog::next_id() const {
    const std::lock_guard lock{mutex_};
    return SchemaRuleId{next_id_};
}

void SchemaCatalog::put_index(IndexRule rule, IndexState state) {
    const std::lock_guard lock{mutex_};
    const SchemaRuleId id = rule.id;
    change([&](Schema& schema) {
        const auto found = std::ranges::find(
            schema.indexes, id, [](const IndexView& view) { return view.rule.id; });
        if (found != schema.indexes.end()) {
            found->rule = std::move(rule);
            return true;
        }
        IndexView view;
        view.rule = std::move(rule);
        view.state = state;
        view.population_percent = state == IndexState::kOnline ? 100.0 : 0.0;
        const auto place = std::ranges::upper_bound(
            schema.indexes, id, {}, [](const IndexView& v) { return v.rule.id; });
        schema.indexes.insert(place, std::move(view));
        counters_[id.value] = std::make_shared<IndexCounters>();
        return true;
    });
    mark(id);
}

void SchemaCatalog::put_constraint(ConstraintRule rule) {
    const std::lock_guard lock{mutex_};
    const SchemaRuleId id = rule.id;
    change([&](Schema& schema) {
        std::erase_if(schema.constraints, [id](const ConstraintRule& c) { return c.id == id; });
        const auto place =
            std::ranges::upper_bound(schema.constraints, id, {}, &ConstraintRule::id);
        schema.constraints.insert(place, std::move(rule));
        return true;
    });
    mark(id);
}

bool SchemaCatalog::drop(SchemaRuleId id) {
    const std::lock_guard lock{mutex_};
    bool dropped = false;
    change([&](Schema& schema) {
        dropped = std::erase_if(schema.indexes,
                                [id](const IndexView& view) { return view.rule.id == id; }) > 0;
        dropped = std::erase_if(schema.constraints,
                                [id](const ConstraintRule& c) { return c.id == id; }) > 0 ||
                  dropped;
        return dropped;
    });
    counters_.erase(id.value);
    // Also where it was not: an erase that is written twice does no harm.
    mark(id);
    return dropped;
}

/// Swaps in a Schema with an edited view of the index, if there is such an index.
template <class Change>
void SchemaCatalog::change_index(SchemaRuleId index, bool raises_version, Change&& edit) {
    auto next = std::make_shared<Schema>(*schema_);
    const auto found =
        std::ranges::find(next->indexes, index, [](const IndexView& view) { return view.rule.id; });
    if (found == next->indexes.end()) {
        return;
    }
    edit(*found);
    if (raises_version) {
        ++next->version;
        version_.store(next->version, std::memory_order_release);
        mark(index);
    }
    schema_ = std::move(next);
}

void SchemaCatalog::set_progress(SchemaRuleId index, double percent) {
    const std::lock_guard lock{mutex_};
    change_index(index, false, [percent](IndexView& view) {
        if (view.state == IndexState::kPopulating) {
            view.population_percent = std::clamp(percent, 0.0, 100.0);
        }
    });
}

void SchemaCatalog::set_statistics(SchemaRuleId index,
                                   std::uint64_t entries,
                                   std::uint64_t distinct_values) {
    const std::lock_guard lock{mutex_};
    change_index(index, false, [entries, distinct_values](IndexView& view) {
        view.entries = entries;
        view.distinct_values = distinct_values;
    });
}

void SchemaCatalog::set_online(SchemaRuleId index) {
    const std::lock_guard lock{mutex_};
    change_index(index, true, [](IndexView& view) {
        view.state = IndexState::kOnline;
        view.population_percent = 100.0;
        view.failure.clear();
    });
}

void SchemaCatalog::set_failed(SchemaRuleId index, std::string failure) {
    const std::lock_guard lock{mutex_};
    change_index(index, true, [&](IndexView& view) {
        view.state = IndexState::kFailed;
        view.failure = std::move(failure);
    });
}

void SchemaCatalog::begin_checkpoint() {
    const std::lock_guard lock{mutex_};
    writing_.merge(dirty_);
    dirty_.clear();
    writing_schema_ = schema_;
    writing_next_id_ = next_id_;
}

void SchemaCatalog::write_checkpoint(KvBatch& batch) {
    const std::lock_guard lock{mutex_};
    if (writing_.empty()) {
        return;
    }
    std::string value;
    ByteWriter{value}.put_u32(writing_next_id_);
    batch.put(prefix_ + "n", value);
    for (const std::uint32_t id : writing_) {
        const auto key = [&](char kind) {
            std::string out = prefix_ + kind;
            ByteWriter{out}.put_be32(id);
            return out;
        };
        const auto index = std::ranges::find(writing_schema_->indexes,
                                             SchemaRuleId{id},
                                             [](const IndexView& view) { return view.rule.id; });
        const auto constraint =
            std::ranges::find(writing_schema_->constraints, SchemaRuleId{id}, &ConstraintRule::id);
        value.clear();
        ByteWriter writer{value};
        if (index != writing_schema_->indexes.end()) {
            writer.put_u8(static_cast<std::uint8_t>(index->state));
            writer.put_string(index->failure);
            encode_rule(index->rule, writer);
            batch.put(key('i'), value);
        } else {
            batch.erase(key('i'));
        }
        value.clear();
        if (constraint != writing_schema_->constraints.end()) {
            encode_rule(*constraint, writer);
            batch.put(key('c'), value);
        } else {
            batch.erase(key('c'));
        }
    }
}

void SchemaCatalog::end_checkpoint(bool written) {
    const std::lock_guard lock{mutex_};
    if (!written) {
        dirty_.merge(writing_);
    }
    writing_.clear();
    writing_schema_.reset();
}

}  // namespace nornic::engine
