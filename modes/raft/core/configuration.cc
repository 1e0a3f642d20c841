#include "modes/raft/core/configuration.h"

#include "base/bytes.h"
#include "base/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

namespace nornic::raft {
namespace {

constexpr std::uint8_t kVersion = 1;
enum Flag : std::uint8_t { kVoter = 1, kOutgoing = 2, kLeaving = 4, kWitness = 8, kPromote = 16, kFlags = 31 };

/// Calls `half(is_in_it)` for the new configuration and, while joint, for the old one.
template <class F>
void each_half(const Configuration& c, F&& half) {
    half([](const Member& m) { return m.voter; });
    if (c.joint) {
        half([](const Member& m) { return m.outgoing; });
    }
}

/// With the learners that are to become voters, or without them.
bool too_many_witnesses(const Configuration& c, bool promoted) {
    std::size_t voters = 0;
    std::size_t witnesses = 0;
    for (const auto& [id, m] : c.members) {
        if (m.voter || (promoted && m.promote)) {
            ++voters;
            witnesses += m.witness ? 1 : 0;
        }
    }
    return witnesses > 0 && 2 * witnesses >= voters;
}

/// What every configuration is, wherever it came from. Empty: it is sound.
std::string unsound(const Configuration& c) {
    if (c.members.size() > kMembersMax) {
        return fmt::format("{} members; at most {} are possible", c.members.size(), kMembersMax);
    }
    std::size_t intended = 0;
    std::size_t outgoing = 0;
    for (const auto& [id, m] : c.members) {
        if (id.empty() || id.size() > kNameBytesMax) {
            return fmt::format("a member's id has 1 to {} bytes, this one has {}", kNameBytesMax, id.size());
        }
        if (m.address.size() > kNameBytesMax) {
            return fmt::format("the address of '{}' has {} bytes; at most {} are possible", id, m.address.size(),
                               kNameBytesMax);
        }
        if ((m.voter && (m.promote || m.leaving)) || (m.promote && m.leaving)) {
            return fmt::format("'{}' is a voter, a learner and a leaving member at once", id);
        }
        if ((m.outgoing || m.leaving) && !c.joint) {
            return fmt::format("'{}' has a vote in an old configuration, and there is none", id);
        }
        if (m.leaving && !m.outgoing) {
            return fmt::format("'{}' leaves and has no vote to wait for", id);
        }
        intended += m.voter || m.promote ? 1 : 0;
        outgoing += m.outgoing ? 1 : 0;
    }
    if (std::max(intended, outgoing) > kVotersMax) {
        return fmt::format("{} voters; at most {} are possible, more members as learners", std::max(intended, outgoing),
                           kVotersMax);
    }
    return {};
}

Result<> apply_one(Configuration& c, const Change& change) {
    using Kind = Change::Kind;
    const auto at = c.members.find(change.id);
    const bool adds = change.kind == Kind::kAddVoter || change.kind == Kind::kAddLearner;
    if (adds && at == c.members.end()) {
        if (change.member.address.empty()) {
            return fail(ErrorCode::kInvalidArgument,
                        fmt::format("member '{}' needs an address, \"host:port\"", change.id));
        }
        Member member = change.member;
        member.voter = member.outgoing = member.leaving = false;
        member.promote = change.kind == Kind::kAddVoter;
        c.members.emplace(change.id, std::move(member));
        return success();
    }
    if (at == c.members.end()) {
        return fail(ErrorCode::kNotFound, fmt::format("'{}' is no member; members are {}", change.id, c.describe()));
    }
    Member& member = at->second;
    const auto already = [&](std::string_view what) {
        return fail(ErrorCode::kAlreadyExists, fmt::format("'{}' is {} already", change.id, what));
    };
    switch (change.kind) {
        case Kind::kAddVoter:
            if (member.voter || member.promote) {
                return already(member.voter ? "a voter" : "a learner that is about to become a voter");
            }
            member.promote = true;
            return success();
        case Kind::kAddLearner:
            return already("a member");
        case Kind::kPromote:
            if (member.voter) {
                return already("a voter");
            }
            member.voter = true;
            member.promote = false;
            return success();
        case Kind::kDemote:
            if (!member.voter && !member.promote) {
                return already("a learner");
            }
            member.voter = member.promote = false;
            return success();
        case Kind::kRemove:
            c.members.erase(at);
            return success();
        case Kind::kUpdate: {
            const DirectoryId directory = change.member.directory;
            if (directory.value != 0 && member.directory.value != 0 && directory != member.directory) {
                return fail(ErrorCode::kInvalidArgument,
                            fmt::format("'{}' has another disk than before: replace its directory", change.id));
            }
            member.directory = directory.value == 0 ? member.directory : directory;
            member.address = change.member.address.empty() ? member.address : change.member.address;
            member.priority = change.member.priority;
            member.witness = change.member.witness;
            return success();
        }
        case Kind::kReplaceDirectory:
            if (member.directory == change.member.directory || change.member.directory.value == 0) {
                return already("known by this directory");
            }
            member.directory = change.member.directory;
            member.promote = member.promote || member.voter;
            member.voter = false;
            return success();
    }
    return fail(ErrorCode::kInvalidArgument, "a change of no known kind");
}

}  // namespace

const Member* Configuration::find(const NodeName& id) const {
    const auto at = members.find(id);
    return at == members.end() ? nullptr : &at->second;
}

bool Configuration::is_voter(const NodeName& id) const {
    const Member* member = find(id);
    return member != nullptr && member->votes();
}

std::size_t Configuration::voters() const {
    return static_cast<std::size_t>(std::ranges::count_if(members, [](const auto& m) { return m.second.voter; }));
}

std::size_t Configuration::voters_with_data() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(members, [](const auto& m) { return m.second.voter && !m.second.witness; }));
}

