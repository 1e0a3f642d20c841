#include "tests/sim/network.h"

#include "base/check.h"
#include "tests/sim/node.h"
#include "tests/sim/raft_checker.h"
#include "tests/sim/regions.h"

#include <algorithm>
#include <optional>
#include <tuple>
#include <utility>

namespace nornic::sim {

using transport::LostReason;
using transport::PeerInfo;

class SimBus final : public transport::MessageBus {
public:
    SimBus(Network& network, std::size_t member, PeerInfo self)
        : network_{network}, member_{member}, self_{std::move(self)} {}
    ~SimBus() override { SimBus::stop(); }

    Result<> start(transport::MessageHandler& handler) override {
        handler_ = &handler;
        network_.buses_[member_] = this;
        if (between_ != nullptr) {
            between_->buses_[as_] = this;
        }
        network_.started(member_);
        if (between_ != nullptr && handler_ != nullptr) {
            between_->started(as_);
        }
        return success();
    }
    void stop() override {
        handler_ = nullptr;
        for (const auto& [network, member] : {std::pair{&network_, member_}, std::pair{between_, as_}}) {
            if (network != nullptr && network->buses_[member] == this) {
                network->buses_[member] = nullptr;
                network->stopped(member);
            }
        }
    }
    /// Only a mode whose members change says whom it dials; of the others all dial all, and so do members of two regions.
    void set_peers(std::vector<std::string> addresses) override {
        dials_.clear();
        const World& world = network_.world_;
        const std::string own = world.regions == nullptr ? std::string{} : Regions::name_of(world.region) + '/';
        for (const std::string& address : addresses) {
            if (!address.starts_with(own)) {
                continue;
            }
            const std::string id = address.substr(own.size(), address.find(':') - own.size());
            if (Node* const peer = network_.world_.find(id); peer != nullptr) {
                dials_.push_back(peer->number());
            }
        }
        if (handler_ != nullptr) {
            network_.dials_changed(member_);
        }
    }
    void set_self(const PeerInfo& self) override { self_ = self; }
    bool send(const NodeName& to, Lane lane, MessagePtr message) override {
        const auto [network, from, peer] = find(to);
        if (handler_ == nullptr || !peer || !network_.node(member_).seam("send")) {
            return false;
        }
        return network->send(from, *peer, lane, std::move(message));
    }
    std::size_t queued_bytes(const NodeName& to, Lane lane) const override {
        const auto [network, from, peer] = find(to);
        return peer ? network->way(from, *peer).queued[static_cast<std::size_t>(lane)] : 0;
    }
    std::vector<transport::PeerStats> stats() const override { return {}; }
    std::string address() const override { return self_.cluster_address; }
    std::string authentication() const override { return "none"; }

    void join(Network& between, std::size_t as) {
        between_ = &between;
        as_ = as;
    }
    [[nodiscard]] transport::MessageHandler* handler() const { return handler_; }
    [[nodiscard]] const PeerInfo& self() const { return self_; }
    [[nodiscard]] bool dials(std::size_t member) const { return std::ranges::find(dials_, member) != dials_.end(); }
    void forget() { handler_ = nullptr; }

private:
    /// The network that leads there, and both ends' numbers in it.
    [[nodiscard]] std::tuple<Network*, std::size_t, std::optional<std::size_t>> find(const NodeName& to) const {
        if (to.find('/') != NodeName::npos) {
            return {between_, as_, between_ == nullptr ? std::nullopt : between_->regions_->find(to)};
        }
        Node* const peer = network_.world_.find(to);
        return {&network_, member_, peer == nullptr ? std::nullopt : std::optional{peer->number()}};
    }

