// A region of one member for tests: a host, its log, and what travels to and from other regions.
#pragma once

#include "engine/region/codec.h"
#include "engine/region/feed.h"
#include "engine/snapshot.h"
#include "tests/engine/member.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace nornic::engine::testing {

inline void expect_ok(const Result<>& done) {
    ASSERT_TRUE(done) << done.error().message();
}

class Region {
public:
    explicit Region(RegionNumber number, std::uint64_t seed = 0)
        : number_{number}, home_{make_memory_kv_home()} {
        settings_.background = false;
        settings_.seed = seed == 0 ? number : seed;
        open();
    }

    void open() {
        auto opened = open_engine_host(lend_kv_home(*home_), settings_, system_clock());
        ASSERT_TRUE(opened) << opened.error().message();
        host_ = std::move(opened).value();
        for (std::uint64_t i = host_->applied_index().value; i < log.size(); ++i) {
            expect_ok(host_->apply(log[i]));
        }
    }
    /// The process starts again from its last checkpoint and its log.
    void restart() {
        host_.reset();
        open();
    }

    EngineHost& operator*() { return *host_; }
    EngineHost* operator->() { return host_.get(); }
    [[nodiscard]] RegionNumber number() const { return number_; }
    [[nodiscard]] std::shared_ptr<const RegionState> state() const { return host_->regions()->region_state(); }
    [[nodiscard]] LogIndex last() const { return LogIndex{log.size()}; }
    [[nodiscard]] std::uint64_t last_time() const { return log.empty() ? 0 : log.back().hybrid_time; }
    /// What a clock that observed everything would say next.
    [[nodiscard]] std::uint64_t now() const { return std::max(last_time(), state()->time) + 1; }

    Result<> apply(std::string payload, std::uint64_t time) {
        LogEntry entry;
        entry.term = Term{1};
        entry.index = LogIndex{log.size() + 1};
        entry.hybrid_time = time;
        entry.payload = std::move(payload);
        NORNIC_TRY(host_->apply(entry));
        log.push_back(std::move(entry));
        return success();
    }

    void form(std::vector<RegionRow> rows) {
        RegionChange change;
        change.kind = RegionChange::Kind::kForm;
        change.number = number_;
        change.regions = std::move(rows);
        expect_ok(apply(region_change_write_set(header(), change), now()));
    }
    void change(const RegionChange& change) { expect_ok(apply(region_change_write_set(header(), change), now())); }
    void advance_watermark(std::uint64_t time) {
        RegionChange change;
        change.kind = RegionChange::Kind::kWatermark;
        change.time = time;
        this->change(change);
    }

    [[nodiscard]] RegionHeader header() const {
        const auto known = state();
        return RegionHeader{.rank = known->rank, .epoch = known->epoch, .manual = false, .seen = known->frontier()};
    }
    /// An own write of what `write_set` (format 1) says.
    Result<> write(std::string_view write_set) { return apply(stamp_write_set(header(), write_set), now()); }
    std::unique_ptr<Transaction> begin(AccessMode mode = AccessMode::kWrite) {
        BeginOptions options;
        options.mode = mode;
        auto begun = host_->begin(options);
        EXPECT_TRUE(begun) << begun.error().message();
        return std::move(begun).value();
    }
    /// Runs fn(transaction) and commits as the strategy would.
    template <class Fn>
    void commit(Fn&& fn) {
        auto transaction = begin();
        fn(*transaction);
        auto write_set = transaction->prepare();
        ASSERT_TRUE(write_set) << write_set.error().message();
        expect_ok(write(write_set.value()));
        transaction->finish();
    }

    /// Own writes of [from, to], as a stream gives them.
    [[nodiscard]] RegionWrites ship(LogIndex from, LogIndex to, RegionNumber target = 0) const {
        RegionWrites out;
        out.origin = number_;
        for (std::uint64_t i = from.value; i <= to.value; ++i) {
            expect_ok(host_->regions()->ship(log[i - 1], out));
        }
        const auto known = state();
        out.through = to;
        out.through_time = to == last() ? known_of(known->frontier(), number_) : log[to.value - 1].hybrid_time;
        if (to == last()) {
            out.frontier = known->frontier();
        }
        if (const RegionRow* row = known->find(target)) {
            out.acked = row->cursor;
        }
        return out;
    }
    Result<> take(const RegionWrites& writes) {
        NORNIC_TRY(std::string payload, host_->regions()->localize(writes, false));
        if (payload.empty()) {
            return success();
        }
        std::uint64_t time = now();
        for (const RegionWrite& write : writes.writes) {
            time = std::max(time, write.time);
        }
        return apply(std::move(payload), time);
    }
    [[nodiscard]] LogIndex cursor_of(const Region& other) const {
        const RegionRow* row = state()->find(other.number_);
        return row == nullptr ? LogIndex{} : row->cursor;
    }
    /// Everything of `from` that is not here yet.
    void catch_up(const Region& from) {
        const LogIndex cursor = cursor_of(from);
        if (cursor < from.last()) {
            expect_ok(take(from.ship(LogIndex{cursor.value + 1}, from.last(), number_)));
        }
    }
    /// Merges a whole seed in pieces of so many bytes, then notes how far it reaches.
    void take_seed(SeedReader& seed, std::size_t bytes = 4096) {
        const RegionState& of = seed.state();
        while (true) {
            auto part = seed.next(bytes);
            ASSERT_TRUE(part) << part.error().message();
            if (!part.value()) {
                break;
            }
            expect_ok(take(*part.value()));
        }
        using Kind = RegionChange::Kind;
        const auto note = [&](Kind kind, RegionNumber which, LogIndex cursor, std::uint64_t time, Frontier frontier) {
            const RegionRow* row = state()->find(which);
            if (row == nullptr || which == number_ || (kind == Kind::kCursor && row->cursor >= cursor)) {
                return;
            }
            RegionChange change;
            change.kind = kind;
            change.number = which;
            change.cursor = cursor;
            change.time = time;
            change.frontier = std::move(frontier);
            this->change(change);
        };
        for (const RegionRow& row : of.regions) {
            if (row.number != of.self) {
                note(Kind::kCursor, row.number, row.cursor, row.cursor_time, {});
            }
        }
        note(Kind::kMerged, of.self, seed.index(), known_of(of.frontier(), of.self), of.frontier());
    }

