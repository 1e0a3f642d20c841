#include "modes/raft/messages.h"

#include <gtest/gtest.h>

#include <functional>

namespace nornic::modes {
namespace {

using transport::ClusterMessage;

constexpr raft::DirectoryId kDirectory{0xFEDCBA9876543210};

raft::Configuration some_configuration() {
    raft::Configuration out;
    out.members["a"] = {.address = "a:7688", .directory = kDirectory};
    out.members["b"] = {.address = "b:7688", .witness = true};
    out.members["c"] = {.address = "c:7688"};
    return out;
}

raft::EntryPtr entry(std::uint64_t term,
                     std::uint64_t index,
                     raft::EntryKind kind = raft::EntryKind::kWriteSet,
                     std::string payload = std::string{"\0\xff bytes", 8}) {
    return std::make_shared<const raft::Entry>(
        raft::Entry{Term{term}, LogIndex{index}, index * 1000, kind, std::move(payload)});
}

raft::AppendEntries some_entries() {
    return {.term = Term{7},
            .prev_index = LogIndex{41},
            .prev_term = Term{5},
            .entries = {entry(5, 42),
                        entry(7, 43, raft::EntryKind::kNoop, ""),
                        entry(7, 44, raft::EntryKind::kMembership, some_configuration().encode())},
            .commit = LogIndex{40}};
}

struct Back {
    std::optional<raft::Message> message;
    std::string history;
    std::string why;
};

Back read(const ClusterMessage& wire) {
    Back out;
    out.message = from_wire(wire, out.history, out.why);
    return out;
}

/// What comes back of `body`, over the bytes that travel.
template <class Body>
Body round_trip(const Body& body, transport::ClusterMessage::BodyCase type) {
    const auto out = to_wire({kDirectory, body}, "a", "the history");
    EXPECT_EQ(out->body_case(), type);
    ClusterMessage parsed;
    EXPECT_TRUE(parsed.ParseFromString(out->SerializeAsString()));
    const Back back = read(parsed);
    EXPECT_TRUE(back.message) << back.why;
    if (!back.message) {
        return {};
    }
    EXPECT_EQ(back.message->directory, kDirectory);
    EXPECT_EQ(back.history, type == ClusterMessage::kAppendEntries ? "the history" : "");
    EXPECT_TRUE(std::holds_alternative<Body>(back.message->body));
    return std::get<Body>(back.message->body);
}

TEST(RaftMessages, AVoteAndItsAnswerComeBackAsTheyWere) {
    const auto asked = round_trip(raft::VoteRequest{Term{9}, LogIndex{80}, Term{8}, true, true}, ClusterMessage::kVoteRequest);
    EXPECT_EQ(asked.term, Term{9});
    EXPECT_EQ(asked.last_index, LogIndex{80});
    EXPECT_EQ(asked.last_term, Term{8});
    EXPECT_TRUE(asked.pre_vote);
    EXPECT_TRUE(asked.transfer);
    EXPECT_EQ(to_wire({kDirectory, asked}, "a", "")->vote_request().candidate_id(), "a");
    const auto empty_log = round_trip(raft::VoteRequest{.term = Term{1}}, ClusterMessage::kVoteRequest);
    EXPECT_EQ(empty_log.last_index, LogIndex{0});
    EXPECT_FALSE(empty_log.pre_vote);

    const auto answer = round_trip(raft::VoteResponse{Term{9}, true, true, "why"}, ClusterMessage::kVoteResponse);
    EXPECT_EQ(answer.term, Term{9});
    EXPECT_TRUE(answer.granted);
    EXPECT_TRUE(answer.pre_vote);
    EXPECT_EQ(answer.reason, "why");
}

TEST(RaftMessages, EntriesAndTheirAnswerComeBackAsTheyWere) {
    const auto sent = some_entries();
    const auto got = round_trip(sent, ClusterMessage::kAppendEntries);
    EXPECT_EQ(got.term, sent.term);
    EXPECT_EQ(got.prev_index, sent.prev_index);
    EXPECT_EQ(got.prev_term, sent.prev_term);
    EXPECT_EQ(got.commit, sent.commit);
    ASSERT_EQ(got.entries.size(), sent.entries.size());
    for (std::size_t i = 0; i < got.entries.size(); ++i) {
        EXPECT_EQ(got.entries[i]->term, sent.entries[i]->term);
        EXPECT_EQ(got.entries[i]->index, sent.entries[i]->index);
        EXPECT_EQ(got.entries[i]->hybrid_time, sent.entries[i]->hybrid_time);
        EXPECT_EQ(got.entries[i]->kind, sent.entries[i]->kind);
        EXPECT_EQ(got.entries[i]->payload, sent.entries[i]->payload);
    }
    const auto probe = round_trip(raft::AppendEntries{.term = Term{1}}, ClusterMessage::kAppendEntries);
    EXPECT_TRUE(probe.entries.empty());

    const auto answer = round_trip(
        raft::AppendResponse{Term{7}, true, LogIndex{44}, LogIndex{30}, Term{3}, LogIndex{40}, true, true},
        ClusterMessage::kAppendEntriesResponse);
    EXPECT_EQ(answer.term, Term{7});
    EXPECT_TRUE(answer.success);
    EXPECT_EQ(answer.match, LogIndex{44});
    EXPECT_EQ(answer.conflict_index, LogIndex{30});
    EXPECT_EQ(answer.conflict_term, Term{3});
    EXPECT_EQ(answer.applied, LogIndex{40});
    EXPECT_TRUE(answer.needs_snapshot);
    EXPECT_TRUE(answer.foreign);
}

TEST(RaftMessages, AnEntryOfALaterVersionsKindComesBackAsItWasSinceItMayNotBeSkipped) {
    const auto later = static_cast<raft::EntryKind>(77);
    const auto got = round_trip(
        raft::AppendEntries{.term = Term{7}, .prev_index = LogIndex{41}, .prev_term = Term{5}, .entries = {entry(7, 42, later)}},
        ClusterMessage::kAppendEntries);
    ASSERT_EQ(got.entries.size(), 1U);
    EXPECT_EQ(got.entries[0]->kind, later);
    EXPECT_EQ(got.entries[0]->payload, entry(7, 42)->payload);
}

TEST(RaftMessages, AHeartbeatAndItsAnswerComeBackAsTheyWere) {
    const auto beat = round_trip(raft::Heartbeat{Term{7}, 12, LogIndex{40}}, ClusterMessage::kHeartbeat);
    EXPECT_EQ(beat.term, Term{7});
    EXPECT_EQ(beat.round, 12U);
    EXPECT_EQ(beat.commit, LogIndex{40});
    const auto answer = round_trip(raft::HeartbeatResponse{Term{7}, 12, LogIndex{44}, LogIndex{40}},
                                   ClusterMessage::kHeartbeatResponse);
    EXPECT_EQ(answer.term, Term{7});
    EXPECT_EQ(answer.round, 12U);
    EXPECT_EQ(answer.match, LogIndex{44});
    EXPECT_EQ(answer.applied, LogIndex{40});
    EXPECT_FALSE(answer.readers_wait);
    raft::HeartbeatResponse unasked{Term{7}};
    unasked.readers_wait = true;
    EXPECT_TRUE(round_trip(unasked, ClusterMessage::kHeartbeatResponse).readers_wait);
}

TEST(RaftMessages, TheSmallOnesComeBackAsTheyWere) {
    EXPECT_EQ(round_trip(raft::TimeoutNow{Term{7}}, ClusterMessage::kTimeoutNow).term, Term{7});
    EXPECT_EQ(round_trip(raft::ReadIndexRequest{UINT64_MAX}, ClusterMessage::kReadIndexRequest).context, UINT64_MAX);
    const auto point = round_trip(raft::ReadIndexResponse{5, true, LogIndex{40}}, ClusterMessage::kReadIndexResponse);
    EXPECT_EQ(point.context, 5U);
    EXPECT_TRUE(point.granted);
    EXPECT_EQ(point.index, LogIndex{40});
    const auto none = round_trip(raft::NotMember{Term{7}, LogIndex{41}}, ClusterMessage::kNotMember);
    EXPECT_EQ(none.term, Term{7});
    EXPECT_EQ(none.index, LogIndex{41});
    const auto reset = round_trip(raft::LogReset{Term{7}, LogIndex{41}, Term{5}, some_configuration().encode()},
                                  ClusterMessage::kLogReset);
    EXPECT_EQ(reset.term, Term{7});
    EXPECT_EQ(reset.index, LogIndex{41});
    EXPECT_EQ(reset.index_term, Term{5});
    EXPECT_EQ(raft::Configuration::decode(reset.configuration).value(), some_configuration());
}

TEST(RaftMessages, WhatIsNotTheCoresIsLeftToOthersWithoutAComplaint) {
    ClusterMessage message;
    message.mutable_join_request()->set_address("a:7688");
    EXPECT_FALSE(read(message).message);
    EXPECT_EQ(read(message).why, "");
    message.mutable_wal_batch();
    EXPECT_FALSE(read(message).message);
    EXPECT_EQ(read(message).why, "");
    EXPECT_FALSE(read(ClusterMessage{}).message);
}

TEST(RaftMessages, ALongReasonIsCut) {
    ClusterMessage message;
    message.mutable_vote_response()->set_reason(std::string(100'000, 'x'));
    const Back back = read(message);
    ASSERT_TRUE(back.message) << back.why;
    EXPECT_EQ(std::get<raft::VoteResponse>(back.message->body).reason.size(), kRaftReasonBytesMax);
}

struct Bad {
    const char* name;
    std::function<void(ClusterMessage&)> make;
    const char* why;
};
class BadRaftMessage : public ::testing::TestWithParam<Bad> {};

TEST_P(BadRaftMessage, IsRefusedAndSaysWhy) {
    ClusterMessage message = *to_wire({kDirectory, some_entries()}, "a", "the history");
    ASSERT_TRUE(read(message).message) << read(message).why;
    GetParam().make(message);
    const Back back = read(message);
    EXPECT_FALSE(back.message);
    EXPECT_NE(back.why.find(GetParam().why), std::string::npos) << back.why;
}

INSTANTIATE_TEST_SUITE_P(
    Table,
    BadRaftMessage,
    ::testing::Values(
        Bad{"TermZero", [](auto& m) { m.mutable_append_entries()->set_term(0); }, "its term is 0"},
        Bad{"TermTooLarge", [](auto& m) { m.mutable_append_entries()->set_term(UINT64_MAX); }, "below 2^62"},
        Bad{"CommitTooLarge", [](auto& m) { m.mutable_append_entries()->set_leader_commit(kRaftNumberMax); }, "below 2^62"},
        Bad{"IndexesOverflow",
            [](auto& m) {
                auto& to = *m.mutable_append_entries();
                to.set_prev_log_index(kRaftNumberMax - 1);
                to.mutable_entries()->DeleteSubrange(1, 2);
                to.mutable_entries(0)->set_index(kRaftNumberMax);
            },
            "below 2^62"},
        Bad{"AHole", [](auto& m) { m.mutable_append_entries()->mutable_entries(1)->set_index(45); }, "entry 45 stands where 43"},
        Bad{"NotBehindPrevious",
            [](auto& m) { m.mutable_append_entries()->set_prev_log_index(40); },
            "entry 42 stands where 41"},
        Bad{"TermsFall", [](auto& m) { m.mutable_append_entries()->mutable_entries(2)->set_term(6); }, "7 to 7 was expected"},
        Bad{"TermBelowPrevious",
            [](auto& m) { m.mutable_append_entries()->set_prev_log_term(6); },
            "entry 42 is of term 5; 6 to 7"},
        Bad{"TermAboveTheMessages",
            [](auto& m) { m.mutable_append_entries()->mutable_entries(2)->set_term(8); },
            "entry 44 is of term 8"},
        Bad{"EntryOfTermZero",
            [](auto& m) {
                auto& to = *m.mutable_append_entries();
                to.set_prev_log_index(0);
                to.set_prev_log_term(0);
                to.mutable_entries()->DeleteSubrange(1, 2);
                to.mutable_entries(0)->set_index(1);
                to.mutable_entries(0)->set_term(0);
            },
            "entry 1 is of term 0"},
        Bad{"PreviousOfALaterTerm",
            [](auto& m) { m.mutable_append_entries()->set_prev_log_term(8); },
            "later than the message's"},
        Bad{"PreviousWithoutTerm", [](auto& m) { m.mutable_append_entries()->set_prev_log_term(0); }, "both or none is 0"},
        Bad{"KindThatNoLogCanHold",
            [](auto& m) { m.mutable_append_entries()->mutable_entries(0)->set_kind(static_cast<transport::EntryKind>(256)); },
            "kind 256"},
        Bad{"NegativeKind",
            [](auto& m) { m.mutable_append_entries()->mutable_entries(0)->set_kind(static_cast<transport::EntryKind>(-1)); },
            "kind -1"},
        Bad{"ConfigurationIsNone",
            [](auto& m) { m.mutable_append_entries()->mutable_entries(2)->set_payload("no configuration"); },
            "the configuration in entry 44 cannot be read"},
        Bad{"HistoryTooLong",
            [](auto& m) { m.mutable_append_entries()->set_history(std::string(257, 'x')); },
            "history has 257 bytes"},
        Bad{"TooManyEntries",
            [](auto& m) {
                for (int i = 0; i <= kRaftEntriesMax; ++i) {
                    m.mutable_append_entries()->add_entries();
                }
            },
            "at most 65536"},
        Bad{"AnswerTooLarge",
            [](auto& m) { m.mutable_append_entries_response()->set_match_index(UINT64_MAX); },
            "match_index is"},
        Bad{"CandidateOfNoTerm", [](auto& m) { m.mutable_vote_request(); }, "its term is 0"},
        Bad{"CandidateOfALaterLog",
            [](auto& m) {
                auto& to = *m.mutable_vote_request();
                to.set_term(3);
                to.set_last_log_index(1);
                to.set_last_log_term(4);
            },
            "of term 4, later than"},
        Bad{"RoundTooLarge",
            [](auto& m) {
                m.mutable_heartbeat()->set_epoch(1);
                m.mutable_heartbeat()->set_sequence(UINT64_MAX);
            },
            "sequence is"},
        Bad{"TimeoutNowOfNobody", [](auto& m) { m.mutable_timeout_now(); }, "its term is 0"},
        Bad{"ReadIndexTooLarge", [](auto& m) { m.mutable_read_index_response()->set_index(UINT64_MAX); }, "index is"},
        Bad{"ResetToNothing",
            [](auto& m) {
                m.mutable_log_reset()->set_term(1);
                m.mutable_log_reset()->set_configuration(some_configuration().encode());
            },
            "its index is 0"},
        Bad{"ResetWithoutAConfiguration",
            [](auto& m) {
                m.mutable_log_reset()->set_term(1);
                m.mutable_log_reset()->set_index(1);
                m.mutable_log_reset()->set_index_term(1);
            },
            "the configuration in a LogReset cannot be read"},
        Bad{"NotMemberOfNoPlace", [](auto& m) { m.mutable_not_member()->set_index(UINT64_MAX); }, "index is"}),
    [](const auto& info) { return std::string{info.param.name}; });

}  // namespace
}  // namespace nornic::modes
