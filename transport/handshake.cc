#include "transport/handshake.h"

#include "base/check.h"
#include "transport/frames.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace nornic::transport {

namespace {

// What a Hello may carry; the frame's limit bounds the rest.
constexpr std::size_t kNameBytesMax = 255;
constexpr std::size_t kFeaturesMax = 64;

bool printable(std::string_view text) {
    return std::ranges::all_of(text, [](char c) {
        const auto byte = static_cast<unsigned char>(c);
        return byte >= 0x20 && byte != 0x7F;
    });
}

Refusal refuse(Reject::Code code, std::string reason) {
    return {code, std::move(reason)};
}

PeerInfo peer_info(const Hello& hello, NodeName id) {
    PeerInfo peer;
    peer.id = std::move(id);
    peer.region = hello.region();
    peer.mode = hello.mode();
    peer.cluster_address = hello.cluster_address();
    peer.bolt_address = hello.bolt_address();
    peer.http_address = hello.http_address();
    peer.features.assign(hello.features().begin(), hello.features().end());
    peer.witness = hello.witness();
    return peer;
}

}  // namespace

ClusterMessage make_reject(const Refusal& refusal) {
    ClusterMessage message;
    message.mutable_reject()->set_code(refusal.code);
    message.mutable_reject()->set_reason(refusal.reason);
    return message;
}

ClusterMessage make_hello(const Identity& identity, Lane lane, std::string_view nonce) {
    ClusterMessage message;
    Hello& hello = *message.mutable_hello();
    hello.set_version_min(kVersionMin);
    hello.set_version_max(kVersionMax);
    hello.set_cluster_id(identity.cluster_id);
    hello.set_node_id(identity.self.id);
    hello.set_mode(identity.self.mode);
    hello.set_lane(lane);
    for (const std::string& feature : identity.self.features) {
        hello.add_features(feature);
    }
    hello.set_cluster_address(identity.self.cluster_address);
    hello.set_bolt_address(identity.self.bolt_address);
    hello.set_http_address(identity.self.http_address);
    hello.set_witness(identity.self.witness);
    hello.set_nonce(nonce.data(), nonce.size());
    hello.set_software_version(identity.software_version);
    hello.set_instance(identity.instance);
    hello.set_revision(identity.revision);
    hello.set_region(identity.self.region);
    return message;
}

Handshake::Handshake(Side side, Identity identity, Lane lane)
    : side_{side},
      identity_{std::move(identity)},
      nonce_{identity_.secret.empty() ? std::string{} : random_nonce()},
      lane_{lane} {}

ClusterMessage Handshake::hello() const {
    return make_hello(identity_, lane_, nonce_);
}

std::string Handshake::peer_name() const {
    return introduction_.peer.id.empty() ? "a peer" : fmt::format("node '{}'", introduction_.peer.id);
}

bool Handshake::is_foreign(const Hello& hello) const {
    return identity_.self.mode == kMultiRegion && hello.mode() == kMultiRegion && !identity_.self.region.empty() &&
           !hello.region().empty() && hello.region() != identity_.self.region;
}

NodeName Handshake::name_of(const Hello& hello) const {
    return is_foreign(hello) ? foreign_name(hello.region(), hello.node_id()) : hello.node_id();
}

