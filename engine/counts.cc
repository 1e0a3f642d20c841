#include "engine/counts.h"

#include "base/bytes.h"

namespace nornic::engine {

void Counts::apply(LogIndex at, const CountDelta& delta, LogIndex oldest) {
    if (delta.changes().empty()) {
        return;
    }
    const MutexLock lock{mutex_};
    for (const auto& [key, by] : delta.changes()) {
        counts_[key] += by;
    }
    recent_.push_back(Change{at, delta.changes()});
    while (!recent_.empty() && (recent_.front().at <= oldest || recent_.size() > kRememberedMax)) {
        forgotten_ = recent_.front().at;
        recent_.pop_front();
    }
}

std::optional<std::int64_t> Counts::at(LogIndex snapshot, std::uint64_t key) const {
    const MutexLock lock{mutex_};
    if (snapshot < forgotten_) {
        return std::nullopt;
    }
    const auto found = counts_.find(key);
    std::int64_t count = found == counts_.end() ? 0 : found->second;
    for (auto change = recent_.rbegin(); change != recent_.rend() && change->at > snapshot;
         ++change) {
        for (const auto& [changed, by] : change->changes) {
            if (changed == key) {
                count -= by;
            }
        }
    }
    return count;
}

std::int64_t Counts::newest(std::uint64_t key) const {
    const MutexLock lock{mutex_};
    const auto found = counts_.find(key);
    return found == counts_.end() ? 0 : found->second;
}

std::int64_t Counts::newest_from(CountKind kind, std::uint32_t label) const {
    const MutexLock lock{mutex_};
    std::int64_t sum = 0;
    for (const auto& [key, count] : counts_) {
        if (key >> 28 == count_key(kind, label) >> 28) {
            sum += count;
        }
    }
    return sum;
}

std::string Counts::encode() const {
    const MutexLock lock{mutex_};
    std::string bytes;
    ByteWriter out{bytes};
    out.put_u8(1);
    for (const auto& [key, count] : counts_) {
        if (count != 0) {
            out.put_u64(key);
            out.put_zigzag(count);
        }
    }
    return bytes;
}

Result<> Counts::decode(std::string_view bytes) {
    const MutexLock lock{mutex_};
    counts_.clear();
    ByteReader in{bytes};
    if (in.get_u8() != 1) {
        return fail(ErrorCode::kCorruption, "counters: unknown format");
    }
    while (in.ok() && !in.at_end()) {
        const std::uint64_t key = in.get_u64();
        counts_[key] = in.get_zigzag();
    }
    return in.finish("counters");
}

}  // namespace nornic::engine
