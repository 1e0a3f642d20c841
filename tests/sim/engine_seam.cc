#include "tests/sim/engine_seam.h"

#include "tests/sim/checker.h"
#include "tests/sim/node.h"

#include <utility>

namespace nornic::sim {
namespace {

Error gone() {
    return Error{ErrorCode::kIo, "this process is gone"};
}

/// What the parts of one process share.
class Seam {
public:
    explicit Seam(Node& node) : node_{&node}, life_{node.life()} {}
    [[nodiscard]] Result<> at(std::string_view call) const {
        return !life_->dead && node_->seam(call) ? success() : Result<>{gone()};
    }
    [[nodiscard]] Result<> room() const {
        if (!life_->dead && node_->alive() && node_->disk().full) {
            node_->world().mark("store: the disk is full");
            return fail(ErrorCode::kDiskFull, "the simulated disk is full");
        }
        return success();
    }
    [[nodiscard]] bool dead() const { return life_->dead; }
    [[nodiscard]] Node& node() const { return *node_; }

private:
    Node* node_;
    std::shared_ptr<const Life> life_;
};

class SeamKv final : public engine::Kv {
public:
    SeamKv(Seam seam, std::unique_ptr<engine::Kv> inner) : seam_{std::move(seam)}, inner_{std::move(inner)} {}

    std::unique_ptr<engine::KvBatch> new_batch() override { return inner_->new_batch(); }
    Result<> write(engine::KvBatch& batch) override {
        NORNIC_TRY(seam_.at("store: write"));
        NORNIC_TRY(seam_.room());
        return inner_->write(batch);
    }
    Result<> flush() override {
        NORNIC_TRY(seam_.at("store: flush"));
        NORNIC_TRY(seam_.room());
        NORNIC_TRY(inner_->flush());
        return seam_.at("store: flushed");
    }
    Result<std::optional<std::string>> get(std::string_view key) override { return inner_->get(key); }
    std::unique_ptr<engine::KvCursor> new_cursor() override { return inner_->new_cursor(); }
    std::unique_ptr<engine::KvCursor> new_scan() override { return inner_->new_scan(); }
    Result<> checkpoint(const std::string& directory) override { return inner_->checkpoint(directory); }
    std::size_t memory_bytes() const override { return inner_->memory_bytes(); }
    std::size_t disk_bytes() const override { return inner_->disk_bytes(); }

private:
    const Seam seam_;
    const std::unique_ptr<engine::Kv> inner_;
};

class SeamHome final : public engine::KvHome {
public:
    SeamHome(Seam seam, engine::KvHome& inner) : seam_{std::move(seam)}, inner_{inner} {}

    Result<std::unique_ptr<engine::Kv>> open() override { return wrap(inner_.open()); }
    Result<std::unique_ptr<engine::Kv>> open_incoming() override {
        NORNIC_TRY(seam_.at("store: open incoming"));
        return wrap(inner_.open_incoming());
    }
    Result<> discard_incoming() override {
        NORNIC_TRY(seam_.at("store: discard incoming"));
        return inner_.discard_incoming();
    }
    Result<> install_incoming() override {
        NORNIC_TRY(seam_.at("store: install"));
        NORNIC_TRY(inner_.install_incoming());
        return seam_.at("store: installed");
    }
    std::uint64_t free_bytes() const override { return inner_.free_bytes(); }

private:
    Result<std::unique_ptr<engine::Kv>> wrap(Result<std::unique_ptr<engine::Kv>> opened) {
        NORNIC_TRY(auto inner, std::move(opened));
        return std::unique_ptr<engine::Kv>{std::make_unique<SeamKv>(seam_, std::move(inner))};
    }

    const Seam seam_;
    engine::KvHome& inner_;
};

class SeamEngine final : public engine::EngineHost {
public:
    SeamEngine(Seam seam, std::unique_ptr<engine::EngineHost> inner) : seam_{std::move(seam)}, inner_{std::move(inner)} {}

