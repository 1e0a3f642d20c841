// Proof of membership: that the other side knows the replication secret, without saying it. Source:
// docs/cluster_protocol.md, "Proof of membership".
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace nornic::transport {

/// Which end of a connection: who dialed it or who accepted it.
enum class Side : std::uint8_t { kDialer, kAcceptor };

inline constexpr std::size_t kNonceBytes = 32;
inline constexpr std::size_t kSecretBytesMin = 32;

/// What both sides have said, and both know, by the time of the proof.
struct ProofInput {
    std::string_view dialer_nonce;
    std::string_view acceptor_nonce;
    std::string_view dialer_id;
    std::string_view acceptor_id;
    std::string_view cluster_id;
};

/// The 32 bytes that `by` proves itself with. They differ by side, so that nobody can be answered with what
/// he sent.
std::string membership_proof(std::string_view secret, Side by, const ProofInput& input);

/// Takes the same time wherever they differ.
bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept;

/// From the operating system's generator.
std::string random_nonce();

}  // namespace nornic::transport
