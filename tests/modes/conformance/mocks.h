// Neighbours of modes::Replica at its door, made of GoogleMock: the strategy that decides, and the disk,
// engine and network that are told what to do.
#pragma once

#include "modes/replica.h"

#include <gmock/gmock.h>

#include <deque>
#include <utility>

namespace nornic::modes::conformance {

class MockStrategy : public Strategy {
public:
    MOCK_METHOD(std::string_view, name, (), (const, noexcept, override));
    MOCK_METHOD(void, tick, (), (override));
    MOCK_METHOD(void, paused, (std::uint64_t), (override));
    MOCK_METHOD(void, peer_up, (const PeerInfo&), (override));
    MOCK_METHOD(void, peer_down, (const NodeName&, transport::LostReason), (override));
    MOCK_METHOD(void, step, (const NodeName&, const ClusterMessage&), (override));
    MOCK_METHOD(Result<>, propose, (ProposalId, std::string, std::uint64_t), (override));
    MOCK_METHOD(Result<>, read, (ReadId, ReadConsistency), (override));
    MOCK_METHOD(void, readers_wait, (), (override));
    MOCK_METHOD(Result<>, command, (std::uint64_t, const Command&), (override));
    MOCK_METHOD(std::vector<CommandAnswer>, take_answers, (), (override));
    MOCK_METHOD(void, leave, (), (override));
    MOCK_METHOD(bool, left, (), (const, override));
    MOCK_METHOD(std::vector<Outbound>, take_messages, (), (override));
    MOCK_METHOD(Ready, take_ready, (), (override));
    MOCK_METHOD(void, persisted, (LogIndex), (override));
    MOCK_METHOD(void, not_persisted, (LogIndex), (override));
    MOCK_METHOD(void, applied, (LogIndex), (override));
    MOCK_METHOD(void, state_digest, (LogIndex, const Result<std::uint64_t>&), (override));
    MOCK_METHOD(bool, serves, (), (const, override));
    MOCK_METHOD(void, rewound, (LogIndex, bool), (override));
    MOCK_METHOD(void, log_reset, (), (override));
    MOCK_METHOD(void, disk_stalled, (bool), (override));
    MOCK_METHOD(std::optional<LogIndex>, wanted_from, (), (const, override));
    MOCK_METHOD(Term, write_term, (), (const, override));
    MOCK_METHOD(ClusterView, view, (), (const, override));
};

/// A log in memory whose every write is a call that can be expected, or made to fail.
class MockLog : public engine::Log {
public:
    MockLog() {
        using testing::Invoke;
        ON_CALL(*this, append).WillByDefault([this](auto entries) { return memory->append(entries); });
        ON_CALL(*this, set_hard_state).WillByDefault([this](const auto& state) {
            return memory->set_hard_state(state);
        });
        ON_CALL(*this, sync).WillByDefault([this] { return memory->sync(); });
        ON_CALL(*this, failed).WillByDefault(testing::Return(false));
        ON_CALL(*this, writing_since).WillByDefault(testing::Return(std::nullopt));
        ON_CALL(*this, truncate_after).WillByDefault([this](LogIndex last) { return memory->truncate_after(last); });
        ON_CALL(*this, truncate_before).WillByDefault([this](LogIndex first) {
            return memory->truncate_before(first);
        });
        ON_CALL(*this, reset).WillByDefault([this](LogIndex next, Term previous) {
            return memory->reset(next, previous);
        });
    }
    MOCK_METHOD(Result<>, append, (std::span<const engine::LogEntry>), (override));
    MOCK_METHOD(Result<>, set_hard_state, (const HardState&), (override));
    MOCK_METHOD(Result<>, sync, (), (override));
    MOCK_METHOD(bool, failed, (), (const, override));
    MOCK_METHOD(std::optional<Deadline>, writing_since, (), (const, override));
    MOCK_METHOD(Result<>, truncate_after, (LogIndex), (override));
    MOCK_METHOD(Result<>, truncate_before, (LogIndex), (override));
    MOCK_METHOD(Result<>, reset, (LogIndex, Term), (override));
    MOCK_METHOD(std::uint64_t, disk_bytes, (), (const, override));

