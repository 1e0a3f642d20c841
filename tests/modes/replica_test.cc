// The driver and standalone over a log in memory and an engine that is a mock.
#include "modes/replica.h"

#include "base/hybrid_clock.h"
#include "modes/standalone/standalone.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <thread>

namespace nornic::modes {
namespace {

using testing::_;
using testing::NiceMock;

constexpr auto kWest = "history-of-west";

/// Two regions; applying "west N" moves the cursor of the other one.
class FakeRegions final : public engine::RegionData {
public:
    FakeRegions() {
        auto& state = *state_;
        state.self = 1;
        state.regions = {{.number = 1, .name = "east", .history = "history"}, {.number = 2, .name = "west", .history = kWest}};
    }
    std::shared_ptr<const engine::RegionState> region_state() const override {
        const std::lock_guard lock{mutex_};
        return state_;
    }
    void change(const std::function<void(engine::RegionState&)>& how) {
        const std::lock_guard lock{mutex_};
        auto next = std::make_shared<engine::RegionState>(*state_);
        how(*next);
        state_ = std::move(next);
    }
    Result<> ship(const engine::LogEntry&, engine::RegionWrites&) const override { return success(); }
    Result<std::string> localize(const engine::RegionWrites&, bool) override {
        return fail(ErrorCode::kUnsupported, "not here");
    }
    Result<std::unique_ptr<engine::SeedReader>> begin_seed() override {
        return fail(ErrorCode::kUnsupported, "not here");
    }

private:
    mutable std::mutex mutex_;
    std::shared_ptr<engine::RegionState> state_ = std::make_shared<engine::RegionState>();
};

/// The engine at the room's door: remembers what was applied.
class FakeEngine final : public engine::EngineHost {
public:
    Result<> apply(const engine::LogEntry& entry) override {
        const std::lock_guard lock{mutex_};
        if (entry.payload == fail_on) {
            return fail(ErrorCode::kCorruption, "not understood");
        }
        EXPECT_EQ(entry.index.value, applied_.value + 1)
            << "entries are applied in order, each once";
        applied_ = entry.index;
        payloads.push_back(entry.payload);
        times.push_back(entry.hybrid_time);
        if (with_regions && entry.payload.starts_with("west ")) {
            fake_regions.change([&](engine::RegionState& state) {
                state.regions[1].cursor = LogIndex{std::stoull(entry.payload.substr(5))};
            });
        }
        return success();
    }
    engine::RegionData* regions() override { return with_regions ? &fake_regions : nullptr; }
    LogIndex applied_index() const override {
        const std::lock_guard lock{mutex_};
        return applied_;
    }
    LogIndex durable_index() const override { return durable; }
    void on_checkpoint(std::function<void(LogIndex)> callback) override {
        checkpoint_callback = std::move(callback);
    }
    Result<> checkpoint() override { return success(); }
    Result<std::unique_ptr<engine::Transaction>> begin(const engine::BeginOptions&) override {
        return fail(ErrorCode::kUnsupported, "not here");
    }
    std::vector<engine::DatabaseInfo> databases() const override { return {}; }
    std::optional<Value> catalog(std::string_view) const override { return std::nullopt; }
    std::vector<std::pair<std::string, Value>> catalog_range(std::string_view) const override {
        return {};
    }
    Result<> await_indexes(std::string_view, std::string_view, Deadline) override {
        return success();
    }
    engine::EngineStats stats() const override { return {}; }
    Result<std::uint64_t> digest() override { return std::uint64_t{0}; }
    void stop() override {}
    Term applied_term() const override { return Term{1}; }
    std::string history() const override { return "history"; }
    std::pair<LogIndex, std::string> membership() const override { return membership_told; }
    bool freshly_installed() const override { return false; }
    Result<> reload() override { return success(); }
    void on_replaced(std::function<void()>) override {}
    Result<std::unique_ptr<engine::SnapshotExport>> begin_export() override {
        return fail(ErrorCode::kUnsupported, "not here");
    }
    Result<std::unique_ptr<engine::SnapshotImport>> begin_import(const engine::SnapshotInfo&) override {
        return fail(ErrorCode::kUnsupported, "not here");
    }
    Result<> install(std::unique_ptr<engine::SnapshotImport>) override { return success(); }

