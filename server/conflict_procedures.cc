// The conflict log for people: SHOW CONFLICTS and db.conflicts.*. Each conflict is a row of the catalogue that merging left
// there (docs/modes/multi_region.md, "The conflict log"); to resolve one is an ordinary transaction that writes the cell and
// closes the row.
#include "base/hybrid_clock.h"
#include "engine/region.h"
#include "server/instance.h"
#include "server/procedures.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::server {
namespace {

using cypher::ProcedureCall;
using cypher::ProcedureField;
using cypher::ProcedureMode;
using cypher::ProcedureRegistry;

constexpr std::int64_t kListedByDefault = 100;
constexpr std::size_t kIdBytesMax = 64;

/// What a row holds, whatever version wrote it: absent parts are null.
class Conflict {
public:
    Conflict(std::string_view key, Value row) : id_{key.substr(engine::kConflictPrefix.size())}, row_{std::move(row)} {}

    [[nodiscard]] const std::string& id() const noexcept { return id_; }
    [[nodiscard]] std::string key() const { return std::string{engine::kConflictPrefix} + id_; }
    [[nodiscard]] Value get(std::string_view name) const { return in(row_, name); }
    [[nodiscard]] std::string text(std::string_view name) const {
        const Value value = get(name);
        return value.is_string() ? std::string{value.as_string()} : std::string{};
    }
    /// Of "winner" or "loser".
    [[nodiscard]] Value of(std::string_view side, std::string_view name) const { return in(get(side), name); }
    [[nodiscard]] std::uint64_t time() const {
        const Value at = get("at");
        return at.is(ValueType::kInteger) && at.as_integer() > 0 ? static_cast<std::uint64_t>(at.as_integer()) : 0;
    }
    [[nodiscard]] bool open() const { return text("state") == "open"; }
    [[nodiscard]] std::optional<std::uint64_t> entity_id() const {
        const Value id = get("id");
        return id.is(ValueType::kInteger) && id.as_integer() >= 0 ? std::optional{static_cast<std::uint64_t>(id.as_integer())} : std::nullopt;
    }
    [[nodiscard]] bool of_node() const { return text("entity") != "relationship"; }
    [[nodiscard]] Map row() const { return row_.is_map() ? row_.as_map() : Map{}; }

private:
    static Value in(const Value& map, std::string_view name) {
        const Value* found = map.is_map() ? map.as_map().find(name) : nullptr;
        return found == nullptr ? Value{} : *found;
    }

