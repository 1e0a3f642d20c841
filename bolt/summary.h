// The metadata of the last SUCCESS of a statement, per protocol version.
#pragma once

#include "bolt/backend.h"
#include "bolt/packstream.h"
#include "bolt/version.h"
#include "graph/failure.h"

#include <cstdint>
#include <string_view>

namespace nornic::bolt {

struct SummaryContext {
    std::string_view bookmark;  // empty: none is sent (inside a transaction)
    std::int64_t data_version = 0;  // 0: not told
    bool has_fields = false;    // the statement returns columns
    std::int64_t records = 0;   // that were handed out or thrown away
    NotificationFilter filter;
};

/// Packs {bookmark, data_version, type, t_last, db, stats, plan or profile, notifications or statuses}.
void pack_summary(Packer& out,
                  const Dialect& dialect,
                  const StatementSummary& summary,
                  const SummaryContext& context);

}  // namespace nornic::bolt
