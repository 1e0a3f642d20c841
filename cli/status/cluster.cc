#include "cli/status/cluster.h"

#include "cli/connection.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <future>
#include <map>

namespace nornic::cli {
namespace {

namespace json = boost::json;

constexpr double kLagSecondsMax = 5;
constexpr int kOk = 200;
constexpr std::size_t kListedMax = 64;  // members or regions of one answer that are believed

std::string text(const json::object& from, std::string_view name) {
    const json::value* v = from.if_contains(name);
    return v != nullptr && v->is_string() ? std::string{v->get_string()} : std::string{};
}

bool truth(const json::object& from, std::string_view name) {
    const json::value* v = from.if_contains(name);
    return v != nullptr && v->is_bool() && v->get_bool();
}

std::optional<double> number(const json::object& from, std::string_view name) {
    const json::value* v = from.if_contains(name);
    return v != nullptr && v->is_number() ? std::optional{v->to_number<double>()} : std::nullopt;
}

std::uint64_t whole_number(const json::object& from, std::string_view name) {
    const json::value* v = from.if_contains(name);
    if (v == nullptr) {
        return 0;
    }
    return v->is_uint64() ? v->get_uint64() : v->is_int64() && v->get_int64() > 0 ? static_cast<std::uint64_t>(v->get_int64()) : 0;
}

std::vector<json::object> objects(const json::object& from, std::string_view name) {
    std::vector<json::object> out;
    if (const json::value* v = from.if_contains(name); v != nullptr && v->is_array()) {
        for (const json::value& item : v->get_array()) {
            if (item.is_object() && out.size() < kListedMax) {
                out.push_back(item.get_object());
            }
        }
    }
    return out;
}

std::string leader_of(const json::object& status) {
    const json::value* leader = status.if_contains("leader");
    return leader != nullptr && leader->is_object() ? text(leader->get_object(), "id") : std::string{};
}

Result<json::object> object_of(const http::Site& site, const http::Answer& answer) {
    boost::system::error_code error;
    json::value parsed = json::parse(answer.body, error);
    if (error || !parsed.is_object()) {
        return fail(ErrorCode::kIo,
                    fmt::format("{} does not answer as a nornicdb server does (status {}{})",
                                site.url(),
                                answer.status,
                                answer.body.empty() ? "; this is how the Bolt port answers" : ""));
    }
    return std::move(parsed).as_object();
}

Result<json::object> ask_status(const http::Site& site, const Fetch& fetch) {
    NORNIC_TRY(const http::Answer answer, fetch(site, "/admin/cluster/status"));
    if (answer.status == 401 || answer.status == 403 || answer.status == 429) {
        return fail(ErrorCode::kUnauthorized,
                    fmt::format("{} refuses '{}' (status {}); give --user name:password", site.url(), site.user, answer.status));
    }
    if (answer.status != kOk) {
        return fail(ErrorCode::kIo, fmt::format("{} answers with status {}", site.url(), answer.status));
    }
    return object_of(site, answer);
}

/// One member's own answers.
struct Voice {
    http::Site site;
    std::optional<json::object> status;
    json::object ready;
    int ready_status = 0;
    std::string error;
};

void ask_ready(Voice& voice, const Fetch& fetch) {
    const auto answer = fetch(voice.site, "/ready");
    if (!answer) {
        return;
    }
    voice.ready_status = answer.value().status;
    if (auto body = object_of(voice.site, answer.value())) {
        voice.ready = std::move(body).value();
    }
}

/// Behind which of the doors this member is. `shown`: the first is the one that it shows; the rest are guesses, behind which there
/// may well be others.
Voice ask(const std::string& id, const std::vector<http::Site>& doors, bool shown, const Fetch& fetch) {
    Voice out;
    for (const http::Site& door : doors) {
        auto status = ask_status(door, fetch);
        const bool another = status && text(status.value(), "node_id") != id;
        if (another && !(shown && &door == &doors.front())) {
            continue;
        }
        std::string error = !status   ? status.error().message()
                            : another ? fmt::format("{} is '{}'", door.url(), text(status.value(), "node_id"))
                                      : std::string{};
        if (error.empty()) {
            out.site = door;
            out.status = std::move(status).value();
            ask_ready(out, fetch);
            return out;
        }
        out.error = out.error.empty() ? std::move(error) : out.error;
    }
    return out;
}

/// The members that share a leader: a Raft group, a pair, a region.
struct Group {
    std::string region;
    json::object asked;               // what the one that was asked first says
    std::map<std::string, Voice> voices;  // by member
    json::object view;                // the leader's, or else that of the one asked
};

Group ask_group(const http::Site& site, json::object status, const Fetch& fetch) {
    Group out;
    out.region = text(status, "region");
    out.asked = std::move(status);
    const std::string self = text(out.asked, "node_id");
    std::vector<std::pair<std::string, std::future<Voice>>> asking;
    for (const json::object& member : objects(out.asked, "members")) {
        const std::string id = text(member, "id");
        if (id == self) {
            continue;
        }
        // Its members are all served the same way, with TLS or without.
        const std::string shown = text(member, "http_address");
        asking.emplace_back(id, std::async(std::launch::async, [id, doors = doors_of(site, shown, text(member, "address")), any = !shown.empty(), &fetch] {
                                return ask(id, doors, any, fetch);
                            }));
    }
    Voice own;
    own.site = site;
    own.status = out.asked;
    ask_ready(own, fetch);
    out.voices.emplace(self, std::move(own));
    for (auto& [id, voice] : asking) {
        out.voices.emplace(id, voice.get());
    }
    out.view = out.asked;
    std::uint64_t newest = 0;
    for (const auto& [id, voice] : out.voices) {
        if (voice.status && truth(*voice.status, "accepts_writes") && whole_number(*voice.status, "term") > newest) {
            newest = whole_number(*voice.status, "term");
            out.view = *voice.status;
        }
    }
    return out;
}

MemberRow row_of(const Group& group, const json::object& seen) {
    MemberRow row;
    row.region = group.region;
    row.id = text(seen, "id");
    row.role = text(seen, "state");
    row.bolt_address = text(seen, "bolt_address");
    row.http_address = text(seen, "http_address");
    row.lag_seconds = number(seen, "lag_seconds");
    const auto voice = group.voices.find(row.id);
    if (voice == group.voices.end() || !voice->second.status) {
        const bool heard = truth(seen, "healthy");
        row.state = "unknown";
        row.health = heard ? "unreachable" : "down";
        row.reason = voice == group.voices.end() ? std::string{} : voice->second.error;
        return row;
    }
    const json::object& said = *voice->second.status;
    row.asked = true;
    row.role = text(said, "role");
    row.state = text(said, "state");
    row.takes_writes = truth(said, "accepts_writes");
    row.health = voice->second.ready_status == kOk ? "ok" : "not ready";
    row.reason = voice->second.ready_status == kOk ? text(said, "reason") : text(voice->second.ready, "reason");
    row.term = whole_number(said, "term");
    for (const json::object& own : objects(said, "members")) {
        if (text(own, "id") == row.id && !row.lag_seconds) {
            row.lag_seconds = number(own, "lag_seconds");
        }
    }
    row.leader = leader_of(said);
    return row;
}

std::string in_region(const MemberRow& row) {
    return row.region.empty() ? row.id : row.region + "/" + row.id;
}

/// A member that cannot begin by itself says so in its reason.
bool says_what_to_do(const std::string& reason) {
    return reason.find("data directory") != std::string::npos;
}

std::string todo_for_lost(const std::string& mode, const MemberRow& row) {
    if (mode == "ha_standby") {
        return "start it, or look at its log; until then there is one copy of what is written";
    }
    return fmt::format("start it, or look at its log; if it is gone for good: nornicdb peers remove {}", row.id);
}

void judge_member(ClusterReport& report, const MemberRow& row) {
    if (row.health == "down") {
        report.problems.push_back({fmt::format("{} is down: its peers do not hear it{}",
                                               in_region(row),
                                               row.reason.empty() ? "" : ", and " + row.reason),
                                   todo_for_lost(report.mode, row)});
    } else if (row.health == "unreachable") {
        report.problems.push_back({fmt::format("{} cannot be asked from here, though its peers hear it: {}",
                                               in_region(row),
                                               row.reason.empty() ? std::string{"its HTTP address is not known"} : row.reason),
                                   "set NORNICDB_HTTP_ADVERTISE_ADDR to an address that is reached from here, or ask from a machine that reaches it",
                                   true});
    } else if (row.health == "not ready" || row.state != "ready") {
        report.problems.push_back({fmt::format("{} is {}: {}", in_region(row), row.state == "ready" ? "not ready" : row.state,
                                               row.reason.empty() ? "it does not say why" : row.reason),
                                   row.state == "catching_up" ? "wait; look again with nornicdb status --watch"
                                   : row.state == "starting" && !says_what_to_do(row.reason)
                                       ? "if it has just been started: wait; look again with nornicdb status --watch"
                                       : ""});
    } else if (row.lag_seconds && *row.lag_seconds > kLagSecondsMax) {
        report.problems.push_back({fmt::format("{} is {:.1f} s behind", in_region(row), *row.lag_seconds),
                                   "look at its disk and network (nornicdb_replication_lag_seconds shows whether it gains)"});
    }
}

/// Whom the one that was asked dials in vain, and why. While there is a leader it may be an address that nobody needs any more.
void judge_links(ClusterReport& report, const Group& group, bool leads) {
    const auto members = objects(group.asked, "members");
    for (const json::object& link : objects(group.asked, "links")) {
        const std::string address = text(link, "address");
        std::string error = text(link, "last_error");
        if (error.starts_with(address + ": ")) {
            error.erase(0, address.size() + 2);
        }
        const bool is_member = std::any_of(members.begin(), members.end(), [&](const json::object& m) { return text(m, "address") == address; });
        // That a member is down is said anyway; not why two that run do not come together.
        const bool is_said = is_member && (leads || error.find("Connection refused") != std::string::npos);
        if (!truth(link, "connected") && !error.empty() && !is_said) {
            report.problems.push_back({fmt::format("{} reaches no member at {}: {}", text(group.asked, "node_id"), address, error), "", leads});
        }
    }
}

/// What is wrong with a group as a whole.
void judge_group(ClusterReport& report, const Group& group, const std::vector<MemberRow>& rows) {
    std::vector<const MemberRow*> writers;
    for (const MemberRow& row : rows) {
        if (row.takes_writes) {
            writers.push_back(&row);
        }
    }
    const std::string where = group.region.empty() ? std::string{} : " in region " + group.region;
    if (writers.size() > 1) {
        const MemberRow* old = *std::min_element(writers.begin(), writers.end(), [](auto* a, auto* b) { return a->term < b->term; });
        report.problems.push_back({fmt::format("{} members say that they take writes{}", writers.size(), where),
                                   fmt::format("{} is of the older term and steps down as soon as it hears the others; restart it if it does not",
                                               old->id)});
    }
    const std::string leader = leader_of(group.asked);
    const auto voice = group.voices.find(leader);
    const bool only_heard_of = !leader.empty() && (voice == group.voices.end() || !voice->second.status);
    const bool leads = only_heard_of || truth(group.view, "accepts_writes") || (!group.region.empty() && text(group.view, "role") == "leader");
    if (!leads) {
        const std::string how_to = text(group.asked, "how_to");
        const std::string reason = text(group.asked, "reason");
        report.problems.insert(report.problems.begin(),
                               {fmt::format("nobody takes writes{}{}", where, reason.empty() ? "" : ": " + reason), how_to});
    }
    judge_links(report, group, leads);
    if (report.mode == "raft" || report.mode == "multi_region") {
        std::size_t voters = 0;
        std::size_t up = 0;
        for (const MemberRow& row : rows) {
            const bool votes = row.role != "learner";
            voters += votes ? 1 : 0;
            up += votes && row.health != "down" ? 1 : 0;
        }
        if (leads && up < voters && up == voters / 2 + 1) {
            report.problems.push_back({fmt::format("{} of {} voters are up{}: one more loss stops all writes", up, voters, where), ""});
        }
    }
}

void add_group(ClusterReport& report, const Group& group) {
    std::vector<MemberRow> rows;
    for (const json::object& seen : objects(group.view, "members")) {
        rows.push_back(row_of(group, seen));
    }
    // One that does not belong to the group any more sees it all the same.
    const std::string self = text(group.asked, "node_id");
    if (std::none_of(rows.begin(), rows.end(), [&](const MemberRow& row) { return row.id == self; })) {
        for (const json::object& seen : objects(group.asked, "members")) {
            if (text(seen, "id") == self) {
                rows.push_back(row_of(group, seen));
            }
        }
    }
    for (const MemberRow& row : rows) {
        judge_member(report, row);
    }
    judge_group(report, group, rows);
    report.members.insert(report.members.end(), rows.begin(), rows.end());
}

void add_regions(ClusterReport& report, const Group& home, const http::Site& site, const Fetch& fetch) {
    for (const json::object& r : objects(home.view, "regions")) {
        RegionRow row;
        row.name = text(r, "name");
        row.self = truth(r, "self");
        row.primary = truth(r, "primary");
        row.state = text(r, "state");
        row.leader = text(r, "leader");
        row.lag_seconds = number(r, "lag_seconds");
        row.reason = text(r, "reason");
        if (!row.self && row.state != "streaming" && row.state != "ready" && row.state != "dropped") {
            report.problems.push_back({fmt::format("region {} is {}{}", row.name, row.state, row.reason.empty() ? "" : ": " + row.reason),
                                       row.state == "silent" ? fmt::format("look at the network between the regions and at {}'s members; if it "
                                                                           "is gone for good: nornicdb peers region drop {}",
                                                                           row.name,
                                                                           row.name)
                                                             : std::string{}});
        } else if (row.lag_seconds && *row.lag_seconds > kLagSecondsMax) {
            report.problems.push_back({fmt::format("region {}'s writes arrive {:.1f} s late", row.name, *row.lag_seconds), ""});
        }
        if (!row.self && row.state != "dropped") {
            for (const http::Site& door : doors_of(site, text(r, "leader_http_address"), text(r, "leader_address"))) {
                if (auto status = ask_status(door, fetch); status && text(status.value(), "region") == row.name) {
                    add_group(report, ask_group(door, std::move(status).value(), fetch));
                    break;
                }
            }
        }
        report.regions.push_back(std::move(row));
    }
}

void add_leader(ClusterReport& report, const Group& home, const Fetch& fetch) {
    report.leader = leader_of(home.view);
    const auto voice = home.voices.find(report.leader.empty() ? text(home.asked, "node_id") : report.leader);
    if (voice == home.voices.end() || !voice->second.status) {
        return;
    }
    if (const auto answer = fetch(voice->second.site, "/admin/cluster/history"); answer && answer.value().status == kOk) {
        if (const auto body = object_of(voice->second.site, answer.value())) {
            report.leader_since = text(body.value(), "since");
            report.leader_reason = text(body.value(), "reason");
        }
    }
}

json::value or_null(const std::optional<double>& value) {
    return value ? json::value(*value) : json::value(nullptr);
}

json::value or_null(const std::string& value) {
    return value.empty() ? json::value(nullptr) : json::value(value);
}

std::string lag_text(const std::optional<double>& seconds) {
    return seconds ? fmt::format("{:.3g} s", *seconds) : "-";
}

std::string or_dash(std::string value) {
    return value.empty() ? "-" : value;
}

std::string table(const std::vector<std::vector<std::string>>& rows) {
    std::vector<std::size_t> widths;
    for (const auto& row : rows) {
        widths.resize(std::max(widths.size(), row.size()));
        for (std::size_t i = 0; i < row.size(); ++i) {
            widths[i] = std::max(widths[i], row[i].size());
        }
    }
    std::string out;
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            line += i + 1 == row.size() ? row[i] : fmt::format("{:<{}}  ", row[i], widths[i]);
        }
        out += line + "\n";
    }
    return out;
}

}  // namespace

