// Other regions' writes, taken in: asked for from the cursor on, proposed to the region's own log in order, acknowledged
// once a majority here has them.
#include "base/compress.h"
#include "base/hybrid_clock.h"
#include "modes/multi_region/strategy.h"
#include "transport/frames.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::modes {
namespace {

constexpr std::size_t kProposedMax = 8;  // batches of one region in this region's log and not committed
constexpr LogIndex kNotPlaced{UINT64_MAX};

Frontier frontier_of(const google::protobuf::RepeatedField<std::uint64_t>& times) {
    const int count = std::min<int>(times.size(), engine::kRegionNumberMax + 1);
    return {times.begin(), times.begin() + count};
}

bool knows_as_dropped(const transport::RegionStatus& status, RegionNumber number) {
    return std::any_of(status.regions().begin(), status.regions().end(),
                       [&](const auto& row) { return row.number() == number && row.dropped(); });
}

Result<RegionWrites> unpack(const transport::RegionBatch& batch) {
    RegionWrites out;
    out.origin = static_cast<RegionNumber>(batch.origin());
    if (!batch.packed().empty()) {
        NORNIC_TRY(const std::string bytes, decompress(batch.packed(), std::min<std::size_t>(batch.unpacked_bytes(), kUnpackedMax)));
        NORNIC_TRY(transport::check_fields(bytes, transport::RegionWrites::descriptor()));
        transport::RegionWrites body;
        if (!body.ParseFromString(bytes)) {
            return fail(ErrorCode::kCorruption, "a batch of writes that cannot be read");
        }
        for (auto& entry : *body.mutable_entries()) {
            out.writes.push_back({LogIndex{entry.index()}, entry.hybrid_time(), std::move(*entry.mutable_payload())});
        }
        for (auto& token : *body.mutable_tokens()) {
            if (token.kind() > 2) {
                return fail(ErrorCode::kCorruption, "a name of an unknown kind");
            }
            out.tokens.push_back({DatabaseId{token.database()}, static_cast<engine::TokenKind>(token.kind()), token.id(),
                                  std::move(*token.mutable_name())});
        }
    }
    out.through = LogIndex{batch.through()};
    out.through_time = batch.through_time();
    out.frontier = frontier_of(batch.frontier());
    out.acked = LogIndex{batch.acked()};
    return out;
}

}  // namespace

/// One that was added to running regions takes no write and no stream before it has what they have: their logs may not hold
/// what was deleted and forgotten since.
bool MultiRegion::awaits_first_seed() const {
    const auto* own = state_->find(state_->self);
    return own != nullptr && own->cursor.value == 0 && state_->regions.size() > 1;
}

void MultiRegion::watch_streams() {
    if (dropped_here_ || stranger_ || beyond_repair_) {
        for (auto& [number, in] : inbound_) {
            if (in.stream != 0) {
                end_stream(in, stranger_ ? std::string{kStranger} : dropped_here_ ? "this region was dropped" : "this region was set back too far");
            }
        }
        return;
    }
    const bool first_seed = awaits_first_seed();
    const bool seeding = std::any_of(inbound_.begin(), inbound_.end(), [](const auto& in) { return in.second.stream != 0; });
    bool begun = false;
    for (const auto& row : state_->regions) {
        if (row.number == state_->self || row.dropped) {
            inbound_.erase(row.number);
            continue;
        }
        Inbound& in = inbound_[row.number];
        const Peer* leader = leader_of(row.name);
        if (in.stream != 0) {
            if (!in.waiting.empty() || !in.arrived.empty() || !in.finishing.empty()) {
                // The source may not send more before that is in the log here: it is not silent, and must not take this side to be.
                in.heard_tick = tick_;
                if (tick_ % settings_.status_ticks == 0) {
                    acknowledge(in);
                }
            }
            if (leader != nullptr && leader->info.id != in.source) {
                end_stream(in, fmt::format("'{}' leads there now", leader->info.id));
            } else if (tick_ - in.heard_tick > settings_.retry_ticks) {
                end_stream(in, "nothing came for a while");
            } else {
                take_waiting(row.number, in);
                continue;
            }
        }
        if (leader == nullptr || tick_ < in.retry_tick || (first_seed && (seeding || begun))) {
            continue;
        }
        if (first_seed) {
            in.seeding = true;
        }
        begun = true;
        pull(row, in, leader->info.id);
    }
    settle_dropped();
    advance_acks();
}