    bool may_truncate_before(LogIndex first_kept) const override { return memory->may_truncate_before(first_kept); }
    const engine::LogRecovery& recovery() const override { return memory->recovery(); }
    LogIndex first_index() const override { return memory->first_index(); }
    LogIndex last_index() const override { return memory->last_index(); }
    Result<> read(LogIndex from, LogIndex to, const std::function<bool(const engine::LogEntry&)>& visit) override {
        return memory->read(from, to, visit);
    }
    Result<Term> term_at(LogIndex index) override { return memory->term_at(index); }

    std::unique_ptr<engine::Log> memory = engine::make_memory_log();
};

/// An engine that counts what it applies; apply() and reload() are calls that can be expected.
class MockEngine : public engine::EngineHost {
public:
    MockEngine() {
        ON_CALL(*this, apply).WillByDefault([this](const engine::LogEntry& entry) -> Result<> {
            EXPECT_EQ(entry.index.value, applied.value + 1) << "entries are applied in order, each once";
            applied = entry.index;
            return success();
        });
        ON_CALL(*this, reload).WillByDefault([this]() -> Result<> {
            applied = durable;
            return success();
        });
        ON_CALL(*this, checkpoint).WillByDefault([this]() -> Result<> {
            durable = applied;
            if (checkpoint_callback) {
                checkpoint_callback(durable);
            }
            return success();
        });
    }
    MOCK_METHOD(Result<>, apply, (const engine::LogEntry&), (override));
    MOCK_METHOD(Result<>, reload, (), (override));
    MOCK_METHOD(Result<>, checkpoint, (), (override));
    MOCK_METHOD(Result<std::unique_ptr<engine::StateView>>, view_state, (), (override));

    LogIndex applied_index() const override { return applied; }
    LogIndex durable_index() const override { return durable; }
    void on_checkpoint(std::function<void(LogIndex)> callback) override { checkpoint_callback = std::move(callback); }
    Result<std::unique_ptr<engine::Transaction>> begin(const engine::BeginOptions&) override {
        return fail(ErrorCode::kUnsupported, "not here");
    }
    std::vector<engine::DatabaseInfo> databases() const override { return {}; }
    std::optional<Value> catalog(std::string_view) const override { return std::nullopt; }
    std::vector<std::pair<std::string, Value>> catalog_range(std::string_view) const override { return {}; }
    Result<> await_indexes(std::string_view, std::string_view, Deadline) override { return success(); }
    engine::EngineStats stats() const override { return {}; }
    Result<std::uint64_t> digest() override { return std::uint64_t{0}; }
    void stop() override {}
    Term applied_term() const override { return Term{1}; }
    std::string history() const override { return "history"; }
    std::pair<LogIndex, std::string> membership() const override { return membership_told; }
    bool freshly_installed() const override { return fresh; }
    Result<std::unique_ptr<engine::SnapshotExport>> begin_export() override {
        return fail(ErrorCode::kUnsupported, "not here");
    }
    Result<std::unique_ptr<engine::SnapshotImport>> begin_import(const engine::SnapshotInfo&) override {
        return fail(ErrorCode::kUnsupported, "not here");
    }
    Result<> install(std::unique_ptr<engine::SnapshotImport>) override { return success(); }

    LogIndex applied;
    std::pair<LogIndex, std::string> membership_told;
    LogIndex durable;
    bool fresh = false;
    std::function<void(LogIndex)> checkpoint_callback;
};

class MockBus : public transport::MessageBus {
public:
    MockBus() {
        ON_CALL(*this, start).WillByDefault([this](transport::MessageHandler& to) -> Result<> {
            handler = &to;
            return success();
        });
        ON_CALL(*this, send).WillByDefault(testing::Return(true));
    }
    MOCK_METHOD(Result<>, start, (transport::MessageHandler&), (override));
    MOCK_METHOD(void, stop, (), (override));
    MOCK_METHOD(bool, send, (const NodeName&, Lane, std::shared_ptr<const ClusterMessage>), (override));
    MOCK_METHOD(void, set_peers, (std::vector<std::string>), (override));

    void set_self(const PeerInfo&) override {}
    std::size_t queued_bytes(const NodeName&, Lane) const override { return 0; }
    std::vector<transport::PeerStats> stats() const override { return {}; }
    std::string address() const override { return "mock:0"; }
    std::string authentication() const override { return "none"; }

    transport::MessageHandler* handler = nullptr;
};

class ManualClock final : public Clock {
public:
    Deadline now() const override { return at; }
    std::int64_t wall_ns() const override { return at.time_since_epoch().count(); }
    Deadline at{std::chrono::hours{1}};
};

}  // namespace nornic::modes::conformance
