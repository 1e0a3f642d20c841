// What modes::Replica does with what a strategy decides, and in which order: the other side of the door
// that the rest of this folder knocks at.
#include "tests/modes/conformance/mocks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <future>
#include <thread>

namespace nornic::modes::conformance {
namespace {

using testing::_;
using testing::AtLeast;
using testing::Field;
using testing::InSequence;
using testing::NiceMock;
using testing::Return;

constexpr Duration kTick = std::chrono::milliseconds{10};

Entry entry(std::uint64_t index, std::uint64_t term, const std::string& payload = "w") {
    return {Term{term}, LogIndex{index}, index << 16, EntryKind::kWriteSet, payload};
}

/// A message that can be told from others.
Outbound message(std::uint64_t number, Lane lane = Lane::LANE_CONTROL) {
    ClusterMessage out;
    out.mutable_ping()->set_sequence(number);
    return {"b", lane, std::make_shared<const ClusterMessage>(std::move(out))};
}

MATCHER_P(IsMessage, number, "") {
    return arg->ping().sequence() == static_cast<std::uint64_t>(number);
}

class DriverTest : public testing::Test {
protected:
    void TearDown() override {
        if (replica) {
            replica->stop();
        }
    }

    void start() {
        ReplicaParts parts;
        parts.start.self = "a";
        parts.start.cluster_address = "a:7688";
        parts.make_strategy = [this](const StrategyStart& begin) {
            given = begin;
            auto out = std::make_unique<NiceMock<MockStrategy>>();
            strategy = out.get();
            ON_CALL(*strategy, write_term).WillByDefault([this] { return write_term; });
            ON_CALL(*strategy, serves).WillByDefault([this] { return serves; });
            ON_CALL(*strategy, left).WillByDefault(Return(true));
            ON_CALL(*strategy, propose).WillByDefault([this](ProposalId id, std::string write, std::uint64_t) -> Result<> {
                offered.emplace_back(id, std::move(write));
                return success();
            });
            ON_CALL(*strategy, read).WillByDefault([this](ReadId id, ReadConsistency) -> Result<> {
                reads.push_back(id);
                return success();
            });
            ON_CALL(*strategy, command).WillByDefault([this](std::uint64_t id, const Command&) -> Result<> {
                commands.push_back(id);
                return success();
            });
            ON_CALL(*strategy, take_answers).WillByDefault([this] { return std::exchange(answers, {}); });
            ON_CALL(*strategy, take_messages).WillByDefault([this] { return std::exchange(messages, {}); });
            ON_CALL(*strategy, take_ready).WillByDefault([this] {
                EXPECT_FALSE(writing) << "a Ready is taken before the one before it was persisted";
                Ready out_ready;
                if (!readies.empty()) {
                    out_ready = std::move(readies.front());
                    readies.pop_front();
                    writing = !out_ready.reset_log && (out_ready.hard_state.has_value() || !out_ready.entries.empty());
                }
                committed = std::max(committed, out_ready.committed);
                out_ready.committed = committed;
                return out_ready;
            });
            ON_CALL(*strategy, persisted).WillByDefault([this](LogIndex) { writing = false; });
            ON_CALL(*strategy, not_persisted).WillByDefault([this](LogIndex) { writing = false; });
            return out;
        };
        parts.engine = with_data ? &engine : nullptr;
        parts.log = &log;
        parts.bus = &bus;
        parts.clock = time;
        settings.own_threads = own_threads;
        settings.tick_interval = kTick;
        settings.diverged_sink = [this](const std::string& name, const std::string& text) {
            diverged.Call(name, text);
        };
        replica = make_replica(std::move(parts), settings);
        const auto started = replica->start();
        ASSERT_TRUE(started) << started.error().message();
    }
    /// The next Ready that the strategy gives.
    Ready& decide() { return readies.emplace_back(); }
    /// A tick: whatever was decided is carried out.
    void go() {
        clock.at += kTick;
        replica->tick();
    }
    void log_first() {
        decide().entries = {entry(1, 1)};
        go();
    }
    /// One Ready has the second entry and that the first is committed.
    Ready& commit_first_beside_second() {
        Ready& ready = decide();
        ready.entries = {entry(2, 1)};
        ready.committed = LogIndex{1};
        return ready;
    }
    /// What is in the log before the driver is made.
    void have_logged(std::initializer_list<Entry> entries) {
        const std::vector<Entry> all{entries};
        ASSERT_TRUE(log.memory->append(all));
        ASSERT_TRUE(log.memory->sync());
        engine::crash_memory_log(*log.memory);
    }
    /// Offers a write and keeps its answer.
    std::size_t commit(const std::string& write, std::optional<Term> began_in = std::nullopt) {
        const std::size_t at = outcomes.size();
        outcomes.emplace_back();
        replica->commit(write, began_in, [this, at](Result<Committed> outcome) {
            EXPECT_FALSE(outcomes[at]) << "answered twice";
            outcomes[at] = std::move(outcome);
        });
        return at;
    }
    /// Decides that the newest offered write has this place.
    void place(std::uint64_t index, std::uint64_t term = 1) {
        ASSERT_FALSE(offered.empty());
        Ready& ready = decide();
        ready.placed.push_back({offered.back().first, LogIndex{index}, Term{term}});
        ready.entries.push_back(entry(index, term, offered.back().second));
    }
    std::size_t ask(ReadConsistency level, std::optional<LogIndex> bookmark = std::nullopt) {
        const std::size_t at = read_outcomes.size();
        read_outcomes.emplace_back();
        replica->read_point(level, bookmark, clock.at + std::chrono::seconds{1}, [this, at](Result<LogIndex> outcome) {
            EXPECT_FALSE(read_outcomes[at]) << "answered twice";
            read_outcomes[at] = std::move(outcome);
        });
        return at;
    }
    [[nodiscard]] std::optional<ErrorCode> error(std::size_t at) const {
        return outcomes[at] && !*outcomes[at] ? std::optional{outcomes[at]->error().code()} : std::nullopt;
    }

    NiceMock<MockLog> log;
    NiceMock<MockEngine> engine;
    NiceMock<MockBus> bus;
    /// Where lost branches go.
    NiceMock<testing::MockFunction<void(const std::string& name, const std::string& text)>> diverged;
    ManualClock clock;
    Clock* time = &clock;
    bool own_threads = false;
    ReplicaSettings settings;
    bool with_data = true;  // else it is a witness

    NiceMock<MockStrategy>* strategy = nullptr;  // the driver's
    StrategyStart given;
    std::deque<Ready> readies;
    std::vector<Outbound> messages;
    std::vector<CommandAnswer> answers;
    LogIndex committed;
    bool writing = false;
    Term write_term{1};
    bool serves = true;
    std::vector<std::pair<ProposalId, std::string>> offered;
    std::vector<ReadId> reads;
    std::vector<std::uint64_t> commands;
    std::vector<std::optional<Result<Committed>>> outcomes;
    std::vector<std::optional<Result<LogIndex>>> read_outcomes;

