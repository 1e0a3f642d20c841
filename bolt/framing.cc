#include "bolt/framing.h"

#include <algorithm>
#include <cstring>

namespace nornic::bolt {

namespace {
// Buffers that grew beyond this for one large message are given back.
constexpr std::size_t kKeptBytes = 1 << 20;
}  // namespace

void MessageBatch::clear() {
    ends.clear();
    if (bytes.capacity() > kKeptBytes) {
        std::string{}.swap(bytes);
    } else {
        bytes.clear();
    }
}

bool ChunkReader::feed(std::string_view bytes, std::size_t message_bytes_max, MessageBatch& batch) {
    if (excess_ != 0) {
        return false;
    }
    while (!bytes.empty()) {
        if (chunk_left_ > 0) {
            const std::size_t n = std::min(chunk_left_, bytes.size());
            partial_.append(bytes.substr(0, n));
            bytes.remove_prefix(n);
            chunk_left_ -= n;
            continue;
        }
        std::size_t length = 0;
        if (half_length_) {
            length = (std::size_t{length_high_} << 8) | static_cast<std::uint8_t>(bytes[0]);
            bytes.remove_prefix(1);
            half_length_ = false;
        } else if (bytes.size() == 1) {
            length_high_ = static_cast<std::uint8_t>(bytes[0]);
            half_length_ = true;
            return true;
        } else {
            length = (static_cast<std::size_t>(static_cast<std::uint8_t>(bytes[0])) << 8) |
                     static_cast<std::uint8_t>(bytes[1]);
            bytes.remove_prefix(2);
        }
        if (length == 0) {
            // The end of a message, or a NOOP if there is none.
            if (partial_.empty()) {
                continue;
            }
            if (batch.bytes.empty() && partial_.size() > kKeptBytes) {
                batch.bytes = std::move(partial_);
                partial_ = {};
            } else {
                batch.bytes.append(partial_);
                partial_.clear();
                if (partial_.capacity() > kKeptBytes) {
                    std::string{}.swap(partial_);
                }
            }
            batch.ends.push_back(batch.bytes.size());
            continue;
        }
        if (partial_.size() + length > message_bytes_max) {
            excess_ = partial_.size() + length;
            return false;
        }
        if (partial_.empty() && bytes.size() >= length + 2 && bytes[length] == 0 &&
            bytes[length + 1] == 0) {
            // The common case: the whole message in one chunk, in these bytes.
            batch.bytes.append(bytes.substr(0, length));
            batch.ends.push_back(batch.bytes.size());
            bytes.remove_prefix(length + 2);
            continue;
        }
        chunk_left_ = length;
    }
    return true;
}

void MessageFramer::split(std::size_t length) {
    const std::size_t chunks = (length + kChunkBytesMax - 1) / kChunkBytesMax;
    out_.resize(out_.size() + 2 * (chunks - 1));
    char* const body = out_.data() + start_;
    // From the last chunk back, so that no byte is overwritten before it moved.
    for (std::size_t i = chunks; i-- > 0;) {
        const std::size_t size = std::min(kChunkBytesMax, length - i * kChunkBytesMax);
        char* const to = body + i * (kChunkBytesMax + 2);
        std::memmove(to + 2, body + 2 + i * kChunkBytesMax, size);
        to[0] = static_cast<char>(size >> 8);
        to[1] = static_cast<char>(size & 0xFF);
    }
}

}  // namespace nornic::bolt