    Result<> apply(const engine::LogEntry& entry) override {
        NORNIC_TRY(seam_.at("engine: apply"));
        World& world = seam_.node().world();
        if (world.menu.mutation == Mutation::kApplySkipped && world.faults && world.random.one_in(200)) {
            world.mark("mutation: done");
            engine::LogEntry nothing = entry;
            nothing.kind = engine::EntryKind::kNoop;
            nothing.payload.clear();
            return inner_->apply(nothing);
        }
        if (world.prints() && world.regions != nullptr && !entry.payload.empty() && entry.kind == engine::EntryKind::kWriteSet) {
            world.trace("{} applies entry {} of {}: {}", seam_.node().id(), entry.index.value, entry.hybrid_time,
                        engine::describe_write_set(entry.payload));
        }
        NORNIC_TRY(inner_->apply(entry));
        world.checker->applied(seam_.node(), *inner_, entry);
        return seam_.at("engine: applied");
    }
    Result<> reload() override {
        NORNIC_TRY(seam_.at("engine: reload"));
        NORNIC_TRY(inner_->reload());
        return seam_.at("engine: reloaded");
    }
    Result<std::unique_ptr<engine::SnapshotImport>> begin_import(const engine::SnapshotInfo& info) override {
        NORNIC_TRY(seam_.at("engine: begin import"));
        auto import = inner_->begin_import(info);
        if (import && import.value()->position() != engine::SnapshotPosition{}) {
            seam_.node().world().mark("snapshot: taken up again");
        }
        return import;
    }
    Result<> install(std::unique_ptr<engine::SnapshotImport> import) override {
        NORNIC_TRY(seam_.at("engine: install"));
        NORNIC_TRY(inner_->install(std::move(import)));
        return seam_.at("engine: installed");
    }

    engine::RegionData* regions() override { return inner_->regions(); }
    LogIndex applied_index() const override { return inner_->applied_index(); }
    LogIndex durable_index() const override { return inner_->durable_index(); }
    void on_checkpoint(std::function<void(LogIndex)> callback) override { inner_->on_checkpoint(std::move(callback)); }
    Result<> checkpoint() override { return inner_->checkpoint(); }
    Result<std::unique_ptr<engine::Transaction>> begin(const engine::BeginOptions& options) override {
        return inner_->begin(options);
    }
    std::vector<engine::DatabaseInfo> databases() const override { return inner_->databases(); }
    std::optional<Value> catalog(std::string_view key) const override { return inner_->catalog(key); }
    std::vector<std::pair<std::string, Value>> catalog_range(std::string_view prefix) const override {
        return inner_->catalog_range(prefix);
    }
    Result<> await_indexes(std::string_view database, std::string_view name, Deadline deadline) override {
        return inner_->await_indexes(database, name, deadline);
    }
    engine::EngineStats stats() const override { return inner_->stats(); }
    Result<std::uint64_t> digest() override { return inner_->digest(); }
    void stop() override { inner_->stop(); }
    Term applied_term() const override { return inner_->applied_term(); }
    std::string history() const override { return inner_->history(); }
    std::pair<LogIndex, std::string> membership() const override { return inner_->membership(); }
    bool freshly_installed() const override { return inner_->freshly_installed(); }
    Result<std::unique_ptr<engine::StateView>> view_state() override { return inner_->view_state(); }
    Result<std::unique_ptr<engine::SnapshotExport>> begin_export() override { return inner_->begin_export(); }
    Result<> discard_import() override { return inner_->discard_import(); }
    void on_replaced(std::function<void()> callback) override { inner_->on_replaced(std::move(callback)); }

private:
    const Seam seam_;
    const std::unique_ptr<engine::EngineHost> inner_;
};

}  // namespace

std::unique_ptr<engine::KvHome> watch_home(Node& node, engine::KvHome& home) {
    return std::make_unique<SeamHome>(Seam{node}, home);
}

std::unique_ptr<engine::EngineHost> watch_engine(Node& node, std::unique_ptr<engine::EngineHost> inner) {
    return std::make_unique<SeamEngine>(Seam{node}, std::move(inner));
}

}  // namespace nornic::sim
