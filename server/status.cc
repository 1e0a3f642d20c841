#include "server/status.h"

#include "server/disk_room.h"
#include "server/modes_table.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <chrono>
#include <ctime>
#include <string_view>

namespace nornic::server {
namespace {

namespace json = boost::json;

/// A mode's own details are texts; numbers and truth values are shown as such.
json::value detail(const std::string& name, const std::string& text) {
    if (name == "voted_for") {
        return json::value(text);  // a member's name may be a number
    }
    if (text == "true" || text == "false") {
        return text == "true";
    }
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc{} && end == text.data() + text.size() && !text.empty()) {
        return number;
    }
    return json::value(text);
}

/// Seconds; a whole number where it is one, as a double is written with an exponent.
json::value seconds(std::uint64_t ms) {
    if (ms % 1000 == 0) {
        return ms / 1000;
    }
    return static_cast<double>(ms) / 1000.0;
}

const modes::MemberView* find(const modes::ClusterView& view, const NodeName& id) {
    for (const modes::MemberView& m : view.members) {
        if (m.id == id && !id.empty()) {
            return &m;
        }
    }
    return nullptr;
}

void add_details(json::object& out, const modes::ClusterView& view) {
    for (const auto& [name, value] : view.details) {
        if (!out.contains(name)) {
            out[name] = detail(name, value);
        }
    }
}

/// What an operator may do where the mode itself cannot go on.
void add_how_to(json::object& out, const modes::ClusterView& view) {
    if (view.state == "no_quorum") {
        out["how_to"] =
            "start or reconnect the members that are missing; if a majority is lost for good, stop the one with the newest "
            "log and run nornicdb recover --force-new-cluster on it";
    }
}

json::value or_null(const std::string& text) {
    return text.empty() ? json::value(nullptr) : json::value(text);
}

/// How far a member is, where that is known here: a Raft follower knows it of itself alone.
void add_progress(json::object& out,
                  const Member& asked,
                  const modes::ClusterView& view,
                  const modes::ReplicaStats& stats,
                  const modes::MemberView& m) {
    const bool known = progress_known(view, m);
    const auto or_unknown = [known](json::value value) { return known ? std::move(value) : json::value(nullptr); };
    out["match_index"] = or_unknown(m.match_index.value);
    out["applied_index"] = or_unknown(m.applied_index.value);
    out["lag_seconds"] = or_unknown(seconds(lag_ms(asked, view, stats, m)));
}

/// What streams carry is known to the leader alone.
json::array regions_of(const modes::ClusterView& view) {
    json::array out;
    for (const modes::RegionView& r : view.regions) {
        const bool known = r.self || view.is_leader();
        const auto or_unknown = [known](json::value value) { return known ? std::move(value) : json::value(nullptr); };
        json::object one{{"name", r.name},
                         {"number", r.number},
                         {"self", r.self},
                         {"primary", r.primary},
                         {"connected", r.connected},
                         {"dropped", r.dropped},
                         {"state", r.state},
                         {"leader", or_null(r.leader)},
                         {"leader_address", or_null(r.leader_address)},
                         {"leader_bolt_address", or_null(r.leader_bolt_address)},
                         {"leader_http_address", or_null(r.leader_http_address)},
                         {"lag_entries", or_unknown(r.lag_entries)},
                         {"lag_seconds", or_unknown(seconds(r.lag_ms))},
                         {"unacked_entries", or_unknown(r.unacked_entries)}};
        if (!r.reason.empty()) {
            one["reason"] = r.reason;
        }
        out.push_back(std::move(one));
    }
    return out;
}

void add_regions(json::object& out, const modes::ClusterView& view) {
    if (!view.regions.empty()) {
        out["region"] = view.regions.front().name;
        out["regions"] = regions_of(view);
    }
}

http::Document document(int status, const json::object& body) {
    return {status, json::serialize(body)};
}

}  // namespace

std::vector<modes::MemberView> sorted_members(const modes::ClusterView& view) {
    std::vector<modes::MemberView> out = view.members;
    std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.id < b.id; });
    return out;
}

bool progress_known(const modes::ClusterView& view, const modes::MemberView& member) {
    return !is_raft(view.mode) || view.is_leader() || member.id == view.self;
}

std::uint64_t lag_ms(const Member& asked,
                     const modes::ClusterView& view,
                     const modes::ReplicaStats& stats,
                     const modes::MemberView& member) {
    return asked.lag.lag_ms(view, stats, member, asked.clock.now(), asked.clock.wall_ns());
}

std::uint64_t own_lag_ms(const Member& asked, const modes::ClusterView& view, const modes::ReplicaStats& stats) {
    return view.members.empty() ? 0 : lag_ms(asked, view, stats, view.members.front());
}

