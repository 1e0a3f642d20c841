// What members say of themselves and of each other, put together: who is there, how they are, what is wrong.
#pragma once

#include "base/result.h"
#include "http/client.h"

#include <boost/json.hpp>

#include <algorithm>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace nornic::cli {

/// GET; as http::fetch().
using Fetch = std::function<Result<http::Answer>(const http::Site& site, std::string_view target)>;

struct MemberRow {
    std::string region;  // empty: no regions
    std::string id;
    std::string role;
    /// "ready" and its like; "unknown" where nobody could be asked.
    std::string state;
    /// "ok"; "not ready": it answers and cannot do its work; "unreachable": it does not answer here, but its peers; "down".
    std::string health;
    std::optional<double> lag_seconds;
    std::optional<std::uint64_t> term;
    std::string leader;  // whom it follows
    std::string bolt_address;
    std::string http_address;
    std::string reason;  // why it is not ready
    bool asked = false;  // it answered itself
    bool takes_writes = false;
};

struct RegionRow {
    std::string name;
    bool self = false;
    bool primary = false;
    std::string state;
    std::string leader;
    std::optional<double> lag_seconds;
    std::string reason;
};

struct Problem {
    std::string what;  // a sentence without a full stop
    std::string todo;  // likewise; may be empty
    bool is_note = false;  // worth knowing, and no fault of the cluster
};

struct ClusterReport {
    std::string asked;  // the URL
    std::string mode;
    std::string cluster_id;
    std::string leader;
    std::string leader_since;
    std::string leader_reason;
    std::vector<MemberRow> members;
    std::vector<RegionRow> regions;
    std::vector<Problem> problems;
    [[nodiscard]] bool healthy() const noexcept {
        return std::all_of(problems.begin(), problems.end(), [](const Problem& p) { return p.is_note; });
    }
};

/// Asks the first of `sites` that answers, then everybody it names. kIo if none answers, kUnauthorized.
Result<ClusterReport> look_at_cluster(const std::vector<http::Site>& sites, const Fetch& fetch);

boost::json::object to_json(const ClusterReport& report);
/// A table and what is wrong.
std::string to_text(const ClusterReport& report);

}  // namespace nornic::cli
