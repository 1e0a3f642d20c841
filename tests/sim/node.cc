#include "tests/sim/node.h"

#include "base/check.h"
#include "modes/standalone/standalone.h"
#include "tests/sim/checker.h"
#include "tests/sim/engine_seam.h"
#include "tests/sim/network.h"
#include "tests/sim/raft_checker.h"
#include "tests/sim/regions.h"

#include <algorithm>
#include <utility>

namespace nornic::sim {

using modes::Committed;

namespace {

constexpr std::uint64_t kMissedTicksMax = 4;  // more is a pause

/// From the inside of a run of words, so that lines of one kind share a mark: names, numbers and reasons vary.
std::string kind_of(const std::string& event) {
    std::string out;
    std::size_t words = 0;
    for (std::size_t at = 0; at < event.size() && words < 5;) {
        const std::size_t end = std::min(event.find(' ', at), event.size());
        const std::string_view word{event.data() + at, end - at};
        const bool varies = word.find_first_of("'0123456789") != std::string_view::npos;
        out += (out.empty() ? "" : " ") + std::string{varies ? "…" : word};
        ++words;
        at = end + 1;
    }
    return out;
}

class WatchedStrategy final : public modes::Strategy {
public:
    WatchedStrategy(World& world, std::string id, std::unique_ptr<Strategy> inner)
        : world_{world}, id_{std::move(id)}, inner_{std::move(inner)} {}

