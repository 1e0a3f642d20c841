// How groups become regions: numbers that all agree on, who is primary, and what every region has.
#include "modes/multi_region/strategy.h"

#include "engine/write_set.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::modes {
namespace {

std::vector<std::string> configured_names(const MultiRegionSettings& settings) {
    std::vector<std::string> out{settings.region};
    for (const RemoteRegion& remote : settings.remotes) {
        out.push_back(remote.name);
    }
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
}

std::vector<engine::RegionRow> rows_of(const transport::RegionStatus& status) {
    std::vector<engine::RegionRow> out;
    for (const auto& row : status.regions()) {
        engine::RegionRow next;
        next.number = static_cast<RegionNumber>(row.number());
        next.name = row.name();
        next.history = row.history();
        next.dropped = row.dropped();
        next.era = row.era();
        out.push_back(std::move(next));
    }
    return out;
}

/// The number under which another region knows itself; 0: it is none yet. A name may be that of several, all but one given up.
RegionNumber number_said(const transport::RegionStatus& status) {
    for (const auto& row : status.regions()) {
        if (row.name() == status.region() && !row.history().empty() && row.history() == status.history()) {
            return static_cast<RegionNumber>(row.number());
        }
    }
    return 0;
}

/// The first row of `theirs` that gives a number another name than `ours` does, or a name another number although neither is
/// known to be given up on either side; nullptr: they may be one directory, of which each side knows some.
const engine::RegionRow* numbered_apart(const std::vector<engine::RegionRow>& ours, const std::vector<engine::RegionRow>& theirs) {
    const auto dropped = [](const std::vector<engine::RegionRow>& rows, const engine::RegionRow& row) {
        return std::ranges::any_of(rows, [&](const auto& known) { return known.number == row.number && known.dropped; });
    };
    for (const engine::RegionRow& row : theirs) {
        for (const engine::RegionRow& known : ours) {
            const bool one_number = known.number == row.number;
            if (one_number == (known.name == row.name)) {
                continue;
            }
            if (one_number || (!dropped(ours, known) && !dropped(theirs, known) && !dropped(ours, row) && !dropped(theirs, row))) {
                return &row;
            }
        }
    }
    return nullptr;
}

/// What another region says of itself is bounded before it is kept.
bool well_formed(const transport::RegionStatus& status, std::string_view region) {
    if (status.region() != region || status.regions_size() > engine::kRegionNumberMax || status.configured_size() > 64 ||
        status.frontier_size() > engine::kRegionNumberMax + 1 || status.leader_address().size() > 300 ||
        status.history().size() > 64) {
        return false;
    }
    for (const auto& row : status.regions()) {
        if (row.number() == 0 || row.number() > engine::kRegionNumberMax || row.name().empty() || row.name().size() > 63 ||
            row.history().size() > 64) {
            return false;
        }
    }
    return true;
}

}  // namespace

void MultiRegion::say_status(const NodeName& to) {
    const ClusterView view = local_->view();
    ClusterMessage message;
    auto& status = *message.mutable_region_status();
    status.set_region(settings_.region);
    status.set_term(view.term.value);
    status.set_leads(leads());
    status.set_leader_id(view.leader);
    for (const MemberView& member : view.members) {
        if (member.id == view.leader) {
            status.set_leader_address(member.cluster_address);
        }
    }
    for (const std::string& name : configured_names(settings_)) {
        status.add_configured(name);
    }
    for (const auto& row : state_->regions) {
        auto& out = *status.add_regions();
        out.set_number(row.number);
        out.set_name(row.name);
        out.set_history(row.number == state_->self ? history_ : row.history);
        out.set_dropped(row.dropped);
        out.set_era(row.era);
    }
    status.set_epoch(state_->epoch);
    status.set_primary(state_->primary);
    status.set_pristine(state_->pristine);
    status.set_history(history_);
    status.set_hybrid_time(now_);
    for (const std::uint64_t time : state_->frontier()) {
        status.add_frontier(time);
    }
    for (const auto& row : state_->regions) {
        if (row.settled) {
            status.set_frontier(row.number, row.cursor_time);  // for settle_dropped(): what it got of it itself
        }
    }
    if (const auto* row = row_of(to)) {
        status.set_cursor(row->cursor.value);
    }
    say(to, Lane::LANE_CONTROL, std::move(message));
}

