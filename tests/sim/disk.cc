#include "tests/sim/disk.h"

#include "base/check.h"
#include "engine/log/codec.h"
#include "tests/sim/checker.h"
#include "tests/sim/node.h"
#include "tests/sim/raft_checker.h"

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
            disk_.changed_from_ = std::min(disk_.changed_from_, std::size_t{entries.front().index.value});
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
        disk_.hard_states_.push_back(state);
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
        disk_.synced();
        return alive("synced") ? Result<>{success()} : Result<>{dead()};
    }
    bool failed() const override { return failed_ || life_->dead || inner_->failed(); }
    Result<> read(LogIndex from, LogIndex to, const std::function<bool(const engine::LogEntry&)>& visit) override {
        return inner_->read(from, to, visit);
    }
    Result<Term> term_at(LogIndex index) override { return inner_->term_at(index); }
    Result<> truncate_after(LogIndex last) override {
        if (!alive("truncate_after")) {
            return dead();
        }
        if (last < last_index()) {
            disk_.changed_from_ = std::min(disk_.changed_from_, std::size_t{last.value + 1});
            disk_.lineage.resize(std::min(disk_.lineage.size(), std::size_t{last.value + 1}));
        }
        return inner_->truncate_after(last);
    }
    bool may_truncate_before(LogIndex first_kept) const override { return inner_->may_truncate_before(first_kept); }
    Result<> truncate_before(LogIndex first_kept) override {
        return alive("truncate") ? inner_->truncate_before(first_kept) : Result<>{dead()};
    }
    Result<> reset(LogIndex next, Term previous_term) override {
        if (!alive("reset")) {
            return dead();
        }
        disk_.line_changed_ = true;
        node_.world().trace("the log of {} held entries {} to {} and begins anew at {}",
                            node_.id(),
                            first_index().value,
                            last_index().value,
                            next.value);
        NORNIC_TRY(inner_->reset(next, previous_term));
        node_.world().checker->replaced(node_, LogIndex{next.value - 1}, previous_term);
        return success();
    }
    std::optional<Deadline> writing_since() const override { return disk_.sync_since_; }
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
        auto opened = engine::open_segmented_log_on(settings, node_.clock(), beneath);
        if (const auto rotten = std::exchange(rotten_, std::nullopt)) {
            if (opened || opened.error().code() != ErrorCode::kCorruption) {
                return fail(ErrorCode::kInternal,
                            fmt::format("a changed sector at {} of {} was not noticed: {}",
                                        rotten->offset,
                                        rotten->path,
                                        opened ? "it opens" : opened.error().message()));
            }
            world_.mark("disk: damage was noticed");
            world_.trace("{}: {}", node_.id(), opened.error().message());
            sectors_->overwrite(rotten->path, rotten->offset, rotten->sector);  // an operator has a copy
            opened = engine::open_segmented_log_on(settings, node_.clock(), beneath);
        }
        NORNIC_TRY(own, std::move(opened));
        inner = own.get();
        if (own->recovery().torn_bytes_cut != 0) {
            world_.mark("disk: a torn tail was cut");
        }
    }
    check_reopened(*inner);
    // What it holds now; older entries are as they were.
    const LogIndex first = inner->first_index();
    const LogIndex last = inner->last_index();
    lineage.resize(last.value + 1);
    for (LogIndex at{first.value == 0 ? 0 : first.value - 1}; at <= last; ++at) {
        if (const auto term = inner->term_at(at); term) {
            lineage[at.value] = term.value();
        }
    }
    durable = lineage;
    if (std::exchange(standalone_, node_.standalone())) {
        world_.checker->reopened(node_, last);
    }
    if (world_.raft_checker) {
        world_.raft_checker->durable(node_, first);
    }
    changed_from_ = SIZE_MAX;
    line_changed_ = false;
    hard_states_.assign(1, inner->recovery().hard_state);
    return std::unique_ptr<engine::Log>{std::make_unique<SimLog>(*this, node_, inner, std::move(own))};
}

void Disk::synced() {
    if (line_changed_) {
        durable = lineage;
    } else if (changed_from_ != SIZE_MAX) {
        durable.resize(std::min(durable.size(), changed_from_));
        durable.insert(durable.end(), lineage.begin() + static_cast<std::ptrdiff_t>(durable.size()), lineage.end());
        world_.checker->synced(node_, LogIndex{changed_from_});
        if (world_.raft_checker) {
            world_.raft_checker->durable(node_, LogIndex{changed_from_});
        }
    }
    changed_from_ = SIZE_MAX;
    line_changed_ = false;
    hard_states_.erase(hard_states_.begin(), hard_states_.end() - 1);
}

