#include "modes/entry_traces.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

namespace nornic::modes {
namespace {

TraceContext context(char digit) {
    return *TraceContext::parse("00-" + std::string(32, digit) + "-" + std::string(16, digit) + "-01");
}

Entry entry(std::uint64_t index, std::uint64_t term) {
    Entry out;
    out.index = LogIndex{index};
    out.term = Term{term};
    return out;
}

std::vector<Outbound> batch(std::uint64_t from, std::uint64_t to, std::uint64_t term) {
    auto message = std::make_shared<ClusterMessage>();
    message->mutable_append_entries()->set_term(term);
    for (std::uint64_t index = from; index <= to; ++index) {
        auto& e = *message->mutable_append_entries()->add_entries();
        e.set_index(index);
        e.set_term(term);
    }
    auto heartbeat = std::make_shared<ClusterMessage>();
    heartbeat->mutable_heartbeat()->set_epoch(term);
    return {{"b", Lane::LANE_LOG, message}, {"c", Lane::LANE_LOG, message}, {"b", Lane::LANE_CONTROL, heartbeat}};
}

class EntryTracesTest : public testing::Test {
protected:
    Tracer tracer{{}, system_clock()};
    EntryTraces leader{tracer};
    EntryTraces follower{tracer};
};

TEST_F(EntryTracesTest, AContextGoesWithItsEntryFromTheProposalToThePeer) {
    leader.proposed(ProposalId{1}, context('1'));
    leader.proposed(ProposalId{2}, TraceContext{});
    leader.proposed(ProposalId{3}, context('3'));
    for (std::uint64_t i = 1; i <= 3; ++i) {
        leader.placed({ProposalId{i}, LogIndex{10 + i}, Term{5}});
    }
    auto sent = batch(10, 14, 5);
    const auto plain = sent[2].message;
    leader.label(sent);
    ASSERT_EQ(sent[0].message->append_entries().entries_size(), 5);
    EXPECT_EQ(sent[0].message->trace_parent(), context('1').traceparent());
    EXPECT_EQ(sent[0].message->append_entries().entries(1).trace_parent(), context('1').traceparent());
    EXPECT_EQ(sent[0].message->append_entries().entries(2).trace_parent(), "");
    EXPECT_EQ(sent[1].message->append_entries().entries(3).trace_parent(), context('3').traceparent());
    EXPECT_EQ(sent[2].message, plain);

    follower.received(*sent[0].message);
    const std::vector<Entry> entries{entry(10, 5), entry(11, 5), entry(12, 5), entry(13, 5)};
    const auto traced = follower.among(entries);
    ASSERT_EQ(traced.size(), 2U);
    EXPECT_EQ(traced[0], std::pair(LogIndex{11}, context('1')));
    EXPECT_EQ(traced[1], std::pair(LogIndex{13}, context('3')));
}

TEST_F(EntryTracesTest, AnEntryOfAnotherTermAtTheSameIndexIsAnother) {
    leader.proposed(ProposalId{1}, context('1'));
    leader.placed({ProposalId{1}, LogIndex{7}, Term{5}});
    auto sent = batch(7, 7, 6);
    leader.label(sent);
    EXPECT_EQ(sent[0].message->append_entries().entries(0).trace_parent(), "");
    EXPECT_EQ(sent[0].message->trace_parent(), "");
    const std::vector<Entry> entries{entry(7, 6)};
    EXPECT_TRUE(leader.among(entries).empty());
}

TEST_F(EntryTracesTest, WhatIsNotSampledOrNoContextIsNotKept) {
    auto sent = batch(1, 2, 1);
    auto message = std::make_shared<ClusterMessage>(*sent[0].message);
    message->set_trace_parent("nonsense");
    message->mutable_append_entries()->mutable_entries(0)->set_trace_parent("nonsense");
    TraceContext not_sampled = context('4');
    not_sampled.is_sampled = false;
    message->mutable_append_entries()->mutable_entries(1)->set_trace_parent(not_sampled.traceparent());
    follower.received(*message);
    const std::vector<Entry> entries{entry(1, 1), entry(2, 1)};
    EXPECT_TRUE(follower.among(entries).empty());
}

TEST_F(EntryTracesTest, OnlyTheNewestAreKept) {
    for (std::uint64_t i = 1; i <= 10'000; ++i) {
        leader.proposed(ProposalId{i}, context('1'));
        leader.placed({ProposalId{i}, LogIndex{i}, Term{1}});
    }
    const std::vector<Entry> old{entry(1, 1)};
    const std::vector<Entry> newest{entry(10'000, 1)};
    EXPECT_TRUE(leader.among(old).empty());
    EXPECT_EQ(leader.among(newest).size(), 1U);
}

TEST_F(EntryTracesTest, AnAppendThatFailsSaysSo) {
    leader.proposed(ProposalId{1}, context('1'));
    leader.placed({ProposalId{1}, LogIndex{7}, Term{5}});
    const std::vector<Entry> entries{entry(6, 5), entry(7, 5)};
    leader.append_begins(entries);
    leader.append_ended(true, std::chrono::microseconds{10});
    leader.append_begins(entries);
    leader.append_ended(false, Duration::zero());
    const auto spans = tracer.take(Duration::zero());
    std::vector<std::string> names;
    for (const SpanRecord& span : spans) {
        names.push_back(span.name + (span.failed ? " failed" : ""));
    }
    EXPECT_EQ(names, (std::vector<std::string>{"log sync", "log append", "log append failed"}));
    EXPECT_EQ(spans[0].parent_id, spans[1].context.span_id);
    EXPECT_EQ(spans[1].parent_id, context('1').span_id);
}

}  // namespace
}  // namespace nornic::modes