void MultiRegion::on_status(const NodeName& from, const transport::RegionStatus& status) {
    if (!well_formed(status, region_of(from))) {
        return;
    }
    Peer& peer = peers_[from];
    peer.status = status;
    peer.number = number_said(status);
    peer.heard_tick = std::max<std::uint64_t>(tick_, 1);
    if (!formed() || status.regions_size() == 0 || given_up(peer)) {
        peer.differs.clear();
        return;
    }
    std::string why = directory_differs(status);
    const auto* own = state_->find(state_->self);
    const bool drops_this = std::any_of(status.regions().begin(), status.regions().end(), [&](const auto& row) {
        // Those that gave this one up may have gone on since with numbers that it gave others.
        const bool this_one = why.empty() || (!row.history().empty() && (row.history() == history_ || row.history() == own->history));
        return row.number() == state_->self && row.name() == settings_.region && row.dropped() && this_one;
    });
    if (drops_this && !dropped_here_) {
        dropped_here_ = true;
        event(fmt::format("Region '{}' says that this one, '{}', was dropped: it takes no writes any more and sends and gets none. "
                          "Empty the data directories of its members and start it anew to come back as a new region.",
                          status.region(),
                          settings_.region));
    }
    if (!why.empty()) {
        return exchange_nothing(from, peer, std::move(why));
    }
    peer.differs.clear();
    for (const auto& row : status.regions()) {
        if (row.number() != state_->self) {
            continue;
        }
        // It formed alone, as it heard nobody. After a recovery a group has a new history, but what it had of others is there.
        const auto* speaker = row_of(from);
        if (!stranger_ && !row.history().empty() && row.history() != history_ && row.history() != own->history && speaker != nullptr &&
            speaker->cursor.value == 0) {
            stranger_ = true;
            event(fmt::format("Region '{}' knows this one otherwise: {}.", status.region(), kStranger));
        }
        if (stranger_) {
            continue;
        }
        if (leads() && row.era() > own->era) {
            set_back_ = true;  // or it formed alone, while others that ran already did not count on it
        }
        consider_set_back(row.era(), LogIndex{status.cursor()}, 0);
    }
    const auto promoted = static_cast<RegionNumber>(std::min<std::uint32_t>(status.primary(), engine::kRegionNumberMax));
    if (status.epoch() > heard_epoch_ || (status.epoch() == heard_epoch_ && promoted < heard_primary_)) {
        heard_epoch_ = status.epoch();
        heard_primary_ = promoted;
    }
}

/// Two groups that numbered themselves unlike must never exchange a write: ids would collide.
std::string MultiRegion::directory_differs(const transport::RegionStatus& status) const {
    if (!state_->pristine && !status.pristine()) {
        return fmt::format("Both this region and '{}' hold data from before they were regions, and ids collide: they exchange nothing. "
                           "Empty one of them and start it again.",
                           status.region());
    }
    const std::vector<engine::RegionRow> said = rows_of(status);
    const auto* apart = numbered_apart(state_->regions, said);
    if (apart == nullptr) {
        return {};
    }
    const auto* by_number = state_->find(apart->number);
    return fmt::format("Region '{}' knows number {} as '{}', this one knows it as '{}': they were numbered apart, probably because "
                       "NORNICDB_CLUSTER_REMOTE_REGIONS differed at the first start. They exchange nothing. Empty one of them and start it again.",
                       status.region(),
                       apart->number,
                       apart->name,
                       by_number == nullptr ? "nothing" : by_number->name);
}

/// It alone is left out: those that agree go on.
void MultiRegion::exchange_nothing(const NodeName& with, Peer& peer, std::string why) {
    if (std::ranges::none_of(peers_, [&](const auto& other) { return other.second.differs == why; })) {
        event(why);
    }
    for (auto& [number, in] : inbound_) {
        if (in.source == with && in.stream != 0) {
            end_stream(in, why);
        }
    }
    std::erase_if(outbound_, [&](const auto& out) { return out.second.target == with; });
    peer.differs = std::move(why);
}