    std::string_view name() const noexcept override { return inner_->name(); }
    void now(std::uint64_t hybrid_time) override { inner_->now(hybrid_time); }
    std::uint64_t latest_time() const override { return inner_->latest_time(); }
    void tick() override { inner_->tick(); }
    void paused(std::uint64_t ticks) override { inner_->paused(ticks); }
    void peer_up(const transport::PeerInfo& peer) override { inner_->peer_up(peer); }
    void peer_down(const NodeName& peer, transport::LostReason reason) override { inner_->peer_down(peer, reason); }
    void step(const NodeName& from, const ClusterMessage& message) override { inner_->step(from, message); }
    Result<> propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) override {
        return inner_->propose(id, std::move(write_set), hybrid_time);
    }
    Result<> read(ReadId id, modes::ReadConsistency level) override {
        const bool leads = inner_->write_term().value != 0;
        if (world_.faults && world_.menu.raft.on &&
            (world_.menu.mutation == Mutation::kReadLocal ||
             (world_.menu.mutation == Mutation::kReadUnconfirmed && leads))) {
            answered_.push_back({id, inner_->view().commit_index});
            return success();
        }
        return inner_->read(id, level);
    }
    Result<> command(std::uint64_t id, const modes::Command& command) override { return inner_->command(id, command); }
    std::vector<modes::CommandAnswer> take_answers() override { return inner_->take_answers(); }
    void leave() override { inner_->leave(); }
    bool left() const override { return inner_->left(); }
    std::vector<modes::Outbound> take_messages() override { return inner_->take_messages(); }
    modes::Ready take_ready() override {
        modes::Ready ready = inner_->take_ready();
        std::vector<std::string> said = ready.events;
        said.insert(said.end(), ready.errors.begin(), ready.errors.end());
        for (const std::string& event : said) {
            world_.trace("{} says: {}", id_, event);
            world_.mark("says: " + kind_of(event));
            // Who gives it may have a disk that hangs, and say so later than it gives.
            if (world_.regions != nullptr && (event.find("gets the state as of") != std::string::npos ||
                                              event.find("state is asked for and merged") != std::string::npos)) {
                world_.regions->seeded = true;
            }
            if (event.find("differs from that of") != std::string::npos || event.starts_with("The members' data differs")) {
                world_.violate(fmt::format("{} finds that members' data differs: {}", id_, event));
            }
        }
        for (const modes::LeaderChange& change : ready.leader_changes) {
            if (change.to == id_) {
                world_.checker->leads(change.term);
            }
        }
        mutate_reads(ready);
        if (world_.raft_checker) {
            for (const modes::Entry& entry : ready.entries) {
                world_.raft_checker->about_to_log(entry);
            }
        }
        if (Node& node = *world_.find(id_); world_.raft_checker && node.witness() && inner_->view().is_leader()) {
            // It applies nothing, and decides all the same.
            world_.raft_checker->decided(node,
                                         std::min(inner_->view().commit_index, LogIndex{node.disk().lineage.size() - 1}));
        }
        if (world_.regions != nullptr && !world_.find(id_)->witness() && !ready.rewind_to && !ready.reset_log) {
            // What it has not applied yet, since no other region has it, is decided all the same.
            Node& node = *world_.find(id_);
            const LogIndex held{ready.entries.empty() ? node.disk().lineage.size() - 1 : ready.entries.front().index.value - 1};
            world_.raft_checker->decided(node, std::min(inner_->committed(), held));
        }
        if (ready.committed > committed_) {
            committed_ = ready.committed;
            if (Node& node = *world_.find(id_); world_.raft_checker && !node.standalone() && world_.regions == nullptr) {
                world_.raft_checker->decided(node, committed_);
            }
            if (const Term term = inner_->write_term(); term.value != 0) {
                world_.checker->committed(*world_.find(id_), term, ready.committed);
            }
        }
        if (ready.rewind_to) {
            committed_ = std::min(committed_, *ready.rewind_to);
            world_.trace("{} gives up its log beyond {}", id_, ready.rewind_to->value);
        }
        return ready;
    }
    void persisted(LogIndex last) override { inner_->persisted(last); }
    void not_persisted(LogIndex first) override { inner_->not_persisted(first); }
    void applied(LogIndex last) override { inner_->applied(last); }
    void state_digest(LogIndex index, const Result<std::uint64_t>& digest) override {
        world_.mark(digest ? "digest: made" : "digest: not made");
        inner_->state_digest(index, digest);
    }
    bool serves() const override { return inner_->serves(); }
    void rewound(LogIndex last, bool taken_back) override {
        world_.mark(taken_back ? "rewound: taken back" : "rewound: needs a snapshot");
        inner_->rewound(last, taken_back);
    }
    bool accepts_snapshot(const NodeName& from,
                          Term term,
                          LogIndex index,
                          std::string_view history,
                          std::string& reason) override {
        return inner_->accepts_snapshot(from, term, index, history, reason);
    }
    void log_reset() override { inner_->log_reset(); }
    void snapshot_installed(const modes::InstalledSnapshot& installed) override { inner_->snapshot_installed(installed); }
    void snapshot_sent(const NodeName& to, std::optional<LogIndex> index) override {
        world_.mark(index ? "snapshot: sent" : "snapshot: failed");
        inner_->snapshot_sent(to, index);
    }
    void disk_stalled(bool stalled) override {
        world_.mark(stalled ? "disk: stalled" : "disk: answers again");
        inner_->disk_stalled(stalled);
    }
    std::optional<LogIndex> wanted_from() const override { return inner_->wanted_from(); }
    Term write_term() const override { return inner_->write_term(); }
    LogIndex committed() const override { return inner_->committed(); }
    modes::ClusterView view() const override { return inner_->view(); }

private:
    void mutate_reads(modes::Ready& ready) {
        ready.reads.insert(ready.reads.end(), answered_.begin(), answered_.end());
        answered_.clear();
    }

    World& world_;
    const std::string id_;
    const std::unique_ptr<Strategy> inner_;
    LogIndex committed_;
    std::vector<modes::ReadPoint> answered_;  // by a mutation
};

}  // namespace

std::unique_ptr<modes::Strategy> watch_strategy(World& world, std::string id, std::unique_ptr<modes::Strategy> inner) {
    return std::make_unique<WatchedStrategy>(world, std::move(id), std::move(inner));
}