Result<ClusterReport> look_at_cluster(const std::vector<http::Site>& sites, const Fetch& fetch) {
    std::vector<std::string> errors;
    for (const http::Site& site : sites) {
        auto status = ask_status(site, fetch);
        if (!status) {
            if (status.error().code() == ErrorCode::kUnauthorized) {
                return status.error();
            }
            errors.push_back(status.error().message());
            continue;
        }
        ClusterReport out;
        out.asked = site.url();
        out.mode = text(status.value(), "mode");
        out.cluster_id = text(status.value(), "cluster_id");
        const Group home = ask_group(site, std::move(status).value(), fetch);
        add_group(out, home);
        add_regions(out, home, site, fetch);
        add_leader(out, home, fetch);
        return out;
    }
    return fail(ErrorCode::kIo, fmt::format("{}", fmt::join(errors, "; ")));
}

json::object to_json(const ClusterReport& report) {
    json::array members;
    for (const MemberRow& m : report.members) {
        json::object one{{"id", m.id},
                         {"role", m.role},
                         {"state", m.state},
                         {"health", m.health},
                         {"lag_seconds", or_null(m.lag_seconds)},
                         {"term", m.term ? json::value(*m.term) : json::value(nullptr)},
                         {"leader", or_null(m.leader)},
                         {"takes_writes", m.takes_writes},
                         {"bolt_address", or_null(m.bolt_address)},
                         {"http_address", or_null(m.http_address)},
                         {"reason", m.reason}};
        if (!m.region.empty()) {
            one["region"] = m.region;
        }
        members.push_back(std::move(one));
    }
    json::array problems;
    json::array notes;
    for (const Problem& p : report.problems) {
        (p.is_note ? notes : problems).push_back(json::object{{"what", p.what}, {"todo", p.todo}});
    }
    json::object out{{"healthy", report.healthy()},
                     {"asked", report.asked},
                     {"mode", report.mode},
                     {"cluster_id", report.cluster_id},
                     {"leader",
                      report.leader.empty() ? json::value(nullptr)
                                            : json::value(json::object{{"id", report.leader},
                                                                       {"since", or_null(report.leader_since)},
                                                                       {"reason", or_null(report.leader_reason)}})},
                     {"members", std::move(members)}};
    if (!report.regions.empty()) {
        json::array regions;
        for (const RegionRow& r : report.regions) {
            regions.push_back(json::object{{"name", r.name},
                                           {"self", r.self},
                                           {"primary", r.primary},
                                           {"state", r.state},
                                           {"leader", or_null(r.leader)},
                                           {"lag_seconds", or_null(r.lag_seconds)},
                                           {"reason", r.reason}});
        }
        out["regions"] = std::move(regions);
    }
    out["problems"] = std::move(problems);
    out["notes"] = std::move(notes);
    return out;
}