/// Another region's cursor of this log says more than the log has: members were restored from a copy, or a group was begun
/// anew from one that lacked what others have already. Before it is noticed ids may be drawn twice; after that none are.
void MultiRegion::consider_set_back(std::uint64_t era, LogIndex cursor, std::uint64_t cursor_time) {
    const auto* own = state_->find(state_->self);
    if (!leads() || own == nullptr || era != own->era || awaits_first_seed()) {
        return;
    }
    if (cursor > local_->committed()) {
        set_back_ = true;
        return;
    }
    if (cursor_time == 0) {
        return;
    }
    // The newest own write up to the cursor was written again if it is later than the one that the other region has.
    constexpr std::uint64_t kLookedAt = 1024;
    const LogIndex from{std::max(start_.log->first_index().value, cursor.value > kLookedAt ? cursor.value - kLookedAt : 1)};
    const auto entries = start_.log->read(from, cursor, std::size_t{64} << 20);
    if (!entries) {
        return;
    }
    RegionWrites writes;
    for (const Entry& entry : entries.value()) {
        if (!data_->ship(entry, writes)) {
            return;
        }
    }
    if (!writes.writes.empty() && writes.writes.back().time > cursor_time) {
        set_back_ = true;
    }
}

// ---- Forming ----

/// This group is no region yet, and this member leads it. Numbers come from who has them; where nobody has, from the names in order.
void MultiRegion::form() {
    if (change_pending()) {
        return;
    }
    const std::vector<std::string> mine = configured_names(settings_);
    std::set<std::string_view> heard;
    std::vector<std::pair<const Peer*, std::vector<engine::RegionRow>>> regions;
    std::string differs;
    for (const auto& [id, peer] : peers_) {
        if (peer.heard_tick == 0) {
            continue;
        }
        if (peer.status.regions_size() > 0) {
            regions.emplace_back(&peer, rows_of(peer.status));
            continue;
        }
        heard.insert(peer.status.region());
        if (!std::equal(mine.begin(), mine.end(), peer.status.configured().begin(), peer.status.configured().end())) {
            differs = fmt::format("region '{}' names [{}] as regions, this one names [{}]: set NORNICDB_CLUSTER_REMOTE_REGIONS so that all "
                                  "name the same, or start it once the others are regions",
                                  peer.status.region(),
                                  fmt::join(peer.status.configured(), ", "),
                                  fmt::join(mine, ", "));
        }
    }
    if (!regions.empty()) {
        join(std::move(regions));
        return;
    }
    if (!differs.empty()) {
        cannot_form(std::move(differs));
        return;
    }
    const bool all = std::all_of(settings_.remotes.begin(), settings_.remotes.end(),
                                 [&](const RemoteRegion& remote) { return heard.contains(remote.name); });
    if (all || tick_ - leads_since_tick_ >= settings_.form_ticks) {
        form_alone();
        return;
    }
    forming_why_ = "it waits for a word of the other regions";
}

/// Whom to believe of those that are regions: none that was given up, and nobody while they contradict each other, since whoever
/// is joined gives out the number.
void MultiRegion::join(std::vector<std::pair<const Peer*, std::vector<engine::RegionRow>>> regions) {
    const auto all = regions;
    std::erase_if(regions, [&](const auto& region) {
        return std::ranges::any_of(all, [&](const auto& other) {
            return std::ranges::any_of(other.second, [&](const auto& row) {
                return row.dropped && row.number == region.first->number && row.name == region.first->status.region();
            });
        });
    });
    if (regions.empty()) {
        return cannot_form("all regions that it hears were dropped");
    }
    for (const auto& [one, rows] : regions) {
        for (const auto& [other, its_rows] : regions) {
            if (numbered_apart(rows, its_rows) != nullptr) {
                return cannot_form(fmt::format("regions '{}' and '{}' were numbered apart and exchange nothing: empty one of them and start it again",
                                               one->status.region(),
                                               other->status.region()));
            }
        }
    }
    // Who knows this one, before others that have not heard yet that it was added, or that one of its name was dropped.
    const auto knows_this = std::ranges::find_if(regions, [&](const auto& region) {
        return std::ranges::any_of(region.second, [&](const auto& row) {
            return row.name == settings_.region && !row.dropped && (row.history.empty() || row.history == history_);
        });
    });
    adopt(knows_this == regions.end() ? *regions.front().first : *knows_this->first);
}

/// Says it once.
void MultiRegion::cannot_form(std::string why) {
    if (forming_why_ != why) {
        forming_why_ = std::move(why);
        event("This group is no region yet: " + forming_why_);
    }
}