Node::Node(World& world, std::size_t number, std::string id, bool witness)
    : world_{world},
      number_{number},
      id_{std::move(id)},
      witness_{witness},
      seed_{world.random.next() | 1},
      clock_{world.scheduler},
      disk_{world, *this} {}

Node::~Node() {
    end();
}

void Node::end() {
    if (life_ && !life_->dead) {
        life_->dead = true;
        leave_network(false);
        lose_attempts();
    }
    disk_.resume_sync();
    for (const auto& attempt : attempts_) {
        attempt->transaction.reset();
    }
    attempts_.clear();
    deferred_.clear();
    replica_.reset();
    engine_.reset();
    bus_.reset();
    log_.reset();
}

// ---- Life and death ----

void Node::leave_network(bool power_lost) {
    world_.network->died(number_, power_lost);
    if (world_.regions != nullptr) {
        world_.regions->between->died(world_.regions->number_of(*this), power_lost);
    }
}

bool Node::standalone() const {
    return world_.menu.standalone || standalone_first;
}

std::unique_ptr<modes::Strategy> Node::make_strategy(const modes::StrategyStart& start) {
    if (standalone()) {
        return modes::make_standalone(start);
    }
    if (world_.menu.regions.on && !group_first) {
        return modes::make_multi_region(
            start, region, [this](const modes::StrategyStart& local) { return modes::make_raft(local, raft); });
    }
    if (world_.menu.raft.on) {
        return modes::make_raft(start, raft);
    }
    if (witness_) {
        return modes::make_hot_standby_witness(start, {world_.menu.standby.failover_ticks});
    }
    modes::HotStandbySettings settings = world_.menu.standby;
    settings.configured_primary = configured_primary;
    return modes::make_hot_standby(start, settings);
}

