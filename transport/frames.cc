#include "transport/frames.h"

#include "base/check.h"

#include <fmt/format.h>
#include <google/protobuf/descriptor.h>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/util/json_util.h>
#include <google/protobuf/wire_format_lite.h>

#include <algorithm>
#include <cstring>

namespace nornic::transport {

namespace {

namespace json = google::protobuf::util;

// The least that a reader holds.
constexpr std::size_t kReadBytes = std::size_t{64} << 10;
// A read is worth a system call from here on.
constexpr std::size_t kReadBytesMin = std::size_t{4} << 10;
// An empty reader gives back what is more than this.
constexpr std::size_t kKeptBytes = std::size_t{4} << 20;

void put_length(Frame& frame) {
    const auto length = static_cast<std::uint32_t>(frame.size() - kFrameHeaderBytes);
    const std::uint32_t big_endian = __builtin_bswap32(length);
    std::memcpy(frame.header(), &big_endian, sizeof big_endian);
}

auto too_large(const ClusterMessage& message, std::size_t bytes, std::size_t frame_bytes_max) {
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("a {} of {} bytes is larger than a frame may be ({})",
                            type_name(message),
                            bytes,
                            frame_bytes_max));
}

/// What the length of a frame would be if the peer speaks another protocol.
std::string_view hint_of(std::size_t length) {
    if (length >> 16 == 0x1603) {
        return " (this is how TLS begins: is NORNICDB_CLUSTER_TLS_ENABLED the same on both sides?)";
    }
    switch (length) {
        case 0x47455420:  // "GET "
        case 0x504F5354:  // "POST"
        case 0x48454144:  // "HEAD"
        case 0x48545450:  // "HTTP"
            return " (this is how HTTP begins: the port is that of the cluster)";
        case 0x6060B017:
            return " (this is how Bolt begins: the port is that of the cluster)";
        default:
            return "";
    }
}

Result<> too_many_fields() {
    return fail(ErrorCode::kCorruption, fmt::format("more than {} fields in one payload", kFieldsMax));
}

/// The fields of a payload before memory is given to them. False where there are more than `left`; bytes that are no
/// message end the walk, for the parser to refuse.
bool count_fields(google::protobuf::io::CodedInputStream& in, const google::protobuf::Descriptor* type, std::size_t& left) {
    using google::protobuf::internal::WireFormatLite;
    while (const std::uint32_t tag = in.ReadTag()) {
        if (left-- == 0) {
            return false;
        }
        if (WireFormatLite::GetTagWireType(tag) != WireFormatLite::WIRETYPE_LENGTH_DELIMITED) {
            if (!WireFormatLite::SkipField(&in, tag)) {
                return true;
            }
            continue;
        }
        int length = 0;
        if (!in.ReadVarintSizeAsInt(&length) || length > in.BytesUntilLimit()) {
            return true;
        }
        const auto* field = type->FindFieldByNumber(WireFormatLite::GetTagFieldNumber(tag));
        if (field != nullptr && field->message_type() != nullptr) {
            const auto limit = in.PushLimit(length);
            if (!count_fields(in, field->message_type(), left)) {
                return false;
            }
            in.Skip(in.BytesUntilLimit());  // what the walk gave up on
            in.PopLimit(limit);
            continue;
        }
        if (field != nullptr && field->is_packable()) {
            if (static_cast<std::size_t>(length) > left) {
                return false;
            }
            left -= static_cast<std::size_t>(length);
        }
        in.Skip(length);
    }
    return true;
}

/// One object, not nested too deeply, and nothing behind it. The JSON parser itself is recursive and takes
/// its time to say no, so this looks first.
Result<> check_json_shape(std::string_view text) {
    std::size_t depth = 0;
    std::size_t fields = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (in_string) {
            if (c == '\\') {
                ++i;
            } else if (c == '"') {
                in_string = false;
            }
            continue;
        }
        switch (c) {
            case '"':
                in_string = true;
                break;
            case ',':
                if (++fields > kFieldsMax) {
                    return too_many_fields();
                }
                break;
            case '{':
            case '[':
                if (++depth > kJsonDepthMax) {
                    return fail(ErrorCode::kCorruption,
                                fmt::format("JSON nested deeper than {}", kJsonDepthMax));
                }
                break;
            case '}':
            case ']':
                if (depth == 0) {
                    return fail(ErrorCode::kCorruption, "JSON closes what it did not open");
                }
                if (--depth == 0) {
                    const std::string_view rest = text.substr(i + 1);
                    if (rest.find_first_not_of(" \t\r\n") != std::string_view::npos) {
                        return fail(ErrorCode::kCorruption,
                                    "bytes behind the end of the JSON object");
                    }
                    return success();
                }
                break;
            default:
                break;
        }
    }
    return fail(ErrorCode::kCorruption, "JSON ends too early");
}

}  // namespace

