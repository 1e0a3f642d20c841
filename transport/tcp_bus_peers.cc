#include "base/check.h"
#include "observability/log.h"
#include "transport/tcp_bus_impl.h"

#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace nornic::transport {

namespace {

namespace asio = boost::asio;

// Members that ever said Hello, each with its counters; without proof of membership anybody can invent names.
constexpr std::size_t kPeersMax = 1000;

}  // namespace

// ---- Links coming and going ----

std::vector<std::shared_ptr<Link>> TcpBus::links_of(const Peer& peer) {
    std::vector<std::shared_ptr<Link>> out;
    for (const auto& outbox : peer.outboxes) {
        out.insert(out.end(), outbox.links.begin(), outbox.links.end());
    }
    return out;
}

std::shared_ptr<Peer> TcpBus::find(const NodeName& id) const {
    const auto at = peers_.find(id);
    return at == peers_.end() ? nullptr : at->second;
}

/// A process of another instance has connections under this name. If they are alive there are two; if not, it is
/// the same member after a restart, and nobody has told us of the end of the one before.
std::optional<Refusal> TcpBus::other_process(const Link& link,
                                             const std::vector<std::shared_ptr<Link>>& old) const {
    const Deadline now = clock_.now();
    for (const auto& other : old) {
        if (!other->hung_up() && now - other->last_heard() < 2 * settings_.keep_alive) {
            return Refusal{Reject::NODE_ID,
                           fmt::format("another process calls itself node '{}' and is connected from {}: set "
                                       "NORNICDB_CLUSTER_NODE_ID to another name on one of them",
                                       link.introduction().peer.id,
                                       other->address())};
        }
    }
    return std::nullopt;
}

std::optional<Refusal> TcpBus::admit(const std::shared_ptr<Link>& link) {
    const Introduction& who = link->introduction();
    std::vector<std::shared_ptr<Link>> old;
    {
        MutexLock lock{mutex_};
        const auto peer = find(who.peer.id);
        if (peer == nullptr && peers_.size() >= kPeersMax) {
            return Refusal{Reject::LIMIT, fmt::format("node '{}' knows {} peers already", self_.id, kPeersMax)};
        }
        if (peer != nullptr && peer->up && peer->instance != who.instance) {
            old = links_of(*peer);
        }
    }
    return other_process(*link, old);
}

std::optional<Refusal> TcpBus::verified(const std::shared_ptr<Link>& link) {
    const Introduction& who = link->introduction();
    const Lane lane = who.lane;
    std::shared_ptr<Peer> peer;
    {
        MutexLock lock{mutex_};
        unverified_.remove(link);
        if (stopped_) {
            return Refusal{Reject::STOPPING, fmt::format("node '{}' stops", self_.id)};
        }
        peer = find(who.peer.id);
        if (peer == nullptr) {
            peer = std::make_shared<Peer>(who.peer.id, meters_.add_peer(who.peer.id));
            peers_.emplace(who.peer.id, peer);
        }
    }
    MutexLock events{peer->events};
    std::vector<std::shared_ptr<Link>> old;
    {
        MutexLock lock{mutex_};
        if (peer->up && peer->instance != who.instance) {
            old = links_of(*peer);
        }
    }
    if (!old.empty()) {
        if (auto refusal = other_process(*link, old)) {
            return refusal;
        }
        {
            MutexLock lock{mutex_};
            for (auto& outbox : peer->outboxes) {
                outbox.links.clear();
                outbox.sending.reset();
            }
            peer->up = false;
        }
        for (const auto& other : old) {
            other->close(LostReason::kSilent, "the member has started again");
        }
        handler_->peer_down(peer->id, LostReason::kSilent);
    }

    for (Peer::Inbox& inbox : peer->inboxes) {
        MutexLock lock{inbox.mutex};
        if (inbox.instance != who.instance) {
            inbox.instance = who.instance;
            inbox.generation = 0;
        }
    }

    bool tell = false;
    bool first = false;
    bool stale = false;
    PeerInfo info;
    Identity own;
    std::vector<std::shared_ptr<Dialer>> kicked;
    {
        MutexLock lock{mutex_};
        first = !peer->up;
        tell = take_news(*peer, who) || first;
        info = peer->info;
        peer->up = true;
        peer->last_error.clear();
        if (link->side() == Side::kAcceptor) {
            peer->address = link->address();
        }
        peer->outboxes[index_of(lane)].links.push_back(link);
        if (std::exchange(peer->was_up[index_of(lane)], true)) {
            (*peer->traffic)[index_of(lane)].reconnects.fetch_add(1, std::memory_order_relaxed);
        }
        for (auto& [address, target] : targets_) {
            if (link->side() == Side::kDialer && address == link->address()) {
                target.id = peer->id;
                target.last_error.clear();
                if (lane == LANE_CONTROL) {
                    target.control_up = true;
                    kicked.insert(kicked.end(), target.dialers.begin(), target.dialers.end());
                }
            } else if (first && (target.id == peer->id || address == who.peer.cluster_address)) {
                kicked.insert(kicked.end(), target.dialers.begin(), target.dialers.end());
            }
        }
        stale = link->revision_sent() != self_revision_;
        if (stale) {
            own = identity();
        }
    }
    link->adopt(peer);
    if (stale) {
        link->send_hello(own);
    }
    if (first) {
        log_limiter_.forget(link->address());
        log::info("cluster: node '{}' is connected ({} {})",
                  peer->id,
                  link->side() == Side::kDialer ? "dialed at" : "came from",
                  link->address());
    }
    if (tell) {
        handler_->peer_up(info);
    }
    for (const auto& dialer : kicked) {
        if (dialer != nullptr) {
            asio::post(slow_, [dialer] { dialer->kick(); });
        }
    }
    return std::nullopt;
}

