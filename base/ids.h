// Strong ids: a term cannot be passed for an index, nor a node for a relationship.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

namespace nornic {

/// An unsigned integer that only compares with its own kind.
template <class Tag, class Rep = std::uint64_t>
struct StrongId {
    using rep = Rep;
    Rep value = 0;

    constexpr StrongId() noexcept = default;
    constexpr explicit StrongId(Rep v) noexcept : value{v} {}
    constexpr auto operator<=>(const StrongId&) const noexcept = default;
    constexpr StrongId& operator++() noexcept {
        ++value;
        return *this;
    }
};

using LogIndex =
    StrongId<struct LogIndexTag>;       // Position in the replicated log; 1 is the first entry.
using Term = StrongId<struct TermTag>;  // Raft term, standby epoch, or 1.
using ProposalId = StrongId<struct ProposalIdTag>;  // Names a proposal inside one process.
using ReadId = StrongId<struct ReadIdTag>;
using TransactionId = StrongId<struct TransactionIdTag>;

/// Graph ids stay below 2^53 (JavaScript). The low kRegionBits name the region that drew the id,
/// so ids never collide across regions; the rest counts up from 0.
using NodeId = StrongId<struct NodeIdTag>;
using RelId = StrongId<struct RelIdTag>;
inline constexpr unsigned kRegionBits = 5;

/// Token ids: small, dense, never reused. 0 is the first.
using LabelId = StrongId<struct LabelIdTag, std::uint32_t>;
using RelTypeId = StrongId<struct RelTypeIdTag, std::uint32_t>;
using PropertyKeyId = StrongId<struct PropertyKeyIdTag, std::uint32_t>;
using DatabaseId = StrongId<struct DatabaseIdTag, std::uint32_t>;
using SchemaRuleId = StrongId<struct SchemaRuleIdTag, std::uint32_t>;  // An index or a constraint.

/// A member of the cluster by name; identity is the id, never the address.
using NodeName = std::string;

}  // namespace nornic

template <class Tag, class Rep>
struct std::hash<nornic::StrongId<Tag, Rep>> {
    std::size_t operator()(const nornic::StrongId<Tag, Rep>& id) const noexcept {
        // Fibonacci hashing: ids are dense, tables are powers of two.
        return static_cast<std::size_t>(static_cast<std::uint64_t>(id.value) *
                                        0x9E3779B97F4A7C15ULL);
    }
};
