#include "log_support.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <array>
#include <atomic>
#include <csignal>
#include <filesystem>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

namespace nornic::engine::log_test {
namespace {

using ::testing::HasSubstr;
using Lost = SimulatedDisk::Lost;

TEST(SegmentedLog, AFreshLogIsEmptyAndBeginsAtOne) {
    TestBed bed;
    bed.open();
    EXPECT_EQ(bed.log->first_index(), LogIndex{1});
    EXPECT_EQ(bed.log->last_index(), LogIndex{0});
    EXPECT_EQ(bed.log->term_at(LogIndex{0}).value(), Term{0});
    EXPECT_FALSE(bed.log->term_at(LogIndex{1}));
    EXPECT_EQ(bed.log->recovery().hard_state, HardState{});
}

TEST(SegmentedLog, GivesBackEveryFieldOfWhatWasSyncedAfterAPowerFailure) {
    TestBed bed;
    bed.open();
    LogEntry first = make_entry(1, 3, std::string("\0\xff text", 7));
    first.kind = EntryKind::kMembership;
    first.hybrid_time = 0xfedcba9876543210;
    const LogEntry second = make_entry(2, 4, "");
    const std::vector<LogEntry> batch{first, second};
    ASSERT_TRUE(bed.log->append(batch));
    ASSERT_TRUE(bed.log->set_hard_state({Term{4}, "node-a", LogIndex{1}}));
    ASSERT_TRUE(bed.log->sync());
    bed.append(make_entry(3, 4));
    bed.crash_and_open(Lost::kEverything);

    const std::vector<LogEntry> found = bed.entries();
    ASSERT_EQ(found.size(), 2U);
    EXPECT_EQ(found[0].payload, first.payload);
    EXPECT_EQ(found[0].kind, EntryKind::kMembership);
    EXPECT_EQ(found[0].hybrid_time, first.hybrid_time);
    EXPECT_EQ(found[0].term, Term{3});
    EXPECT_EQ(found[1].payload, "");
    EXPECT_EQ(bed.log->recovery().last, LogIndex{2});
    EXPECT_EQ(bed.log->recovery().last_term, Term{4});
    EXPECT_EQ(bed.log->recovery().hard_state, (HardState{Term{4}, "node-a", LogIndex{1}}));
}

TEST(SegmentedLog, OneBatchIsOneWriteAndOneSync) {
    TestBed bed;
    bed.open();
    const std::uint64_t writes = bed.disk->writes();
    const std::uint64_t syncs = bed.disk->syncs();
    const std::vector<LogEntry> batch{make_entry(1), make_entry(2), make_entry(3)};
    ASSERT_TRUE(bed.log->append(batch));
    ASSERT_TRUE(bed.log->sync());
    ASSERT_TRUE(bed.log->sync());  // Nothing new: no second flush.
    EXPECT_EQ(bed.disk->writes() - writes, 1U);
    EXPECT_EQ(bed.disk->syncs() - syncs, 1U);
}

TEST(SegmentedLog, AnAppendNeverChangesTheSizeOfAPreparedFile) {
    TestBed bed;
    bed.open();
    const std::size_t size = bed.disk->contents(segment_path(1)).size();
    for (std::uint64_t i = 1; i <= 20; ++i) {
        bed.append_and_sync(make_entry(i));
    }
    EXPECT_EQ(bed.disk->contents(segment_path(1)).size(), size);
}

TEST(SegmentedLog, AnOverwrittenTailNeverComesBack) {
    TestBed bed;
    bed.open();
    for (std::uint64_t i = 1; i <= 5; ++i) {
        bed.append_and_sync(make_entry(i, 1));
    }
    bed.append_and_sync(make_entry(3, 2));
    EXPECT_EQ(bed.log->last_index(), LogIndex{3});
    EXPECT_EQ(bed.log->term_at(LogIndex{3}).value(), Term{2});
    EXPECT_EQ(bed.log->term_at(LogIndex{2}).value(), Term{1});
    bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(bed.payloads(), "payload 1/1;payload 2/1;payload 3/2;");
    EXPECT_EQ(bed.log->recovery().last_term, Term{2});
}

TEST(SegmentedLog, AnUnsyncedOverwriteLeavesTheOldTailOrThePlaceOfTheCut) {
    TestBed bed;
    bed.open();
    for (std::uint64_t i = 1; i <= 3; ++i) {
        bed.append_and_sync(make_entry(i, 1));
    }
    bed.append(make_entry(2, 2));
    bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(bed.payloads(), "payload 1/1;payload 2/1;payload 3/1;");
}

TEST(SegmentedLog, OverwritesAcrossSegmentsAndFromTheFirstEntry) {
    TestBed bed;
    bed.open();
    for (std::uint64_t i = 1; i <= 40; ++i) {
        bed.append_and_sync(make_entry(i, 1, std::string(1000, 'a')));
    }
    ASSERT_TRUE(bed.disk->list(kDirectory).value().size() > 3);
    bed.append_and_sync(make_entry(5, 2));
    bed.append_and_sync(make_entry(6, 2));
    bed.open();
    EXPECT_EQ(bed.log->last_index(), LogIndex{6});
    EXPECT_EQ(bed.entries()[4].payload, "payload 5/2");
    // What lies between is no longer needed, though the segments with the dropped entries are.
    ASSERT_TRUE(bed.log->truncate_before(LogIndex{5}));
    EXPECT_EQ(bed.log->first_index(), LogIndex{5});
    EXPECT_EQ(bed.log->term_at(LogIndex{4}).value(), Term{1});
    bed.open();
    EXPECT_EQ(bed.payloads(), "payload 5/2;payload 6/2;");
    EXPECT_EQ(bed.log->term_at(LogIndex{4}).value(), Term{1});
    bed.append_and_sync(make_entry(5, 3));
    bed.open();
    EXPECT_EQ(bed.payloads(), "payload 5/3;");
    EXPECT_EQ(bed.log->first_index(), LogIndex{5});
}

TEST(SegmentedLog, WhatIsCutOffIsGoneOnceThatIsSynced) {
    TestBed bed;
    bed.open();
    for (std::uint64_t i = 1; i <= 3; ++i) {
        bed.append_and_sync(make_entry(i, i));
    }
    ASSERT_TRUE(bed.log->truncate_after(LogIndex{2}));
    EXPECT_EQ(bed.log->last_index(), LogIndex{2});
    bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(bed.log->last_index(), LogIndex{3});
    ASSERT_TRUE(bed.log->truncate_after(LogIndex{2}));
    ASSERT_TRUE(bed.log->sync());
    bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(bed.payloads(), "payload 1/1;payload 2/2;");
    EXPECT_EQ(bed.log->recovery().last_term, Term{2});
    ASSERT_TRUE(bed.log->truncate_after(LogIndex{2}));
    ASSERT_TRUE(bed.log->truncate_after(LogIndex{0}));
    EXPECT_EQ(bed.log->first_index(), LogIndex{1});
    bed.append_and_sync(make_entry(1, 4));
    bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(bed.payloads(), "payload 1/4;");
}

TEST(SegmentedLog, HardStateOutlivesItsSegment) {
    TestBed bed;
    bed.open();
    ASSERT_TRUE(bed.log->set_hard_state({Term{9}, "node-b", LogIndex{0}}));
    for (std::uint64_t i = 1; i <= 60; ++i) {
        bed.append_and_sync(make_entry(i, 9, std::string(1000, 'a')));
    }
    // A few segments at a time.
    std::size_t calls = 0;
    for (LogIndex first = bed.log->first_index(); bed.log->may_truncate_before(LogIndex{60}); ++calls) {
        ASSERT_TRUE(bed.log->truncate_before(LogIndex{60}));
        ASSERT_GT(bed.log->first_index(), first) << "what may be recycled is";
        first = bed.log->first_index();
    }
    EXPECT_GT(calls, 1U);
    ASSERT_GT(bed.log->first_index(), LogIndex{40});
    bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(bed.log->recovery().hard_state, (HardState{Term{9}, "node-b", LogIndex{0}}));
    EXPECT_EQ(bed.log->last_index(), LogIndex{60});
}

TEST(SegmentedLog, WhatAModeAddsToTheHardStateIsKeptAndMayGoAgain) {
    TestBed bed;
    bed.open();
    const HardState state{Term{9}, "node-b", LogIndex{0}, std::string{"\0fence", 6}};
    ASSERT_TRUE(bed.log->set_hard_state(state));
    ASSERT_TRUE(bed.log->sync());
    bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(bed.log->recovery().hard_state, state);
    for (std::uint64_t i = 1; i <= 60; ++i) {
        bed.append_and_sync(make_entry(i, 1, std::string(1000, 'a')));
    }
    ASSERT_TRUE(bed.log->truncate_before(LogIndex{50}));
    bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(bed.log->recovery().hard_state, state) << "carried into each new segment";

    const HardState most{Term{10}, std::string(1024, 'n'), LogIndex{2}, std::string(4096, 'x')};
    ASSERT_TRUE(bed.log->set_hard_state(most));
    ASSERT_TRUE(bed.log->sync());
    bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(bed.log->recovery().hard_state, most);

    const HardState none{Term{11}, "node-c", LogIndex{2}, ""};
    ASSERT_TRUE(bed.log->set_hard_state(none));
    ASSERT_TRUE(bed.log->sync());
    bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(bed.log->recovery().hard_state, none);
}

TEST(SegmentedLog, AHardStateOverItsLimitsIsRefusedByEveryLog) {
    TestBed bed;
    bed.open();
    const std::unique_ptr<Log> memory = make_memory_log();
    for (Log* log : {bed.log.get(), memory.get()}) {
        for (const HardState& state : {HardState{Term{1}, std::string(1025, 'n'), LogIndex{0}, ""},
                                       HardState{Term{1}, "n", LogIndex{0}, std::string(4097, 'x')}}) {
            const Result<> refused = log->set_hard_state(state);
            ASSERT_FALSE(refused);
            EXPECT_EQ(refused.error().code(), ErrorCode::kInvalidArgument);
        }
    }
}

TEST(SegmentedLog, TheTermBeforeTheFirstEntryIsKnownAfterTruncationResetAndOverwriting) {
    TestBed bed;
    bed.open();
    EXPECT_EQ(bed.log->term_at(LogIndex{0}).value(), Term{0});
    for (std::uint64_t i = 1; i <= 60; ++i) {
        bed.append_and_sync(make_entry(i, 1 + i / 10, std::string(1000, 'a')));
    }
    ASSERT_TRUE(bed.log->truncate_before(LogIndex{45}));
    for (int round = 0; round < 2; ++round) {
        const LogIndex before{bed.log->first_index().value - 1};
        ASSERT_GT(before.value, 0U);
        EXPECT_EQ(bed.log->term_at(before).value(), Term{1 + before.value / 10});
        bed.crash_and_open(Lost::kEverything);
    }
    const LogIndex first = bed.log->first_index();
    bed.append_and_sync(make_entry(first.value, 99));
    for (int round = 0; round < 2; ++round) {
        EXPECT_EQ(bed.log->first_index(), first);
        EXPECT_EQ(bed.log->last_index(), first);
        EXPECT_EQ(bed.log->term_at(first).value(), Term{99});
        EXPECT_EQ(bed.log->term_at(LogIndex{first.value - 1}).value(), Term{1 + (first.value - 1) / 10});
        bed.crash_and_open(Lost::kEverything);
    }
    ASSERT_TRUE(bed.log->reset(LogIndex{7}, Term{100}));
    for (int round = 0; round < 2; ++round) {
        EXPECT_EQ(bed.log->term_at(LogIndex{6}).value(), Term{100});
        const Result<Term> none = bed.log->term_at(LogIndex{7});
        ASSERT_FALSE(none);
        EXPECT_EQ(none.error().code(), ErrorCode::kNotFound);
        bed.crash_and_open(Lost::kEverything);
    }
}

TEST(SegmentedLog, TruncatedSegmentsServeAgainAndTheirOldRecordsNeverShow) {
    TestBed bed;
    bed.open();
    std::uint64_t next = 1;
    for (int round = 0; round < 6; ++round) {
        for (int i = 0; i < 30; ++i) {
            bed.append_and_sync(make_entry(next++, 1, std::string(1000, 'a')));
        }
        while (bed.log->may_truncate_before(LogIndex{next - 1})) {
            ASSERT_TRUE(bed.log->truncate_before(LogIndex{next - 1}));
        }
        bed.crash_and_open(round % 2 == 0 ? Lost::kEverything : Lost::kNothing);
        EXPECT_EQ(bed.log->last_index(), LogIndex{next - 1});
        EXPECT_LT(bed.log->disk_bytes(), std::uint64_t{4} * bed.settings.segment_bytes);
    }
    const Result<> read =
        bed.log->read(LogIndex{1}, LogIndex{2}, [](const LogEntry&) { return true; });
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code(), ErrorCode::kNotFound);
}

TEST(SegmentedLog, ResetForgetsEverythingAndContinuesWhereTold) {
    TestBed bed;
    bed.open();
    for (std::uint64_t i = 1; i <= 40; ++i) {
        bed.append_and_sync(make_entry(i, 1, std::string(1000, 'a')));
    }
    ASSERT_TRUE(bed.log->set_hard_state({Term{7}, "n", LogIndex{3}}));
    ASSERT_TRUE(bed.log->reset(LogIndex{1000}, Term{6}));
    EXPECT_EQ(bed.log->first_index(), LogIndex{1000});
    EXPECT_EQ(bed.log->last_index(), LogIndex{999});
    bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(bed.log->first_index(), LogIndex{1000});
    EXPECT_EQ(bed.log->term_at(LogIndex{999}).value(), Term{6});
    EXPECT_EQ(bed.log->recovery().last_term, Term{6});
    EXPECT_EQ(bed.log->recovery().hard_state.term, Term{7});
    bed.append_and_sync(make_entry(1000, 8));
    bed.open();
    EXPECT_EQ(bed.payloads(), "payload 1000/8;");
}

TEST(SegmentedLog, AnEntryLargerThanASegmentIsWholeOrRefused) {
    TestBed bed;
    bed.open();
    bed.append_and_sync(make_entry(1));
    const std::string large(200'000, 'x');
    bed.append_and_sync(make_entry(2, 1, large));
    bed.append_and_sync(make_entry(3));
    const LogEntry too_large = make_entry(4, 1, std::string(bed.settings.entry_bytes_max + 1, 'y'));
    const Result<> refused = bed.log->append({&too_large, 1});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kInvalidArgument);
    bed.crash_and_open(Lost::kEverything);
    ASSERT_EQ(bed.entries().size(), 3U);
    EXPECT_EQ(bed.entries()[1].payload, large);
}

TEST(SegmentedLog, ReadStopsWhereItIsToldAndStartsAnywhere) {
    TestBed bed;
    bed.open();
    for (std::uint64_t i = 1; i <= 100; ++i) {
        bed.append(make_entry(i, 1, std::string(i * 7, 'a')));
    }
    for (std::uint64_t from = 1; from <= 100; from += 9) {
        std::uint64_t expected = from;
        ASSERT_TRUE(bed.log->read(LogIndex{from}, LogIndex{from + 20}, [&](const LogEntry& entry) {
            EXPECT_EQ(entry.index, LogIndex{expected});
            EXPECT_EQ(entry.payload.size(), expected * 7);
            return ++expected < from + 10;
        }));
        EXPECT_EQ(expected, std::min<std::uint64_t>(from + 10, 101));
    }
}

TEST(SegmentedLog, AnOrderlyStopIsProvenByOneMarkHoweverOftenItIsRepeated) {
    TestBed bed;
    bed.open();
    bed.append(make_entry(1));  // Not synced by the caller: closing does it.
    bed.open();
    EXPECT_EQ(bed.payloads(), "payload 1/1;");
    const std::size_t records = record_offsets(*bed.disk, 1).size();
    for (int i = 0; i < 5; ++i) {
        bed.open();
    }
    EXPECT_EQ(record_offsets(*bed.disk, 1).size(), records);
}

TEST(SegmentedLog, BadSettingsAreNamed) {
    TestBed bed;
    bed.settings.segment_bytes = 5000;
    const Result<> opened = bed.try_open();
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(opened.error().message(), HasSubstr("5000"));
}

// On the machine's own disk.

class PosixLog : public ::testing::Test {
protected:
    void SetUp() override {
        directory_ = (std::filesystem::temp_directory_path() /
                      fmt::format("log_test.{}.{}",
                                  ::getpid(),
                                  ::testing::UnitTest::GetInstance()->current_test_info()->name()))
                         .string();
        std::filesystem::remove_all(directory_);
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }
    std::unique_ptr<Log> open(std::uint64_t segment_bytes = std::uint64_t{1} << 20) {
        LogSettings settings;
        settings.directory = directory_ + "/log";
        settings.segment_bytes = segment_bytes;
        auto opened = open_segmented_log(settings, system_clock());
        EXPECT_TRUE(opened) << opened.error().message();
        return opened ? std::move(opened).value() : nullptr;
    }
    std::string directory_;
};

TEST_F(PosixLog, ASecondProcessIsToldWhoHoldsTheDirectory) {
    const std::unique_ptr<Log> log = open();
    LogSettings settings;
    settings.directory = directory_ + "/log";
    const auto second = open_segmented_log(settings, system_clock());
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code(), ErrorCode::kBusy);
    EXPECT_THAT(second.error().message(), HasSubstr(settings.directory));
    EXPECT_THAT(second.error().message(), HasSubstr(std::to_string(::getpid())));
}

