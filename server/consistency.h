// What a client asks of a transaction beyond its access mode: how fresh its reads are, how many members must hold its writes
// before they are acknowledged, from which version of the data on. In the transaction's metadata, for a whole connection in the
// routing context, or by settings.
#pragma once

#include "bolt/backend.h"
#include "env/settings.h"
#include "modes/strategy.h"
#include "server/modes_table.h"

#include <optional>

namespace nornic::server {

/// Keys of a transaction's metadata, and the first of the routing context, too.
inline constexpr std::string_view kConsistencyKey = "consistency";
inline constexpr std::string_view kDataVersionKey = "data_version";

struct Asked {
    modes::ReadConsistency read = modes::ReadConsistency::kOne;
    std::optional<modes::ReadConsistency> write;  // nullopt: what the mode promises is enough
    std::optional<LogIndex> data_version;         // no older state will do

    /// What is applied here will do.
    [[nodiscard]] bool causal() const noexcept {
        return read == modes::ReadConsistency::kOne || read == modes::ReadConsistency::kLocalOne;
    }
};

/// kArgumentError.
Result<Asked> asked_of(const bolt::TransactionOptions& options,
                       const Value& routing_context,
                       const env::Settings& settings,
                       const ModeEntry& mode);

}  // namespace nornic::server