    std::string id_;
    Value row_;
};

Value instant(std::uint64_t hybrid_time) {
    constexpr std::uint64_t kMsPerSecond = 1000;
    constexpr std::int32_t kNanosPerMs = 1'000'000;
    if (hybrid_time == 0) {
        return {};
    }
    const std::uint64_t ms = wall_ms_of(hybrid_time);
    DateTime out;
    out.seconds = static_cast<std::int64_t>(ms / kMsPerSecond);
    out.nanoseconds = static_cast<std::int32_t>(ms % kMsPerSecond) * kNanosPerMs;
    return Value{out};
}

Value instant(const Value& hybrid_time) {
    return hybrid_time.is(ValueType::kInteger) && hybrid_time.as_integer() > 0 ? instant(static_cast<std::uint64_t>(hybrid_time.as_integer()))
                                                                    : Value{};
}

/// A region's name, where the row has its number.
Value region_name(const modes::ClusterView& view, const Value& region) {
    if (region.is(ValueType::kInteger)) {
        for (const modes::RegionView& known : view.regions) {
            if (static_cast<std::int64_t>(known.number) == region.as_integer()) {
                return Value{known.name};
            }
        }
    }
    return region;
}

std::vector<ProcedureField> columns() {
    return {field("id", "STRING"),
            field("kind", "STRING"),
            field("state", "STRING"),
            field("at", "ZONED DATETIME"),
            field("entity", "STRING"),
            field("elementId", "STRING"),
            field("key", "STRING"),
            field("winner", "ANY"),
            field("winnerRegion", "STRING"),
            field("loser", "ANY"),
            field("loserRegion", "STRING"),
            extra("database", "STRING"),
            extra("winnerAt", "ZONED DATETIME"),
            extra("winnerTime", "INTEGER"),
            extra("loserAt", "ZONED DATETIME"),
            extra("loserTime", "INTEGER"),
            extra("resolution", "STRING"),
            extra("resolvedBy", "STRING"),
            extra("resolvedAt", "ZONED DATETIME"),
            extra("metadata", "MAP")};
}

/// {winner: …, loser: …}, of those whose transactions had any.
Value metadata_of(const Conflict& conflict) {
    Map out;
    for (const std::string_view side : {"winner", "loser"}) {
        if (Value known = conflict.of(side, "metadata"); !known.is_null()) {
            out.set(side, std::move(known));
        }
    }
    return out.empty() ? Value{} : Value{std::move(out)};
}

std::vector<Value> cells(const Instance& instance, const modes::ClusterView& view, const ProcedureCall& call, const Conflict& c) {
    Value element;
    if (const auto id = c.entity_id(); id && c.text("database") != "system") {
        element = Value{fmt::format("{}:{}:{}", c.of_node() ? 4 : 5, call.context.reader->element_uuid(), *id)};
    }
    // One graph stands under one name for clients, whatever it was made under.
    const Value database = c.text("database") == "system" ? Value{"system"} : Value{instance.settings().default_database};
    return {Value{c.id()},
            c.get("kind"),
            c.get("state"),
            instant(c.time()),
            c.get("entity"),
            element,
            c.get("cell"),
            c.of("winner", "value"),
            region_name(view, c.of("winner", "region")),
            c.of("loser", "value"),
            region_name(view, c.of("loser", "region")),
            database,
            instant(c.of("winner", "time")),
            c.of("winner", "time"),
            instant(c.of("loser", "time")),
            c.of("loser", "time"),
            c.get("resolution"),
            c.get("resolvedBy"),
            c.get("resolvedAt"),
            metadata_of(c)};
}

/// The newest first.
std::vector<Conflict> all_conflicts(Instance& instance) {
    std::vector<Conflict> out;
    for (auto& [key, row] : instance.engine().catalog_range(engine::kConflictPrefix)) {
        out.emplace_back(key, std::move(row));
    }
    std::ranges::reverse(out);
    return out;
}

Result<Conflict> find_conflict(Instance& instance, const Value& id) {
    if (!id.is_string() || id.as_string().size() > kIdBytesMax) {
        return fail(ErrorCode::kArgumentError, "A conflict is named by its id, as SHOW CONFLICTS prints it.");
    }
    const std::string key = std::string{engine::kConflictPrefix} + std::string{id.as_string()};
    auto row = instance.engine().catalog(key);
    if (!row) {
        return fail(ErrorCode::kArgumentError, fmt::format("There is no conflict '{}' in the log.", id.as_string()));
    }
    return Conflict{key, *std::move(row)};
}

/// Writes `value` to the cell that the conflict was about. `expected`: the values it may have now.
class Resolver {
public:
    Resolver(const Conflict& conflict, engine::Transaction& transaction) : conflict_{conflict}, transaction_{transaction} {}

    [[nodiscard]] bool has_cell() const { return conflict_.text("kind") == "property" || conflict_.text("kind") == "label"; }

    /// What is there now; kEntityNotFound once the entity is deleted, which is final.
    Result<Value> current() {
        NORNIC_TRY(const std::uint64_t id, entity());
        const std::string cell = conflict_.text("cell");
        if (conflict_.text("kind") == "label") {
            const auto label = transaction_.tokens().label(cell);
            return Value{label && transaction_.node(NodeId{id})->has_label(*label)};
        }
        const auto key = transaction_.tokens().property_key(cell);
        const auto of = [&](const auto& data) {
            const Value* found = key ? data->property(*key) : nullptr;
            return found == nullptr ? Value{} : *found;
        };
        return conflict_.of_node() ? of(transaction_.node(NodeId{id})) : of(transaction_.relationship(RelId{id}));
    }

    Result<> write(const Value& value) {
        NORNIC_TRY(const std::uint64_t id, entity());
        const std::string cell = conflict_.text("cell");
        if (conflict_.text("kind") == "label") {
            if (!value.is(ValueType::kBoolean)) {
                return fail(ErrorCode::kArgumentError, "A label is there or is not: it takes true or false.");
            }
            NORNIC_TRY(const LabelId label, transaction_.label_or_create(cell));
            NORNIC_TRY(value.is_true() ? transaction_.add_label(NodeId{id}, label) : transaction_.remove_label(NodeId{id}, label));
            return success();
        }
        NORNIC_TRY(const PropertyKeyId key, transaction_.property_key_or_create(cell));
        NORNIC_TRY(conflict_.of_node() ? transaction_.set_property(NodeId{id}, key, value)
                                       : transaction_.set_property(RelId{id}, key, value));
        return success();
    }

private:
    Result<std::uint64_t> entity() {
        const auto id = conflict_.entity_id();
        const bool there = id && (conflict_.of_node() ? transaction_.node(NodeId{*id}) != nullptr
                                                      : transaction_.relationship(RelId{*id}) != nullptr);
        if (!there) {
            return fail(ErrorCode::kEntityNotFound,
                        fmt::format("The {} of conflict '{}' was deleted meanwhile, which is final. 'winner' closes the conflict.",
                                    conflict_.of_node() ? "node" : "relationship",
                                    conflict_.id()));
        }
        return *id;
    }

