#include "engine/region/feed.h"

#include "engine/region/codec.h"
#include "engine/region/seed.h"
#include "engine/region/translate.h"
#include "graph/codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <tuple>

namespace nornic::engine {
namespace {

bool travels(RegionChange::Kind kind) noexcept {
    return kind == RegionChange::Kind::kPromote || kind == RegionChange::Kind::kDrop;
}

/// Writes of another region become one entry of this one.
class Localizer {
public:
    Localizer(EngineImpl& engine, const RegionWrites& from, bool manual)
        : engine_{engine}, from_{from}, manual_{manual} {}

    Result<std::string> run();

private:
    struct Known {
        std::string_view name;
        std::optional<std::uint32_t> local;
        bool committed = false;
        std::size_t created_in = 0;  // the last write that names it as new
    };
    using Key = std::tuple<std::uint32_t, TokenKind, std::uint32_t>;

    Result<> one(const RegionWrite& write);
    Result<> check(const WriteOperation& operation, bool seed) const;
    Result<std::uint32_t> local(Database& database, TokenKind kind, std::uint32_t id, WriteSetWriter& creates);

    EngineImpl& engine_;
    const RegionWrites& from_;
    const bool manual_;
    std::map<Key, Known> names_;
    std::deque<std::string> operations_;  // what batch_ points into
    RegionBatch batch_;
    std::string rule_;
};

Error malformed(std::string what) {
    return Error{ErrorCode::kCorruption, "writes of another region: " + std::move(what)};
}

Result<std::string> Localizer::run() {
    const auto state = engine_.region_state();
    if (from_.origin == 0 || from_.origin > kRegionNumberMax || from_.origin == state->self) {
        return malformed(fmt::format("{} is no number of another region", from_.origin));
    }
    const RegionRow* const row = state->find(from_.origin);
    if (row == nullptr || row->dropped) {
        return malformed(fmt::format("region {} is not known here, or was dropped", from_.origin));
    }
    for (const TokenName& token : from_.tokens) {
        names_.try_emplace(Key{token.database.value, token.kind, token.id}, Known{.name = token.name});
    }
    LogIndex last;
    for (const RegionWrite& write : from_.writes) {
        if (write.index.value != 0 && (write.index <= last || write.time == 0)) {
            return malformed(fmt::format("write {} follows {}, or says no time", write.index.value, last.value));
        }
        last = std::max(last, write.index);
        if (write.index.value == 0 || write.index > row->cursor) {
            NORNIC_TRY(one(write));
        }
    }
    if (from_.through.value != 0 && from_.through < last) {
        return malformed(fmt::format("they end at {}, not at {}", last.value, from_.through.value));
    }
    if (batch_.writes.empty()) {
        return std::string{};
    }
    batch_.origin = from_.origin;
    batch_.through = from_.through;
    batch_.through_time = from_.through_time;
    batch_.frontier = from_.frontier;
    batch_.acked = from_.acked;
    return encode_region_batch(batch_);
}

Result<> Localizer::one(const RegionWrite& write) {
    NORNIC_TRY(StampedWrite stamped, decode_stamped(write.payload));
    const auto database = engine_.database_with(stamped.database);
    if (!database) {
        return fail(ErrorCode::kDatabaseNotFound,
                    fmt::format("region {} writes to database {}, which does not exist here yet",
                                from_.origin,
                                stamped.database.value));
    }
    // Tokens that are new here come first; each write names its own, since apply leaves out those that it has.
    std::string creates;
    WriteSetWriter creates_out{creates, stamped.database};
    const std::size_t head = creates.size();
    std::string changes;
    WriteSetWriter out{changes, stamped.database};
    const TokenMap map = [&](TokenKind kind, std::uint32_t id) { return local(*database, kind, id, creates_out); };
    WriteSetReader reader = stamped.reader();
    WriteOperation operation;
    batch_.writes.emplace_back();
    while (true) {
        NORNIC_TRY(const bool more, reader.next(operation));
        if (!more) {
            break;
        }
        NORNIC_TRY(check(operation, write.index.value == 0));
        if (operation.op == WriteOp::kCreateToken) {
            names_.try_emplace(Key{stamped.database.value, operation.token_kind, operation.token},
                               Known{.name = operation.text});
            NORNIC_TRY(map(operation.token_kind, operation.token));
            continue;
        }
        NORNIC_TRY(map_tokens(operation, rule_, map));
        write_operation(operation, out);
    }
    creates.append(changes, head);
    operations_.push_back(std::move(creates));
    StampedWrite& done = batch_.writes.back();
    done = std::move(stamped);
    done.index = write.index;
    done.time = write.time;
    done.header.manual = done.header.manual || manual_;
    done.operations = std::string_view{operations_.back()}.substr(head);
    return success();
}

/// Apply stops the member at what it does not understand, so nothing of that kind may get into the log.
Result<> Localizer::check(const WriteOperation& operation, bool seed) const {
    const auto check_id = [](std::uint64_t id, std::uint64_t sequence, std::uint64_t limit) -> Result<> {
        if (sequence < limit) {
            return success();
        }
        return malformed(fmt::format("id {} is out of range", id));
    };
    const auto check_entity = [&](std::uint64_t id) { return check_id(id, sequence_of(id), NodeStore::kSequenceMax); };
    switch (operation.op) {
        case WriteOp::kDropRule:
            return check_id(operation.id, operation.id, UINT32_MAX);
        case WriteOp::kCreateToken:
        case WriteOp::kPutIndex:
        case WriteOp::kPutConstraint:
        case WriteOp::kPutCatalog:
        case WriteOp::kEraseCatalog:
            return success();
        case WriteOp::kCreateDatabase:
            return check_id(operation.id, operation.id, UINT32_MAX);
        case WriteOp::kRegion: {
            NORNIC_TRY(const RegionChange change, decode_region_change(operation.text));
            if (travels(change.kind)) {
                return success();
            }
            return malformed("they change what is not theirs to change");
        }
        case WriteOp::kMetadata: {
            std::string bytes;
            ByteWriter out{bytes};
            encode_value(operation.value, out);
            if (bytes.size() > kMetadataBytesMax) {
                return malformed(fmt::format("{} bytes of metadata, at most {} are taken", bytes.size(), kMetadataBytesMax));
            }
            return success();
        }
        case WriteOp::kSeen:
            return malformed("an operation that stands before a write has its header");
        case WriteOp::kMergeNode:
        case WriteOp::kMergeRelationship:
            if (!seed) {
                return malformed("cells of a seed in what is none");
            }
            break;
        default:
            break;
    }
    if (operation.op == WriteOp::kCreateRelationship || operation.op == WriteOp::kMergeRelationship) {
        NORNIC_TRY(check_entity(operation.relationship.start.value));
        NORNIC_TRY(check_entity(operation.relationship.end.value));
    }
    return check_entity(operation.id);
}

Result<std::uint32_t> Localizer::local(Database& database,
                                       TokenKind kind,
                                       std::uint32_t id,
                                       WriteSetWriter& creates) {
    const auto at = names_.find(Key{database.info.id.value, kind, id});
    if (at == names_.end()) {
        return malformed(fmt::format(
            "token {} of kind {} in database {} has no name", id, static_cast<int>(kind), database.info.id.value));
    }
    Known& known = at->second;
    if (!known.local) {
        const auto reserved = database.tokens.reserve(kind, known.name);
        if (!reserved) {
            return reserved.error().code() == ErrorCode::kInvalidArgument ? malformed(std::string{reserved.error().message()})
                                                                          : reserved.error();
        }
        known.local = reserved.value().id;
        known.committed = reserved.value().committed;
    }
    if (!known.committed && known.created_in != batch_.writes.size()) {
        known.created_in = batch_.writes.size();
        creates.create_token(kind, *known.local, known.name);
    }
    return *known.local;
}

}  // namespace

Result<> add_token_name(const Database& database,
                        TokenKind kind,
                        std::uint32_t id,
                        std::vector<TokenName>& out,
                        std::span<const TokenName> announced) {
    const auto key_of = [](const TokenName& name) { return std::tuple{name.database, name.kind, name.id}; };
    const auto less = [&](const TokenName& name, const auto& key) { return key_of(name) < key; };
    const auto wanted = std::tuple{database.info.id, kind, id};
    const auto at = std::lower_bound(out.begin(), out.end(), wanted, less);
    if (at != out.end() && key_of(*at) == wanted) {
        return success();
    }
    if (database.tokens.committed(kind, id)) {
        out.insert(at, TokenName{database.info.id, kind, id, std::string{database.tokens.name(kind, id)}});
        return success();
    }
    const auto made = std::find_if(
        announced.begin(), announced.end(), [&](const TokenName& name) { return key_of(name) == wanted; });
    if (made == announced.end()) {
        return fail(ErrorCode::kBusy,
                    fmt::format("token {} of kind {} in database {} has no name yet",
                                id,
                                static_cast<int>(kind),
                                database.info.id.value));
    }
    out.insert(at, *made);
    return success();
}

std::shared_ptr<const RegionState> RegionFeed::region_state() const {
    return present_().engine->region_state();
}

Result<> RegionFeed::ship(const LogEntry& entry, RegionWrites& out) const {
    if (entry.kind != EntryKind::kWriteSet || write_set_format(entry.payload) != kStampedFormat) {
        return success();
    }
    const On on = present_();
    EngineImpl& engine = *on.engine;
    if (announced_through_ <= engine.applied_index()) {
        announced_.clear();
    }
    NORNIC_TRY(const StampedWrite write, decode_stamped(entry.payload));
    const auto database = engine.database_with(write.database);
    if (!database) {
        return fail(entry.index > engine.applied_index() ? ErrorCode::kBusy : ErrorCode::kCorruption,
                    fmt::format("entry {} names database {}, which does not exist here",
                                entry.index.value,
                                write.database.value));
    }
    const TokenMap collect = [&](TokenKind kind, std::uint32_t id) -> Result<std::uint32_t> {
        NORNIC_TRY(add_token_name(*database, kind, id, out.tokens, announced_));
        return id;
    };
    WriteSetReader reader = write.reader();
    WriteOperation operation;
    std::string rule;
    bool ships = write.operations.empty();  // one that only says how far this region's time has come
    while (true) {
        NORNIC_TRY(const bool more, reader.next(operation));
        if (!more) {
            break;
        }
        if (operation.op == WriteOp::kRegion) {
            NORNIC_TRY(const RegionChange change, decode_region_change(operation.text));
            ships = ships || travels(change.kind);
            continue;
        }
        ships = true;
        out.closed = out.closed || operation.op == WriteOp::kCreateDatabase;
        if (operation.op == WriteOp::kCreateToken) {
            if (entry.index > engine.applied_index()) {
                announced_.push_back(
                    TokenName{write.database, operation.token_kind, operation.token, std::string{operation.text}});
                announced_through_ = std::max(announced_through_, entry.index);
            }
        } else {
            NORNIC_TRY(map_tokens(operation, rule, collect));
        }
    }
    if (ships) {
        out.origin = engine.region_state()->self;
        out.writes.push_back(RegionWrite{entry.index, entry.hybrid_time, entry.payload});
    }
    return success();
}

Result<std::string> RegionFeed::localize(const RegionWrites& writes, bool manual) {
    const On on = present_();
    return Localizer{*on.engine, writes, manual}.run();
}

Result<std::unique_ptr<SeedReader>> RegionFeed::begin_seed() {
    On on = present_();
    EngineImpl& engine = *on.engine;
    return std::unique_ptr<SeedReader>{std::make_unique<RegionSeed>(engine, std::move(on.keep_alive))};
}

}  // namespace nornic::engine
