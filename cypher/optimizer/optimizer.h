// Optimizer passes: rewrites of a plan that keep its answers. All run through one function, which
// names and times them and can leave any of them out; tests run every statement under all subsets.
#pragma once

#include "cypher/planner/compiler.h"
#include "cypher/planner/plan.h"

#include <chrono>
#include <cstdint>
#include <string_view>
#include <vector>

namespace nornic::cypher {

/// Choices of the planner and passes over its plan, by bit.
enum class Rule : std::uint8_t {
    kIndexSeek,        // index and id seeks; off: scans and filters
    kCostOrder,        // start point and order by cost; off: as written
    kHashJoin,         // off: cartesian product and filter
    kOptionalExpand,   // off: Apply and Optional
    kCountStore,       // counts from the engine's counters
    kTop,              // Sort then Limit keeps only what is asked for
    kPruningExpand,    // variable length where only distinct ends matter
    kCacheProperties,  // properties read in batches
    kUnwindRange,      // range() without its list
};
inline constexpr std::size_t kRuleCount = 9;
std::string_view rule_name(Rule rule) noexcept;

struct OptimizerSettings {
    std::uint32_t disabled = 0;  // bit by Rule
    [[nodiscard]] bool on(Rule r) const noexcept {
        return (disabled & (1U << static_cast<unsigned>(r))) == 0;
    }
};

struct PassTime {
    Rule rule;
    std::chrono::nanoseconds time;
};

/// Runs all passes that are on.
void optimize(PlanPtr& root,
              PlanSpace& space,
              const OptimizerSettings& settings,
              std::vector<PassTime>* times = nullptr);

// The passes.
void pass_count_store(PlanPtr& node, PlanSpace& space);
void pass_top(PlanPtr& node);
void pass_pruning_expand(PlanPtr& node);
void pass_cache_properties(PlanPtr& node, PlanSpace& space);

}  // namespace nornic::cypher
