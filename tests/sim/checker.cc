#include "tests/sim/checker.h"

#include "base/hash.h"
#include "engine/region/codec.h"
#include "tests/sim/node.h"
#include "tests/sim/raft_checker.h"

#include <algorithm>
#include <charconv>
#include <string_view>

namespace nornic::sim {
namespace {

constexpr std::uint64_t kStateEvery = 128;  // entries; a digest looks at everything

std::uint64_t hash_of(const engine::LogEntry& entry, std::uint64_t payload) {
    return (payload ^ static_cast<std::uint64_t>(entry.kind) << 56 ^ entry.hybrid_time) * 0x9E3779B97F4A7C15ULL;
}

/// Without what goes into the header that a region's strategy puts before it.
std::string as_proposed(const std::string& payload) {
    if (engine::write_set_format(payload) == engine::WriteSetWriter::kFormat) {
        return as_proposed(engine::stamp_write_set({}, payload));
    }
    if (engine::write_set_format(payload) != engine::kStampedFormat) {
        return payload;
    }
    const auto stamped = engine::decode_stamped(payload);
    if (!stamped) {
        return payload;
    }
    std::string out;
    const engine::WriteSetWriter begin{out, stamped.value().database};
    static_cast<void>(begin);
    return out.append(stamped.value().operations);
}

std::uint64_t number_after(std::string_view text, std::string_view label) {
    const std::size_t at = text.find(label);
    std::uint64_t out = 0;
    if (at != std::string_view::npos) {
        std::from_chars(text.data() + at + label.size(), text.data() + text.size(), out);
    }
    return out;
}

}  // namespace

void Checker::logged(Node& node, const engine::LogEntry& entry) {
    const std::pair key{entry.index, entry.term};
    const std::uint64_t payload = fnv1a(entry.payload);
    const std::uint64_t hash = hash_of(entry, payload);
    const auto [at, added] = entries_.emplace(key, hash);
    if (added && entry.kind == engine::EntryKind::kWriteSet) {
        places_[fnv1a(as_proposed(entry.payload))].push_back({entry.index, entry.term, hash});
    }
    if (!added && at->second != hash) {
        world_.violate(fmt::format("entry {} of epoch {} at {} is another than it was before",
                                   entry.index.value,
                                   entry.term.value,
                                   node.id()));
    }
    holders_[key] |= std::uint64_t{1} << node.number();
    if (world_.raft_checker) {
        world_.raft_checker->logged(node, entry);
    }
    world_.scheduler.mix(entry.index.value << 16 ^ entry.term.value << 4 ^ node.number());
}

void Checker::reopened(Node& node, LogIndex last) {
    const std::pair behind{LogIndex{last.value + 1}, Term{0}};
    entries_.erase(entries_.lower_bound(behind), entries_.end());
    states_.erase(states_.lower_bound(behind), states_.end());
    for (const Acknowledged& write : acknowledged_) {
        if (write.committed.index > last) {
            world_.violate(fmt::format("entry {} was acknowledged; the log of {} begins again behind {}",
                                       write.committed.index.value,
                                       node.id(),
                                       last.value));
            return;
        }
    }
}

void Checker::synced(Node& node, LogIndex from) {
    if (node.witness() || world_.menu.standalone || world_.menu.raft.on) {
        return;
    }
    const std::vector<Term>& mine = node.disk().durable;
    const std::vector<Term>& theirs = world_.node(1 - node.number()).disk().durable;
    for (std::size_t at = from.value; at < std::min(mine.size(), theirs.size()); ++at) {
        if (mine[at] == theirs[at]) {
            on_both_.emplace(LogIndex{at}, mine[at]);
        }
    }
}

/// Of an epoch that is over only what the newer primary holds, too, may still be committed: an answer of it was on its
/// way. Whether it does shows in the end.
void Checker::committed(Node& node, Term term, LogIndex last) {
    const std::vector<Term>& line = node.disk().lineage;
    if (term < newest_committed_ && last.value < line.size() && !world_.menu.raft.on) {
        late_.emplace(last, line[last.value]);
        world_.mark("commit: in an epoch that was over");
    }
    newest_committed_ = std::max(newest_committed_, term);
}

void Checker::leads(Term term) {
    led_since_.emplace(term, world_.scheduler.now());
}

void Checker::replaced(Node& node, LogIndex index, Term term) {
    world_.trace("{}'s state and log are replaced by a snapshot at {} of epoch {}", node.id(), index.value, term.value);
    world_.mark("snapshot: installed");
    std::vector<Term>& mine = node.disk().lineage;
    for (const auto& other : world_.nodes) {
        const std::vector<Term>& theirs = other->disk().lineage;
        if (other.get() != &node && theirs.size() > index.value && theirs[index.value] == term) {
            mine.assign(theirs.begin(), theirs.begin() + static_cast<std::ptrdiff_t>(index.value) + 1);
            return;
        }
    }
    // Nobody has that line any more; its end is what is known.
    mine.resize(index.value + 1);
    mine[index.value] = term;
}

void Checker::diverged(Node& node, const std::string& name, const std::string& text) {
    world_.trace("{} saves {}", node.id(), name);
    world_.mark("diverged: saved");
    if (world_.menu.mutation == Mutation::kSinkDrops) {
        return;
    }
    std::string_view rest = text;
    while (!rest.empty()) {
        const std::size_t end = std::min(rest.find('\n'), rest.size());
        const std::string_view line = rest.substr(0, end);
        diverged_.emplace(LogIndex{number_after(line, "\"index\":")}, Term{number_after(line, "\"epoch\":")});
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
}

void Checker::acknowledged(Node& node, modes::Committed committed) {
    world_.scheduler.mix(committed.index.value << 16 ^ committed.term.value);
    const auto [at, added] = leaders_.emplace(committed.term, node.number());
    if (!added && at->second != node.number()) {
        world_.violate(fmt::format("two members acknowledged writes in epoch {}", committed.term.value));
    }
    bool in_sync = false;
    if (node.alive() && !world_.menu.raft.on) {
        for (const auto& [name, value] : node.replica().view().details) {
            in_sync = in_sync || (name == "sync_state" && value == "synced");
        }
    }
    acknowledged_.push_back({committed, node.number(), world_.scheduler.now(), in_sync});
}

void Checker::applied(Node& node, engine::EngineHost& engine, const engine::LogEntry& entry) {
    const auto logged = entries_.find(std::pair{entry.index, entry.term});
    if (logged == entries_.end() || logged->second != hash_of(entry, fnv1a(entry.payload))) {
        world_.violate(fmt::format("{} applies entry {} of epoch {}, which {}",
                                   node.id(),
                                   entry.index.value,
                                   entry.term.value,
                                   logged == entries_.end() ? "was never logged" : "is another than the one that was logged"));
    }
    if (world_.raft_checker && !node.standalone()) {
        world_.raft_checker->applied(node, entry);
    }
    // All members at the same entries, so that one that was elsewhere is compared, too.
    if (entry.index.value % kStateEvery == 0) {
        compare_state(node, engine);
    }
}

void Checker::compare_states() {
    for (const auto& node : world_.nodes) {
        if (node->running() && !node->witness()) {
            compare_state(*node, node->engine());
        }
    }
}

void Checker::compare_state(Node& node, engine::EngineHost& engine) {
    if (world_.menu.raft.on && world_.menu.mutation == Mutation::kApplySkipped) {
        return;  // members shall notice it themselves
    }
    const LogIndex index = engine.applied_index();
    const Term term = engine.applied_term();
    const auto digest = engine.digest();
    if (!digest) {
        world_.violate(fmt::format("no digest of {}: {}", node.id(), digest.error().message()));
        return;
    }
    // A name that is there is found, and by one id.
    if (auto reader = engine.begin({.mode = AccessMode::kRead})) {
        const engine::Tokens& tokens = reader.value()->tokens();
        for (const engine::TokenKind kind :
             {engine::TokenKind::kLabel, engine::TokenKind::kRelationshipType, engine::TokenKind::kPropertyKey}) {
            for (const std::string& name : tokens.all(kind)) {
                const auto id = tokens.find(kind, name);
                if (!id || tokens.name(kind, *id) != name) {
                    world_.violate(fmt::format("on {} the name '{}' is there at entry {} of epoch {} and {}",
                                               node.id(),
                                               name,
                                               index.value,
                                               term.value,
                                               id ? "leads to another" : "is not found"));
                }
            }
        }
    }
    const auto [at, added] = states_.emplace(std::pair{index, term}, digest.value());
    if (!added && at->second != digest.value()) {
        world_.violate(fmt::format("{} has another state at entry {} of epoch {} than there was before",
                                   node.id(),
                                   index.value,
                                   term.value));
    }
    world_.scheduler.mix(digest.value());
}

void Checker::count_primaries() {
    // In Raft one that is cut off may go on for a moment; what it writes nobody commits.
    if (world_.menu.standby.fence_policy == modes::FencePolicy::kAvailable || world_.forced != 0 || world_.menu.raft.on) {
        return;
    }
    std::string who;
    std::size_t count = 0;
    for (const auto& node : world_.nodes) {
        if (node->running() && !node->just_resumed() && !node->witness() && node->replica().view().is_leader() &&
            node->replica().view().accepts_writes) {
            ++count;
            who += (who.empty() ? "" : " and ") + node->id();
        }
    }
    if (count > 1) {
        world_.violate(fmt::format("{} take writes at a time", who));
    }
}

void Checker::check_views() {
    for (const auto& node : world_.nodes) {
        if (!node->running()) {
            continue;
        }
        const modes::ClusterView view = node->replica().view();
        const auto wrong = [&](std::string_view what) {
            world_.violate(fmt::format("the view of {} {}: {} in epoch {}, state {} ({}), leader '{}'",
                                       node->id(),
                                       what,
                                       modes::to_string(view.role),
                                       view.term.value,
                                       view.state,
                                       view.reason,
                                       view.leader));
        };
        if (view.members.empty() || view.members.front().id != node->id() || view.self != node->id()) {
            wrong("does not begin with itself");
        } else if (view.accepts_writes && !view.is_leader()) {
            wrong("takes writes and does not lead");
        } else if (view.is_leader() && view.leader != node->id()) {
            wrong("leads and names another");
        } else if (view.state != "ready" && view.reason.empty()) {
            wrong("gives no reason");
        } else if (!view.leader.empty() && std::ranges::none_of(view.members, [&](const modes::MemberView& member) {
                       return member.id == view.leader;
                   })) {
            wrong("names a leader that is no member");
        }
    }
}

std::uint64_t Checker::proposed(std::string_view write_set) {
    const std::uint64_t payload = fnv1a(as_proposed(std::string{write_set}));
    ++proposals_[payload].times;
    return payload;
}

void Checker::answered(std::uint64_t payload, const Answer& answer) {
    proposals_[payload].answer = answer;
}

/// What was refused is nowhere, what was acknowledged is where it was said to be, nothing is there twice.
void Checker::judge_proposals() {
    for (const auto& [payload, proposal] : proposals_) {
        if (proposal.times != 1) {
            continue;
        }
        std::size_t there = 0;
        const auto places = places_.find(payload);
        for (const Place& place : places == places_.end() ? std::vector<Place>{} : places->second) {
            const auto entry = entries_.find({place.index, place.term});
            there += entry != entries_.end() && entry->second == place.entry && survived({place.index, place.term}) ? 1 : 0;
        }
        const Outcome outcome = proposal.answer ? proposal.answer->outcome : Outcome::kUnknown;
        const std::size_t most = outcome == Outcome::kRefused ? 0 : 1;
        const bool missing = outcome == Outcome::kCommitted && survived(proposal.answer->committed) && there == 0;
        if (there > most || missing) {
            world_.violate(fmt::format("a write set was {} ({}) and is in the log {} times",
                                       outcome == Outcome::kRefused     ? "refused"
                                       : outcome == Outcome::kCommitted ? "acknowledged"
                                                                        : "of unknown outcome",
                                       proposal.answer ? proposal.answer->error : "",
                                       there));
            return;
        }
    }
}

bool Checker::survived(modes::Committed committed) const {
    return committed.index.value < history_.size() && history_[committed.index.value] == committed.term;
}

/// Empty: losing it was to be expected.
std::string Checker::why_lost_is_wrong(const Acknowledged& lost) const {
    const std::pair key{lost.committed.index, lost.committed.term};
    const modes::HotStandbySettings& ha = world_.menu.standby;
    const auto never = [&]() -> std::string {
        if (world_.menu.raft.on) {
            return "Raft loses nothing";
        }
        if (world_.forced != 0) {
            return {};
        }
        switch (ha.sync_mode) {
            case modes::SyncMode::kSync:
                return "sync loses nothing";
            case modes::SyncMode::kSemiSync:
                if (ha.fence_policy != modes::FencePolicy::kAvailable) {
                    return "semi_sync under witness or strict loses nothing";
                }
                if (lost.in_sync) {
                    return "semi_sync loses nothing that was acknowledged in sync";
                }
                if (world_.partitions == 0) {
                    return "semi_sync loses nothing where no member is cut off";
                }
                // Of two that lead at a time the one of the later epoch stays. Before there were two, nothing is lost.
                return std::any_of(led_since_.upper_bound(lost.committed.term), led_since_.end(), [&](const auto& later) {
                           return later.second <= lost.at;
                       })
                           ? ""
                           : "semi_sync loses nothing that was acknowledged before another member led";
            case modes::SyncMode::kAsync: {
                const auto holders = holders_.find(key);
                const bool shipped = holders != holders_.end() && (holders->second & 3) == 3;
                const bool kept = world_.menu.power_loss.count() == 0 && world_.menu.both_die.count() == 0 &&
                                  world_.menu.seam_crash_per_million == 0 && world_.menu.sync_fails.count() == 0;
                return shipped && kept && world_.partitions == 0 ? "async loses only what was not shipped" : "";
            }
        }
        return {};
    }();
    if (!never.empty()) {
        return never;
    }
    if (diverged_.contains(key)) {
        return {};
    }
    if (world_.menu.log_retention_bytes < (std::uint64_t{1} << 30)) {
        world_.mark("diverged: the branch was cut by the retention before it was given up");
        return {};
    }
    return "it is in nobody's diverged output";
}

void Checker::judge(Node& primary) {
    history_ = primary.disk().lineage;
    std::size_t lost = 0;
    for (const Acknowledged& write : acknowledged_) {
        if (survived(write.committed)) {
            continue;
        }
        ++lost;
        if (const std::string why = why_lost_is_wrong(write); !why.empty()) {
            world_.violate(fmt::format("the write acknowledged by {} at {} ms as entry {} of epoch {} is lost: {}",
                                       world_.node(write.node).id(),
                                       write.at.count() / 1'000'000,
                                       write.committed.index.value,
                                       write.committed.term.value,
                                       why));
        }
    }
    if (world_.menu.standby.fence_policy != modes::FencePolicy::kAvailable && world_.forced == 0) {
        for (const auto& [index, term] : late_) {
            if (!survived({index, term})) {
                world_.violate(fmt::format("entry {} of epoch {} was committed when a later epoch had begun to commit, and is "
                                           "gone: two members took writes at a time",
                                           index.value,
                                           term.value));
                break;
            }
        }
    }
    for (const auto& [index, term] : on_both_) {
        if (!survived({index, term})) {
            world_.violate(fmt::format("entry {} of epoch {} was on both disks at a time and is gone", index.value, term.value));
            break;
        }
    }
    judge_proposals();
    if (lost != 0) {
        world_.mark("writes: some acknowledged ones were given up, as promised");
    }
}

}  // namespace nornic::sim