    std::vector<LogEntry> log;

private:
    const RegionNumber number_;
    Settings settings_;
    std::unique_ptr<KvHome> home_;
    std::unique_ptr<EngineHost> host_;
};

/// The rows that regions 1 to `count` agree on.
inline std::vector<RegionRow> rows_of(RegionNumber count) {
    std::vector<RegionRow> rows;
    for (RegionNumber i = 1; i <= count; ++i) {
        rows.push_back(RegionRow{.number = i, .name = "region-" + std::to_string(i), .history = "history-" + std::to_string(i)});
    }
    return rows;
}

/// One line for people and comparisons: names instead of token ids.
inline std::string text_of(std::uint64_t id, const NodeData& node, const Tokens& tokens) {
    std::vector<std::string> parts;
    for (const LabelId label : node.labels) {
        parts.push_back(":" + std::string{tokens.name(label)});
    }
    for (const PropertyEntry& entry : node.properties) {
        parts.push_back(std::string{tokens.name(entry.key)} + "=" + to_cypher_text(entry.value));
    }
    std::sort(parts.begin(), parts.end());
    std::string out = "node " + std::to_string(id);
    for (const std::string& part : parts) {
        out += " " + part;
    }
    return out + "\n";
}
inline std::string text_of(std::uint64_t id, const RelData& relationship, const Tokens& tokens) {
    std::vector<std::string> parts;
    for (const PropertyEntry& entry : relationship.properties) {
        parts.push_back(std::string{tokens.name(entry.key)} + "=" + to_cypher_text(entry.value));
    }
    std::sort(parts.begin(), parts.end());
    std::string out = "relationship " + std::to_string(id) + " " + std::to_string(relationship.start.value) + "-" +
                      std::string{tokens.name(relationship.type)} + "->" + std::to_string(relationship.end.value);
    for (const std::string& part : parts) {
        out += " " + part;
    }
    return out + "\n";
}

/// The visible graph by names, with what its indexes and lists of relationships say.
inline std::string dump(Region& region) {
    auto transaction = region.begin(AccessMode::kRead);
    std::string out;
    std::vector<NodeId> nodes(1 << 16);
    nodes.resize(transaction->scan_nodes()->next(nodes));
    std::vector<Adjacent> around;
    for (const NodeId id : nodes) {
        out += text_of(id.value, *transaction->node(id), transaction->tokens());
        around.clear();
        transaction->expand(id, Direction::kBoth, {}, around);
        std::vector<std::uint64_t> ids;
        for (const Adjacent& one : around) {
            ids.push_back(one.relationship.value);
        }
        std::sort(ids.begin(), ids.end());
        for (const std::uint64_t relationship : ids) {
            out += "  at it " + std::to_string(relationship) + "\n";
        }
    }
    std::vector<RelId> relationships(1 << 16);
    relationships.resize(transaction->scan_relationships({})->next(relationships));
    for (const RelId id : relationships) {
        out += text_of(id.value, *transaction->relationship(id), transaction->tokens());
    }
    std::vector<std::string> labels = transaction->tokens().all(TokenKind::kLabel);
    std::sort(labels.begin(), labels.end());
    for (const std::string& name : labels) {
        const LabelId label = transaction->tokens().label(name).value();
        nodes.assign(1 << 16, NodeId{});
        const std::size_t count = transaction->scan_label(label)->next(nodes);
        if (count > 0) {
            out += "label " + name + ": " + std::to_string(count) + ", counted " +
                   std::to_string(transaction->node_count(label)) + "\n";
        }
    }
    out += "counted " + std::to_string(transaction->node_count({})) + " nodes, " +
           std::to_string(transaction->relationship_count({})) + " relationships\n";
    return out;
}

}  // namespace nornic::engine::testing