    Network& network_;
    const std::size_t member_;
    Network* between_ = nullptr;
    std::size_t as_ = 0;
    PeerInfo self_;
    transport::MessageHandler* handler_ = nullptr;
    std::vector<std::size_t> dials_;
};

Network::Network(World& world, std::size_t members, Regions* among)
    : world_{world},
      regions_{among},
      menu_{among == nullptr ? world.menu : among->between_menu},
      members_{members},
      buses_(members),
      ways_(members * members),
      links_(members * members) {}
Network::~Network() = default;

std::unique_ptr<transport::MessageBus> Network::make_bus(std::size_t member, const PeerInfo& self) {
    return std::make_unique<SimBus>(*this, member, self);
}

void Network::join(transport::MessageBus& bus, std::size_t member) {
    static_cast<SimBus&>(bus).join(*this, member);
}

Node& Network::node(std::size_t member) const {
    return regions_ == nullptr ? world_.node(member) : regions_->node(member);
}

std::string Network::name(std::size_t member) const {
    return regions_ == nullptr ? node(member).id() : Regions::name_of(node(member).world().region) + '/' + node(member).id();
}

// ---- Connections ----

bool Network::wanted(std::size_t a, std::size_t b) const {
    if (regions_ != nullptr) {
        return &node(a).world() != &node(b).world();
    }
    return !menu_.raft.on || (buses_[a] != nullptr && buses_[a]->dials(b)) ||
           (buses_[b] != nullptr && buses_[b]->dials(a));
}

void Network::dials_changed(std::size_t member) {
    for (std::size_t other = 0; other < members_; ++other) {
        if (other == member) {
            continue;
        }
        if (wanted(member, other)) {
            dial(member, other);
        } else {
            break_link(member, other, LostReason::kClosed);
        }
    }
}

void Network::started(std::size_t member) {
    for (std::size_t other = 0; other < members_; ++other) {
        if (other != member) {
            // Its Hello tells the others that the process they were connected with is gone.
            break_link(member, other, LostReason::kClosed);
            dial(member, other);
        }
    }
}

/// Tries until it succeeds; one attempt a link is under way at a time.
void Network::dial(std::size_t a, std::size_t b) {
    Link& line = link(a, b);
    if (line.dialing || line.connected || !wanted(a, b)) {
        return;
    }
    line.dialing = true;
    const Duration pause = world_.between(menu_.latency_min * 2, menu_.dial_max);
    world_.scheduler.after(std::max(pause, line.quiet_until - world_.scheduler.now()), [this, a, b] {
        Link& target = link(a, b);
        target.dialing = false;
        if (target.connected || (buses_[a] == nullptr && buses_[b] == nullptr) || !wanted(a, b)) {
            return;
        }
        const bool reachable = !way(a, b).cut && !way(b, a).cut;
        if (!reachable || buses_[a] == nullptr || buses_[b] == nullptr || node(a).paused() ||
            node(b).paused() || target.quiet_until > world_.scheduler.now()) {
            dial(a, b);
            return;
        }
        connect(a, b);
    });
}

void Network::connect(std::size_t a, std::size_t b) {
    Link& line = link(a, b);
    line.connected = true;
    ++line.generation;
    world_.trace("{} and {} are connected", name(a), name(b));
    for (Way* direction : {&way(a, b), &way(b, a)}) {
        direction->up = true;
        direction->held.clear();
        direction->queued = {};
        for (auto& generation : direction->lane_generation) {
            ++generation;
        }
    }
    const std::uint64_t generation = line.generation;
    for (const auto& [at, of] : {std::pair{a, b}, std::pair{b, a}}) {
        if (link(a, b).generation == generation && buses_[at] != nullptr && buses_[of] != nullptr) {
            PeerInfo peer = buses_[of]->self();
            peer.id = name(of);
            buses_[at]->handler()->peer_up(peer);
        }
    }
}

void Network::break_link(std::size_t a, std::size_t b, LostReason reason) {
    Link& line = link(a, b);
    if (!line.connected) {
        return;
    }
    line.connected = false;
    ++line.generation;
    world_.trace("the connection of {} and {} breaks", name(a), name(b));
    const Duration noticed = reason == LostReason::kClosed ? world_.between(Duration::zero(), menu_.latency_max * 2)
                                                           : world_.between(Duration::zero(), menu_.keep_alive / 2);
    line.quiet_until = world_.scheduler.now() + noticed;
    tell_down(a, b, reason, noticed);
    tell_down(b, a, reason, noticed / 2);
    dial(a, b);
}

void Network::tell_down(std::size_t member, std::size_t lost, LostReason reason, Duration delay) {
    if (!way(member, lost).up) {
        return;
    }
    const std::uint64_t generation = link(member, lost).generation;
    world_.scheduler.after(delay, [this, member, lost, reason, generation] {
        node(member).when_running([this, member, lost, reason, generation] {
            if (link(member, lost).generation != generation || !way(member, lost).up || buses_[member] == nullptr) {
                return;
            }
            way(member, lost).up = false;
            world_.trace("{} lost {}", name(member), name(lost));
            buses_[member]->handler()->peer_down(name(lost), reason);
        });
    });
}

void Network::stopped(std::size_t member) {
    for (std::size_t other = 0; other < members_; ++other) {
        if (other != member) {
            way(member, other).up = false;
            break_link(member, other, LostReason::kClosed);
        }
    }
}

void Network::died(std::size_t member, bool power_lost) {
    if (buses_[member] == nullptr) {
        return;
    }
    buses_[member]->forget();
    buses_[member] = nullptr;
    for (std::size_t other = 0; other < members_; ++other) {
        if (other == member) {
            continue;
        }
        way(member, other).up = false;
        if (!power_lost) {
            break_link(member, other, LostReason::kClosed);
            continue;
        }
        // Nobody says that it is gone: the keep-alive finds out, or the next process on that machine does.
        const std::uint64_t generation = link(member, other).generation;
        world_.scheduler.after(menu_.keep_alive, [this, member, other, generation] {
            if (link(member, other).generation == generation) {
                break_link(member, other, LostReason::kSilent);
            }
        });
    }
}

// ---- Messages ----

bool Network::send(std::size_t from, std::size_t to, Lane lane, MessagePtr message) {
    if (!way(from, to).up) {
        return false;
    }
    // One message goes into an empty queue however large it is.
    const std::size_t waiting = way(from, to).queued[static_cast<std::size_t>(lane)];
    if (waiting != 0 && waiting + message->ByteSizeLong() > menu_.queue_bytes_max) {
        world_.mark("network: a queue was full");
        return false;
    }
    if (!link(from, to).connected || world_.chance(menu_.loss_per_million)) {
        world_.scheduler.mix(3);
        return true;
    }
    std::size_t as = from;
    if (regions_ == nullptr) {
        if (world_.raft_checker) {
            world_.raft_checker->said(node(from), node(to), *message);
        }
        Forged forged = mutate(world_, from, to, std::move(message));
        message = std::move(forged.message);
        as = forged.as;
    } else if (menu_.mutation != Mutation::kNone && world_.faults) {
        auto copy = std::make_shared<ClusterMessage>(*message);
        if (harm_regions(world_, *copy)) {
            world_.mark("mutation: done");
            world_.trace("a message {} -> {} is forged", name(from), name(to));
            message = std::move(copy);
        }
    }
    const bool twice = world_.chance(menu_.duplicate_per_million);
    if (twice && !menu_.late_duplicates) {
        put(from, to, lane, message, as);
    }
    put(from, to, lane, message, as);
    if (twice && menu_.late_duplicates) {
        const std::uint64_t generation = link(from, to).generation;
        world_.scheduler.after(world_.between(Duration::zero(), menu_.failover_timeout() / 2),
                               [this, from, to, lane, message, as, generation] {
                                   if (link(from, to).generation == generation) {
                                       put(from, to, lane, message, as);
                                   }
                               });
    }
    return true;
}

void Network::put(std::size_t from, std::size_t to, Lane lane, MessagePtr message, std::size_t as) {
    const auto slot = static_cast<std::size_t>(lane);
    Way& road = way(from, to);
    Duration delay = world_.between(menu_.latency_min, menu_.latency_max);
    if (world_.chance(menu_.spike_per_million)) {
        world_.mark("network: a message took very long");
        delay += world_.between(Duration::zero(), menu_.failover_timeout());
    }
    const Duration arrival = std::max(world_.scheduler.now() + delay, road.last_arrival[slot]);
    road.last_arrival[slot] = arrival;
    const std::size_t bytes = message->ByteSizeLong();
    road.queued[slot] += bytes;
    const std::uint64_t generation = link(from, to).generation;
    const std::uint64_t lane_generation = road.lane_generation[slot];
    world_.scheduler.after(
        arrival - world_.scheduler.now(),
        [this, from, to, lane, slot, bytes, generation, lane_generation, as, message = std::move(message)] {
            Way& target = way(from, to);
            if (link(from, to).generation != generation || target.lane_generation[slot] != lane_generation) {
                return;
            }
            target.queued[slot] -= std::min(bytes, target.queued[slot]);
            if (target.cut || !target.held.empty()) {
                target.held.push_back({lane, message, as});
                return;
            }
            node(to).when_running([this, from, to, lane, message, as, generation] {
                if (link(from, to).generation == generation) {
                    arrive(from, to, lane, message, as);
                }
            });
        });
}

void Network::arrive(std::size_t from, std::size_t to, Lane lane, const MessagePtr& message, std::size_t as) {
    if (buses_[to] == nullptr || !way(to, from).up) {
        return;
    }
    world_.scheduler.mix(static_cast<std::uint64_t>(message->body_case()) << 8 | from << 4 | to);
    if (world_.traces()) {
        world_.trace("{} -> {}: {}", name(from), name(to), message->ShortDebugString().substr(0, 400));
    }
    buses_[to]->handler()->message(name(as), lane, message, false);
}

// ---- Faults ----

void Network::cut(std::size_t from, std::size_t to, bool cut) {
    Way& road = way(from, to);
    if (road.cut == cut) {
        return;
    }
    world_.trace("{} -> {} is {}", name(from), name(to), cut ? "cut" : "healed");
    road.cut = cut;
    ++road.cuts;
    if (cut) {
        const std::uint64_t cuts = road.cuts;
        const Duration noticed = menu_.keep_alive + world_.between(Duration::zero(), menu_.keep_alive / 4);
        world_.scheduler.after(noticed, [this, from, to, cuts] {
            if (way(from, to).cuts == cuts) {
                break_link(from, to, LostReason::kSilent);
            }
        });
        return;
    }
    // What the kernel still held is sent again.
    auto held = std::exchange(road.held, {});
    for (Held& message : held) {
        put(from, to, message.lane, std::move(message.message), message.as);
    }
}

void Network::reset(std::size_t a, std::size_t b) {
    break_link(a, b, LostReason::kClosed);
}

/// One lane's connection breaks and is replaced while others stay: what was on its way is lost, nobody is told.
void Network::reset_lane(std::size_t from, std::size_t to) {
    const std::size_t lane = world_.random.below(transport::kLanes);
    world_.trace("lane {} of {} -> {} is reset", lane, node(from).id(), node(to).id());
    ++way(from, to).lane_generation[lane];
    way(from, to).queued[lane] = 0;
    std::erase_if(way(from, to).held, [&](const Held& held) { return static_cast<std::size_t>(held.lane) == lane; });
}

void Network::heal() {
    for (std::size_t from = 0; from < members_; ++from) {
        for (std::size_t to = 0; to < members_; ++to) {
            if (from != to) {
                cut(from, to, false);
            }
        }
    }
}

}  // namespace nornic::sim