/// Of a region that was given up one may have got more than another, and it sends no more: what is missing here comes with the
/// states of those that have it (docs/decisions/0007-after-a-drop.md). Once that is done, everything of it is here.
void MultiRegion::settle_dropped() {
    if (awaits_first_seed()) {
        return;
    }
    for (const auto& row : state_->regions) {
        if (!row.dropped || row.settled) {
            continue;
        }
        bool settled = true;
        for (const auto& from : state_->regions) {
            if (from.number == state_->self || from.dropped || engine::known_of(row.reported, from.number) != 0) {
                continue;
            }
            const std::optional<bool> more = has_more_of(row, from);
            settled = settled && more == false;
            Inbound& in = inbound_[from.number];
            if (more == true && in.stream != 0 && !in.seeding) {
                event(fmt::format("Region '{}' may have more of the dropped region '{}': its state is asked for and merged.", from.name, row.name));
                end_stream(in, "");
                in.seeding = true;
                in.retry_tick = tick_;
            }
        }
        if (settled && !change_pending()) {
            RegionChange change;
            change.kind = RegionChange::Kind::kCursor;
            change.number = row.number;
            change.cursor = row.cursor;
            change.time = engine::kAllTime;
            propose_change(change);
            return;
        }
    }
}

std::optional<bool> MultiRegion::has_more_of(const engine::RegionRow& dropped, const engine::RegionRow& row) const {
    const Peer* leader = leader_of(row.name);
    if (leader == nullptr || !knows_as_dropped(leader->status, dropped.number)) {
        return std::nullopt;  // it may still get some
    }
    const Frontier there = frontier_of(leader->status.frontier());
    return engine::known_of(there, 0) != 0 || engine::known_of(there, dropped.number) > dropped.cursor_time;
}

void MultiRegion::pull(const engine::RegionRow& row, Inbound& in, const NodeName& source) {
    const bool seeding = in.seeding;
    const std::string refused = std::move(in.refused);
    in = Inbound{};
    in.seeding = seeding;
    in.refused = refused;
    in.source = source;
    // Never one that a member used that led before, nor of this process before a restart: the source would mistake its batches.
    in.stream = (local_->write_term().value << 24) ^ (start_.seed << 44) ^ next_id_++;
    in.stream += in.stream == 0 ? 1 : 0;
    in.heard_tick = tick_;
    in.durable = row.cursor;
    in.through = row.cursor;
    for (const auto& other : state_->regions) {
        if (seeding && other.dropped && knows_as_dropped(peers_.at(source).status, other.number)) {
            in.dropped.push_back(other.number);
        }
    }
    ClusterMessage message;
    auto& request = *message.mutable_region_pull();
    request.set_stream(in.stream);
    request.set_cursor(row.cursor.value);
    request.set_seed(seeding);
    request.set_cursor_time(row.cursor_time);
    request.set_era(row.era);
    request.set_history(seeding ? std::string{} : row.history);
    request.set_number(state_->self);
    request.set_window(static_cast<std::uint32_t>(settings_.window_batches));
    say(source, Lane::LANE_CONTROL, std::move(message));
}

void MultiRegion::end_stream(Inbound& in, std::string why) {
    in.stream = 0;
    in.waiting.clear();
    in.arrived.clear();
    in.finishing.clear();
    in.parked = false;
    in.refused = std::move(why);
    in.retry_tick = tick_ + settings_.status_ticks;
}

void MultiRegion::on_batch(const NodeName& from, std::shared_ptr<const ClusterMessage> message) {
    const auto& batch = message->region_batch();
    const auto* row = row_of(from);
    if (!led_ || row == nullptr || batch.origin() != row->number) {
        return;
    }
    Inbound& in = inbound_[row->number];
    if (in.stream == 0 || in.stream != batch.stream() || in.source != from) {
        return;
    }
    in.heard_tick = tick_;
    if (batch.sequence() != in.next_sequence) {
        end_stream(in, fmt::format("batch {} came where {} was expected", batch.sequence(), in.next_sequence));
        return;
    }
    ++in.next_sequence;
    in.refused.clear();
    in.source_last = std::max(in.source_last, LogIndex{batch.last_index()});
    if (in.waiting.size() > settings_.window_batches) {
        end_stream(in, "more batches came than were asked for");
        return;
    }
    in.waiting.push_back(std::move(message));
    take_waiting(row->number, in);
    advance_acks();
}

void MultiRegion::take_waiting(RegionNumber number, Inbound& in) {
    while (in.stream != 0 && go_on_finishing(number, in) && !in.waiting.empty() && in.arrived.size() < kProposedMax) {
        const auto message = in.waiting.front();
        if (!take_batch(number, in, message->region_batch())) {
            return;
        }
        if (in.stream != 0) {
            in.waiting.pop_front();
        }
    }
}