Result<> check_fields(std::string_view message, const google::protobuf::Descriptor* type) {
    if (message.size() <= kUncountedBytesMax) {
        return success();
    }
    const auto bytes = static_cast<int>(std::min(message.size(), kFrameBytesCeiling));
    google::protobuf::io::CodedInputStream in{reinterpret_cast<const google::protobuf::uint8*>(message.data()), bytes};
    const auto limit = in.PushLimit(bytes);
    std::size_t left = kFieldsMax;
    const bool few = count_fields(in, type, left);
    in.PopLimit(limit);
    return few ? success() : too_many_fields();
}

WireFormat format_of(std::string_view payload) noexcept {
    return payload.front() == '{' ? WireFormat::kJson : WireFormat::kProtobuf;
}

Result<Frame> encode(const ClusterMessage& message, WireFormat format, std::size_t frame_bytes_max) {
    frame_bytes_max = std::min(frame_bytes_max, kFrameBytesCeiling);
    if (format == WireFormat::kProtobuf) {
        const std::size_t bytes = message.ByteSizeLong();
        if (bytes > frame_bytes_max) {
            return too_large(message, bytes, frame_bytes_max);
        }
        NORNIC_CHECK(bytes > 0, "an empty message has no frame");
        Frame frame{bytes};
        message.SerializeWithCachedSizesToArray(
            reinterpret_cast<google::protobuf::uint8*>(frame.payload()));
        put_length(frame);
        return frame;
    }
    json::JsonPrintOptions options;
    options.preserve_proto_field_names = true;
    // A reader takes a name that it does not know for 0; a number it keeps. An entry of a later version's kind must
    // not be taken for one that does nothing.
    options.always_print_enums_as_ints = true;
    std::string text;
    const auto status = json::MessageToJsonString(message, &text, options);
    if (!status.ok()) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("a {} cannot be written as JSON: {}",
                                type_name(message),
                                status.message().as_string()));
    }
    if (text.size() > frame_bytes_max) {
        return too_large(message, text.size(), frame_bytes_max);
    }
    Frame frame{text.size()};
    std::memcpy(frame.payload(), text.data(), text.size());
    put_length(frame);
    return frame;
}

Result<std::shared_ptr<ClusterMessage>> decode(std::string_view payload) {
    // protobuf writes lines of its own to standard error about what strangers send.
    [[maybe_unused]] static google::protobuf::LogHandler* const silenced = google::protobuf::SetLogHandler(nullptr);
    if (payload.empty()) {
        return fail(ErrorCode::kCorruption, "an empty payload");
    }
    auto message = std::make_shared<ClusterMessage>();
    if (format_of(payload) == WireFormat::kProtobuf) {
        if (payload.size() > kFrameBytesCeiling) {
            return fail(ErrorCode::kCorruption, fmt::format("{} bytes, more than a frame may be", payload.size()));
        }
        NORNIC_TRY(check_fields(payload, ClusterMessage::descriptor()));
        if (!message->ParseFromArray(payload.data(), static_cast<int>(payload.size()))) {
            return fail(ErrorCode::kCorruption,
                        fmt::format("{} bytes that are no ClusterMessage", payload.size()));
        }
        return message;
    }
    NORNIC_TRY(check_json_shape(payload));
    json::JsonParseOptions options;
    options.ignore_unknown_fields = true;
    const auto status = json::JsonStringToMessage(
        google::protobuf::StringPiece{payload.data(), payload.size()}, message.get(), options);
    if (!status.ok()) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("JSON that is no ClusterMessage: {}",
                                status.message().as_string().substr(0, 200)));
    }
    return message;
}

