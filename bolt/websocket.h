// WebSocket (RFC 6455) as a transformer of bytes: the upgrade request, and binary frames around a
// byte stream. Browsers speak Bolt this way.
#pragma once

#include "base/result.h"

#include <cstdint>
#include <string>
#include <string_view>

namespace nornic::bolt {

inline constexpr std::size_t kHttpHeadBytesMax = 8192;

struct HttpAnswer {
    std::string response;
    bool upgraded = false;  // frames follow
};
/// Answers the head of an HTTP request (up to the empty line): 101 to an upgrade, a plain 200 to
/// anything else that is HTTP, as Neo4j does. kInvalidRequest if it is not HTTP.
Result<HttpAnswer> answer_http(std::string_view head);

/// The client's side: its request, and whether the answer's head takes the upgrade.
std::string upgrade_request(std::string_view host, std::string_view key);
bool is_upgrade_answer(std::string_view head, std::string_view key);

/// Frames of one connection. Payloads are passed on as they come, whatever the frames' borders.
class WebSocketFrames {
public:
    enum class Side : std::uint8_t { kServer, kClient };
    explicit WebSocketFrames(Side side) : side_{side} {}

    /// Appends payload to `payload` and pongs to `reply`. False once the peer closed or broke the
    /// protocol; `reply` then ends with a close frame.
    bool feed(std::string_view raw, std::string& payload, std::string& reply);
    /// Appends one binary frame.
    void wrap(std::string_view payload, std::string& raw);
    void close(std::string& raw);

private:
    bool header_complete(std::string& reply);
    bool control_complete(std::string& reply);
    void frame(std::uint8_t opcode, std::string_view payload, std::string& raw) const;
    bool refuse(std::uint16_t code, std::string& reply);

    Side side_;
    std::string header_;
    std::string control_;  // a control frame's payload
    std::uint8_t opcode_ = 0;
    std::uint8_t mask_[4] = {0, 0, 0, 0};
    std::size_t mask_position_ = 0;
    std::uint64_t left_ = 0;  // of the frame's payload
    bool in_frame_ = false;
    bool fragmented_ = false;
    bool closed_ = false;
    bool close_sent_ = false;
};

}  // namespace nornic::bolt
