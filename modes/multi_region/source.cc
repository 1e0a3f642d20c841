// This region's writes, sent to others: what the log has behind their cursor, or the state where it does not reach back.
#include "base/compress.h"
#include "modes/multi_region/strategy.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::modes {
namespace {

constexpr std::uint64_t kIdleTicks = 100;      // a stream with nothing to send says so this often
constexpr std::uint32_t kWindowMax = 64;
constexpr std::uint64_t kWorthSending = 256;   // entries for which more than one batch a tick is sent
constexpr std::size_t kScanBytes = std::size_t{1} << 20;

}  // namespace

Frontier MultiRegion::known_of_others() const {
    Frontier out = state_->frontier();
    out[state_->self] = 0;
    return out;
}

void MultiRegion::refuse_stream(const NodeName& to, std::uint64_t stream, std::string why, bool needs_seed) {
    ClusterMessage message;
    auto& ack = *message.mutable_region_ack();
    ack.set_stream(stream);
    ack.set_refused(std::move(why));
    ack.set_needs_seed(needs_seed);
    say(to, Lane::LANE_LOG, std::move(message));
}

void MultiRegion::on_pull(const NodeName& from, const transport::RegionPull& pull) {
    const auto* row = row_of(from);
    const auto refuse = [&](std::string why, bool needs_seed = false) {
        refuse_stream(from, pull.stream(), std::move(why), needs_seed);
    };
    if (!leads() || !formed()) {
        return refuse("this member does not lead its region");
    }
    if (row == nullptr || row->number != pull.number()) {
        return refuse(fmt::format("region '{}' knows no region '{}' of number {}", settings_.region, region_of(from), pull.number()));
    }
    if (row->dropped) {
        return refuse(fmt::format("region '{}' was dropped: empty it and start it anew", row->name));
    }
    if (dropped_here_) {
        return refuse(fmt::format("region '{}' was dropped itself", settings_.region));
    }
    if (stranger_) {
        return refuse(std::string{kStranger});
    }
    const Peer& peer = peers_.at(from);
    if (!peer.differs.empty()) {
        return refuse(peer.differs);
    }
    const auto& said = peer.status.regions();
    const auto its = std::find_if(said.begin(), said.end(), [&](const auto& known) { return known.number() == row->number; });
    if (its == said.end() || its->era() < row->era) {
        return refuse(fmt::format("region '{}' has to get all data anew, and does not know it yet", row->name));
    }
    const auto* own = state_->find(state_->self);
    consider_set_back(pull.era(), LogIndex{pull.cursor()}, pull.seed() ? 0 : pull.cursor_time());
    if (set_back_ || awaits_first_seed()) {
        return refuse(fmt::format("region '{}' has not received the others' data yet", settings_.region));
    }
    const LogIndex cursor{pull.cursor()};
    OutboundStream out;
    out.target = from;
    out.stream = pull.stream();
    out.window = std::clamp<std::uint32_t>(pull.window(), 1, kWindowMax);
    out.heard_tick = tick_;
    out.scanned = cursor;
    out.durable = cursor;
    if (pull.seed()) {
        auto seed = data_->begin_seed();
        if (!seed) {
            return refuse(fmt::format("region '{}' cannot give its state now: {}", settings_.region, seed.error().message()));
        }
        out.seed = std::move(seed.value());
        out.scanned = LogIndex{0};
        out.durable = LogIndex{0};
        event(fmt::format("Region '{}' gets the state as of entry {}.", row->name, out.seed->index().value));
    } else if (!pull.history().empty() && pull.history() != history_) {
        return refuse(fmt::format("region '{}' was begun anew since", settings_.region), true);
    } else if (own != nullptr && pull.era() != own->era) {
        return refuse(fmt::format("region '{}' was set back to an older state since", settings_.region), true);
    } else if (cursor.value + 1 < start_.log->first_index().value || (cursor < state_->began && !state_->pristine)) {
        return refuse("the log does not reach back to where the stream stopped", true);
    }
    outbound_.insert_or_assign(row->number, std::move(out));
    pump_sources();
}