LogIndex Configuration::committed(const std::function<LogIndex(const NodeName&)>& match) const {
    std::optional<LogIndex> least;
    each_half(*this, [&](auto&& in) {
        std::array<LogIndex, kMembersMax> have{};
        std::size_t n = 0;
        for (const auto& [id, m] : members) {
            if (in(m)) {
                have[n++] = match(id);
            }
        }
        LogIndex index;
        if (n > 0) {
            std::sort(have.begin(), have.begin() + static_cast<std::ptrdiff_t>(n), std::greater<>{});
            index = have[n / 2];  // as many as a majority have this much or more
        }
        least = least ? std::min(*least, index) : index;
    });
    return *least;
}

Configuration::Outcome Configuration::tally(const std::function<int(const NodeName&)>& vote) const {
    Outcome outcome = Outcome::kWon;
    each_half(*this, [&](auto&& in) {
        std::size_t n = 0;
        std::size_t granted = 0;
        std::size_t refused = 0;
        for (const auto& [id, m] : members) {
            if (in(m)) {
                const int v = vote(id);
                ++n;
                granted += v > 0 ? 1 : 0;
                refused += v < 0 ? 1 : 0;
            }
        }
        const std::size_t majority = n / 2 + 1;
        if (n < majority + refused) {
            outcome = Outcome::kLost;
        } else if (granted < majority && outcome == Outcome::kWon) {
            outcome = Outcome::kPending;
        }
    });
    return outcome;
}

bool Configuration::has_quorum(const std::function<bool(const NodeName&)>& counts) const {
    return tally([&](const NodeName& id) { return counts(id) ? 1 : 0; }) == Outcome::kWon;
}

