// What recovery makes of damaged bytes: a torn tail is cut, everything else is reported, and what
// is given back is always what was written.
#include "log_support.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace nornic::engine::log_test {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Lost = SimulatedDisk::Lost;

enum class Synced { kEachRecord, kOnceForAll };
enum class Stop { kKilled, kOrderly };

/// A log of three entries in one segment, and where its records stand: the hard state at the head,
/// the entries, perhaps a mark, and the end.
struct ThreeRecords {
    TestBed bed;
    std::vector<std::uint64_t> offsets;

    ThreeRecords(Synced synced, Stop stop) {
        bed.open();
        if (synced == Synced::kEachRecord) {
            for (std::uint64_t i = 1; i <= 3; ++i) {
                bed.append_and_sync(make_entry(i));
            }
        } else {
            const std::vector<LogEntry> batch{make_entry(1), make_entry(2), make_entry(3)};
            EXPECT_TRUE(bed.log->append(batch));
            EXPECT_TRUE(bed.log->sync());
        }
        if (stop == Stop::kKilled) {
            bed.disk->crash(Lost::kNothing);
        }
        bed.log.reset();
        offsets = record_offsets(*bed.disk, 1);
    }
    /// What a restart on a copy of the disk, changed by `harm`, makes of it.
    template <class Harm>
    Result<std::string> reopened(Harm&& harm) {
        TestBed other;
        other.disk = bed.disk->copy(2);
        harm(*other.disk);
        NORNIC_TRY(other.try_open());
        return other.payloads();
    }
};

const std::array<std::string, 4> kPrefixes = {
    "", "payload 1/1;", "payload 1/1;payload 2/1;", "payload 1/1;payload 2/1;payload 3/1;"};

struct FlipCase {
    const char* name;
    Synced synced;
    Stop stop;
    // For damage in the hard state and the three entries: cut (a shorter log) or reported.
    std::array<bool, 4> cut;
};

class BitFlips : public ::testing::TestWithParam<FlipCase> {};