void Node::start() {
    if (life_ && !life_->dead) {
        return;
    }
    retired_ = false;
    life_ = std::make_shared<Life>(Life{false, life_ ? life_->number + 1 : 1});
    started_ = stopping_ = paused_ = just_resumed_ = false;
    missed_ticks_ = 0;
    disk_work_ = 0;
    world_.trace("{} starts{}", id_, configured_primary ? " as primary" : "");
    auto log = disk_.open_log();
    if (!log) {
        world_.violate(fmt::format("the log of {} does not open: {}", id_, log.error().message()));
        return;
    }
    log_ = std::move(log).value();
    if (!witness_) {
        engine::Settings settings;
        settings.background = false;
        settings.seed = seed_ + 2 * life_->number;  // a machine draws anew each time
        settings.lock_timeout = Duration{1};
        settings.cache_bytes_max = std::size_t{16} << 20;
        auto opened = engine::open_engine_host(watch_home(*this, disk_.home()), settings, clock_);
        if (life_->dead) {
            return;
        }
        if (!opened) {
            world_.violate(fmt::format("the store of {} does not open: {}", id_, opened.error().message()));
            return;
        }
        engine_ = watch_engine(*this, std::move(opened).value());
    }
    transport::PeerInfo self;
    self.id = id_;
    self.mode = standalone() ? "standalone" : world_.menu.mode();
    self.cluster_address = world_.address_of(id_);
    self.region = world_.regions == nullptr || group_first ? std::string{} : region.region;
    self.bolt_address = id_ + ":7687";
    self.http_address = id_ + ":7474";
    self.witness = witness_;
    if (!standalone()) {
        bus_ = world_.network->make_bus(number_, self);
        if (world_.regions != nullptr && !group_first) {
            world_.regions->between->join(*bus_, world_.regions->number_of(*this));
        }
    }

    modes::ReplicaParts parts;
    parts.start.self = id_;
    parts.start.cluster_id = world_.regions == nullptr ? std::string{"sim"} : "group of " + region.region;
    parts.start.cluster_address = self.cluster_address;
    parts.start.bolt_address = self.bolt_address;
    parts.start.http_address = self.http_address;
    parts.start.seed = world_.random.next();
    parts.start.inflight_max = world_.menu.inflight_max;
    parts.start.inflight_bytes_max = world_.menu.inflight_bytes_max;
    parts.engine = engine_.get();
    parts.log = log_.get();
    parts.bus = bus_.get();
    parts.clock = &clock_;
    parts.make_strategy = [this](const modes::StrategyStart& start) {
        auto made = watch_strategy(world_, id_, make_strategy(start));
        strategy_ = made.get();
        return made;
    };
    modes::ReplicaSettings settings;
    settings.own_threads = false;
    settings.tick_interval = world_.menu.tick;
    settings.sync_warn_after = world_.menu.failover_timeout() / 3;
    settings.log_retention_bytes = world_.menu.log_retention_bytes;
    settings.snapshot_chunk_bytes = world_.menu.snapshot_chunk_bytes;
    settings.snapshot_window_chunks = world_.menu.snapshot_window_chunks;
    settings.snapshot_bytes_per_second = world_.menu.snapshot_bytes_per_second;
    settings.snapshot_keep = world_.menu.failover_timeout() * 4;
    settings.diverged_sink = [this](const std::string& name, const std::string& text) {
        world_.checker->diverged(*this, name, text);
    };
    settings.post = [this](Action work) { later(world_.between(Duration::zero(), kMicrosecond * 50), std::move(work)); };
    settings.run_snapshot = [this](Action work) {
        later(world_.between(Duration::zero(), kMillisecond), std::move(work));
    };
    settings.run_disk = [this](Action work) {
        ++disk_work_;
        later(world_.between(Duration::zero(), kMicrosecond * 100), [this, work = std::move(work)] {
            world_.fibers.run([this, work, life = life_] {
                disk_fiber_ = world_.fibers.current();
                work();
                if (!life->dead) {
                    --disk_work_;
                }
            });
        });
    };
    replica_ = modes::make_replica(std::move(parts), settings);
    const auto life = life_;
    const Result<> started = replica_->start();
    if (life->dead) {
        return;  // it died in the middle of it and is about to be buried
    }
    if (!started) {
        if (started.error().message().find("the simulated disk") == std::string::npos) {
            world_.violate(fmt::format("{} does not start: {}", id_, started.error().message()));
            return;
        }
        crash(world_.random.one_in(2), world_.between(kMillisecond, world_.menu.failover_timeout() * 2));
        return;
    }
    started_ = true;
    schedule_tick();
}

void Node::retire() {
    crash(false, Duration::zero());
    retired_ = true;
}

void Node::crash(bool power_lost, Duration away) {
    if (!life_ || life_->dead) {
        return;
    }
    world_.trace("{} {}", id_, power_lost ? "loses its power" : "is killed");
    life_->dead = true;
    started_ = false;
    leave_network(power_lost);
    lose_attempts();
    world_.scheduler.after(Duration::zero(), [this, away, power_lost] { bury(away, power_lost); });
}

/// Not within a call of the process that died.
void Node::bury(Duration away, bool power_lost) {
    disk_.resume_sync();
    for (const auto& attempt : attempts_) {
        attempt->transaction.reset();
    }
    replica_.reset();
    strategy_ = nullptr;
    engine_.reset();
    bus_.reset();
    if (orderly_) {
        log_.reset();
    }
    // A log that is closed writes and syncs; that of a process that died no longer can.
    disk_.crash(power_lost);
    log_.reset();
    attempts_.clear();
    deferred_.clear();
    paused_ = orderly_ = false;
    world_.scheduler.after(away, [this] {
        if (!retired_) {
            start();
        }
    });
}

bool Node::seam(std::string_view call) {
    if (life_->dead) {
        return false;
    }
    if (world_.chance(world_.menu.seam_crash_per_million)) {
        world_.mark(fmt::format("crash: at {}", call));
        world_.trace("{} dies at {}", id_, call);
        crash(world_.random.one_in(2), world_.between(kMillisecond, world_.menu.failover_timeout() * 2));
        return false;
    }
    return true;
}

