// The first messages of a connection, without the connection: who the other side is, whether it belongs here,
// and what to answer. Both ends say Hello, the dialer first; where a secret is set both prove that they know it,
// the acceptor first. Source: docs/cluster_protocol.md, "Life of a connection".
#pragma once

#include "transport/message_bus.h"
#include "transport/proof.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::transport {

/// Versions of the protocol that this build speaks.
inline constexpr std::uint32_t kVersionMin = 1;
inline constexpr std::uint32_t kVersionMax = 1;

/// What this member says of itself.
struct Identity {
    PeerInfo self;
    std::string cluster_id;
    std::string secret;  // empty: membership is not proven here
    std::string software_version;
    std::uint64_t instance = 0;
    std::uint64_t revision = 0;  // of self
};

/// Why a connection is refused: the code for the other side, the sentence for its operator and ours.
struct Refusal {
    Reject::Code code = Reject::UNSPECIFIED;
    std::string reason;
};

/// What a Hello said.
struct Introduction {
    PeerInfo peer;
    Lane lane = LANE_CONTROL;
    std::uint32_t version = 0;  // the highest that both speak
    std::uint64_t instance = 0;
    std::uint64_t revision = 0;
};

ClusterMessage make_reject(const Refusal& refusal);

/// One connection's. Not thread-safe. After a refusal or a rejection nothing more is asked of it.
class Handshake {
public:
    /// lane: the dialer's choice; an acceptor learns it.
    Handshake(Side side, Identity identity, Lane lane);

    /// The dialer's first message.
    [[nodiscard]] ClusterMessage hello() const;

    struct Step {
        std::vector<ClusterMessage> replies;  // to be sent in this order
        std::optional<Refusal> refusal;       // this side refuses: send it and close
        std::optional<Refusal> rejected;      // the other side did: close
        bool introduced = false;              // introduction() is known, but not yet proven
        bool verified = false;                // all done
    };
    Step receive(const ClusterMessage& message);

    /// A later Hello on a connection that was verified: news of the peer's addresses and the like.
    std::optional<Refusal> receive_again(const Hello& hello);

    [[nodiscard]] Side side() const noexcept { return side_; }
    [[nodiscard]] const Introduction& introduction() const noexcept { return introduction_; }
    /// Whom it speaks for, as a sentence names it: "node 'b'", or "a peer" before its Hello.
    [[nodiscard]] std::string peer_name() const;

private:
    enum class State : std::uint8_t { kHello, kProof, kDone };
    std::optional<Refusal> check(const Hello& hello) const;
    /// Both are of multi_region, and of two regions: the clusters may differ, and so do names in this bus.
    [[nodiscard]] bool is_foreign(const Hello& hello) const;
    [[nodiscard]] NodeName name_of(const Hello& hello) const;
    [[nodiscard]] std::string proof(Side by) const;

    const Side side_;
    const Identity identity_;
    const std::string nonce_;  // ours; empty without a secret
    State state_ = State::kHello;
    Lane lane_;
    std::string peer_nonce_;
    std::string peer_cluster_id_;
    bool foreign_ = false;
    Introduction introduction_;
};

/// The Hello of this member; `nonce` is empty where no proof is asked.
ClusterMessage make_hello(const Identity& identity, Lane lane, std::string_view nonce);

}  // namespace nornic::transport
