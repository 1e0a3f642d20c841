// Begin and end of a transaction: snapshot, the checks that only make sense at the end, the
// WriteSet, and letting go.
#include "engine/transaction/transaction_impl.h"

#include "engine/region/codec.h"
#include "graph/codec.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::engine {
namespace {
constexpr std::size_t kMapHeadBytes = 16;  // of a map's encoding, at most
}  // namespace

TransactionImpl::TransactionImpl(EngineImpl& engine,
                                 std::shared_ptr<const void> keep_alive,
                                 std::shared_ptr<Database> database,
                                 TransactionId id,
                                 const BeginOptions& options)
    : keep_alive_{std::move(keep_alive)},
      engine_{engine},
      database_{std::move(database)},
      id_{id},
      mode_{options.mode},
      deadline_{options.deadline},
      deadline_by_client_{options.deadline_by_client},
      metadata_{options.metadata},
      locks_{engine.locks(), id} {
    open_snapshot();
}

TransactionImpl::~TransactionImpl() {
    finish();
}

void TransactionImpl::open_snapshot() {
    // An index may be used if it was whole before the snapshot and is kept up to date after it: so
    // rules first, then the snapshot, and again if the rules changed in between.
    std::uint64_t version = 0;
    do {
        if (version != 0) {
            engine_.snapshots().release(snapshot_);
        }
        version = database_->schema.version();
        schema_ = database_->schema.schema();
        indexes_ = database_->indexes();
        // Before the snapshot: never more than that has.
        seen_ = mode_ == AccessMode::kWrite && engine_.region() != 0 ? engine_.region_state() : nullptr;
        snapshot_ = engine_.snapshots().acquire();
    } while (database_->schema.version() != version);
}

bool TransactionImpl::has_writes() const {
    return !created_nodes_.empty() || !created_rels_.empty() || !node_changes_.empty() ||
           !rel_changes_.empty() || !rule_changes_.empty() || !catalog_changes_.empty() ||
           !new_tokens_.empty();
}

// ---- Termination ----

void TransactionImpl::terminate(Error reason) {
    {
        const MutexLock lock{kill_mutex_};
        if (kill_reason_) {
            return;
        }
        kill_reason_ = reason;
        killed_.store(true, std::memory_order_release);
    }
    locks_.interrupt(std::move(reason));
}

bool TransactionImpl::killed() const noexcept {
    return killed_.load(std::memory_order_relaxed) || engine_.failure().failed() ||
           (deadline_ != kNoDeadline && engine_.clock().now() >= deadline_);
}

std::optional<Error> TransactionImpl::kill_reason() const {
    {
        const MutexLock lock{kill_mutex_};
        if (kill_reason_) {
            return kill_reason_;
        }
    }
    if (engine_.failure().failed()) {
        return engine_.failure().error();
    }
    if (deadline_ != kNoDeadline && engine_.clock().now() >= deadline_) {
        return Error{deadline_by_client_ ? ErrorCode::kTransactionTimedOutByClient
                                         : ErrorCode::kTransactionTimedOut,
                     deadline_by_client_ ? "The transaction has not completed within the timeout "
                                           "specified at its start by the client. "
                                           "You may want to retry with a longer timeout. "
                                         : "The transaction has not completed within the specified "
                                           "timeout (dbms.transaction.timeout). "
                                           "You may want to retry with a longer timeout. "};
    }
    return std::nullopt;
}

// ---- The end ----

Result<> TransactionImpl::check_deleted_nodes() {
    std::vector<Adjacent> left;
    const auto check = [&](NodeId id) -> Result<> {
        left.clear();
        expand(id, Direction::kBoth, {}, left);
        if (!left.empty()) {
            return fail(ErrorCode::kConstraintViolation,
                        fmt::format("Cannot delete node<{}>, because it still has relationships. "
                                    "To delete this node, "
                                    "you must first delete its relationships.",
                                    id.value));
        }
        return success();
    };
    for (const auto& [id, change] : node_changes_) {
        if (change.deleted) {
            NORNIC_TRY(check(id));
        }
    }
    if (counters_.nodes_deleted > 0) {
        Result<> checked = success();
        created_nodes_.each([&](std::uint64_t id, const auto& item) {
            if (item.deleted && checked) {
                checked = check(NodeId{id});
            }
        });
        NORNIC_TRY(std::move(checked));
    }
    return success();
}

/// Its entries, in their order, that fit into what regions take from each other.
Value TransactionImpl::bounded_metadata() const {
    Map kept;
    if (metadata_.is_map()) {
        std::string bytes;
        ByteWriter out{bytes};
        for (const auto& [key, value] : metadata_.as_map()) {
            const std::size_t before = bytes.size();
            out.put_string(key);
            encode_value(value, out);
            if (bytes.size() + kMapHeadBytes > kMetadataBytesMax) {
                bytes.resize(before);
            } else {
                kept.set(key, value);
            }
        }
    }
    return kept.empty() ? Value{} : Value{std::move(kept)};
}

