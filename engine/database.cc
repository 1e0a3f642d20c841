#include "engine/database.h"

#include "engine/index/index_query.h"

#include <algorithm>

namespace nornic::engine {

void IndexSet::add(std::shared_ptr<IndexHandle> handle) {
    auto& by_token = handle->rule.entity == EntityKind::kNode ? by_label : by_type;
    for (const std::uint32_t token : handle->rule.tokens) {
        by_token[token].push_back(handle.get());
    }
    all.push_back(std::move(handle));
}

IndexHandle* IndexSet::find(SchemaRuleId id) const noexcept {
    for (const auto& handle : all) {
        if (handle->rule.id == id) {
            return handle.get();
        }
    }
    return nullptr;
}

const std::vector<IndexHandle*>* IndexSet::over(EntityKind entity,
                                                std::uint32_t token) const noexcept {
    const auto& by_token = entity == EntityKind::kNode ? by_label : by_type;
    if (by_token.empty()) {
        return nullptr;
    }
    const auto at = by_token.find(token);
    return at == by_token.end() ? nullptr : &at->second;
}

bool holds_entries(const IndexRule& rule) noexcept {
    return rule.type != IndexType::kLookup && rule.type != IndexType::kFulltext &&
           rule.type != IndexType::kVector;
}

bool index_key_of(const IndexRule& rule,
                  std::span<const PropertyEntry> properties,
                  std::string& key) {
    constexpr std::size_t kColumnsInline = 8;
    std::array<Value, kColumnsInline> few;
    std::vector<Value> many;
    std::span<Value> values;
    if (rule.properties.size() <= kColumnsInline) {
        values = std::span{few}.first(rule.properties.size());
    } else {
        many.resize(rule.properties.size());
        values = many;
    }
    for (std::size_t i = 0; i < values.size(); ++i) {
        const Value* value = find_property(properties, rule.properties[i]);
        if (value == nullptr || !is_indexable(*value)) {
            return false;
        }
        values[i] = *value;
    }
    make_index_key(values, key);
    return true;
}

LogIndex MergeClock::last(std::uint64_t hash) const {
    const MutexLock lock{mutex_};
    const auto at = last_.find(hash);
    return at == last_.end() ? LogIndex{} : at->second;
}

void MergeClock::set(std::uint64_t hash, LogIndex at, LogIndex oldest) {
    const MutexLock lock{mutex_};
    last_[hash] = at;
    if (last_.size() >= sweep_at_) {
        std::erase_if(last_, [&](const auto& entry) { return entry.second <= oldest; });
        sweep_at_ = std::max(kSweepAt, 2 * last_.size());
    }
}

Database::Database(StoreContext store_context,
                   EqualityCache& equality_cache,
                   DatabaseInfo database_info)
    : info{std::move(database_info)},
      context{store_context},
      equality{equality_cache},
      tokens{info.id},
      nodes{context, info.id},
      adjacency{context, info.id},
      relationships{context, info.id},
      labels{context.kv, key_prefix(KeyKind::kLabels, info.id)},
      types{context.kv, key_prefix(KeyKind::kTypes, info.id)},
      schema{key_prefix(KeyKind::kSchema, info.id)},
      indexes_{std::make_shared<const IndexSet>()} {}

Result<> Database::load() {
    NORNIC_TRY(tokens.load(context.kv));
    NORNIC_TRY(schema.load(context.kv));
    NORNIC_TRY(const auto stored_counts, context.kv.get(key_prefix(KeyKind::kCounts, info.id)));
    if (stored_counts) {
        NORNIC_TRY(counts.decode(*stored_counts));
    }
    const auto rules = schema.schema();
    for (const IndexView& view : rules->indexes) {
        if (const auto handle = add_index(view.rule)) {
            NORNIC_TRY(handle->index.open());
            handle->online = view.state == IndexState::kOnline;
        }
    }
    return success();
}

std::shared_ptr<const IndexSet> Database::indexes() const {
    const MutexLock lock{mutex_};
    return indexes_;
}

std::shared_ptr<const Schema> Database::with_numbers(const std::shared_ptr<const Schema>& base,
                                                     Deadline now) {
    constexpr auto kFreshFor = std::chrono::milliseconds{100};
    const MutexLock lock{mutex_};
    if (!numbered_ || numbered_->version != base->version || now >= numbered_at_ + kFreshFor) {
        auto numbered = std::make_shared<Schema>(*base);
        for (IndexView& view : numbered->indexes) {
            if (const IndexHandle* handle = indexes_->find(view.rule.id)) {
                view.entries = handle->index.entries();
                view.distinct_values = handle->index.distinct_values();
                if (handle->counters) {
                    view.reads = handle->counters->reads.load(std::memory_order_relaxed);
                    view.last_read_ms =
                        handle->counters->last_read_ms.load(std::memory_order_relaxed);
                }
            }
        }
        numbered_ = std::move(numbered);
        numbered_at_ = now;
    }
    return numbered_;
}

std::shared_ptr<IndexHandle> Database::add_index(const IndexRule& rule) {
    if (!holds_entries(rule)) {
        return nullptr;
    }
    std::string prefix = key_prefix(KeyKind::kRangeIndex, info.id);
    ByteWriter{prefix}.put_be32(rule.id.value);
    auto handle = std::make_shared<IndexHandle>(
        rule, context.kv, equality, std::move(prefix), schema.counters(rule.id));
    const MutexLock lock{mutex_};
    auto next = std::make_shared<IndexSet>(*indexes_);
    next->add(handle);
    indexes_ = std::move(next);
    return handle;
}

void Database::drop_index(SchemaRuleId id, LogIndex at) {
    const MutexLock lock{mutex_};
    auto next = std::make_shared<IndexSet>();
    for (const auto& handle : indexes_->all) {
        if (handle->rule.id == id) {
            handle->dropped = true;
            dropped_.push_back(Dropped{at, handle});
        } else {
            next->add(handle);
        }
    }
    indexes_ = std::move(next);
}

Result<> Database::sweep_dropped(LogIndex oldest) {
    std::vector<Dropped> gone;
    {
        const MutexLock lock{mutex_};
        const auto kept =
            std::partition(dropped_.begin(), dropped_.end(), [&](const Dropped& dropped) {
                return dropped.at > oldest;
            });
        gone.assign(kept, dropped_.end());
        dropped_.erase(kept, dropped_.end());
    }
    for (const Dropped& dropped : gone) {
        NORNIC_TRY(dropped.handle->index.clear());
    }
    return success();
}

}  // namespace nornic::engine
