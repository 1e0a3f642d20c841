// A state as a stream of pairs, and back: what EngineHost gives out as SnapshotExport and takes as SnapshotImport.
#pragma once

#include "engine/kv.h"
#include "engine/snapshot.h"

#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace nornic::engine {

class PairExport final : public SnapshotExport {
public:
    /// `kv` is kept so that what the cursor reads stays.
    PairExport(SnapshotInfo info, std::shared_ptr<Kv> kv, std::unique_ptr<KvCursor> cursor)
        : info_{std::move(info)}, kv_{std::move(kv)}, cursor_{std::move(cursor)} {}

    [[nodiscard]] const SnapshotInfo& info() const override { return info_; }
    Result<> seek(const SnapshotPosition& position) override;
    [[nodiscard]] const SnapshotPosition& position() const override { return position_; }
    Result<SnapshotChunk> next(std::size_t bytes) override;

private:
    /// Puts the cursor on the first pair behind `key`; empty: on the first of all. false: there is no pair `key`.
    bool go_behind(const std::string& key);
    void skip_own();

    const SnapshotInfo info_;
    const std::shared_ptr<Kv> kv_;
    const std::unique_ptr<KvCursor> cursor_;
    SnapshotPosition position_;
    bool placed_ = false;  // cursor_ is on the pair behind position_.last_key
};

class PairImport final : public SnapshotImport {
public:
    /// What the Kv says of an import into it; nullopt: nothing, or nothing that this version reads.
    struct Progress {
        SnapshotInfo info;
        SnapshotPosition position;
        bool complete = false;
    };
    static Result<std::optional<Progress>> progress_in(Kv& kv);

    /// `alive` is let go of with the import.
    PairImport(std::shared_ptr<Kv> kv, Progress progress, std::shared_ptr<const void> alive)
        : alive_{std::move(alive)},
          kv_{std::move(kv)},
          progress_{std::move(progress)},
          stream_digest_{progress_.position.digest} {}

    [[nodiscard]] const SnapshotInfo& info() const override { return progress_.info; }
    [[nodiscard]] SnapshotPosition position() const override { return progress_.position; }
    Result<> add(const SnapshotChunk& chunk) override;
    void drop_partial() override;
    [[nodiscard]] bool complete() const override { return progress_.complete; }

    [[nodiscard]] const std::shared_ptr<Kv>& kv() const noexcept { return kv_; }

private:
    Result<> take(const SnapshotChunk& chunk, KvBatch& batch, Progress& next);

    const std::shared_ptr<const void> alive_;
    const std::shared_ptr<Kv> kv_;
    Progress progress_;
    std::string partial_;          // the beginning of the pair behind progress_.position
    std::uint64_t stream_digest_;  // with partial_
    std::size_t unflushed_bytes_ = 0;
};

}  // namespace nornic::engine