TEST_P(BitFlips, AtEachByteAreReportedOrAtTheVeryEndCut) {
    ThreeRecords three{GetParam().synced, GetParam().stop};
    const std::string bytes = three.bed.disk->contents(segment_path(1));
    for (std::uint64_t at = 0; at < three.offsets.back() + 64; ++at) {
        for (const unsigned bit : {0U, 3U, 7U}) {
            const Result<std::string> found = three.reopened([&](SimulatedDisk& disk) {
                const char flipped = static_cast<char>(bytes[at] ^ static_cast<char>(1U << bit));
                disk.overwrite(segment_path(1), at, {&flipped, 1});
            });
            const auto after = std::upper_bound(three.offsets.begin(), three.offsets.end(), at);
            const auto record = static_cast<std::size_t>(after - three.offsets.begin());
            SCOPED_TRACE(testing::Message() << "byte " << at << " bit " << bit);
            if (at < kSegmentHeaderBytes) {
                // The header's fields are covered; the rest of its page holds nothing.
                ASSERT_EQ(found.has_value(), at >= 76);
            } else if (at >= three.offsets.back()) {
                ASSERT_TRUE(found) << found.error().message();  // Torn bytes of nothing.
                ASSERT_EQ(found.value(), kPrefixes[3]);
            } else if (record <= 4 && !GetParam().cut[record - 1]) {
                ASSERT_FALSE(found) << found.value();
                ASSERT_EQ(found.error().code(), ErrorCode::kCorruption);
                ASSERT_THAT(found.error().message(),
                            AllOf(HasSubstr(segment_path(1)),
                                  HasSubstr("offset " + std::to_string(three.offsets[record - 1])),
                                  HasSubstr("Nothing was changed")));
                if (record >= 2) {
                    ASSERT_THAT(found.error().message(),
                                HasSubstr("entry " + std::to_string(record - 1) + " would"));
                }
            } else {
                ASSERT_TRUE(found) << found.error().message();
                ASSERT_EQ(found.value(), kPrefixes[std::min<std::size_t>(record - 2, 3)]);
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(
    Log,
    BitFlips,
    ::testing::Values(
        FlipCase{
            "EachSyncedKilled", Synced::kEachRecord, Stop::kKilled, {false, false, false, true}},
        FlipCase{"OneBatchKilled", Synced::kOnceForAll, Stop::kKilled, {false, false, false, true}},
        FlipCase{
            "EachSyncedOrderly", Synced::kEachRecord, Stop::kOrderly, {false, false, false, false}},
        FlipCase{
            "OneBatchOrderly", Synced::kOnceForAll, Stop::kOrderly, {false, false, false, false}}),
    [](const auto& info) { return info.param.name; });

TEST(LogDamage, AFileCutShortAtAnyLengthIsReportedBecauseNoCrashDoesThat) {
    ThreeRecords three{Synced::kEachRecord, Stop::kKilled};
    const std::size_t size = three.bed.disk->contents(segment_path(1)).size();
    for (std::size_t length = 0; length < size; length += length < 5000 ? 1 : 97) {
        const Result<std::string> found = three.reopened(
            [length](SimulatedDisk& disk) { disk.truncate(segment_path(1), length); });
        ASSERT_FALSE(found) << length << " " << found.value();
        ASSERT_EQ(found.error().code(), ErrorCode::kCorruption);
        ASSERT_THAT(found.error().message(), HasSubstr(segment_path(1)));
    }
}

TEST(LogDamage, ATailZeroedFromAnyByteOnIsATornTail) {
    ThreeRecords three{Synced::kEachRecord, Stop::kKilled};
    const std::string bytes = three.bed.disk->contents(segment_path(1));
    for (std::uint64_t from = three.offsets[1]; from < three.offsets.back(); ++from) {
        const Result<std::string> found = three.reopened([&](SimulatedDisk& disk) {
            disk.overwrite(segment_path(1), from, std::string(bytes.size() - from, '\0'));
        });
        ASSERT_TRUE(found) << found.error().message();
        std::size_t whole = 0;
        while (three.offsets[whole + 2] <= from) {
            ++whole;
        }
        // The last byte of a record may be padding that was zero anyway.
        ASSERT_TRUE(found.value() == kPrefixes[whole] || found.value() == kPrefixes[whole + 1]);
    }
}

TEST(LogDamage, AWholeSectorLostUnderALaterRecordThatVouchesForItIsDamage) {
    TestBed bed;
    bed.open();
    bed.append_and_sync(make_entry(1, 1, std::string(3000, 'a')));
    bed.append_and_sync(make_entry(2));
    bed.disk->crash(Lost::kNothing);
    bed.disk->overwrite(
        segment_path(1), kSegmentHeaderBytes + 1024, std::string(kSectorBytes, '\0'));
    const Result<> opened = bed.try_open();
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), ErrorCode::kCorruption);
    EXPECT_THAT(opened.error().message(), HasSubstr("later ones prove"));
}

TEST(LogDamage, ZerosOfThePayloadBesideTheNextRecordAreNotTakenForALostSector) {
    TestBed bed;
    bed.open();
    // The first entry ends, in zeros, in the sector where the second begins.
    const std::vector<LogEntry> batch{
        make_entry(1, 1, std::string(400, 'a') + std::string(400, '\0')), make_entry(2)};
    ASSERT_TRUE(bed.log->append(batch));
    ASSERT_TRUE(bed.log->sync());
    bed.disk->crash(Lost::kNothing);
    const std::vector<std::uint64_t> offsets = record_offsets(*bed.disk, 1);
    ASSERT_LT(offsets[2] / kSectorBytes * kSectorBytes, offsets[2] - 8);
    bed.disk->overwrite(segment_path(1), offsets[1] + 100, "#");
    const Result<> opened = bed.try_open();
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), ErrorCode::kCorruption);
}

TEST(LogDamage, ARecordThatDoesNotFollowTheOneBeforeItIsDamage) {
    ThreeRecords three{Synced::kEachRecord, Stop::kKilled};
    const std::string bytes = three.bed.disk->contents(segment_path(1));
    const auto header =
        decode_segment_header(std::string_view{bytes}.substr(0, kSegmentHeaderBytes), "segment");
    ASSERT_TRUE(header);
    for (const std::uint32_t previous_crc : {0U, 1U}) {
        std::string forged;
        RecordEncoder encoder{
            forged, {header.value().salt, three.offsets.back(), previous_crc, kSegmentHeaderBytes}};
        encoder.add_entry(make_entry(4));
        const Result<std::string> found = three.reopened([&](SimulatedDisk& disk) {
            disk.overwrite(segment_path(1), three.offsets.back(), forged);
        });
        ASSERT_FALSE(found) << found.value();
        EXPECT_THAT(found.error().message(), HasSubstr("does not follow"));
    }
}

