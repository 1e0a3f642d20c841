// Bolt's framing: a message is chunks of a 2-byte big-endian length and that many bytes, ended by
// an empty chunk. An empty chunk between messages is a NOOP. Source: docs/bolt.md, "Framing".
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::bolt {

inline constexpr std::size_t kChunkBytesMax = 65535;

/// Messages in the order they came, in one allocation that is used again and again.
struct MessageBatch {
    std::string bytes;
    std::vector<std::size_t> ends;  // of each message in bytes

    [[nodiscard]] std::size_t size() const noexcept { return ends.size(); }
    /// What they take in memory; for tiny messages most of it is not their bytes.
    [[nodiscard]] std::size_t memory_bytes() const noexcept {
        return bytes.size() + ends.size() * sizeof(std::size_t);
    }
    [[nodiscard]] std::string_view operator[](std::size_t i) const noexcept {
        const std::size_t begin = i == 0 ? 0 : ends[i - 1];
        return std::string_view{bytes}.substr(begin, ends[i] - begin);
    }
    void clear();
};

/// Puts messages together from bytes as they arrive.
class ChunkReader {
public:
    /// Appends the messages that `bytes` completes to `batch`. False if a message grows beyond
    /// `message_bytes_max`, with its size so far in excess(); the stream cannot go on after that.
    bool feed(std::string_view bytes, std::size_t message_bytes_max, MessageBatch& batch);
    [[nodiscard]] std::size_t excess() const noexcept { return excess_; }

private:
    std::string partial_;         // of a message that came in several pieces
    std::size_t chunk_left_ = 0;  // bytes of the current chunk still to come
    std::uint8_t length_high_ = 0;
    bool half_length_ = false;  // the length's first byte has come, its second not yet
    std::size_t excess_ = 0;
};

/// Frames messages that are packed straight into `out`: begin(), pack, end().
class MessageFramer {
public:
    explicit MessageFramer(std::string& out) : out_{out} {}
    void begin() {
        start_ = out_.size();
        out_.append(2, '\0');
    }
    void end() {
        const std::size_t length = out_.size() - start_ - 2;
        if (length <= kChunkBytesMax) {
            out_[start_] = static_cast<char>(length >> 8);
            out_[start_ + 1] = static_cast<char>(length & 0xFF);
        } else {
            split(length);
        }
        out_.append(2, '\0');
    }
    /// Takes back what was packed since begin().
    void abandon() { out_.resize(start_); }

private:
    void split(std::size_t length);
    std::string& out_;
    std::size_t start_ = 0;
};

}  // namespace nornic::bolt