    std::pair<LogIndex, std::string> membership_told;
    LogIndex durable;
    std::vector<std::string> payloads;
    std::vector<std::uint64_t> times;
    bool with_regions = false;
    FakeRegions fake_regions;
    std::string fail_on = "\x01never";
    std::function<void(LogIndex)> checkpoint_callback;

private:
    mutable std::mutex mutex_;
    LogIndex applied_;
};

/// A log whose next append or sync fails as told.
class FaultyLog final : public engine::Log {
public:
    const engine::LogRecovery& recovery() const override { return inner_->recovery(); }
    LogIndex first_index() const override { return inner_->first_index(); }
    LogIndex last_index() const override { return inner_->last_index(); }
    Result<> append(std::span<const engine::LogEntry> entries) override {
        if (full) {
            return fail(ErrorCode::kDiskFull, "no room");
        }
        return inner_->append(entries);
    }
    Result<> set_hard_state(const engine::HardState& state) override {
        return inner_->set_hard_state(state);
    }
    Result<> sync() override {
        std::unique_lock lock{mutex_};
        ++syncs;
        changed_.notify_all();
        changed_.wait(lock, [this] { return !hold_; });
        if (sync_fails) {
            broken_ = true;
            return fail(ErrorCode::kIo, "fdatasync: input/output error");
        }
        return inner_->sync();
    }
    bool failed() const override { return broken_; }
    Result<> read(LogIndex from,
                  LogIndex to,
                  const std::function<bool(const engine::LogEntry&)>& visit) override {
        return inner_->read(from, to, visit);
    }
    Result<Term> term_at(LogIndex index) override { return inner_->term_at(index); }
    Result<> truncate_after(LogIndex last) override { return inner_->truncate_after(last); }
    bool may_truncate_before(LogIndex first_kept) const override { return inner_->may_truncate_before(first_kept); }
    Result<> truncate_before(LogIndex first_kept) override {
        cut_by = std::this_thread::get_id();
        cut = first_kept;
        return inner_->truncate_before(first_kept);
    }
    Result<> reset(LogIndex next, Term previous) override { return inner_->reset(next, previous); }
    std::optional<Deadline> writing_since() const override { return std::nullopt; }
    std::uint64_t disk_bytes() const override { return 0; }

    void hold(bool on) {
        const std::lock_guard lock{mutex_};
        hold_ = on;
        changed_.notify_all();
    }
    void wait_for_syncs(int n) {
        std::unique_lock lock{mutex_};
        changed_.wait(lock, [&] { return syncs >= n; });
    }
    int syncs = 0;
    bool full = false;
    bool sync_fails = false;
    std::atomic<LogIndex> cut{LogIndex{}};
    std::thread::id cut_by;  // written before `cut`

private:
    std::unique_ptr<engine::Log> inner_ = engine::make_memory_log();
    std::mutex mutex_;
    std::condition_variable changed_;
    bool hold_ = false;
    bool broken_ = false;
};

class ReplicaTest : public testing::Test {
protected:
    void start() {
        replica = make_replica(parts(), {});
        const auto started = replica->start();
        ASSERT_TRUE(started) << started.error().message();
    }
    ReplicaParts parts() {
        ReplicaParts parts;
        parts.start.self = "node-1";
        parts.make_strategy = make_standalone;
        parts.engine = &engine;
        parts.log = &log;
        parts.clock = &clock;
        return parts;
    }
    /// What somebody is told, once.
    template <class T>
    class Answer {
    public:
        std::function<void(Result<T>)> keep() {
            return [this](Result<T> told) {
                const std::lock_guard lock{mutex_};
                EXPECT_FALSE(told_) << "answered twice";
                told_.emplace(std::move(told));
                changed_.notify_all();
            };
        }
        bool given() {
            const std::lock_guard lock{mutex_};
            return told_.has_value();
        }
        Result<T> wait() {
            std::unique_lock lock{mutex_};
            changed_.wait(lock, [&] { return told_.has_value(); });
            return *told_;
        }

