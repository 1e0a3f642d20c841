#include "bolt/websocket.h"

#include <boost/beast/core/string.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/websocket/rfc6455.hpp>
#include <openssl/evp.h>

#include <algorithm>
#include <array>

namespace nornic::bolt {

namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr std::uint8_t kContinuation = 0x0;
constexpr std::uint8_t kText = 0x1;
constexpr std::uint8_t kBinary = 0x2;
constexpr std::uint8_t kClose = 0x8;
constexpr std::uint8_t kPing = 0x9;
constexpr std::uint8_t kPong = 0xA;
constexpr std::uint16_t kProtocolError = 1002;
constexpr std::uint16_t kUnacceptable = 1003;

std::string base64(std::string_view bytes) {
    std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
    const int n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                  reinterpret_cast<const unsigned char*>(bytes.data()),
                                  static_cast<int>(bytes.size()));
    out.resize(static_cast<std::size_t>(n));
    return out;
}

/// RFC 6455, 4.2.2: proof that the server read the key.
std::string accept_value(std::string_view key) {
    const std::string text = std::string{key} + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    EVP_Digest(text.data(), text.size(), digest.data(), &size, EVP_sha1(), nullptr);
    return base64({reinterpret_cast<const char*>(digest.data()), size});
}

}  // namespace

Result<HttpAnswer> answer_http(std::string_view head) {
    http::request_parser<http::empty_body> parser;
    parser.header_limit(static_cast<std::uint32_t>(kHttpHeadBytesMax));
    beast::error_code ec;
    parser.put(boost::asio::buffer(head.data(), head.size()), ec);
    if (ec && ec != http::error::need_more) {
        return fail(ErrorCode::kInvalidRequest, "not an HTTP request: " + ec.message());
    }
    const auto& request = parser.get();
    HttpAnswer answer;
    if (parser.is_header_done() && beast::websocket::is_upgrade(request)) {
        const auto key = request[http::field::sec_websocket_key];
        answer.upgraded = true;
        answer.response =
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: "
            "upgrade\r\nsec-websocket-accept: " +
            accept_value({key.data(), key.size()}) + "\r\n\r\n";
        return answer;
    }
    answer.response =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\naccess-control-allow-origin: *\r\n"
        "content-length: 0\r\n\r\n";
    return answer;
}

std::string upgrade_request(std::string_view host, std::string_view key) {
    return "GET / HTTP/1.1\r\nHost: " + std::string{host} +
           "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: "
           "13\r\nSec-WebSocket-Key: " +
           base64(key) + "\r\n\r\n";
}

bool is_upgrade_answer(std::string_view head, std::string_view key) {
    return head.starts_with("HTTP/1.1 101 ") &&
           head.find(accept_value(base64(key))) != std::string_view::npos;
}

void WebSocketFrames::frame(std::uint8_t opcode, std::string_view payload, std::string& raw) const {
    const char masked = side_ == Side::kClient ? '\x80' : '\0';
    raw.push_back(static_cast<char>(0x80 | opcode));
    if (payload.size() < 126) {
        raw.push_back(static_cast<char>(static_cast<char>(payload.size()) | masked));
    } else if (payload.size() <= 0xFFFF) {
        raw.push_back(static_cast<char>(126 | masked));
        raw.push_back(static_cast<char>(payload.size() >> 8));
        raw.push_back(static_cast<char>(payload.size() & 0xFF));
    } else {
        raw.push_back(static_cast<char>(127 | masked));
        for (int shift = 56; shift >= 0; shift -= 8) {
            raw.push_back(static_cast<char>((payload.size() >> shift) & 0xFF));
        }
    }
    if (side_ == Side::kClient) {
        // The mask guards proxies against scripts in browsers; ours needs no secret one.
        raw.append(4, '\0');
    }
    raw.append(payload);
}

void WebSocketFrames::wrap(std::string_view payload, std::string& raw) {
    frame(kBinary, payload, raw);
}

