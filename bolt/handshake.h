// The first bytes of a connection: which version both will speak. Classic (four proposals) and
// manifest v1 negotiation. Source: docs/bolt.md, "Handshake".
#pragma once

#include "bolt/version.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace nornic::bolt {

class Handshake {
public:
    enum class Outcome : std::uint8_t {
        kNeedMore,
        kAgreed,   // version() is what both speak; the bytes left over are messages
        kRefused,  // write the reply (it may be empty), then close
    };

    /// Takes bytes off the front of `in`, appends what is to be answered to `reply`.
    Outcome feed(std::string_view& in, std::string& reply);

    [[nodiscard]] Version version() const noexcept { return version_; }
    /// HELLO then answers protocol_version.
    [[nodiscard]] bool by_manifest() const noexcept { return by_manifest_; }

private:
    Outcome classic(std::string& reply);
    Outcome manifest_choice(std::string_view& in);

    std::string buffer_;
    bool by_manifest_ = false;
    Version version_{};
};

/// 3, 4.0 to 4.4 and 5.0 to 5.8. 5.5 never existed outside of a draft.
bool is_supported(Version version) noexcept;

}  // namespace nornic::bolt
