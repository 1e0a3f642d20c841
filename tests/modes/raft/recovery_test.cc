// A group begun anew from one disk (practice A30): what it takes, and what it must not.
#include "modes/raft/recovery.h"

#include "modes/raft/extra.h"

#include <gtest/gtest.h>

namespace nornic::modes {
namespace {

GroupOnDisk disk_of(const NodeName& self) {
    GroupOnDisk disk;
    disk.self = self;
    disk.hard_state = {.term = Term{7}, .voted_for = "b", .committed = LogIndex{40}, .extra = "raft 00000000000000ab"};
    disk.last_index = LogIndex{50};
    disk.last_term = Term{6};
    for (const char* id : {"a", "b", "l", "w"}) {
        raft::Member member;
        member.address = std::string{id} + ":7688";
        member.directory = raft::DirectoryId{0xcd};
        member.voter = std::string_view{id} != "l";
        member.witness = std::string_view{id} == "w";
        member.priority = std::string_view{id} == "b" ? 0 : 100;
        disk.configuration.members.emplace(id, member);
    }
    return disk;
}

TEST(RaftRecovery, TheMemberIsTheOnlyVoterInATermBehindAllOthers) {
    const auto next = begin_anew(disk_of("a"), 99);
    ASSERT_TRUE(next) << next.error().message();
    const engine::LogEntry& entry = next.value().entry;
    EXPECT_EQ(entry.term, Term{7 + kRecoveryTermJump});
    EXPECT_EQ(entry.index, LogIndex{51});
    EXPECT_EQ(entry.kind, engine::EntryKind::kMembership);
    EXPECT_EQ(entry.hybrid_time, 99U);
    const auto configuration = raft::Configuration::decode(entry.payload);
    ASSERT_TRUE(configuration);
    ASSERT_EQ(configuration.value().members.size(), 1U);
    const raft::Member* self = configuration.value().find("a");
    ASSERT_NE(self, nullptr);
    EXPECT_TRUE(self->voter);
    EXPECT_EQ(self->address, "a:7688");
    // That of the disk that is here, whichever the group knew.
    EXPECT_EQ(self->directory, raft::DirectoryId{0xab});
    const engine::HardState& hard = next.value().hard_state;
    EXPECT_EQ(hard.term, entry.term);
    EXPECT_EQ(hard.voted_for, "a");
    EXPECT_EQ(hard.committed, entry.index);
    EXPECT_EQ(hard.extra, "raft 00000000000000ab");
}

TEST(RaftRecovery, WhoWouldNotLeadLeadsWhenItIsAlone) {
    for (const char* id : {"b", "l"}) {
        const auto next = begin_anew(disk_of(id), 0);
        ASSERT_TRUE(next) << next.error().message();
        const auto configuration = raft::Configuration::decode(next.value().entry.payload);
        ASSERT_TRUE(configuration);
        EXPECT_TRUE(configuration.value().find(id)->voter);
        EXPECT_GT(configuration.value().find(id)->priority, 0U);
    }
}

TEST(RaftRecovery, ADiskWithoutAGroupAWitnessAndOneThatWasRemovedAreRefused) {
    EXPECT_EQ(begin_anew(disk_of("w"), 0).error().code(), ErrorCode::kInvalidArgument);
    EXPECT_EQ(begin_anew(disk_of("x"), 0).error().code(), ErrorCode::kInvalidArgument);
    GroupOnDisk standalone = disk_of("a");
    standalone.hard_state.extra.clear();
    EXPECT_EQ(begin_anew(standalone, 0).error().code(), ErrorCode::kInvalidArgument);
    GroupOnDisk fresh = disk_of("a");
    fresh.configuration.members.clear();
    EXPECT_EQ(begin_anew(fresh, 0).error().code(), ErrorCode::kInvalidArgument);
}

TEST(RaftRecovery, WhatADiskRemembersIsReadOnlyIfItIsOfThisMode) {
    const auto voter = parse_raft_extra("raft 00000000000000ab");
    ASSERT_TRUE(voter);
    EXPECT_EQ(voter->directory, raft::DirectoryId{0xab});
    EXPECT_TRUE(voter->configuration.empty());
    const auto witness = parse_raft_extra("raft 00000000000000ab 12 con fig");
    ASSERT_TRUE(witness);
    EXPECT_EQ(witness->configuration_index, LogIndex{12});
    EXPECT_EQ(witness->configuration, "con fig");
    for (const char* other : {"", "raft", "raft 0", "raft zz", "epochs 1", "rafter 1"}) {
        EXPECT_FALSE(parse_raft_extra(other)) << other;
    }
}

}  // namespace
}  // namespace nornic::modes