std::optional<Refusal> Handshake::check(const Hello& hello) const {
    const std::string& own = identity_.self.id;
    if (hello.node_id().empty() || hello.node_id().size() > kNameBytesMax || !printable(hello.node_id())) {
        return refuse(Reject::MALFORMED,
                      fmt::format("node '{}' was told a node id that is empty, longer than {} bytes or not printable",
                                  own,
                                  kNameBytesMax));
    }
    const std::string& peer = hello.node_id();
    for (const std::string* text : {&hello.cluster_id(),
                                    &hello.mode(),
                                    &hello.cluster_address(),
                                    &hello.bolt_address(),
                                    &hello.http_address(),
                                    &hello.software_version(),
                                    &hello.region()}) {
        if (text->size() > kNameBytesMax || !printable(*text)) {
            return refuse(Reject::MALFORMED,
                          fmt::format("the Hello of node '{}' has a text longer than {} bytes or not printable",
                                      peer,
                                      kNameBytesMax));
        }
    }
    if (std::cmp_greater(hello.features_size(), kFeaturesMax) ||
        std::ranges::any_of(hello.features(),
                            [](const std::string& f) { return f.size() > kNameBytesMax || !printable(f); })) {
        return refuse(Reject::MALFORMED,
                      fmt::format("the Hello of node '{}' names more than {} features, or one that is not printable",
                                  peer,
                                  kFeaturesMax));
    }
    if (hello.mode() == kMultiRegion && (hello.region() + hello.node_id()).find('/') != std::string::npos) {
        return refuse(Reject::MALFORMED,
                      fmt::format("node '{}' of region '{}' has a slash in one of these names, which parts them where a "
                                  "member of another region is named",
                                  peer,
                                  hello.region()));
    }
    if (!Lane_IsValid(hello.lane())) {
        return refuse(Reject::MALFORMED,
                      fmt::format("node '{}' asks for lane {}; 0 to {} were expected",
                                  peer,
                                  static_cast<int>(hello.lane()),
                                  kLanes - 1));
    }
    if (side_ == Side::kDialer && hello.lane() != lane_) {
        return refuse(Reject::MALFORMED,
                      fmt::format("node '{}' was dialed for lane {} and answers for lane {}",
                                  peer,
                                  Lane_Name(lane_),
                                  Lane_Name(hello.lane())));
    }
    if (std::max(hello.version_min(), kVersionMin) > std::min(hello.version_max(), kVersionMax)) {
        return refuse(Reject::VERSION,
                      fmt::format("node '{}' speaks versions {} to {} of the cluster protocol, node '{}' {} to {}: "
                                  "none in common",
                                  peer,
                                  hello.version_min(),
                                  hello.version_max(),
                                  own,
                                  kVersionMin,
                                  kVersionMax));
    }
    const bool foreign = is_foreign(hello);
    if (!foreign && hello.cluster_id() != identity_.cluster_id) {
        return refuse(Reject::CLUSTER_ID,
                      fmt::format("node '{}' belongs to cluster '{}', node '{}' to cluster '{}'",
                                  peer,
                                  hello.cluster_id(),
                                  own,
                                  identity_.cluster_id));
    }
    if (!foreign && peer == own) {
        if (hello.instance() != 0 && hello.instance() == identity_.instance) {
            return refuse(Reject::NODE_ID,
                          fmt::format("node '{}' has dialed itself: its own address is among those of its peers", own));
        }
        return refuse(Reject::NODE_ID,
                      fmt::format("two members call themselves '{}': set NORNICDB_CLUSTER_NODE_ID to another name on "
                                  "one of them",
                                  own));
    }
    if (hello.mode() != identity_.self.mode) {
        return refuse(Reject::MODE,
                      fmt::format("node '{}' runs in mode '{}', node '{}' in mode '{}': set NORNICDB_CLUSTER_MODE "
                                  "equally on both",
                                  peer,
                                  hello.mode(),
                                  own,
                                  identity_.self.mode));
    }
    const bool asks = !hello.nonce().empty();
    if (asks != !identity_.secret.empty()) {
        return refuse(Reject::PROOF,
                      fmt::format("node '{}' asks for proof of membership and node '{}' has no secret: set "
                                  "NORNICDB_CLUSTER_REPLICATION_SECRET equally on both",
                                  asks ? peer : own,
                                  asks ? own : peer));
    }
    if (asks && (hello.nonce().size() != kNonceBytes || hello.nonce() == nonce_)) {
        return refuse(Reject::MALFORMED,
                      fmt::format("the nonce of node '{}' is not {} bytes of its own", peer, kNonceBytes));
    }
    return std::nullopt;
}