/// Whether it is news. Connections of one peer are made side by side, so an older Hello may come after a newer one.
bool TcpBus::take_news(Peer& peer, const Introduction& who) {
    if (peer.instance == who.instance && who.revision < peer.revision) {
        return false;
    }
    peer.instance = who.instance;
    peer.revision = who.revision;
    return std::exchange(peer.info, who.peer) != who.peer;
}

void TcpBus::news(const std::shared_ptr<Link>& link) {
    Peer* const peer = link->peer();
    MutexLock events{peer->events};
    PeerInfo info;
    {
        MutexLock lock{mutex_};
        if (stopped_ || !peer->up || !take_news(*peer, link->introduction())) {
            return;
        }
        info = peer->info;
    }
    handler_->peer_up(info);
}

void TcpBus::message(const std::shared_ptr<Link>& link, std::shared_ptr<const ClusterMessage> message, bool more) {
    Peer* const peer = link->peer();
    const Lane lane = link->lane();
    Peer::Inbox& inbox = peer->inboxes[index_of(lane)];
    MutexLock delivering{inbox.delivering};
    {
        MutexLock lock{inbox.mutex};
        if (link->introduction().instance != inbox.instance || link->generation_received() < inbox.generation) {
            return;  // The peer has gone over to another link since, or is another process by now.
        }
        inbox.generation = link->generation_received();
    }
    if (settings_.debug) {
        show("from", peer->id, lane, *message);
    }
    handler_->message(peer->id, lane, std::move(message), more);
}

/// Heartbeats and entries come by the thousand: of each kind the first ones of a second are shown, and how many there were.
void TcpBus::show(std::string_view direction, const NodeName& peer, Lane lane, const ClusterMessage& message) {
    const auto held_back = shown_.allow(fmt::format("{}/{}/{}", direction, peer, type_name(message)));
    if (!held_back) {
        return;
    }
    log::event_always(log::Level::kDebug,
                      "cluster_message",
                      "cluster: " + describe(message) + and_more(*held_back),
                      {{"direction", direction},
                       {"peer", peer},
                       {"lane", lane_name(lane)},
                       {"type", type_name(message)},
                       {"bytes", static_cast<std::int64_t>(message.ByteSizeLong())}});
}

void TcpBus::closed(const std::shared_ptr<Link>& link) {
    const LinkEnd end = link->end();
    if (Peer* const peer = link->peer()) {
        MutexLock events{peer->events};
        bool down = false;
        {
            MutexLock lock{mutex_};
            auto& outbox = peer->outboxes[index_of(link->lane())];
            std::erase(outbox.links, link);
            if (outbox.sending == link) {
                outbox.sending.reset();
            }
            down = peer->up && !peer->has_links();
            if (down) {
                peer->up = false;
                peer->last_error = end.why;
            }
        }
        if (down) {
            log::warn("cluster: node '{}' is not connected any more: {}", peer->id, end.why);
            handler_->peer_down(peer->id, end.reason);
        }
    }
    tell_end(link, end);
    {
        MutexLock lock{mutex_};
        if (link->side() == Side::kAcceptor && links_.contains(link.get())) {
            unverified_.remove(link);
            --accepted_;
        }
        links_.erase(link.get());
    }
    if (const auto dialer = link->dialer()) {
        if (dialer->lane() == LANE_CONTROL) {
            MutexLock lock{mutex_};
            if (const auto at = targets_.find(dialer->address()); at != targets_.end()) {
                at->second.control_up = false;
            }
        }
        const bool stable = link->verified_at() != Deadline{} &&
                            clock_.now() - link->verified_at() >= settings_.reconnect_max;
        asio::post(slow_, [dialer, stable] { dialer->lost(stable); });
    }
}

void TcpBus::tell_end(const std::shared_ptr<Link>& link, const LinkEnd& end) {
    if (end.refused_here || end.rejected) {
        meters_.count_refusal();
    }
    const bool dialed = link->side() == Side::kDialer;
    const bool was_up = link->verified_at() != Deadline{};
    if (dialed && !was_up) {
        MutexLock lock{mutex_};
        if (const auto at = targets_.find(link->address()); at != targets_.end()) {
            at->second.last_error = end.why;
        }
    }
    // What is refused comes again with each try, and each time from another port.
    const std::string subject = dialed ? link->address() : link->peer_name() + " comes";
    if (end.refused_here || end.rejected || (dialed && !was_up)) {
        if (log_limiter_.allow(subject)) {
            log::warn("cluster: no connection {} {}: {}", dialed ? "to" : "from", link->address(), end.why);
        }
    } else if (!was_up && log::enabled(log::Level::kDebug)) {
        log::debug("cluster: no connection from {}: {}", link->address(), end.why);
    }
}

