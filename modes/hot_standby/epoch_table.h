// Where each epoch of a log begins. Two logs that share an epoch are equal up to where the shorter one leaves it, so
// the tables of two members tell where their histories part, also where the entries themselves were cut off long ago.
#pragma once

#include "base/ids.h"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::modes {

class EpochTable {
public:
    struct Row {
        Term epoch;
        LogIndex first;
        bool operator==(const Row&) const = default;
    };
    static constexpr std::size_t kRowsMax = 64;  // the newest

    /// The entry at `first` is the first of `epoch`. Rows rise in both; one that does not takes the place of those past it.
    void begins(Term epoch, LogIndex first);
    void forget_after(LogIndex keep);
    [[nodiscard]] const std::vector<Row>& rows() const noexcept { return rows_; }
    void assign(std::vector<Row> rows);

    /// "3:17,4:90"; parse() takes what is valid of anything.
    [[nodiscard]] std::string text() const;
    static EpochTable parse(std::string_view text);

private:
    std::vector<Row> rows_;
};

/// The last index up to which two logs are equal; nullopt if the tables do not reach back so far.
std::optional<LogIndex> last_common(const EpochTable& mine, LogIndex my_last, const EpochTable& theirs, LogIndex their_last);

}  // namespace nornic::modes