std::string Handshake::proof(Side by) const {
    const bool dialer = side_ == Side::kDialer;
    NodeName own = identity_.self.id;
    std::string cluster = identity_.cluster_id;
    if (foreign_) {
        own = foreign_name(identity_.self.region, own);
        // Neither holds a line feed: both were checked to be printable.
        cluster = (dialer ? cluster : peer_cluster_id_) + '\n' + (dialer ? peer_cluster_id_ : cluster);
    }
    return membership_proof(identity_.secret,
                            by,
                            {.dialer_nonce = dialer ? nonce_ : peer_nonce_,
                             .acceptor_nonce = dialer ? peer_nonce_ : nonce_,
                             .dialer_id = dialer ? own : introduction_.peer.id,
                             .acceptor_id = dialer ? introduction_.peer.id : own,
                             .cluster_id = cluster});
}

Handshake::Step Handshake::receive(const ClusterMessage& message) {
    Step step;
    if (message.has_reject()) {
        state_ = State::kDone;
        step.rejected = refuse(message.reject().code(), message.reject().reason());
        return step;
    }
    const auto reply_proof = [&] {
        step.replies.emplace_back().mutable_hello_proof()->set_hmac(proof(side_));
    };
    if (state_ == State::kHello && message.has_hello()) {
        const Hello& hello = message.hello();
        step.refusal = check(hello);
        if (step.refusal) {
            // Named in the log even so.
            if (printable(hello.node_id())) {
                introduction_.peer.id = hello.node_id().substr(0, kNameBytesMax);
            }
            return step;
        }
        foreign_ = is_foreign(hello);
        peer_cluster_id_ = hello.cluster_id();
        introduction_ = {peer_info(hello, name_of(hello)),
                         hello.lane(),
                         std::min(hello.version_max(), kVersionMax),
                         hello.instance(),
                         hello.revision()};
        lane_ = hello.lane();
        peer_nonce_ = hello.nonce();
        step.introduced = true;
        if (side_ == Side::kAcceptor) {
            step.replies.push_back(this->hello());
            if (!identity_.secret.empty()) {
                reply_proof();
            }
        }
        state_ = identity_.secret.empty() ? State::kDone : State::kProof;
        step.verified = state_ == State::kDone;
        return step;
    }
    if (state_ == State::kProof && message.has_hello_proof()) {
        const Side other = side_ == Side::kDialer ? Side::kAcceptor : Side::kDialer;
        if (!equal_in_constant_time(message.hello_proof().hmac(), proof(other))) {
            step.refusal = refuse(Reject::PROOF,
                                  fmt::format("{} does not know the secret of node '{}': set "
                                              "NORNICDB_CLUSTER_REPLICATION_SECRET equally on both",
                                              peer_name(),
                                              identity_.self.id));
            return step;
        }
        if (side_ == Side::kDialer) {
            reply_proof();
        }
        state_ = State::kDone;
        step.verified = true;
        return step;
    }
    step.refusal = refuse(Reject::MALFORMED,
                          fmt::format("{} was expected first, a message of type '{}' came",
                                      state_ == State::kHello ? "Hello" : "HelloProof",
                                      type_name(message)));
    return step;
}

std::optional<Refusal> Handshake::receive_again(const Hello& hello) {
    Hello comparable = hello;
    if (comparable.nonce().empty() && !identity_.secret.empty()) {
        comparable.set_nonce(peer_nonce_);  // Proven already.
    }
    std::optional<Refusal> refusal = check(comparable);
    if (!refusal && (name_of(hello) != introduction_.peer.id || hello.region() != introduction_.peer.region ||
                     hello.cluster_id() != peer_cluster_id_ || hello.lane() != introduction_.lane)) {
        refusal = refuse(Reject::MALFORMED,
                         fmt::format("{} changed its id, region, cluster or lane within a connection", peer_name()));
    }
    if (!refusal) {
        introduction_.peer = peer_info(hello, name_of(hello));
        introduction_.revision = hello.revision();
    }
    return refusal;
}

}  // namespace nornic::transport
