// Who begins a group and who waits for one (practice A28): one member by hand, its peers are what a test says.
#include "modes/raft/core/configuration.h"
#include "modes/raft/raft.h"
#include "tests/modes/conformance/fixture.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace nornic::modes {
namespace {

using transport::JoinRequest;
using transport::JoinResponse;

constexpr std::uint64_t kElectionTicks = 10;

std::string address_of(const NodeName& name) {
    return name + ":7688";
}

/// By id, or by address alone.
RaftSettings of_peers(const std::vector<NodeName>& names, bool by_id = true) {
    RaftSettings settings;
    settings.bootstrap = true;
    settings.election_ticks = kElectionTicks;
    settings.heartbeat_ticks = 2;
    for (const NodeName& name : names) {
        settings.peers.push_back({by_id ? name : NodeName{}, address_of(name)});
    }
    return settings;
}

class Newcomer {
public:
    explicit Newcomer(const RaftSettings& settings, const NodeName& self = "b", const HardState& hard_state = {}) {
        StrategyStart start;
        start.self = self;
        start.hard_state = hard_state;
        start.cluster_address = address_of(self);
        start.history = "history of " + self;
        start.log = &log_;
        start.seed = 1;
        strategy_ = make_raft(start, settings);
        carry();
    }

    void tick(std::uint64_t times = 1) {
        for (std::uint64_t i = 0; i < times; ++i) {
            strategy_->tick();
            carry();
        }
    }
    /// A connection to it is up.
    void meet(const NodeName& peer, const std::vector<std::string>& features = {}) {
        strategy_->peer_up({.id = peer, .mode = "raft", .cluster_address = address_of(peer), .features = features});
        carry();
    }
    void hear(const NodeName& from, const ClusterMessage& message) {
        strategy_->step(from, message);
        carry();
    }
    /// A peer that belongs to no group asks to be let in.
    void hear_of_fresh(const NodeName& peer, const std::function<void(JoinRequest&)>& change = [](JoinRequest&) {}) {
        meet(peer);
        ClusterMessage message;
        JoinRequest& m = *message.mutable_join_request();
        m.set_address(address_of(peer));
        m.set_role(JoinRequest::VOTER);
        m.set_priority(100);
        m.set_directory(directory_of(peer));
        change(m);
        hear(peer, message);
    }
    /// One that is a member of a group says so; term 0: one that waits for a group that it has heard of.
    void hear_of_group(const NodeName& from, std::uint64_t term) {
        meet(from);
        ClusterMessage message;
        JoinResponse& m = *message.mutable_join_response();
        m.set_configured(true);
        m.set_term(term);
        m.set_directory(7);
        m.set_leader_address("leader:7688");
        hear(from, message);
    }
    [[nodiscard]] std::string reason() const { return strategy_->view().reason; }
    [[nodiscard]] std::string state() const {
        const ClusterView view = strategy_->view();
        return std::ranges::find(view.details, "bootstrap_state", &std::pair<std::string, std::string>::first)->second;
    }
    /// It has written down who the first members are, and asks them for their votes.
    [[nodiscard]] bool begins() const {
        return std::ranges::any_of(sent_, [](const Outbound& out) { return out.message->has_vote_request(); });
    }
    [[nodiscard]] std::optional<JoinRequest> asked(const NodeName& peer) const {
        const auto last = std::ranges::find_if(sent_.rbegin(), sent_.rend(), [&](const Outbound& out) {
            return out.to == peer && out.message->has_join_request();
        });
        return last == sent_.rend() ? std::nullopt : std::optional{last->message->join_request()};
    }
    [[nodiscard]] std::optional<JoinResponse> answered(const NodeName& peer) const {
        const auto last = std::ranges::find_if(sent_.rbegin(), sent_.rend(), [&](const Outbound& out) {
            return out.to == peer && out.message->has_join_response();
        });
        return last == sent_.rend() ? std::nullopt : std::optional{last->message->join_response()};
    }
    void forget() { sent_.clear(); }
    /// By the newest configuration in the log; nullopt: it is not in it.
    [[nodiscard]] std::optional<std::uint32_t> priority(const NodeName& member) {
        std::optional<std::uint32_t> out;
        const auto entries = log_.read(log_.first_index(), log_.last_index(), SIZE_MAX);
        EXPECT_TRUE(entries);
        for (const Entry& entry : entries.value()) {
            if (entry.kind == EntryKind::kMembership) {
                const auto configuration = raft::Configuration::decode(entry.payload);
                const raft::Member* found = configuration ? configuration.value().find(member) : nullptr;
                out = found == nullptr ? std::nullopt : std::optional{found->priority};
            }
        }
        return out;
    }
    /// `voter` grants whatever vote it was asked for last.
    void grant_vote(const NodeName& voter) {
        const auto last = std::ranges::find_if(sent_.rbegin(), sent_.rend(), [&](const Outbound& out) {
            return out.to == voter && out.message->has_vote_request();
        });
        ASSERT_NE(last, sent_.rend());
        ClusterMessage message;
        transport::VoteResponse& m = *message.mutable_vote_response();
        m.set_term(last->message->vote_request().term());
        m.set_pre_vote(last->message->vote_request().pre_vote());
        m.set_vote_granted(true);
        m.set_directory(directory_of(voter));
        hear(voter, message);
    }
    [[nodiscard]] bool sent_entries_to(const NodeName& peer) const {
        return std::ranges::any_of(sent_, [&](const Outbound& out) {
            return out.to == peer && out.message->has_append_entries() && out.message->append_entries().entries_size() > 0;
        });
    }
    /// A leader's entries, which do not fit here.
    void hear_leader(const NodeName& from, std::uint64_t term, std::uint64_t commit) {
        meet(from);
        ClusterMessage message;
        transport::AppendEntries& m = *message.mutable_append_entries();
        m.set_term(term);
        m.set_leader_id(from);
        m.set_prev_log_index(9);
        m.set_prev_log_term(term);
        m.set_leader_commit(commit);
        m.set_directory(directory_of(from));
        hear(from, message);
    }
    void hear_log_reset(const NodeName& from, std::uint64_t term, std::uint64_t index, const std::vector<NodeName>& members) {
        raft::Configuration configuration;
        for (const NodeName& member : members) {
            configuration.members[member] = {.address = address_of(member), .directory = raft::DirectoryId{directory_of(member)}};
        }
        ClusterMessage message;
        transport::LogReset& m = *message.mutable_log_reset();
        m.set_term(term);
        m.set_index(index);
        m.set_index_term(term);
        m.set_configuration(configuration.encode());
        m.set_directory(directory_of(from));
        hear(from, message);
    }
    [[nodiscard]] std::vector<NodeName> members() const {
        std::vector<NodeName> out;
        for (const MemberView& member : strategy_->view().members) {
            out.push_back(member.id);
        }
        std::ranges::sort(out);
        return out;
    }
    HardState on_disk;
    /// The next sync of entries does not end.
    void hang_at_entries() { hangs_at_entries_ = true; }
    void free_disk() {
        hangs_at_entries_ = disk_hangs_ = false;
        strategy_->persisted(log_.last_index());
        carry();
    }

private:
    static std::uint64_t directory_of(const NodeName& peer) { return std::hash<NodeName>{}(peer) | 1U; }
    void carry() {
        while (!disk_hangs_) {
            keep(strategy_->take_messages());
            Ready ready = strategy_->take_ready();
            keep(strategy_->take_messages());
            if (ready.empty()) {
                return;
            }
            if (ready.reset_log) {
                on_disk = ready.hard_state.value_or(on_disk);
                log_.reset(LogIndex{ready.reset_log->index.value + 1}, ready.reset_log->term);
                strategy_->log_reset();
                continue;
            }
            log_.append(ready.entries);
            keep(std::move(ready.messages_after_append));
            if (hangs_at_entries_ && !ready.entries.empty()) {
                disk_hangs_ = true;
                return;
            }
            if (ready.hard_state || !ready.entries.empty()) {
                on_disk = ready.hard_state.value_or(on_disk);
                strategy_->persisted(log_.last_index());
            }
            keep(std::move(ready.messages_after_persist));
        }
        keep(strategy_->take_messages());
    }
    void keep(std::vector<Outbound>&& messages) { std::ranges::move(messages, std::back_inserter(sent_)); }