    private:
        std::mutex mutex_;
        std::condition_variable changed_;
        std::optional<Result<T>> told_;
    };
    /// The machine's, with a wall clock that can be set.
    struct SkewedClock final : Clock {
        Deadline now() const override { return system_clock().now(); }
        std::int64_t wall_ns() const override { return wall.value_or(system_clock().wall_ns()); }
        std::optional<std::int64_t> wall;
    };
    SkewedClock clock;
    FakeEngine engine;
    FaultyLog log;
    std::unique_ptr<Replica> replica;
};

TEST_F(ReplicaTest, ABookmarkOfAnotherRegionIsWaitedForByItsCursor) {
    engine.with_regions = true;
    start();
    Answer<LogIndex> seventh;
    Answer<LogIndex> ninth;
    replica->region_point(kWest, LogIndex{9}, kNoDeadline, ninth.keep());
    replica->region_point(kWest, LogIndex{7}, kNoDeadline, seventh.keep());
    ASSERT_TRUE(replica->commit_and_wait("of this region"));
    EXPECT_FALSE(seventh.given());
    ASSERT_TRUE(replica->commit_and_wait("west 8"));
    const auto point = seventh.wait();
    ASSERT_TRUE(point);
    EXPECT_EQ(point.value().value, 2U) << "an index of the local log";
    EXPECT_FALSE(ninth.given());
    ASSERT_TRUE(replica->commit_and_wait("west 12"));
    EXPECT_TRUE(ninth.wait());
    Answer<LogIndex> at_once;
    replica->region_point(kWest, LogIndex{12}, kNoDeadline, at_once.keep());
    EXPECT_TRUE(at_once.given());
}

TEST_F(ReplicaTest, ABookmarkOfAnotherRegionTimesOutOrIsOfNobody) {
    engine.with_regions = true;
    start();
    Answer<LogIndex> late;
    ASSERT_TRUE(replica->commit_and_wait("west 3"));
    replica->region_point(kWest, LogIndex{9}, system_clock().now(), late.keep());
    const auto refused = late.wait();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kBookmarkTimeout);
    EXPECT_EQ(refused.error().message(), "not up to the requested version: 9. Latest database version is 3");
    for (const char* history : {"", "history-of-nobody"}) {
        Answer<LogIndex> unknown;
        replica->region_point(history, LogIndex{1}, kNoDeadline, unknown.keep());
        EXPECT_EQ(unknown.wait().error().code(), ErrorCode::kNotFound);
    }
    Answer<LogIndex> stopped;
    replica->region_point(kWest, LogIndex{9}, kNoDeadline, stopped.keep());
    replica->stop();
    EXPECT_EQ(stopped.wait().error().code(), ErrorCode::kStopping);
}

TEST_F(ReplicaTest, WithoutRegionsNoBookmarkIsOfAnother) {
    start();
    Answer<LogIndex> unknown;
    replica->region_point(kWest, LogIndex{1}, kNoDeadline, unknown.keep());
    EXPECT_EQ(unknown.wait().error().code(), ErrorCode::kNotFound);
}

TEST_F(ReplicaTest, AWriteIsLaterThanAllThatIsOnDiskWhateverTheClockShows) {
    const auto later = hybrid_time_of(static_cast<std::uint64_t>(system_clock().wall_ns()) / 1'000'000 + 3'600'000);
    ASSERT_TRUE(log.append(std::vector<engine::LogEntry>{
        {Term{1}, LogIndex{1}, later + 5, engine::EntryKind::kWriteSet, "of a fast clock"},
        {Term{1}, LogIndex{2}, later, engine::EntryKind::kNoop, ""}}));
    ASSERT_TRUE(log.sync());
    start();
    ASSERT_TRUE(replica->commit_and_wait("a"));
    EXPECT_EQ(engine.times.back(), later + 6);
    clock.wall = 0;  // 1970
    ASSERT_TRUE(replica->commit_and_wait("b"));
    EXPECT_EQ(engine.times.back(), later + 7);
}

TEST_F(ReplicaTest, AWriteIsLaterThanWhatTheStateHoldsOfOtherRegions) {
    const auto later = hybrid_time_of(static_cast<std::uint64_t>(system_clock().wall_ns()) / 1'000'000 + 400);
    engine.with_regions = true;
    engine.fake_regions.change([&](engine::RegionState& state) { state.time = later; });
    start();
    ASSERT_TRUE(replica->commit_and_wait("a"));
    EXPECT_GT(engine.times.back(), later);
    engine.fake_regions.change([&](engine::RegionState& state) { state.time = later + (1 << 20); });
    ASSERT_TRUE(replica->commit_and_wait("a merge, after which it is seen"));
    ASSERT_TRUE(replica->commit_and_wait("b"));
    EXPECT_GT(engine.times.back(), later + (1 << 20));
}

TEST_F(ReplicaTest, ACommitIsInTheLogAppliedAndNumberedFromOne) {
    start();
    const auto first = replica->commit_and_wait("a");
    ASSERT_TRUE(first);
    EXPECT_EQ(first.value().index.value, 1U);
    EXPECT_EQ(replica->commit_and_wait("b").value().index.value, 2U);
    EXPECT_EQ(engine.payloads, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(log.last_index().value, 2U);
}

TEST_F(ReplicaTest, WritesThatArriveDuringASyncShareTheNextOne) {
    start();
    log.hold(true);
    std::thread first{[this] { EXPECT_TRUE(replica->commit_and_wait("first")); }};
    log.wait_for_syncs(1);
    constexpr int kWriters = 20;
    std::atomic<int> done{0};
    for (int i = 0; i < kWriters; ++i) {
        replica->commit("later", std::nullopt, [&](Result<Committed> result) {
            EXPECT_TRUE(result);
            ++done;
        });
    }
    log.hold(false);
    first.join();
    replica->stop();
    EXPECT_EQ(done, kWriters);
    EXPECT_EQ(log.syncs, 2) << "one for the first, one for all the others";
}

TEST_F(ReplicaTest, AFullDiskRefusesAndLaterWritesGoOn) {
    start();
    ASSERT_TRUE(replica->commit_and_wait("a"));
    log.full = true;
    const auto refused = replica->commit_and_wait("b");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kDiskFull);
    EXPECT_FALSE(replica->failure());
    EXPECT_TRUE(replica->stats().disk_full);
    log.full = false;
    const auto later = replica->commit_and_wait("c");
    ASSERT_TRUE(later);
    EXPECT_EQ(later.value().index.value, 2U) << "the refused write took no place in the log";
    EXPECT_EQ(engine.payloads, (std::vector<std::string>{"a", "c"}));
    EXPECT_FALSE(replica->stats().disk_full);
}

TEST_F(ReplicaTest, AFailedSyncIsUnknownAndFinal) {
    start();
    ASSERT_TRUE(replica->commit_and_wait("a"));
    log.sync_fails = true;
    const auto unknown = replica->commit_and_wait("b");
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().code(), ErrorCode::kUnknownCommit);
    ASSERT_TRUE(replica->failure());
    const auto after = replica->commit_and_wait("c");
    ASSERT_FALSE(after);
    EXPECT_EQ(after.error().code(), ErrorCode::kDatabaseUnavailable);
    EXPECT_EQ(engine.payloads, (std::vector<std::string>{"a"}))
        << "what may not be durable is not shown";
}

