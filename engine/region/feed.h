// RegionFeed: what the state of one member gives to other regions and takes from them. Names travel, since each region
// numbers its own tokens: ship() collects them, localize() turns them into this region's ids. Not thread-safe.
#pragma once

#include "engine/engine_impl.h"
#include "engine/region.h"

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace nornic::engine {

class RegionFeed final : public RegionData {
public:
    /// The engine in use, and what keeps it alive.
    struct On {
        EngineImpl* engine;
        std::shared_ptr<const void> keep_alive;
    };
    explicit RegionFeed(std::function<On()> present) : present_{std::move(present)} {}

    [[nodiscard]] std::shared_ptr<const RegionState> region_state() const override;
    /// The entry is committed; where it is not applied yet it may name tokens that an entry before it made. kBusy: that one
    /// was not shipped from here, so the names are known once it is applied.
    Result<> ship(const LogEntry& entry, RegionWrites& out) const override;
    /// As transactions do, it reserves ids for names that are new here: to be proposed by a member that has applied all of
    /// the log before. Empty: all of them were applied already. kDatabaseNotFound: a write names a database that is yet to
    /// come.
    Result<std::string> localize(const RegionWrites& writes, bool manual) override;
    Result<std::unique_ptr<SeedReader>> begin_seed() override;

private:
    const std::function<On()> present_;
    /// Names that shipped entries made and that are not committed in the tables yet.
    mutable std::vector<TokenName> announced_;
    mutable LogIndex announced_through_;
};

/// Adds the name of a token to those that travel, once; they are kept in order. One that is not committed is looked for
/// among `announced`. kBusy: it is not there.
Result<> add_token_name(const Database& database,
                        TokenKind kind,
                        std::uint32_t id,
                        std::vector<TokenName>& out,
                        std::span<const TokenName> announced = {});

}  // namespace nornic::engine