void Node::pause(Duration how_long) {
    if (!running()) {
        return;
    }
    world_.trace("{} is paused for {} ms", id_, how_long.count() / 1'000'000);
    paused_ = true;
    const std::uint64_t pause = ++pauses_;
    world_.scheduler.after(how_long, [this, pause, life = life_] {
        if (!life->dead && paused_ && pauses_ == pause) {
            heal();
        }
    });
}

void Node::heal() {
    if (!world_.faults) {
        disk_.full = disk_.hangs = disk_.fails_next = false;
        clock_.set_rate(1.0);
    }
    if (paused_) {
        world_.trace("{} goes on", id_);
        paused_ = false;
        just_resumed_ = true;
        if (missed_ticks_ > kMissedTicksMax) {
            missed_ticks_ = 0;  // the driver finds out by its clock
        }
        std::vector<Action> deferred = std::exchange(deferred_, {});
        const auto life = life_;
        for (Action& action : deferred) {
            if (life->dead) {
                return;
            }
            action();
        }
    }
    if (disk_.in_sync() && !disk_.hangs) {
        later(kMillisecond, [this] {
            if (!disk_.hangs) {
                disk_.resume_sync();
            }
        });
    }
}

void Node::when_running(Action action) {
    if (paused_ && life_ && !life_->dead) {
        deferred_.push_back(std::move(action));
        return;
    }
    action();
}

void Node::later(Duration delay, Action action) {
    world_.scheduler.after(delay, [this, life = life_, action = std::move(action)] {
        if (life->dead) {
            return;
        }
        when_running([life, action] {
            if (!life->dead) {
                action();
            }
        });
    });
}

// ---- Time ----

void Node::schedule_tick() {
    world_.scheduler.after(clock_.in_world(world_.menu.tick), [this, life = life_] {
        if (life->dead) {
            return;
        }
        schedule_tick();
        tick();
    });
}

void Node::tick() {
    ++missed_ticks_;
    if (paused_) {
        return;
    }
    just_resumed_ = false;
    const auto life = life_;
    // The driver makes up for one, and tells of more by its clock.
    for (std::uint64_t ticks = std::min<std::uint64_t>(std::exchange(missed_ticks_, 0), 2); ticks > 0 && !life->dead; --ticks) {
        replica_->tick();
    }
    if (life->dead || stopping_) {
        return;
    }
    if (const auto failure = replica_->failure()) {
        if (failure->message().find("the simulated disk") == std::string::npos) {
            world_.violate(fmt::format("{} failed for good: {}", id_, failure->message()));
        }
        crash(world_.random.one_in(2), world_.between(kMillisecond, world_.menu.failover_timeout() * 2));
    }
}

// ---- An orderly stop ----

void Node::stop_in_order(Duration away) {
    if (!running() || stopping_) {
        return;
    }
    world_.trace("{} is to stop", id_);
    world_.mark("stop: in order");
    stopping_ = true;
    replica_->leave(kNoDeadline);
    watch_stop(away, world_.scheduler.now() + world_.menu.failover_timeout());
}

void Node::watch_stop(Duration away, Duration deadline) {
    later(kMillisecond * 5, [this, away, deadline] {
        const bool late = world_.scheduler.now() >= deadline;
        if (!late && (!strategy_->left() || disk_work_ != 0)) {
            watch_stop(away, deadline);
            return;
        }
        if (disk_work_ != 0 || replica_->failure()) {
            crash(false, away);
            return;
        }
        world_.mark(late ? "stop: without a successor" : "stop: handed over or nothing to hand over");
        replica_->stop();
        // What was handed to other threads still runs.
        later(kMillisecond, [this, away] {
            if (engine_ && world_.random.one_in(2)) {
                static_cast<void>(engine_->checkpoint());
            }
            for (const auto& attempt : attempts_) {
                if (attempt->proposed && attempt->completions != 1) {
                    world_.violate(
                        fmt::format("a commit's completion on {} was called {} times", id_, attempt->completions));
                }
            }
            lose_attempts();
            life_->dead = orderly_ = true;
            started_ = false;
            world_.trace("{} has stopped", id_);
            world_.scheduler.after(Duration::zero(), [this, away] { bury(away, false); });
        });
    });
}