http::Document health(const Member& member) {
    const modes::ClusterView view = member.replica.view();
    const modes::ReplicaStats stats = member.replica.stats();
    const auto failure = member.replica.failure();
    json::array peers;
    for (const modes::MemberView& m : view.members) {
        if (m.id != view.self) {
            json::object peer{{"id", m.id},
                              {"address", m.cluster_address},
                              {"healthy", m.healthy},
                              {"role", modes::to_string(m.role)}};
            add_progress(peer, member, view, stats, m);
            peers.push_back(std::move(peer));
        }
    }
    json::object replication{{"mode", view.mode},
                             {"node_id", view.self},
                             {"role", modes::to_string(view.role)},
                             {"is_leader", view.is_leader()},
                             {"state", failure ? "failed" : view.state},
                             {"commit_index", view.commit_index.value},
                             {"applied_index", stats.applied_index.value},
                             {"peers", std::move(peers)}};
    if (member.bus != nullptr) {
        replication["leader"] = or_null(view.leader);
        replication["term"] = view.term.value;
        replication["accepts_writes"] = view.accepts_writes && !failure;
        replication["reason"] = failure ? failure->message() : view.reason;
        replication["lag_seconds"] = seconds(own_lag_ms(member, view, stats));
        replication["diverged_entries"] = stats.diverged_entries;
        replication["history"] = or_null(member.history);
        add_regions(replication, view);
        add_how_to(replication, view);
        add_details(replication, view);
    }
    return document(failure ? 503 : 200,
                    {{"status", failure ? "unhealthy" : "healthy"}, {"replication", std::move(replication)}});
}

http::Document ready(const Member& member) {
    const auto failure = member.replica.failure();
    if (failure) {
        return document(503, {{"status", "unavailable"}, {"reason", failure->message()}});
    }
    if (disk_is_full(member.replica.stats(), member.settings)) {
        return document(503, {{"status", "read-only"}, {"reason", kDiskIsFull}});
    }
    const modes::ClusterView view = member.replica.view();
    // Where another region takes the writes, a leader's work is to follow that.
    const bool able = view.is_leader() && view.regions.empty() ? view.accepts_writes
                      : view.is_leader() ? view.accepts_writes || view.state == "ready"
                                         : view.state == "ready";
    json::object out{{"status", able ? "ready" : view.is_leader() ? "read-only" : "unavailable"}};
    if (member.bus != nullptr) {
        out["role"] = modes::to_string(view.role);
        out["state"] = view.state;
    }
    if (!able || !view.reason.empty()) {
        out["reason"] = view.reason.empty() ? view.state : view.reason;
    }
    return document(able ? 200 : 503, out);
}

namespace {

/// What both probes say of the member, and where the leader is, for whoever can go there.
http::Document probe(const Member& member, const modes::ClusterView& view, bool yes, std::string_view as, std::string reason) {
    json::object out{{"status", yes ? as : "unavailable"}, {"role", modes::to_string(view.role)}, {"state", view.state}};
    if (!yes) {
        out["reason"] = std::move(reason);
    }
    if (member.bus != nullptr) {
        const modes::MemberView* leader = find(view, view.leader);
        out["leader"] = or_null(view.leader);
        out["leader_http_address"] = or_null(leader == nullptr ? std::string{} : leader->http_address);
        out["leader_bolt_address"] = or_null(leader == nullptr ? std::string{} : leader->bolt_address);
    }
    return document(yes ? 200 : 503, out);
}

/// 2026-11-28T15:30:00.123Z
std::string iso_time(std::int64_t wall_ns) {
    constexpr std::int64_t kNanosPerMilli = 1'000'000;
    const std::int64_t ms = wall_ns / kNanosPerMilli;
    return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}Z", fmt::gmtime(static_cast<std::time_t>(ms / 1000)), ms % 1000);
}

}  // namespace

http::Document leader_probe(const Member& member) {
    const modes::ClusterView view = member.replica.view();
    const auto failure = member.replica.failure();
    const bool full = disk_is_full(member.replica.stats(), member.settings);
    const bool writes = view.is_leader() && view.accepts_writes && !failure && !full;
    return probe(member,
                 view,
                 writes,
                 "leader",
                 failure             ? failure->message()
                 : full              ? std::string{kDiskIsFull}
                 : !view.is_leader() ? fmt::format("this member is a {}", modes::to_string(view.role))
                                     : view.reason);
}

