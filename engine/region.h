// Several regions, each with a log of its own, and one graph: what the engine must know to end equal everywhere.
//
// A cell is one property of one entity, one label of one node, or an entity's existence. Each carries the Stamp of the
// write that it holds; the later stamp wins, whatever order writes arrive in and however often. Rules and reasons:
// docs/modes/multi_region.md. All of it happens in apply, from the entry and the state alone, so that the members of
// one region stay equal.
#pragma once

#include "base/bytes.h"
#include "base/ids.h"
#include "base/result.h"
#include "engine/log.h"
#include "engine/tokens.h"

#include <compare>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::engine {

/// 1 to 31, agreed among the regions and for ever a region's own: the low bits of the ids it draws. 0: none yet; ids that
/// were drawn before there were regions have it.
using RegionNumber = std::uint8_t;
inline constexpr RegionNumber kRegionNumberMax = (1U << kRegionBits) - 1;

/// When a cell was written, as all regions order it: total, since no region draws one time twice.
struct Stamp {
    std::uint64_t time = 0;  // hybrid time of the entry
    std::uint16_t rank = 0;  // of the promotion it was written under where one region writes (REGION_WRITES=primary); wins over time
    RegionNumber region = 0;
    /// A cell without a stamp was written before all that have one.
    [[nodiscard]] bool none() const noexcept { return time == 0; }
    friend constexpr std::strong_ordering operator<=>(const Stamp& a, const Stamp& b) noexcept {
        if (const auto by_rank = a.rank <=> b.rank; by_rank != 0) {
            return by_rank;
        }
        if (const auto by_time = a.time <=> b.time; by_time != 0) {
            return by_time;
        }
        return a.region <=> b.region;
    }
    friend constexpr bool operator==(const Stamp&, const Stamp&) noexcept = default;
};

/// Up to which hybrid time everything of each region is known; index is the region's number. Shorter than a number: nothing
/// of that region. At 0: 1 if there may be more than this says, since a state was merged by half.
using Frontier = std::vector<std::uint64_t>;
inline constexpr std::uint64_t kAllTime = UINT64_MAX;  // of a dropped region: all that will ever be known of it
inline std::uint64_t known_of(const Frontier& frontier, RegionNumber region) noexcept {
    return region < frontier.size() ? frontier[region] : 0;
}

struct RegionRow {
    RegionNumber number = 0;
    std::string name;      // NORNICDB_CLUSTER_REGION_ID
    std::string history;   // the system database's uuid there, as bookmarks name it; empty: not known yet
    bool dropped = false;  // an operator gave it up: it holds nothing back any more, and never comes back under this number
    bool settled = false;  // dropped, and all that will ever be known of it is here
    bool partial = false;  // its state was merged by half: writes may be here that no cursor tells of
    LogIndex cursor;            // of its log: all its writes up to here are applied here
    std::uint64_t cursor_time = 0;  // their hybrid time
    Frontier reported;          // what it had of all regions, as of cursor. Dropped: whose states were merged here since then
    std::uint64_t era = 0;      // how often its log was set back to an older state; cursors of another era say nothing
    LogIndex acked;             // of this log: it had applied all writes up to here; older entries are of no use to it
    bool operator==(const RegionRow&) const = default;
};

/// Part of the state, as labels and nodes are: snapshots, backups and restarts bring it along.
struct RegionState {
    RegionNumber self = 0;  // 0: this group is no region yet
    LogIndex began;         // entry of this log that made it one; older ones carry no stamps
    bool pristine = true;   // no graph data was here before `began`
    std::uint64_t epoch = 0;   // of promotions of a region
    RegionNumber primary = 0;  // writes schema and catalogue, and with REGION_WRITES=primary all
    std::uint16_t rank = 0;    // the highest that was seen in a write
    std::uint64_t watermark = 0;  // every region has everything up to this time: older stamps and tombstones are forgotten
    std::uint64_t time = 0;       // the latest of any write applied here
    std::vector<RegionRow> regions;  // by number; self is among them
    std::uint64_t conflicts = 0;       // found since the beginning
    std::uint64_t conflicts_open = 0;  // waiting for a person (CONFLICT_STRATEGY=manual)
    std::uint64_t tombstones = 0;
    bool operator==(const RegionState&) const = default;

    [[nodiscard]] const RegionRow* find(RegionNumber number) const noexcept;
    [[nodiscard]] const RegionRow* find(std::string_view name) const noexcept;
    [[nodiscard]] const RegionRow* with_history(std::string_view history) const noexcept;
    /// What is applied here: own writes up to `time`, others up to their cursors, settled ones for ever.
    [[nodiscard]] Frontier frontier() const;
};

