// A disk that refuses, fills up, lies or hangs.
#include "log_support.h"

#include <gmock/gmock.h>

#include <thread>

namespace nornic::engine::log_test {
namespace {

using ::testing::HasSubstr;
using Lost = SimulatedDisk::Lost;

TEST(LogFault, AFailedSyncIsForGoodEvenAfterTheDiskIsWellAgain) {
    TestBed bed;
    bed.open();
    bed.append_and_sync(make_entry(1));
    bed.append(make_entry(2));
    bed.disk->fail_syncs(true);
    const Result<> synced = bed.log->sync();
    ASSERT_FALSE(synced);
    EXPECT_EQ(synced.error().code(), ErrorCode::kIo);
    EXPECT_TRUE(bed.log->failed());
    bed.disk->heal();
    const LogEntry entry = make_entry(3);
    for (const Result<>& refused : {bed.log->sync(),
                                    bed.log->append({&entry, 1}),
                                    bed.log->set_hard_state({}),
                                    bed.log->truncate_before(LogIndex{1})}) {
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code(), ErrorCode::kIo);
        EXPECT_THAT(refused.error().message(), HasSubstr("restart the process"));
    }
    EXPECT_EQ(bed.payloads(), "payload 1/1;payload 2/1;");  // Reading goes on.
}

TEST(LogFault, WhatARestartFindsAfterAFailedSyncIsOnDiskBeforeItIsBelieved) {
    TestBed bed;
    bed.open();
    bed.append_and_sync(make_entry(1));
    // Large enough that what follows shares no sector with all of it.
    bed.append(make_entry(2, 1, std::string(2000, 'b')));
    bed.disk->fail_syncs(true);
    ASSERT_FALSE(bed.log->sync());
    // The pages of entry 2 are clean in the cache and not on disk; the restarted process sees them.
    bed.crash_and_open(Lost::kNothing);
    ASSERT_EQ(bed.log->last_index(), LogIndex{2});
    bed.append_and_sync(make_entry(3));
    bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(bed.log->last_index(), LogIndex{3});
}

TEST(LogFault, AnEntryFoundAfterAKillIsDurableThoughNobodySyncedIt) {
    TestBed bed;
    bed.open();
    bed.append(make_entry(1));
    bed.crash_and_open(Lost::kNothing);
    ASSERT_EQ(bed.log->last_index(), LogIndex{1});
    bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(bed.log->last_index(), LogIndex{1});
}

TEST(LogFault, AFailedWriteBreaksTheLog) {
    TestBed bed;
    bed.open();
    bed.append_and_sync(make_entry(1));
    bed.disk->fail_writes_after(50, ErrorCode::kIo);
    const LogEntry entry = make_entry(2);
    const Result<> appended = bed.log->append({&entry, 1});
    ASSERT_FALSE(appended);
    EXPECT_EQ(appended.error().code(), ErrorCode::kIo);
    EXPECT_TRUE(bed.log->failed());
    bed.crash_and_open(Lost::kNothing);
    EXPECT_EQ(bed.payloads(), "payload 1/1;");
    EXPECT_GT(bed.log->recovery().torn_bytes_cut, 0U);
}

TEST(LogFault, AFullDiskAtAnyByteOfABatchAppendsNothingAndTheLogGoesOn) {
    for (std::uint64_t room = 0; room < 300; room += 3) {
        TestBed bed;
        bed.open();
        bed.append_and_sync(make_entry(1));
        const std::vector<LogEntry> batch{make_entry(2), make_entry(3), make_entry(4)};
        // A disk that copies on write can be full even where the file was written before; taking
        // the zeroed bytes back then works, for they have just been given.
        bed.disk->fail_writes_after(room, ErrorCode::kDiskFull);
        bed.disk->fail_only_next_write(true);
        const std::uint64_t syncs = bed.disk->syncs();
        const Result<> appended = bed.log->append(batch);
        if (appended) {
            continue;
        }
        // Taking back is itself synced: the kernel may have written the batch out meanwhile.
        ASSERT_EQ(bed.disk->syncs(), syncs + 1);
        ASSERT_EQ(appended.error().code(), ErrorCode::kDiskFull);
        ASSERT_FALSE(bed.log->failed());
        ASSERT_EQ(bed.log->last_index(), LogIndex{1});

        // Whatever of it reached the disk is gone, whichever way the power fails.
        for (const Lost lost : {Lost::kNothing, Lost::kEverything, Lost::kSomeSectors}) {
            TestBed other;
            other.disk = bed.disk->copy(room + 1);
            other.disk->crash(lost);
            other.open();
            ASSERT_EQ(other.payloads(), "payload 1/1;") << room;
        }
        bed.append_and_sync(make_entry(2, 2));
        bed.crash_and_open(Lost::kEverything);
        ASSERT_EQ(bed.payloads(), "payload 1/1;payload 2/2;");
    }
}

TEST(LogFault, AFullDiskThatCannotEvenTakeTheBytesBackBreaksTheLog) {
    TestBed bed;
    bed.open();
    bed.disk->fail_writes_after(60, ErrorCode::kDiskFull);
    const std::vector<LogEntry> batch{make_entry(1), make_entry(2)};
    const Result<> appended = bed.log->append(batch);
    ASSERT_FALSE(appended);
    EXPECT_EQ(appended.error().code(), ErrorCode::kIo);
    EXPECT_TRUE(bed.log->failed());
}

TEST(LogFault, BelowTheReserveEntriesAreRefusedButVotesAreNot) {
    TestBed bed;
    bed.open();
    bed.append_and_sync(make_entry(1));
    bed.disk->set_free_bytes(bed.settings.reserve_bytes - 1);
    bed.clock.advance(
        std::chrono::seconds{1});  // The last answer about room is no longer believed.
    const LogEntry entry = make_entry(2);
    const Result<> appended = bed.log->append({&entry, 1});
    ASSERT_FALSE(appended);
    EXPECT_EQ(appended.error().code(), ErrorCode::kDiskFull);
    EXPECT_THAT(appended.error().message(), HasSubstr(kDirectory));
    ASSERT_TRUE(bed.log->set_hard_state({Term{5}, "me", LogIndex{1}}));
    ASSERT_TRUE(bed.log->sync());
    // Room again is noticed at once, without waiting.
    bed.disk->set_free_bytes(bed.settings.reserve_bytes);
    bed.append_and_sync(make_entry(2));
    bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(bed.log->last_index(), LogIndex{2});
    EXPECT_EQ(bed.log->recovery().hard_state.term, Term{5});
}

TEST(LogFault, AFullDiskAtEachStepOfANewSegmentAppendsNothingAndLeavesNoRubbish) {
    TestBed full;
    full.open();
    std::uint64_t next = 1;
    while (full.disk->list(kDirectory).value().size() < 2) {
        full.append_and_sync(make_entry(next++, 1, std::string(1000, 'a')));
        ASSERT_LT(next, 100U);
    }
    // Now the same again, stopping just before the segment that came last.
    TestBed bed;
    bed.open();
    for (std::uint64_t i = 1; i + 1 < next; ++i) {
        bed.append_and_sync(make_entry(i, 1, std::string(1000, 'a')));
    }
    const LogEntry entry = make_entry(next - 1, 1, std::string(1000, 'a'));
    for (const std::uint64_t room : {0U, 100U, 5000U, 16384U, 16484U}) {
        bed.disk->fail_writes_after(room, ErrorCode::kDiskFull);
        const Result<> appended = bed.log->append({&entry, 1});
        ASSERT_FALSE(appended);
        ASSERT_EQ(appended.error().code(), ErrorCode::kDiskFull);
        ASSERT_FALSE(bed.log->failed());
        ASSERT_EQ(bed.log->last_index(), LogIndex{next - 2});
        ASSERT_EQ(bed.disk->list(kDirectory).value().size(), 1U);
    }
    bed.disk->heal();
    bed.append_and_sync(entry);
    bed.append_and_sync(make_entry(next));
    bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(bed.log->last_index(), LogIndex{next});
}

TEST(LogFault, ASegmentThatBeganSmallIsExtendedOrTheAppendHasNotHappened) {
    TestBed bed;
    bed.settings.segment_bytes = 4 * kZeroChunkBytes;
    bed.open();
    ASSERT_EQ(bed.disk->contents(segment_path(1)).size(), kZeroChunkBytes);
    std::uint64_t next = 1;
    for (; next <= 10; ++next) {
        bed.append_and_sync(make_entry(next, 1, std::string(100'000, 'a')));
    }
    const LogEntry entry = make_entry(next, 1, std::string(100'000, 'a'));
    for (const std::uint64_t room : {0U, 1000U, 900'000U}) {
        bed.disk->fail_writes_after(room, ErrorCode::kDiskFull);
        const Result<> appended = bed.log->append({&entry, 1});
        ASSERT_FALSE(appended);
        ASSERT_EQ(appended.error().code(), ErrorCode::kDiskFull);
        ASSERT_EQ(bed.log->last_index(), LogIndex{next - 1});
    }
    bed.disk->heal();
    ASSERT_TRUE(bed.log->set_hard_state({Term{3}, "me", LogIndex{1}}));
    bed.append_and_sync(entry);
    EXPECT_EQ(bed.disk->list(kDirectory).value().size(), 1U);
    bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(bed.log->last_index(), LogIndex{next});
    EXPECT_EQ(bed.log->recovery().hard_state.term, Term{3});
}

TEST(LogFault, ANameThatCannotBeMadeDurableBreaksTheLogInsteadOfLosingASegment) {
    TestBed bed;
    bed.open();
    bed.disk->fail_names(true);
    Result<> appended = success();
    for (std::uint64_t i = 1; appended && i < 100; ++i) {
        const LogEntry entry = make_entry(i, 1, std::string(1000, 'a'));
        appended = bed.log->append({&entry, 1});
    }
    ASSERT_FALSE(appended);
    EXPECT_EQ(appended.error().code(), ErrorCode::kIo);
    EXPECT_TRUE(bed.log->failed());
}

TEST(LogFault, AHungSyncIsSeenFromOutsideAndWarnedOfOnce) {
    TestBed bed;
    bed.open();
    EXPECT_EQ(bed.log->writing_since(), std::nullopt);
    bed.append(make_entry(1));
    bed.disk->hold_syncs(true);
    const Deadline start = bed.clock.now();
    std::thread syncing{[&] { EXPECT_TRUE(bed.log->sync()); }};
    while (!bed.log->writing_since()) {
        std::this_thread::yield();
    }
    EXPECT_EQ(bed.log->writing_since(), start);
    while (!bed.disk->sync_is_held()) {
        std::this_thread::yield();
    }
    bed.clock.advance(std::chrono::seconds{3});
    bed.disk->hold_syncs(false);
    syncing.join();
    EXPECT_EQ(bed.log->writing_since(), std::nullopt);
    ASSERT_EQ(bed.warnings.size(), 1U);
    EXPECT_THAT(bed.warnings[0], HasSubstr("3000 ms"));
}

TEST(LogFault, AHungWriteIsSeenFromOutsideToo) {
    TestBed bed;
    bed.open();
    bed.disk->hold_writes(true);
    const Deadline start = bed.clock.now();
    std::thread writing{[&] { bed.append(make_entry(1)); }};
    while (!bed.disk->write_is_held()) {
        std::this_thread::yield();
    }
    EXPECT_EQ(bed.log->writing_since(), start);
    bed.clock.advance(std::chrono::seconds{3});
    bed.disk->hold_writes(false);
    writing.join();
    EXPECT_EQ(bed.log->writing_since(), std::nullopt);
}

TEST(LogFault, OneProcessAtATime) {
    TestBed bed;
    bed.open();
    TestBed second;
    LogWorld world;
    world.file_system = bed.disk.get();
    const auto opened = open_segmented_log_on(bed.settings, bed.clock, world);
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), ErrorCode::kBusy);
}

}  // namespace
}  // namespace nornic::engine::log_test