void MultiRegion::adopt(const Peer& from) {
    std::vector<engine::RegionRow> rows = rows_of(from.status);
    const auto own = std::find_if(rows.begin(), rows.end(),
                                  [&](const auto& row) { return row.name == settings_.region && !row.dropped; });
    if (own == rows.end()) {
        // The primary region, or whoever leads it, adds new ones: one at a time gives out numbers.
        if (asked_tick_ != 0 && tick_ - asked_tick_ < settings_.retry_ticks) {
            return;
        }
        const auto primary = std::find_if(rows.begin(), rows.end(), [&](const auto& row) { return row.number == from.status.primary(); });
        const Peer* leader = primary == rows.end() ? nullptr : leader_of(primary->name);
        if (leader == nullptr) {
            forming_why_ = fmt::format("the primary region '{}' gives out numbers, and its leader is not connected",
                                       primary == rows.end() ? "?" : primary->name);
            return;
        }
        asked_tick_ = tick_;
        forming_why_ = fmt::format("it asked region '{}' to be taken in", primary->name);
        ClusterMessage message;
        auto& command = *message.mutable_region_command();
        command.set_context(tick_);
        command.set_kind(transport::RegionCommand::ADD);
        command.set_region(settings_.region);
        command.set_history(history_);
        say(leader->info.id, Lane::LANE_CONTROL, std::move(message));
        return;
    }
    RegionChange change;
    change.kind = RegionChange::Kind::kForm;
    change.number = own->number;  // who is primary follows, where somebody was promoted: watch_directory()
    // Who is in the directory from its beginning lacks nothing. Who was added later is known by its history, and gets the
    // others' data first.
    if (own->history.empty()) {
        own->cursor = LogIndex{1};
    } else if (own->history != history_) {
        return cannot_form(fmt::format("a region '{}' with other data was here before, and its ids must not be drawn again: drop that one "
                                       "(POST /admin/region/drop at another region), then this one is taken in anew",
                                       settings_.region));
    }
    own->history = history_;
    change.regions = std::move(rows);
    propose_change(change);
}

void MultiRegion::form_alone() {
    RegionChange change;
    change.kind = RegionChange::Kind::kForm;
    RegionNumber number = 0;
    for (const std::string& name : configured_names(settings_)) {
        engine::RegionRow row;
        row.number = ++number;
        row.name = name;
        if (name == settings_.region) {
            row.history = history_;
            row.cursor = LogIndex{1};  // it waits for nobody's data
            change.number = number;
        }
        change.regions.push_back(std::move(row));
    }
    propose_change(change);
}

void MultiRegion::on_region_command(const NodeName& from, const transport::RegionCommand& command) {
    ClusterMessage message;
    auto& response = *message.mutable_region_command_response();
    response.set_context(command.context());
    const auto refuse = [&](std::string why) { response.set_reason(std::move(why)); };
    if (command.kind() != transport::RegionCommand::ADD || command.region() != region_of(from) || command.region().size() > 63 ||
        command.history().size() > 64) {
        refuse("this version does not know the command");
    } else if (!leads() || !primary()) {
        refuse("this member does not lead the primary region");
    } else if (dropped_here_ || stranger_) {
        refuse("the primary region was given up itself: promote another one");
    } else if (const auto* row = state_->find(std::string_view{command.region()}); row != nullptr && !row->dropped) {
        response.set_accepted(true);
    } else if (change_pending()) {
        refuse("another change is under way: ask again");
    } else {
        RegionNumber number = 1;
        while (state_->find(number) != nullptr) {  // those of dropped regions are in their ids for ever
            ++number;
        }
        if (number > engine::kRegionNumberMax) {
            refuse(fmt::format("all {} numbers of regions are used up", engine::kRegionNumberMax));
        } else {
            RegionChange change;
            change.kind = RegionChange::Kind::kAdd;
            engine::RegionRow row_to_add;
            row_to_add.number = number;
            row_to_add.name = command.region();
            row_to_add.history = command.history();
            row_to_add.era = 1;
            change.regions.push_back(std::move(row_to_add));
            if (propose_change(change)) {
                event(fmt::format("Region '{}' becomes number {}.", command.region(), number));
                response.set_accepted(true);
            } else {
                refuse("too many writes are under way: ask again");
            }
        }
    }
    say(from, Lane::LANE_CONTROL, std::move(message));
}

// ---- Keeping the directory ----

