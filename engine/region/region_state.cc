#include "engine/region/region_state.h"

#include "engine/region/codec.h"
#include "engine/store/keys.h"
#include "graph/codec.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace nornic::engine {
namespace {

constexpr std::uint8_t kFormat = 2;  // 1: without metadata of transactions

std::string state_key() {
    return text_key(KeyKind::kMeta, "regions");
}

std::string key_of(const Remains& remains) {
    std::string key;
    ByteWriter out{key};
    out.put_be64(remains.time);
    out.put_be32(remains.database.value);
    out.put_u8(static_cast<std::uint8_t>(remains.entity));
    out.put_be64(remains.id);
    return key;
}

Error damaged(std::string_view what) {
    return Error{ErrorCode::kCorruption, fmt::format("the store's record of regions: {}", what)};
}

}  // namespace

std::string small_catalog(std::string_view key) {
    return fmt::format("c/{}", key);
}

std::string small_rule(DatabaseId database, SchemaRuleId id) {
    return fmt::format("r/{}/{}", database.value, id.value);
}

RegionStore::RegionStore(Kv& kv)
    : state_{std::make_shared<const RegionState>()},
      kv_{kv},
      remains_{kv, std::string(1, static_cast<char>(KeyKind::kRemains))},
      waiting_{kv, std::string(1, static_cast<char>(KeyKind::kWaiting))} {}

std::shared_ptr<const RegionState> RegionStore::state() const {
    const MutexLock lock{mutex_};
    return state_;
}

void RegionStore::set_state(RegionState next) {
    auto shared = std::make_shared<const RegionState>(std::move(next));
    self_.store(shared->self, std::memory_order_release);
    changed_ = true;
    const MutexLock lock{mutex_};
    state_.swap(shared);
}

Stamp RegionStore::small(const std::string& name) const {
    const auto at = small_.find(name);
    return at == small_.end() ? Stamp{} : at->second;
}

void RegionStore::set_small(const std::string& name, const Stamp& stamp) {
    small_.insert_or_assign(name, stamp);
    changed_ = true;
}

void RegionStore::forget_small(std::uint64_t watermark) {
    std::erase_if(small_, [&](const auto& row) { return row.second.time <= watermark; });
    metadata_.erase(metadata_.begin(), metadata_.upper_bound({watermark, kRegionNumberMax}));
    changed_ = true;
}

void RegionStore::remember(const Remains& remains) {
    std::string key = key_of(remains);
    remains_.insert(key);
    ++remains_count_;
    if (key < oldest_) {
        oldest_ = std::move(key);
    }
}

void RegionStore::forget(const Remains& remains) {
    remains_.erase(key_of(remains));
    --remains_count_;
}

Result<std::vector<Remains>> RegionStore::expired(std::uint64_t watermark, std::size_t max) {
    std::vector<Remains> out;
    // Asked behind every entry, and nearly always there is nothing.
    if (remains_count_ == 0 || oldest_ >= key_of(Remains{.time = watermark + 1})) {
        return out;
    }
    bool valid = true;
    std::string next(1, '\xff');  // behind all of them, unless one is met
    NORNIC_TRY(remains_.visit(oldest_, [&](std::string_view key) {
        ByteReader in{key};
        Remains remains;
        remains.time = in.get_be64();
        remains.database = DatabaseId{in.get_be32()};
        const std::uint8_t entity = in.get_u8();
        remains.entity = static_cast<EntityKind>(entity);
        remains.id = in.get_be64();
        valid = in.ok() && in.at_end() && entity <= static_cast<std::uint8_t>(EntityKind::kRelationship);
        if (!valid || remains.time > watermark || out.size() == max) {
            next = key;
            return false;
        }
        out.push_back(remains);
        return true;
    }));
    if (!valid) {
        return damaged("a key of what was deleted is not valid");
    }
    // Whoever asks lets go of those that are given.
    oldest_ = std::move(next);
    return out;
}

void RegionStore::note_metadata(const Stamp& stamp, const Value& metadata) {
    metadata_.insert_or_assign({stamp.time, stamp.region}, metadata);
    if (metadata_.size() > kMetadataMax) {
        metadata_.erase(metadata_.begin());
    }
    changed_ = true;
}

Value RegionStore::metadata(const Stamp& stamp) const {
    const auto at = metadata_.find({stamp.time, stamp.region});
    return at == metadata_.end() ? Value{} : at->second;
}

void RegionStore::note_ahead(RegionNumber region, std::uint64_t time, RegionNumber other, std::uint64_t seen) {
    auto& steps = ahead_[{region, other}];
    if (!steps.empty() && (steps.back().seen >= seen || steps.back().time >= time)) {
        return;
    }
    if (steps.size() == kAheadMax) {
        // Every second one: what lies between two steps counts as written with the earlier one's knowledge.
        for (std::size_t i = 0; i < kAheadMax / 2; ++i) {
            steps[i] = steps[2 * i];
        }
        steps.resize(kAheadMax / 2);
    }
    steps.push_back(Ahead{time, seen});
}

