#include "engine/region/region_state.h"

#include "engine/region/codec.h"
#include "engine/store/keys.h"

#include <fmt/format.h>

namespace nornic::engine {
namespace {

constexpr std::uint8_t kFormat = 1;

std::string state_key() {
    return text_key(KeyKind::kMeta, "regions");
}

std::string remains_key(const Remains& remains) {
    std::string key(1, static_cast<char>(KeyKind::kRemains));
    ByteWriter out{key};
    out.put_be64(remains.time);
    out.put_be32(remains.database.value);
    out.put_u8(static_cast<std::uint8_t>(remains.entity));
    out.put_be64(remains.id);
    return key;
}

}  // namespace

std::string small_catalog(std::string_view key) {
    return fmt::format("c/{}", key);
}

std::string small_rule(DatabaseId database, SchemaRuleId id) {
    return fmt::format("r/{}/{}", database.value, id.value);
}

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
    changed_ = true;
}

void RegionStore::remember(const Remains& remains) {
    if (remains_.insert(remains).second) {
        changed_remains_.insert(remains);
    }
}

void RegionStore::forget(const Remains& remains) {
    if (remains_.erase(remains) > 0) {
        changed_remains_.insert(remains);
    }
}

std::optional<Remains> RegionStore::first_expired(std::uint64_t watermark) const {
    if (remains_.empty() || remains_.begin()->time > watermark) {
        return std::nullopt;
    }
    return *remains_.begin();
}

Result<> RegionStore::load(Kv& kv) {
    NORNIC_TRY(const auto stored, kv.get(state_key()));
    if (!stored) {
        return success();
    }
    const auto damaged = [](std::string_view what) {
        return fail(ErrorCode::kCorruption, fmt::format("the store's record of regions: {}", what));
    };
    ByteReader in{*stored};
    if (const std::uint8_t format = in.get_u8(); format != kFormat) {
        return damaged(fmt::format("format {} is unknown, expected {}", format, kFormat));
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
    if (!in.ok() || !in.at_end()) {
        return damaged("its length is wrong");
    }
    const std::string prefix(1, static_cast<char>(KeyKind::kRemains));
    const auto cursor = kv.new_cursor();
    for (cursor->seek(prefix); cursor->valid() && cursor->key().starts_with(prefix); cursor->next()) {
        ByteReader key{cursor->key().substr(1)};
        Remains remains;
        remains.time = key.get_be64();
        remains.database = DatabaseId{key.get_be32()};
        const std::uint8_t entity = key.get_u8();
        remains.entity = static_cast<EntityKind>(entity);
        remains.id = key.get_be64();
        if (!key.ok() || !key.at_end() || entity > static_cast<std::uint8_t>(EntityKind::kRelationship)) {
            return damaged("a key of what was deleted is not valid");
        }
        remains_.insert(remains);
    }
    NORNIC_TRY(cursor->status());
    set_state(std::move(state));
    changed_ = false;
    return success();
}

RegionStore::Changes RegionStore::take_changes() {
    Changes changes;
    if (changed_) {
        ByteWriter out{changes.state};
        out.put_u8(kFormat);
        out.put_string(encode_region_state(*state()));
        out.put_varint(small_.size());
        for (const auto& [name, stamp] : small_) {
            out.put_string(name);
            put_stamp(stamp, out);
        }
        changed_ = false;
    }
    for (const Remains& remains : changed_remains_) {
        changes.remains.emplace_back(remains, remains_.contains(remains));
    }
    changed_remains_.clear();
    return changes;
}

void RegionStore::write(const Changes& changes, KvBatch& batch) {
    if (!changes.state.empty()) {
        batch.put(state_key(), changes.state);
    }
    for (const auto& [remains, there] : changes.remains) {
        if (there) {
            batch.put(remains_key(remains), "");
        } else {
            batch.erase(remains_key(remains));
        }
    }
}

void RegionStore::give_back(const Changes& changes) {
    changed_ = changed_ || !changes.state.empty();
    for (const auto& [remains, there] : changes.remains) {
        changed_remains_.insert(remains);
    }
}

}  // namespace nornic::engine