TEST(LogDamage, ATypeOfALaterVersionStopsTheStart) {
    ThreeRecords three{Synced::kEachRecord, Stop::kKilled};
    const std::string bytes = three.bed.disk->contents(segment_path(1));
    const auto header =
        decode_segment_header(std::string_view{bytes}.substr(0, kSegmentHeaderBytes), "segment");
    ASSERT_TRUE(header);
    RecordHeader last;
    std::memcpy(&last, bytes.data() + three.offsets[3], sizeof last);
    std::string later;
    RecordEncoder encoder{later, {header.value().salt, three.offsets.back(), last.crc, 0}};
    RecordHeader unknown;
    unknown.type = static_cast<RecordType>(77);
    encoder.add(unknown, "x");
    const Result<std::string> found = three.reopened(
        [&](SimulatedDisk& disk) { disk.overwrite(segment_path(1), three.offsets.back(), later); });
    ASSERT_FALSE(found) << found.value();
    EXPECT_EQ(found.error().code(), ErrorCode::kUnsupported);
    EXPECT_THAT(found.error().message(), HasSubstr("type 77"));
}

TEST(LogDamage, ATornTailIsCutCountedAndGoneForGood) {
    ThreeRecords three{Synced::kEachRecord, Stop::kKilled};
    three.bed.disk->overwrite(segment_path(1), three.offsets[3] + 60, "garbage");
    three.bed.open();
    EXPECT_EQ(three.bed.payloads(), kPrefixes[2]);
    EXPECT_GT(three.bed.log->recovery().torn_bytes_cut, 0U);
    three.bed.append_and_sync(make_entry(3, 2, ""));
    three.bed.crash_and_open(Lost::kEverything);
    EXPECT_EQ(three.bed.log->recovery().torn_bytes_cut, 0U);
    EXPECT_EQ(three.bed.payloads(), kPrefixes[2] + ";");
}

TEST(LogDamage, ABatchWithAnySectorsLostIsCutAtTheFirstLossAndNeverCalledDamage) {
    for (std::uint64_t seed = 1; seed <= 300; ++seed) {
        TestBed bed;
        bed.disk = std::make_unique<SimulatedDisk>(seed);
        bed.seed = seed;
        bed.open();
        bed.append_and_sync(make_entry(1));
        std::vector<LogEntry> batch;
        for (std::uint64_t i = 2; i <= 9; ++i) {
            batch.push_back(make_entry(i, 1, std::string(100 + (seed * i * 37) % 900, 'p')));
        }
        ASSERT_TRUE(bed.log->append(batch));
        bed.crash_and_open(Lost::kSomeSectors);
        if (::testing::Test::HasFatalFailure()) {
            FAIL() << "seed " << seed;
        }
        const std::vector<LogEntry> found = bed.entries();
        ASSERT_GE(found.size(), 1U);
        for (std::size_t i = 1; i < found.size(); ++i) {
            ASSERT_EQ(found[i].payload, batch[i - 1].payload) << "seed " << seed;
        }
        // What is left of the batch must not be in the way of what follows.
        bed.append_and_sync(make_entry(found.size() + 1, 2, std::string(50, 'q')));
        bed.crash_and_open(Lost::kEverything);
        ASSERT_EQ(bed.log->last_index(), LogIndex{found.size() + 1});
    }
}

/// Forty entries over several segments, closed in order.
void fill(TestBed& bed) {
    bed.open();
    for (std::uint64_t i = 1; i <= 40; ++i) {
        bed.append_and_sync(make_entry(i, 1, std::string(1000, 'a')));
    }
    bed.disk->crash(Lost::kNothing);
    bed.log.reset();
}