std::string Configuration::encode() const {
    std::string bytes;
    ByteWriter out{bytes};
    out.put_u8(kVersion);
    out.put_u8(joint ? 1 : 0);
    out.put_varint(members.size());
    for (const auto& [id, m] : members) {
        out.put_string(id);
        out.put_string(m.address);
        out.put_u64(m.directory.value);
        out.put_varint(m.priority);
        out.put_u8(static_cast<std::uint8_t>((m.voter ? kVoter : 0) | (m.outgoing ? kOutgoing : 0) |
                                             (m.leaving ? kLeaving : 0) | (m.witness ? kWitness : 0) |
                                             (m.promote ? kPromote : 0)));
    }
    out.put_u32(crc32c(0, bytes));
    NORNIC_CHECK(bytes.size() <= kConfigurationBytesMax, "{} bytes", bytes.size());
    return bytes;
}

Result<Configuration> Configuration::decode(std::string_view bytes) {
    const auto damaged = [](const std::string& why) {
        return fail(ErrorCode::kCorruption, "the group's configuration is damaged: " + why);
    };
    if (bytes.size() < 2 + sizeof(std::uint32_t) || bytes.size() > kConfigurationBytesMax) {
        return damaged(fmt::format("it has {} bytes", bytes.size()));
    }
    ByteReader in{bytes};
    const std::uint8_t version = in.get_u8();
    if (version != kVersion) {
        return damaged(fmt::format("it is of version {}, this program knows {}", version, kVersion));
    }
    const std::size_t body = bytes.size() - sizeof(std::uint32_t);
    ByteReader sum{bytes.substr(body)};
    if (sum.get_u32() != crc32c(0, bytes.substr(0, body))) {
        return damaged("its checksum does not fit");
    }
    in = ByteReader{bytes.substr(0, body)};
    in.get_u8();
    Configuration c;
    const std::uint8_t joint = in.get_u8();
    c.joint = joint == 1;
    const std::uint64_t count = in.get_varint();
    if (joint > 1 || count > kMembersMax) {
        return damaged(fmt::format("it has {} members; at most {} are possible", count, kMembersMax));
    }
    for (std::uint64_t i = 0; i < count && in.ok(); ++i) {
        NodeName id{in.get_string()};
        Member m;
        m.address = in.get_string();
        m.directory = DirectoryId{in.get_u64()};
        const std::uint64_t priority = in.get_varint();
        const std::uint8_t flags = in.get_u8();
        if (priority > UINT32_MAX || flags > kFlags || (!c.members.empty() && c.members.rbegin()->first >= id)) {
            return damaged("a member is not as this program writes them");
        }
        m.priority = static_cast<std::uint32_t>(priority);
        m.voter = (flags & kVoter) != 0;
        m.outgoing = (flags & kOutgoing) != 0;
        m.leaving = (flags & kLeaving) != 0;
        m.witness = (flags & kWitness) != 0;
        m.promote = (flags & kPromote) != 0;
        c.members.emplace(std::move(id), std::move(m));
    }
    NORNIC_TRY(in.finish("the group's configuration"));
    if (!in.at_end()) {
        return damaged("bytes are left over");
    }
    if (std::string why = unsound(c); !why.empty()) {
        return damaged(why);
    }
    return c;
}

Configuration Configuration::decode_checked(std::string_view bytes, std::string_view whose) {
    auto configuration = decode(bytes);
    NORNIC_CHECK(configuration.has_value(), "the configuration {} is damaged: {}", whose, configuration.error().message());
    return std::move(configuration).value();
}

std::string Configuration::describe() const {
    std::string out;
    for (const auto& [id, m] : members) {
        const std::string_view kind = m.witness ? (m.voter ? "witness" : "learner witness") : m.voter ? "voter" : "learner";
        const std::string_view more = m.leaving                              ? ", leaving"
                                      : m.outgoing && !m.voter               ? ", until now a voter"
                                      : joint && m.voter && !m.outgoing      ? ", from now on"
                                      : m.promote                            ? ", to become a voter"
                                                                             : "";
        out += fmt::format("{}{} ({}{})", out.empty() ? "" : ", ", id, m.leaving ? "voter" : kind, more);
    }
    return out.empty() ? "nobody" : out;
}