bool MultiRegion::take_batch(RegionNumber number, Inbound& in, const transport::RegionBatch& batch) {
    auto writes = unpack(batch);
    if (!writes) {
        end_stream(in, writes.error().message());
        return false;
    }
    std::uint64_t latest = 0;
    for (const auto& write : writes.value().writes) {
        latest = std::max(latest, write.time);
        if (ahead_ms(write.time, wall_ms_of(now_)) > settings_.clock_offset_max_ms) {
            if (!in.parked) {
                in.parked = true;
                event(fmt::format("Region {} writes {} ms in the future: a clock is wrong there or here. Its writes wait until it is their time, so that "
                                  "they do not win over all that is written meanwhile. Look at the time synchronisation of both regions.",
                                  number,
                                  ahead_ms(write.time, wall_ms_of(now_))));
            }
            return false;
        }
    }
    in.parked = false;
    Arrived arrived;
    arrived.sequence = batch.sequence();
    arrived.through = LogIndex{batch.through()};
    if (!writes.value().writes.empty()) {
        auto localized = data_->localize(writes.value(), settings_.manual);
        if (!localized && localized.error().code() == ErrorCode::kDatabaseNotFound && (!in.arrived.empty() || applied_ < local_->committed())) {
            return false;  // it may be among what is not applied yet
        }
        if (!localized) {
            event(fmt::format("A batch of region {} cannot be merged: {}. The stream is begun again.", number, localized.error().message()));
            end_stream(in, localized.error().message());
            in.retry_tick = tick_ + settings_.retry_ticks;
            return false;
        }
        if (!localized.value().empty()) {
            Own own;
            own.kind = Own::Kind::kBatch;
            own.origin = number;
            own.stream = in.stream;
            own.sequence = batch.sequence();
            if (!propose_own(std::move(localized.value()), std::move(own), latest)) {
                return false;
            }
            arrived.index = kNotPlaced;
        }
    }
    if (in.seeding) {
        in.seed_entities = batch.seed_entities();
        in.seed_estimate = batch.seed_estimate();
    }
    if (batch.seed_done() && in.seeding) {
        finish_seed(number, in, batch);
        if (in.stream == 0) {
            return false;
        }
    }
    in.through = std::max(in.through, arrived.through);
    in.through_time = std::max(in.through_time, batch.through_time());
    if (!writes.value().frontier.empty()) {
        in.frontier = std::move(writes.value().frontier);
    }
    in.acked = std::max(in.acked, LogIndex{batch.acked()});
    in.arrived.push_back(arrived);
    return true;
}

/// What is recorded once all of a seed is in the log, in this order: whatever becomes of the rest, the seed is asked for again
/// unless the last one is there.
void MultiRegion::finish_seed(RegionNumber number, Inbound& in, const transport::RegionBatch& batch) {
    const auto* own = state_->find(state_->self);
    const bool had_others = std::any_of(state_->regions.begin(), state_->regions.end(), [&](const auto& row) {
        return row.number != state_->self && engine::known_of(own->reported, row.number) != 0;
    });
    if (awaits_first_seed() && own->era > 0 && had_others && batch.watermark() > state_->watermark) {
        // The others forgot deletes that this region has not, since it had them before it was set back.
        beyond_repair_ = true;
        event("This region was set back to a state from before deletes that the others have forgotten by now: it cannot be made equal to them. It "
              "takes no writes. Drop it at another region (POST /admin/region/drop), empty its members' data directories and start it anew.");
        end_stream(in, "this region was set back too far");
        return;
    }
    const auto add_cursor = [&](RegionNumber which, LogIndex cursor, std::uint64_t time, Frontier frontier,
                                RegionChange::Kind kind = RegionChange::Kind::kCursor) {
        RegionChange change;
        change.kind = kind;
        change.number = which;
        change.cursor = cursor;
        change.time = time;
        change.frontier = std::move(frontier);
        in.finishing.push_back(std::move(change));
    };
    const Frontier frontier = frontier_of(batch.frontier());
    // What it holds of third regions need not come from them any more, and must not: it may be deleted and forgotten there.
    for (const auto& cursor : batch.cursors()) {
        const auto* row = state_->find(static_cast<RegionNumber>(cursor.number()));
        if (row == nullptr || row->number == state_->self || row->number == number) {
            continue;
        }
        if (std::find(in.dropped.begin(), in.dropped.end(), row->number) != in.dropped.end()) {
            Frontier from(number + std::size_t{1});
            from[number] = 1;
            add_cursor(row->number, std::max(LogIndex{cursor.index()}, row->cursor), cursor.hybrid_time(), std::move(from));
        } else if (cursor.index() > row->cursor.value || cursor.hybrid_time() > row->cursor_time) {
            add_cursor(row->number, LogIndex{cursor.index()}, cursor.hybrid_time(), {});
        }
        if (row->dropped && engine::known_of(frontier, row->number) == engine::kAllTime) {
            add_cursor(row->number, row->cursor, engine::kAllTime, {});
        }
    }
    if (batch.watermark() > state_->watermark) {
        RegionChange change;
        change.kind = RegionChange::Kind::kWatermark;
        change.time = batch.watermark();
        in.finishing.push_back(std::move(change));
        for (auto& [other, its] : inbound_) {
            if (other != number && its.seeding && its.stream != 0) {
                end_stream(its, "its state was asked for before deletes were forgotten (advance_watermark())");
            }
        }
    }
    const auto* row = state_->find(number);
    const auto leader = peers_.find(in.source);
    if (leader != peers_.end() && row != nullptr) {
        for (const auto& said : leader->second.status.regions()) {
            if (said.number() == number && said.era() > row->era) {
                RegionChange change;
                change.kind = RegionChange::Kind::kSetBack;
                change.number = number;
                change.epoch = said.era();
                in.finishing.push_back(std::move(change));
            }
        }
        if (row->history != leader->second.status.history()) {
            RegionChange change;
            change.kind = RegionChange::Kind::kHistory;
            change.number = number;
            change.history = leader->second.status.history();
            in.finishing.push_back(std::move(change));
        }
    }
    add_cursor(number, LogIndex{batch.through()}, batch.through_time(), frontier, RegionChange::Kind::kMerged);
    if (awaits_first_seed()) {
        add_cursor(state_->self, LogIndex{1}, 0, {});
    }
}

