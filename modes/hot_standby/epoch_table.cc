#include "modes/hot_standby/epoch_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace nornic::modes {

void EpochTable::begins(Term epoch, LogIndex first) {
    while (!rows_.empty() && (rows_.back().epoch >= epoch || rows_.back().first >= first)) {
        rows_.pop_back();
    }
    rows_.push_back({epoch, first});
    if (rows_.size() > kRowsMax) {
        rows_.erase(rows_.begin());
    }
}

void EpochTable::forget_after(LogIndex keep) {
    while (!rows_.empty() && rows_.back().first > keep) {
        rows_.pop_back();
    }
}

void EpochTable::assign(std::vector<Row> rows) {
    rows_.clear();
    for (const Row& row : rows) {
        begins(row.epoch, row.first);
    }
}

std::string EpochTable::text() const {
    std::string out;
    for (const Row& row : rows_) {
        out += fmt::format("{}{}:{}", out.empty() ? "" : ",", row.epoch.value, row.first.value);
    }
    return out;
}

EpochTable EpochTable::parse(std::string_view text) {
    EpochTable out;
    const char* at = text.data();
    const char* const end = text.data() + text.size();
    while (at < end) {
        Row row;
        const auto epoch = std::from_chars(at, end, row.epoch.value);
        if (epoch.ec != std::errc{} || epoch.ptr == end || *epoch.ptr != ':') {
            break;
        }
        const auto first = std::from_chars(epoch.ptr + 1, end, row.first.value);
        if (first.ec != std::errc{}) {
            break;
        }
        out.begins(row.epoch, row.first);
        at = first.ptr + (first.ptr < end && *first.ptr == ',' ? 1 : 0);
        if (at == first.ptr) {
            break;
        }
    }
    return out;
}

std::optional<LogIndex> last_common(const EpochTable& mine,
                                    LogIndex my_last,
                                    const EpochTable& theirs,
                                    LogIndex their_last) {
    if (my_last.value == 0 || their_last.value == 0) {
        return LogIndex{0};
    }
    const auto end_of = [](const std::vector<EpochTable::Row>& rows, std::size_t at, LogIndex last) {
        return at + 1 < rows.size() ? LogIndex{rows[at + 1].first.value - 1} : last;
    };
    const bool theirs_is_whole = !theirs.rows().empty() && theirs.rows().front().first.value == 1;
    for (std::size_t i = mine.rows().size(); i-- > 0;) {
        const EpochTable::Row& row = mine.rows()[i];
        const auto found = std::find_if(theirs.rows().begin(), theirs.rows().end(), [&](const EpochTable::Row& other) {
            return other.epoch == row.epoch;
        });
        if (found != theirs.rows().end()) {
            const auto at = static_cast<std::size_t>(found - theirs.rows().begin());
            return std::min(end_of(mine.rows(), i, my_last), end_of(theirs.rows(), at, their_last));
        }
        if (row.first.value == 1 && theirs_is_whole) {
            return LogIndex{0};  // each began with an epoch that the other one never had
        }
    }
    return std::nullopt;
}

}  // namespace nornic::modes