// ---- Messages ----

std::shared_ptr<Link> TcpBus::choose(Peer& peer, Lane lane) {
    Peer::Outbox& outbox = peer.outboxes[index_of(lane)];
    if (outbox.sending != nullptr && outbox.sending->usable()) {
        return outbox.sending;
    }
    outbox.sending.reset();
    for (const auto& link : outbox.links) {
        if (link->usable() && (outbox.sending == nullptr || link->side() == Side::kDialer)) {
            outbox.sending = link;
            if (link->side() == Side::kDialer) {
                break;
            }
        }
    }
    if (outbox.sending != nullptr) {
        outbox.sending->begin_lane(++outbox.generation);
    }
    return outbox.sending;
}

bool TcpBus::send(const NodeName& to, Lane lane, std::shared_ptr<const ClusterMessage> message) {
    NORNIC_CHECK(message != nullptr && message->body_case() != ClusterMessage::BODY_NOT_SET, "no message");
    NORNIC_CHECK(Lane_IsValid(lane), "lane {}", static_cast<int>(lane));
    std::shared_ptr<Link> link;
    std::shared_ptr<PeerTraffic> traffic;
    {
        MutexLock lock{mutex_};
        const auto peer = find(to);
        if (peer == nullptr) {
            return false;
        }
        link = choose(*peer, lane);
        traffic = peer->traffic;
    }
    const auto dropped = [&] {
        (*traffic)[index_of(lane)].dropped.fetch_add(1, std::memory_order_relaxed);
        return false;
    };
    if (link == nullptr) {
        return dropped();
    }
    auto frame = encode(*message, link->format(), settings_.frame_bytes_max);
    if (!frame) {
        if (log_limiter_.allow("encode")) {
            log::error("cluster: a message to node '{}' was dropped: {}", to, frame.error().message());
        }
        return dropped();
    }
    if (settings_.debug) {
        show("to", to, lane, *message);
    }
    return link->send(std::move(frame).value()) || dropped();
}

std::size_t TcpBus::queued_bytes(const NodeName& to, Lane lane) const {
    MutexLock lock{mutex_};
    const auto peer = find(to);
    if (peer == nullptr || peer->outboxes[index_of(lane)].sending == nullptr) {
        return 0;
    }
    return peer->outboxes[index_of(lane)].sending->queued_bytes();
}

void TcpBus::set_self(const PeerInfo& self) {
    std::vector<std::shared_ptr<Link>> links;
    Identity own;
    {
        MutexLock lock{mutex_};
        if (self_ == self) {
            return;
        }
        self_ = self;
        ++self_revision_;
        own = identity();
        for (const auto& [id, peer] : peers_) {
            for (auto& link : links_of(*peer)) {
                links.push_back(std::move(link));
            }
        }
    }
    for (const auto& link : links) {
        link->send_hello(own);
    }
}

std::vector<PeerStats> TcpBus::stats() const {
    std::vector<PeerStats> out;
    const auto fill = [](PeerStats& stats, const Peer& peer) {
        stats.id = peer.id;
        stats.connected = peer.up;
        for (const Traffic& traffic : *peer.traffic) {
            stats.bytes_sent += traffic.bytes_sent.load(std::memory_order_relaxed);
            stats.bytes_received += traffic.bytes_received.load(std::memory_order_relaxed);
            stats.messages_sent += traffic.messages_sent.load(std::memory_order_relaxed);
            stats.messages_received += traffic.messages_received.load(std::memory_order_relaxed);
            stats.dropped += traffic.dropped.load(std::memory_order_relaxed);
            stats.reconnects += traffic.reconnects.load(std::memory_order_relaxed);
            const auto round_trip = traffic.round_trip_ns.load(std::memory_order_relaxed);
            if (stats.round_trip == Duration{}) {
                stats.round_trip = Duration{round_trip};
            }
        }
    };
    MutexLock lock{mutex_};
    std::vector<NodeName> told;
    for (const auto& [address, target] : targets_) {
        PeerStats stats;
        stats.address = address;
        if (const auto peer = find(target.id)) {
            fill(stats, *peer);
            stats.last_error = peer->last_error;
            told.push_back(peer->id);
        }
        if (!target.last_error.empty()) {
            stats.last_error = target.last_error;
        }
        out.push_back(std::move(stats));
    }
    for (const auto& [id, peer] : peers_) {
        if (std::ranges::find(told, id) == told.end()) {
            PeerStats stats;
            stats.address = peer->address;
            fill(stats, *peer);
            stats.last_error = peer->last_error;
            out.push_back(std::move(stats));
        }
    }
    return out;
}

}  // namespace nornic::transport