TEST_F(ReplicaTest, AnEntryThatCannotBeAppliedStopsTheMember) {
    start();
    engine.fail_on = "poison";
    const auto unknown = replica->commit_and_wait("poison");
    ASSERT_FALSE(unknown);
    EXPECT_EQ(unknown.error().code(), ErrorCode::kUnknownCommit);
    EXPECT_TRUE(replica->failure());
    EXPECT_FALSE(replica->commit_and_wait("next"));
}

TEST_F(ReplicaTest, StartReplaysWhatTheEngineLacks) {
    std::vector<engine::LogEntry> entries;
    for (std::uint64_t i = 1; i <= 3; ++i) {
        entries.push_back(
            {Term{1}, LogIndex{i}, i, engine::EntryKind::kWriteSet, std::to_string(i)});
    }
    ASSERT_TRUE(log.append(entries));
    ASSERT_TRUE(log.sync());
    start();
    EXPECT_EQ(engine.payloads, (std::vector<std::string>{"1", "2", "3"}));
    EXPECT_EQ(replica->commit_and_wait("4").value().index.value, 4U);
}

TEST_F(ReplicaTest, AStoreAheadOfItsLogIsRefused) {
    ASSERT_TRUE(engine.apply({Term{1}, LogIndex{1}, 0, engine::EntryKind::kWriteSet, "x"}));
    replica = make_replica(parts(), {});
    const auto started = replica->start();
    ASSERT_FALSE(started);
    EXPECT_EQ(started.error().code(), ErrorCode::kCorruption);
}

TEST_F(ReplicaTest, ACheckpointLetsTheLogForget) {
    start();
    ASSERT_TRUE(replica->commit_and_wait("a"));
    ASSERT_TRUE(replica->commit_and_wait("b"));
    engine.durable = LogIndex{1};
    engine.checkpoint_callback(LogIndex{1});
    replica->stop();  // waits for what is under way
    EXPECT_EQ(log.cut.load().value, 2U);
    EXPECT_NE(log.cut_by, std::this_thread::get_id()) << "the engine holds locks while it tells of a checkpoint";
}

