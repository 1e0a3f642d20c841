#include "tests/sim/disk.h"

#include "base/check.h"
#include "tests/sim/checker.h"
#include "tests/sim/node.h"

#include <algorithm>
#include <utility>

namespace nornic::sim {
namespace {

constexpr std::string_view kDirectory = "log";

Error dead() {
    return Error{ErrorCode::kIo, "this process is gone"};
}

}  // namespace

/// The log of one process. Once that process is gone nothing reaches the disk any more.
class SimLog final : public engine::Log {
public:
    SimLog(Disk& disk, Node& node, engine::Log* inner, std::unique_ptr<engine::Log> own)
        : disk_{disk}, node_{node}, own_{std::move(own)}, inner_{inner}, life_{node.life()} {}

    const engine::LogRecovery& recovery() const override { return inner_->recovery(); }
    LogIndex first_index() const override { return inner_->first_index(); }
    LogIndex last_index() const override { return inner_->last_index(); }

    Result<> append(std::span<const engine::LogEntry> entries) override {
        if (!alive("append")) {
            return dead();
        }
        if (disk_.full) {
            node_.world().mark("disk: full");
            return fail(ErrorCode::kDiskFull, "the simulated disk is full");
        }
        NORNIC_TRY(inner_->append(entries));
        if (!entries.empty()) {
            disk_.lineage.resize(std::min(disk_.lineage.size(), std::size_t{entries.front().index.value}));
            for (const engine::LogEntry& entry : entries) {
                disk_.lineage.push_back(entry.term);
                node_.world().checker->logged(node_, entry);
            }
        }
        alive("appended");
        return success();
    }
    Result<> set_hard_state(const engine::HardState& state) override {
        if (!alive("hard_state")) {
            return dead();
        }
        return inner_->set_hard_state(state);
    }
    Result<> sync() override {
        if (!alive("sync")) {
            return dead();
        }
        World& world = node_.world();
        Fiber* const fiber = world.fibers.current();
        if (fiber != nullptr && node_.runs_disk(fiber)) {
            disk_.sync_since_ = node_.clock().now();
            Duration takes = world.between(world.menu.sync_min, world.menu.sync_max);
            if (world.chance(world.menu.sync_slow_per_million)) {
                world.mark("disk: a slow sync");
                takes += world.between(Duration::zero(), world.menu.failover_timeout());
            }
            disk_.waiting_ = fiber;
            world.scheduler.after(takes, [this, life = life_] {
                if (!life->dead) {
                    node_.when_running([this] {
                        if (!disk_.hangs) {
                            disk_.resume_sync();
                        }
                    });
                }
            });
            world.fibers.suspend();
            disk_.sync_since_.reset();
            if (life_->dead) {
                // The machine may have done it before the process could hear of it.
                if (world.random.one_in(2) && world.menu.mutation != Mutation::kSyncLies) {
                    static_cast<void>(inner_->sync());
                }
                return dead();
            }
        }
        if (disk_.fails_next) {
            disk_.fails_next = false;
            failed_ = true;
            world.mark("disk: a sync failed");
            return fail(ErrorCode::kIo, "the simulated disk failed a sync");
        }
        if (world.menu.mutation != Mutation::kSyncLies) {
            NORNIC_TRY(inner_->sync());
        }
        return alive("synced") ? Result<>{success()} : Result<>{dead()};
    }
    bool failed() const override { return failed_ || life_->dead || inner_->failed(); }
    Result<> read(LogIndex from, LogIndex to, const std::function<bool(const engine::LogEntry&)>& visit) override {
        return inner_->read(from, to, visit);
    }
    Result<Term> term_at(LogIndex index) override { return inner_->term_at(index); }
    Result<> truncate_before(LogIndex first_kept) override {
        return alive("truncate") ? inner_->truncate_before(first_kept) : Result<>{dead()};
    }
    Result<> reset(LogIndex next, Term previous_term) override {
        if (!alive("reset")) {
            return dead();
        }
        NORNIC_TRY(inner_->reset(next, previous_term));
        node_.world().checker->replaced(node_, LogIndex{next.value - 1}, previous_term);
        return success();
    }
    std::optional<Deadline> sync_running_since() const override { return disk_.sync_since_; }
    std::uint64_t disk_bytes() const override { return inner_->disk_bytes(); }

private:
    bool alive(std::string_view call) { return !life_->dead && node_.seam(call); }