void MultiRegion::on_ack(const NodeName& from, const transport::RegionAck& ack) {
    // Both ends of streams hear it: who receives is told why there is none, who sends how far it came.
    if (!ack.refused().empty()) {
        for (auto& [number, in] : inbound_) {
            if (in.source == from && in.stream == ack.stream() && in.stream != 0) {
                const bool seeds = ack.needs_seed() && !in.seeding;
                end_stream(in, ack.refused().substr(0, 1000));
                if (seeds) {
                    in.seeding = true;
                    in.retry_tick = tick_;
                    event(fmt::format("Region '{}' cannot go on from its log ({}): its whole state is asked for and merged.", region_of(from),
                                      in.refused));
                }
                return;
            }
        }
        std::erase_if(outbound_, [&](const auto& out) {
            return out.second.target == from && out.second.stream == ack.stream();
        });
        return;
    }
    for (auto& [number, out] : outbound_) {
        if (out.target != from || out.stream != ack.stream()) {
            continue;
        }
        out.heard_tick = tick_;
        out.acked_sequence = std::max(out.acked_sequence, std::min(ack.sequence(), out.sequence));
        out.durable = std::max(out.durable, std::min(LogIndex{ack.durable()}, out.scanned));
    }
    pump_sources();
}

void MultiRegion::pump_sources() {
    for (auto at = outbound_.begin(); at != outbound_.end();) {
        OutboundStream& out = at->second;
        const auto* row = state_->find(at->first);
        const bool silent = out.sequence > out.acked_sequence && tick_ - out.heard_tick > settings_.silent_ticks;
        if (row == nullptr || row->dropped || dropped_here_ || silent) {
            at = outbound_.erase(at);
            continue;
        }
        while (out.sequence - out.acked_sequence < out.window && send_batch(at->first, out)) {
        }
        ++at;
    }
}

/// One batch, if there is anything to say. false: nothing more now.
bool MultiRegion::send_batch(RegionNumber number, OutboundStream& out) {
    if (out.stream == 0) {
        return false;
    }
    if (out.seed) {
        send_seed(out);
        return true;
    }
    const LogIndex committed = local_->committed();
    if (!settings_.semi_sync && out.sent_tick == tick_ && committed.value < out.scanned.value + kWorthSending) {
        return false;  // nobody waits for it: what comes until the next tick travels together
    }
    const bool idle = tick_ - out.sent_tick >= kIdleTicks;
    const auto* row = state_->find(number);
    const LogIndex acked = row == nullptr ? LogIndex{0} : row->cursor;
    if (out.scanned >= committed && !idle && acked <= out.said_acked && out.scanned <= out.said_through) {
        return false;
    }
    RegionWrites writes;
    writes.origin = state_->self;
    std::size_t bytes = 0;
    bool waits = false;
    while (!waits && !writes.closed && out.scanned < committed && bytes < settings_.batch_bytes_max && writes.writes.size() < settings_.batch_entries_max) {
        const LogIndex from{out.scanned.value + 1};
        const LogIndex to = std::min(committed, LogIndex{out.scanned.value + settings_.batch_entries_max - writes.writes.size()});
        auto entries = start_.log->read(from, to, std::min(kScanBytes, settings_.batch_bytes_max));
        if (!entries || entries.value().empty()) {
            if (!entries && entries.error().code() == ErrorCode::kNotFound && start_.log->last_index() >= from) {
                refuse_stream(out.target, out.stream, "the log was cut while the stream stood still", true);
                out.stream = 0;  // never matches again; goes with the next pull
                return false;
            }
            if (!entries && entries.error().code() != ErrorCode::kNotFound) {
                event(fmt::format("Entry {} cannot be read for other regions: {}.", from.value, entries.error().message()));
                refuse_stream(out.target, out.stream, "the log cannot be read from there on", true);
                out.stream = 0;
                return false;
            }
            break;  // not persisted here yet
        }
        for (const Entry& entry : entries.value()) {
            if (const auto shipped = data_->ship(entry, writes); !shipped) {
                if (shipped.error().code() == ErrorCode::kBusy) {
                    waits = true;  // it names what an entry brings that is not applied yet
                    break;
                }
                event(fmt::format("Entry {} cannot be sent to other regions: {}. The stream stops.", entry.index.value,
                                  shipped.error().message()));
                out.stream = 0;
                return false;
            }
            bytes += entry.payload.size();
            out.scanned = entry.index;
            if (writes.closed) {
                break;
            }
        }
    }
    if (!writes.writes.empty()) {
        out.scanned_time = writes.writes.back().time;
        out.last_write = writes.writes.back().index;
    }
    // What had been applied at the end of what was sent so far, and nothing earlier: who merges it may rely on it.
    Frontier frontier;
    if (out.scanned >= applied_) {
        frontier = known_of_others();
    }
    const bool news = !writes.writes.empty() || out.scanned > out.said_through || acked > out.said_acked ||
                      (!frontier.empty() && frontier != out.said_frontier) || idle;
    if (!news) {
        return false;
    }
    transport::RegionBatch batch;
    batch.set_acked(acked.value);
    batch.mutable_frontier()->Add(frontier.begin(), frontier.end());
    out.said_acked = acked;
    out.said_through = out.scanned;
    if (!frontier.empty()) {
        out.said_frontier = std::move(frontier);
    }
    deliver(out, std::move(batch), writes);
    return true;
}

