// PackStream, the value encoding of Bolt: a writer that appends to a buffer and a bounded reader.
// Structures differ by protocol version, which a Dialect says. Source: docs/bolt.md, "Values".
#pragma once

#include "bolt/version.h"
#include "graph/value.h"

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::bolt {

/// Nesting of lists, maps and structures that a message may have; deeper is refused, so that no
/// peer chooses how deep our stack goes.
inline constexpr int kNestingMax = 64;
/// Neo4j's: the longest text, list or map.
inline constexpr std::uint64_t kValueSizeMax = 2'147'483'647;

/// Tags of the structures that are values.
enum class StructTag : std::uint8_t {
    kNode = 0x4E,
    kRelationship = 0x52,
    kUnboundRelationship = 0x72,
    kPath = 0x50,
    kDate = 0x44,
    kTime = 0x54,
    kLocalTime = 0x74,
    kLocalDateTime = 0x64,
    kDateTime = 0x49,
    kDateTimeZoneId = 0x69,
    kLegacyDateTime = 0x46,
    kLegacyDateTimeZoneId = 0x66,
    kDuration = 0x45,
    kPoint2D = 0x58,
    kPoint3D = 0x59,
};

/// Appends PackStream to `out`. Integers and headers take their shortest form.
class Packer {
public:
    explicit Packer(std::string& out, Dialect dialect = {}) noexcept
        : out_{out}, dialect_{dialect} {}

    void null() { put(0xC0); }
    void boolean(bool v) { put(v ? 0xC3 : 0xC2); }
    void integer(std::int64_t v) {
        if (v >= -16 && v <= 127) {
            put(static_cast<std::uint8_t>(v));
        } else {
            wide_integer(v);
        }
    }
    void real(double v) { put_sized<std::uint64_t>(0xC1, std::bit_cast<std::uint64_t>(v)); }
    void string(std::string_view v) {
        header(v.size(), 0x80, 0xD0);
        out_.append(v);
    }
    void bytes(std::string_view v);
    void list(std::size_t size) { header(size, 0x90, 0xD4); }
    void map(std::size_t size) { header(size, 0xA0, 0xD8); }
    void structure(std::uint8_t tag, std::size_t fields) {
        put(static_cast<std::uint8_t>(0xB0 | fields));
        put(tag);
    }
    /// Any value but NodeRef, RelationshipRef and PathRef: those must have been resolved (checked).
    void value(const Value& v) {
        if (v.is(ValueType::kInteger)) {
            integer(v.as_integer());
        } else {
            other_value(v);
        }
    }
    void map(const Map& v);

private:
    void put(std::uint8_t byte) { out_.push_back(static_cast<char>(byte)); }
    template <class T>
    void put_sized(std::uint8_t marker, T v) {
        char buffer[1 + sizeof(T)];
        buffer[0] = static_cast<char>(marker);
        for (std::size_t i = 0; i < sizeof(T); ++i) {
            buffer[sizeof(T) - i] = static_cast<char>(static_cast<std::uint64_t>(v) >> (8 * i));
        }
        out_.append(buffer, sizeof buffer);
    }
    /// tiny: marker with 4 bits of size; marker8: the one with 8 bits, 16 and 32 follow it.
    void header(std::size_t size, std::uint8_t tiny, std::uint8_t marker8) {
        if (size < 16) {
            put(static_cast<std::uint8_t>(tiny | size));
        } else {
            wide_header(size, marker8);
        }
    }
    void wide_header(std::size_t size, std::uint8_t marker8);
    void wide_integer(std::int64_t v);
    void other_value(const Value& v);
    void date_time(const DateTime& v);
    void node(const Node& v);
    void relationship(const Relationship& v);
    void unbound_relationship(const Relationship& v);
    void path(const Path& v);

    std::string& out_;
    Dialect dialect_;
};

/// Reads PackStream from a view that outlives it. Sizes are believed only as far as there are bytes
/// for them, nesting is bounded. The first failure stays: all reads after it fail too, and
/// message() and gql() say what it was, in Neo4j's words.
class Unpacker {
public:
    /// Parameters hold no nodes, relationships and paths; results do.
    enum class Entities : std::uint8_t { kRefused, kTaken };
    explicit Unpacker(std::string_view bytes,
                      Dialect dialect = {},
                      Entities entities = Entities::kRefused) noexcept
        : bytes_{bytes}, dialect_{dialect}, entities_{entities} {}

    [[nodiscard]] bool ok() const noexcept { return message_.empty(); }
    [[nodiscard]] bool at_end() const noexcept { return position_ == bytes_.size(); }
    [[nodiscard]] std::size_t position() const noexcept { return position_; }
    /// "Duplicate map key: "a"".
    [[nodiscard]] const std::string& message() const noexcept { return message_; }
    /// "08N06>22N54"; "50N42" where Neo4j knows nothing better.
    [[nodiscard]] const std::string& gql() const noexcept { return gql_; }

    /// Any value. False after a failure.
    bool value(Value& out);
    /// A structure's tag and number of fields, without them.
    bool structure(std::uint8_t& tag, std::size_t& fields);
    bool string(std::string_view& out);
    /// A map, or null as an empty one.
    bool map(Map& out);

    /// Records a failure of the caller's making.
    bool fail(std::string message, std::string gql);
    /// Puts "Illegal value for field "…": " before the message, once per enclosing field.
    void add_field(std::string_view field);

private:
    [[nodiscard]] std::size_t remaining() const noexcept { return bytes_.size() - position_; }
    bool truncated();
    bool unexpected(std::string_view expected, std::uint8_t marker);
    template <class T>
    bool big_endian(T& out);
    bool sized(std::uint8_t marker, std::uint8_t marker8, std::uint64_t& out);
    bool text(std::uint64_t size, std::string_view& out);
    bool nested_value(Value& out);
    bool list_body(std::uint64_t size, List& out);
    bool map_body(std::uint64_t size, Map& out);
    bool value_structure(std::size_t fields, Value& out);
    bool integer_field(std::string_view field,
                       std::int64_t& out,
                       std::int64_t least,
                       std::int64_t most);
    bool real_field(std::string_view field, double& out);
    bool zone_field(std::string& out);
    bool point(bool three, Value& out);
    bool date_time(std::uint8_t tag, Value& out);
    // unpacker_entities.cc
    [[nodiscard]] std::size_t entity_fields(std::uint8_t tag) const noexcept;
    bool entity(std::uint8_t tag, Value& out);
    bool id_field(std::uint64_t& out);
    bool text_field(std::string& out);
    bool node(Value& out);
    bool relationship(bool bound, Value& out);
    bool path(Value& out);

    std::string_view bytes_;
    std::size_t position_ = 0;
    int depth_ = 0;
    Dialect dialect_;
    Entities entities_;
    std::string message_;
    std::string gql_;
};

/// "LIST", "STRING", …: what a marker byte begins, as Neo4j's texts name it.
std::string_view marker_type_name(std::uint8_t marker) noexcept;

}  // namespace nornic::bolt
