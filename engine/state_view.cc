#include "engine/state_view.h"

#include "base/hash.h"
#include "engine/region/codec.h"
#include "engine/region/merge.h"
#include "graph/codec.h"

#include <algorithm>

namespace nornic::engine {
namespace {

/// What changes while the state is read stays in memory in its old versions: so many bytes over the cache's limit, at least.
constexpr std::int64_t kExcessBytesMin = std::int64_t{64} << 20;

}  // namespace

EngineStateView::EngineStateView(EngineImpl& engine, std::shared_ptr<const void> keep_alive)
    : keep_alive_{std::move(keep_alive)}, engine_{engine} {
    // Small things have no versions: read them while nothing is applied.
    const MutexLock lock{engine_.apply_mutex_};
    at_ = engine_.snapshots_.acquire();
    databases_ = engine_.all_databases();
    const auto regions = engine_.regions_.state();
    watermark_ = regions->watermark;
    if (regions->self != 0) {
        add("regions", 0, 0, encode_region_state(*regions));
        for (const auto& [name, stamp] : engine_.regions_.small_stamps()) {
            std::string bytes;
            ByteWriter out{bytes};
            out.put_string(name);
            put_stamp(stamp, out);
            add("small", 0, 0, bytes);
        }
    }
    if (engine_.membership_.first.value != 0) {
        add("membership", engine_.membership_.first.value, 0, engine_.membership_.second);
    }
    add_small_things();
}

EngineStateView::~EngineStateView() {
    engine_.snapshots_.release(at_);
}

void EngineStateView::add(std::string_view kind, std::uint64_t database, std::uint64_t id, std::string_view bytes) {
    scratch_.assign(kind);
    ByteWriter out{scratch_};
    out.put_u64(database);
    out.put_u64(id);
    out.put_raw(bytes);
    std::uint64_t h = fnv1a(scratch_);
    h ^= h >> 33;
    h *= 0xFF51AFD7ED558CCDULL;
    sum_ += h ^ h >> 29;
    read_bytes_ += bytes.size();
}

void EngineStateView::add_small_things() {
    std::string bytes;
    ByteWriter out{bytes};
    for (const auto& [key, value] : engine_.catalog_.range("")) {
        bytes.clear();
        out.put_string(key);
        encode_value(value, out);
        add("catalog", 0, 0, bytes);
    }
    for (const auto& database : databases_) {
        const std::uint64_t id = database->info.id.value;
        for (const TokenKind kind : {TokenKind::kLabel, TokenKind::kRelationshipType, TokenKind::kPropertyKey}) {
            for (const std::string& name : database->tokens.all(kind)) {
                add("token", id, database->tokens.find(kind, name).value_or(0), name);
            }
        }
        const auto schema = database->schema.schema();
        for (const IndexView& view : schema->indexes) {
            bytes.clear();
            encode_rule(view.rule, out);
            add("index", id, view.rule.id.value, bytes);
        }
        for (const ConstraintRule& rule : schema->constraints) {
            bytes.clear();
            encode_rule(rule, out);
            add("constraint", id, rule.id.value, bytes);
        }
    }
}

template <class Data>
void EngineStateView::add_stamps(std::string_view kind, std::uint64_t database, std::uint64_t id, const Data& data) {
    EntityStamps stamps = *data.stamps;
    for (auto* cells : {&stamps.labels, &stamps.properties}) {
        for (CellStamp& cell : *cells) {
            cell.stamp = unexpired(cell.stamp, watermark_);
        }
        std::erase_if(*cells, [](const CellStamp& cell) { return cell.stamp.none(); });
    }
    const bool live = stamps.life == Life::kLive;
    stamps.stamp = unexpired(stamps.stamp, watermark_);
    if (live && stamps.stamp.none() && stamps.labels.empty() && stamps.properties.empty()) {
        return;
    }
    std::string bytes{kind};
    ByteWriter out{bytes};
    encode_stamps(stamps, out);
    if (!live) {
        encode_record(data, out);
    }
    add("stamps", database, id, bytes);
}

template <class Store, class Fn>
bool EngineStateView::read_page_of(Store& store, Fn&& fn) {
    while (region_ < kRegions && page_ >= store.page_limit(region_)) {
        ++region_;
        page_ = 0;
    }
    if (region_ == kRegions) {
        return false;
    }
    const std::uint64_t number = id_of(page_++, region_);
    store.scan(number, [&](const auto& slots) {
        for (unsigned slot = 0; slot < kPageSlots; ++slot) {
            fn(slots[slot], id_in_page(number, slot));
        }
    });
    read_bytes_ += kPageSlots;  // also where nothing is
    return true;
}

template <class Store>
bool EngineStateView::read_records(Store& store, std::string_view kind) {
    const std::uint64_t database = databases_[database_]->info.id.value;
    std::string bytes;
    return read_page_of(store, [&](const auto& slot, std::uint64_t id) {
        const auto* version = version_at(slot, at_);
        if (version == nullptr) {
            return;
        }
        const auto& data = (*version)->data;
        bytes.clear();
        ByteWriter out{bytes};
        if (!(*version)->deleted) {
            encode_record(data, out);
            add(kind, database, id, bytes);
        }
        // Whether what has expired is still there says nothing.
        if (data.stamps && (!(*version)->deleted || remains_time(*data.stamps) > watermark_)) {
            add_stamps(kind, database, id, data);
        }
    });
}

bool EngineStateView::read_page() {
    Database& database = *databases_[database_];
    switch (part_) {
        case Part::kNodes:
            return read_records(database.nodes, "node");
        case Part::kRelationships:
            return read_records(database.relationships, "rel");
        case Part::kAdjacency: {
            std::string bytes;
            return read_page_of(database.adjacency, [&](const auto& slot, std::uint64_t node) {
                slot.visit(at_, [&](const AdjacencyEntry& entry) {
                    bytes.clear();
                    ByteWriter out{bytes};
                    out.put_u64(entry.relationship.value);
                    out.put_u64(entry.other.value);
                    out.put_u32(entry.type.value << 2 | entry.direction);
                    add("adjacency", database.info.id.value, node, bytes);
                });
            });
        }
        case Part::kEnd:
            break;
    }
    return false;
}

Result<bool> EngineStateView::read(std::size_t bytes) {
    read_bytes_ = 0;
    const std::int64_t bytes_max = engine_.cache_.bytes_max;
    if (engine_.cache_.bytes.load(std::memory_order_relaxed) > bytes_max + std::max(bytes_max, kExcessBytesMin)) {
        return fail(ErrorCode::kBusy, "so much was written meanwhile that old versions would fill the memory");
    }
    while (database_ < databases_.size() && read_bytes_ < bytes) {
        if (engine_.stopping_) {
            return fail(ErrorCode::kStopping, "the state is being replaced, or the server stops");
        }
        if (!read_page()) {
            region_ = 0;
            page_ = 0;
            part_ = static_cast<Part>(static_cast<std::uint8_t>(part_) + 1);
            if (part_ == Part::kEnd) {
                part_ = Part::kNodes;
                ++database_;
            }
        }
        // What could not be read must not count as if it were not there.
        if (engine_.failure_.failed()) {
            return engine_.failure_.error().value();
        }
    }
    return database_ == databases_.size();
}

Result<std::uint64_t> EngineImpl::digest() {
    EngineStateView view{*this, nullptr};
    for (;;) {
        NORNIC_TRY(const bool all, view.read(SIZE_MAX));
        if (all) {
            return view.digest();
        }
    }
}

std::unique_ptr<StateView> EngineImpl::view_state(std::shared_ptr<const void> keep_alive) {
    return std::make_unique<EngineStateView>(*this, std::move(keep_alive));
}

}  // namespace nornic::engine