    const Conflict& conflict_;
    engine::Transaction& transaction_;
};

/// 'winner', 'loser', a plain value, or {value: …} for one that is a text.
Result<Value> chosen_value(const Conflict& conflict, const Value& choice, std::string& resolution) {
    if (choice.is_string() && (choice.as_string() == "winner" || choice.as_string() == "loser")) {
        resolution = choice.as_string();
        return conflict.of(resolution, "value");
    }
    resolution = "value";
    if (choice.is_map()) {
        const Value* value = choice.as_map().find("value");
        if (value == nullptr || choice.as_map().size() != 1) {
            return fail(ErrorCode::kArgumentError, "A conflict is resolved with 'winner', 'loser' or {value: …}.");
        }
        return *value;
    }
    if (choice.is_string()) {
        return fail(ErrorCode::kArgumentError,
                    fmt::format("A conflict is resolved with 'winner', 'loser' or {{value: …}}; if the text is the value, it is {{value: '{}'}}.",
                                choice.as_string().substr(0, 100)));
    }
    return choice;
}

Result<> resolve(Instance& instance, ProcedureCall& call) {
    NORNIC_TRY(const Conflict conflict, find_conflict(instance, call.arguments[0]));
    std::string resolution;
    NORNIC_TRY(const Value value, chosen_value(conflict, call.arguments[1], resolution));
    engine::Transaction& transaction = *call.context.transaction;
    Resolver resolver{conflict, transaction};
    if (!resolver.has_cell()) {
        if (resolution != "winner") {
            return fail(ErrorCode::kArgumentError,
                        fmt::format("Conflict '{}' is of kind '{}', where there is no value to choose: 'winner' closes it. What was deleted "
                                    "does not come back; of two nodes with one key, change or delete one.",
                                    conflict.id(),
                                    conflict.text("kind")));
        }
    } else if (const auto now = resolver.current(); !now) {
        if (resolution != "winner") {
            return now.error();
        }
    } else {
        const auto is = [&](const Value& other) { return equivalent(now.value(), other); };
        if (resolution != "value" && !is(conflict.of("winner", "value")) && !is(conflict.of("loser", "value"))) {
            return fail(ErrorCode::kArgumentError,
                        fmt::format("'{}' was written since conflict '{}' was found and is neither of its values now: resolve it with "
                                    "{{value: …}}.",
                                    conflict.text("cell"),
                                    conflict.id()));
        }
        NORNIC_TRY(resolver.write(value));
    }
    Map row = conflict.row();
    row.set("state", Value{"resolved"});
    row.set("resolution", Value{resolution});
    row.set("resolvedBy", Value{call.caller.user});
    row.set("resolvedAt", instant(hybrid_time_of(static_cast<std::uint64_t>(call.context.statement_wall_ns / 1'000'000))));
    NORNIC_TRY(transaction.put_catalog(conflict.key(), Value{std::move(row)}));
    call.emit({Value{conflict.id()}, Value{"resolved"}, resolver.has_cell() ? value : Value{}});
    return success();
}

/// Closed ones, found before that time.
Result<> clear(Instance& instance, ProcedureCall& call) {
    const Value& before = call.arguments[0];
    if (!before.is_null() && !before.is(ValueType::kDateTime)) {
        return fail(ErrorCode::kArgumentError, "It takes a datetime() before which closed conflicts are removed, or nothing for all closed ones.");
    }
    std::int64_t removed = 0;
    for (const Conflict& conflict : all_conflicts(instance)) {
        const bool old = before.is_null() ||
                         static_cast<std::int64_t>(wall_ms_of(conflict.time())) < before.as_date_time().seconds * 1000 + before.as_date_time().nanoseconds / 1'000'000;
        if (!conflict.open() && old) {
            NORNIC_TRY(call.context.transaction->erase_catalog(conflict.key()));
            ++removed;
        }
    }
    call.emit({Value{removed}});
    return success();
}

void add_writing(ProcedureRegistry& registry,
                 std::string name,
                 std::string description,
                 std::vector<ProcedureField> arguments,
                 std::vector<ProcedureField> results,
                 std::function<Result<>(ProcedureCall&)> run) {
    cypher::Procedure procedure;
    procedure.name = std::move(name);
    procedure.description = std::move(description);
    procedure.mode = ProcedureMode::kWrite;
    procedure.arguments = std::move(arguments);
    procedure.results = std::move(results);
    procedure.admin = true;
    procedure.run = std::move(run);
    registry.add(std::move(procedure));
}

/// As a count in the view says it.
Value count_of(const modes::ClusterView& view, std::string_view name) {
    for (const auto& [known, text] : view.details) {
        if (known == name) {
            return Value{std::int64_t{std::atoll(text.c_str())}};
        }
    }
    return Value{std::int64_t{0}};
}

}  // namespace