    Disk& disk_;
    Node& node_;
    std::unique_ptr<engine::Log> own_;
    engine::Log* inner_;
    std::shared_ptr<const Life> life_;
    bool failed_ = false;
};

Disk::Disk(World& world, Node& node) : world_{world}, node_{node}, home_{engine::make_memory_kv_home()} {
    if (world.menu.segmented_log) {
        sectors_ = std::make_unique<engine::SimulatedDisk>(world.random.next());
    } else {
        memory_log_ = engine::make_memory_log();
    }
}
Disk::~Disk() = default;

Result<std::unique_ptr<engine::Log>> Disk::open_log() {
    ++opened_;
    std::unique_ptr<engine::Log> own;
    engine::Log* inner = memory_log_.get();
    if (sectors_) {
        engine::LogSettings settings;
        settings.directory = std::string{kDirectory};
        settings.segment_bytes = std::uint64_t{16} << 10;
        settings.reserve_bytes = 0;
        engine::LogWorld beneath;
        beneath.file_system = sectors_.get();
        beneath.prepare_in_background = false;
        beneath.seed = world_.random.next() | 1;
        beneath.warn = [](const std::string&) {};
        NORNIC_TRY(own, engine::open_segmented_log_on(settings, node_.clock(), beneath));
        inner = own.get();
    }
    // What it holds now; older entries are as they were.
    const LogIndex first = inner->first_index();
    const LogIndex last = inner->last_index();
    lineage.resize(last.value + 1);
    for (LogIndex at{first.value == 0 ? 0 : first.value - 1}; at <= last; ++at) {
        if (const auto term = inner->term_at(at); term) {
            lineage[at.value] = term.value();
        }
    }
    return std::unique_ptr<engine::Log>{std::make_unique<SimLog>(*this, node_, inner, std::move(own))};
}

void Disk::resume_sync() {
    if (Fiber* const fiber = std::exchange(waiting_, nullptr); fiber != nullptr) {
        world_.fibers.resume(fiber);
    }
}

void Disk::crash(bool power_lost) {
    sync_since_.reset();
    if (sectors_) {
        using Lost = engine::SimulatedDisk::Lost;
        sectors_->crash(!power_lost ? Lost::kNothing : world_.random.one_in(2) ? Lost::kSomeSectors : Lost::kEverything);
    } else {
        if (!power_lost && world_.menu.mutation != Mutation::kSyncLies) {
            static_cast<void>(memory_log_->sync());
        }
        engine::crash_memory_log(*memory_log_);
        harm_memory_log();
    }
    if (power_lost) {
        engine::crash_memory_kv_home(*home_);
    }
}

/// Mutations that are done to a log at rest.
void Disk::harm_memory_log() {
    const bool forget = world_.menu.mutation == Mutation::kHardStateForgotten;
    const bool shorten = world_.menu.mutation == Mutation::kTailLost && world_.random.one_in(2);
    if (!world_.faults || (!forget && !shorten)) {
        return;
    }
    engine::Log& old = *memory_log_;
    const LogIndex first = old.first_index();
    LogIndex last = old.last_index();
    if (shorten) {
        last = LogIndex{std::max(first.value - 1, last.value - std::min<std::uint64_t>(last.value, 1 + world_.random.below(5)))};
    }
    auto made = engine::make_memory_log();
    const LogIndex before{first.value - 1};
    const auto previous = old.term_at(before);
    static_cast<void>(made->reset(first, previous ? previous.value() : Term{0}));
    std::vector<engine::LogEntry> kept;
    static_cast<void>(old.read(first, last, [&](const engine::LogEntry& entry) {
        kept.push_back(entry);
        return true;
    }));
    static_cast<void>(made->append(kept));
    if (!forget) {
        static_cast<void>(made->set_hard_state(old.recovery().hard_state));
    }
    static_cast<void>(made->sync());
    engine::crash_memory_log(*made);
    memory_log_ = std::move(made);
}

}  // namespace nornic::sim