std::string to_text(const ClusterReport& report) {
    std::string out = report.mode;
    out += report.cluster_id.empty() ? "" : fmt::format(", cluster {}", report.cluster_id);
    if (report.mode != "standalone") {
        out += report.leader.empty() ? ", no leader" : fmt::format(", leader {}", report.leader);
        out += report.leader_since.empty() ? "" : fmt::format(" since {}", report.leader_since);
        out += report.leader_reason.empty() ? "" : fmt::format(" ({})", report.leader_reason);
    }
    out += "\n\n";
    const bool regions = !report.regions.empty();
    std::vector<std::vector<std::string>> rows{{"MEMBER", "ROLE", "HEALTH", "STATE", "LAG", "TERM", "LEADER", "BOLT", "HTTP"}};
    if (regions) {
        rows.front().insert(rows.front().begin(), "REGION");
    }
    for (const MemberRow& m : report.members) {
        rows.push_back({m.id, m.role, m.health, m.state, lag_text(m.lag_seconds), m.term ? std::to_string(*m.term) : "-",
                        or_dash(m.leader), or_dash(m.bolt_address), or_dash(m.http_address)});
        if (regions) {
            rows.back().insert(rows.back().begin(), m.region);
        }
    }
    out += table(rows);
    if (regions) {
        std::vector<std::vector<std::string>> lines{{"REGION", "STATE", "LAG", "LEADER", ""}};
        for (const RegionRow& r : report.regions) {
            lines.push_back({r.name, r.state, lag_text(r.lag_seconds), or_dash(r.leader), r.primary ? "primary" : ""});
        }
        out += "\n" + table(lines);
    }
    out += "\n";
    const auto wrong = std::count_if(report.problems.begin(), report.problems.end(), [](const Problem& p) { return !p.is_note; });
    out += report.healthy() ? fmt::format("healthy: {} member{}\n", report.members.size(), report.members.size() == 1 ? "" : "s")
                            : fmt::format("DEGRADED: {} thing{} wrong\n", wrong, wrong == 1 ? " is" : "s are");
    for (const Problem& p : report.problems) {
        out += fmt::format("- {}{}.{}\n", p.is_note ? "note: " : "", p.what, p.todo.empty() ? "" : "\n  What to do: " + p.todo + ".");
    }
    return out;
}

}  // namespace nornic::cli