void add_conflict_procedures(ProcedureRegistry& registry, Instance& instance) {
    add(registry,
        "internal.show.conflicts",
        "",
        {argument("filter", "ANY", Value{}), argument("ids", "ANY", Value{})},
        columns(),
        [&instance](ProcedureCall& call) -> Result<> {
            const modes::ClusterView view = instance.replica().view();
            const std::vector<std::string> ids = names_in(call);
            for (const Conflict& c : all_conflicts(instance)) {
                const bool wanted = ids.empty() || std::ranges::find(ids, c.id()) != ids.end();
                if (wanted && !call.emit(cells(instance, view, call, c))) {
                    break;
                }
            }
            return success();
        });
    std::vector<ProcedureField> all_columns = columns();
    for (ProcedureField& column : all_columns) {
        column.hidden_by_default = false;
    }
    add(registry,
        "db.conflicts.list",
        "The newest conflicts between regions.",
        {argument("limit", "INTEGER", Value{kListedByDefault})},
        all_columns,
        [&instance](ProcedureCall& call) -> Result<> {
            if (!call.arguments[0].is(ValueType::kInteger) || call.arguments[0].as_integer() < 0) {
                return fail(ErrorCode::kArgumentError, "The limit is a number of rows, 0 or more.");
            }
            const modes::ClusterView view = instance.replica().view();
            std::int64_t left = call.arguments[0].as_integer();
            for (const Conflict& c : all_conflicts(instance)) {
                if (left-- <= 0 || !call.emit(cells(instance, view, call, c))) {
                    break;
                }
            }
            return success();
        });
    add(registry,
        "db.conflicts.get",
        "One conflict between regions.",
        {argument("id", "STRING", std::nullopt)},
        all_columns,
        [&instance](ProcedureCall& call) -> Result<> {
            NORNIC_TRY(const Conflict conflict, find_conflict(instance, call.arguments[0]));
            call.emit(cells(instance, instance.replica().view(), call, conflict));
            return success();
        });
    add(registry,
        "db.conflicts.count",
        "How many conflicts were found since the beginning, how many are open, how many are in the log.",
        {},
        {field("found", "INTEGER"), field("open", "INTEGER"), field("kept", "INTEGER")},
        [&instance](ProcedureCall& call) -> Result<> {
            const modes::ClusterView view = instance.replica().view();
            const auto kept = static_cast<std::int64_t>(instance.engine().catalog_range(engine::kConflictPrefix).size());
            call.emit({count_of(view, "conflicts"), count_of(view, "conflicts_open"), Value{kept}});
            return success();
        });
    add_writing(registry,
                "db.conflicts.resolve",
                "Writes the 'winner', the 'loser' or {value: …} to where two regions wrote at once, and closes the conflict.",
                {argument("id", "STRING", std::nullopt), argument("resolution", "ANY", std::nullopt)},
                {field("id", "STRING"), field("state", "STRING"), field("value", "ANY")},
                [&instance](ProcedureCall& call) { return resolve(instance, call); });
    add_writing(registry,
                "db.conflicts.clear",
                "Removes closed conflicts from the log, those before a time or all.",
                {argument("before", "ZONED DATETIME", Value{})},
                {field("removed", "INTEGER")},
                [&instance](ProcedureCall& call) { return clear(instance, call); });
}

}  // namespace nornic::server
