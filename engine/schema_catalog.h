// SchemaCatalog: the indexes and constraints of one database on this member.
//
// Rules are replicated state: they change only by apply. Whether an index is online, how far its
// population is and how often it was read is each member's own. Readers take an immutable Schema;
// every change swaps in a new one with a higher version.
//
// Threads: one applier (put, drop, load), one population thread (set_state), readers anywhere.
#pragma once

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/kv.h"
#include "engine/schema.h"
#include "engine/tokens.h"

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::engine {

// ---- Names and texts, as Neo4j prints them.

/// "RANGE", "LOOKUP", "TEXT", "POINT", "FULLTEXT", "VECTOR"; "range-1.0", "token-lookup-1.0", …
std::string_view index_type_name(IndexType type) noexcept;
std::string_view index_provider_name(IndexType type) noexcept;
/// "UNIQUENESS", "RELATIONSHIP UNIQUENESS", "NODE KEY", "NODE PROPERTY EXISTENCE", "NODE PROPERTY
/// TYPE", …
std::string_view constraint_type_name(ConstraintType type, EntityKind entity) noexcept;
/// "(:PR {a, b})", "()-[:R {a}]-()", "(:<any-labels>)".
std::string schema_text(const IndexRule& rule, const Tokens& tokens);
std::string schema_text(const ConstraintRule& rule, const Tokens& tokens);
/// "Index( id=3, name='pra', type='RANGE', schema=(:PR {a}), indexProvider='range-1.0' )".
std::string description(const IndexRule& rule, const Tokens& tokens);
/// "Constraint( id=4, name='c', type='UNIQUENESS', schema=(:PR {a}), ownedIndex=3 )"; without the
/// id for one that was never created.
std::string description(const ConstraintRule& rule, const Tokens& tokens, bool with_id = true);
/// "index_" and "constraint_" with 8 hexadecimal digits of a hash of what the rule says, which is
/// the same on every member and in every run.
std::string default_name(const IndexRule& rule, const Tokens& tokens);
std::string default_name(const ConstraintRule& rule, const Tokens& tokens);

// ---- May it be created or dropped? The id of the candidate does not count, its name must be set.

/// kEquivalentSchemaRuleAlreadyExists (same name and shape), kIndexAlreadyExists (same shape, or
/// same name), kConstraintAlreadyExists (a constraint has such an index, or that name).
Result<> check_new_index(const Schema& schema, const IndexRule& rule, const Tokens& tokens);
/// As above, and kIndexAlreadyExists where a plain index stands in the way of the one it would own.
Result<> check_new_constraint(const Schema& schema,
                              const ConstraintRule& rule,
                              const Tokens& tokens);
/// kIndexDropFailed: none of that name, or it belongs to a constraint.
Result<const IndexRule*> check_drop_index(const Schema& schema, std::string_view name);
/// kConstraintDropFailed: none of that name.
Result<const ConstraintRule*> check_drop_constraint(const Schema& schema, std::string_view name);

// ---- Stored form, in WriteSets and in the Kv. Versioned; decoding is bounded.

void encode_rule(const IndexRule& rule, ByteWriter& out);
void encode_rule(const ConstraintRule& rule, ByteWriter& out);
/// On bad bytes reader.ok() turns false or an error says what was wrong.
Result<IndexRule> decode_index_rule(ByteReader& reader);
Result<ConstraintRule> decode_constraint_rule(ByteReader& reader);

/// What changes without a new Schema: counted by whoever uses the index, read by SHOW INDEXES.
struct IndexCounters {
    std::atomic<std::uint64_t> reads{0};
    std::atomic<std::int64_t> last_read_ms{0};
};

class SchemaCatalog {
public:
    /// Kv keys: prefix, 'i' or 'c', id (be32); prefix, 'n': the next id. Begins with version 1 and
    /// no rules.
    explicit SchemaCatalog(std::string key_prefix);
    ~SchemaCatalog();

    /// Reads rules and states; an index that was not online when it was written is kPopulating and
    /// must be populated from the start. kCorruption, kIo.
    Result<> load(Kv& kv);
    /// The two token lookup indexes that every database begins with, ids 1 and 2, if it has no
    /// rules.
    static std::vector<IndexRule> initial_rules();

    [[nodiscard]] std::shared_ptr<const Schema> schema() const;
    /// The same with reads filled in, for SHOW INDEXES.
    [[nodiscard]] Schema schema_with_counters() const;
    [[nodiscard]] std::uint64_t version() const noexcept {
        return version_.load(std::memory_order_acquire);
    }
    /// Lives as long as anybody holds it; nullptr if there is no such index.
    [[nodiscard]] std::shared_ptr<IndexCounters> counters(SchemaRuleId index) const;
    /// One more than the highest id ever given out here.
    [[nodiscard]] SchemaRuleId next_id() const;

    // ---- Apply: absolute effects, so applying twice is applying once.
    /// A rule that is there keeps its state.
    void put_index(IndexRule rule, IndexState state);
    void put_constraint(ConstraintRule rule);
    /// Index or constraint; false if there is none.
    bool drop(SchemaRuleId id);

    // ---- This member's own. Ignored for an index that is gone.
    /// Does not raise the version: no plan depends on it.
    void set_progress(SchemaRuleId index, double percent);
    /// What planners estimate from, refreshed now and then: after a population, at a checkpoint.
    /// Does not raise the version.
    void set_statistics(SchemaRuleId index, std::uint64_t entries, std::uint64_t distinct_values);
    void set_online(SchemaRuleId index);
    void set_failed(SchemaRuleId index, std::string failure);

    // ---- Checkpoint as of F: begin (by the applier, when exactly F is applied), write, end.
    void begin_checkpoint();
    void write_checkpoint(KvBatch& batch);
    void end_checkpoint(bool written);

private:
    template <class Change>
    void change(Change&& edit);
    template <class Change>
    void change_index(SchemaRuleId index, bool raises_version, Change&& edit);
    void mark(SchemaRuleId id);

    const std::string prefix_;
    mutable std::mutex mutex_;
    std::shared_ptr<const Schema> schema_;                              // under mutex_
    std::map<std::uint32_t, std::shared_ptr<IndexCounters>> counters_;  // under mutex_
    std::set<std::uint32_t> dirty_;                                     // under mutex_
    std::set<std::uint32_t> writing_;                                   // under mutex_
    std::shared_ptr<const Schema> writing_schema_;                      // under mutex_
    std::uint32_t writing_next_id_ = 1;                                 // under mutex_
    std::uint32_t next_id_ = 1;                                         // under mutex_
    std::atomic<std::uint64_t> version_{1};
};

}  // namespace nornic::engine
