#include "bolt/handshake.h"

#include <algorithm>
#include <cstddef>
#include <optional>

namespace nornic::bolt {

namespace {

constexpr std::string_view kMagic{"\x60\x60\xB0\x17", 4};
constexpr std::size_t kProposals = 4;
constexpr std::size_t kRequestBytes = 4 + 4 * kProposals;
constexpr std::string_view kManifest{"\x00\x00\x01\xFF", 4};
// Three ranges, newest last: 4.4 to 4.0, 5.4 to 5.0, 5.8 to 5.6; no capabilities. Who knows the manifest has no use for 3.
constexpr std::string_view kOffer{
    "\x00\x00\x01\xFF\x03\x00\x04\x04\x04\x00\x04\x04\x05\x00\x02\x08\x05\x00", 18};
// A capability mask is a varint of 64 bits.
constexpr std::size_t kVarintBytesMax = 10;

/// The newest version of ours in a proposal `00 range minor major`.
std::optional<Version> best_of(std::string_view proposal) {
    const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(proposal[i]); };
    const int top = at(2);
    const int bottom = std::max(0, top - static_cast<int>(at(1)));
    for (int minor = std::min(top, 15); minor >= bottom; --minor) {
        const Version v{at(3), static_cast<std::uint8_t>(minor)};
        if (is_supported(v)) {
            return v;
        }
    }
    return std::nullopt;
}

}  // namespace

bool is_supported(Version version) noexcept {
    if (version.major_number == 3) {
        return version.minor_number == 0;
    }
    if (version.major_number == 4) {
        return version.minor_number <= 4;
    }
    return version.major_number == 5 && version.minor_number <= 8 && version.minor_number != 5;
}

Handshake::Outcome Handshake::feed(std::string_view& in, std::string& reply) {
    if (by_manifest_) {
        return manifest_choice(in);
    }
    const std::size_t n = std::min(in.size(), kRequestBytes - buffer_.size());
    buffer_.append(in.substr(0, n));
    in.remove_prefix(n);
    const std::size_t known = std::min(buffer_.size(), kMagic.size());
    if (buffer_.compare(0, known, kMagic.substr(0, known)) != 0) {
        return Outcome::kRefused;
    }
    if (buffer_.size() < kRequestBytes) {
        return Outcome::kNeedMore;
    }
    const Outcome outcome = classic(reply);
    return outcome == Outcome::kNeedMore ? manifest_choice(in) : outcome;
}

/// The first proposal that we can meet wins: the client's order is its preference.
Handshake::Outcome Handshake::classic(std::string& reply) {
    for (std::size_t i = 0; i < kProposals; ++i) {
        const std::string_view proposal = std::string_view{buffer_}.substr(4 + 4 * i, 4);
        if (proposal == kManifest) {
            by_manifest_ = true;
            reply.append(kOffer);
            buffer_.clear();
            return Outcome::kNeedMore;
        }
        if (const std::optional<Version> v = best_of(proposal)) {
            version_ = *v;
            const char answer[4] = {
                0, 0, static_cast<char>(v->minor_number), static_cast<char>(v->major_number)};
            reply.append(answer, sizeof answer);
            return Outcome::kAgreed;
        }
    }
    reply.append(4, '\0');
    return Outcome::kRefused;
}

Handshake::Outcome Handshake::manifest_choice(std::string_view& in) {
    while (!in.empty()) {
        buffer_.push_back(in.front());
        in.remove_prefix(1);
        if (buffer_.size() <= 4) {
            continue;
        }
        if ((static_cast<std::uint8_t>(buffer_.back()) & 0x80) != 0) {
            if (buffer_.size() >= 4 + kVarintBytesMax) {
                return Outcome::kRefused;
            }
            continue;
        }
        version_ = {static_cast<std::uint8_t>(buffer_[3]), static_cast<std::uint8_t>(buffer_[2])};
        const bool plain = buffer_[0] == 0 && buffer_[1] == 0;
        return plain && is_supported(version_) ? Outcome::kAgreed : Outcome::kRefused;
    }
    return Outcome::kNeedMore;
}

}  // namespace nornic::bolt