namespace {

/// A witness keeps it in its hard state.
Result<> check_room_on_witness(const Configuration& c) {
    const std::size_t bytes = c.encode().size();
    if (bytes <= kWitnessConfigurationBytesMax || std::ranges::none_of(c.members, [](const auto& m) { return m.second.witness; })) {
        return success();
    }
    return fail(ErrorCode::kInvalidArgument,
                fmt::format("the names and addresses of all members would take {} bytes, and a witness has room for {}: "
                            "use shorter ones, or fewer members",
                            bytes,
                            kWitnessConfigurationBytesMax));
}

}  // namespace

Result<> check_first(const Configuration& first) {
    if (std::string why = unsound(first); !why.empty()) {
        return fail(ErrorCode::kInvalidArgument, std::move(why));
    }
    NORNIC_TRY(check_room_on_witness(first));
    if (too_many_witnesses(first, true)) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("witnesses must be fewer than half of the voters, and the first members would be {}: start one of the "
                                "witnesses with NORNICDB_CLUSTER_RAFT_ROLE=voter, or add voters with data",
                                first.describe()));
    }
    return success();
}

Result<Configuration> apply_changes(const Configuration& from, const std::vector<Change>& changes) {
    NORNIC_CHECK(!from.joint, "the change before has not ended: {}", from.describe());
    if (changes.empty()) {
        return fail(ErrorCode::kInvalidArgument, "a change of members that changes nothing");
    }
    Configuration next = from;
    std::set<NodeName> named;
    bool replaces = false;
    for (const Change& change : changes) {
        if (!named.insert(change.id).second) {
            return fail(ErrorCode::kInvalidArgument, fmt::format("'{}' is named twice in one change", change.id));
        }
        replaces = replaces || change.kind == Change::Kind::kReplaceDirectory;
        NORNIC_TRY(apply_one(next, change));
    }
    if (next == from) {
        return fail(ErrorCode::kAlreadyExists, "the members are as wanted already: " + from.describe());
    }
    if (next.voters_with_data() == 0) {
        return fail(ErrorCode::kInvalidArgument,
                    "the last voter with data stays: add another member and wait until it has caught up");
    }
    if (std::ranges::none_of(next.members, [](const auto& m) {
            return m.second.voter && !m.second.witness && m.second.priority > 0;
        })) {
        return fail(ErrorCode::kInvalidArgument, "nobody could lead: one voter with data needs a priority above 0");
    }
    const bool now = too_many_witnesses(next, false) && !too_many_witnesses(from, false) && !replaces;
    if (now || too_many_witnesses(next, true)) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("witnesses must be fewer than half of the voters, and this would make {}; add voters "
                                "with data first, or remove a witness",
                                next.describe()));
    }

    // More than one vote moves: both majorities must agree until that is over (thesis 4.3).
    const auto votes_in = [](const Configuration& c, const NodeName& id) {
        const Member* m = c.find(id);
        return m != nullptr && m->voter;
    };
    const auto moved = std::ranges::count_if(
        named, [&](const NodeName& id) { return votes_in(from, id) != votes_in(next, id); });
    if (moved > 1) {
        if (replaces) {
            return fail(ErrorCode::kInvalidArgument, "a lost disk is a change of its own: one vote at a time");
        }
        next.joint = true;
        for (const auto& [id, before] : from.members) {
            if (before.voter) {
                const auto [at, removed] = next.members.emplace(id, before);
                at->second.outgoing = true;
                if (removed) {
                    at->second.voter = false;
                    at->second.leaving = true;
                }
            }
        }
    }
    if (std::string why = unsound(next); !why.empty()) {
        return fail(ErrorCode::kInvalidArgument, why);
    }
    NORNIC_TRY(check_room_on_witness(next));
    return next;
}

Configuration leave_joint(const Configuration& joint) {
    Configuration next = joint;
    next.joint = false;
    std::erase_if(next.members, [](const auto& m) { return m.second.leaving; });
    for (auto& [id, m] : next.members) {
        m.outgoing = false;
    }
    return next;
}

}  // namespace nornic::raft
