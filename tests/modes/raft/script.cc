#include "tests/modes/raft/script.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <sstream>

namespace nornic::raft::testing {
namespace {

std::vector<std::string> split(std::string_view text, char by) {
    std::vector<std::string> out;
    std::size_t at = 0;
    while (at <= text.size() && !text.empty()) {
        const std::size_t end = std::min(text.find(by, at), text.size());
        if (end > at) {
            out.emplace_back(text.substr(at, end - at));
        }
        at = end + 1;
    }
    return out;
}

std::uint64_t to_number(const std::string& text) {
    std::uint64_t value = 0;
    std::from_chars(text.data(), text.data() + text.size(), value);
    return value;
}

}  // namespace

Script::Words::Words(const std::string& line) {
    for (const std::string& word : split(line, ' ')) {
        const std::size_t equals = word.find('=');
        if (verb.empty()) {
            verb = word;
        } else if (equals == std::string::npos) {
            plain.push_back(word);
        } else {
            named[word.substr(0, equals)] = word.substr(equals + 1);
        }
    }
}

std::string Script::Words::at(std::size_t i) const {
    return i < plain.size() ? plain[i] : std::string{};
}
std::uint64_t Script::Words::number(const std::string& name, std::uint64_t otherwise) const {
    const auto found = named.find(name);
    return found == named.end() ? otherwise : to_number(found->second);
}
std::vector<std::string> Script::Words::list(const std::string& name) const {
    const auto found = named.find(name);
    return found == named.end() ? std::vector<std::string>{} : split(found->second, ',');
}
bool Script::Words::has(const std::string& word) const {
    return std::ranges::find(plain, word) != plain.end();
}

std::string Script::run(const std::string& text) {
    std::string result;
    std::istringstream lines{text};
    std::string line;
    bool in_trace = false;
    while (std::getline(lines, line)) {
        if (line == "----") {
            result += "----\n" + (out_.empty() ? "(nothing)\n" : out_) + "\n";
            out_.clear();
            in_trace = true;
        } else if (in_trace) {
            in_trace = !line.empty();
        } else if (line.empty() || line[0] == '#') {
            result += line + "\n";
        } else {
            result += line + "\n";
            execute(line);
        }
    }
    while (result.ends_with("\n\n")) {
        result.pop_back();
    }
    return result;
}

void Script::say(std::string line) {
    if (!quiet_) {
        out_ += line + "\n";
    }
}

/// "2", "1,2", "all" or "leader".
std::vector<NodeName> Script::nodes(const Words& words) const {
    if (words.at(0) == "leader") {
        return {cluster_->leader()};
    }
    return words.at(0) == "all" ? cluster_->names() : split(words.at(0), ',');
}

void Script::execute(const std::string& line) {
    std::string command = line;
    quiet_ = false;
    if (command.starts_with("quiet ")) {  // quiet …: its trace is left out
        quiet_ = true;
        command = command.substr(6);
    }
    const Words words{command};
    if (words.verb == "cluster") {
        make_cluster(words);
        return;
    }
    if (cluster_ == nullptr) {
        say("ERROR: a script begins with cluster");
        return;
    }
    static const std::map<std::string, void (Script::*)(const Words&)> kVerbs = {
        {"tick", &Script::time},         {"run", &Script::time},         {"elect", &Script::time},
        {"pause", &Script::time},        {"cut", &Script::network},      {"heal", &Script::network},
        {"down", &Script::network},      {"up", &Script::network},       {"hold", &Script::network},
        {"deliver", &Script::network},   {"drop", &Script::network},     {"duplicate", &Script::network},
        {"reverse", &Script::network},   {"messages", &Script::network}, {"snapshot", &Script::network},
        {"crash", &Script::disk},        {"start", &Script::disk},       {"add", &Script::disk},
        {"wipe", &Script::disk},         {"disk", &Script::disk},        {"write", &Script::disk},
        {"applies", &Script::disk},      {"compact", &Script::disk},     {"propose", &Script::request},
        {"read", &Script::request},      {"change", &Script::request},   {"transfer", &Script::request},
        {"step_down", &Script::request}, {"leave", &Script::request},    {"readers_wait", &Script::request},
        {"status", &Script::look},       {"log", &Script::look},         {"queue", &Script::look},
        {"progress", &Script::look},
    };
    const auto verb = kVerbs.find(words.verb);
    if (verb == kVerbs.end()) {
        say("ERROR: no such command: " + line);
        return;
    }
    (this->*verb->second)(words);
}

/// cluster nodes=1,2,3 [witness=w] [seed=1] [election=10] [heartbeat=2] [entries=64] [window=64] [uncommitted=4096]
/// [tail=bytes] [promote_within=4] [witness_may_lead=1] [priority=3:0,2:200] [without=form]
/// Three members that form a group, led by the first; quietly.
void Script::make_cluster(const Words& words) {
    Settings settings = quick_settings();
    settings.election_ticks = static_cast<std::uint32_t>(words.number("election", settings.election_ticks));
    settings.heartbeat_ticks = static_cast<std::uint32_t>(words.number("heartbeat", settings.heartbeat_ticks));
    settings.append_entries_max = words.number("entries", settings.append_entries_max);
    settings.follower.messages_max = words.number("window", settings.follower.messages_max);
    settings.follower.bytes_max = words.number("window_bytes", settings.follower.bytes_max);
    settings.uncommitted_entries_max = words.number("uncommitted", settings.uncommitted_entries_max);
    settings.tail_bytes_max = words.number("tail", settings.tail_bytes_max);
    settings.promote_within = LogIndex{words.number("promote_within", settings.promote_within.value)};
    settings.witness_may_lead = words.number("witness_may_lead", 0) != 0;
    cluster_ = std::make_unique<CoreCluster>(words.number("seed", 1), settings);
    cluster_->on_violation = [this](const std::string& what) {
        failures.push_back(what);
        out_ += "BROKEN: " + what + "\n";
    };
    if (words.named.contains("without")) {
        for (const NodeName& name : words.list("nodes")) {
            cluster_->add(name);
            cluster_->start(name);
        }
    } else {
        cluster_->form(words.list("nodes"), words.list("witness"));
        for (const std::string& pair : words.list("priority")) {
            const auto parts = split(pair, ':');
            Change change{Change::Kind::kUpdate, parts.at(0), cluster_->member(parts.at(0))};
            change.member.priority = static_cast<std::uint32_t>(to_number(parts.at(1)));
            static_cast<void>(cluster_->change(cluster_->leader(), 0, {change}));
            cluster_->run(4);
        }
    }
    cluster_->trace = [this](const std::string& line) { say(line); };
}

/// tick 1 [times=n]: these alone, and what they say is delivered. run [times=n]: all. elect 1: ticks until it leads.
/// pause 1 ticks=n: so many passed in which it did not run.
void Script::time(const Words& words) {
    if (words.verb == "elect") {
        cluster_->elect(words.at(0));
        return;
    }
    if (words.verb == "run") {
        cluster_->run(words.number("times", 1));
        return;
    }
    for (std::uint64_t i = 0; i < words.number("times", 1); ++i) {
        for (const NodeName& name : nodes(words)) {
            if (words.verb == "pause") {
                cluster_->with(name, [&](Core& core) { core.paused(words.number("ticks", 1)); });
            } else {
                cluster_->tick(name);
            }
            if (!cluster_->hold_messages) {
                cluster_->deliver_all();
            }
        }
    }
}

void Script::network(const Words& words) {
    const std::string& verb = words.verb;
    const auto each_link = [&](auto&& f) {  // cut 1 from=2,3 [one_way]: what 1 hears of them; both ways without one_way
        for (const NodeName& a : nodes(words)) {
            std::vector<std::string> others = words.list("from");
            if (others.empty()) {
                others = cluster_->names();
            }
            for (const NodeName& b : others) {
                if (a != b) {
                    f(a, b);
                }
            }
        }
    };
    const auto matching = [&](const Envelope& e) {  // from=1 to=2 kind=Vote
        const std::string text = describe(*e.message);
        return (!words.named.contains("from") || words.named.at("from") == e.from) &&
               (!words.named.contains("to") || words.named.at("to") == e.to) &&
               (!words.named.contains("kind") || text.starts_with(words.named.at("kind") + " "));
    };
    if (verb == "cut") {
        each_link([&](const NodeName& a, const NodeName& b) {
            cluster_->cut(b, a);
            if (!words.has("one_way")) {
                cluster_->cut(a, b);
            }
        });
    } else if (verb == "heal") {
        cluster_->heal();
    } else if (verb == "down") {  // down 1 from=2 [died]: 1 hears that the connection to 2 is gone
        each_link([&](const NodeName& a, const NodeName& b) {
            cluster_->with(a, [&](Core& core) { core.peer_down(b, words.has("died")); });
        });
    } else if (verb == "up") {
        each_link([&](const NodeName& a, const NodeName& b) {
            cluster_->with(a, [&](Core& core) { core.peer_up(b, cluster_->node(b).witness); });
        });
    } else if (verb == "hold") {  // hold [snapshots] on|off: messages wait for deliver
        bool& hold = words.has("snapshots") ? cluster_->hold_snapshots : cluster_->hold_messages;
        hold = words.has("on");
        if (!hold && !cluster_->hold_messages) {
            cluster_->deliver_all();
        }
    } else if (verb == "messages") {  // messages on|off: they are traced
        cluster_->trace_messages = words.has("on");
    } else if (verb == "reverse") {  // of those that wait
        std::ranges::reverse(cluster_->network);
    } else if (verb == "snapshot") {  // snapshot deliver|lose
        if (!cluster_->snapshots.empty()) {
            cluster_->carry_snapshot(0, words.has("lose"));
        }
    } else {  // deliver|drop|duplicate [from=] [to=] [kind=] [all]: those that wait now
        std::vector<std::uint64_t> ids;
        for (const Envelope& e : cluster_->network) {
            if (matching(e)) {
                ids.push_back(e.id);
            }
        }
        for (const std::uint64_t id : ids) {
            const auto at = std::ranges::find(cluster_->network, id, &Envelope::id);
            const auto position = static_cast<std::size_t>(at - cluster_->network.begin());
            if (at == cluster_->network.end()) {
                continue;
            }
            if (verb == "deliver") {
                cluster_->deliver(position);
            } else if (verb == "drop") {
                cluster_->drop(position);
            } else {
                cluster_->duplicate(position);
            }
        }
    }
    if (!cluster_->hold_messages && verb != "cut") {
        cluster_->deliver_all();
    }
}

void Script::disk(const Words& words) {
    for (const NodeName& name : nodes(words)) {
        const std::string& verb = words.verb;
        if (verb == "crash") {  // crash 1 [kept=n]: of a write that is under way, 0 nothing, 1 the hard state, 2.. entries, too
            cluster_->crash(name, words.number("kept", 0));
        } else if (verb == "start") {
            cluster_->start(name);
        } else if (verb == "add") {  // add 4 [witness]: an empty member that runs and was not added to the group
            cluster_->add(name, words.has("witness"));
            cluster_->start(name);
        } else if (verb == "wipe") {
            cluster_->wipe(name);
        } else if (verb == "compact") {  // compact 1 [keep=n]
            cluster_->compact(name, words.number("keep", 0));
        } else if (verb == "write") {  // what hangs is written after all
            cluster_->finish_write(name);
        } else if (verb == "applies") {  // applies 1 hang|go
            cluster_->node(name).apply_hangs = words.has("hang");
            cluster_->apply(name);
        } else if (words.has("hang") || words.has("go")) {  // disk 1 hang|go|full|free|stalled|well
            cluster_->node(name).disk_hangs = words.has("hang");
            if (words.has("go")) {
                cluster_->finish_write(name);
            }
        } else if (words.has("full") || words.has("free")) {
            cluster_->node(name).disk_full = words.has("full");
        } else {
            cluster_->with(name, [&](Core& core) { core.disk_stalled(words.has("stalled")); });
        }
        if (!cluster_->hold_messages) {
            cluster_->deliver_all();
        }
    }
}

void Script::request(const Words& words) {
    const std::vector<NodeName> asked = nodes(words);
    if (asked.empty() || asked[0].empty() || !cluster_->running(asked[0])) {
        say("ERROR: there is no such member");
        return;
    }
    const NodeName name = asked[0];
    const std::string& verb = words.verb;
    const auto answer = [&](const Result<>& result) {
        if (!result) {
            say(fmt::format("{}: refused: {}", name, result.error().message()));
        }
    };
    const std::uint64_t id = words.number("id", ++requests_);
    if (verb == "propose") {  // propose 1 x [times=n]
        for (std::uint64_t i = 0; i < words.number("times", 1); ++i) {
            const auto placed = cluster_->propose(name, words.at(1));
            if (!placed) {
                say(fmt::format("{}: refused: {}", name, placed.error().message()));
            }
        }
    } else if (verb == "read") {  // read 1 [id=n]
        answer(cluster_->read(name, id));
    } else if (verb == "readers_wait") {  // readers_wait 2
        cluster_->with(name, [](Core& core) { core.readers_wait(); });
    } else if (verb == "transfer") {  // transfer 1 [to=2]
        cluster_->with(name, [&](Core& core) {
            answer(core.transfer(id, words.named.contains("to") ? words.named.at("to") : NodeName{}));
        });
    } else if (verb == "step_down") {
        cluster_->with(name, [&](Core& core) { answer(core.step_down("an operator asked for it")); });
    } else if (verb == "leave") {
        cluster_->with(name, [](Core& core) { core.leave(); });
    } else {  // change 1 add=4 learner=5 promote=4 demote=2 remove=3 priority=2:50
        std::vector<Change> changes;
        static const std::pair<const char*, Change::Kind> kKinds[] = {
            {"add", Change::Kind::kAddVoter},   {"learner", Change::Kind::kAddLearner}, {"promote", Change::Kind::kPromote},
            {"demote", Change::Kind::kDemote},  {"remove", Change::Kind::kRemove},      {"priority", Change::Kind::kUpdate},
        };
        for (const auto& [word, kind] : kKinds) {
            for (const std::string& each : words.list(word)) {
                const auto parts = split(each, ':');
                Change change{kind, parts.at(0), {}};
                if (std::ranges::count(cluster_->names(), parts.at(0)) > 0) {
                    change.member = cluster_->member(parts.at(0));
                    change.member.directory = {};  // an operator does not know it
                } else {
                    change.member.address = parts.at(0) + ":7000";
                }
                if (kind == Change::Kind::kUpdate) {
                    change.member.priority = static_cast<std::uint32_t>(to_number(parts.at(1)));
                }
                changes.push_back(std::move(change));
            }
        }
        answer(cluster_->change(name, id, changes));
    }
    if (!cluster_->hold_messages) {
        cluster_->deliver_all();
    }
}

void Script::look(const Words& words) {
    if (words.verb == "queue") {  // messages that wait
        for (const Envelope& e : cluster_->network) {
            say(fmt::format("  {}>{} {}", e.from, e.to, describe(*e.message)));
        }
        return;
    }
    const std::vector<NodeName> names = words.plain.empty() ? cluster_->names() : nodes(words);
    for (const NodeName& name : names) {
        if (!cluster_->running(name)) {
            say(fmt::format("  {}: down", name));
            continue;
        }
        const Core& core = cluster_->core(name);
        if (words.verb == "status") {
            say(fmt::format("  {}: {} term={} last={} committed={} applied={} members: {}{}", name, to_string(core.role()),
                            core.term().value, core.log().last().value, core.committed().value,
                            core.applied_index().value, core.configuration().describe(), core.removed() ? " (removed)" : ""));
        } else if (words.verb == "log") {
            std::string text;
            const auto entries = core.log().slice(core.log().first(), core.log().last(), 100, 1 << 20);
            for (const EntryPtr& e : entries.value()) {
                text += fmt::format(" {}/{}{}", e->index.value, e->term.value,
                                    e->kind == EntryKind::kNoop         ? ""
                                    : e->kind == EntryKind::kMembership ? ":members"
                                                                        : ":" + e->payload);
            }
            say(fmt::format("  {}:{}", name, text));
        } else {
            for (const NodeName& peer : cluster_->names()) {
                if (const Progress* p = core.progress(peer)) {
                    static constexpr const char* kStates[] = {"probe", "replicate", "snapshot"};
                    say(fmt::format("  {}>{}: {} match={} next={}{}", name, peer, kStates[static_cast<int>(p->state())],
                                    p->match().value, p->next().value, p->waits() ? " waits" : ""));
                }
            }
        }
    }
}

}  // namespace nornic::raft::testing