std::uint32_t FrameReader::length_at_begin() const noexcept {
    std::uint32_t big_endian = 0;
    std::memcpy(&big_endian, buffer_.get() + begin_, sizeof big_endian);
    return __builtin_bswap32(big_endian);
}

void FrameReader::make_room(std::size_t bytes) {
    if (capacity_ - end_ >= bytes) {
        return;
    }
    const std::size_t held = end_ - begin_;
    if (capacity_ - held >= bytes) {
        std::memmove(buffer_.get(), buffer_.get() + begin_, held);
    } else {
        const std::size_t capacity = std::max(kReadBytes, held + bytes);
        auto larger = std::make_unique_for_overwrite<char[]>(capacity);
        if (held > 0) {
            std::memcpy(larger.get(), buffer_.get() + begin_, held);
        }
        buffer_ = std::move(larger);
        capacity_ = capacity;
    }
    begin_ = 0;
    end_ = held;
}

std::span<char> FrameReader::space() {
    const std::size_t held = end_ - begin_;
    if (held == 0) {
        begin_ = end_ = 0;
        if (capacity_ > kKeptBytes) {
            buffer_.reset();
            capacity_ = 0;
        }
    }
    // The rest of the frame that has begun, but no more at once than what has already arrived of it:
    // memory follows bytes, not promises.
    std::size_t wanted = kReadBytesMin;
    if (held >= kFrameHeaderBytes) {
        const std::size_t whole =
            kFrameHeaderBytes + std::min<std::size_t>(length_at_begin(), frame_bytes_max_);
        if (whole > held) {
            wanted = std::max(wanted, std::min(whole - held, std::max(kReadBytes, held)));
        }
    }
    make_room(wanted);
    return {buffer_.get() + end_, capacity_ - end_};
}

void FrameReader::feed(std::span<const std::byte> bytes) {
    if (bytes.empty()) {
        return;
    }
    make_room(bytes.size());
    std::memcpy(buffer_.get() + end_, bytes.data(), bytes.size());
    end_ += bytes.size();
}

Result<std::optional<std::string_view>> FrameReader::next() {
    if (end_ - begin_ < kFrameHeaderBytes) {
        return std::optional<std::string_view>{};
    }
    const std::size_t length = length_at_begin();
    if (length == 0 || length > frame_bytes_max_) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("a frame of {} bytes; 1 to {} were expected{}",
                                length,
                                frame_bytes_max_,
                                hint_of(length)));
    }
    if (end_ - begin_ < kFrameHeaderBytes + length) {
        return std::optional<std::string_view>{};
    }
    const std::string_view payload{buffer_.get() + begin_ + kFrameHeaderBytes, length};
    begin_ += kFrameHeaderBytes + length;
    return std::optional{payload};
}

