#include "modes/raft/core/log.h"

#include <gtest/gtest.h>

#include <string>

namespace nornic::raft {
namespace {

/// What a disk holds: entries by index, behind a beginning that was cut away.
class TestStorage final : public Storage {
public:
    LogIndex base;
    Term base_term;
    std::vector<Entry> entries;
    bool broken = false;

    LogIndex first_index() const override { return LogIndex{base.value + 1}; }
    LogIndex last_index() const override { return LogIndex{base.value + entries.size()}; }
    Result<Term> term_at(LogIndex index) override {
        if (index == base) {
            return base_term;
        }
        if (index < base || index > last_index()) {
            return fail(ErrorCode::kNotFound, "no such entry");
        }
        return entries[index.value - base.value - 1].term;
    }
    Result<std::vector<Entry>> read(LogIndex from, LogIndex to, std::size_t bytes) override {
        if (broken) {
            return fail(ErrorCode::kCorruption, "broken");
        }
        EXPECT_GT(from, base);
        EXPECT_LE(to, last_index());
        std::vector<Entry> out;
        std::size_t size = 0;
        for (std::uint64_t i = from.value; i <= to.value && (out.empty() || size < bytes); ++i) {
            out.push_back(entries[i - base.value - 1]);
            size += out.back().payload.size();
        }
        return out;
    }
    void write(const std::vector<EntryPtr>& more) {
        for (const EntryPtr& e : more) {
            entries.resize(e->index.value - base.value - 1);
            entries.push_back(*e);
        }
    }
};

EntryPtr entry(std::uint64_t index, std::uint64_t term, std::string payload = "x") {
    return std::make_shared<const Entry>(
        Entry{.term = Term{term}, .index = LogIndex{index}, .payload = std::move(payload)});
}

/// "1 1 2": terms of the entries, from `first` on.
struct Fixture {
    TestStorage storage;
    RaftLog log;

