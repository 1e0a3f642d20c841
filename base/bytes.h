// Bytes in and out: fixed and variable-length integers, length-prefixed strings, CRC-32C.
// ByteWriter appends to a std::string; ByteReader never reads past its end and says so.
#pragma once

#include "base/result.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace nornic {

/// CRC-32C (Castagnoli), hardware where there is any. crc is the value so far, 0 at the start.
std::uint32_t crc32c(std::uint32_t crc, std::string_view bytes) noexcept;

/// Appends to `out`. Fixed integers are little-endian, except put_be*, which sort as bytes.
class ByteWriter {
public:
    explicit ByteWriter(std::string& out) noexcept : out_{out} {}

    void put_u8(std::uint8_t v) { out_.push_back(static_cast<char>(v)); }
    void put_u32(std::uint32_t v) { append(&v, sizeof v); }
    void put_u64(std::uint64_t v) { append(&v, sizeof v); }
    void put_be32(std::uint32_t v) { put_u32(__builtin_bswap32(v)); }
    void put_be64(std::uint64_t v) { put_u64(__builtin_bswap64(v)); }
    void put_f64(double v) { put_u64(std::bit_cast<std::uint64_t>(v)); }
    /// LEB128: 7 bits a byte, least significant group first.
    void put_varint(std::uint64_t v) {
        while (v >= 0x80) {
            put_u8(static_cast<std::uint8_t>(v | 0x80));
            v >>= 7;
        }
        put_u8(static_cast<std::uint8_t>(v));
    }
    void put_zigzag(std::int64_t v) {
        put_varint((static_cast<std::uint64_t>(v) << 1) ^ static_cast<std::uint64_t>(v >> 63));
    }
    /// A varint length and the bytes.
    void put_string(std::string_view s) {
        put_varint(s.size());
        out_.append(s);
    }
    void put_raw(std::string_view s) { out_.append(s); }
    [[nodiscard]] std::size_t size() const noexcept { return out_.size(); }

private:
    void append(const void* p, std::size_t n) { out_.append(static_cast<const char*>(p), n); }
    std::string& out_;
};

/// Reads from a view that outlives it. Every read fails with kCorruption past the end; after a
/// failure ok() is false and all further reads give zero values, so a decoder may check once.
class ByteReader {
public:
    explicit ByteReader(std::string_view bytes) noexcept : bytes_{bytes} {}

    [[nodiscard]] bool ok() const noexcept { return ok_; }
    [[nodiscard]] bool at_end() const noexcept { return position_ == bytes_.size(); }
    [[nodiscard]] std::size_t position() const noexcept { return position_; }
    [[nodiscard]] std::size_t remaining() const noexcept { return bytes_.size() - position_; }

    std::uint8_t get_u8() noexcept { return get<std::uint8_t>(); }
    std::uint32_t get_u32() noexcept { return get<std::uint32_t>(); }
    std::uint64_t get_u64() noexcept { return get<std::uint64_t>(); }
    std::uint32_t get_be32() noexcept { return __builtin_bswap32(get_u32()); }
    std::uint64_t get_be64() noexcept { return __builtin_bswap64(get_u64()); }
    double get_f64() noexcept { return std::bit_cast<double>(get_u64()); }
    std::uint64_t get_varint() noexcept {
        std::uint64_t v = 0;
        for (unsigned shift = 0; shift < 64; shift += 7) {
            const std::uint8_t byte = get_u8();
            v |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
            if ((byte & 0x80) == 0) {
                return v;
            }
        }
        ok_ = false;
        return 0;
    }
    std::int64_t get_zigzag() noexcept {
        const std::uint64_t v = get_varint();
        return static_cast<std::int64_t>(v >> 1) ^ -static_cast<std::int64_t>(v & 1);
    }
    std::string_view get_string() noexcept { return get_raw(get_varint()); }
    std::string_view get_raw(std::uint64_t size) noexcept {
        if (!ok_ || size > remaining()) {
            ok_ = false;
            return {};
        }
        const std::string_view out = bytes_.substr(position_, size);
        position_ += size;
        return out;
    }
    /// kCorruption naming `what` if any read so far went past the end.
    [[nodiscard]] Result<> finish(std::string_view what) const {
        if (ok_) {
            return success();
        }
        return fail(ErrorCode::kCorruption, std::string{what} + ": bytes end too early");
    }

private:
    template <class T>
    T get() noexcept {
        if (!ok_ || remaining() < sizeof(T)) {
            ok_ = false;
            return T{};
        }
        T v;
        std::memcpy(&v, bytes_.data() + position_, sizeof v);
        position_ += sizeof v;
        return v;
    }
    std::string_view bytes_;
    std::size_t position_ = 0;
    bool ok_ = true;
};

}  // namespace nornic
