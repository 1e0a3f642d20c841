// Frames: how messages lie in a byte stream between members. A 4-byte big-endian length, then that many
// bytes of one ClusterMessage: protobuf binary, or its JSON mapping where the first byte is '{' (no message
// of ours begins with that byte in binary). Source: docs/cluster_protocol.md, "Frames" and "Encodings".
#pragma once

#include "base/result.h"
#include "transport/proto/cluster.pb.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace nornic::transport {

enum class WireFormat : std::uint8_t { kProtobuf, kJson };

inline constexpr std::size_t kFrameHeaderBytes = 4;
/// Until a peer has shown who it is, its frames may not be larger.
inline constexpr std::size_t kUnverifiedFrameBytesMax = std::size_t{16} << 10;
/// What a frame may ever be, whatever the settings say: the length of a protobuf message is an int.
inline constexpr std::size_t kFrameBytesCeiling = std::size_t{1} << 30;
/// Objects and arrays within one another. Ours nest four deep; what a reader does not know may go deeper.
inline constexpr std::size_t kJsonDepthMax = 16;

/// Fields that one payload may hold, those of messages within it and elements of packed lists counted: a field of two bytes
/// takes up to a hundred in memory. Payloads under kUncountedBytesMax are not counted.
inline constexpr std::size_t kFieldsMax = std::size_t{2} << 20;
inline constexpr std::size_t kUncountedBytesMax = std::size_t{256} << 10;

/// One message as it goes out: length and payload in one piece of memory.
class Frame {
public:
    Frame() = default;
    explicit Frame(std::size_t payload_bytes)
        : bytes_{std::make_unique_for_overwrite<char[]>(kFrameHeaderBytes + payload_bytes)},
          size_{kFrameHeaderBytes + payload_bytes} {}
    [[nodiscard]] const char* data() const noexcept { return bytes_.get(); }
    [[nodiscard]] char* payload() noexcept { return bytes_.get() + kFrameHeaderBytes; }
    [[nodiscard]] char* header() noexcept { return bytes_.get(); }
    [[nodiscard]] std::size_t size() const noexcept { return size_; }
    [[nodiscard]] std::string_view view() const noexcept { return {bytes_.get(), size_}; }

private:
    std::unique_ptr<char[]> bytes_;
    std::size_t size_ = 0;
};

/// kInvalidArgument if the payload would be larger than frame_bytes_max, or a string in it is not UTF-8 (JSON).
Result<Frame> encode(const ClusterMessage& message, WireFormat format, std::size_t frame_bytes_max);

/// Precondition: the payload is not empty.
[[nodiscard]] WireFormat format_of(std::string_view payload) noexcept;

/// One payload. Fields that this version does not know are skipped; a message whose type it does not know comes
/// back with no body. kCorruption saying what is wrong, also where there are more than kFieldsMax fields.
Result<std::shared_ptr<ClusterMessage>> decode(std::string_view payload);

/// Before memory is given to what a peer sent: kCorruption where these bytes hold more than kFieldsMax fields of that type.
Result<> check_fields(std::string_view message, const google::protobuf::Descriptor* type);

/// Splits a byte stream into payloads. Bytes are read straight to where they are parsed; a length that a peer
/// names is believed only as far as bytes arrive. Not thread-safe.
class FrameReader {
public:
    explicit FrameReader(std::size_t frame_bytes_max) : frame_bytes_max_{frame_bytes_max} {}

    void set_frame_bytes_max(std::size_t bytes) noexcept { frame_bytes_max_ = bytes; }

    /// Where the next bytes go, never empty. Ends the life of views that next() gave.
    std::span<char> space();
    /// So many bytes were put there.
    void commit(std::size_t bytes) noexcept { end_ += bytes; }
    /// Copies bytes in, as many as there are. Ends the life of views that next() gave.
    void feed(std::span<const std::byte> bytes);

    /// The next whole payload, or nullopt: more bytes are needed. kCorruption if a length is 0 or over the
    /// limit: the stream can't be trusted again, close it.
    Result<std::optional<std::string_view>> next();

    /// Bytes that wait for the rest of their frame.
    [[nodiscard]] std::size_t pending_bytes() const noexcept { return end_ - begin_; }
    [[nodiscard]] std::size_t capacity() const noexcept { return capacity_; }

private:
    void make_room(std::size_t bytes);
    [[nodiscard]] std::uint32_t length_at_begin() const noexcept;

    std::size_t frame_bytes_max_;
    std::unique_ptr<char[]> buffer_;
    std::size_t capacity_ = 0;
    std::size_t begin_ = 0;  // first byte not yet given out
    std::size_t end_ = 0;
};

/// "WALBatch", for logs; "unknown" where there is no body.
std::string_view type_name(const ClusterMessage& message) noexcept;

/// One line for the log: the type and its fields, payloads by their size.
std::string describe(const ClusterMessage& message);

}  // namespace nornic::transport