http::Document replica_probe(const Member& member) {
    const modes::ClusterView view = member.replica.view();
    const auto failure = member.replica.failure();
    const bool data = !member.history.empty() && !member.replica.out_of_service() && !failure;
    const bool beside = !view.is_leader();
    return probe(member,
                 view,
                 data && beside && view.state == "ready",
                 "replica",
                 failure                  ? failure->message()
                 : !beside                ? std::string{"this member leads"}
                 : member.history.empty() ? std::string{"a witness holds no data"}
                 : view.reason.empty()    ? view.state
                                          : view.reason);
}

json::object leader_history(const Member& member) {
    const modes::ClusterView view = member.replica.view();
    const std::vector<modes::SeenLeaderChange> changes = member.leaders.all(member.replica.leader_changes());
    json::object out{{"node_id", view.self},
                     {"mode", view.mode},
                     {"started", iso_time(member.leaders.started_wall_ns())},
                     {"term", view.term.value},
                     {"leader", or_null(view.leader)},
                     {"since", nullptr},
                     {"reason", nullptr}};
    if (!changes.empty() && changes.back().change.to == view.leader) {
        auto since = changes.rbegin();
        // A member that was started anew hears again of a leader that it knew: that one leads since then.
        for (auto earlier = since + 1; view.leader != view.self && earlier != changes.rend() &&
                                       earlier->change.to == since->change.to && earlier->change.term == since->change.term;
             ++earlier) {
            since = earlier;
        }
        out["since"] = iso_time(since->wall_ns);
        out["reason"] = since->change.reason;
    }
    json::array all;
    for (auto seen = changes.rbegin(); seen != changes.rend(); ++seen) {
        const modes::LeaderChange& change = seen->change;
        all.push_back(json::object{{"at", iso_time(seen->wall_ns)},
                                   {"term", change.term.value},
                                   {"from", or_null(change.from)},
                                   {"to", or_null(change.to)},
                                   {"reason", change.reason}});
    }
    out["changes"] = std::move(all);
    return out;
}

