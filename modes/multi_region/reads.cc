// QUORUM and ALL where there are several regions: a read waits until it has what so many regions acknowledged before it began,
// a write until so many have it.
#include "modes/multi_region/strategy.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>

namespace nornic::modes {
namespace {
constexpr std::size_t kCrossReadsMax = 4096;
constexpr std::uint64_t kForgetTicks = 6000;  // the driver gave it up long ago
}  // namespace

/// Of other regions, so that with this one they are as many as the level takes.
std::size_t MultiRegion::others_needed(ReadConsistency level) const {
    const auto others = static_cast<std::size_t>(
        std::ranges::count_if(state_->regions, [&](const auto& row) { return row.number != state_->self && !row.dropped; }));
    return level == ReadConsistency::kAll ? others : (others + 1) / 2;
}

/// The leaders of the other regions, which are enough.
Result<std::vector<const MultiRegion::Peer*>> MultiRegion::leaders_for(ReadConsistency level) const {
    std::vector<const Peer*> leaders;
    for (const auto& row : state_->regions) {
        if (row.number == state_->self || row.dropped) {
            continue;
        }
        if (const Peer* leader = leader_of(row.name)) {
            leaders.push_back(leader);
        }
    }
    if (leaders.size() < others_needed(level)) {
        return fail(ErrorCode::kDatabaseUnavailable,
                    fmt::format("consistency {} takes {} of {} regions, and the leaders of {} others are connected",
                                to_string(level),
                                others_needed(level) + 1,
                                std::ranges::count(state_->regions, false, &engine::RegionRow::dropped),
                                leaders.size()));
    }
    return leaders;
}

Result<> MultiRegion::expect(ReadConsistency level) {
    if ((level == ReadConsistency::kQuorum || level == ReadConsistency::kAll) && formed()) {
        NORNIC_TRY(leaders_for(level));
    }
    return told_->expect(level);
}

/// A region has what a majority of its members have on disk.
LogIndex MultiRegion::acknowledged(ReadConsistency level) const {
    const LogIndex here = local_->acknowledged(level);
    if ((level != ReadConsistency::kQuorum && level != ReadConsistency::kAll) || !formed() || others_needed(level) == 0) {
        return here;
    }
    std::vector<LogIndex> others;
    for (const auto& row : state_->regions) {
        if (row.number != state_->self && !row.dropped) {
            const auto out = outbound_.find(row.number);
            others.push_back(out == outbound_.end() ? LogIndex{0} : out->second.durable);
        }
    }
    std::ranges::sort(others, std::ranges::greater{});
    return std::min(here, others[others_needed(level) - 1]);
}

Result<> MultiRegion::read(ReadId id, ReadConsistency level) {
    const bool crosses = (level == ReadConsistency::kQuorum || level == ReadConsistency::kAll) && formed();
    if (!crosses) {
        return told_->read(id, level == ReadConsistency::kLocalQuorum ? ReadConsistency::kQuorum : level);
    }
    NORNIC_TRY(const std::vector<const Peer*> leaders, leaders_for(level));
    if (cross_reads_.size() >= kCrossReadsMax) {
        return fail(ErrorCode::kBusy, "too many reads across regions are under way");
    }
    NORNIC_TRY(told_->read(id, level));
    CrossRead read;
    read.needed = others_needed(level);
    read.asked_tick = tick_;
    cross_reads_.emplace(id, std::move(read));
    for (const Peer* leader : leaders) {
        ClusterMessage message;
        message.mutable_region_read_request()->set_context(id.value);
        say(leader->info.id, Lane::LANE_CONTROL, std::move(message));
    }
    return success();
}

void MultiRegion::answer_read(const Asked& asked, std::optional<LogIndex> index) {
    ClusterMessage message;
    auto& response = *message.mutable_region_read_response();
    response.set_context(asked.context);
    response.set_granted(index.has_value());
    response.set_index(index.value_or(LogIndex{0}).value);
    say(asked.from, Lane::LANE_CONTROL, std::move(message));
}

/// Only what is for the region that asks counts there: it hears at once of writes, and of the rest now and then. So its answer
/// waits until what it is sent was looked through as far as that.
void MultiRegion::answer_asked() {
    std::erase_if(confirmed_reads_, [&](const auto& confirmed) {
        const auto& [asked, index] = confirmed;
        const auto* row = row_of(asked.from);
        const auto out = row == nullptr ? outbound_.end() : outbound_.find(row->number);
        const bool streams = out != outbound_.end() && out->second.stream != 0 && !out->second.seed;
        if (streams && out->second.scanned < index) {
            return false;
        }
        answer_read(asked, streams ? std::min(index, out->second.last_write) : index);
        return true;
    });
}

void MultiRegion::on_read_request(const NodeName& from, const transport::RegionReadRequest& request) {
    const ReadId id{kOwnId | next_id_++};
    if (!leads() || asked_reads_.size() + confirmed_reads_.size() >= kCrossReadsMax || !told_->read(id, ReadConsistency::kQuorum)) {
        answer_read({from, request.context()}, std::nullopt);
        return;
    }
    asked_reads_.emplace(id, Asked{from, request.context()});
}

void MultiRegion::on_read_response(const NodeName& from, const transport::RegionReadResponse& response) {
    const auto* row = row_of(from);
    const auto at = cross_reads_.find(ReadId{response.context()});
    if (row != nullptr && at != cross_reads_.end() && response.granted()) {
        at->second.answers[row->number] = LogIndex{response.index()};
    }
}

void MultiRegion::take_reads(Ready& ready) {
    std::erase_if(ready.reads, [&](const ReadPoint& point) {
        if ((point.id.value & kOwnId) != 0) {
            if (auto asked = asked_reads_.extract(point.id)) {
                confirmed_reads_.emplace_back(std::move(asked.mapped()), point.index);
            }
            return true;
        }
        const auto at = cross_reads_.find(point.id);
        if (at == cross_reads_.end()) {
            return false;
        }
        at->second.local = point.index;
        return true;
    });
    std::erase_if(ready.refused_reads, [&](const RefusedRead& refused) {
        cross_reads_.erase(refused.id);
        if ((refused.id.value & kOwnId) == 0) {
            return false;
        }
        if (auto asked = asked_reads_.extract(refused.id)) {
            answer_read(asked.mapped(), std::nullopt);
        }
        return true;
    });
    answer_asked();
    watch_reads(ready);
}

/// A read goes on once this member has what enough regions had.
void MultiRegion::watch_reads(Ready& ready) {
    for (auto at = cross_reads_.begin(); at != cross_reads_.end();) {
        const CrossRead& read = at->second;
        std::size_t here = 0;
        for (const auto& [number, index] : read.answers) {
            const auto* row = state_->find(number);
            here += row != nullptr && row->cursor >= index ? 1 : 0;
        }
        if (read.local && here >= read.needed) {
            ready.reads.push_back({at->first, *read.local});
            at = cross_reads_.erase(at);
        } else if (tick_ - read.asked_tick > kForgetTicks) {
            at = cross_reads_.erase(at);
        } else {
            ++at;
        }
    }
}

}  // namespace nornic::modes