/// A change of RegionState that is no write of a user: operation kRegion of a write set.
struct RegionChange {
    enum class Kind : std::uint8_t {
        kForm = 1,       // self, regions (number, name, history): this group becomes a region
        kAdd = 2,        // regions[0]: one more
        kPromote = 3,    // epoch, primary; ignored unless the epoch is newer
        kWatermark = 4,  // time
        kCursor = 5,     // number, cursor, time, frontier, acked: nothing is to come of it up to here. Time kAllTime: it is settled
        kDrop = 6,       // number
        kHistory = 7,    // number, history
        kSetBack = 8,    // number, epoch: its log was set back to an older state, and this is its era. Of self: this
                         // region lost what others have, and waits for their data as a new one does
        kMerged = 9,     // as kCursor, where all of its state was merged
    };
    Kind kind = Kind::kForm;
    RegionNumber number = 0;
    std::vector<RegionRow> regions;
    std::uint64_t epoch = 0;
    LogIndex cursor;
    std::uint64_t time = 0;
    Frontier frontier;
    LogIndex acked;
    std::string history;
};
std::string encode_region_change(const RegionChange& change);
Result<RegionChange> decode_region_change(std::string_view bytes);

/// What stands before the operations of a write that regions exchange.
struct RegionHeader {
    std::uint16_t rank = 0;
    std::uint64_t epoch = 0;   // schema and catalogue are stamped with it instead of the rank
    bool manual = false;       // CONFLICT_STRATEGY where it was made or merged
    Frontier seen;             // what the writer had of other regions: what it did not see it conflicts with
    RegionNumber author = 0;   // of a row or rule in a seed: which region wrote it; 0: the one that sends it
};

/// Format 2: a region's own write. `write_set` is what Transaction::prepare() gave (format 1), and may say itself what it had
/// seen: a transaction has seen what its snapshot had, whatever came before it ended.
std::string stamp_write_set(const RegionHeader& header, std::string_view write_set);
/// An own write that holds this change and nothing else.
std::string region_change_write_set(const RegionHeader& header, const RegionChange& change);

/// Names of the tokens that shipped operations use, since each region numbers its own.
struct TokenName {
    DatabaseId database;
    TokenKind kind = TokenKind::kLabel;
    std::uint32_t id = 0;
    std::string name;
    auto operator<=>(const TokenName&) const = default;
};

/// One write of another region, in that region's token ids.
struct RegionWrite {
    LogIndex index;           // in its log; 0: part of a seed
    std::uint64_t time = 0;
    std::string payload;      // format 2
};
struct RegionWrites {
    RegionNumber origin = 0;
    std::vector<RegionWrite> writes;
    std::vector<TokenName> tokens;
    /// Nothing of the origin's lies between the last write and here. 0: not said.
    LogIndex through;
    std::uint64_t through_time = 0;  // all of its writes up to this time are at or before `through`
    Frontier frontier;               // what the origin had applied of all regions as of `through`
    LogIndex acked;                  // what the origin had applied of the target's log
    bool closed = false;             // nothing is to be added: what comes next may need what these create
};

/// A state as stamped cells, for a region that begins, or that was away for longer than the log reaches. Merging them is free
/// of order and repetition, as writes are.
class SeedReader {
public:
    virtual ~SeedReader() = default;
    /// This log's index and RegionState as of which the state is given.
    [[nodiscard]] virtual LogIndex index() const = 0;
    [[nodiscard]] virtual const RegionState& state() const = 0;
    /// About so many bytes more; the writes have index 0. nullopt: that was all.
    virtual Result<std::optional<RegionWrites>> next(std::size_t bytes) = 0;
    [[nodiscard]] virtual std::uint64_t entities_read() const = 0;
    [[nodiscard]] virtual std::uint64_t entities_estimate() const = 0;
};

/// What a strategy asks of the data. Called with the driver's lock held, also while something is applied; region_state() from
/// any thread. All but begin_seed() are cheap.
class RegionData {
public:
    virtual ~RegionData() = default;
    [[nodiscard]] virtual std::shared_ptr<const RegionState> region_state() const = 0;
    /// Source side: adds the entry if it is an own write that other regions get, and the names it needs. Entries without
    /// stamps, merged ones and RegionChanges other than kPromote and kDrop are passed over. kCorruption.
    virtual Result<> ship(const LogEntry& entry, RegionWrites& out) const = 0;
    /// Target side: format 3, one entry for all of them, in this region's token ids; what was applied already (index up to
    /// the cursor) is left out. kCorruption names what is malformed: all of it is outside bytes.
    virtual Result<std::string> localize(const RegionWrites& writes, bool manual) = 0;
    virtual Result<std::unique_ptr<SeedReader>> begin_seed() = 0;
};

/// Rows of the conflict log are catalogue rows of this prefix; then hexadecimal time and a hash, so that both regions of a
/// conflict give it one name. The value is a map: docs/modes/multi_region.md, "The conflict log".
inline constexpr std::string_view kConflictPrefix = "conflict/";
inline constexpr std::size_t kConflictsMax = 10'000;  // the oldest that is not open goes first
inline constexpr std::size_t kMetadataBytesMax = 1024;  // of one transaction

}  // namespace nornic::engine