    std::unique_ptr<Replica> replica;
};

// ---- The order of a Ready ----

TEST_F(DriverTest, MessagesThenTheBatchThenWhatItPromises) {
    start();
    messages.push_back(message(1));
    Ready& ready = decide();
    ready.hard_state = HardState{Term{2}, "a", LogIndex{0}, ""};
    ready.entries = {entry(1, 2), entry(2, 2)};
    ready.messages_after_append.push_back(message(2, Lane::LANE_LOG));
    ready.messages_after_persist.push_back(message(3));

    const InSequence order;
    EXPECT_CALL(bus, send("b", Lane::LANE_CONTROL, IsMessage(1)));
    EXPECT_CALL(log, set_hard_state(Field(&HardState::term, Term{2})));
    EXPECT_CALL(log, append(testing::SizeIs(2)));
    EXPECT_CALL(bus, send("b", Lane::LANE_LOG, IsMessage(2)));
    EXPECT_CALL(log, sync());
    EXPECT_CALL(*strategy, persisted(LogIndex{2}));
    EXPECT_CALL(bus, send("b", Lane::LANE_CONTROL, IsMessage(3)));
    go();
}

TEST_F(DriverTest, AHardStateAloneIsSyncedAndTold) {
    have_logged({entry(1, 1)});
    start();
    decide().hard_state = HardState{Term{2}, "b", LogIndex{0}, "extra"};
    readies.back().messages_after_persist.push_back(message(1));
    const InSequence order;
    EXPECT_CALL(log, sync());
    EXPECT_CALL(*strategy, persisted(LogIndex{1}));
    EXPECT_CALL(bus, send(_, _, IsMessage(1)));
    go();
}

TEST_F(DriverTest, PromisesWithNothingToPersistAreSaidWithoutASync) {
    start();
    decide().messages_after_persist.push_back(message(1));
    EXPECT_CALL(log, sync()).Times(0);
    EXPECT_CALL(*strategy, persisted(_)).Times(0);
    EXPECT_CALL(bus, send(_, _, IsMessage(1)));
    go();
}

TEST_F(DriverTest, AppliesUpToWhatIsCommittedAndNoFurther) {
    start();
    decide().entries = {entry(1, 1), entry(2, 1), entry(3, 1)};
    EXPECT_CALL(engine, apply(_)).Times(0);
    go();
    testing::Mock::VerifyAndClearExpectations(&engine);

    decide().committed = LogIndex{2};
    {
        const InSequence order;
        EXPECT_CALL(engine, apply(Field(&Entry::index, LogIndex{1})));
        EXPECT_CALL(engine, apply(Field(&Entry::index, LogIndex{2})));
        EXPECT_CALL(*strategy, applied(LogIndex{2}));
    }
    go();
}

TEST_F(DriverTest, WhatIsCommittedIsAppliedBeforeTheNextBatchIsSynced) {
    start();
    log_first();
    commit_first_beside_second();
    const InSequence order;
    EXPECT_CALL(engine, apply(Field(&Entry::index, LogIndex{1})));
    EXPECT_CALL(log, sync());
    go();
}

TEST_F(DriverTest, AFollowerWritesFirstAsItsLeaderWaitsForThat) {
    write_term = Term{0};
    start();
    log_first();
    commit_first_beside_second().messages_after_persist = {message(2)};
    const InSequence order;
    EXPECT_CALL(log, sync());
    EXPECT_CALL(bus, send(_, _, _));
    EXPECT_CALL(engine, apply(Field(&Entry::index, LogIndex{1})));
    EXPECT_CALL(*strategy, applied(LogIndex{1}));
    go();
}

TEST_F(DriverTest, AFollowerAppliesFirstWhereAReaderWaits) {
    write_term = Term{0};
    start();
    log_first();
    const std::size_t read = ask(ReadConsistency::kOne, LogIndex{1});
    commit_first_beside_second();
    const InSequence order;
    EXPECT_CALL(engine, apply(Field(&Entry::index, LogIndex{1})));
    EXPECT_CALL(log, sync());
    go();
    EXPECT_TRUE(read_outcomes[read] && *read_outcomes[read]);
}

TEST_F(DriverTest, AFollowerWhoseDiskFailsAppliesNothingMore) {
    write_term = Term{0};
    start();
    log_first();
    commit_first_beside_second();
    EXPECT_CALL(log, sync()).WillOnce([]() -> Result<> { return fail(ErrorCode::kIo, "the cable"); });
    EXPECT_CALL(engine, apply(_)).Times(0);
    go();
    EXPECT_TRUE(replica->failure());
}

TEST_F(DriverTest, AnEntryThatCannotBeAppliedStopsTheMemberForGood) {
    start();
    const std::size_t write = commit("w");
    place(1);
    go();
    decide().committed = LogIndex{1};
    EXPECT_CALL(engine, apply(_)).WillOnce([](const Entry&) -> Result<> {
        return fail(ErrorCode::kCorruption, "not understood");
    });
    EXPECT_CALL(*strategy, applied(_)).Times(0);
    go();
    EXPECT_EQ(error(write), ErrorCode::kUnknownCommit);
    EXPECT_TRUE(replica->failure());
    EXPECT_CALL(*strategy, tick()).Times(0);
    EXPECT_CALL(*strategy, step(_, _)).Times(0);
    go();
    bus.handler->message("b", Lane::LANE_CONTROL, message(1).message, false);
}

TEST_F(DriverTest, AnEntryOfAKindThatThisVersionDoesNotKnowStopsTheMemberAndIsNotSkipped) {
    start();
    Ready& ready = decide();
    ready.entries = {entry(1, 1), entry(2, 1), entry(3, 1)};
    ready.entries[1].kind = static_cast<EntryKind>(77);
    go();
    EXPECT_EQ(log.last_index(), LogIndex{3}) << "it is stored and acknowledged: others may know what it says";
    decide().committed = LogIndex{3};
    EXPECT_CALL(engine, apply(Field(&Entry::index, LogIndex{1})));
    EXPECT_CALL(engine, apply(Field(&Entry::index, LogIndex{3}))).Times(0);
    EXPECT_CALL(*strategy, applied(_)).Times(0);
    go();
    ASSERT_TRUE(replica->failure());
    EXPECT_NE(replica->failure()->message().find("log entry 2 is of kind 77"), std::string::npos) << replica->failure()->message();
}

// ---- Writes ----

TEST_F(DriverTest, AWriteThatNoMessageCouldCarryIsRefusedBeforeItIsLogged) {
    settings.write_set_bytes_max = std::size_t{2} << 20;
    start();
    EXPECT_CALL(*strategy, propose(_, _, _)).Times(0);
    const std::size_t write = commit(std::string((std::size_t{2} << 20) + 1, 'w'));
    ASSERT_TRUE(outcomes[write]);
    EXPECT_EQ(outcomes[write]->error().code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(outcomes[write]->error().message().find("at most 2 MiB"), std::string::npos) << outcomes[write]->error().message();
}

TEST_F(DriverTest, AWriteIsAnsweredOnceItIsApplied) {
    start();
    EXPECT_CALL(*strategy, propose(_, "w", testing::Gt(0U)));
    ON_CALL(*strategy, propose).WillByDefault([this](ProposalId id, std::string w, std::uint64_t) -> Result<> {
        offered.emplace_back(id, std::move(w));
        place(1);
        return success();
    });
    const std::size_t write = commit("w");
    EXPECT_EQ(log.last_index(), LogIndex{1}) << "the thread that commits carries it out";
    EXPECT_FALSE(outcomes[write]) << "it is on disk here, and not committed";
    decide().committed = LogIndex{1};
    EXPECT_CALL(engine, apply(_)).WillOnce([&](const Entry& applied) -> Result<> {
        EXPECT_FALSE(outcomes[write]);
        engine.applied = applied.index;
        return success();
    });
    go();
    ASSERT_TRUE(outcomes[write] && *outcomes[write]);
    EXPECT_EQ(outcomes[write]->value().index, LogIndex{1});
    EXPECT_EQ(outcomes[write]->value().term, Term{1});
}

TEST_F(DriverTest, ARefusalOfTheStrategyIsPassedOnAtOnce) {
    start();
    EXPECT_CALL(*strategy, propose(_, _, _)).WillOnce([](ProposalId, const std::string&, std::uint64_t) -> Result<> {
        return fail(ErrorCode::kNotLeader, "not here", "b:7687");
    });
    const std::size_t write = commit("w");
    ASSERT_EQ(error(write), ErrorCode::kNotLeader);
    EXPECT_EQ(outcomes[write]->error().hint(), "b:7687");
    EXPECT_EQ(replica->stats().refused, 1U);
}

TEST_F(DriverTest, ALaterRefusalIsPassedOnToo) {
    start();
    const std::size_t write = commit("w");
    EXPECT_FALSE(outcomes[write]);
    decide().refused.push_back({offered.back().first, Error{ErrorCode::kBusy, "no room"}});
    go();
    EXPECT_EQ(error(write), ErrorCode::kBusy);
}

TEST_F(DriverTest, AWriteWhosePlaceWentToAnotherEntryWasNotCommitted) {
    start();
    const std::size_t write = commit("w");
    place(1, 1);
    go();
    decide().entries = {entry(1, 2, "another's")};
    go();
    decide().committed = LogIndex{1};
    go();
    ASSERT_TRUE(outcomes[write] && !*outcomes[write]);
    EXPECT_EQ(error(write), ErrorCode::kConflict);
}

TEST_F(DriverTest, ATransactionOfAnEarlierTermIsNotOffered) {
    start();
    write_term = Term{3};
    go();
    EXPECT_EQ(replica->term(), Term{3});
    EXPECT_CALL(*strategy, propose(_, _, _)).Times(0);
    const std::size_t write = commit("w", Term{2});
    EXPECT_EQ(error(write), ErrorCode::kConflict) << "it leads, but not without a break: run the whole one again";
}

TEST_F(DriverTest, ATransactionThatBeganBeforeTheLeadWasLostIsRefusedByTheStrategy) {
    start();
    write_term = Term{0};
    go();
    EXPECT_EQ(replica->term(), Term{0});
    EXPECT_CALL(*strategy, propose(_, _, _)).WillOnce([](ProposalId, const std::string&, std::uint64_t) -> Result<> {
        return fail(ErrorCode::kNotLeader, "not here", "b:7687");
    });
    EXPECT_EQ(error(commit("w", Term{2})), ErrorCode::kNotLeader);
}

TEST_F(DriverTest, HybridTimesRiseEvenIfTheClockGoesBack) {
    start();
    std::vector<std::uint64_t> times;
    ON_CALL(*strategy, propose).WillByDefault([&](ProposalId, const std::string&, std::uint64_t time) -> Result<> {
        times.push_back(time);
        return success();
    });
    commit("1");
    clock.at -= std::chrono::seconds{5};
    commit("2");
    clock.at += std::chrono::seconds{10};
    commit("3");
    EXPECT_TRUE(std::is_sorted(times.begin(), times.end()));
    EXPECT_EQ(std::adjacent_find(times.begin(), times.end()), times.end());
}

// ---- The disk ----

TEST_F(DriverTest, AFailedSyncIsUnknownAndFinalAndPromisesNothing) {
    start();
    const std::size_t write = commit("w");
    const std::size_t never_logged = commit("x");
    std::swap(offered[0], offered[1]);
    place(1);
    readies.back().messages_after_persist.push_back(message(1));
    EXPECT_CALL(log, sync()).WillOnce([]() -> Result<> { return fail(ErrorCode::kIo, "input/output error"); });
    EXPECT_CALL(*strategy, persisted(_)).Times(0);
    EXPECT_CALL(*strategy, not_persisted(_)).Times(0);
    EXPECT_CALL(bus, send(_, _, IsMessage(1))).Times(0);
    go();
    EXPECT_EQ(error(write), ErrorCode::kUnknownCommit);
    EXPECT_EQ(error(never_logged), ErrorCode::kDatabaseUnavailable) << "it never left the strategy";
    ASSERT_TRUE(replica->failure());
    EXPECT_EQ(replica->term(), Term{0});
    EXPECT_EQ(error(commit("later")), ErrorCode::kDatabaseUnavailable);
}

TEST_F(DriverTest, AFullDiskRefusesTheBatchAndSaysNothingOfIt) {
    start();
    const std::size_t write = commit("w");
    place(1);
    readies.back().messages_after_append.push_back(message(1));
    readies.back().messages_after_persist.push_back(message(2));
    EXPECT_CALL(log, append(_)).WillOnce([](auto) -> Result<> { return fail(ErrorCode::kDiskFull, "no room"); });
    EXPECT_CALL(bus, send(_, _, _)).Times(0);
    EXPECT_CALL(*strategy, persisted(_)).Times(0);
    EXPECT_CALL(*strategy, not_persisted(LogIndex{1}));
    go();
    EXPECT_EQ(error(write), ErrorCode::kDiskFull);
    EXPECT_TRUE(replica->stats().disk_full);
    EXPECT_FALSE(replica->failure());
    testing::Mock::VerifyAndClearExpectations(&log);
    testing::Mock::VerifyAndClearExpectations(strategy);

    const std::size_t next = commit("next");
    place(1);
    go();
    decide().committed = LogIndex{1};
    go();
    EXPECT_TRUE(outcomes[next] && *outcomes[next]);
    EXPECT_FALSE(replica->stats().disk_full);
}

TEST_F(DriverTest, AFullDiskLeavesAWriteOfAnEarlierTermOpenSinceItsEntryStays) {
    start();
    const std::size_t earlier = commit("w");
    place(1, 1);
    go();
    // The new leader has something else there.
    Ready& ready = decide();
    ready.entries = {entry(1, 2, "another")};
    EXPECT_CALL(log, append(_)).WillOnce([](auto) -> Result<> { return fail(ErrorCode::kDiskFull, "no room"); });
    EXPECT_CALL(*strategy, not_persisted(LogIndex{1}));
    go();
    EXPECT_FALSE(outcomes[earlier]);
    decide().committed = LogIndex{1};
    go();
    ASSERT_TRUE(outcomes[earlier]);
    EXPECT_TRUE(*outcomes[earlier]);
}

TEST_F(DriverTest, WhileASyncHangsTheMemberIsTickedAndHeardAndSpeaks) {
    std::vector<std::function<void()>> disk;
    settings.run_disk = [&](std::function<void()> work) { disk.push_back(std::move(work)); };
    start();
    decide().entries = {entry(1, 1)};
    go();
    ASSERT_EQ(disk.size(), 1U);

    EXPECT_CALL(*strategy, take_ready()).Times(0);
    EXPECT_CALL(*strategy, persisted(_)).Times(0);
    EXPECT_CALL(*strategy, tick()).Times(3);
    EXPECT_CALL(*strategy, step("b", _)).WillOnce([this](const NodeName&, const ClusterMessage&) {
        messages.push_back(message(2));
    });
    EXPECT_CALL(*strategy, propose(_, "w", _));
    EXPECT_CALL(bus, send(_, _, IsMessage(1)));
    EXPECT_CALL(bus, send(_, _, IsMessage(2)));
    messages.push_back(message(1));
    for (int i = 0; i < 3; ++i) {
        go();
    }
    bus.handler->message("b", Lane::LANE_LOG, message(9).message, false);
    commit("w");
    testing::Mock::VerifyAndClearExpectations(strategy);
    testing::Mock::VerifyAndClearExpectations(&bus);

    EXPECT_CALL(*strategy, persisted(LogIndex{1}));
    EXPECT_CALL(*strategy, take_ready()).Times(AtLeast(1));
    disk.front()();
}

TEST_F(DriverTest, WhatComesDuringASyncIsTheNextBatch) {
    std::deque<std::function<void()>> disk;
    settings.run_disk = [&](std::function<void()> work) { disk.push_back(std::move(work)); };
    start();
    decide().entries = {entry(1, 1)};
    go();
    decide().entries = {entry(2, 1), entry(3, 1)};
    go();
    ASSERT_EQ(disk.size(), 1U) << "one batch at a time";
    EXPECT_EQ(log.last_index(), LogIndex{0});
    disk.front()();
    ASSERT_EQ(disk.size(), 2U);
    disk.back()();
    EXPECT_EQ(log.last_index(), LogIndex{3});
}

TEST_F(DriverTest, AHangingSyncIsToldToTheStrategyAtEachTickUntilItEnds) {
    start();
    EXPECT_CALL(*strategy, disk_stalled(_)).Times(0);
    go();
    testing::Mock::VerifyAndClearExpectations(strategy);
    ON_CALL(log, writing_since).WillByDefault(Return(clock.at - std::chrono::seconds{5}));
    EXPECT_CALL(*strategy, disk_stalled(true)).Times(2);
    go();
    go();
    testing::Mock::VerifyAndClearExpectations(strategy);
    ON_CALL(log, writing_since).WillByDefault(Return(std::nullopt));
    EXPECT_CALL(*strategy, disk_stalled(false)).Times(1);
    go();
    go();
}

// ---- A copy that was put in place as the process ended ----

TEST_F(DriverTest, ALogThatEndsBeforeTheCopyBeginsAnewBehindIt) {
    have_logged({entry(1, 1), entry(2, 1)});
    engine.fresh = true;
    engine.applied = engine.durable = LogIndex{7};
    start();
    EXPECT_EQ(log.first_index(), LogIndex{8});
}

TEST_F(DriverTest, ALogThatHasForgottenThePlaceOfTheCopyBeginsAnewBehindIt) {
    ASSERT_TRUE(log.memory->reset(LogIndex{50}, Term{1}));
    const std::vector<Entry> later{entry(50, 1), entry(51, 1)};
    ASSERT_TRUE(log.memory->append(later));
    ASSERT_TRUE(log.memory->sync());
    engine.fresh = true;
    engine.applied = engine.durable = LogIndex{7};
    start();
    EXPECT_EQ(log.first_index(), LogIndex{8}) << "what it holds is of a branch that was given up";
    EXPECT_EQ(log.last_index(), LogIndex{7});
}

// ---- Lost branches ----

TEST_F(DriverTest, ALostBranchIsKeptReadableBeforeAnythingTakesItsPlace) {
    have_logged({entry(1, 1), entry(2, 1, "lost"), entry(3, 1, "lost, too")});
    start();
    decide().committed = LogIndex{2};
    go();
    ASSERT_EQ(engine.applied, LogIndex{2});
    committed = LogIndex{1};
    decide().rewind_to = LogIndex{1};
    decide().entries = {entry(2, 2, "kept")};
    {
        const InSequence order;
        EXPECT_CALL(diverged, Call(_, testing::HasSubstr("6c6f7374")));
        EXPECT_CALL(engine, reload());
        EXPECT_CALL(engine, apply(Field(&Entry::index, LogIndex{1})));
        EXPECT_CALL(log, truncate_after(LogIndex{1}));
        EXPECT_CALL(log, sync());
        EXPECT_CALL(*strategy, rewound(LogIndex{1}, true));
        EXPECT_CALL(log, append(testing::SizeIs(1)));
        EXPECT_CALL(log, sync());
        EXPECT_CALL(*strategy, persisted(LogIndex{2}));
    }
    go();
    EXPECT_EQ(log.last_index(), LogIndex{2});
    EXPECT_EQ(replica->stats().diverged_entries, 2U);
}

TEST_F(DriverTest, WhatWasNotAppliedNeedsNoReload) {
    have_logged({entry(1, 1), entry(2, 1, "lost")});
    start();
    decide().rewind_to = LogIndex{1};
    EXPECT_CALL(engine, reload()).Times(0);
    EXPECT_CALL(*strategy, rewound(LogIndex{1}, true));
    go();
}

TEST_F(DriverTest, WhatIsInACheckpointCannotBeTakenBack) {
    have_logged({entry(1, 1), entry(2, 1, "lost")});
    start();
    decide().committed = LogIndex{2};
    go();
    engine.durable = LogIndex{2};
    committed = LogIndex{1};
    decide().rewind_to = LogIndex{1};
    EXPECT_CALL(diverged, Call(_, _));  // the branch is kept all the same
    EXPECT_CALL(engine, reload()).Times(0);
    EXPECT_CALL(log, truncate_after(LogIndex{2}));  // what the store holds stays, or the two would not fit together
    EXPECT_CALL(*strategy, rewound(LogIndex{1}, false));
    go();
    EXPECT_EQ(engine.applied, LogIndex{2}) << "a snapshot replaces it";
}

TEST_F(DriverTest, AWriteOnALostBranchWasNotCommitted) {
    start();
    const std::size_t write = commit("w");
    place(1);
    go();
    decide().rewind_to = LogIndex{0};
    EXPECT_CALL(log, sync()).WillOnce([&] {
        EXPECT_FALSE(outcomes[write]) << "after a crash it might still be in the log, and come back";
        return log.memory->sync();
    });
    go();
    EXPECT_EQ(error(write), ErrorCode::kConflict);
    EXPECT_EQ(log.last_index(), LogIndex{0});
}

TEST_F(DriverTest, AWriteOnALostBranchThatTheDiskStillHoldsMayYetBeCommitted) {
    start();
    const std::size_t write = commit("w");
    place(1);
    go();
    decide().rewind_to = LogIndex{0};
    EXPECT_CALL(log, truncate_after(LogIndex{0})).WillOnce(Return(fail(ErrorCode::kDiskFull, "no room")));
    EXPECT_CALL(*strategy, rewound(LogIndex{0}, true));
    go();
    EXPECT_EQ(error(write), ErrorCode::kUnknownCommit);
    EXPECT_FALSE(replica->failure());
}

TEST_F(DriverTest, AfterARewindTheLogEndsThereForTheStrategy) {
    have_logged({entry(1, 1), entry(2, 1, "lost"), entry(3, 1, "lost")});
    start();
    decide().rewind_to = LogIndex{1};
    go();
    EXPECT_EQ(given.log->last_index(), LogIndex{1});
    EXPECT_FALSE(given.log->term_at(LogIndex{2}));
    decide().hard_state = HardState{Term{2}, "b", LogIndex{0}, ""};
    EXPECT_CALL(*strategy, persisted(LogIndex{1}));
    go();
}

// ---- A log begun anew, and one that is cut ----

TEST_F(DriverTest, AMemberWithoutDataBeginsItsLogAnewBehindAnEntry) {
    with_data = false;
    have_logged({entry(1, 1), entry(2, 1)});
    start();
    Ready& ready = decide();
    ready.reset_log = LogPlace{LogIndex{7}, Term{3}};
    ready.hard_state = HardState{Term{3}, "", LogIndex{0}, "the configuration there"};
    {
        const InSequence order;
        EXPECT_CALL(log, set_hard_state(*ready.hard_state));
        EXPECT_CALL(log, sync()).WillOnce([] { return success(); });
        EXPECT_CALL(log, reset(LogIndex{8}, Term{3}));
        EXPECT_CALL(log, sync());
        EXPECT_CALL(*strategy, log_reset()).WillOnce([this] {
            EXPECT_EQ(given.log->first_index(), LogIndex{8});
            EXPECT_EQ(given.log->last_index(), LogIndex{7});
            EXPECT_EQ(given.log->term_at(LogIndex{7}).value(), Term{3});
        });
    }
    go();
    testing::Mock::VerifyAndClearExpectations(&log);
    decide().entries = {entry(8, 3)};
    EXPECT_CALL(*strategy, persisted(LogIndex{8}));
    go();
}

TEST_F(DriverTest, ALogThatCannotBeBegunAnewStopsTheMember) {
    with_data = false;
    start();
    decide().reset_log = LogPlace{LogIndex{7}, Term{3}};
    EXPECT_CALL(log, reset(_, _)).WillOnce([](LogIndex, Term) -> Result<> { return fail(ErrorCode::kIo, "no"); });
    EXPECT_CALL(*strategy, log_reset()).Times(0);
    go();
    EXPECT_TRUE(replica->failure());
}

TEST_F(DriverTest, ACheckpointIsWrittenBesideThePumpOnceForAllWhoAsked) {
    std::deque<std::function<void()>> beside;
    settings.run_snapshot = [&](std::function<void()> work) { beside.push_back(std::move(work)); };
    start();
    decide().entries = {entry(1, 1)};
    go();
    decide().committed = LogIndex{1};
    EXPECT_CALL(engine, checkpoint()).Times(0);
    decide().checkpoint = true;
    decide().checkpoint = true;
    go();
    go();
    testing::Mock::VerifyAndClearExpectations(&engine);
    ASSERT_EQ(beside.size(), 1U);
    EXPECT_CALL(engine, checkpoint());
    EXPECT_CALL(log, truncate_before(LogIndex{2}));
    beside.front()();
    decide().checkpoint = true;
    go();
    EXPECT_EQ(beside.size(), 2U);
}

TEST_F(DriverTest, ACheckpointThatIsWrittenAtOnceMayTellOfItself) {
    start();
    decide().entries = {entry(1, 1)};
    go();
    decide().committed = LogIndex{1};
    go();
    decide().checkpoint = true;
    EXPECT_CALL(log, truncate_before(LogIndex{2}));
    go();
    go();
}

/// Takes so many slices to read; its digest is its index.
class SlowView final : public engine::StateView {
public:
    SlowView(LogIndex index, int slices) : index_{index}, slices_{slices} {}
    [[nodiscard]] LogIndex index() const override { return index_; }
    Result<bool> read(std::size_t) override {
        if (slices_ < 0) {
            return fail(ErrorCode::kStopping, "the state was replaced");
        }
        return --slices_ <= 0;
    }
    [[nodiscard]] std::uint64_t digest() const override { return index_.value; }

private:
    const LogIndex index_;
    int slices_;
};

TEST_F(DriverTest, BehindAMarkTheStateIsReadASliceATickAndItsDigestTold) {
    int slices = 3;
    ON_CALL(engine, view_state).WillByDefault([&]() -> Result<std::unique_ptr<engine::StateView>> {
        return std::unique_ptr<engine::StateView>{std::make_unique<SlowView>(engine.applied, slices)};
    });
    start();
    Entry mark = entry(2, 1, comparison_mark());
    mark.kind = EntryKind::kNoop;
    decide().entries = {entry(1, 1), mark, entry(3, 1)};
    go();
    decide().committed = LogIndex{3};
    EXPECT_CALL(engine, view_state()).Times(3);  // one a mark
    EXPECT_CALL(*strategy, state_digest(_, _)).Times(0);
    go();
    go();
    testing::Mock::VerifyAndClearExpectations(strategy);
    EXPECT_CALL(*strategy, state_digest(LogIndex{2}, _)).WillOnce([](LogIndex, const Result<std::uint64_t>& digest) {
        ASSERT_TRUE(digest);
        EXPECT_EQ(digest.value(), 2U);
    });
    go();
    go();
    testing::Mock::VerifyAndClearExpectations(strategy);
    // One that fails is told as such, and one that a newer one overtakes.
    slices = 100;
    mark.index = LogIndex{4};
    Entry next = mark;
    next.index = LogIndex{5};
    decide().entries = {mark, next};
    go();
    decide().committed = LogIndex{4};
    go();
    slices = -1;
    decide().committed = LogIndex{5};
    std::vector<LogIndex> failed;
    EXPECT_CALL(*strategy, state_digest(_, _)).Times(2).WillRepeatedly([&](LogIndex at, const Result<std::uint64_t>& digest) {
        EXPECT_FALSE(digest);
        failed.push_back(at);
    });
    go();
    go();
    EXPECT_EQ(failed, (std::vector{LogIndex{4}, LogIndex{5}}));
}

TEST_F(DriverTest, OneWhoseStateIsWrongAnswersNoRead) {
    start();
    EXPECT_FALSE(replica->out_of_service());
    serves = false;
    go();
    ASSERT_TRUE(replica->out_of_service());
    EXPECT_EQ(replica->out_of_service()->code(), ErrorCode::kDatabaseUnavailable);
    const std::size_t read = ask(ReadConsistency::kOne);
    ASSERT_TRUE(read_outcomes[read]);
    EXPECT_FALSE(*read_outcomes[read]);
    serves = true;
    go();
    EXPECT_FALSE(replica->out_of_service());
}

TEST_F(DriverTest, AWitnessCutsItsLogEachTimeItHasGrownEnough) {
    with_data = false;
    settings.witness_log_step_bytes = 1000;
    std::uint64_t bytes = 999;
    ON_CALL(log, disk_bytes).WillByDefault([&] { return bytes; });
    start();
    decide().entries = {entry(1, 1), entry(2, 1), entry(3, 1), entry(4, 1)};
    go();
    ClusterView view;
    view.commit_index = LogIndex{3};
    ON_CALL(*strategy, view).WillByDefault([&] { return view; });
    EXPECT_CALL(log, truncate_before(_)).Times(0);
    go();
    testing::Mock::VerifyAndClearExpectations(&log);

    bytes = 1000;
    EXPECT_CALL(log, truncate_before(LogIndex{3})).WillOnce([&](LogIndex first) {
        bytes = 600;
        return log.memory->truncate_before(first);
    });
    go();
    bytes = 1599;
    go();
    testing::Mock::VerifyAndClearExpectations(&log);

    bytes = 1600;
    view.commit_index = LogIndex{4};
    ON_CALL(*strategy, wanted_from).WillByDefault(Return(LogIndex{2}));
    EXPECT_CALL(log, truncate_before(_)).Times(0);
    go();
    testing::Mock::VerifyAndClearExpectations(&log);
    bytes = 2600;
    ON_CALL(*strategy, wanted_from).WillByDefault(Return(LogIndex{9}));
    EXPECT_CALL(log, truncate_before(LogIndex{4}));
    go();
}

// ---- Reads ----

TEST_F(DriverTest, AReadIsAnsweredOnceItsIndexIsApplied) {
    start();
    decide().entries = {entry(1, 1), entry(2, 1), entry(3, 1)};
    go();
    EXPECT_CALL(*strategy, read(_, ReadConsistency::kQuorum)).Times(2);
    const std::size_t read = ask(ReadConsistency::kQuorum);
    const std::size_t later = ask(ReadConsistency::kQuorum, LogIndex{3});
    ASSERT_EQ(reads.size(), 2U);
    decide().reads = {{reads[0], LogIndex{2}}, {reads[1], LogIndex{2}}};
    go();
    EXPECT_FALSE(read_outcomes[read]);
    decide().committed = LogIndex{2};
    go();
    ASSERT_TRUE(read_outcomes[read] && *read_outcomes[read]);
    EXPECT_EQ(read_outcomes[read]->value(), LogIndex{2});
    EXPECT_FALSE(read_outcomes[later]) << "it has seen more";
    decide().committed = LogIndex{3};
    go();
    EXPECT_TRUE(read_outcomes[later] && *read_outcomes[later]);
}

TEST_F(DriverTest, AReadThatTheStrategyRefusesIsRefused) {
    start();
    EXPECT_CALL(*strategy, read(_, ReadConsistency::kAll)).WillOnce([](ReadId, ReadConsistency) -> Result<> {
        return fail(ErrorCode::kNotLeader, "not here", "b:7687");
    });
    const std::size_t at_once = ask(ReadConsistency::kAll);
    ASSERT_TRUE(read_outcomes[at_once] && !*read_outcomes[at_once]);
    EXPECT_EQ(read_outcomes[at_once]->error().code(), ErrorCode::kNotLeader);
    testing::Mock::VerifyAndClearExpectations(strategy);
    const std::size_t later = ask(ReadConsistency::kQuorum);
    decide().refused_reads.push_back({reads.back(), Error{ErrorCode::kNotLeader, "no longer"}});
    go();
    ASSERT_TRUE(read_outcomes[later] && !*read_outcomes[later]);
    EXPECT_EQ(read_outcomes[later]->error().message(), "no longer");
}

TEST_F(DriverTest, AReadThatNobodyAnswersEndsAtItsDeadline) {
    start();
    const std::size_t unconfirmed = ask(ReadConsistency::kQuorum);
    const std::size_t unreached = ask(ReadConsistency::kOne, LogIndex{9});
    go();
    EXPECT_FALSE(read_outcomes[unconfirmed]);
    EXPECT_FALSE(read_outcomes[unreached]);
    clock.at += std::chrono::seconds{2};
    go();
    ASSERT_TRUE(read_outcomes[unconfirmed] && read_outcomes[unreached]);
    EXPECT_EQ(read_outcomes[unconfirmed]->error().code(), ErrorCode::kTimedOut);
    EXPECT_EQ(read_outcomes[unreached]->error().code(), ErrorCode::kBookmarkTimeout);
}

TEST_F(DriverTest, TheStrategyHearsOfAReaderThatWaitsAndWhatItSaysLeavesAtOnce) {
    start();
    EXPECT_CALL(*strategy, readers_wait()).WillOnce([this] { messages = {message(1)}; });
    EXPECT_CALL(bus, send(_, _, _));
    EXPECT_FALSE(read_outcomes[ask(ReadConsistency::kOne, LogIndex{9})]);
}

TEST_F(DriverTest, ALocalReadAsksNobody) {
    start();
    EXPECT_CALL(*strategy, read(_, _)).Times(0);
    EXPECT_CALL(*strategy, readers_wait()).Times(0);
    EXPECT_TRUE(read_outcomes[ask(ReadConsistency::kOne)]);
    EXPECT_TRUE(read_outcomes[ask(ReadConsistency::kLocalOne)]);
}

// ---- Commands, peers, pauses, stop ----

TEST_F(DriverTest, TheBusIsToldWhomToDialAndThatIsNeverThisMember) {
    start();
    decide().dial = {"a:7688", "b:7688", "c:7688"};
    EXPECT_CALL(bus, set_peers(testing::ElementsAre("b:7688", "c:7688")));
    go();
    testing::Mock::VerifyAndClearExpectations(&bus);
    EXPECT_CALL(bus, set_peers(_)).Times(0);
    go();
}

/// The driver lets go of the strategy meanwhile, and whoever brings something then leaves it to the thread that is at work.
TEST_F(DriverTest, WhatComesWhileTheBusIsToldIsCarriedOutAtOnce) {
    start();
    ON_CALL(*strategy, propose).WillByDefault([this](ProposalId id, std::string w, std::uint64_t) -> Result<> {
        offered.emplace_back(id, std::move(w));
        place(1);
        return success();
    });
    decide().dial = {"b:7688"};
    EXPECT_CALL(bus, set_peers(_)).WillOnce([&](const std::vector<std::string>&) { commit("w"); });
    go();
    EXPECT_EQ(log.last_index(), LogIndex{1}) << "not only with the next tick";
}

TEST_F(DriverTest, ACommandIsAnsweredByTheStrategyOrByItsDeadline) {
    start();
    std::vector<Result<std::string>> ends;
    const auto keep = [&](Result<std::string> outcome) { ends.push_back(std::move(outcome)); };
    replica->command({}, clock.at + std::chrono::seconds{1}, keep);
    replica->command({}, clock.at + std::chrono::seconds{1}, keep);
    ASSERT_EQ(commands.size(), 2U);
    answers.push_back({commands[0], std::string{"done"}});
    go();
    ASSERT_EQ(ends.size(), 1U);
    EXPECT_EQ(ends[0].value(), "done");
    clock.at += std::chrono::seconds{2};
    go();
    ASSERT_EQ(ends.size(), 2U);
    EXPECT_EQ(ends[1].error().code(), ErrorCode::kTimedOut);
    EXPECT_CALL(*strategy, command(_, _)).WillOnce([](std::uint64_t, const Command&) -> Result<> {
        return fail(ErrorCode::kUnsupported, "no such command");
    });
    replica->command({}, clock.at, keep);
    ASSERT_EQ(ends.size(), 3U);
    EXPECT_EQ(ends[2].error().code(), ErrorCode::kUnsupported);
}

TEST_F(DriverTest, WhatThePeersDoIsToldAndAnsweredAtOnce) {
    start();
    PeerInfo b;
    b.id = "b";
    const InSequence order;
    EXPECT_CALL(*strategy, peer_up(Field(&PeerInfo::id, "b"))).WillOnce([this](const PeerInfo&) {
        messages.push_back(message(1));
    });
    EXPECT_CALL(bus, send("b", _, IsMessage(1)));
    EXPECT_CALL(*strategy, step("b", _)).WillOnce([this](const NodeName&, const ClusterMessage&) {
        messages.push_back(message(2));
    });
    EXPECT_CALL(bus, send("b", _, IsMessage(2)));
    EXPECT_CALL(*strategy, peer_down("b", transport::LostReason::kSilent));
    bus.handler->peer_up(b);
    bus.handler->message("b", Lane::LANE_CONTROL, message(9).message, false);
    bus.handler->peer_down("b", transport::LostReason::kSilent);
}

TEST_F(DriverTest, SnapshotsAreNotTheStrategysMessages) {
    start();
    EXPECT_CALL(*strategy, step(_, _)).Times(0);
    for (int type = 0; type < 3; ++type) {
        ClusterMessage out;
        type == 0   ? void(out.mutable_snapshot_begin())
        : type == 1 ? void(out.mutable_snapshot_chunk())
                    : void(out.mutable_snapshot_response());
        bus.handler->message("b", Lane::LANE_BULK, std::make_shared<const ClusterMessage>(std::move(out)), false);
    }
}

TEST_F(DriverTest, APauseIsToldBeforeAnythingThatCameDuringIt) {
    start();
    go();
    clock.at += 500 * kTick;
    {
        const InSequence order;
        EXPECT_CALL(*strategy, paused(testing::Gt(400U)));
        EXPECT_CALL(*strategy, step("b", _));
    }
    bus.handler->message("b", Lane::LANE_CONTROL, message(9).message, false);
    clock.at += 500 * kTick;
    {
        const InSequence order;
        EXPECT_CALL(*strategy, paused(testing::Gt(400U)));
        EXPECT_CALL(*strategy, propose(_, _, _));
    }
    commit("w");
    clock.at += 500 * kTick;
    {
        const InSequence order;
        EXPECT_CALL(*strategy, paused(testing::Gt(400U)));
        EXPECT_CALL(*strategy, tick());
    }
    go();
}

TEST_F(DriverTest, TicksAndPausesTogetherAreTheTimeThatHasPassedHoweverLateTicksAre) {
    start();
    go();
    std::uint64_t told = 0;
    EXPECT_CALL(*strategy, tick()).WillRepeatedly([&] { ++told; });
    EXPECT_CALL(*strategy, paused(_)).WillRepeatedly([&](std::uint64_t ticks) { told += ticks; });
    // A thread that sleeps until the next tick is due and wakes up late, by more and less than what counts as a pause.
    const Deadline began = clock.at;
    for (int i = 0; i < 700; ++i) {
        clock.at += kTick + kTick * (i % 7) * 9 / 10;
        go();
        go();  // where one was missed, it is due at once
    }
    const auto passed = static_cast<std::uint64_t>((clock.at - began) / kTick);
    EXPECT_NEAR(static_cast<double>(told), static_cast<double>(passed), 2);
}

TEST_F(DriverTest, TheLogForgetsWhatACheckpointCoversAndNoPeerWants) {
    start();
    decide().entries = {entry(1, 1), entry(2, 1), entry(3, 1), entry(4, 1)};
    go();
    decide().committed = LogIndex{4};
    go();
    ON_CALL(*strategy, wanted_from).WillByDefault(Return(LogIndex{3}));
    EXPECT_CALL(log, truncate_before(LogIndex{3}));
    engine.durable = LogIndex{4};
    engine.checkpoint_callback(LogIndex{4});
    testing::Mock::VerifyAndClearExpectations(&log);
    ON_CALL(*strategy, wanted_from).WillByDefault(Return(LogIndex{5}));
    EXPECT_CALL(log, truncate_before(LogIndex{5}));
    go();
}

TEST_F(DriverTest, StopAnswersEverything) {
    start();
    const std::size_t logged = commit("logged");
    place(1);
    go();
    const std::size_t waiting = commit("not placed");
    const std::size_t read = ask(ReadConsistency::kQuorum);
    const std::size_t bookmark = ask(ReadConsistency::kOne, LogIndex{9});
    std::optional<Result<std::string>> command;
    replica->command({}, kNoDeadline, [&](Result<std::string> outcome) { command = std::move(outcome); });
    EXPECT_CALL(bus, stop());
    replica->stop();
    EXPECT_EQ(error(logged), ErrorCode::kUnknownCommit) << "a peer may yet commit it";
    EXPECT_EQ(error(waiting), ErrorCode::kStopping);
    for (const std::size_t at : {read, bookmark}) {
        ASSERT_TRUE(read_outcomes[at] && !*read_outcomes[at]);
        EXPECT_EQ(read_outcomes[at]->error().code(), ErrorCode::kStopping);
    }
    ASSERT_TRUE(command && !*command);
    EXPECT_EQ(command->error().code(), ErrorCode::kStopping);
    EXPECT_EQ(error(commit("late")), ErrorCode::kStopping);
    EXPECT_EQ(read_outcomes[ask(ReadConsistency::kQuorum)]->error().code(), ErrorCode::kStopping);
}

TEST_F(DriverTest, AWriteOfWhichNothingIsHeardEndsAsUnknownAndSoonerWhereTheLeadIsLost) {
    start();
    const auto go_for = [this](Duration time) {
        for (Duration passed{}; passed < time; passed += kTick) {
            go();
        }
    };
    const std::size_t led = commit("led");
    place(1);
    go_for(std::chrono::seconds{29});
    EXPECT_FALSE(outcomes[led]) << "this member leads, and its peers may yet answer";
    go_for(std::chrono::seconds{2});
    EXPECT_EQ(error(led), ErrorCode::kUnknownCommit);
    const std::size_t lost = commit("lost");
    place(2);
    go();
    write_term = Term{0};
    go_for(std::chrono::seconds{4});
    EXPECT_FALSE(outcomes[lost]) << "the next leader may tell soon";
    go_for(std::chrono::seconds{2});
    EXPECT_EQ(error(lost), ErrorCode::kUnknownCommit);
}

// Its locks hang on the callable: while the entry may yet be applied here, nobody may write what was read before it.
TEST_F(DriverTest, WhatAnUnknownWriteHoldsIsKeptUntilItsEntryIsSettled) {
    start();
    const auto go_for = [this](Duration time) {
        for (Duration passed{}; passed < time; passed += kTick) {
            go();
        }
    };
    struct Write {
        std::shared_ptr<int> held = std::make_shared<int>();
        std::optional<ErrorCode> error;
    };
    const auto offer = [this](Write& write) {
        replica->commit("w", Term{1}, [&write, held = write.held](const Result<Committed>& outcome) {
            write.error = outcome ? std::nullopt : std::optional{outcome.error().code()};
        });
    };
    Write applied;
    Write overtaken;
    Write stopped;
    std::uint64_t index = 0;
    for (Write* write : {&applied, &overtaken}) {
        offer(*write);
        place(++index);
        go_for(std::chrono::seconds{31});
        EXPECT_EQ(write->error, ErrorCode::kUnknownCommit);
        EXPECT_EQ(write->held.use_count(), 2);
    }

    decide().committed = LogIndex{1};
    go();
    go();
    EXPECT_EQ(applied.held.use_count(), 1);
    EXPECT_EQ(overtaken.held.use_count(), 2);

    // A hand-over that fails: meanwhile no writes are taken, and then the same term goes on.
    write_term = Term{0};
    go();
    write_term = Term{1};
    go();
    EXPECT_EQ(overtaken.held.use_count(), 2);
    Write handed_over;
    offer(handed_over);
    place(3);
    go();
    write_term = Term{0};
    go_for(std::chrono::seconds{6});
    EXPECT_EQ(handed_over.error, ErrorCode::kUnknownCommit);
    EXPECT_EQ(handed_over.held.use_count(), 2);
    decide().rewind_to = LogIndex{2};  // another leads, and its log is another
    go();
    go();
    EXPECT_EQ(handed_over.held.use_count(), 1);
    EXPECT_EQ(overtaken.held.use_count(), 2);

    write_term = Term{3};  // whoever began before that is refused from now on
    go();
    EXPECT_EQ(overtaken.held.use_count(), 1);

    replica->commit("w", Term{3}, [&stopped, held = stopped.held](const Result<Committed>& outcome) {
        stopped.error = outcome.error().code();
    });
    place(3, 3);
    go_for(std::chrono::seconds{31});
    EXPECT_EQ(stopped.error, ErrorCode::kUnknownCommit);
    EXPECT_EQ(stopped.held.use_count(), 2);
    replica->stop();
    EXPECT_EQ(stopped.held.use_count(), 1);
}

TEST_F(DriverTest, ALeaveIsPassedOn) {
    start();
    EXPECT_CALL(*strategy, leave()).WillOnce([this] { messages.push_back(message(1)); });
    EXPECT_CALL(bus, send(_, _, IsMessage(1)));
    replica->leave(clock.at);
}

// ---- Start ----

TEST_F(DriverTest, TheStrategyStartsFromWhatTheDiskRemembers) {
    have_logged({entry(1, 1), entry(2, 1), entry(3, 2)});
    ASSERT_TRUE(log.memory->set_hard_state(HardState{Term{2}, "b", LogIndex{2}, "extra"}));
    ASSERT_TRUE(log.memory->sync());
    engine::crash_memory_log(*log.memory);
    engine.membership_told = {LogIndex{1}, "a, b"};
    EXPECT_CALL(engine, apply(_)).Times(2);
    start();
    EXPECT_EQ(given.self, "a");
    EXPECT_EQ(given.membership, "a, b");
    EXPECT_EQ(given.membership_index, LogIndex{1});
    EXPECT_EQ(given.history, "history");
    EXPECT_EQ(given.last_index, LogIndex{3});
    EXPECT_EQ(given.last_term, Term{2});
    EXPECT_EQ(given.hard_state, (HardState{Term{2}, "b", LogIndex{2}, "extra"}));
    EXPECT_EQ(given.applied, LogIndex{2}) << "what was known to be committed, and nothing else";
    ASSERT_NE(given.log, nullptr);
    EXPECT_EQ(given.log->first_index(), LogIndex{1});
    EXPECT_EQ(given.log->last_index(), LogIndex{3});
    EXPECT_EQ(given.log->term_at(LogIndex{0}).value(), Term{0});
    EXPECT_EQ(given.log->read(LogIndex{1}, LogIndex{3}, 1).value().size(), 1U) << "at least one, and no more bytes";
    EXPECT_EQ(given.log->read(LogIndex{1}, LogIndex{3}, 1000).value().size(), 3U);
}

TEST_F(DriverTest, NoPeerIsHeardBeforeTheFirstReadyIsCarriedOut) {
    have_logged({entry(1, 1)});
    decide().committed = LogIndex{1};
    const InSequence order;
    EXPECT_CALL(engine, apply(_));
    EXPECT_CALL(bus, start(_));
    start();
}

// ---- Threads ----

/// With the threads of a process. No tick comes: the time of the first is not reached.
class DriverThreadsTest : public DriverTest {
protected:
    class Later final : public Clock {
    public:
        Deadline now() const override { return begin_ + passed.load(); }
        std::int64_t wall_ns() const override { return now().time_since_epoch().count(); }
        std::atomic<Duration> passed{Duration{}};

    private:
        const Deadline begin_ = system_clock().now() + std::chrono::hours{1};
    };

    DriverThreadsTest() {
        own_threads = true;
        time = &later;
    }
    /// A write that is in the log when this returns.
    std::size_t write() {
        EXPECT_CALL(*strategy, propose(_, _, _)).WillOnce([this](ProposalId id, std::string payload, std::uint64_t) -> Result<> {
            offered.emplace_back(id, std::move(payload));
            place(offered.size());
            return success();
        });
        return commit("w");
    }
    std::thread::id writer_of_what_comes(Lane lane, bool more, const std::string& payload = "x") {
        std::promise<std::thread::id> writer;
        EXPECT_CALL(log, append(_)).WillOnce([&](auto entries) {
            const auto done = log.memory->append(entries);
            writer.set_value(std::this_thread::get_id());
            return done;
        });
        decide().entries = {entry(log.last_index().value + 1, 1, payload)};
        bus.handler->message("b", lane, message(9).message, more);
        return writer.get_future().get();
    }
    std::thread::id applier_of_what_comes(std::uint64_t index, Duration takes = {}) {
        std::promise<std::thread::id> applier;
        EXPECT_CALL(engine, apply(_)).Times(testing::AnyNumber());
        EXPECT_CALL(engine, apply(Field(&Entry::index, LogIndex{index}))).WillOnce([&](const Entry& one) {
            engine.applied = one.index;
            later.passed = later.passed.load() + takes;
            applier.set_value(std::this_thread::get_id());
            return success();
        });
        decide().committed = LogIndex{index};
        bus.handler->message("b", Lane::LANE_CONTROL, message(9).message, false);
        return applier.get_future().get();
    }
    Later later;
};

TEST_F(DriverThreadsTest, OneAnswerLeavesFromTheThreadThatHeardOfItSeveralFromOthers) {
    std::vector<std::function<void()>> posted;
    settings.post = [&](std::function<void()> work) { posted.push_back(std::move(work)); };
    start();
    const std::size_t first = write();
    decide().committed = LogIndex{1};
    bus.handler->message("b", Lane::LANE_LOG, message(9).message, false);
    EXPECT_TRUE(outcomes[first]);
    EXPECT_TRUE(posted.empty());

    const std::size_t second = write();
    const std::size_t third = write();
    decide().committed = LogIndex{3};
    bus.handler->message("b", Lane::LANE_LOG, message(9).message, false);
    EXPECT_FALSE(outcomes[second] || outcomes[third]);
    ASSERT_EQ(posted.size(), 1U);
    posted.front()();
    EXPECT_TRUE(outcomes[second] && outcomes[third]);
}

TEST_F(DriverThreadsTest, AReadIsNotAnsweredByAThreadOfTheBusSinceAStatementMayBeginWithIt) {
    std::vector<std::function<void()>> posted;
    settings.post = [&](std::function<void()> work) { posted.push_back(std::move(work)); };
    start();
    const std::size_t read = ask(ReadConsistency::kLocalQuorum);
    decide().reads = {{reads.front(), LogIndex{0}}};
    bus.handler->message("b", Lane::LANE_CONTROL, message(9).message, false);
    EXPECT_FALSE(read_outcomes[read]);
    ASSERT_EQ(posted.size(), 1U);
    posted.front()();
    EXPECT_TRUE(read_outcomes[read]);
}

TEST_F(DriverThreadsTest, WhoWaitsForAnAcknowledgementIsAnsweredBeforeOthersAreToldOfIt) {
    start();
    std::optional<bool> answered_first;
    const std::size_t first = write();
    decide().committed = LogIndex{1};
    messages.push_back(message(1));
    EXPECT_CALL(bus, send(_, _, IsMessage(1))).WillOnce([&](auto&&...) {
        answered_first = outcomes[first].has_value();
        return true;
    });
    bus.handler->message("b", Lane::LANE_LOG, message(9).message, false);
    EXPECT_EQ(answered_first, true);
}

TEST_F(DriverThreadsTest, WhatWasSaidBeforeABatchIsHeardOfBeforeIt) {
    start();
    write();
    Ready& next = decide();
    next.committed = LogIndex{1};
    next.entries = {entry(2, 1)};
    next.messages_after_append = {message(2)};
    messages.push_back(message(1));
    const InSequence order;
    EXPECT_CALL(bus, send(_, _, IsMessage(1)));
    std::promise<void> sent;
    EXPECT_CALL(bus, send(_, _, IsMessage(2))).WillOnce([&](auto&&...) {
        sent.set_value();
        return true;
    });
    bus.handler->message("b", Lane::LANE_LOG, message(9).message, false);
    sent.get_future().get();
}

TEST_F(DriverThreadsTest, AnEntryThatComesAloneIsWrittenByTheThreadThatBringsIt) {
    write_term = Term{0};
    start();
    EXPECT_EQ(writer_of_what_comes(Lane::LANE_LOG, false), std::this_thread::get_id());
}

TEST_F(DriverThreadsTest, AnEntryWithOthersBehindItIsWrittenByAnotherThreadSoThatTheyShareASync) {
    write_term = Term{0};
    start();
    EXPECT_NE(writer_of_what_comes(Lane::LANE_LOG, true), std::this_thread::get_id());
}

TEST_F(DriverThreadsTest, TheThreadThatBringsHeartbeatsNeverWaitsForTheDisk) {
    write_term = Term{0};
    start();
    EXPECT_NE(writer_of_what_comes(Lane::LANE_CONTROL, false), std::this_thread::get_id());
}

TEST_F(DriverThreadsTest, TheThreadThatBringsALeaderItsAcknowledgementsNeverWaitsForTheDisk) {
    write_term = Term{1};
    start();
    EXPECT_NE(writer_of_what_comes(Lane::LANE_LOG, false), std::this_thread::get_id());
}

TEST_F(DriverThreadsTest, ALittleIsAppliedByTheThreadThatTellsThatItIsCommitted) {
    write_term = Term{0};
    start();
    writer_of_what_comes(Lane::LANE_LOG, false);
    EXPECT_EQ(applier_of_what_comes(1), std::this_thread::get_id());
}

TEST_F(DriverThreadsTest, TheThreadThatBringsHeartbeatsAppliesNothingLarge) {
    write_term = Term{0};
    start();
    for (int i = 0; i < 2; ++i) {
        ASSERT_EQ(writer_of_what_comes(Lane::LANE_LOG, false, std::string(40'000, 'x')), std::this_thread::get_id());
    }
    EXPECT_NE(applier_of_what_comes(2), std::this_thread::get_id());
}

TEST_F(DriverThreadsTest, TheThreadThatBringsHeartbeatsReadsNothingFromTheLog) {
    write_term = Term{0};
    have_logged({entry(1, 1)});
    start();
    EXPECT_NE(applier_of_what_comes(1), std::this_thread::get_id());
}

TEST_F(DriverThreadsTest, AStoreThatWasSlowKeepsNoThreadOfTheBus) {
    write_term = Term{0};
    start();
    writer_of_what_comes(Lane::LANE_LOG, false);
    EXPECT_EQ(applier_of_what_comes(1, std::chrono::milliseconds{2}), std::this_thread::get_id());
    writer_of_what_comes(Lane::LANE_LOG, false);
    EXPECT_NE(applier_of_what_comes(2), std::this_thread::get_id());
}

TEST_F(DriverThreadsTest, ADiskThatWasSlowKeepsNoThreadOfTheBus) {
    write_term = Term{0};
    EXPECT_CALL(log, sync).WillOnce([this] {
        later.passed = std::chrono::milliseconds{2};
        return log.memory->sync();
    }).WillRepeatedly([this] { return log.memory->sync(); });
    start();
    ASSERT_EQ(writer_of_what_comes(Lane::LANE_LOG, false), std::this_thread::get_id());
    EXPECT_NE(writer_of_what_comes(Lane::LANE_LOG, false), std::this_thread::get_id());
}

}  // namespace
}  // namespace nornic::modes::conformance
