#include "modes/raft/core/configuration.h"

#include "base/random.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <vector>

namespace nornic::raft {
namespace {

using Kind = Change::Kind;

Member voter(std::uint64_t directory = 1) {
    return {.address = "host:7000", .directory = DirectoryId{directory}};
}
Member learner() {
    return {.address = "host:7000", .directory = DirectoryId{1}, .voter = false};
}
Member witness() {
    return {.address = "host:7000", .directory = DirectoryId{1}, .witness = true};
}

/// "a b -c +d *w": voters; learners with '-', ones to be promoted with '+', witnesses with '*'.
Configuration of(std::string_view text) {
    Configuration c;
    std::size_t at = 0;
    while (at < text.size()) {
        const std::size_t end = std::min(text.find(' ', at), text.size());
        std::string word{text.substr(at, end - at)};
        at = end + 1;
        Member m = word[0] == '*' ? witness() : voter();
        m.voter = word[0] != '-' && word[0] != '+';
        m.promote = word[0] == '+';
        if (word.find_first_of("-+*") == 0) {
            word.erase(0, 1);
        }
        c.members[word] = m;
    }
    return c;
}

Change change(Kind kind, const NodeName& id, Member member = {}) {
    if (member.address.empty() && (kind == Kind::kAddVoter || kind == Kind::kAddLearner)) {
        member.address = "host:7000";
    }
    return {kind, id, std::move(member)};
}

// ---- Quorums, against the definition ----

/// Every subset of the members that is a majority of each half.
template <class F>
void each_quorum(const Configuration& c, F&& f) {
    std::vector<NodeName> ids;
    for (const auto& [id, m] : c.members) {
        ids.push_back(id);
    }
    for (unsigned set = 0; set < 1U << ids.size(); ++set) {
        std::size_t in[2] = {};
        std::size_t all[2] = {};
        for (std::size_t i = 0; i < ids.size(); ++i) {
            const Member& m = c.members.at(ids[i]);
            const bool has = (set >> i & 1U) != 0;
            all[0] += m.voter ? 1 : 0;
            in[0] += m.voter && has ? 1 : 0;
            all[1] += m.outgoing ? 1 : 0;
            in[1] += m.outgoing && has ? 1 : 0;
        }
        if (in[0] * 2 > all[0] && (!c.joint || in[1] * 2 > all[1])) {
            f(set, ids);
        }
    }
}

bool quorum(const Configuration& c, unsigned set) {
    bool found = false;
    each_quorum(c, [&](unsigned q, const auto&) { found = found || (q & ~set) == 0; });
    return found;
}

/// All configurations of up to `n` members, each outside, a learner, or a voter of the old, the new or both halves.
template <class F>
void each_configuration(std::size_t n, F&& f) {
    std::size_t all = 1;
    for (std::size_t i = 0; i < n; ++i) {
        all *= 5;
    }
    for (std::size_t code = 0; code < all; ++code) {
        Configuration c;
        std::size_t rest = code;
        for (std::size_t i = 0; i < n; ++i, rest /= 5) {
            if (rest % 5 == 0) {
                continue;
            }
            Member m = learner();
            m.voter = rest % 5 == 2 || rest % 5 == 4;
            m.outgoing = rest % 5 == 3 || rest % 5 == 4;
            c.joint = c.joint || m.outgoing;
            c.members[std::string(1, static_cast<char>('a' + i))] = m;
        }
        f(c);
    }
}

std::size_t place(const std::vector<NodeName>& ids, const NodeName& id) {
    return static_cast<std::size_t>(std::ranges::find(ids, id) - ids.begin());
}

TEST(Quorum, CommittedIsTheHighestIndexThatAQuorumHolds) {
    Random random{1};
    each_configuration(5, [&](const Configuration& c) {
        for (int round = 0; round < 4; ++round) {
            std::map<NodeName, LogIndex> match;
            for (const auto& [id, m] : c.members) {
                match[id] = LogIndex{random.below(5)};
            }
            LogIndex want;
            each_quorum(c, [&](unsigned set, const auto& ids) {
                std::optional<LogIndex> least;
                for (std::size_t i = 0; i < ids.size(); ++i) {
                    if ((set >> i & 1U) != 0 && c.is_voter(ids[i])) {
                        least = least ? std::min(*least, match[ids[i]]) : match[ids[i]];
                    }
                }
                want = std::max(want, least.value_or(LogIndex{}));
            });
            ASSERT_EQ(c.committed([&](const NodeName& id) { return match.at(id); }), want) << c.describe();
        }
    });
}

TEST(Quorum, AnElectionIsWonByAQuorumAndLostWhenNoneIsLeftToSayYes) {
    each_configuration(4, [](const Configuration& c) {
        std::vector<NodeName> ids;
        for (const auto& [id, m] : c.members) {
            ids.push_back(id);
        }
        std::size_t all = 1;
        for (std::size_t i = 0; i < ids.size(); ++i) {
            all *= 3;
        }
        for (std::size_t code = 0; code < all; ++code) {
            unsigned granted = 0;
            unsigned possible = 0;
            std::vector<int> votes;
            std::size_t rest = code;
            for (std::size_t i = 0; i < ids.size(); ++i, rest /= 3) {
                votes.push_back(static_cast<int>(rest % 3) - 1);
                granted |= votes[i] > 0 ? 1U << i : 0;
                possible |= votes[i] >= 0 ? 1U << i : 0;
            }
            const auto got = c.tally([&](const NodeName& id) { return votes[place(ids, id)]; });
            const auto want = quorum(c, granted)     ? Configuration::Outcome::kWon
                              : quorum(c, possible) ? Configuration::Outcome::kPending
                                                    : Configuration::Outcome::kLost;
            ASSERT_EQ(got, want) << c.describe() << " " << code;
            ASSERT_EQ(c.has_quorum([&](const NodeName& id) { return votes[place(ids, id)] > 0; }), quorum(c, granted));
        }
    });
}

TEST(Quorum, NobodyDecidesInAnEmptyConfigurationAndLearnersNever) {
    EXPECT_EQ(Configuration{}.committed([](const NodeName&) { return LogIndex{9}; }), LogIndex{});
    EXPECT_FALSE(Configuration{}.has_quorum([](const NodeName&) { return true; }));
    EXPECT_FALSE(of("-a -b").has_quorum([](const NodeName&) { return true; }));
    EXPECT_EQ(of("-a -b").committed([](const NodeName&) { return LogIndex{9}; }), LogIndex{});
}

// ---- Changes ----

struct Row {
    const char* name;
    const char* from;
    std::vector<Change> changes;
    const char* want;  // describe() of what comes out, or a part of the refusal
    std::optional<ErrorCode> code = std::nullopt;
};

TEST(Changes, LeadToTheConfigurationOrSayWhatWouldBeRight) {
    const Row rows[] = {
        {"add a voter", "a", {change(Kind::kAddVoter, "b")}, "a (voter), b (learner, to become a voter)"},
        {"add a learner", "a", {change(Kind::kAddLearner, "b")}, "a (voter), b (learner)"},
        {"a learner shall vote", "a -b", {change(Kind::kAddVoter, "b")}, "a (voter), b (learner, to become a voter)"},
        {"promote", "a +b", {change(Kind::kPromote, "b")}, "a (voter), b (voter)"},
        {"promote two", "a +b +c", {change(Kind::kPromote, "b"), change(Kind::kPromote, "c")},
         "a (voter), b (voter, from now on), c (voter, from now on)"},
        {"demote", "a b c", {change(Kind::kDemote, "b")}, "a (voter), b (learner), c (voter)"},
        {"demote two", "a b c", {change(Kind::kDemote, "b"), change(Kind::kDemote, "c")},
         "a (voter), b (learner, until now a voter), c (learner, until now a voter)"},
        {"remove", "a b c", {change(Kind::kRemove, "b")}, "a (voter), c (voter)"},
        {"remove a learner", "a -b", {change(Kind::kRemove, "b")}, "a (voter)"},
        {"replace", "a b c -d", {change(Kind::kRemove, "a"), change(Kind::kPromote, "d")},
         "a (voter, leaving), b (voter), c (voter), d (voter, from now on)"},
        {"one vote and a learner", "a b c -d", {change(Kind::kRemove, "a"), change(Kind::kRemove, "d")},
         "b (voter), c (voter)"},
        {"a witness", "a b", {change(Kind::kAddVoter, "w", witness())},
         "a (voter), b (voter), w (learner witness, to become a voter)"},
        {"lost disk", "a b c", {change(Kind::kReplaceDirectory, "b", voter(2))},
         "a (voter), b (learner, to become a voter), c (voter)"},
        {"lost disk with a witness", "a b *w", {change(Kind::kReplaceDirectory, "b", voter(2))},
         "a (voter), b (learner, to become a voter), w (witness)"},
        {"a learner's lost disk", "a -b", {change(Kind::kReplaceDirectory, "b", voter(2))}, "a (voter), b (learner)"},
        {"back as a voter", "a +b *w", {change(Kind::kPromote, "b")}, "a (voter), b (voter), w (witness)"},
        {"elsewhere meanwhile", "a +b *w", {change(Kind::kUpdate, "a", {.address = "other:1"})},
         "a (voter), b (learner, to become a voter), w (witness)"},

        {"nothing", "a", {}, "changes nothing", ErrorCode::kInvalidArgument},
        {"twice", "a -b", {change(Kind::kPromote, "b"), change(Kind::kRemove, "b")}, "named twice",
         ErrorCode::kInvalidArgument},
        {"known", "a b", {change(Kind::kAddVoter, "b")}, "a voter already", ErrorCode::kAlreadyExists},
        {"on its way", "a +b", {change(Kind::kAddVoter, "b")}, "about to become", ErrorCode::kAlreadyExists},
        {"known learner", "a -b", {change(Kind::kAddLearner, "b")}, "a member already", ErrorCode::kAlreadyExists},
        {"promoted", "a b", {change(Kind::kPromote, "b")}, "a voter already", ErrorCode::kAlreadyExists},
        {"demoted", "a -b", {change(Kind::kDemote, "b")}, "a learner already", ErrorCode::kAlreadyExists},
        {"same", "a b", {change(Kind::kUpdate, "b")}, "as wanted already", ErrorCode::kAlreadyExists},
        {"same disk", "a b", {change(Kind::kReplaceDirectory, "b", voter(1))}, "known by this", ErrorCode::kAlreadyExists},
        {"who", "a b", {change(Kind::kRemove, "x")}, "members are a (voter), b (voter)", ErrorCode::kNotFound},
        {"no address", "a", {{Kind::kAddVoter, "b", {}}}, "needs an address", ErrorCode::kInvalidArgument},
        {"no id", "a", {change(Kind::kAddVoter, "")}, "id has 1 to", ErrorCode::kInvalidArgument},
        {"long id", "a", {change(Kind::kAddVoter, std::string(257, 'x'))}, "id has 1 to", ErrorCode::kInvalidArgument},
        {"long address", "a", {change(Kind::kAddVoter, "b", {.address = std::string(257, 'x')})}, "address of 'b'",
         ErrorCode::kInvalidArgument},
        {"eight", "a b c d e f g", {change(Kind::kAddVoter, "h")}, "at most 7", ErrorCode::kInvalidArgument},
        {"the last", "a", {change(Kind::kRemove, "a")}, "last voter with data", ErrorCode::kInvalidArgument},
        {"the last demoted", "a -b", {change(Kind::kDemote, "a")}, "last voter with data", ErrorCode::kInvalidArgument},
        {"the last with data", "a +b *w", {change(Kind::kRemove, "a")}, "last voter with data",
         ErrorCode::kInvalidArgument},
        {"half witnesses", "a", {change(Kind::kAddVoter, "w", witness())}, "fewer than half",
         ErrorCode::kInvalidArgument},
        {"two of four", "a b *w", {change(Kind::kAddVoter, "v", witness())}, "fewer than half",
         ErrorCode::kInvalidArgument},
        {"left with a witness", "a b *w", {change(Kind::kRemove, "b")}, "fewer than half", ErrorCode::kInvalidArgument},
        {"demoted beside a witness", "a b *w", {change(Kind::kDemote, "b")}, "fewer than half",
         ErrorCode::kInvalidArgument},
        {"a lost disk and more", "a b c", {change(Kind::kReplaceDirectory, "b", voter(2)), change(Kind::kRemove, "c")},
         "a change of its own", ErrorCode::kInvalidArgument},
        {"another disk", "a b", {change(Kind::kUpdate, "b", {.directory = DirectoryId{2}})}, "replace its directory",
         ErrorCode::kInvalidArgument},
    };
    for (const Row& row : rows) {
        const auto got = apply_changes(of(row.from), row.changes);
        ASSERT_EQ(got.has_value(), !row.code) << row.name << ": " << (got ? got.value().describe() : got.error().message());
        if (got) {
            EXPECT_EQ(got.value().describe(), row.want) << row.name;
        } else {
            EXPECT_EQ(got.error().code(), *row.code) << row.name;
            EXPECT_NE(got.error().message().find(row.want), std::string::npos) << row.name << ": " << got.error().message();
        }
    }
}

TEST(Changes, AnUpdateKeepsWhatItDoesNotName) {
    Configuration c = of("a b");
    c.members["b"].directory = DirectoryId{0};
    const auto next = apply_changes(c, {change(Kind::kUpdate, "b", {.directory = DirectoryId{5}, .priority = 7})}).value();
    EXPECT_EQ(next.find("b")->address, "host:7000");
    EXPECT_EQ(next.find("b")->directory, DirectoryId{5});
    EXPECT_EQ(next.find("b")->priority, 7U);
    EXPECT_TRUE(next.find("b")->voter);
}

TEST(Changes, LeavingAJointConfigurationDropsTheRemovedAndKeepsTheDemoted) {
    const auto joint =
        apply_changes(of("a b c -d"), {change(Kind::kRemove, "a"), change(Kind::kDemote, "b"), change(Kind::kPromote, "d")})
            .value();
    ASSERT_TRUE(joint.joint);
    EXPECT_EQ(leave_joint(joint).describe(), "b (learner), c (voter), d (voter)");
}

/// Two configurations that may both decide at some moment must have a member in common in any two of their quorums.
void expect_overlap(const Configuration& one, const Configuration& other) {
    each_quorum(one, [&](unsigned a, const auto& ids_a) {
        each_quorum(other, [&](unsigned b, const auto& ids_b) {
            bool common = false;
            for (std::size_t i = 0; i < ids_a.size() && !common; ++i) {
                const std::size_t j = place(ids_b, ids_a[i]);
                common = (a >> i & 1U) != 0 && one.is_voter(ids_a[i]) && j < ids_b.size() && (b >> j & 1U) != 0 &&
                         other.is_voter(ids_a[i]);
            }
            ASSERT_TRUE(common) << one.describe() << " | " << other.describe();
        });
    });
}

std::size_t witnesses(const Configuration& c) {
    return c.voters() - c.voters_with_data();
}

// After etcd's confchange quick check: whatever is asked for in whatever order, the invariants hold.
TEST(Changes, RandomSequencesNeverMakeTwoDisjointMajorities) {
    std::size_t joints = 0;
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        Random random{seed};
        Configuration c = of("a b c -d -e");
        for (int step = 0; step < 40; ++step) {
            std::vector<Change> changes;
            for (std::uint64_t n = 1 + random.below(3); n > 0; --n) {
                Member m = random.one_in(4) ? witness() : voter();
                m.directory = DirectoryId{1 + random.below(3)};
                changes.push_back(change(random.one_in(2) ? Kind::kPromote : static_cast<Kind>(random.below(7)),
                                         std::string(1, static_cast<char>('a' + random.below(7))), m));
            }
            const auto next = apply_changes(c, changes);
            if (!next) {
                continue;
            }
            const Configuration& to = next.value();
            SCOPED_TRACE(fmt::format("seed {}: {} -> {}", seed, c.describe(), to.describe()));
            ASSERT_NO_FATAL_FAILURE(expect_overlap(c, to));
            const Configuration left = to.joint ? leave_joint(to) : to;
            ASSERT_NO_FATAL_FAILURE(expect_overlap(to, left));
            joints += to.joint ? 1 : 0;
            for (const Configuration& each : {to, left}) {
                ASSERT_GE(each.voters_with_data(), 1U);
                ASSERT_LE(each.voters(), kVotersMax);
                ASSERT_EQ(Configuration::decode(each.encode()).value(), each);
            }
            const bool suspended = std::ranges::any_of(left.members, [](const auto& m) { return m.second.promote; });
            ASSERT_TRUE(suspended || witnesses(left) == 0 || 2 * witnesses(left) < left.voters());
            c = left;
        }
    }
    EXPECT_GT(joints, 100U);
}

// ---- Bytes ----

TEST(ConfigurationBytes, ComeBackAsTheyWereAndDamageIsNoticed) {
    Configuration c = of("a b -c +d *w");
    c.members["a"].priority = 4'000'000'000U;
    c.members["b"].address = std::string(256, 'x');
    const auto joint = apply_changes(c, {change(Kind::kRemove, "a"), change(Kind::kPromote, "d")}).value();
    for (const Configuration& each : {c, joint, leave_joint(joint), Configuration{}}) {
        const std::string bytes = each.encode();
        EXPECT_EQ(Configuration::decode(bytes).value(), each);
        EXPECT_EQ(Configuration::decode(bytes).value().encode(), bytes);
        for (std::size_t i = 0; i < bytes.size(); ++i) {
            for (int bit = 0; bit < 8; ++bit) {
                std::string bad = bytes;
                bad[i] = static_cast<char>(bad[i] ^ (1 << bit));
                const auto got = Configuration::decode(bad);
                ASSERT_FALSE(got) << i;
                ASSERT_EQ(got.error().code(), ErrorCode::kCorruption);
            }
            ASSERT_FALSE(Configuration::decode(std::string_view{bytes}.substr(0, i)));
        }
        EXPECT_FALSE(Configuration::decode(bytes + "x"));
    }
}

TEST(ConfigurationBytes, TheLargestConfigurationFits) {
    Configuration c;
    for (std::size_t i = 0; i < kMembersMax; ++i) {
        Member m = voter(UINT64_MAX);
        m.address = std::string(kNameBytesMax, 'x');
        m.voter = i < kVotersMax;
        m.priority = UINT32_MAX;
        c.members[fmt::format("{:0>256}", i)] = m;
    }
    const std::string bytes = c.encode();
    EXPECT_LE(bytes.size(), kConfigurationBytesMax);
    EXPECT_EQ(Configuration::decode(bytes).value(), c);
    EXPECT_FALSE(apply_changes(c, {change(Kind::kAddLearner, "one more")}));
    c.members["one more"] = learner();
    EXPECT_FALSE(Configuration::decode(c.encode()));
}

TEST(ConfigurationBytes, WhatNoGroupCanBeIsRefusedThoughItsChecksumFits) {
    Configuration outgoing = of("a b");
    outgoing.members["a"].outgoing = true;  // and not joint
    Configuration both = of("a b");
    both.members["a"].promote = true;
    Configuration eight = of("a b c d e f g h");
    Configuration nameless = of("a");
    nameless.members[""] = voter();
    Configuration leaving = of("a b");
    leaving.joint = true;
    leaving.members["b"].voter = false;
    leaving.members["b"].leaving = true;  // and has no vote to leave with
    for (const Configuration& c : {outgoing, both, eight, nameless, leaving}) {
        EXPECT_FALSE(Configuration::decode(c.encode())) << c.describe();
    }
}

TEST(RaftConfiguration, AGroupDoesNotBeginWithAsManyWitnessesAsOthers) {
    const auto first = [](std::size_t voters, std::size_t witnesses) {
        Configuration out;
        for (std::size_t i = 0; i < voters; ++i) {
            out.members[std::to_string(i)] = {.address = "a:1", .directory = DirectoryId{i + 1}, .witness = i < witnesses};
        }
        return check_first(out);
    };
    EXPECT_TRUE(first(3, 1));
    EXPECT_TRUE(first(5, 2));
    for (const auto& [voters, witnesses] : {std::pair{3, 2}, std::pair{4, 2}, std::pair{2, 1}}) {
        const auto refused = first(static_cast<std::size_t>(voters), static_cast<std::size_t>(witnesses));
        ASSERT_FALSE(refused) << voters << " " << witnesses;
        EXPECT_NE(refused.error().message().find("fewer than half"), std::string::npos) << refused.error().message();
    }
}

TEST(RaftConfiguration, NoMoreIsWrittenDownThanAWitnessHasRoomFor) {
    Configuration c;
    c.members["w"] = {.address = "w:1", .directory = DirectoryId{1}, .witness = true};
    for (const char* name : {"a", "b"}) {
        c.members[name] = {.address = "a:1", .directory = DirectoryId{2}};
    }
    Result<Configuration> next = c;
    for (std::size_t i = 0; next && next.value().members.size() < kMembersMax; ++i) {
        c = next.value();
        Change change{Change::Kind::kAddLearner, std::to_string(i) + std::string(200, 'x'), {}};
        change.member.address = "a:1";
        change.member.directory = DirectoryId{i + 10};
        next = apply_changes(c, {change});
    }
    ASSERT_FALSE(next);
    EXPECT_NE(next.error().message().find("a witness has room for 3900"), std::string::npos) << next.error().message();
    EXPECT_LE(c.encode().size(), kWitnessConfigurationBytesMax);
}

}  // namespace
}  // namespace nornic::raft
