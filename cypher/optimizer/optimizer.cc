#include "cypher/optimizer/optimizer.h"

#include <array>

namespace nornic::cypher {
namespace {

constexpr std::array<std::string_view, kRuleCount> kNames{"index-seek",
                                                          "cost-order",
                                                          "hash-join",
                                                          "optional-expand",
                                                          "count-store",
                                                          "top",
                                                          "pruning-expand",
                                                          "cache-properties",
                                                          "unwind-range"};

}  // namespace

std::string_view rule_name(Rule rule) noexcept {
    return kNames[static_cast<std::size_t>(rule)];
}

void optimize(PlanPtr& root,
              PlanSpace& space,
              const OptimizerSettings& settings,
              std::vector<PassTime>* times) {
    const auto run = [&](Rule rule, const auto& pass) {
        if (!settings.on(rule)) {
            return;
        }
        const auto begin = std::chrono::steady_clock::now();
        pass();
        if (times != nullptr) {
            times->push_back({rule, std::chrono::steady_clock::now() - begin});
        }
    };
    run(Rule::kCountStore, [&] { pass_count_store(root, space); });
    run(Rule::kTop, [&] { pass_top(root); });
    run(Rule::kPruningExpand, [&] { pass_pruning_expand(root); });
    run(Rule::kCacheProperties, [&] { pass_cache_properties(root, space); });
}

}  // namespace nornic::cypher
