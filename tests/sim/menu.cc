#include "tests/sim/menu.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <utility>

namespace nornic::sim {
namespace {

constexpr std::array<std::pair<Mutation, std::string_view>, 43> kMutations{{
    {Mutation::kNone, "none"},
    {Mutation::kSyncLies, "sync_lies"},
    {Mutation::kHardStateForgotten, "hard_state_forgotten"},
    {Mutation::kEpochRewritten, "epoch_rewritten"},
    {Mutation::kForgedReceived, "forged_received"},
    {Mutation::kEntryTwice, "entry_twice"},
    {Mutation::kEntryDropped, "entry_dropped"},
    {Mutation::kTailLost, "tail_lost"},
    {Mutation::kSinkDrops, "sink_drops"},
    {Mutation::kAlwaysInSync, "always_in_sync"},
    {Mutation::kWitnessGrants, "witness_grants"},
    {Mutation::kFenceAccepted, "fence_accepted"},
    {Mutation::kEarlyAnswer, "early_answer"},
    {Mutation::kSnapshotHole, "snapshot_hole"},
    {Mutation::kApplySkipped, "apply_skipped"},
    {Mutation::kReadEarly, "read_early"},
    {Mutation::kVoteForgotten, "vote_forgotten"},
    {Mutation::kTermForgotten, "term_forgotten"},
    {Mutation::kVoteGranted, "vote_granted"},
    {Mutation::kPreVoteCounts, "pre_vote_counts"},
    {Mutation::kLogCheckIgnored, "log_check_ignored"},
    {Mutation::kPrevCheckIgnored, "prev_check_ignored"},
    {Mutation::kMatchForged, "match_forged"},
    {Mutation::kAckBeforePersist, "ack_before_persist"},
    {Mutation::kCommitRaised, "commit_raised"},
    {Mutation::kEntryTermChanged, "entry_term_changed"},
    {Mutation::kTermRewritten, "term_rewritten"},
    {Mutation::kRoundForged, "round_forged"},
    {Mutation::kReadLocal, "read_local"},
    {Mutation::kReadUnconfirmed, "read_unconfirmed"},
    {Mutation::kConfigurationLost, "configuration_lost"},
    {Mutation::kConfigurationAltered, "configuration_altered"},
    {Mutation::kLearnerCounted, "learner_counted"},
    {Mutation::kRemovedVotes, "removed_votes"},
    {Mutation::kDirectoryForged, "directory_forged"},
    {Mutation::kSnapshotAhead, "snapshot_ahead"},
    {Mutation::kTransferForged, "transfer_forged"},
    {Mutation::kTimeoutNowForged, "timeout_now_forged"},
    {Mutation::kRegionWriteDropped, "region_write_dropped"},
    {Mutation::kRegionTimeChanged, "region_time_changed"},
    {Mutation::kRegionCursorRaised, "region_cursor_raised"},
    {Mutation::kRegionFrontierRaised, "region_frontier_raised"},
    {Mutation::kRegionSeenRaised, "region_seen_raised"},
}};

/// After everything else was drawn, so that the other modes' seeds stay what they are.
void draw_raft(Menu& menu, Random& random, const std::function<Duration(std::uint64_t, std::uint64_t)>& rate) {
    const auto below = [&](std::uint64_t bound) { return random.below(bound); };
    const auto one_in = [&](std::uint64_t n) { return random.one_in(n); };
    auto& ha = menu.standby;
    ha.sync_mode = modes::SyncMode::kSync;
    ha.fence_policy = modes::FencePolicy::kStrict;
    menu.role_switch = false;
    menu.forced = Duration::zero();

    RaftMenu& raft = menu.raft;
    raft.on = true;
    raft.voters = std::array<std::size_t, 12>{1, 2, 3, 3, 3, 3, 3, 4, 5, 5, 6, 7}[below(12)];
    raft.learners = one_in(3) ? 1 + below(2) : 0;
    menu.witness = raft.voters >= 3 && one_in(4);
    raft.forming = std::array{RaftMenu::Forming::kTogether, RaftMenu::Forming::kTogether, RaftMenu::Forming::kJoin,
                              RaftMenu::Forming::kAdded}[below(4)];
    raft.bootstrappers = one_in(4) ? 1 + below(raft.voters) : 1;
    raft.peers_by_address = one_in(4);
    raft.begins_standalone = raft.forming != RaftMenu::Forming::kTogether && one_in(2);
    raft.churn = rate(500, 3000);
    raft.spares = raft.churn.count() != 0 ? 1 + below(3) : 0;
    raft.old_disks = one_in(2);
    raft.wrong_addresses = one_in(3);
    raft.priorities = one_in(4);
    raft.refuses_to_lead = raft.churn.count() == 0 && raft.voters >= 3 && !menu.witness && one_in(6);
    if (raft.forming == RaftMenu::Forming::kTogether && raft.churn.count() == 0 && raft.voters == 1) {
        raft.bootstrappers = 1;
    }

    modes::RaftSettings& settings = raft.settings;
    settings.election_ticks = ha.failover_ticks;
    settings.heartbeat_ticks = ha.heartbeat_ticks;
    settings.witness_may_lead = one_in(2);
    settings.leave_on_stop = one_in(8);
    settings.append_entries_max = one_in(3) ? 1 + below(4) : 64;
    settings.append_bytes_max = one_in(4) ? 64 + below(2048) : std::size_t{512} << 10;
    settings.window_messages = one_in(3) ? 1 + below(3) : 64;
    settings.window_bytes = one_in(4) ? 64 + below(4096) : std::size_t{8} << 20;
    settings.tail_bytes_max = ha.tail_bytes_max;
    settings.promote_within = one_in(2) ? below(4) : 64;
    settings.snapshot_interval_ticks = 10 + below(300);
    settings.snapshot_threshold = one_in(2) ? 1 + below(100) : 10'000;
    settings.trailing_logs = one_in(2) ? below(50) : 10'000;
    settings.digest_interval_ticks = menu.seed % 4 == 0 && menu.mutation == Mutation::kNone ? 0 : 20 + menu.seed % 200;
    settings.tick_ms = 10;
}

}  // namespace

std::string_view to_string(Mutation mutation) {
    for (const auto& [value, name] : kMutations) {
        if (value == mutation) {
            return name;
        }
    }
    return "?";
}

bool parse_mutation(std::string_view name, Mutation& out) {
    for (const auto& [value, text] : kMutations) {
        if (text == name) {
            out = value;
            return true;
        }
    }
    return false;
}

Menu draw_menu(std::uint64_t seed, Mutation mutation, std::string_view mode) {
    Random random{seed * 0x9E3779B97F4A7C15ULL + 1};
    Menu menu;
    menu.seed = seed;
    menu.mutation = mutation;
    const auto below = [&](std::uint64_t bound) { return random.below(bound); };
    const auto one_in = [&](std::uint64_t n) { return random.one_in(n); };
    const auto ms = [](std::uint64_t n) { return Duration{std::chrono::milliseconds{n}}; };

    auto& ha = menu.standby;
    ha.sync_mode = std::array{modes::SyncMode::kAsync, modes::SyncMode::kSemiSync, modes::SyncMode::kSemiSync,
                              modes::SyncMode::kSync}[below(4)];
    ha.fence_policy = std::array{modes::FencePolicy::kAvailable, modes::FencePolicy::kWitness,
                                 modes::FencePolicy::kStrict}[below(3)];
    menu.witness = ha.fence_policy == modes::FencePolicy::kWitness;
    ha.has_witness = menu.witness;
    ha.auto_failover = !one_in(12);
    ha.heartbeat_ticks = static_cast<std::uint32_t>(2 + below(6));
    ha.failover_ticks = ha.heartbeat_ticks * static_cast<std::uint32_t>(5 + below(12));
    ha.degrade_ticks = std::max<std::uint32_t>(3, ha.failover_ticks / static_cast<std::uint32_t>(2 + below(3)));
    ha.batch_entries_max = one_in(3) ? 1 + below(4) : 1000;
    ha.window_batches = one_in(3) ? 1 + below(3) : 16;
    ha.tail_bytes_max = one_in(3) ? 1024 + below(8192) : std::size_t{32} << 20;
    ha.unpersisted_bytes_max = 2 * ha.tail_bytes_max;
    menu.faults_for = ms(3000 + below(6000));

    menu.latency_max = std::array{kMillisecond, kMillisecond, kMillisecond * 5, kMillisecond * 20}[below(4)];
    menu.keep_alive = menu.failover_timeout() / static_cast<Duration::rep>(1 + below(4));
    menu.dial_max = menu.failover_timeout() / static_cast<Duration::rep>(2 + below(6));
    menu.segmented_log = one_in(3);
    menu.sync_max = std::array{kMicrosecond * 300, kMillisecond * 2, kMillisecond * 2, kMillisecond * 15}[below(4)];
    if (one_in(3)) {
        (void)below(8);  // of a setting that is gone; without it seeds would be other ones
    }
    menu.snapshot_chunk_bytes = std::size_t{256} << below(8);

    // Faults: about a third of them in most seeds, now and then none, now and then nearly all.
    const std::uint64_t odds = std::array<std::uint64_t, 6>{3, 3, 3, 2, 5, 1000}[below(6)];
    const auto rate = [&](std::uint64_t least, std::uint64_t most) {
        const bool on = one_in(odds);
        const Duration mean = ms(least + below(most - least));
        return on ? mean : Duration::zero();
    };
    menu.crash = rate(500, 4000);
    menu.power_loss = rate(800, 5000);
    menu.both_die = rate(2000, 8000);
    menu.pause = rate(800, 4000);
    menu.partition = rate(800, 5000);
    menu.one_way = rate(800, 5000);
    menu.reset = rate(300, 3000);
    menu.lane_reset = rate(200, 2000);
    menu.disk_full = rate(1000, 5000);
    menu.disk_hang = rate(1500, 5000);
    menu.sync_fails = rate(2000, 6000);
    menu.clean_stop = rate(1500, 6000);
    menu.switch_over = rate(1000, 5000);
    menu.forced = one_in(3) ? rate(1500, 6000) : Duration::zero();
    menu.checkpoint = rate(100, 1500);
    if (menu.checkpoint.count() != 0 && one_in(2)) {
        menu.log_retention_bytes = below(4096);
    }
    menu.role_switch = one_in(4);
    menu.loss_per_million = one_in(odds + 1) ? static_cast<std::uint32_t>(below(30'000)) : 0;
    menu.duplicate_per_million = one_in(odds + 1) ? static_cast<std::uint32_t>(below(50'000)) : 0;
    menu.late_duplicates = one_in(2);
    menu.spike_per_million = one_in(odds + 1) ? static_cast<std::uint32_t>(below(10'000)) : 0;
    menu.sync_slow_per_million = one_in(odds + 1) ? static_cast<std::uint32_t>(below(50'000)) : 0;
    menu.seam_crash_per_million = one_in(odds) ? static_cast<std::uint32_t>(below(2'000)) : 0;
    menu.skew = one_in(3) ? 0.04 * random.unit() : 0;
    menu.rot_per_million = menu.segmented_log && one_in(odds) ? static_cast<std::uint32_t>(below(500'000)) : 0;
    menu.queue_bytes_max = one_in(6) ? 512 + below(16'384) : std::size_t{64} << 20;
    menu.inflight_max = one_in(4) ? 1 + below(6) : 4096;
    menu.inflight_bytes_max = one_in(6) ? 64 + below(2048) : std::size_t{256} << 20;
    menu.snapshot_window_chunks = one_in(3) ? 1 + below(3) : 8;
    menu.snapshot_bytes_per_second = one_in(6) ? 65'536 + below(1'000'000) : std::uint64_t{64} << 20;
    menu.wipe = one_in(2) ? rate(1500, 6000) : Duration::zero();

    menu.clients = 1 + below(5);
    menu.think_max = std::array{kMillisecond * 2, kMillisecond * 20, kMillisecond * 60}[below(3)];
    menu.workload.clear();
    for (const std::string_view name : {"set", "counter", "bank", "ring", "register", "causal"}) {
        if (one_in(4)) {
            menu.workload += (menu.workload.empty() ? "" : "+") + std::string{name};
        }
    }
    if (menu.workload.empty()) {
        menu.workload = std::array<std::string, 3>{"set", "counter", "causal"}[below(3)];
    }

    if (mode == "standalone") {
        menu.standalone = true;
        menu.witness = ha.has_witness = menu.role_switch = false;
        ha.sync_mode = modes::SyncMode::kSync;
        ha.fence_policy = modes::FencePolicy::kStrict;
        menu.both_die = menu.partition = menu.one_way = menu.reset = menu.lane_reset = Duration::zero();
        menu.switch_over = menu.forced = menu.wipe = Duration::zero();
        menu.loss_per_million = menu.duplicate_per_million = menu.spike_per_million = 0;
        if (menu.crash.count() == 0 && menu.power_loss.count() == 0 && menu.seam_crash_per_million == 0) {
            menu.power_loss = ms(500 + below(2000));
        }
    }

    if (mode == "raft") {
        draw_raft(menu, random, rate);
    }

    // A mutation is met where it can do harm.
    switch (mutation) {
        case Mutation::kVoteForgotten:
            // Two that ask in one term, and a voter that dies between them.
            menu.crash = ms(150);
            menu.latency_max = kMillisecond * 20;
            menu.raft.voters = std::max<std::size_t>(menu.raft.voters, 3);
            menu.raft.forming = RaftMenu::Forming::kTogether;
            menu.raft.begins_standalone = false;
            menu.segmented_log = false;
            break;
        case Mutation::kRoundForged:
        case Mutation::kReadUnconfirmed:
            // A leader that was away goes on while another leads that it does not hear.
            menu.pause = ms(300);
            menu.partition = ms(300);
            menu.workload = "register";
            menu.raft.voters = std::max<std::size_t>(menu.raft.voters, 3);
            menu.raft.forming = RaftMenu::Forming::kTogether;
            menu.raft.begins_standalone = false;
            break;
        case Mutation::kTermForgotten:
        case Mutation::kAckBeforePersist:
        case Mutation::kSyncLies:
        case Mutation::kTailLost:
        case Mutation::kHardStateForgotten:
            menu.segmented_log = false;
            menu.power_loss = menu.power_loss.count() == 0 ? ms(1500) : menu.power_loss;
            break;
        case Mutation::kDirectoryForged:
            menu.wipe = menu.wipe.count() == 0 ? ms(1000) : menu.wipe;
            break;
        case Mutation::kRemovedVotes:
        case Mutation::kConfigurationLost:
        case Mutation::kConfigurationAltered:
            menu.raft.churn = menu.raft.churn.count() == 0 ? ms(500) : menu.raft.churn;
            menu.raft.spares = std::max<std::size_t>(menu.raft.spares, 1);
            menu.raft.refuses_to_lead = false;
            break;
        case Mutation::kLearnerCounted:
            menu.raft.learners = std::max<std::size_t>(menu.raft.learners, 1);
            break;
        default:
            break;
    }
    return menu;
}

std::vector<Menu> draw_regions(std::uint64_t seed, Mutation mutation) {
    Random random{seed * 0xD1B54A32D192ED03ULL + 7};
    const auto below = [&](std::uint64_t bound) { return random.below(bound); };
    const auto one_in = [&](std::uint64_t n) { return random.one_in(n); };
    const auto ms = [](std::uint64_t n) { return Duration{std::chrono::milliseconds{n}}; };
    const auto rate = [&](std::uint64_t odds, std::uint64_t least, std::uint64_t most) {
        const Duration mean = ms(least + below(most - least));
        return one_in(odds) ? mean : Duration::zero();
    };
    RegionsMenu between;
    between.on = true;
    between.regions = one_in(3) ? 3 : 2;
    between.cut = rate(2, 300, 3000);
    between.long_cut = rate(3, 1500, 4000);
    between.promote = rate(3, 500, 3000);
    between.skew_max = std::array{Duration::zero(), ms(300), ms(300), ms(5000)}[below(4)];
    modes::MultiRegionSettings& settings = between.settings;
    settings.semi_sync = one_in(4);
    settings.semi_sync_ticks = static_cast<std::uint32_t>(5 + below(50));
    settings.refuse_degraded = one_in(4);
    settings.manual = one_in(4);
    settings.status_ticks = static_cast<std::uint32_t>(2 + below(20));
    settings.silent_ticks = std::max<std::uint32_t>(settings.status_ticks * static_cast<std::uint32_t>(4 + below(12)), 50);  // more than two long ways
    settings.form_ticks = static_cast<std::uint32_t>(10 + below(100));
    settings.watermark_ticks = static_cast<std::uint32_t>(10 + below(100));
    settings.batch_entries_max = one_in(3) ? 1 + below(4) : 1024;
    settings.batch_bytes_max = one_in(4) ? 64 + below(2048) : std::size_t{512} << 10;
    settings.window_batches = one_in(3) ? 1 + below(3) : 8;
    if (settings.window_batches * settings.batch_entries_max < 4) {
        settings.window_batches = 4;  // one entry on a long way there and back takes longer than anybody waits for a long log
    }
    settings.retry_ticks = static_cast<std::uint32_t>(20 + below(150));
    settings.primary_only = one_in(6);
    between.late = one_in(5);
    between.old_data = one_in(5);
    between.drop = between.regions == 3 ? rate(4, 1500, 4000) : Duration::zero();
    const Duration faults_for = ms(4000 + below(5000));
    const bool quiet = one_in(4);  // nothing happens within the regions

    std::vector<Menu> out;
    for (std::size_t i = 0; i < between.regions; ++i) {
        Menu menu = draw_menu(seed * 8 + i, mutation, "raft");
        menu.seed = seed * 8 + i;
        menu.regions = between;
        menu.raft.voters = std::array<std::size_t, 4>{1, 2, 3, 3}[below(4)];
        menu.raft.learners = menu.raft.spares = 0;
        menu.raft.churn = menu.wipe = Duration::zero();
        menu.raft.forming = RaftMenu::Forming::kTogether;
        menu.raft.bootstrappers = 1;
        menu.raft.peers_by_address = menu.raft.begins_standalone = menu.raft.refuses_to_lead = menu.raft.wrong_addresses = false;
        menu.raft.settings.leave_on_stop = false;
        menu.witness = menu.raft.voters == 3 && one_in(4);
        menu.faults_for = faults_for;
        menu.workload = "regions";
        menu.clients = 1 + below(3);
        menu.think_max = std::max(menu.think_max, kMillisecond * 10);
        menu.skew = one_in(3) ? 0.02 * random.unit() : 0;
        menu.queue_bytes_max = std::max<std::size_t>(menu.queue_bytes_max, 4096);
        menu.inflight_max = std::max<std::size_t>(menu.inflight_max, 4);
        if (quiet) {
            menu.crash = menu.power_loss = menu.both_die = menu.pause = menu.partition = menu.one_way = Duration::zero();
            menu.reset = menu.lane_reset = menu.disk_full = menu.disk_hang = menu.sync_fails = menu.clean_stop = Duration::zero();
            menu.seam_crash_per_million = menu.loss_per_million = menu.spike_per_million = menu.rot_per_million = 0;
        }
        if (between.long_cut.count() != 0 && one_in(2)) {
            menu.checkpoint = ms(100 + below(500));
            menu.log_retention_bytes = below(4096);
        }
        out.push_back(menu);
    }
    return out;
}

std::string Menu::describe() const {
    const auto sync = standby.sync_mode == modes::SyncMode::kAsync      ? "async"
                      : standby.sync_mode == modes::SyncMode::kSemiSync ? "semi_sync"
                                                                        : "sync";
    const auto policy = standby.fence_policy == modes::FencePolicy::kAvailable ? "available"
                        : standby.fence_policy == modes::FencePolicy::kWitness ? "witness"
                                                                               : "strict";
    std::string out = standalone ? std::string{"standalone: "} : std::string{};
    if (regions.on) {
        const auto& between = regions.settings;
        out += fmt::format("{} regions: {}{}{}{}{}{} skew<={}ms status={} silent={} form={} watermark={} batch={}/{} window={} retry={} cut={}ms "
                           "long_cut={}ms promote={}ms drop={}ms ",
                           regions.regions,
                           between.semi_sync ? "semi_sync" : "async",
                           between.refuse_degraded ? " refuse" : "",
                           between.manual ? " manual" : "",
                           between.primary_only ? " primary_only" : "",
                           regions.late ? " late" : "",
                           regions.old_data ? " old_data" : "",
                           regions.skew_max.count() / 1'000'000,
                           between.status_ticks,
                           between.silent_ticks,
                           between.form_ticks,
                           between.watermark_ticks,
                           between.batch_entries_max,
                           between.batch_bytes_max,
                           between.window_batches,
                           between.retry_ticks,
                           regions.cut.count() / 1'000'000,
                           regions.long_cut.count() / 1'000'000,
                           regions.promote.count() / 1'000'000,
                           regions.drop.count() / 1'000'000);
    }
    if (raft.on) {
        const auto& settings = raft.settings;
        out += fmt::format("raft: {} voters{}, {} learners, {} spares, forming={}{} bootstrap={}{} append={}/{} window={}/{} "
                           "promote_within={} interval={} threshold={} trailing={}{}{}{}{}{}{} ",
                           raft.voters,
                           witness ? " with a witness" : "",
                           raft.learners,
                           raft.spares,
                           raft.forming == RaftMenu::Forming::kTogether ? "together"
                           : raft.forming == RaftMenu::Forming::kJoin   ? "join"
                                                                        : "added",
                           raft.begins_standalone ? " from standalone" : "",
                           raft.bootstrappers,
                           raft.peers_by_address ? " by address" : "",
                           settings.append_entries_max,
                           settings.append_bytes_max,
                           settings.window_messages,
                           settings.window_bytes,
                           settings.promote_within,
                           settings.snapshot_interval_ticks,
                           settings.snapshot_threshold,
                           settings.trailing_logs,
                           settings.witness_may_lead ? " witness_may_lead" : "",
                           settings.leave_on_stop ? " leave_on_stop" : "",
                           raft.refuses_to_lead ? " one_refuses_to_lead" : "",
                           raft.priorities ? " priorities" : "",
                           raft.old_disks ? " old_disks" : "",
                           raft.wrong_addresses ? " wrong_addresses" : "");
    }
    out += fmt::format("{} {} workload={} log={} heartbeat={} failover={} degrade={} latency<={}us",
                                  sync,
                                  policy,
                                  workload,
                                  segmented_log ? "segmented" : "memory",
                                  standby.heartbeat_ticks,
                                  standby.failover_ticks,
                                  standby.degrade_ticks,
                                  latency_max.count() / 1000);
    const auto show = [&](std::string_view name, Duration mean) {
        if (mean.count() != 0) {
            out += fmt::format(" {}={}ms", name, mean.count() / 1'000'000);
        }
    };
    show("crash", crash);
    show("power_loss", power_loss);
    show("both_die", both_die);
    show("pause", pause);
    show("partition", partition);
    show("one_way", one_way);
    show("reset", reset);
    show("lane_reset", lane_reset);
    show("disk_full", disk_full);
    show("disk_hang", disk_hang);
    show("sync_fails", sync_fails);
    show("clean_stop", clean_stop);
    show("switch_over", switch_over);
    show("forced", forced);
    show("checkpoint", checkpoint);
    show("wipe", wipe);
    show("churn", raft.churn);
    const auto part = [&](std::string_view name, std::uint32_t per_million) {
        if (per_million != 0) {
            out += fmt::format(" {}={}ppm", name, per_million);
        }
    };
    part("loss", loss_per_million);
    part("duplicate", duplicate_per_million);
    part("spike", spike_per_million);
    part("slow_sync", sync_slow_per_million);
    part("seam_crash", seam_crash_per_million);
    part("rot", rot_per_million);
    if (log_retention_bytes < (std::uint64_t{1} << 30)) {
        out += fmt::format(" retention={}", log_retention_bytes);
    }
    if (queue_bytes_max < (std::size_t{64} << 20)) {
        out += fmt::format(" queue={}", queue_bytes_max);
    }
    if (snapshot_bytes_per_second < (std::uint64_t{64} << 20)) {
        out += fmt::format(" snapshot_rate={}", snapshot_bytes_per_second);
    }
    if (inflight_max < 4096 || inflight_bytes_max < (std::size_t{256} << 20)) {
        out += fmt::format(" inflight={}/{}", inflight_max, inflight_bytes_max);
    }
    if (!standby.auto_failover) {
        out += " no_auto_failover";
    }
    return out;
}

}  // namespace nornic::sim