void WebSocketFrames::close(std::string& raw) {
    if (!close_sent_) {
        close_sent_ = true;
        frame(kClose, std::string_view{"\x03\xE8", 2}, raw);  // 1000: normal
    }
}

bool WebSocketFrames::refuse(std::uint16_t code, std::string& reply) {
    closed_ = true;
    close_sent_ = true;
    const char payload[2] = {static_cast<char>(code >> 8), static_cast<char>(code & 0xFF)};
    frame(kClose, {payload, 2}, reply);
    return false;
}

/// header_ holds a whole frame header.
bool WebSocketFrames::header_complete(std::string& reply) {
    const auto at = [&](std::size_t i) { return static_cast<std::uint8_t>(header_[i]); };
    const bool final = (at(0) & 0x80) != 0;
    const bool reserved = (at(0) & 0x70) != 0;
    const bool masked = (at(1) & 0x80) != 0;
    opcode_ = at(0) & 0x0F;
    std::size_t position = 2;
    left_ = at(1) & 0x7F;
    if (left_ == 126) {
        left_ = (std::uint64_t{at(2)} << 8) | at(3);
        position = 4;
    } else if (left_ == 127) {
        left_ = 0;
        for (std::size_t i = 2; i < 10; ++i) {
            left_ = (left_ << 8) | at(i);
        }
        position = 10;
    }
    if (reserved || masked != (side_ == Side::kServer) || (left_ >> 63) != 0) {
        return refuse(kProtocolError, reply);
    }
    std::fill(std::begin(mask_), std::end(mask_), std::uint8_t{0});
    for (std::size_t i = 0; masked && i < 4; ++i) {
        mask_[i] = at(position + i);
    }
    mask_position_ = 0;
    header_.clear();
    in_frame_ = true;
    if (opcode_ >= kClose) {
        control_.clear();
        if (!final || left_ > 125 || opcode_ > kPong) {
            return refuse(kProtocolError, reply);
        }
        return left_ > 0 || control_complete(reply);
    }
    if (opcode_ == kText) {
        return refuse(kUnacceptable, reply);
    }
    if (opcode_ > kBinary || (opcode_ == kContinuation) != fragmented_) {
        return refuse(kProtocolError, reply);
    }
    fragmented_ = !final;
    in_frame_ = left_ > 0;
    return true;
}

bool WebSocketFrames::control_complete(std::string& reply) {
    in_frame_ = false;
    if (opcode_ == kPing) {
        frame(kPong, control_, reply);
    } else if (opcode_ == kClose) {
        closed_ = true;
        close(reply);
        return false;
    }
    return true;
}

bool WebSocketFrames::feed(std::string_view raw, std::string& payload, std::string& reply) {
    while (!raw.empty() && !closed_) {
        if (!in_frame_) {
            // Two bytes say how long the header is.
            header_.push_back(raw.front());
            raw.remove_prefix(1);
            if (header_.size() < 2) {
                continue;
            }
            const std::uint8_t second = static_cast<std::uint8_t>(header_[1]);
            const std::size_t extended =
                (second & 0x7F) == 126 ? 2 : ((second & 0x7F) == 127 ? 8 : 0);
            const std::size_t size = 2 + extended + ((second & 0x80) != 0 ? 4 : 0);
            if (header_.size() == size && !header_complete(reply)) {
                return false;
            }
            continue;
        }
        const std::size_t n = static_cast<std::size_t>(std::min<std::uint64_t>(left_, raw.size()));
        std::string& to = opcode_ >= kClose ? control_ : payload;
        const std::size_t before = to.size();
        to.append(raw.substr(0, n));
        for (std::size_t i = before; i < to.size(); ++i, ++mask_position_) {
            to[i] = static_cast<char>(static_cast<std::uint8_t>(to[i]) ^ mask_[mask_position_ & 3]);
        }
        raw.remove_prefix(n);
        left_ -= n;
        if (left_ == 0) {
            if (opcode_ < kClose) {
                in_frame_ = false;
            } else if (!control_complete(reply)) {
                return false;
            }
        }
    }
    return !closed_;
}

}  // namespace nornic::bolt