    conformance::MemoryLog log_;
    std::unique_ptr<Strategy> strategy_;
    std::vector<Outbound> sent_;
    bool hangs_at_entries_ = false;
    bool disk_hangs_ = false;
};

TEST(RaftForming, AGroupIsBegunOnceAMajorityOfThePeersIsHeardAndKnowsOfNone) {
    Newcomer b{of_peers({"a", "b", "c"})};
    b.tick(5 * kElectionTicks);
    b.meet("a");
    b.tick(5 * kElectionTicks);
    EXPECT_FALSE(b.begins()) << "a connection says nothing of what is on its disk";
    EXPECT_EQ(b.state(), "waiting");
    ASSERT_TRUE(b.asked("a"));
    EXPECT_TRUE(b.asked("a")->bootstrap());
    b.hear_of_fresh("a");
    b.tick();
    EXPECT_TRUE(b.begins());
}

TEST(RaftForming, WhoIsOnlyKnownByNameIsSentTheFirstEntryOnceItIsOnDisk) {
    Newcomer b{of_peers({"a", "b", "c"})};
    b.meet("c");
    b.hear_of_fresh("a");
    b.tick();
    b.grant_vote("a");
    b.hang_at_entries();
    b.grant_vote("a");
    b.tick(4);
    EXPECT_TRUE(b.sent_entries_to("a"));
    EXPECT_FALSE(b.sent_entries_to("c")) << "it could not stand by an entry in which it has no directory, and nobody else would have it";
    b.free_disk();
    b.tick(4);
    EXPECT_TRUE(b.sent_entries_to("c"));
}

TEST(RaftForming, APriorityThatAMemberSaysIsWrittenDownWheneverItChanges) {
    Newcomer b{of_peers({})};
    b.tick(2);
    b.hear_of_fresh("a", [](JoinRequest& m) { m.set_role(JoinRequest::LEARNER); });
    b.tick(4);
    ASSERT_EQ(b.priority("a"), 100U);
    for (const auto& [features, wanted] : std::vector<std::pair<std::vector<std::string>, std::uint32_t>>{
             {{"priority=7"}, 7},
             {{}, 7},  // it does not say: what is written down stays
             {{"tag:x", "priority=0"}, 0},
             {{"priority=1001"}, 0},
             {{"priority="}, 0},
             {{"priority=7x"}, 0},
             {{"priority=-7"}, 0},
             {{"priority=99999999999999999999"}, 0},
             {{"priority=1000"}, 1000},
         }) {
        b.meet("a", features);
        b.tick(4);
        EXPECT_EQ(b.priority("a"), wanted) << (features.empty() ? "nothing" : features.back());
    }
}

TEST(RaftForming, OneThatMayNotBeginAGroupWaits) {
    RaftSettings settings = of_peers({"a", "b", "c"});
    settings.bootstrap = false;
    Newcomer b{settings};
    b.hear_of_fresh("a");
    b.hear_of_fresh("c");
    b.tick(10 * kElectionTicks);
    EXPECT_FALSE(b.begins());
    EXPECT_FALSE(b.asked("a")->bootstrap());
    EXPECT_NE(b.reason().find("no group was found yet"), std::string::npos) << b.reason();
}

TEST(RaftForming, AWitnessAndALearnerBeginNone) {
    for (const RaftRole role : {RaftRole::kWitness, RaftRole::kLearner}) {
        RaftSettings settings = of_peers({"a", "b", "c"});
        settings.role = role;
        Newcomer b{settings};
        b.hear_of_fresh("a");
        b.hear_of_fresh("c");
        b.tick(10 * kElectionTicks);
        EXPECT_FALSE(b.begins());
    }
}

TEST(RaftForming, OfTwoThatMayTheLowerIdBeginsUnlessTheOtherHasData) {
    const auto may = [](JoinRequest& m) { m.set_bootstrap(true); };
    const auto may_and_has_data = [](JoinRequest& m) {
        m.set_bootstrap(true);
        m.set_history("data");
    };
    Newcomer behind_a{of_peers({"a", "b", "c"})};
    behind_a.hear_of_fresh("a", may);
    behind_a.tick(10 * kElectionTicks);
    EXPECT_FALSE(behind_a.begins());

    Newcomer before_c{of_peers({"a", "b", "c"})};
    before_c.hear_of_fresh("c", may);
    before_c.tick();
    EXPECT_TRUE(before_c.begins());

    Newcomer beside_data{of_peers({"a", "b", "c"})};
    beside_data.hear_of_fresh("c", may_and_has_data);
    beside_data.tick(10 * kElectionTicks);
    EXPECT_FALSE(beside_data.begins()) << "its data is to be the group's";
}

TEST(RaftForming, PeersKnownByAddressAloneAreWaitedForUntilNoOtherMajorityCanBeFound) {
    Newcomer b{of_peers({"a", "b", "c", "d"}, false)};
    b.hear_of_fresh("a");
    b.hear_of_fresh("c");
    b.tick(10 * kElectionTicks);
    EXPECT_FALSE(b.begins()) << "two of three are no majority of four: the others could begin a group, too";
    b.hear_of_fresh("d");
    b.tick();
    EXPECT_TRUE(b.begins());
}

TEST(RaftForming, WhoHearsOfAGroupBeginsNoSecondOne) {
    Newcomer b{of_peers({"a", "b", "c"})};
    b.hear_of_group("a", 5);
    EXPECT_EQ(b.state(), "joining");
    b.hear_of_fresh("c");
    b.tick();
    EXPECT_FALSE(b.begins());
    b.tick(2);
    EXPECT_FALSE(b.asked("a")->bootstrap()) << "nobody shall wait for it";
    ASSERT_TRUE(b.answered("c")) << "one that may begin a group must not take this member for one that knows of none";
    EXPECT_TRUE(b.answered("c")->configured());
    EXPECT_EQ(b.answered("c")->term(), 0U);
    EXPECT_EQ(b.answered("c")->leader_address(), "leader:7688");
    for (std::uint64_t i = 0; i < 20; ++i) {
        b.tick(kElectionTicks);
        b.hear_of_group("a", 5);
    }
    EXPECT_FALSE(b.begins());
}

TEST(RaftForming, AGroupThatWasBegunHereIsGivenUpForOneThatIsHeardOf) {
    Newcomer b{of_peers({"a", "b", "c"})};
    b.hear_of_fresh("a");
    b.tick();
    ASSERT_TRUE(b.begins());
    b.hear_of_group("c", 5);
    b.forget();
    b.tick(4 * kElectionTicks);
    EXPECT_FALSE(b.begins());
    EXPECT_EQ(b.state(), "joining");
}

TEST(RaftForming, AGroupThatNobodySpeaksOfAnyMoreIsNotWaitedForForEver) {
    // Its leader could not write its first entry, and belongs to none any more.
    Newcomer b{of_peers({"a", "b", "c"})};
    b.hear_of_group("a", 5);
    b.hear_of_fresh("c");
    b.tick(5 * kElectionTicks - 1);
    EXPECT_EQ(b.state(), "joining");
    EXPECT_FALSE(b.begins());
    b.tick();
    EXPECT_EQ(b.state(), "waiting");
    EXPECT_TRUE(b.begins()) << "c is heard, and knows of none";
}

TEST(RaftForming, WhoHasHeardALeaderThatCommittedBeginsNoSecondGroupThoughItStartsAnew) {
    const RaftSettings settings = of_peers({"a", "b", "c"});
    Newcomer before{settings};
    before.hear_leader("a", 2, 7);
    Newcomer b{settings, "b", before.on_disk};
    b.hear_of_fresh("c");  // it, too, has nothing on its disk: it was lost
    b.tick(20 * kElectionTicks);
    EXPECT_EQ(b.state(), "joining");
    EXPECT_FALSE(b.begins());
    EXPECT_EQ(b.reason(), "this member waits for the leader of the group that it heard; if that group is gone for good, empty this member's "
                          "data directory to begin anew");
    ASSERT_TRUE(b.answered("c")) << "c begins none either";
    EXPECT_TRUE(b.answered("c")->configured());
    EXPECT_FALSE(b.asked("c")->bootstrap());
}

TEST(RaftForming, WhoHasHeardALeaderThatHasCommittedNothingYetMayBeginAGroupWhenItStartsAnew) {
    const RaftSettings settings = of_peers({"a", "b", "c"});
    Newcomer before{settings};
    before.hear_leader("a", 2, 0);
    Newcomer b{settings, "b", before.on_disk};
    b.hear_of_fresh("c");
    b.tick();
    EXPECT_TRUE(b.begins());
}

/// By an earlier one, those whom the group has taken out since could elect it.
TEST(RaftForming, AWitnessesLogIsNeverBegunAnewWithoutTheConfigurationThere) {
    RaftSettings settings = of_peers({"a", "b", "w"});
    settings.bootstrap = false;
    settings.role = RaftRole::kWitness;
    Newcomer before{settings, "w"};
    before.hear_leader("a", 2, 7);
    before.hear_log_reset("a", 2, 9, {"a", "c", "w"});
    ASSERT_EQ(before.state(), "formed");
    // The process ended before it came to the log.
    Newcomer w{settings, "w", before.on_disk};
    EXPECT_EQ(w.members(), (std::vector<NodeName>{"a", "c", "w"}));
    w.tick(10 * kElectionTicks);
    w.hear_leader("a", 2, 7);
    w.hear_log_reset("a", 2, 9, {"a", "c", "w"});
    EXPECT_EQ(w.state(), "formed");
}

TEST(RaftForming, APeerThatWaitsForAGroupItselfHoldsItBackForAnElectionTimeout) {
    Newcomer b{of_peers({"a", "b", "c"})};
    b.hear_of_group("a", 0);
    EXPECT_EQ(b.state(), "waiting") << "it heard of one by hearsay alone";
    b.hear_of_fresh("a");
    b.hear_of_fresh("c");
    b.tick(kElectionTicks - 1);
    EXPECT_FALSE(b.begins());
    EXPECT_EQ(b.reason(), "'a' has heard of a group and waits for it; if that group is gone for good, empty the data directory of 'a' to begin anew");
    b.hear_of_group("a", 0);
    b.tick(kElectionTicks - 1);
    EXPECT_FALSE(b.begins()) << "it still waits";
    b.tick();
    EXPECT_TRUE(b.begins());
}

}  // namespace
}  // namespace nornic::modes
