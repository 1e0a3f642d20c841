#include "engine/region/seed.h"

#include "engine/region/codec.h"
#include "engine/region/feed.h"
#include "engine/region/stamps.h"
#include "engine/region/translate.h"
#include "graph/codec.h"

#include <algorithm>
#include <type_traits>
#include <utility>

namespace nornic::engine {
namespace {

/// As for a state view (state_view.cc): so much may be kept in old versions, beyond the cache's limit.
constexpr std::int64_t kExcessBytesMin = std::int64_t{64} << 20;
/// An entity of more comes in pieces. Far below what a batch may hold (docs/cluster_protocol.md), with any one property beside it.
constexpr std::size_t kPieceBytes = std::size_t{8} << 20;

WriteOperation merge_of(std::uint64_t id, const NodeData& data) {
    WriteOperation operation;
    operation.op = WriteOp::kMergeNode;
    operation.id = id;
    operation.node = data;
    if (!data.stamps) {
        operation.node.stamps = std::make_shared<EntityStamps>();
    }
    return operation;
}

WriteOperation merge_of(std::uint64_t id, const RelData& data) {
    WriteOperation operation;
    operation.op = WriteOp::kMergeRelationship;
    operation.id = id;
    operation.relationship = data;
    if (!data.stamps) {
        operation.relationship.stamps = std::make_shared<EntityStamps>();
    }
    return operation;
}

/// Of an entity that many transactions made larger than what may travel at once: labels and what is gone in the first piece, and in
/// each piece as many properties behind `first` as fit into it, with their cells. Returns where the next one begins; 0: it was the last.
template <class Data>
std::size_t cut_to_piece(Data& data, std::size_t first) {
    std::size_t bytes = 0;
    std::size_t last = first;
    for (; last < data.properties.size(); ++last) {
        std::string encoded;
        ByteWriter out{encoded};
        encode_value(data.properties[last].value, out);
        if (last > first && bytes + encoded.size() > kPieceBytes) {
            break;
        }
        bytes += encoded.size();
    }
    const std::vector<PropertyEntry> all = std::exchange(data.properties, {});
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(first);
    data.properties.assign(begin, all.begin() + static_cast<std::ptrdiff_t>(last));
    auto stamps = std::make_shared<EntityStamps>(*data.stamps);
    std::erase_if(stamps->properties, [&](const CellStamp& cell) {
        const PropertyKeyId key{cell.token};
        const bool gone = find_property(all, key) == nullptr;
        return gone ? first > 0 : find_property(data.properties, key) == nullptr;
    });
    if (first > 0) {
        stamps->labels.clear();
        if constexpr (std::is_same_v<Data, NodeData>) {
            data.labels.clear();
        }
    }
    data.stamps = std::move(stamps);
    return last < all.size() ? last : 0;
}

std::size_t cut_to_piece(WriteOperation& operation, std::size_t first) {
    return operation.op == WriteOp::kMergeNode ? cut_to_piece(operation.node, first) : cut_to_piece(operation.relationship, first);
}

TokenMap collect_names(const Database& database, RegionWrites& out) {
    return [&](TokenKind kind, std::uint32_t id) -> Result<std::uint32_t> {
        NORNIC_TRY(add_token_name(database, kind, id, out.tokens));
        return id;
    };
}

}  // namespace

RegionSeed::RegionSeed(EngineImpl& engine, std::shared_ptr<const void> keep_alive)
    : keep_alive_{std::move(keep_alive)}, engine_{engine} {
    // Small things have no versions: they are taken while nothing is applied.
    const MutexLock lock{engine_.apply_mutex_};
    at_ = engine_.snapshots_.acquire();
    state_ = engine_.region_state();
    databases_ = engine_.all_databases();
    small_failed_ = take_small_things();
    for (const auto& database : databases_) {
        estimate_ += static_cast<std::uint64_t>(
            std::max<std::int64_t>(0, database->counts.newest(count_key(CountKind::kNodes))) +
            std::max<std::int64_t>(0, database->counts.newest(count_key(CountKind::kRels))));
    }
}

RegionSeed::~RegionSeed() {
    engine_.snapshots_.release(at_);
}

/// A stamp names time, epoch and author of the write that these are a part of.
void RegionSeed::add_small_thing(const Stamp& stamp, const SeedOperations& operations) {
    small_.writes.push_back(RegionWrite{LogIndex{}, stamp.time, payload(operations, stamp.rank, stamp.region)});
}

Result<> RegionSeed::take_small_things() {
    made_.origin = small_.origin = state_->self;
    const RegionStore& regions = engine_.regions_;
    for (const auto& database : databases_) {
        SeedOperations made{kSystemDatabase};
        made.writer().create_database(database->info.id, database->info.name, database->info.uuid);
        made_.writes.push_back(RegionWrite{LogIndex{}, 0, payload(made, 0)});
    }
    for (const auto& [key, value] : engine_.catalog_.range("")) {
        if (!key.starts_with(kConflictPrefix)) {
            SeedOperations put{kSystemDatabase};
            put.writer().put_catalog(key, value);
            add_small_thing(regions.small(small_catalog(key)), put);
        }
    }
    for (const auto& database : databases_) {
        const DatabaseId id = database->info.id;
        const TokenMap collect = collect_names(*database, small_);
        const auto put = [&](WriteOp op, const auto& rule) -> Result<> {
            std::string encoded;
            ByteWriter out{encoded};
            encode_rule(rule, out);
            WriteOperation operation;
            operation.op = op;
            operation.text = encoded;
            std::string same;
            NORNIC_TRY(map_tokens(operation, same, collect));
            SeedOperations made{id};
            made.writer().put_rule(op, encoded);
            add_small_thing(regions.small(small_rule(id, rule.id)), made);
            return success();
        };
        const auto schema = database->schema.schema();
        for (const IndexView& view : schema->indexes) {
            NORNIC_TRY(put(WriteOp::kPutIndex, view.rule));
        }
        for (const ConstraintRule& rule : schema->constraints) {
            NORNIC_TRY(put(WriteOp::kPutConstraint, rule));
        }
    }
    take_gone_things();
    return success();
}

/// What has a stamp and is not there was erased or dropped.
void RegionSeed::take_gone_things() {
    const std::string row = small_catalog("");
    for (const auto& [name, stamp] : engine_.regions_.small_stamps()) {
        if (name.starts_with(row)) {
            const std::string key = name.substr(row.size());
            if (!key.starts_with(kConflictPrefix) && !engine_.catalog_.get(key)) {
                SeedOperations erased{kSystemDatabase};
                erased.writer().erase_catalog(key);
                add_small_thing(stamp, erased);
            }
        }
    }
    for (const auto& database : databases_) {
        const DatabaseId id = database->info.id;
        const auto schema = database->schema.schema();
        for (SchemaRuleId rule{1}; rule < database->schema.next_id(); ++rule) {
            const Stamp stamp = engine_.regions_.small(small_rule(id, rule));
            const bool there =
                std::any_of(schema->indexes.begin(), schema->indexes.end(), [&](const IndexView& view) { return view.rule.id == rule; }) ||
                std::any_of(schema->constraints.begin(), schema->constraints.end(), [&](const ConstraintRule& one) { return one.id == rule; });
            if (!stamp.none() && !there) {
                SeedOperations dropped{id};
                dropped.writer().drop_rule(rule);
                add_small_thing(stamp, dropped);
            }
        }
    }
}

std::string RegionSeed::payload(const SeedOperations& operations, std::uint64_t epoch, RegionNumber author) const {
    std::string write_set;
    const WriteSetWriter head{write_set, operations.database()};
    write_set.append(operations.view());
    return stamp_write_set(RegionHeader{.epoch = epoch, .seen = state_->frontier(), .author = author}, write_set);
}

template <class Store>
Result<bool> RegionSeed::read_page_of(Store& store, std::size_t bytes, RegionWrites& out, SeedOperations& operations) {
    while (region_ < kRegions && page_ >= store.page_limit(region_)) {
        ++region_;
        page_ = 0;
    }
    if (region_ == kRegions) {
        return false;
    }
    const TokenMap collect = collect_names(*databases_[database_], out);
    const std::uint64_t number = id_of(page_, region_);
    std::string rule;
    Result<> failed = success();
    store.scan(number, [&](const auto& slots) {
        // One may hold megabytes, so a page need not fit into what is asked for.
        while (slot_ < kPageSlots && failed && operations.bytes() < bytes) {
            const auto* version = version_at(slots[slot_], at_);
            if (version == nullptr || ((*version)->deleted && !has_remains(**version))) {
                ++slot_;
                continue;
            }
            WriteOperation operation = merge_of(id_in_page(number, slot_), (*version)->data);
            property_ = version_bytes(**version) > static_cast<std::int64_t>(kPieceBytes) ? cut_to_piece(operation, property_) : 0;
            failed = map_tokens(operation, rule, collect);
            write_operation(operation, operations.writer());
            if (property_ == 0) {
                ++read_;
                ++slot_;
            }
        }
    });
    NORNIC_TRY(std::move(failed));
    if (slot_ == kPageSlots || operations.bytes() < bytes) {  // also where nothing is
        slot_ = 0;
        ++page_;
    }
    visited_ += kPageSlots;
    return true;
}

Result<bool> RegionSeed::read_page(std::size_t bytes, RegionWrites& out, SeedOperations& operations) {
    Database& database = *databases_[database_];
    return part_ == Part::kNodes ? read_page_of(database.nodes, bytes, out, operations)
                                 : read_page_of(database.relationships, bytes, out, operations);
}

Result<std::optional<RegionWrites>> RegionSeed::next(std::size_t bytes) {
    NORNIC_TRY(Result<>{small_failed_});
    for (RegionWrites* const part : {&made_, &small_}) {
        if (!part->writes.empty()) {
            return std::optional{std::exchange(*part, {})};
        }
    }
    const std::int64_t bytes_max = engine_.cache_.bytes_max;
    if (engine_.cache_.bytes.load(std::memory_order_relaxed) > bytes_max + std::max(bytes_max, kExcessBytesMin)) {
        return fail(ErrorCode::kBusy, "so much was written meanwhile that old versions would fill the memory");
    }
    while (database_ < databases_.size()) {
        if (engine_.stopping_) {
            return fail(ErrorCode::kStopping, "the state is being replaced, or the server stops");
        }
        RegionWrites out;
        out.origin = state_->self;
        SeedOperations operations{databases_[database_]->info.id};
        bool more = true;
        visited_ = 0;
        while (more && operations.bytes() + visited_ < bytes) {
            NORNIC_TRY(more, read_page(bytes, out, operations));
            // What could not be read must not count as if it were not there.
            if (engine_.failure_.failed()) {
                return engine_.failure_.error().value();
            }
        }
        if (!more) {
            region_ = 0;
            page_ = 0;
            part_ = part_ == Part::kNodes ? Part::kRelationships : Part::kNodes;
            database_ += part_ == Part::kNodes ? 1 : 0;
        }
        if (operations.bytes() > 0) {
            out.writes.push_back(RegionWrite{LogIndex{}, state_->time, payload(operations, state_->epoch)});
        }
        if (operations.bytes() > 0 || more) {
            return std::optional{std::move(out)};
        }
    }
    return std::optional<RegionWrites>{};
}

}  // namespace nornic::engine