std::string_view type_name(const ClusterMessage& message) noexcept {
    switch (message.body_case()) {
        case ClusterMessage::kVoteRequest:
            return "VoteRequest";
        case ClusterMessage::kVoteResponse:
            return "VoteResponse";
        case ClusterMessage::kAppendEntries:
            return "AppendEntries";
        case ClusterMessage::kAppendEntriesResponse:
            return "AppendEntriesResponse";
        case ClusterMessage::kWalBatch:
            return "WALBatch";
        case ClusterMessage::kWalBatchResponse:
            return "WALBatchResponse";
        case ClusterMessage::kHeartbeat:
            return "Heartbeat";
        case ClusterMessage::kHeartbeatResponse:
            return "HeartbeatResponse";
        case ClusterMessage::kFence:
            return "Fence";
        case ClusterMessage::kFenceResponse:
            return "FenceResponse";
        case ClusterMessage::kPromote:
            return "Promote";
        case ClusterMessage::kPromoteResponse:
            return "PromoteResponse";
        case ClusterMessage::kHello:
            return "Hello";
        case ClusterMessage::kHelloProof:
            return "HelloProof";
        case ClusterMessage::kReject:
            return "Reject";
        case ClusterMessage::kPing:
            return "Ping";
        case ClusterMessage::kPong:
            return "Pong";
        case ClusterMessage::kSnapshotBegin:
            return "SnapshotBegin";
        case ClusterMessage::kSnapshotChunk:
            return "SnapshotChunk";
        case ClusterMessage::kSnapshotResponse:
            return "SnapshotResponse";
        case ClusterMessage::kLaneSwitch:
            return "LaneSwitch";
        case ClusterMessage::kTimeoutNow:
            return "TimeoutNow";
        case ClusterMessage::kReadIndexRequest:
            return "ReadIndexRequest";
        case ClusterMessage::kReadIndexResponse:
            return "ReadIndexResponse";
        case ClusterMessage::kLogReset:
            return "LogReset";
        case ClusterMessage::kNotMember:
            return "NotMember";
        case ClusterMessage::kJoinRequest:
            return "JoinRequest";
        case ClusterMessage::kJoinResponse:
            return "JoinResponse";
        case ClusterMessage::kStateDigest:
            return "StateDigest";
        case ClusterMessage::kStateVerdict:
            return "StateVerdict";
        case ClusterMessage::kRegionStatus:
            return "RegionStatus";
        case ClusterMessage::kRegionPull:
            return "RegionPull";
        case ClusterMessage::kRegionBatch:
            return "RegionBatch";
        case ClusterMessage::kRegionAck:
            return "RegionAck";
        case ClusterMessage::kRegionReadRequest:
            return "RegionReadRequest";
        case ClusterMessage::kRegionReadResponse:
            return "RegionReadResponse";
        case ClusterMessage::kRegionCommand:
            return "RegionCommand";
        case ClusterMessage::kRegionCommandResponse:
            return "RegionCommandResponse";
        case ClusterMessage::BODY_NOT_SET:
            break;
    }
    return "unknown";
}

namespace {

template <class Entries>
std::string describe_entries(const Entries& entries) {
    if (entries.empty()) {
        return "no entries";
    }
    std::size_t bytes = 0;
    for (const LogEntry& entry : entries) {
        bytes += entry.payload().size();
    }
    return fmt::format("entries {} to {} of {} bytes",
                       entries.Get(0).index(),
                       entries.Get(entries.size() - 1).index(),
                       bytes);
}

}  // namespace

std::string describe(const ClusterMessage& message) {
    switch (message.body_case()) {
        case ClusterMessage::kHello:
        case ClusterMessage::kHelloProof:  // Not for a log.
            return std::string{type_name(message)};
        case ClusterMessage::kAppendEntries: {
            const AppendEntries& m = message.append_entries();
            return fmt::format("AppendEntries term={} leader={} previous={}@{} commit={} read={} {}",
                               m.term(),
                               m.leader_id(),
                               m.prev_log_index(),
                               m.prev_log_term(),
                               m.leader_commit(),
                               m.read_context(),
                               describe_entries(m.entries()));
        }
        case ClusterMessage::kWalBatch: {
            const WALBatch& m = message.wal_batch();
            return fmt::format("WALBatch epoch={} previous={}@{} commit={} acknowledge_persisted={} {}",
                               m.epoch(),
                               m.previous_index(),
                               m.previous_epoch(),
                               m.commit_index(),
                               m.acknowledge_persisted(),
                               describe_entries(m.entries()));
        }
        case ClusterMessage::kSnapshotChunk: {
            const SnapshotChunk& m = message.snapshot_chunk();
            return fmt::format("SnapshotChunk epoch={} snapshot={} sequence={} last={} {} bytes",
                               m.epoch(),
                               m.snapshot_id(),
                               m.sequence(),
                               m.last(),
                               m.pairs().size());
        }
        case ClusterMessage::kRegionBatch: {
            const RegionBatch& m = message.region_batch();
            return fmt::format("RegionBatch stream={} sequence={} origin={} through={} seeding={} {} bytes packed",
                               m.stream(),
                               m.sequence(),
                               m.origin(),
                               m.through(),
                               m.seeding(),
                               m.packed().size());
        }
        case ClusterMessage::kLogReset: {
            const LogReset& m = message.log_reset();
            return fmt::format("LogReset term={} index={}@{}", m.term(), m.index(), m.index_term());
        }
        case ClusterMessage::BODY_NOT_SET:
            return "a message of an unknown type";
        default:
            return message.ShortDebugString().substr(0, 500);
    }
}

}  // namespace nornic::transport