/// What was synced is there again.
void Disk::check_reopened(const engine::Log& log) {
    if (opened_ == 1 || line_changed_ || world_.menu.mutation != Mutation::kNone) {
        return;
    }
    const engine::LogRecovery& found = log.recovery();
    // What was being overwritten may be there in the one form or the other.
    const std::size_t certain = std::min(durable.size(), changed_from_);
    if (found.last.value + 1 < certain) {
        world_.violate(fmt::format("the log of {} ends at {}; it was synced up to {}", node_.id(), found.last.value, certain - 1));
        return;
    }
    if (changed_from_ == SIZE_MAX && found.last.value + 1 > durable.size()) {
        world_.violate(fmt::format("the log of {} ends at {}; it was cut at {}", node_.id(), found.last.value, durable.size() - 1));
        return;
    }
    auto& readable = const_cast<engine::Log&>(log);
    for (std::size_t at = std::max<std::size_t>(1, found.first.value); at < certain; ++at) {
        const auto term = readable.term_at(LogIndex{at});
        if (!term || term.value() != durable[at]) {
            world_.violate(fmt::format("entry {} in the log of {} is not the one that was synced", at, node_.id()));
            return;
        }
    }
    if (std::ranges::find(hard_states_, found.hard_state) == hard_states_.end()) {
        world_.violate(fmt::format("the hard state of {} is none that was written since the last sync", node_.id()));
    }
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
        if (world_.chance(world_.menu.rot_per_million) && !rotten_) {  // one at a time: a copy of it is kept for the operator
            rot();
        }
    } else {
        if (!power_lost && world_.menu.mutation != Mutation::kSyncLies) {
            static_cast<void>(memory_log_->sync());
        }
        engine::crash_memory_log(*memory_log_);
        harm_memory_log();
    }
    // The store has no log of its own: what it had not flushed it held in the process.
    engine::crash_memory_kv_home(*home_);
}

void Disk::wipe() {
    if (sectors_) {
        sectors_ = std::make_unique<engine::SimulatedDisk>(world_.random.next());
    } else {
        memory_log_ = engine::make_memory_log();
    }
    home_ = engine::make_memory_kv_home();
    world_.checker->wiped();
    if (world_.raft_checker) {
        world_.raft_checker->wiped(node_);
    }
    lineage.assign(1, Term{0});
    durable = lineage;
    hard_states_.assign(1, engine::HardState{});
    changed_from_ = SIZE_MAX;
    line_changed_ = false;
    rotten_.reset();
    opened_ = 0;
}

/// Changes a sector that a later record vouches for: what stood there was synced, so this is no torn tail.
void Disk::rot() {
    const auto names = sectors_->list(std::string{kDirectory});
    std::vector<std::string> segments;
    for (const std::string& name : names.value()) {
        if (name.ends_with(".log")) {
            segments.push_back(std::string{kDirectory} + "/" + name);
        }
    }
    if (segments.empty()) {
        return;
    }
    const std::string& path = segments[world_.random.below(segments.size())];
    const std::string bytes = sectors_->contents(path);
    const auto header = engine::decode_segment_header(std::string_view{bytes}.substr(0, engine::kSegmentHeaderBytes), path);
    if (!header) {
        return;
    }
    std::uint64_t vouched = 0;
    std::uint64_t at = engine::kSegmentHeaderBytes;
    while (at < bytes.size()) {
        const auto record = engine::decode_record(std::string_view{bytes}.substr(at), header.value().salt, at);
        if (!record) {
            break;
        }
        vouched = std::max(vouched, std::uint64_t{record->header.synced} * 8);
        at += record->bytes();
    }
    vouched = std::min(vouched, at) / engine::kSectorBytes * engine::kSectorBytes;
    // The header's page is zeros behind its first sector, which nobody reads.
    const std::uint64_t sectors = vouched < engine::kSegmentHeaderBytes
                                      ? 0
                                      : 1 + (vouched - engine::kSegmentHeaderBytes) / engine::kSectorBytes;
    if (sectors == 0) {
        return;
    }
    const std::uint64_t chosen = world_.random.below(sectors);
    const std::uint64_t offset =
        chosen == 0 ? 0 : engine::kSegmentHeaderBytes + (chosen - 1) * engine::kSectorBytes;
    rotten_ = Rotten{path, offset, bytes.substr(offset, engine::kSectorBytes)};
    std::string changed = rotten_->sector;
    if (world_.random.one_in(3)) {
        changed.assign(changed.size(), '\0');
    } else if (world_.random.one_in(2)) {
        for (char& byte : changed) {
            byte = static_cast<char>(world_.random.next());
        }
    } else {
        const std::size_t bit = world_.random.below((chosen == 0 ? 76 : changed.size()) * 8);
        changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ (1 << (bit % 8)));
    }
    if (changed == rotten_->sector) {
        rotten_.reset();
        return;
    }
    world_.trace("the disk of {} changes the sector at {} of {}", node_.id(), offset, path);
    sectors_->overwrite(path, offset, changed);
}

/// Mutations that are done to a log at rest.
void Disk::harm_memory_log() {
    const Mutation mutation = world_.menu.mutation;
    const bool forget = mutation == Mutation::kHardStateForgotten || mutation == Mutation::kVoteForgotten ||
                        mutation == Mutation::kTermForgotten;
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
    engine::HardState state = old.recovery().hard_state;
    if (mutation == Mutation::kVoteForgotten) {
        state.voted_for.clear();
    } else if (mutation == Mutation::kTermForgotten) {
        state.term = Term{state.term.value - std::min<std::uint64_t>(state.term.value, 1 + world_.random.below(3))};
        state.voted_for.clear();
    }
    if (mutation != Mutation::kHardStateForgotten) {
        static_cast<void>(made->set_hard_state(state));
    }
    static_cast<void>(made->sync());
    engine::crash_memory_log(*made);
    memory_log_ = std::move(made);
}

}  // namespace nornic::sim