/// What other regions know and this one does not, one change at a time.
void MultiRegion::watch_directory() {
    if (change_pending()) {
        return;
    }
    if (dropped_here_) {
        // So that it is known after a restart, too, before anybody is heard.
        if (!state_->find(state_->self)->dropped) {
            RegionChange change;
            change.kind = RegionChange::Kind::kDrop;
            change.number = state_->self;
            propose_change(change);
        }
        return;
    }
    if (set_back_) {
        if (awaits_first_seed()) {
            set_back_ = false;
            return;
        }
        RegionChange change;
        change.kind = RegionChange::Kind::kSetBack;
        change.number = state_->self;
        change.epoch = state_->find(state_->self)->era + 1;
        if (propose_change(change)) {
            event("Another region has what this one should have and has not: this region was set back to an older state, or it formed alone while "
                  "others ran already. It takes no writes until it has their data.");
        }
        return;
    }
    if (heard_of_promotion()) {
        RegionChange change;
        change.kind = RegionChange::Kind::kPromote;
        change.epoch = heard_epoch_;
        change.number = heard_primary_;
        propose_change(change);
        return;
    }
    for (const auto& [id, peer] : peers_) {
        if (!counts(peer)) {
            continue;
        }
        for (const auto& row : rows_of(peer.status)) {
            const auto* known = state_->find(row.number);
            RegionChange change;
            if (known == nullptr) {
                // One that formed without this one's knowledge may lack what was forgotten here meanwhile.
                change.kind = RegionChange::Kind::kAdd;
                change.regions.push_back(row);
                change.regions.back().era = std::max<std::uint64_t>(row.era, 1);
            } else if (row.dropped && !known->dropped && known->number != state_->self) {
                change.kind = RegionChange::Kind::kDrop;
                change.number = row.number;
            } else if (row.name == peer.status.region() && known->history.empty() && !row.history.empty()) {
                change.kind = RegionChange::Kind::kHistory;
                change.number = row.number;
                change.history = row.history;
            } else {
                continue;
            }
            propose_change(change);
            return;
        }
    }
}

/// Everything of every region up to this hybrid time is applied in every region, as far as it is known here.
std::uint64_t MultiRegion::known_everywhere() const {
    // One that was given up counts as any other until all have what there is of it (settle_dropped()): it comes by its stamps.
    std::uint64_t out = state_->time;
    const Frontier here = state_->frontier();
    for (const auto& origin : state_->regions) {
        for (const auto& holder : state_->regions) {
            if (!holder.dropped && holder.number != origin.number) {
                out = std::min(out, engine::known_of(holder.number == state_->self ? here : holder.reported, origin.number));
            }
        }
    }
    return out;
}

/// Three things that each take a place among the writes under way, of which there may be only one: in turns, so that none of
/// them keeps the others out for ever.
void MultiRegion::watch_watermark() {
    if (tick_ % settings_.watermark_ticks != 0 || change_pending() || state_->regions.size() < 2) {
        return;
    }
    const std::uint64_t round = tick_ / settings_.watermark_ticks;
    for (std::uint64_t turn = round; turn < round + 3; ++turn) {
        switch (turn % 3) {
            case 0:
                record_reports(round / 3);
                break;
            case 1:
                advance_watermark();
                break;
            default:
                mark_time();
                break;
        }
    }
}

/// A state that is on its way may be older than deletes that would be forgotten now, and bring back what they deleted: it is
/// good as long as no more is forgotten than when it was asked for.
void MultiRegion::advance_watermark() {
    const bool seeding = std::any_of(inbound_.begin(), inbound_.end(), [](const auto& in) { return in.second.seeding && in.second.stream != 0; });
    if (seeding) {
        return;
    }
    const std::uint64_t everywhere = known_everywhere();
    if (everywhere > state_->watermark && state_->tombstones > 0) {
        RegionChange change;
        change.kind = RegionChange::Kind::kWatermark;
        change.time = everywhere;
        propose_change(change);
    }
}

/// Others collect up to what they know to be the end of this region's writes: a write of nothing moves that on.
void MultiRegion::mark_time() {
    if (state_->tombstones == 0 || state_->time <= marked_time_ || dropped_here_) {
        return;
    }
    std::string nothing;
    const engine::WriteSetWriter begin{nothing, DatabaseId{2}};  // of no graph: the system database
    static_cast<void>(begin);
    if (propose_own(engine::stamp_write_set(header_, nothing), Own{})) {
        marked_time_ = state_->time;
    }
}

}  // namespace nornic::modes