void MultiRegion::send_seed(OutboundStream& out) {
    auto part = out.seed->next(settings_.batch_bytes_max);
    if (!part) {
        refuse_stream(out.target, out.stream, "the state could not be read to its end: " + part.error().message(), false);
        out.stream = 0;
        out.seed.reset();
        return;
    }
    transport::RegionBatch batch;
    batch.set_seeding(true);
    batch.set_seed_entities(out.seed->entities_read());
    batch.set_seed_estimate(out.seed->entities_estimate());
    RegionWrites writes;
    if (part.value()) {
        writes = std::move(*part.value());
    } else {
        const RegionState& state = out.seed->state();
        batch.set_seed_done(true);
        batch.set_watermark(state.watermark);
        for (const auto& row : state.regions) {
            if (row.number != state.self) {
                auto& cursor = *batch.add_cursors();
                cursor.set_number(row.number);
                cursor.set_index(row.cursor.value);
                cursor.set_hybrid_time(row.cursor_time);
            }
        }
        const Frontier frontier = state.frontier();
        batch.mutable_frontier()->Add(frontier.begin(), frontier.end());
        out.scanned = out.seed->index();
        out.scanned_time = engine::known_of(frontier, state.self);
        out.last_write = out.scanned;  // whoever reads there waits until all of the state is merged (answer_asked())
        out.said_through = out.scanned;
        out.seed.reset();
    }
    deliver(out, std::move(batch), writes);
}

void MultiRegion::deliver(OutboundStream& out, transport::RegionBatch batch, const RegionWrites& writes) {
    batch.set_stream(out.stream);
    batch.set_sequence(++out.sequence);
    batch.set_origin(state_->self);
    batch.set_through(out.seed ? 0 : out.scanned.value);
    batch.set_through_time(out.seed ? 0 : out.scanned_time);
    batch.set_last_index(local_->committed().value);
    if (!writes.writes.empty()) {
        transport::RegionWrites body;
        for (const auto& write : writes.writes) {
            auto& entry = *body.add_entries();
            entry.set_index(write.index.value);
            entry.set_hybrid_time(write.time);
            entry.set_payload(write.payload);
        }
        for (const auto& token : writes.tokens) {
            auto& name = *body.add_tokens();
            name.set_database(token.database.value);
            name.set_kind(static_cast<std::uint32_t>(token.kind));
            name.set_id(token.id);
            name.set_name(token.name);
        }
        const std::string bytes = body.SerializeAsString();
        batch.set_unpacked_bytes(static_cast<std::uint32_t>(bytes.size()));
        batch.set_packed(compress(bytes));
    }
    out.sent_tick = tick_;
    ClusterMessage message;
    *message.mutable_region_batch() = std::move(batch);
    say(out.target, Lane::LANE_LOG, std::move(message));
}

}  // namespace nornic::modes
