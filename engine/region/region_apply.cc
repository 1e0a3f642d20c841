// Applying what regions write (formats 2 and 3). It cannot fail on what it meets: whatever is missing, dead or later is a rule
// (docs/modes/multi_region.md); only malformed bytes are kCorruption.
#include "engine/region/codec.h"
#include "engine/region/graph_merge.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>

namespace nornic::engine {

class RegionApplier {
public:
    RegionApplier(EngineImpl& engine, const LogEntry& entry)
        : engine_{engine}, entry_{entry}, scope_{engine, entry.index, entry.hybrid_time} {}

    Result<> own();
    Result<> batch();
    Result<> finish();
    /// Once the graph is visible: whoever sees a cursor must find what was written up to it.
    void publish() { engine_.regions_.set_state(std::move(scope_.state)); }

    /// Indexes to populate once all is visible.
    std::vector<std::pair<std::shared_ptr<Database>, SchemaRuleId>> to_populate;

private:
    static constexpr std::size_t kLetGoMax = 1000;  // in one entry, so that none takes long

    Result<> write(const StampedWrite& write, RegionNumber origin);
    Result<GraphMerge*> merge_of(DatabaseId id);
    void change_catalog(const WriteOperation& op);
    Result<> change_region(std::string_view encoded, bool own);
    [[nodiscard]] RegionRow& row(RegionNumber number);