// ---- Clients ----

void Node::transact(Duration think, const Body& body, std::function<void(const Answer&)> done) {
    const auto refuse = [&](std::string why) { done({Outcome::kRefused, {}, std::move(why)}); };
    if (!accepting() || witness_) {
        return refuse("not there");
    }
    const Term term = replica_->term();
    if (term.value == 0) {
        return refuse("not the primary");
    }
    auto transaction = engine_->begin({});
    if (!transaction) {
        return refuse(transaction.error().message());
    }
    const auto changed = body(*transaction.value());
    if (!changed || !changed.value()) {
        transaction.value()->finish();
        return refuse(changed ? "given up" : changed.error().message());
    }
    auto attempt = std::make_shared<Attempt>();
    attempt->life = life_;
    attempt->transaction = std::move(transaction).value();
    attempt->began = term;
    attempt->done = std::move(done);
    attempts_.push_back(attempt);
    if (attempts_.size() > 256) {
        std::erase_if(attempts_, [](const auto& old) { return old->answered && old->completions > 0; });
    }
    later(think, [this, attempt] {
        if (attempt->answered) {
            return;
        }
        auto write_set = attempt->transaction->prepare();
        if (!write_set) {
            attempt->transaction->finish();
            attempt->transaction.reset();
            attempt->answered = true;
            attempt->completions = 1;
            attempt->done({Outcome::kRefused, {}, write_set.error().message()});
            return;
        }
        attempt->proposed = true;
        attempt->payload = world_.checker->proposed(write_set.value());
        // The transaction of one that is unknown stays with the replica until the outcome is known here.
        replica_->commit(std::move(write_set).value(),
                         attempt->began,
                         [this, attempt, kept = std::make_shared<std::unique_ptr<engine::Transaction>>()](Result<Committed> result) {
                             if (!result && result.error().code() == ErrorCode::kUnknownCommit) {
                                 *kept = std::move(attempt->transaction);
                             }
                             answer(attempt, std::move(result));
                         });
        if (world_.menu.mutation == Mutation::kEarlyAnswer && !attempt->answered && world_.faults) {
            attempt->answered = true;
            attempt->done({Outcome::kCommitted, {log_->last_index(), attempt->began}, {}});
        }
    });
}

void Node::answer(const std::shared_ptr<Attempt>& attempt, Result<Committed> result) {
    if (++attempt->completions > 1) {
        world_.violate(fmt::format("a commit's completion on {} was called {} times", id_, attempt->completions));
        return;
    }
    if (attempt->transaction) {
        attempt->transaction->finish();
        attempt->transaction.reset();
    }
    if (attempt->answered) {
        return;
    }
    attempt->answered = true;
    Answer answer;
    if (result) {
        answer.outcome = Outcome::kCommitted;
        answer.committed = result.value();
    } else {
        answer.outcome = result.error().code() == ErrorCode::kUnknownCommit ? Outcome::kUnknown : Outcome::kRefused;
        answer.error = result.error().message();
    }
    world_.checker->answered(attempt->payload, answer);
    attempt->done(answer);
}

/// Connections end with the process: what was not answered is unknown to its client, what was not offered is not written.
void Node::lose_attempts() {
    for (const auto& attempt : attempts_) {
        if (!attempt->answered) {
            attempt->answered = true;
            attempt->done({attempt->proposed ? Outcome::kUnknown : Outcome::kRefused, {}, "the connection ended"});
        }
    }
}

}  // namespace nornic::sim
