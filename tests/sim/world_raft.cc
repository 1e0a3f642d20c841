// A Raft group's world: who is started how, and what its operator does while it runs.
#include "base/check.h"
#include "tests/sim/checker.h"
#include "tests/sim/network.h"
#include "tests/sim/node.h"
#include "tests/sim/raft_checker.h"
#include "tests/sim/world.h"

#include <algorithm>
#include <utility>

namespace nornic::sim {
// ---- Who is there ----

void World::prepare_raft() {
    using Forming = RaftMenu::Forming;
    const std::size_t data_voters = menu.raft.voters - (menu.witness ? 1 : 0);
    const auto is_voter = [&](const Node& node) { return node.witness() || node.number() < data_voters; };
    for (const auto& node : nodes) {
        modes::RaftSettings& settings = node->raft;
        settings = menu.raft.settings;
        settings.role = node->witness()                                   ? modes::RaftRole::kWitness
                        : node->number() < data_voters                    ? modes::RaftRole::kVoter
                        : node->number() < data_voters + menu.raft.learners ? modes::RaftRole::kLearner
                                                                          : modes::RaftRole::kVoter;
        if (menu.raft.priorities) {
            settings.priority = 50 + 50 * static_cast<std::uint32_t>(random.below(3));
        }
        if (menu.raft.refuses_to_lead && node->number() == data_voters - 1) {
            settings.priority = 0;
        }
        if (menu.raft.forming == Forming::kTogether && is_voter(*node)) {
            settings.bootstrap = !node->witness() && node->number() < menu.raft.bootstrappers;
            for (const auto& other : nodes) {
                if (other.get() != node.get() && is_voter(*other)) {
                    settings.peers.push_back(
                        {menu.raft.peers_by_address ? NodeName{} : other->id(), address_of(other->id())});
                }
            }
        } else if (node->number() == 0) {
            settings.bootstrap = true;
        } else if (menu.raft.forming != Forming::kAdded || settings.role == modes::RaftRole::kLearner) {
            // Any of those that are there, one of which is.
            settings.join.push_back(address_of("a"));
            if (menu.raft.voters > 1 && random.one_in(2)) {
                settings.join.push_back(address_of(node->id() == "b" ? "a" : "b"));
            }
        }
    }
    nodes.front()->standalone_first = menu.raft.begins_standalone;
}

void World::start_raft() {
    const std::size_t initial = menu.data_members() - menu.raft.spares;
    const Duration timeout = menu.failover_timeout();
    for (const auto& node : nodes) {
        if (!node->witness() && node->number() >= initial) {
            continue;  // somebody may add it
        }
        // In any order; now and then one comes late.
        const Duration begins = between(Duration::zero(), random.one_in(6) ? timeout * 4 : timeout / 2);
        scheduler.after(begins, [&node] { node->start(); });
    }
    if (menu.raft.begins_standalone) {
        // The server of its own becomes the first member: stopped, or killed, and started in the other mode.
        scheduler.after(between(timeout / 2, timeout * 2), [this] {
            Node& first = node(0);
            mark("raft: begins with a standalone server's data");
            first.retire();
            scheduler.after(kMicrosecond, [this] {
                node(0).standalone_first = false;
                node(0).start();
            });
        });
    }
    if (menu.raft.forming == RaftMenu::Forming::kAdded) {
        keep_adding();
    }
}

// ---- What its operator does ----

/// Mostly one that leads, now and then any.
Node* World::someone_to_ask() {
    std::vector<Node*> running;
    for (const auto& node : nodes) {
        if (node->accepting()) {
            if (!node->witness() && node->replica().term().value != 0 && !random.one_in(6)) {
                return node.get();
            }
            running.push_back(node.get());
        }
    }
    return running.empty() ? nullptr : running[random.below(running.size())];
}

void World::ask(Node& node, const modes::Command& command, std::function<void(bool)> done) {
    node.replica().command(command,
                           node.clock().now() + menu.failover_timeout() * 4,
                           [this, done = std::move(done)](const Result<std::string>& result) {
                               trace("the command ends: {}", result ? result.value() : result.error().message());
                               done(result.has_value());
                           });
}

/// The members that a group is to be made of, one after the other.
void World::keep_adding() {
    scheduler.after(between(menu.failover_timeout() / 4, menu.failover_timeout()), [this] {
        if (!faults) {
            return;
        }
        const std::size_t data_voters = menu.raft.voters - (menu.witness ? 1 : 0);
        for (const auto& node : nodes) {
            const bool wanted = (node->witness() || node->number() < data_voters) && !node->removed;
            if (wanted && raft_checker->configuration().find(node->id()) == nullptr &&
                !raft_checker->configuration().members.empty()) {
                add(*node);
                break;
            }
        }
        keep_adding();
    });
}

void World::add(Node& node) {
    Node* const asked = someone_to_ask();
    if (asked == nullptr || asked->standalone() || asked == &node) {
        return;
    }
    modes::Command command;
    command.kind = modes::Command::Kind::kAddMember;
    command.target = node.id();
    command.address = address_of(node.id());
    command.member_role = node.witness()                                    ? modes::Command::MemberRole::kWitness
                          : node.raft.role == modes::RaftRole::kLearner ? modes::Command::MemberRole::kLearner
                                                                            : modes::Command::MemberRole::kVoter;
    trace("{} is asked to add {}", asked->id(), node.id());
    ask(*asked, command, [this, number = node.number()](bool done) {
        mark(done ? "churn: added" : "churn: not added");
        if (done) {
            sim::World::node(number).removed = false;
        }
    });
}

/// An address where nobody listens, or somebody else.
void World::add_nobody() {
    Node* const asked = someone_to_ask();
    if (asked == nullptr || asked->standalone()) {
        return;
    }
    modes::Command command;
    const bool there = raft_checker->configuration().find("z") != nullptr;
    command.kind = there ? modes::Command::Kind::kRemoveMember : modes::Command::Kind::kAddMember;
    command.target = "z";
    command.address = random.one_in(2) ? "z:7688" : address_of(asked->id());
    trace("{} is asked to {} one at a wrong address", asked->id(), there ? "remove" : "add");
    ask(*asked, command, [this](bool done) { mark(done ? "churn: a wrong address" : "churn: a wrong address was refused"); });
}

void World::remove_one() {
    Node* const asked = someone_to_ask();
    std::vector<Node*> members;
    for (const auto& node : nodes) {
        if (raft_checker->configuration().find(node->id()) != nullptr) {
            members.push_back(node.get());
        }
    }
    if (asked == nullptr || asked->standalone() || members.empty()) {
        return;
    }
    Node& one = *members[random.below(members.size())];
    // Who has just lost a disk is not going to count on it.
    if (std::ranges::any_of(members, [&](const Node* other) { return other != &one && raft_checker->lacks_disk(*other); })) {
        return;
    }
    modes::Command command;
    command.kind = modes::Command::Kind::kRemoveMember;
    command.target = one.id();
    one.removed = true;  // whatever comes of it, nobody adds it by himself
    one.raft.bootstrap = false;  // and it is not to begin a group again
    trace("{} is asked to remove {}", asked->id(), one.id());
    ask(*asked, command, [this, number = one.number()](bool done) {
        mark(done ? "churn: removed" : "churn: not removed");
        // Some are switched off, some forgotten and go on running.
        if (done && random.one_in(2)) {
            scheduler.after(a_while(), [this, number] {
                if (node(number).removed && raft_checker->configuration().find(node(number).id()) == nullptr) {
                    node(number).retire();
                }
            });
        }
    });
}

void World::plan_operator() {
    every(menu.raft.churn, [this] {
        if (menu.raft.wrong_addresses && random.one_in(4)) {
            return add_nobody();
        }
        std::vector<Node*> outside;
        for (const auto& node : nodes) {
            if (raft_checker->configuration().find(node->id()) == nullptr && !node->standalone()) {
                outside.push_back(node.get());
            }
        }
        if (raft_checker->configuration().members.empty()) {
            return;
        }
        if (outside.empty() || random.one_in(2)) {
            return remove_one();
        }
        Node& one = *outside[random.below(outside.size())];
        if (!one.retired() && !one.alive()) {
            return;  // it is about to start again
        }
        if (!one.retired() && !one.removed) {
            return add(one);
        }
        // It begins anew with an empty disk, unless somebody forgot that.
        const bool used = one.disk().lineage.size() > 1 || raft_checker->directory_of(one) != 0;
        const bool empty = used && (!menu.raft.old_disks || random.one_in(2));
        if (empty && !raft_checker->may_wipe(one)) {
            return;
        }
        const bool joins = random.one_in(2) && (empty || !used);
        one.retire();
        scheduler.after(kMicrosecond, [this, number = one.number(), empty, joins] {
            Node& again = node(number);
            if (empty) {
                trace("the disk of {} is emptied", again.id());
                again.disk().wipe();
            }
            again.raft.bootstrap = false;
            again.raft.peers.clear();
            again.raft.join.clear();
            for (const auto& [id, member] : raft_checker->configuration().members) {
                if (joins && (again.raft.join.empty() || random.one_in(2))) {
                    again.raft.join.push_back(member.address);
                }
            }
            if (!again.witness()) {
                again.raft.role = random.one_in(3) ? modes::RaftRole::kLearner : modes::RaftRole::kVoter;
            }
            again.removed = false;
            mark(joins ? "churn: joins" : "churn: is started to be added");
            again.start();
            if (!joins) {
                add(again);
            }
        });
    });
    every(menu.switch_over, [this] {
        Node* const asked = someone_to_ask();
        if (asked == nullptr || asked->standalone()) {
            return;
        }
        using Kind = modes::Command::Kind;
        modes::Command command;
        switch (random.below(4)) {
            case 0:
                command.kind = Kind::kStepDown;
                break;
            case 1:
                command.kind = Kind::kPromote;
                break;
            case 2:
                command.kind = Kind::kSnapshot;
                break;
            default:
                command.kind = Kind::kTransfer;
                if (random.one_in(2)) {
                    command.target = node(random.below(nodes.size())).id();
                }
                break;
        }
        const std::string name = command.kind == Kind::kStepDown   ? "step down"
                                 : command.kind == Kind::kPromote  ? "lead"
                                 : command.kind == Kind::kSnapshot ? "write a snapshot"
                                                                   : "hand over";
        trace("{} is asked to {} {}", asked->id(), name, command.target);
        ask(*asked, command, [this, name](bool done) { mark(fmt::format("command: {} {}", name, done ? "done" : "refused")); });
    });
}

/// A member comes back empty under the same id.
void World::plan_wipes() {
    every(menu.wipe, [this] {
        Node& one = node(random.below(nodes.size()));
        if (one.retired() || one.standalone() || raft_checker->configuration().find(one.id()) == nullptr ||
            !raft_checker->may_wipe(one)) {
            return;
        }
        mark("fault: a member's disk is emptied");
        one.crash(true, a_while());
        scheduler.after(kMicrosecond, [this, number = one.number()] {
            if (!node(number).alive()) {
                Node& again = node(number);
                trace("the disk of {} is emptied", again.id());
                again.disk().wipe();
                // One that has no peers to ask would found a group of its own: its operator has read that it joins now.
                if (again.raft.bootstrap && again.raft.peers.empty()) {
                    again.raft.bootstrap = false;
                    for (const auto& [id, member] : raft_checker->configuration().members) {
                        if (id != again.id()) {
                            again.raft.join.push_back(member.address);
                        }
                    }
                }
            }
        });
    });
}

/// Two halves that do not hear each other.
void World::split() {
    const Duration how_long = a_while();
    std::vector<bool> side;
    for (std::size_t i = 0; i < nodes.size(); ++i) {
        side.push_back(random.one_in(2));
    }
    mark("network: split in two");
    const auto set = [this, side](bool cut) {
        for (std::size_t a = 0; a < nodes.size(); ++a) {
            for (std::size_t b = 0; b < nodes.size(); ++b) {
                if (side[a] != side[b]) {
                    network->cut(a, b, cut);
                }
            }
        }
    };
    set(true);
    scheduler.after(how_long, [set] { set(false); });
}

/// Members whose machines were switched off are switched on, if the group still counts on them.
void World::heal_raft() {
    for (const auto& node : nodes) {
        if (node->retired() && !lost && raft_checker->configuration().find(node->id()) != nullptr) {
            scheduler.after(kMillisecond, [&node] { node->start(); });
        }
    }
}

}  // namespace nornic::sim