    EngineImpl& engine_;
    const LogEntry& entry_;
    MergeScope scope_;
    std::map<DatabaseId, std::unique_ptr<GraphMerge>> merges_;
};

Result<> RegionApplier::own() {
    NORNIC_TRY(StampedWrite stamped, decode_stamped(entry_.payload));
    stamped.time = entry_.hybrid_time;
    return write(stamped, scope_.state.self);
}

Result<> RegionApplier::batch() {
    NORNIC_TRY(const RegionBatch batch, decode_region_batch(entry_.payload));
    if (batch.origin == scope_.state.self) {
        return success();  // what came home is here already
    }
    if (const RegionRow* const known = scope_.state.find(batch.origin); known != nullptr && known->dropped) {
        return success();  // from here on others get of it what was here when it was dropped
    }
    for (const StampedWrite& stamped : batch.writes) {
        // Each is applied once, however often it is sent; parts of a seed have no index and may be repeated.
        if (stamped.index.value != 0 && stamped.index <= row(batch.origin).cursor) {
            continue;
        }
        NORNIC_TRY(write(stamped, batch.origin));
        if (stamped.index.value != 0) {
            RegionRow& origin = row(batch.origin);
            origin.cursor = stamped.index;
            origin.cursor_time = std::max(origin.cursor_time, stamped.time);
        } else {
            row(batch.origin).partial = true;  // until kMerged
        }
    }
    RegionRow& origin = row(batch.origin);
    if (batch.through > origin.cursor) {
        origin.cursor = batch.through;
    }
    if (batch.through.value != 0 && batch.through == origin.cursor) {
        origin.cursor_time = std::max(origin.cursor_time, batch.through_time);
        origin.reported.resize(std::max(origin.reported.size(), batch.frontier.size()));
        for (std::size_t i = 0; i < batch.frontier.size(); ++i) {
            origin.reported[i] = std::max(origin.reported[i], batch.frontier[i]);
        }
    }
    origin.acked = std::max(origin.acked, batch.acked);
    engine_.regions_.caught_up(batch.origin, origin.cursor_time);
    return success();
}

Result<> RegionApplier::write(const StampedWrite& stamped, RegionNumber origin) {
    const bool seed = stamped.index.value == 0 && origin != scope_.state.self;
    scope_.begin(Stamp{stamped.time, stamped.header.rank, origin}, stamped.header, seed);
    NORNIC_TRY(GraphMerge* const merge, merge_of(stamped.database));
    WriteSetReader reader = stamped.reader();
    WriteOperation op;
    while (true) {
        NORNIC_TRY(const bool more, reader.next(op));
        if (!more) {
            break;
        }
        switch (op.op) {
            case WriteOp::kPutCatalog:
            case WriteOp::kEraseCatalog:
                change_catalog(op);
                break;
            case WriteOp::kCreateDatabase:
                engine_.add_database(DatabaseInfo{
                    DatabaseId{static_cast<std::uint32_t>(op.id)}, std::string{op.text}, std::string{op.text2}});
                break;
            case WriteOp::kMetadata:
                engine_.regions_.note_metadata(scope_.stamp, op.value);
                break;
            case WriteOp::kRegion: {
                NORNIC_TRY(change_region(op.text, origin == scope_.state.self));
                break;
            }
            default: {
                NORNIC_TRY(merge->one(op));
                break;
            }
        }
    }
    NORNIC_TRY(merge->flush());
    if (!seed) {
        for (const auto& [id, changed] : merges_) {
            changed->note_unenforced();
        }
    }
    return success();
}

Result<GraphMerge*> RegionApplier::merge_of(DatabaseId id) {
    auto& merge = merges_[id];
    if (!merge) {
        NORNIC_TRY(auto database, engine_.database_of_entry(id, entry_.index));
        merge = std::make_unique<GraphMerge>(scope_, std::move(database));
    }
    return merge.get();
}

void RegionApplier::change_catalog(const WriteOperation& op) {
    const bool erases = op.op == WriteOp::kEraseCatalog;
    const std::string small = small_catalog(op.text);
    const Stamp present = scope_.live(engine_.regions_.small(small));
    const Stamp coming = scope_.seed ? scope_.live(scope_.small) : scope_.small;
    const bool taken = takes(present, coming, true);
    if (scope_.unseen(present) && !op.text.starts_with(kConflictPrefix)) {
        // Rows may hold secrets: the log of conflicts has their names only.
        Conflict conflict;
        conflict.kind = ConflictKind::kCatalog;
        conflict.cell = op.text;
        conflict.winner = {Value{}, taken ? coming : present};
        conflict.loser = {Value{}, taken ? present : coming};
        scope_.note(std::move(conflict));
    }
    if (!taken) {
        return;
    }
    engine_.put_catalog(op.text, erases ? std::nullopt : std::optional{op.value});
    if (!coming.none()) {
        engine_.regions_.set_small(small, coming);
    }
}

RegionRow& RegionApplier::row(RegionNumber number) {
    auto& rows = scope_.state.regions;
    const auto at = std::lower_bound(
        rows.begin(), rows.end(), number, [](const RegionRow& r, RegionNumber n) { return r.number < n; });
    if (at != rows.end() && at->number == number) {
        return *at;
    }
    RegionRow made;
    made.number = number;
    return *rows.insert(at, std::move(made));
}

Result<> RegionApplier::change_region(std::string_view encoded, bool own) {
    NORNIC_TRY(const RegionChange change, decode_region_change(encoded));
    RegionState& state = scope_.state;
    using Kind = RegionChange::Kind;
    if (!own && change.kind != Kind::kPromote && change.kind != Kind::kDrop) {
        return success();  // what another region remembers for itself
    }
    const auto name = [&](const RegionRow& given) {
        RegionRow& known = row(given.number);
        if (known.name.empty()) {
            known.name = given.name;
        }
        if (!given.history.empty()) {
            known.history = given.history;
        }
        known.era = std::max(known.era, given.era);  // 1 of those that were added to others that ran
        known.dropped = known.dropped || given.dropped;
    };
    switch (change.kind) {
        case Kind::kForm: {
            if (state.self != 0) {
                return success();
            }
            state.self = change.number;
            state.began = entry_.index;
            state.pristine = true;
            for (const auto& database : engine_.all_databases()) {
                state.pristine = state.pristine && database->counts.newest(count_key(CountKind::kNodes)) == 0;
            }
            for (const RegionRow& given : change.regions) {
                name(given);
                if (given.number == state.self) {
                    row(state.self).cursor = given.cursor;  // 0: it waits for the others' data
                }
            }
            state.epoch = std::max(state.epoch, change.epoch);
            if (state.primary == 0) {
                state.primary = state.regions.empty() ? state.self : state.regions.front().number;
            }
            return success();
        }
        case Kind::kAdd:
            for (const RegionRow& given : change.regions) {
                name(given);
            }
            return success();
        case Kind::kPromote:
            if (change.epoch > state.epoch || (change.epoch == state.epoch && change.number < state.primary)) {
                state.epoch = change.epoch;
                state.primary = change.number;
            }
            return success();
        case Kind::kWatermark:
            state.watermark = std::max(state.watermark, change.time);
            engine_.regions_.forget_small(state.watermark);
            return success();
        case Kind::kCursor:
        case Kind::kMerged: {
            RegionRow& origin = row(change.number);
            if (change.time == kAllTime) {
                origin.settled = origin.dropped;
                engine_.regions_.caught_up(change.number, kAllTime);
                return success();
            }
            if (change.cursor >= origin.cursor) {
                origin.cursor = change.cursor;
                origin.cursor_time = std::max(origin.cursor_time, change.time);
                origin.reported.resize(std::max(origin.reported.size(), change.frontier.size()));
                for (std::size_t i = 0; i < change.frontier.size(); ++i) {
                    origin.reported[i] = std::max(origin.reported[i], change.frontier[i]);
                }
            }
            origin.acked = std::max(origin.acked, change.acked);
            engine_.regions_.caught_up(change.number, origin.cursor_time);
            if (change.kind == Kind::kMerged && known_of(change.frontier, 0) == 0) {
                origin.partial = false;
            }
            scope_.saw(Stamp{.time = change.time});
            if (change.kind == Kind::kMerged) {
                for (const auto& database : engine_.all_databases()) {
                    NORNIC_TRY(GraphMerge* const merge, merge_of(database->info.id));
                    merge->rules_changed();
                }
            }
            return success();
        }
        case Kind::kDrop:
            // Of one that was never heard of nothing is here, and there is no name to remember it by.
            if (state.find(change.number) != nullptr && !row(change.number).dropped) {
                row(change.number).dropped = true;
                row(change.number).reported.clear();
            }
            return success();
        case Kind::kHistory:
            row(change.number).history = change.history;
            return success();
        case Kind::kSetBack:
            if (RegionRow& back = row(change.number); change.epoch > back.era) {
                back.era = change.epoch;
                back.cursor = LogIndex{0};
                if (change.number == state.self) {
                    back.reported = state.frontier();  // what it had of others before it began to get their data anew
                }
            }
            return success();
    }
    return success();
}

Result<> RegionApplier::finish() {
    NORNIC_TRY(const auto expired, engine_.regions_.expired(scope_.state.watermark, kLetGoMax));
    for (const Remains& remains : expired) {
        NORNIC_TRY(GraphMerge* const merge, merge_of(remains.database));
        NORNIC_TRY(merge->let_go(remains));
    }
    for (const auto& [id, merge] : merges_) {
        NORNIC_TRY(merge->finish());
        for (const SchemaRuleId index : merge->applier().to_populate) {
            to_populate.emplace_back(merge->applier().database(), index);
        }
    }
    scope_.state.tombstones = engine_.regions_.remains_count();
    scope_.state.conflicts_open = engine_.conflicts_.open();
    return success();
}

Result<> EngineImpl::apply_regions(const LogEntry& entry) {
    RegionApplier applier{*this, entry};
    NORNIC_TRY(write_set_format(entry.payload) == kStampedFormat ? applier.own() : applier.batch());
    NORNIC_TRY(applier.finish());
    snapshots_.advance(entry.index);
    applier.publish();
    for (const auto& [database, index] : applier.to_populate) {
        populate(database, index);
    }
    return success();
}

}  // namespace nornic::engine