TEST_F(PosixLog, SegmentsRollAndRecycleOnARealDiskWithTheBackgroundPreparingThem) {
    std::uint64_t next = 1;
    for (int round = 0; round < 3; ++round) {
        const std::unique_ptr<Log> log = open();
        ASSERT_NE(log, nullptr);
        EXPECT_EQ(log->last_index(), LogIndex{next - 1});
        for (int i = 0; i < 200; ++i) {
            const LogEntry entry = make_entry(next++, 1, std::string(30'000, 'a'));
            ASSERT_TRUE(log->append({&entry, 1}));
            if (i % 10 == 0) {
                ASSERT_TRUE(log->sync());
            }
            if (i % 50 == 0) {
                ASSERT_TRUE(log->truncate_before(LogIndex{next - 40}));
            }
        }
        std::uint64_t seen = 0;
        ASSERT_TRUE(log->read(log->first_index(), log->last_index(), [&](const LogEntry& entry) {
            seen = entry.index.value;
            return entry.payload.size() == 30'000;
        }));
        EXPECT_EQ(seen, next - 1);
        EXPECT_LT(log->disk_bytes(), std::uint64_t{12} << 20);
    }
}

TEST_F(PosixLog, WhatAKilledProcessSaidWasSyncedIsThere) {
#if __has_feature(thread_sanitizer)
    GTEST_SKIP() << "ThreadSanitizer allows no new threads in a fork of a process that had some";
#endif
    std::uint64_t promised = 0;
    for (int round = 0; round < 8; ++round) {
        std::array<int, 2> pipe_ends{};
        ASSERT_EQ(::pipe(pipe_ends.data()), 0);
        const pid_t child = ::fork();
        ASSERT_GE(child, 0);
        if (child == 0) {
            LogSettings settings;
            settings.directory = directory_ + "/log";
            settings.segment_bytes = std::uint64_t{64} << 10;
            auto log = open_segmented_log(settings, system_clock());
            for (std::uint64_t i = log ? log.value()->last_index().value + 1 : 0; i > 0; ++i) {
                const LogEntry entry = make_entry(i, 1, std::string(i % 3000, 'k'));
                if (!log.value()->append({&entry, 1}) || !log.value()->sync() ||
                    ::write(pipe_ends[1], &i, sizeof i) != sizeof i) {
                    break;
                }
            }
            ::_exit(1);
        }
        ::close(pipe_ends[1]);
        const std::uint64_t enough = promised + 40 + static_cast<std::uint64_t>(round) * 7;
        std::uint64_t index = 0;
        while (promised < enough && ::read(pipe_ends[0], &index, sizeof index) == sizeof index) {
            promised = index;
        }
        EXPECT_EQ(promised, enough);
        ::kill(child, SIGKILL);
        int status = 0;
        ASSERT_EQ(::waitpid(child, &status, 0), child);
        while (::read(pipe_ends[0], &index, sizeof index) == sizeof index) {
            promised = index;  // Said before it died.
        }
        ::close(pipe_ends[0]);
        const std::unique_ptr<Log> log = open(std::uint64_t{64} << 10);
        ASSERT_NE(log, nullptr);
        EXPECT_GE(log->last_index().value, promised);
        promised = log->last_index().value;
        std::uint64_t seen = 0;
        ASSERT_TRUE(log->read(LogIndex{1}, log->last_index(), [&](const LogEntry& entry) {
            seen = entry.index.value;
            return entry.payload == std::string(seen % 3000, 'k');
        }));
        EXPECT_EQ(seen, promised);
    }
}

TEST_F(PosixLog, ReadersRunBesideTheWriterAndTruncation) {
    const std::unique_ptr<Log> log = open(std::uint64_t{64} << 10);
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> seen{0};
    std::thread reader{[&] {
        while (!stop.load()) {
            const LogIndex from = log->first_index();
            std::uint64_t expected = from.value;
            const Result<> read = log->read(from, LogIndex{UINT64_MAX}, [&](const LogEntry& entry) {
                EXPECT_EQ(entry.index, LogIndex{expected});
                EXPECT_EQ(entry.payload, make_entry(expected).payload);
                ++expected;
                ++seen;
                return true;
            });
            if (!read) {
                EXPECT_EQ(read.error().code(), ErrorCode::kNotFound) << read.error().message();
            }
        }
    }};
    for (std::uint64_t i = 1; i <= 20'000 || seen.load() < 1000; ++i) {
        const LogEntry entry = make_entry(i);
        ASSERT_TRUE(log->append({&entry, 1}));
        if (i % 500 == 0) {
            ASSERT_TRUE(log->truncate_before(LogIndex{i - 400}));
        }
    }
    stop = true;
    reader.join();
}

}  // namespace
}  // namespace nornic::engine::log_test
