// An engine over a MemoryKv with a log kept in memory beside it: what a standalone member is,
// without disk or network. Survives a crash: entries stay, what the Kv had not flushed is lost.
#pragma once

#include "engine/engine.h"
#include "engine/kv.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

namespace nornic::engine::testing {

/// Lets a Kv live longer than the engine that uses it.
class SharedKv final : public Kv {
public:
    explicit SharedKv(std::shared_ptr<Kv> inner) : inner_{std::move(inner)} {}
    std::unique_ptr<KvBatch> new_batch() override { return inner_->new_batch(); }
    Result<> write(KvBatch& batch) override {
        if (fail_writes) {
            ++refused_writes;
            return fail(ErrorCode::kDiskFull, "no room");
        }
        return inner_->write(batch);
    }
    Result<> flush() override {
        if (fail_flushes) {
            return fail(ErrorCode::kIo, "the disk is gone");
        }
        if (const auto meanwhile = std::exchange(on_flush, nullptr)) {
            meanwhile();
        }
        return inner_->flush();
    }
    Result<std::optional<std::string>> get(std::string_view key) override {
        return inner_->get(key);
    }
    std::unique_ptr<KvCursor> new_cursor() override { return inner_->new_cursor(); }
    Result<> checkpoint(const std::string& directory) override {
        return inner_->checkpoint(directory);
    }
    std::size_t memory_bytes() const override { return inner_->memory_bytes(); }
    std::size_t disk_bytes() const override { return inner_->disk_bytes(); }

    std::atomic<bool> fail_writes{false};
    std::atomic<bool> fail_flushes{false};
    std::atomic<int> refused_writes{0};
    /// Called by the next flush, before anything of it is durable.
    std::function<void()> on_flush;

private:
    std::shared_ptr<Kv> inner_;
};

inline Settings quiet_settings() {
    Settings settings;
    settings.checkpoint_log_bytes = std::uint64_t{1} << 40;
    settings.checkpoint_interval = std::chrono::hours{1};
    return settings;
}

class Harness {
public:
    explicit Harness(Settings settings = quiet_settings())
        : settings_{std::move(settings)}, kv_{make_memory_kv()} {
        open();
    }

    void open() {
        auto shared = std::make_unique<SharedKv>(kv_);
        kv_view = shared.get();
        auto opened = open_engine(std::move(shared), settings_, system_clock());
        ASSERT_TRUE(opened) << opened.error().message();
        engine_ = std::move(opened).value();
        const std::uint64_t from = engine_->applied_index().value;
        for (const LogEntry& entry : log_) {
            if (entry.index.value > from) {
                const auto applied = engine_->apply(entry);
                ASSERT_TRUE(applied) << applied.error().message();
            }
        }
    }
    /// Power failure and restart; of the log only so many entries stay, as where the rest was of a lost branch.
    void crash(std::size_t entries_kept = SIZE_MAX) {
        engine_.reset();
        crash_memory_kv(*kv_);
        log_.resize(std::min(log_.size(), entries_kept));
        open();
    }
    [[nodiscard]] std::size_t entries() const { return log_.size(); }
    /// For another member, which is at the entry before it.
    [[nodiscard]] LogEntry last_entry() const { return log_.back(); }
    [[nodiscard]] const std::vector<LogEntry>& log() const { return log_; }
    Result<> apply(const LogEntry& entry) {
        const std::lock_guard lock{log_mutex_};
        NORNIC_TRY(engine_->apply(entry));
        log_.push_back(entry);
        return success();
    }
    /// Keys of the Kv that begin with this.
    [[nodiscard]] std::size_t keys(std::string_view prefix) {
        std::size_t count = 0;
        const auto cursor = kv_->new_cursor();
        for (cursor->seek(prefix); cursor->valid() && cursor->key().starts_with(prefix); cursor->next()) {
            ++count;
        }
        return count;
    }

    Engine& operator*() { return *engine_; }
    Engine* operator->() { return engine_.get(); }

    std::unique_ptr<Transaction> begin(AccessMode mode = AccessMode::kWrite,
                                       Deadline deadline = kNoDeadline) {
        BeginOptions options;
        options.mode = mode;
        options.deadline = deadline;
        auto begun = engine_->begin(options);
        EXPECT_TRUE(begun) << begun.error().message();
        return std::move(begun).value();
    }
    Result<> commit(Transaction& transaction) {
        NORNIC_TRY(auto payload, transaction.prepare());
        {
            const std::lock_guard lock{log_mutex_};
            LogEntry entry;
            entry.term = Term{1};
            entry.index = LogIndex{log_.size() + 1};
            entry.payload = std::move(payload);
            NORNIC_TRY(engine_->apply(entry));
            log_.push_back(std::move(entry));
        }
        transaction.finish();
        return success();
    }
    /// Runs fn(transaction) → Result<>, commits and, if it made a constraint, waits until that is in force.
    template <class Fn>
    Result<> write(Fn&& fn) {
        auto transaction = begin();
        NORNIC_TRY(fn(*transaction));
        NORNIC_TRY(commit(*transaction));
        transaction->await_indexes();
        return success();
    }
    SharedKv* kv_view = nullptr;

private:
    Settings settings_;
    std::shared_ptr<Kv> kv_;
    std::mutex log_mutex_;
    std::vector<LogEntry> log_;
    std::unique_ptr<Engine> engine_;
};

inline LabelId label(Transaction& t, std::string_view name) {
    return t.label_or_create(name).value();
}
inline RelTypeId type(Transaction& t, std::string_view name) {
    return t.relationship_type_or_create(name).value();
}
inline PropertyKeyId key(Transaction& t, std::string_view name) {
    return t.property_key_or_create(name).value();
}

/// CREATE (:label {k: value})
inline Result<NodeId> create(Transaction& t,
                             std::string_view label_name,
                             std::string_view key_name,
                             const Value& value) {
    const LabelId l = label(t, label_name);
    const PropertyEntry property{key(t, key_name), value};
    return t.create_node(std::span{&l, 1}, std::span{&property, 1});
}

inline std::vector<std::uint64_t> drain(NodeCursor& cursor) {
    std::vector<std::uint64_t> out;
    NodeId ids[7];
    std::size_t n = 0;
    do {
        n = cursor.next(ids);
        for (std::size_t i = 0; i < n; ++i) {
            out.push_back(ids[i].value);
        }
    } while (n == std::size(ids));
    return out;
}
inline std::vector<std::uint64_t> drain(RelCursor& cursor) {
    std::vector<std::uint64_t> out;
    RelId ids[7];
    std::size_t n = 0;
    do {
        n = cursor.next(ids);
        for (std::size_t i = 0; i < n; ++i) {
            out.push_back(ids[i].value);
        }
    } while (n == std::size(ids));
    return out;
}

}  // namespace nornic::engine::testing
