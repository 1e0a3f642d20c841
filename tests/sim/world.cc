#include "tests/sim/world.h"

#include "tests/sim/checker.h"
#include "tests/sim/network.h"
#include "tests/sim/node.h"
#include "tests/sim/raft_checker.h"
#include "tests/sim/regions.h"
#include "tests/sim/workload.h"

#include <algorithm>
#include <utility>

namespace nornic::sim {
namespace {

constexpr std::size_t kLinesKept = 40;
constexpr std::uint64_t kEventsMax = 3'000'000;  // a run that does more goes in circles

}  // namespace

World::World(const Menu& drawn, Tracing tracing, Marks& counted, Ground& ground, Regions* among, std::size_t which)
    : menu{drawn},
      scheduler{ground.scheduler},
      random{ground.random},
      fibers{ground.fibers},
      regions{among},
      region{which},
      tracing_{tracing},
      marks_{counted} {
    const std::size_t members = menu.members();
    network = std::make_unique<Network>(*this, members);
    checker = std::make_unique<Checker>(*this);
    if (menu.raft.on) {
        raft_checker = std::make_unique<RaftChecker>(*this);
    }
    for (std::size_t i = 0; i < members; ++i) {
        const bool witness = i >= menu.data_members();
        const std::string id(1, witness ? 'w' : static_cast<char>('a' + i));
        nodes.push_back(std::make_unique<Node>(*this, i, id, witness));
        if (menu.skew != 0) {
            nodes.back()->clock().set_rate(1.0 + menu.skew * (2 * random.unit() - 1));
            nodes.back()->clock().set_wall_offset(between(-kMillisecond * 5000, kMillisecond * 5000));
        }
    }
    nodes.front()->configured_primary = true;
    if (menu.raft.on) {
        prepare_raft();
    }
}

World::~World() = default;

std::string World::address_of(const std::string& id) const {
    return (regions == nullptr ? std::string{} : Regions::name_of(region) + '/') + id + ":7688";
}

Node* World::find(const std::string& id) const {
    for (const auto& node : nodes) {
        if (node && node->id() == id) {
            return node.get();
        }
    }
    return nullptr;
}

void World::line(std::string text) {
    text = fmt::format("{:10.3f} ms  {}{}",
                       static_cast<double>(scheduler.now().count()) / 1e6,
                       regions == nullptr ? std::string{} : Regions::name_of(region) + "  ",
                       text);
    if (tracing_.print) {
        fmt::print("{}\n", text);
    }
    lines_.push_back(std::move(text));
    if (lines_.size() > kLinesKept) {
        lines_.pop_front();
    }
}

void World::violate(std::string what) {
    if (!violation_) {
        trace("VIOLATION: {}", what);
        violation_ = Violation{std::move(what)};
    }
}

// ---- Faults ----

void World::every(Duration mean, std::function<void()> fault) {
    if (mean.count() == 0) {
        return;
    }
    scheduler.after(between(mean / 4, mean * 7 / 4), [this, mean, fault = std::move(fault)] {
        if (faults) {
            fault();
            every(mean, fault);
        }
    });
}

/// Short of the time-out and well past it, both.
Duration World::a_while() {
    const Duration timeout = menu.failover_timeout();
    return between(kMillisecond, random.one_in(3) ? timeout * 3 : timeout);
}

void World::plan_faults() {
    const auto a_while = [this] { return World::a_while(); };
    const auto anyone = [this]() -> Node& { return node(random.below(nodes.size())); };
    const auto other_than = [this](const Node& one) -> Node& {  // itself, where it is alone
        return node((one.number() + 1 + (nodes.size() > 1 ? random.below(nodes.size() - 1) : nodes.size() - 1)) % nodes.size());
    };
    const auto data = [this]() -> Node& { return node(random.below(menu.data_members())); };
    const auto primary_or_any = [this, anyone]() -> Node& {
        for (const auto& candidate : nodes) {
            if (!candidate->witness() && candidate->accepting() && candidate->replica().term().value != 0 &&
                random.one_in(2)) {
                return *candidate;
            }
        }
        return anyone();
    };

    every(menu.crash, [=] { primary_or_any().crash(false, a_while()); });
    every(menu.power_loss, [=] { primary_or_any().crash(true, a_while()); });
    every(menu.both_die, [=, this] {
        mark("fault: both die");
        const bool power = random.one_in(2);
        for (std::size_t i = 0; i < (menu.raft.on ? nodes.size() : 2); ++i) {
            node(i).crash(power, a_while());
        }
    });
    every(menu.pause, [=, this] {
        ++partitions;
        primary_or_any().pause(a_while());
    });
    every(menu.partition, [=, this] {
        ++partitions;
        if (menu.raft.on && random.one_in(2)) {
            return split();
        }
        Node& one = anyone();
        Node& two = other_than(one);
        const bool alone = random.one_in(2);  // from all, or from one
        const Duration how_long = a_while();
        for (const auto& other : nodes) {
            if (other.get() != &one && (alone || other.get() == &two)) {
                network->cut(one.number(), other->number(), true);
                network->cut(other->number(), one.number(), true);
                scheduler.after(how_long, [this, a = one.number(), b = other->number()] {
                    network->cut(a, b, false);
                    network->cut(b, a, false);
                });
            }
        }
    });
    every(menu.one_way, [=, this] {
        ++partitions;
        const std::size_t from = anyone().number();
        const std::size_t to = other_than(node(from)).number();
        network->cut(from, to, true);
        scheduler.after(a_while(), [this, from, to] { network->cut(from, to, false); });
    });
    every(menu.reset, [=, this] {
        ++partitions;
        Node& one = anyone();
        network->reset(one.number(), other_than(one).number());
    });
    every(menu.lane_reset, [=, this] {
        ++partitions;
        Node& one = anyone();
        network->reset_lane(one.number(), other_than(one).number());
    });
    every(menu.disk_full, [=, this] {
        Node& one = data();
        trace("the disk of {} is full", one.id());
        one.disk().full = true;
        scheduler.after(a_while(), [this, number = one.number()] {
            trace("the disk of {} has room again", node(number).id());
            node(number).disk().full = false;
        });
    });
    every(menu.disk_hang, [=, this] {
        ++partitions;
        Node& one = anyone();
        trace("the disk of {} hangs", one.id());
        one.disk().hangs = true;
        scheduler.after(a_while(), [this, number = one.number()] {
            trace("the disk of {} answers again", node(number).id());
            node(number).disk().hangs = false;
            node(number).when_running([this, number] {
                if (!node(number).disk().hangs) {
                    node(number).disk().resume_sync();
                }
            });
        });
    });
    every(menu.sync_fails, [=] { anyone().disk().fails_next = true; });
    every(menu.clean_stop, [=, this] {
        Node& one = primary_or_any();
        if (menu.role_switch && !one.witness() && random.one_in(2)) {
            one.configured_primary = !one.configured_primary;
        }
        one.stop_in_order(a_while());
    });
    if (menu.raft.on) {
        plan_operator();
        plan_wipes();
    }
    every(menu.raft.on ? Duration::zero() : menu.switch_over, [=, this] {
        Node& one = data();
        if (!one.accepting()) {
            return;
        }
        modes::Command command;
        command.kind = random.one_in(2) ? modes::Command::Kind::kPromote : modes::Command::Kind::kTransfer;
        trace("{} is asked to {}", one.id(), command.kind == modes::Command::Kind::kPromote ? "lead" : "hand over");
        switched_over_at = scheduler.now();
        one.replica().command(command, one.clock().now() + menu.failover_timeout(), [this](Result<std::string> result) {
            mark(result ? "command: done" : "command: refused");
            trace("the command ends: {}", result ? result.value() : result.error().message());
        });
    });
    every(menu.forced, [=, this] {
        Node& one = data();
        if (!one.accepting() || one.replica().view().is_leader() || one.disk().lineage.size() == 1) {  // nobody forces an empty one
            return;
        }
        ++forced;
        switched_over_at = scheduler.now();
        trace("{} is forced to lead", one.id());
        modes::Command command;
        command.force = true;
        one.replica().command(command, one.clock().now() + menu.failover_timeout(), [this](Result<std::string> result) {
            mark(result ? "forced: done" : "forced: refused");
        });
    });
    every(menu.raft.on ? Duration::zero() : menu.wipe, [=, this] {
        const bool first = random.one_in(2);
        Node& kept = node(first ? 0 : 1);
        Node& rebuilt = node(first ? 1 : 0);
        const auto& all = kept.disk().durable;
        const auto& part = rebuilt.disk().durable;
        const bool safe = kept.accepting() && rebuilt.alive() && kept.replica().term().value != 0 &&
                          rebuilt.replica().term().value == 0 && rebuilt.disk().newest_term() <= kept.replica().term() &&
                          part.size() <= all.size() && std::equal(part.begin(), part.end(), all.begin());
        // No operator empties the disk of whom he has just asked to lead.
        const bool may_lead_soon = switched_over_at && scheduler.now() - *switched_over_at < menu.failover_timeout();
        if (!safe || may_lead_soon) {
            return;
        }
        mark("fault: a standby's disk is emptied");
        rebuilt.configured_primary = false;
        rebuilt.crash(true, a_while());
        scheduler.after(kMicrosecond, [this, number = rebuilt.number()] {
            trace("the disk of {} is emptied", node(number).id());
            node(number).disk().wipe();
        });
    });
    every(menu.checkpoint, [=, this] {
        Node& one = data();
        if (one.running()) {
            trace("{} writes a checkpoint", one.id());
            static_cast<void>(one.engine().checkpoint());
        }
    });
}

/// Looks at everything from time to time.
void World::probe() {
    scheduler.after(menu.tick * 5, [this] {
        if (!faults) {
            return;
        }
        checker->count_primaries();
        checker->check_views();
        if (random.one_in(8)) {
            checker->compare_states();
        }
        probe();
    });
}

void World::heal() {
    faults = false;
    trace("all faults end");
    network->heal();
    for (const auto& node : nodes) {
        node->heal();
    }
    if (menu.raft.on) {
        heal_raft();
    }
}

// ---- The run ----

void World::run() {
    const auto workload = make_workload(*this, menu.workload);
    Clients clients{*this, *workload};
    live(clients, *workload);
    // What is under way refers to the workload.
    for (const auto& node : nodes) {
        node->end();
    }
}

void World::until(Duration deadline) {
    while (!violation_ && scheduler.step(deadline)) {
        if (scheduler.events() > kEventsMax) {
            violate("the run does not come to an end");
        }
    }
}

bool World::belongs(const Node& node, Node& leader) const {
    return !menu.raft.on || raft_checker->configuration_of(leader).find(node.id()) != nullptr;
}

Node* World::settled() {
    Node* leader = nullptr;
    for (const auto& node : nodes) {
        if (menu.raft.on && !node->accepting()) {
            continue;
        }
        if (!node->accepting()) {
            return nullptr;
        }
        // A region that may not write has a leader, too.
        const bool leads = regions == nullptr ? node->replica().term().value != 0 : node->replica().view().is_leader();
        if (!node->witness() && leads) {
            if (leader != nullptr) {
                return nullptr;
            }
            leader = node.get();
        }
    }
    if (leader == nullptr || !menu.raft.on) {
        return leader;
    }
    return std::ranges::all_of(nodes, [&](const auto& node) { return node->accepting() || !belongs(*node, *leader); })
               ? leader
               : nullptr;
}

bool World::equal_to(Node& leader) {
    const LogIndex log_end = leader.replica().stats().last_index;
    if (menu.raft.on) {
        const raft::Configuration members = raft_checker->configuration_of(leader);
        const bool done = !members.joint && std::ranges::all_of(members.members, [&](const auto& member) {
            const Node* const node = find(member.first);
            if (node == nullptr) {
                return true;  // an address where nobody listens
            }
            const std::uint64_t directory = raft_checker->directory_of(*node);
            // A witness waits for a voter that may be at an address where nobody listens.
            const bool waits = member.second.promote && member.second.witness &&
                               !raft::apply_changes(members, {{raft::Change::Kind::kPromote, member.first, {}}});
            return (member.second.voter || !member.second.promote || waits) &&
                   (directory == 0 || member.second.directory.value == directory);
        });
        if (!done) {
            return false;
        }
    }
    return std::ranges::all_of(nodes, [&](const auto& node) {
        if (!belongs(*node, leader)) {
            return true;
        }
        if (node->witness()) {
            return !menu.raft.on || node->disk().lineage.size() == leader.disk().lineage.size();
        }
        return node->engine().applied_index() == log_end && node->replica().stats().last_index == log_end &&
               node->disk().lineage.back() == leader.disk().lineage.back();
    });
}

std::string World::states() const {
    std::string out;
    for (const auto& node : nodes) {
        if (node->retired()) {
            continue;
        }
        if (!node->alive()) {
            out += fmt::format(" {} is not there;", node->id());
            continue;
        }
        const auto view = node->replica().view();
        out += fmt::format(" {}: {} of epoch {}, {} ({}), applied {} of {};",
                           node->id(),
                           modes::to_string(view.role),
                           view.term.value,
                           view.state,
                           view.reason,
                           node->witness() ? 0 : node->engine().applied_index().value,
                           node->replica().stats().last_index.value);
    }
    return out;
}

/// Nobody asks for votes where nothing is wrong. One that was taken out while it was away asks once, and is told; and
/// leadership may yet go to a member that is preferred. Returns who leads then.
Node* World::stay_quiet(Node& leader) {
    Node* leads = &leader;
    for (int patience = 8; patience > 0 && !violation_; --patience) {
        const std::uint64_t elections = raft_checker->elections();
        const Term term = leads->replica().term();
        until(scheduler.now() + menu.failover_timeout() * 4);
        Node* const now = settled();
        if (now != nullptr && now == leads && leads->replica().term() == term && raft_checker->elections() == elections) {
            return leads;
        }
        leads = now == nullptr ? leads : now;
    }
    violate(fmt::format("all was well under {}, and somebody asks for votes:{}", leader.id(), states()));
    return leads;
}

void World::live(Clients& clients, Workload& workload) {
    if (menu.raft.on) {
        start_raft();
    } else {
        for (const auto& node : nodes) {
            scheduler.after(between(Duration::zero(), menu.failover_timeout() / 2), [&node] { node->start(); });
        }
    }
    clients.start();
    probe();
    scheduler.after(between(Duration::zero(), menu.failover_timeout() * 2), [this] { plan_faults(); });
    until(menu.faults_for);
    heal();

    // Once all works again: one primary, two equal states, and a new write comes through, in bounded time.
    const Duration healed = scheduler.now();
    // A transfer whose last word was lost without its connection is only taken up again after ten seconds.
    const bool lossy = menu.loss_per_million != 0 || menu.lane_reset.count() != 0;
    const Duration patience =
        menu.failover_timeout() * 12 + kMillisecond * 3000 + (lossy ? std::chrono::seconds{12} : std::chrono::seconds{0});
    Duration progress = healed;  // when a member last caught up with some of the log, or got some of a snapshot
    std::uint64_t received = 0;
    LogIndex caught_up;
    bool written = false;
    bool writing = false;
    Node* leader = nullptr;
    while (!violation_ && scheduler.now() < progress + patience) {
        until(scheduler.now() + menu.tick);
        leader = settled();
        LogIndex least{UINT64_MAX};
        std::uint64_t bytes = 0;
        for (const auto& node : nodes) {
            if (!node->witness() && (!menu.raft.on || (leader != nullptr && belongs(*node, *leader)))) {
                least = std::min(least, node->accepting() ? node->engine().applied_index() : LogIndex{0});
                bytes += node->accepting() ? node->replica().stats().snapshot_bytes_received : 0;
            }
        }
        const bool goes_on = (least > caught_up && least.value != UINT64_MAX && written) || bytes > received;
        caught_up = least.value == UINT64_MAX ? caught_up : std::max(caught_up, least);
        if (goes_on && scheduler.now() < healed + std::chrono::minutes{10}) {
            progress = scheduler.now();
        }
        received = bytes;
        if (leader == nullptr || writing) {
            continue;
        }
        if (!written) {
            writing = true;
            clients.write(*leader, [&](bool committed) {
                writing = false;
                written = committed;
            });
            continue;
        }
        if (equal_to(*leader)) {
            if (clients.idle()) {
                break;
            }
            // A write that one had in its log when it was taken out is of unknown outcome, which is said after half a minute.
            progress = menu.raft.on && scheduler.now() < healed + std::chrono::seconds{40} ? scheduler.now() : progress;
        }
        leader = nullptr;
    }
    if (violation_) {
        return;
    }
    if (leader == nullptr || !written) {
        violate(fmt::format("no single primary, equal states and a new write within {} ms of healing:{}",
                            patience.count() / 1'000'000,
                            states()));
        return;
    }
    trace("{} leads, all is quiet", leader->id());
    if (menu.raft.on) {
        leader = stay_quiet(*leader);
    }
    checker->compare_states();
    if (!violation_) {
        checker->judge(*leader);
    }
    if (!violation_ && raft_checker) {
        raft_checker->judge(*leader);
    }
    if (!violation_) {
        workload.judge(*leader);
    }
}

}  // namespace nornic::sim