/// As many as may be under way; false: not all yet.
bool MultiRegion::go_on_finishing(RegionNumber number, Inbound& in) {
    if (in.finishing.empty()) {
        return true;
    }
    while (!in.finishing.empty()) {
        if (!propose_change(in.finishing.front())) {
            return false;
        }
        in.finishing.pop_front();
    }
    in.seeding = false;
    event(fmt::format("The state of region {} was merged; its log goes on behind entry {}.", number, in.through.value));
    return true;
}

void MultiRegion::advance_acks() {
    const LogIndex committed = local_->committed();
    for (auto& [number, in] : inbound_) {
        if (in.stream == 0) {
            continue;
        }
        while (!in.arrived.empty() && (!in.arrived.front().index || *in.arrived.front().index <= committed)) {
            in.durable_sequence = in.arrived.front().sequence;
            in.durable = std::max(in.durable, in.arrived.front().through);
            in.arrived.pop_front();
        }
        if (in.durable_sequence == in.acked_sequence) {
            continue;
        }
        in.acked_sequence = in.durable_sequence;
        acknowledge(in);
        take_waiting(number, in);
    }
}

void MultiRegion::acknowledge(const Inbound& in) {
    ClusterMessage message;
    auto& ack = *message.mutable_region_ack();
    ack.set_stream(in.stream);
    ack.set_sequence(in.durable_sequence);
    ack.set_durable(in.durable.value);
    say(in.source, Lane::LANE_LOG, std::move(message));
}

/// Batches that hold writes record how far they reach; what came without any is recorded now and then.
void MultiRegion::record_reports(std::uint64_t first) {
    std::vector<RegionNumber> numbers;
    for (const auto& [number, in] : inbound_) {
        numbers.push_back(number);
    }
    for (std::size_t i = 0; i < numbers.size(); ++i) {
        const RegionNumber number = numbers[(first + i) % numbers.size()];
        const Inbound& in = inbound_.at(number);
        const auto* row = state_->find(number);
        if (row == nullptr || in.stream == 0 || in.seeding || !in.arrived.empty() || !in.waiting.empty()) {
            continue;
        }
        // Entries that are no writes move acknowledgements on, too: recording each of those would go on for ever.
        const auto sent = outbound_.find(number);
        const bool let_go = in.acked > row->acked && sent != outbound_.end() && row->acked < sent->second.last_write;
        bool news = let_go || in.through_time > row->cursor_time;
        for (RegionNumber origin = 1; origin < in.frontier.size(); ++origin) {
            news = news || in.frontier[origin] > engine::known_of(row->reported, origin);
        }
        if (!news) {
            continue;
        }
        RegionChange change;
        change.kind = RegionChange::Kind::kCursor;
        change.number = number;
        change.cursor = std::max(in.through, row->cursor);
        change.time = std::max(in.through_time, row->cursor_time);
        change.frontier = in.frontier.empty() ? row->reported : in.frontier;
        change.acked = std::max(in.acked, row->acked);
        propose_change(change);
    }
}

}  // namespace nornic::modes
