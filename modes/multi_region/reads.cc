// QUORUM and ALL where there are several regions: a read waits until it has what so many regions acknowledged before it began.
#include "modes/multi_region/strategy.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::modes {
namespace {
constexpr std::size_t kCrossReadsMax = 4096;
constexpr std::uint64_t kForgetTicks = 6000;  // the driver gave it up long ago
}  // namespace

Result<> MultiRegion::read(ReadId id, ReadConsistency level) {
    const bool crosses = (level == ReadConsistency::kQuorum || level == ReadConsistency::kAll) && formed();
    if (!crosses) {
        return local_->read(id, level == ReadConsistency::kLocalQuorum ? ReadConsistency::kQuorum : level);
    }
    std::vector<const Peer*> leaders;
    std::size_t regions = 1;
    for (const auto& row : state_->regions) {
        if (row.number == state_->self || row.dropped) {
            continue;
        }
        ++regions;
        if (const Peer* leader = leader_of(row.name)) {
            leaders.push_back(leader);
        }
    }
    const std::size_t needed = level == ReadConsistency::kAll ? regions - 1 : regions / 2;
    if (leaders.size() < needed) {
        return fail(ErrorCode::kDatabaseUnavailable,
                    fmt::format("consistency {} takes {} of {} regions, and the leaders of {} others are connected",
                                level == ReadConsistency::kAll ? "ALL" : "QUORUM",
                                needed + 1,
                                regions,
                                leaders.size()));
    }
    if (cross_reads_.size() >= kCrossReadsMax) {
        return fail(ErrorCode::kBusy, "too many reads across regions are under way");
    }
    NORNIC_TRY(local_->read(id, level));
    CrossRead read;
    read.needed = needed;
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

void MultiRegion::on_read_request(const NodeName& from, const transport::RegionReadRequest& request) {
    const ReadId id{kOwnId | next_id_++};
    if (!leads() || asked_reads_.size() >= kCrossReadsMax || !local_->read(id, ReadConsistency::kQuorum)) {
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
                answer_read(asked.mapped(), point.index);
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