bool RegionStore::knew(RegionNumber region, std::uint64_t time, RegionNumber other, std::uint64_t other_time) const {
    const auto found = ahead_.find({region, other});
    if (found == ahead_.end()) {
        return false;
    }
    const auto& steps = found->second;
    const auto after = std::upper_bound(
        steps.begin(), steps.end(), time, [](std::uint64_t t, const Ahead& step) { return t < step.time; });
    return after != steps.begin() && std::prev(after)->seen >= other_time;
}

void RegionStore::caught_up(RegionNumber other, std::uint64_t time) {
    for (auto at = ahead_.begin(); at != ahead_.end();) {
        if (at->first.second == other) {
            std::erase_if(at->second, [&](const Ahead& step) { return step.seen <= time; });
        }
        at = at->second.empty() ? ahead_.erase(at) : std::next(at);
    }
}

void RegionStore::wait(DatabaseId database, NodeId node, RelId relationship) {
    std::string key;
    ByteWriter out{key};
    out.put_be32(database.value);
    out.put_be64(node.value);
    out.put_be64(relationship.value);
    waiting_.insert(key);
}

Result<std::vector<RelId>> RegionStore::take_waiting(DatabaseId database, NodeId node) {
    std::string prefix;
    ByteWriter out{prefix};
    out.put_be32(database.value);
    out.put_be64(node.value);
    std::vector<RelId> found;
    std::vector<std::string> keys;
    NORNIC_TRY(waiting_.visit(prefix, [&](std::string_view key) {
        if (!key.starts_with(prefix)) {
            return false;
        }
        ByteReader in{key.substr(prefix.size())};
        found.emplace_back(in.get_be64());
        keys.emplace_back(key);
        return true;
    }));
    for (const std::string& key : keys) {
        waiting_.erase(key);
    }
    return found;
}

Result<> RegionStore::load() {
    NORNIC_TRY(const auto stored, kv_.get(state_key()));
    if (!stored) {
        return success();
    }
    ByteReader in{*stored};
    const std::uint8_t format = in.get_u8();
    if (format == 0 || format > kFormat) {
        return damaged(fmt::format("format {} is unknown, expected {} at most", format, kFormat));
    }
    NORNIC_TRY(auto state, decode_region_state(in.get_string()));
    const std::uint64_t count = in.get_varint();
    for (std::uint64_t i = 0; i < count && in.ok(); ++i) {
        std::string name{in.get_string()};
        Stamp stamp;
        if (!get_stamp(in, stamp)) {
            return damaged("a stamp is not valid");
        }
        small_.insert_or_assign(std::move(name), stamp);
    }
    const std::uint64_t pairs = in.get_varint();
    for (std::uint64_t i = 0; i < pairs && in.ok(); ++i) {
        const RegionNumber region = in.get_u8();
        const RegionNumber other = in.get_u8();
        const std::uint64_t steps = in.get_varint();
        if (steps > kAheadMax) {
            return damaged("too many steps of what was seen");
        }
        auto& ahead = ahead_[{region, other}];
        for (std::uint64_t j = 0; j < steps; ++j) {
            const std::uint64_t time = in.get_varint();
            ahead.push_back(Ahead{time, in.get_varint()});
        }
    }
    const std::uint64_t noted = format >= 2 ? in.get_varint() : 0;
    for (std::uint64_t i = 0; i < noted && in.ok(); ++i) {
        const std::uint64_t time = in.get_varint();
        const RegionNumber region = in.get_u8();
        metadata_.insert_or_assign({time, region}, decode_value(in));
    }
    if (!in.ok() || !in.at_end()) {
        return damaged("its length is wrong");
    }
    remains_count_ = state.tombstones;
    oldest_.clear();
    set_state(std::move(state));
    changed_ = false;
    return success();
}

void RegionStore::begin_checkpoint() {
    remains_.begin_checkpoint();
    waiting_.begin_checkpoint();
    if (changed_) {
        ByteWriter out{writing_};
        out.put_u8(kFormat);
        out.put_string(encode_region_state(*state()));
        out.put_varint(small_.size());
        for (const auto& [name, stamp] : small_) {
            out.put_string(name);
            put_stamp(stamp, out);
        }
        out.put_varint(ahead_.size());
        for (const auto& [pair, steps] : ahead_) {
            out.put_u8(pair.first);
            out.put_u8(pair.second);
            out.put_varint(steps.size());
            for (const Ahead& step : steps) {
                out.put_varint(step.time);
                out.put_varint(step.seen);
            }
        }
        out.put_varint(metadata_.size());
        for (const auto& [stamp, metadata] : metadata_) {
            out.put_varint(stamp.first);
            out.put_u8(stamp.second);
            encode_value(metadata, out);
        }
        changed_ = false;
    }
}

void RegionStore::write_checkpoint(KvBatch& batch) const {
    remains_.write_checkpoint(batch);
    waiting_.write_checkpoint(batch);
    if (!writing_.empty()) {
        batch.put(state_key(), writing_);
    }
}

void RegionStore::end_checkpoint(bool written) {
    remains_.end_checkpoint(written);
    waiting_.end_checkpoint(written);
    changed_ = changed_ || (!written && !writing_.empty());
    writing_.clear();
}

}  // namespace nornic::engine