TEST_F(ReplicaTest, AReaderWaitsForItsBookmarkUpToItsDeadline) {
    start();
    std::mutex mutex;
    std::condition_variable answered;
    std::vector<Result<LogIndex>> answers;
    const auto keep = [&](Result<LogIndex> answer) {
        const std::lock_guard lock{mutex};
        answers.push_back(std::move(answer));
        answered.notify_all();
    };
    replica->read_point(ReadConsistency::kOne, LogIndex{1}, kNoDeadline, keep);
    EXPECT_TRUE(answers.empty());
    ASSERT_TRUE(replica->commit_and_wait("a"));
    {
        std::unique_lock lock{mutex};
        answered.wait(lock, [&] { return answers.size() == 1; });
        EXPECT_TRUE(answers[0]);
    }
    replica->read_point(ReadConsistency::kOne, LogIndex{99}, system_clock().now(), keep);
    std::unique_lock lock{mutex};
    answered.wait(lock, [&] { return answers.size() == 2; });
    ASSERT_FALSE(answers[1]);
    EXPECT_EQ(answers[1].error().code(), ErrorCode::kBookmarkTimeout);
}

TEST_F(ReplicaTest, AfterStopEverythingIsAnswered) {
    start();
    bool answered = false;
    replica->read_point(
        ReadConsistency::kOne, LogIndex{5}, kNoDeadline, [&](Result<LogIndex> answer) {
            answered = true;
            EXPECT_EQ(answer.error().code(), ErrorCode::kStopping);
        });
    replica->stop();
    EXPECT_TRUE(answered);
    EXPECT_EQ(replica->commit_and_wait("late").error().code(), ErrorCode::kStopping);
}

TEST_F(ReplicaTest, ManyThreadsCommitEachOnceInOneOrder) {
    start();
    constexpr int kThreads = 8;
    constexpr int kEach = 200;
    std::vector<std::thread> threads;
    std::mutex mutex;
    std::map<std::uint64_t, std::string> acknowledged;
    for (int t = 0; t < kThreads; ++t) {
        threads.emplace_back([&, t] {
            for (int i = 0; i < kEach; ++i) {
                const std::string text = std::to_string(t) + ":" + std::to_string(i);
                const auto done = replica->commit_and_wait(text);
                ASSERT_TRUE(done);
                const std::lock_guard lock{mutex};
                EXPECT_TRUE(acknowledged.emplace(done.value().index.value, text).second);
            }
        });
    }
    for (std::thread& thread : threads) {
        thread.join();
    }
    ASSERT_EQ(engine.payloads.size(), static_cast<std::size_t>(kThreads * kEach));
    for (const auto& [index, text] : acknowledged) {
        EXPECT_EQ(engine.payloads[index - 1], text);
    }
}

TEST(Standalone, RefusesWhenTooMuchIsUnderWay) {
    StrategyStart start;
    start.inflight_max = 2;
    const auto strategy = make_standalone(start);
    EXPECT_TRUE(strategy->propose(ProposalId{1}, "a", 1));
    EXPECT_TRUE(strategy->propose(ProposalId{2}, "b", 2));
    const auto third = strategy->propose(ProposalId{3}, "c", 3);
    ASSERT_FALSE(third);
    EXPECT_EQ(third.error().code(), ErrorCode::kBusy);
    const Ready ready = strategy->take_ready();
    EXPECT_EQ(ready.entries.size(), 2U);
    EXPECT_EQ(ready.committed.value, 0U) << "nothing is committed before it is on disk";
    strategy->persisted(LogIndex{2});
    EXPECT_EQ(strategy->take_ready().committed.value, 2U);
    strategy->applied(LogIndex{2});
    EXPECT_TRUE(strategy->propose(ProposalId{4}, "d", 4));
}

TEST(Standalone, ALostBatchMakesRoomForWhatCameBehindIt) {
    const auto strategy = make_standalone({});
    ASSERT_TRUE(strategy->propose(ProposalId{1}, "lost", 1));
    ASSERT_EQ(strategy->take_ready().entries.size(), 1U);
    ASSERT_TRUE(strategy->propose(ProposalId{2}, "kept", 2));
    strategy->not_persisted(LogIndex{1});
    const Ready ready = strategy->take_ready();
    ASSERT_EQ(ready.entries.size(), 1U);
    EXPECT_EQ(ready.entries[0].index.value, 1U);
    EXPECT_EQ(ready.entries[0].payload, "kept");
    EXPECT_EQ(ready.placed[0].index.value, 1U);
}

}  // namespace
}  // namespace nornic::modes