TEST(LogDamage, AnyFlipInAnEarlierSegmentIsReported) {
    TestBed bed;
    fill(bed);
    for (const std::uint64_t sequence : {1U, 2U}) {
        const std::vector<std::uint64_t> offsets = record_offsets(*bed.disk, sequence);
        const std::string bytes = bed.disk->contents(segment_path(sequence));
        for (std::uint64_t at = kSegmentHeaderBytes; at < offsets.back(); at += 61) {
            TestBed other;
            other.disk = bed.disk->copy(2);
            const char flipped = static_cast<char>(bytes[at] ^ 0x10);
            other.disk->overwrite(segment_path(sequence), at, {&flipped, 1});
            const Result<> opened = other.try_open();
            ASSERT_FALSE(opened);
            ASSERT_EQ(opened.error().code(), ErrorCode::kCorruption);
            ASSERT_THAT(opened.error().message(), HasSubstr(segment_path(sequence)));
        }
        // Even a tail of zeros, which in the newest segment would be a torn write.
        TestBed other;
        other.disk = bed.disk->copy(2);
        other.disk->overwrite(
            segment_path(sequence), offsets[3], std::string(bytes.size() - offsets[3], '\0'));
        const Result<> opened = other.try_open();
        ASSERT_FALSE(opened);
        ASSERT_THAT(opened.error().message(), HasSubstr("offset " + std::to_string(offsets[3])));
    }
}

TEST(LogDamage, AMissingSegmentIsNamed) {
    TestBed bed;
    fill(bed);
    ASSERT_TRUE(bed.disk->remove(segment_path(2)));
    const Result<> opened = bed.try_open();
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), ErrorCode::kCorruption);
    EXPECT_THAT(opened.error().message(), HasSubstr(segment_path(2) + " is missing"));
}

TEST(LogDamage, ASegmentUnderAnotherNameIsRefused) {
    TestBed bed;
    fill(bed);
    const std::string second = bed.disk->contents(segment_path(2));
    bed.disk->overwrite(segment_path(1), 0, second);
    const Result<> opened = bed.try_open();
    ASSERT_FALSE(opened);
    EXPECT_THAT(opened.error().message(), HasSubstr("says that it is number 2"));
}

TEST(LogDamage, ASegmentOfAnotherLogIsRefused) {
    TestBed bed;
    fill(bed);
    TestBed foreign;
    foreign.seed = 77;
    fill(foreign);
    bed.disk->overwrite(segment_path(2), 0, foreign.disk->contents(segment_path(2)));
    const Result<> opened = bed.try_open();
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code(), ErrorCode::kCorruption);
}

TEST(LogDamage, RotMetWhileReadingIsReportedWithItsPlace) {
    TestBed bed;
    bed.open();
    for (std::uint64_t i = 1; i <= 3; ++i) {
        bed.append_and_sync(make_entry(i));
    }
    const std::vector<std::uint64_t> offsets = record_offsets(*bed.disk, 1);
    bed.disk->overwrite(segment_path(1), offsets[2] + 50, "#");
    std::vector<std::uint64_t> seen;
    const Result<> read = bed.log->read(LogIndex{1}, LogIndex{3}, [&](const LogEntry& entry) {
        seen.push_back(entry.index.value);
        return true;
    });
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code(), ErrorCode::kCorruption);
    EXPECT_THAT(read.error().message(),
                AllOf(HasSubstr(segment_path(1)),
                      HasSubstr("offset " + std::to_string(offsets[2])),
                      HasSubstr("entry 2")));
    EXPECT_EQ(seen, std::vector<std::uint64_t>{1});
}

TEST(LogDamage, RandomBytesNeverCrashRecoveryNorInventEntries) {
    ThreeRecords three{Synced::kEachRecord, Stop::kKilled};
    Random random{11};
    for (int i = 0; i < 3000; ++i) {
        const Result<std::string> found = three.reopened([&](SimulatedDisk& disk) {
            std::string noise(1 + random.below(80), '\0');
            for (char& c : noise) {
                c = static_cast<char>(random.next());
            }
            const std::uint64_t at = random.below(three.offsets.back() + 100);
            disk.overwrite(segment_path(1), at, noise);
        });
        if (found) {
            ASSERT_TRUE(std::find(kPrefixes.begin(), kPrefixes.end(), found.value()) !=
                        kPrefixes.end())
                << found.value();
        } else {
            ASSERT_TRUE(found.error().code() == ErrorCode::kCorruption ||
                        found.error().code() == ErrorCode::kUnsupported);
        }
    }
}

}  // namespace
}  // namespace nornic::engine::log_test