void TransactionImpl::encode(std::string& out) {
    WriteSetWriter writer{out, database_->info.id};
    if (seen_ != nullptr && seen_->self != 0) {
        std::string seen;
        ByteWriter frontier{seen};
        put_frontier(seen_->frontier(), frontier);
        writer.note_seen(seen);
        if (const Value metadata = bounded_metadata(); !metadata.is_null()) {
            writer.note_metadata(metadata);
        }
    }
    for (const auto& [kind, id] : new_tokens_) {
        writer.create_token(kind, id, database_->tokens.name(kind, id));
    }
    for (const RuleChange& change : rule_changes_) {
        if (change.op == WriteOp::kDropRule) {
            writer.drop_rule(change.id);
        } else {
            writer.put_rule(change.op, change.encoded);
        }
    }
    // Nodes before the relationships that need them, relationships' ends after their deletion.
    created_nodes_.each([&](std::uint64_t id, const auto& item) {
        if (!item.deleted) {
            writer.create_node(NodeId{id}, *item.data);
        }
    });
    for (const auto& [id, change] : node_changes_) {
        if (change.deleted) {
            continue;
        }
        for (const LabelId label : change.base->labels) {
            if (!change.data->has_label(label)) {
                writer.remove_label(id, label);
            }
        }
        for (const LabelId label : change.data->labels) {
            if (!change.base->has_label(label)) {
                writer.add_label(id, label);
            }
        }
        for (const PropertyKeyId key : change.keys) {
            const Value* value = change.data->property(key);
            writer.set_property(id, key, value != nullptr ? *value : Value{});
        }
    }
    for (const auto& [id, change] : rel_changes_) {
        if (change.deleted) {
            writer.delete_relationship(id);
            continue;
        }
        for (const PropertyKeyId key : change.keys) {
            const Value* value = change.data->property(key);
            writer.set_property(id, key, value != nullptr ? *value : Value{});
        }
    }
    created_rels_.each([&](std::uint64_t id, const auto& item) {
        if (!item.deleted) {
            writer.create_relationship(RelId{id}, *item.data);
        }
    });
    for (const auto& [id, change] : node_changes_) {
        if (change.deleted) {
            writer.delete_node(id);
        }
    }
    for (const auto& [key, value] : catalog_changes_) {
        if (value) {
            writer.put_catalog(key, *value);
        } else {
            writer.erase_catalog(key);
        }
    }
}

Result<std::string> TransactionImpl::prepare() {
    NORNIC_TRY(check_open());
    NORNIC_TRY(check_deleted_nodes());
    NORNIC_TRY(check_all_required());
    NORNIC_TRY(engine_.wait_for_room(deadline_));
    std::string bytes;
    bytes.reserve(memory_bytes_ / 4);
    encode(bytes);
    if (killed()) {
        return kill_reason().value();
    }
    prepared_ = true;
    return bytes;
}

void TransactionImpl::finish() {
    if (!open_) {
        return;
    }
    open_ = false;
    if (attached_) {
        engine_.closed(*this);
    }
    if (prepared_) {
        const LogIndex applied = engine_.applied_index();
        for (const std::uint64_t key : merge_keys_) {
            database_->merges.set(key, applied, engine_.snapshots().oldest());
        }
    }
    created_nodes_.release_unused(database_->node_ids);
    created_rels_.release_unused(database_->rel_ids);
    engine_.locks().release_all(locks_);
    engine_.snapshots().release(snapshot_);
}

Result<> TransactionImpl::await_index(SchemaRuleId index, const std::function<bool()>& ended) {
    constexpr auto kTurn = std::chrono::milliseconds{100};
    while (true) {
        Result<> online = engine_.await_index(*database_, index, engine_.clock().now() + kTurn);
        if (online || online.error().code() != ErrorCode::kTimedOut || ended() || !engine_.settings().background) {
            return online;
        }
    }
}

bool TransactionImpl::awaits_indexes() const {
    if (!prepared_ || awaited_indexes_.empty()) {
        return false;
    }
    const auto indexes = database_->indexes();
    return std::any_of(awaited_indexes_.begin(), awaited_indexes_.end(), [&](SchemaRuleId id) {
               const IndexHandle* const handle = indexes->find(id);
               return handle != nullptr && !handle->online;
           });
}

void TransactionImpl::await_indexes() {
    for (const SchemaRuleId index : awaited_indexes_) {
        // Its time-out was for what is committed now.
        static_cast<void>(await_index(index, [this] { return killed_.load(std::memory_order_acquire); }));
    }
}

void TransactionImpl::forget_changes() {
    created_nodes_.clear(database_->node_ids);
    created_rels_.clear(database_->rel_ids);
    node_changes_.clear();
    rel_changes_.clear();
    node_log_.clear();
    rel_log_.clear();
    new_tokens_.clear();
    catalog_changes_.clear();
    own_adjacency_.clear();
    own_adjacency_followed_ = 0;
    deleted_rels_ = 0;
    own_labelled_.clear();
    own_entries_.clear();
    rule_changes_.clear();
    awaited_indexes_.clear();
    counters_ = {};
    memory_bytes_ = 0;
    writes_ = Writes::kNone;
    prepared_ = false;
}

void TransactionImpl::restart_keeping_locks() {
    if (!open_) {
        return;  // whoever goes on is told
    }
    NORNIC_CHECK(!prepared_, "transaction {} is on its way to the log", id_.value);
    forget_changes();
    engine_.snapshots().release(snapshot_);
    open_snapshot();
}

}  // namespace nornic::engine
