// Any bytes as what another member says. They are split into frames the same wherever they are cut; what decodes, survives
// both encodings; and whatever is said, nobody without the secret is taken for a member. The first byte says how large the
// pieces are.

#include "base/check.h"
#include "transport/frames.h"
#include "transport/handshake.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace {

using namespace nornic;
using namespace nornic::transport;

constexpr std::size_t kFrameBytesMax = 64 << 10;

struct Split {
    std::vector<std::string> payloads;
    std::string error;
};

Split split(std::string_view bytes, std::size_t piece) {
    Split out;
    FrameReader reader{kFrameBytesMax};
    while (!bytes.empty() && out.error.empty()) {
        const std::span<char> space = reader.space();
        NORNIC_CHECK(!space.empty(), "no space");
        const std::size_t n = std::min({piece, space.size(), bytes.size()});
        std::copy_n(bytes.data(), n, space.data());
        reader.commit(n);
        bytes.remove_prefix(n);
        while (true) {
            auto next = reader.next();
            if (!next) {
                out.error = next.error().message();
                break;
            }
            if (!next.value()) {
                break;
            }
            NORNIC_CHECK(!next.value()->empty(), "an empty payload");
            out.payloads.emplace_back(*next.value());
        }
        NORNIC_CHECK(reader.capacity() <= 4 * kFrameBytesMax, "{} bytes are held", reader.capacity());
    }
    return out;
}

Identity identity(const std::string& secret) {
    Identity out;
    out.self.id = "a";
    out.self.mode = "ha_standby";
    out.cluster_id = "test";
    out.secret = secret;
    out.instance = 1;
    return out;
}

/// A side that is shown messages until it refuses. nullopt in the place of a handshake: it has ended.
class Listener {
public:
    explicit Listener(Side side, const std::string& secret)
        : handshake_{Handshake{side, identity(secret), LANE_CONTROL}}, secret_{!secret.empty()} {}
    void hear(const ClusterMessage& message) {
        if (!handshake_) {
            return;
        }
        if (verified_) {
            if (message.has_hello() && handshake_->receive_again(message.hello())) {
                handshake_.reset();
            }
            return;
        }
        const Handshake::Step step = handshake_->receive(message);
        NORNIC_CHECK(!(step.verified && secret_), "verified without the secret");
        NORNIC_CHECK(!(step.verified && (step.refusal || step.rejected)), "verified and refused");
        NORNIC_CHECK(!step.refusal || !step.refusal->reason.empty(), "refused without a reason");
        for (const ClusterMessage& reply : step.replies) {
            NORNIC_CHECK(encode(reply, WireFormat::kProtobuf, kUnverifiedFrameBytesMax), "a reply is too large");
        }
        if (step.refusal || step.rejected) {
            if (step.refusal) {
                // What a peer wrote may stand in the reason; it goes out all the same.
                NORNIC_CHECK(encode(make_reject(*step.refusal), WireFormat::kJson, kUnverifiedFrameBytesMax), "a reject");
            }
            handshake_.reset();
        }
        verified_ = step.verified;
    }

private:
    std::optional<Handshake> handshake_;
    bool secret_;
    bool verified_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    const std::size_t piece = 1 + data[0];
    const std::string_view bytes{reinterpret_cast<const char*>(data) + 1, size - 1};
    const Split whole = split(bytes, bytes.size() + 1);
    const Split pieces = split(bytes, piece);
    NORNIC_CHECK(whole.payloads == pieces.payloads && whole.error == pieces.error, "split otherwise in pieces of {}", piece);

    Listener acceptor{Side::kAcceptor, ""};
    Listener careful_acceptor{Side::kAcceptor, std::string(32, 's')};
    Listener careful_dialer{Side::kDialer, std::string(32, 's')};
    for (const std::string& payload : whole.payloads) {
        const auto message = decode(payload);
        if (!message) {
            NORNIC_CHECK(!message.error().message().empty(), "an error without a reason");
            continue;
        }
        NORNIC_CHECK(!describe(*message.value()).empty(), "no description");
        if (message.value()->body_case() != ClusterMessage::BODY_NOT_SET) {
            for (const WireFormat format : {WireFormat::kProtobuf, WireFormat::kJson}) {
                const auto frame = encode(*message.value(), format, kFrameBytesCeiling);
                NORNIC_CHECK(frame, "does not encode: {}", frame.error().message());
                const auto again = decode(frame.value().view().substr(kFrameHeaderBytes));
                NORNIC_CHECK(again, "what was encoded does not decode: {}", again.error().message());
                ClusterMessage known = *message.value();
                known.DiscardUnknownFields();
                again.value()->DiscardUnknownFields();
                NORNIC_CHECK(google::protobuf::util::MessageDifferencer::Equals(known, *again.value()),
                             "changed by an encoding: {}",
                             describe(known));
            }
        }
        acceptor.hear(*message.value());
        careful_acceptor.hear(*message.value());
        careful_dialer.hear(*message.value());
    }
    return 0;
}