json::array info_peers(const Member& member) {
    const modes::ClusterView view = member.replica.view();
    json::array out;
    for (const modes::MemberView& m : sorted_members(view)) {
        std::string state{m.id == view.leader ? "leader" : modes::to_string(m.role)};
        std::transform(state.begin(), state.end(), state.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
        out.push_back(json::object{{"id", m.id},
                                   {"rpc_address", or_null(m.cluster_address)},
                                   {"rest_address", or_null(m.http_address)},
                                   {"bolt_address", or_null(m.bolt_address)},
                                   {"state", state},
                                   {"healthy", m.id == view.self || m.healthy}});
    }
    return out;
}

json::object cluster_status(const Member& member) {
    const modes::ClusterView view = member.replica.view();
    const modes::ReplicaStats stats = member.replica.stats();
    json::value leader(nullptr);
    if (const modes::MemberView* m = find(view, view.leader)) {
        leader = json::object{{"id", m->id},
                              {"address", m->cluster_address},
                              {"bolt_address", or_null(m->bolt_address)},
                              {"http_address", or_null(m->http_address)}};
    }
    json::array members;
    for (const modes::MemberView& m : sorted_members(view)) {
        json::object one{{"id", m.id},
                         {"address", m.cluster_address},
                         {"state", modes::to_string(m.role)},
                         {"healthy", m.healthy},
                         {"bolt_address", or_null(m.bolt_address)},
                         {"http_address", or_null(m.http_address)},
                         {"serves_data", m.serves_data}};
        add_progress(one, member, view, stats, m);
        members.push_back(std::move(one));
    }
    json::object out{{"cluster_id", view.cluster_id},
                     {"mode", view.mode},
                     {"leader", std::move(leader)},
                     {"members", std::move(members)},
                     {"commit_index", view.commit_index.value},
                     {"term", view.term.value},
                     {"node_id", view.self},
                     {"role", modes::to_string(view.role)},
                     {"state", view.state},
                     {"reason", view.reason},
                     {"accepts_writes", view.accepts_writes},
                     {"applied_index", stats.applied_index.value},
                     {"history", or_null(member.history)},
                     {"leader_changes", view.leader_changes},
                     {"diverged_entries", stats.diverged_entries},
                     {"snapshots_sent", stats.snapshots_sent},
                     {"snapshots_installed", stats.snapshots_installed}};
    add_regions(out, view);
    add_how_to(out, view);
    add_details(out, view);
    if (member.bus != nullptr) {
        out["cluster_auth"] = member.bus->authentication();
        out["tls"] = member.settings.cluster.tls_enabled;
        json::array links;
        for (const transport::PeerStats& p : member.bus->stats()) {
            links.push_back(json::object{
                {"id", or_null(p.id)},
                {"address", p.address},
                {"connected", p.connected},
                {"bytes_sent", p.bytes_sent},
                {"bytes_received", p.bytes_received},
                {"dropped", p.dropped},
                {"reconnects", p.reconnects},
                {"round_trip_ms", std::chrono::duration<double, std::milli>(p.round_trip).count()},
                {"last_error", or_null(p.last_error)}});
        }
        out["links"] = std::move(links);
    }
    return out;
}

json::object replication_lag(const Member& member) {
    const modes::ClusterView view = member.replica.view();
    const modes::ReplicaStats stats = member.replica.stats();
    const LogIndex newest = LagMeter::newest(view, stats);
    json::array members;
    for (const modes::MemberView& m : view.members) {
        if (m.serves_data) {
            const LogIndex reached = m.id == view.leader ? newest : LagMeter::reached(view, stats, m);
            const std::uint64_t behind = newest.value - std::min(newest, reached).value;
            json::object one{{"id", m.id}, {"role", modes::to_string(m.role)}, {"healthy", m.healthy}};
            add_progress(one, member, view, stats, m);
            one["lag_entries"] = progress_known(view, m) ? json::value(behind) : json::value(nullptr);
            members.push_back(std::move(one));
        }
    }
    return {{"mode", view.mode},
            {"node_id", view.self},
            {"role", modes::to_string(view.role)},
            {"leader", or_null(view.leader)},
            {"lag_seconds", seconds(own_lag_ms(member, view, stats))},
            {"commit_index", view.commit_index.value},
            {"applied_index", stats.applied_index.value},
            {"members", std::move(members)}};
}

json::object wal_position(const Member& member) {
    const modes::ClusterView view = member.replica.view();
    const modes::ReplicaStats stats = member.replica.stats();
    return {{"node_id", view.self},
            {"term", view.term.value},
            {"first_index", stats.first_index.value},
            {"last_index", stats.last_index.value},
            {"commit_index", view.commit_index.value},
            {"applied_index", stats.applied_index.value},
            {"log_bytes", stats.log_bytes},
            {"history", or_null(member.history)}};
}

json::object raft_state(const Member& member) {
    const modes::ClusterView view = member.replica.view();
    const modes::ReplicaStats stats = member.replica.stats();
    json::array voters;
    json::array learners;
    json::array members;
    for (const modes::MemberView& m : sorted_members(view)) {
        (m.role == modes::Role::kLearner ? learners : voters).emplace_back(m.id);
        json::object one{{"id", m.id},
                         {"address", m.cluster_address},
                         {"role", modes::to_string(m.role)},
                         {"healthy", m.healthy},
                         {"serves_data", m.serves_data}};
        add_progress(one, member, view, stats, m);
        members.push_back(std::move(one));
    }
    json::object out{{"node_id", view.self},
                     {"cluster_id", view.cluster_id},
                     {"role", modes::to_string(view.role)},
                     {"is_leader", view.is_leader()},
                     {"leader", or_null(view.leader)},
                     {"term", view.term.value},
                     {"state", view.state},
                     {"reason", view.reason},
                     {"accepts_writes", view.accepts_writes},
                     {"commit_index", view.commit_index.value},
                     {"applied_index", stats.applied_index.value},
                     {"first_index", stats.first_index.value},
                     {"last_index", stats.last_index.value},
                     {"log_bytes", stats.log_bytes},
                     {"leader_changes", view.leader_changes},
                     {"snapshots_sent", stats.snapshots_sent},
                     {"snapshots_installed", stats.snapshots_installed},
                     {"voters", std::move(voters)},
                     {"learners", std::move(learners)},
                     {"members", std::move(members)}};
    add_how_to(out, view);
    add_details(out, view);
    return out;
}

json::object region_status(const Member& member) {
    const modes::ClusterView view = member.replica.view();
    json::object out{{"node_id", view.self}, {"is_leader", view.is_leader()}, {"state", view.state}, {"reason", view.reason}, {"primary", nullptr}};
    for (const modes::RegionView& r : view.regions) {
        if (r.primary) {
            out["primary"] = r.name;
        }
    }
    out["region_writes"] = member.settings.cluster.region_writes;
    out["conflict_strategy"] = member.settings.cluster.conflict_strategy;
    add_regions(out, view);
    for (const auto& [name, value] : view.details) {
        for (const std::string_view shown :
             {"cross_region_mode", "semi_sync_degradations", "region_epoch", "conflicts", "conflicts_open", "tombstones"}) {
            if (name == shown) {
                out[name] = detail(name, value);
            }
        }
    }
    return out;
}

}  // namespace nornic::server
