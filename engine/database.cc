#include "engine/database.h"

#include "engine/index/index_query.h"
#include "observability/log.h"

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
    NORNIC_TRY(erase_unknown_entries(*rules));
    for (const IndexView& view : rules->indexes) {
        if (const auto handle = add_index(view.rule)) {
            NORNIC_TRY(handle->index.open());
            handle->online = view.state == IndexState::kOnline;
        }
    }
    return success();
}

std::string Database::entries_prefix(SchemaRuleId id) const {
    std::string prefix = key_prefix(KeyKind::kRangeIndex, info.id);
    ByteWriter{prefix}.put_be32(id.value);
    return prefix;
}

/// Entries of rules that the state does not have: a crash came between a drop and its sweep, or after entries of an index
/// that the log has yet to make and that is then populated from the start.
Result<> Database::erase_unknown_entries(const Schema& rules) {
    const std::string all = key_prefix(KeyKind::kRangeIndex, info.id);
    const auto cursor = context.kv.new_cursor();
    const auto batch = context.kv.new_batch();
    std::size_t unknown = 0;
    std::string next = all;
    for (cursor->seek(next); cursor->valid() && cursor->key().starts_with(all); cursor->seek(next)) {
        ByteReader rest{cursor->key().substr(all.size())};
        const SchemaRuleId id{rest.get_be32()};
        if (!rest.ok()) {
            return fail(ErrorCode::kCorruption, "the store holds an index entry whose key names no rule");
        }
        const std::string prefix = entries_prefix(id);
        next = after_prefix(prefix).value();  // it begins with a letter, so there is one
        const auto known = [id](const IndexView& view) { return view.rule.id == id; };
        if (std::none_of(rules.indexes.begin(), rules.indexes.end(), known)) {
            batch->erase_range(prefix, next);
            ++unknown;
        }
    }
    NORNIC_TRY(cursor->status());
    if (unknown > 0) {
        if (auto erased = context.kv.write(*batch); !erased) {
            // They are in nobody's way: a full disk must not keep a member from starting.
            log::warn("The entries of {} dropped indexes stay until the next start: {}", unknown, erased.error().message());
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
    auto handle = std::make_shared<IndexHandle>(
        rule, context.kv, equality, entries_prefix(rule.id), schema.counters(rule.id));
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

void Database::sweep_dropped(LogIndex before) {
    std::vector<Dropped> gone;
    {
        const MutexLock lock{mutex_};
        const auto kept =
            std::partition(dropped_.begin(), dropped_.end(), [&](const Dropped& dropped) {
                return dropped.at > before;
            });
        gone.assign(kept, dropped_.end());
        dropped_.erase(kept, dropped_.end());
    }
    for (const Dropped& dropped : gone) {
        if (indexes()->find(dropped.handle->rule.id) != nullptr) {
            continue;  // another rule of this id has its place: it began with an erase, and these are its entries
        }
        if (auto cleared = dropped.handle->index.clear(); !cleared) {
            log::warn("The entries of the dropped index '{}' could not be erased, the next checkpoint tries again: {}",
                      dropped.handle->rule.name,
                      cleared.error().message());
            const MutexLock lock{mutex_};
            dropped_.push_back(dropped);
        }
    }
}

}  // namespace nornic::engine
