// One user's part in a Kv that outlives it: an engine that is replaced gives its store back, whoever still holds
// the engine.
#pragma once

#include "engine/kv.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>

namespace nornic::engine {

class KvLease final : public Kv {
public:
    /// `token` is let go of with the lease; its owner can tell so that nobody holds one.
    explicit KvLease(std::shared_ptr<Kv> kv, std::shared_ptr<const void> token = nullptr)
        : token_{std::move(token)}, kv_{std::move(kv)} {}

    /// Every later call fails with kStopping. Cursors that were given out go on over what they began on.
    void end() noexcept { ended_.store(true, std::memory_order_release); }

    std::unique_ptr<KvBatch> new_batch() override { return kv_->new_batch(); }
    Result<> write(KvBatch& batch) override {
        NORNIC_TRY(check());
        return kv_->write(batch);
    }
    Result<> flush() override {
        NORNIC_TRY(check());
        return kv_->flush();
    }
    Result<std::optional<std::string>> get(std::string_view key) override {
        NORNIC_TRY(check());
        return kv_->get(key);
    }
    std::unique_ptr<KvCursor> new_cursor() override {
        return ended() ? std::make_unique<EndedCursor>() : kv_->new_cursor();
    }
    std::unique_ptr<KvCursor> new_scan() override {
        return ended() ? std::make_unique<EndedCursor>() : kv_->new_scan();
    }
    Result<> checkpoint(const std::string& directory) override {
        NORNIC_TRY(check());
        return kv_->checkpoint(directory);
    }
    std::size_t memory_bytes() const override { return ended() ? 0 : kv_->memory_bytes(); }
    std::size_t disk_bytes() const override { return ended() ? 0 : kv_->disk_bytes(); }
    KvStats stats() const override { return ended() ? KvStats{} : kv_->stats(); }

private:
    class EndedCursor final : public KvCursor {
    public:
        void seek(std::string_view) override {}
        void seek_back(std::string_view) override {}
        void next() override {}
        void previous() override {}
        bool valid() const override { return false; }
        std::string_view key() const override { return {}; }
        std::string_view value() const override { return {}; }
        Result<> status() const override { return ended_error(); }
    };
    static Error ended_error() {
        return Error{ErrorCode::kStopping, "this state of the database was replaced by another"};
    }
    [[nodiscard]] bool ended() const noexcept { return ended_.load(std::memory_order_acquire); }
    [[nodiscard]] Result<> check() const { return ended() ? Result<>{ended_error()} : success(); }

    const std::shared_ptr<const void> token_;
    const std::shared_ptr<Kv> kv_;
    std::atomic<bool> ended_{false};
};

}  // namespace nornic::engine
