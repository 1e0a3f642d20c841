// What the bus knows of one other member, by its node id.
#pragma once

#include "base/mutex.h"
#include "transport/link.h"
#include "transport/message_bus.h"
#include "transport/meters.h"

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace nornic::transport {

struct Peer {
    explicit Peer(NodeName name, std::shared_ptr<PeerTraffic> counters)
        : id{std::move(name)}, traffic{std::move(counters)} {}

    const NodeName id;
    const std::shared_ptr<PeerTraffic> traffic;

    /// Held while the handler is told of up and down, and before the bus's mutex, so that it hears of them in
    /// the order in which they happened.
    Mutex events;

    /// A sender changes links when one has ended for it; what that one still brings here would overtake, or be overtaken,
    /// and is dropped.
    struct Inbox {
        Mutex delivering;  // held while the handler takes a message, which may take long; before `mutex`
        Mutex mutex;
        std::uint64_t instance GUARDED_BY(mutex) = 0;    // of the peer's process; another's messages are dropped
        std::uint64_t generation GUARDED_BY(mutex) = 0;  // the highest that brought one
    };
    std::array<Inbox, kLanes> inboxes;

    struct Outbox {
        std::vector<std::shared_ptr<Link>> links;  // that are up
        std::shared_ptr<Link> sending;             // the one in use, or nullptr
        std::uint64_t generation = 0;              // that sending began with
    };
    // Under the bus's mutex:
    std::array<Outbox, kLanes> outboxes;
    PeerInfo info;
    std::uint64_t instance = 0;
    std::uint64_t revision = 0;  // of info
    bool up = false;
    std::array<bool, kLanes> was_up{};
    std::string address;     // as it came
    std::string last_error;

    [[nodiscard]] bool has_links() const {
        for (const Outbox& outbox : outboxes) {
            if (!outbox.links.empty()) {
                return true;
            }
        }
        return false;
    }
};

}  // namespace nornic::transport