    explicit Fixture(std::vector<std::uint64_t> terms = {}, std::size_t tail = 1 << 20) : log{storage, {}, {}, tail} {
        for (const std::uint64_t term : terms) {
            append(term);
        }
        persist();
    }
    void append(std::uint64_t term, std::string payload = "x") {
        log.append(entry(log.last().value + 1, term, std::move(payload)));
    }
    void persist() {
        storage.write(log.take());
        log.persisted_taken();
    }
    std::string slice(std::uint64_t from, std::uint64_t to, std::size_t count = 100, std::size_t bytes = 1 << 20) const {
        std::string out;
        std::uint64_t want = from;
        const auto entries = log.slice(LogIndex{from}, LogIndex{to}, count, bytes);
        if (!entries) {
            return entries.error().code() == ErrorCode::kNotFound ? "" : entries.error().message();
        }
        for (const EntryPtr& e : entries.value()) {
            EXPECT_EQ(e->index.value, want++);
            out += (out.empty() ? "" : " ") + std::to_string(e->term.value);
        }
        return out;
    }
};

TEST(RaftLog, TermsAreKnownInMemoryOnDiskAndJustBeforeTheBeginning) {
    Fixture f{{1, 1, 2, 3}};
    f.storage.entries.erase(f.storage.entries.begin(), f.storage.entries.begin() + 2);
    f.storage.base = LogIndex{2};
    f.storage.base_term = Term{1};
    RaftLog log{f.storage, LogIndex{4}, Term{3}, 100};
    log.append(entry(5, 4));
    const std::pair<std::uint64_t, std::optional<Term>> rows[] = {
        {1, std::nullopt}, {2, Term{1}}, {3, Term{2}}, {4, Term{3}}, {5, Term{4}}, {6, std::nullopt}};
    for (const auto& [index, want] : rows) {
        EXPECT_EQ(log.term_at(LogIndex{index}), want) << index;
    }
    EXPECT_TRUE(log.matches(LogIndex{2}, Term{1}));
    EXPECT_FALSE(log.matches(LogIndex{2}, Term{2}));
    EXPECT_FALSE(log.matches(LogIndex{6}, Term{4}));
    EXPECT_EQ(Fixture{}.log.term_at(LogIndex{0}), Term{0});
}

TEST(RaftLog, UpToDateIsALaterLastTermOrALongerLogInTheSame) {  // thesis 3.6.1
    const Fixture f{{1, 2, 2}};
    struct {
        std::uint64_t last;
        std::uint64_t term;
        bool want;
    } const rows[] = {{3, 2, true}, {2, 2, false}, {4, 2, true}, {1, 3, true}, {9, 1, false}, {0, 0, false}};
    for (const auto& row : rows) {
        EXPECT_EQ(f.log.is_up_to_date(LogIndex{row.last}, Term{row.term}), row.want) << row.last << " " << row.term;
    }
    EXPECT_TRUE(Fixture{}.log.is_up_to_date(LogIndex{0}, Term{0}));
}

TEST(RaftLog, ARunOfTermsGoesAsFarBackAsTheLog) {
    Fixture f{{1, 1, 1, 3, 3, 5}};
    const std::pair<std::uint64_t, std::uint64_t> rows[] = {{1, 1}, {2, 1}, {3, 1}, {4, 4}, {5, 4}, {6, 6}};
    for (const auto& [at, want] : rows) {
        EXPECT_EQ(f.log.first_of_term_run(LogIndex{at}).value, want) << at;
    }
    f.storage.entries.erase(f.storage.entries.begin());
    f.storage.base = LogIndex{1};
    f.storage.base_term = Term{1};
    EXPECT_EQ(f.log.first_of_term_run(LogIndex{3}).value, 2U);
    EXPECT_EQ(f.log.first_of_term_run(LogIndex{1}).value, 1U) << "the one before the first";
    // Long runs are searched by halves.
    Fixture many{std::vector<std::uint64_t>(3000, 7)};
    EXPECT_EQ(many.log.first_of_term_run(LogIndex{3000}).value, 1U);
}

TEST(RaftLog, SlicesGoAcrossDiskAndMemory) {
    Fixture f{{1, 1, 2, 2}, 0};  // nothing stays in memory once it is on disk
    f.append(3);
    f.append(3);
    EXPECT_EQ(f.slice(1, 6), "1 1 2 2 3 3");
    EXPECT_EQ(f.slice(4, 5), "2 3");
    EXPECT_EQ(f.slice(5, 99), "3 3");
    EXPECT_EQ(f.slice(2, 6, 4), "1 2 2 3");
    EXPECT_EQ(f.slice(6, 5), "");
    EXPECT_EQ(f.slice(7, 9), "");
    EXPECT_EQ(f.slice(1, 6, 0), "");
}

TEST(RaftLog, SlicesAreBoundedInBytesWithAtLeastOneEntry) {
    Fixture f;
    for (int i = 0; i < 5; ++i) {
        f.append(1, std::string(1000, 'x'));
    }
    EXPECT_EQ(f.slice(1, 5, 100, 1), "1");
    EXPECT_EQ(f.slice(1, 5, 100, 2500), "1 1");
    f.persist();
    Fixture disk{{}, 0};
    for (int i = 0; i < 5; ++i) {
        disk.append(1, std::string(1000, 'x'));
    }
    disk.persist();
    disk.append(2, "y");
    EXPECT_EQ(disk.slice(1, 6, 100, 1), "1");
    EXPECT_EQ(disk.slice(5, 6, 100, 1), "1");
}

TEST(RaftLog, WhatIsForgottenOrUnreadableIsNoSlice) {
    Fixture f{{1, 1, 2, 2}, 0};
    f.storage.broken = true;
    EXPECT_EQ(f.slice(1, 4), "broken");
    f.storage.broken = false;
    f.storage.entries.erase(f.storage.entries.begin(), f.storage.entries.begin() + 2);
    f.storage.base = LogIndex{2};
    f.storage.base_term = Term{1};
    EXPECT_EQ(f.slice(2, 4), "");
    EXPECT_EQ(f.slice(3, 4), "2 2");
}

TEST(RaftLog, MemoryIsBoundedByWhatIsOnDisk) {
    Fixture f{{}, 3000};
    for (int i = 0; i < 10; ++i) {
        f.append(1, std::string(1000, 'x'));
    }
    EXPECT_GT(f.log.new_bytes(), 10'000U);
    const auto taken = f.log.take();
    EXPECT_EQ(taken.size(), 10U);
    EXPECT_EQ(f.log.new_bytes(), 0U);
    EXPECT_FALSE(f.log.has_new());
    EXPECT_EQ(f.slice(1, 10), "1 1 1 1 1 1 1 1 1 1") << "nothing is on disk: all is in memory";
    f.storage.write(taken);
    f.log.persisted_taken();
    f.storage.broken = true;
    EXPECT_EQ(f.slice(8, 10), "broken") << "older ones come from the disk now";
    EXPECT_EQ(f.slice(9, 10), "1 1");
}

TEST(RaftLog, AConflictIsCutAndWrittenAnew) {  // figure 3.1, AppendEntries 3 and 4
    Fixture f{{1, 1, 2, 2}};
    f.log.truncate(LogIndex{2});
    EXPECT_EQ(f.log.last().value, 2U);
    EXPECT_EQ(f.log.last_term().value, 1U);
    EXPECT_EQ(f.log.persisted().value, 2U);
    EXPECT_EQ(f.log.term_at(LogIndex{3}), std::nullopt) << "the disk still has it, and it counts for nothing";
    f.append(3);
    EXPECT_EQ(f.slice(1, 3), "1 1 3");
    f.persist();
    EXPECT_EQ(f.storage.entries.size(), 3U);
    EXPECT_EQ(f.log.persisted().value, 3U);
}

TEST(RaftLog, AnAppendInFlightThatWasOverwrittenDoesNotMakeItsSuccessorDurable) {  // practice A15, the ABA race
    Fixture f{{1}};
    f.append(1);
    f.append(1);
    const auto in_flight = f.log.take();  // 2 and 3 of term 1
    f.log.truncate(LogIndex{2});
    f.append(2);
    f.append(2);  // 3 and 4 of term 2
    EXPECT_EQ(f.log.taken().value, 2U);
    f.storage.write(in_flight);
    f.log.persisted_taken();
    EXPECT_EQ(f.log.persisted().value, 2U) << "the disk holds the other 3";
    EXPECT_EQ(f.slice(1, 4), "1 1 2 2");
    f.persist();
    EXPECT_EQ(f.log.persisted().value, 4U);
    EXPECT_EQ(f.storage.entries.back().term.value, 2U);
    // A to B and back to A: the same place and the same term, another time.
    f.append(5);
    const auto first = f.log.take();
    f.log.truncate(LogIndex{4});
    f.append(6);
    f.log.truncate(LogIndex{4});
    f.append(7);
    f.storage.write(first);
    f.log.persisted_taken();
    EXPECT_EQ(f.log.persisted().value, 4U);
    EXPECT_EQ(f.log.new_bytes(), f.log.take().front()->payload.size() + 64);
}

TEST(RaftLog, ASnapshotBeginsTheLogAnew) {
    Fixture f{{1, 1}};
    f.append(1);
    f.log.reset(LogIndex{50}, Term{4});
    f.storage.base = LogIndex{50};
    f.storage.base_term = Term{4};
    f.storage.entries.clear();
    EXPECT_EQ(f.log.first().value, 51U);
    EXPECT_EQ(f.log.last().value, 50U);
    EXPECT_EQ(f.log.persisted().value, 50U);
    EXPECT_EQ(f.log.term_at(LogIndex{50}), Term{4});
    EXPECT_EQ(f.log.term_at(LogIndex{2}), std::nullopt);
    EXPECT_FALSE(f.log.has_new());
    f.append(5);
    f.persist();
    EXPECT_EQ(f.slice(51, 51), "5");
}

}  // namespace
}  // namespace nornic::raft
