// Names of labels, relationship types and property keys, and their ids. Ids are dense, never reused
// and part of the replicated state. Thread-safe; lookups take no lock that a writer holds for long.
#pragma once

#include "base/ids.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::engine {

enum class TokenKind : std::uint8_t { kLabel, kRelationshipType, kPropertyKey };

class Tokens {
public:
    virtual ~Tokens() = default;
    [[nodiscard]] virtual std::optional<std::uint32_t> find(TokenKind kind,
                                                            std::string_view name) const = 0;
    /// Precondition: the id was given out. The view lives as long as the database.
    [[nodiscard]] virtual std::string_view name(TokenKind kind, std::uint32_t id) const = 0;
    [[nodiscard]] virtual std::vector<std::string> all(TokenKind kind) const = 0;

    [[nodiscard]] std::optional<LabelId> label(std::string_view n) const {
        return as<LabelId>(TokenKind::kLabel, n);
    }
    [[nodiscard]] std::optional<RelTypeId> relationship_type(std::string_view n) const {
        return as<RelTypeId>(TokenKind::kRelationshipType, n);
    }
    [[nodiscard]] std::optional<PropertyKeyId> property_key(std::string_view n) const {
        return as<PropertyKeyId>(TokenKind::kPropertyKey, n);
    }
    [[nodiscard]] std::string_view name(LabelId id) const {
        return name(TokenKind::kLabel, id.value);
    }
    [[nodiscard]] std::string_view name(RelTypeId id) const {
        return name(TokenKind::kRelationshipType, id.value);
    }
    [[nodiscard]] std::string_view name(PropertyKeyId id) const {
        return name(TokenKind::kPropertyKey, id.value);
    }

private:
    template <class Id>
    std::optional<Id> as(TokenKind kind, std::string_view n) const {
        const auto id = find(kind, n);
        return id ? std::optional<Id>{Id{*id}} : std::nullopt;
    }
};

}  // namespace nornic::engine
