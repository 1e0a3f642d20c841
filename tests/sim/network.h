// The network between the members: a MessageBus for each, over links that delay, lose, repeat, break and are cut.
// Messages of one lane arrive in order or not at all, as the bus promises; lanes overtake each other.
#pragma once

#include "tests/sim/world.h"
#include "transport/message_bus.h"

#include <array>
#include <memory>
#include <string>
#include <vector>

namespace nornic::sim {

using transport::ClusterMessage;
using transport::Lane;
using MessagePtr = std::shared_ptr<const ClusterMessage>;

class Network {
public:
    /// `among`: between the members of several worlds, of which `world` is any; members are numbered throughout.
    Network(World& world, std::size_t members, Regions* among = nullptr);
    ~Network();

    /// The bus of a process that starts; it is to be stopped, or died(), before the member's next one.
    std::unique_ptr<transport::MessageBus> make_bus(std::size_t member, const transport::PeerInfo& self);
    /// The same bus, which was made by a region's own network, is to carry what goes between regions, too.
    void join(transport::MessageBus& bus, std::size_t member);
    /// The process is gone. Its peers notice at once or, where the machine lost its power, by silence.
    void died(std::size_t member, bool power_lost);

    // Faults.
    void cut(std::size_t from, std::size_t to, bool cut);
    void reset(std::size_t a, std::size_t b);
    void reset_lane(std::size_t from, std::size_t to);
    void heal();

private:
    friend class SimBus;
    struct Held {
        Lane lane;
        MessagePtr message;
        std::size_t as = 0;
    };
    /// One direction of a link.
    struct Way {
        bool up = false;   // as the sender sees it
        bool cut = false;
        std::uint64_t cuts = 0;
        std::array<std::uint64_t, transport::kLanes> lane_generation{};
        std::array<Duration, transport::kLanes> last_arrival{};
        std::array<std::size_t, transport::kLanes> queued{};
        std::vector<Held> held;
    };
    struct Link {
        bool connected = false;
        bool dialing = false;
        std::uint64_t generation = 0;
        Duration quiet_until{};  // both ends know of the break by then
    };

    [[nodiscard]] Node& node(std::size_t member) const;
    [[nodiscard]] std::string name(std::size_t member) const;
    Way& way(std::size_t from, std::size_t to) { return ways_[from * members_ + to]; }
    Link& link(std::size_t a, std::size_t b) { return links_[std::min(a, b) * members_ + std::max(a, b)]; }
    /// A connection of these two is wanted by one of them.
    [[nodiscard]] bool wanted(std::size_t a, std::size_t b) const;
    void dials_changed(std::size_t member);
    void started(std::size_t member);
    void stopped(std::size_t member);
    bool send(std::size_t from, std::size_t to, Lane lane, MessagePtr message);
    /// `as`: whose it seems to be.
    void put(std::size_t from, std::size_t to, Lane lane, MessagePtr message, std::size_t as);
    void arrive(std::size_t from, std::size_t to, Lane lane, const MessagePtr& message, std::size_t as);
    void dial(std::size_t a, std::size_t b);
    void connect(std::size_t a, std::size_t b);
    void break_link(std::size_t a, std::size_t b, transport::LostReason reason);
    void tell_down(std::size_t member, std::size_t lost, transport::LostReason reason, Duration delay);

    World& world_;
    Regions* const regions_;
    const Menu& menu_;
    const std::size_t members_;
    std::vector<class SimBus*> buses_;  // null: no process
    std::vector<Way> ways_;
    std::vector<Link> links_;
};

struct Forged {
    MessagePtr message;
    std::size_t as;  // the member that seems to have sent it
};
/// Does the harm that the seed's mutation wants to a message in transit; most it returns as they are.
Forged mutate(World& world, std::size_t from, std::size_t to, MessagePtr message);
/// Those between regions; the same.
bool harm_regions(World& world, ClusterMessage& message);
/// Those of Raft; `as` as above. Returns whether there was something to harm.
bool harm_raft(World& world, std::size_t from, std::size_t to, ClusterMessage& message, std::size_t& as);

}  // namespace nornic::sim
