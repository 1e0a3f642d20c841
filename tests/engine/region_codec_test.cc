// The bytes that regions exchange: what was written is read back, and nothing else is believed.
#include "base/random.h"
#include "engine/region/codec.h"

#include <gtest/gtest.h>

namespace nornic::engine {
namespace {

RegionRow row(RegionNumber number) {
    RegionRow out;
    out.number = number;
    out.name = "region-" + std::to_string(number);
    out.history = "uuid-" + std::to_string(number);
    out.dropped = number == 2;
    out.settled = number == 2;
    out.partial = number == 31;
    out.cursor = LogIndex{number * 1000ULL};
    out.cursor_time = number * 77ULL << 40;
    out.reported = Frontier(number, 5);
    out.acked = LogIndex{number};
    out.era = number;
    return out;
}

RegionHeader header() {
    return RegionHeader{.rank = 3, .epoch = 1ULL << 33, .manual = true, .seen = {0, 12, 1ULL << 60}};
}

RegionState state() {
    return RegionState{.self = 1,
                       .began = LogIndex{4},
                       .pristine = false,
                       .epoch = 5,
                       .primary = 2,
                       .rank = 6,
                       .watermark = 7,
                       .time = 8,
                       .regions = {row(1), row(2), row(31)},
                       .conflicts = 9,
                       .conflicts_open = 10,
                       .tombstones = 11};
}

std::string plain() {
    std::string bytes;
    WriteSetWriter writer{bytes, DatabaseId{300}};
    writer.delete_node(NodeId{33});
    writer.set_property(NodeId{65}, PropertyKeyId{2}, Value{std::int64_t{5}});
    return bytes;
}

std::string batch_bytes() {
    const std::string write_set = stamp_write_set(header(), plain());
    RegionBatch batch;
    batch.origin = 31;
    for (std::uint64_t i = 0; i < 3; ++i) {
        StampedWrite write = decode_stamped(write_set).value();
        write.index = LogIndex{i * 100};
        write.time = i << 50;
        batch.writes.push_back(write);
    }
    batch.through = LogIndex{1'000'000};
    batch.through_time = 17;
    batch.frontier = {0, 1, 2};
    batch.acked = LogIndex{18};
    return encode_region_batch(batch);
}

/// No cut of `bytes` decodes, and bytes with noise in them decode or do not, but never more than that.
template <class Decode>
void expect_bounded(const std::string& bytes, Decode&& decode) {
    for (std::size_t cut = 0; cut < bytes.size(); ++cut) {
        const auto got = decode(std::string_view{bytes}.substr(0, cut));
        EXPECT_FALSE(got) << "cut at " << cut;
        if (!got) {
            EXPECT_EQ(got.error().code(), ErrorCode::kCorruption);
        }
    }
    EXPECT_FALSE(decode(bytes + "x"));
    Random random{7};
    for (int i = 0; i < 20'000; ++i) {
        std::string noisy = bytes;
        for (std::uint64_t n = 1 + random.below(4); n > 0; --n) {
            noisy[random.below(noisy.size())] = static_cast<char>(random.below(256));
        }
        static_cast<void>(decode(noisy));
        std::string noise(random.below(40), '\0');
        for (char& c : noise) {
            c = static_cast<char>(random.below(256));
        }
        if (!noise.empty()) {
            noise[0] = bytes[0];  // get past the format
        }
        static_cast<void>(decode(noise));
    }
}

TEST(RegionCodec, AStateIsReadBackAndNothingElseIsBelieved) {
    const std::string bytes = encode_region_state(state());
    EXPECT_EQ(decode_region_state(bytes).value(), state());
    EXPECT_EQ(decode_region_state(encode_region_state(RegionState{})).value(), RegionState{});
    expect_bounded(bytes, decode_region_state);
}

TEST(RegionCodec, AChangeIsReadBackAndNothingElseIsBelieved) {
    RegionChange change;
    change.kind = RegionChange::Kind::kMerged;  // the last of them
    change.number = 7;
    change.regions = {row(3)};
    change.epoch = 4;
    change.cursor = LogIndex{9};
    change.time = 1ULL << 62;
    change.frontier = {0, 3};
    change.acked = LogIndex{2};
    change.history = "h";
    const std::string bytes = encode_region_change(change);
    const RegionChange got = decode_region_change(bytes).value();
    EXPECT_EQ(got.kind, change.kind);
    EXPECT_EQ(got.number, change.number);
    EXPECT_EQ(got.regions, change.regions);
    EXPECT_EQ(got.epoch, change.epoch);
    EXPECT_EQ(got.cursor, change.cursor);
    EXPECT_EQ(got.time, change.time);
    EXPECT_EQ(got.frontier, change.frontier);
    EXPECT_EQ(got.acked, change.acked);
    EXPECT_EQ(got.history, change.history);
    expect_bounded(bytes, decode_region_change);
}

TEST(RegionCodec, AStampedWriteHoldsItsHeaderAndTheOperationsOfThePlainOne) {
    const std::string bytes = stamp_write_set(header(), plain());
    EXPECT_EQ(write_set_format(bytes), kStampedFormat);
    const StampedWrite write = decode_stamped(bytes).value();
    EXPECT_EQ(write.header.rank, 3);
    EXPECT_EQ(write.header.epoch, 1ULL << 33);
    EXPECT_TRUE(write.header.manual);
    EXPECT_EQ(write.header.seen, header().seen);
    EXPECT_EQ(write.database, DatabaseId{300});
    WriteSetReader reader = write.reader();
    WriteOperation operation;
    ASSERT_TRUE(reader.next(operation).value());
    EXPECT_EQ(operation.op, WriteOp::kDeleteNode);
    EXPECT_EQ(operation.id, 33U);
    ASSERT_TRUE(reader.next(operation).value());
    EXPECT_EQ(operation.value.as_integer(), 5);
    EXPECT_FALSE(reader.next(operation).value());
}

TEST(RegionCodec, AStampedWriteCutInItsHeadOrOfAnotherFormatIsRefused) {
    const std::string bytes = stamp_write_set(header(), "");
    for (std::size_t cut = 0; cut <= bytes.size(); ++cut) {
        EXPECT_FALSE(decode_stamped(std::string_view{bytes}.substr(0, cut))) << cut;
    }
    EXPECT_FALSE(decode_stamped(plain()));
    EXPECT_FALSE(decode_stamped(batch_bytes()));
}

TEST(RegionCodec, ABatchIsReadBackAndNothingElseIsBelieved) {
    const std::string bytes = batch_bytes();
    const RegionBatch batch = decode_region_batch(bytes).value();
    EXPECT_EQ(batch.origin, 31);
    ASSERT_EQ(batch.writes.size(), 3U);
    EXPECT_EQ(batch.writes[2].index, LogIndex{200});
    EXPECT_EQ(batch.writes[2].time, 2ULL << 50);
    EXPECT_EQ(batch.writes[2].header.seen, header().seen);
    EXPECT_EQ(batch.writes[2].database, DatabaseId{300});
    WriteSetReader reader = batch.writes[2].reader();
    WriteOperation operation;
    EXPECT_TRUE(reader.next(operation).value());
    EXPECT_EQ(batch.through, LogIndex{1'000'000});
    EXPECT_EQ(batch.through_time, 17U);
    EXPECT_EQ(batch.frontier, (Frontier{0, 1, 2}));
    EXPECT_EQ(batch.acked, LogIndex{18});
    expect_bounded(bytes, decode_region_batch);
}

TEST(RegionCodec, ABatchOfNobodyIsRefused) {
    RegionBatch batch;
    EXPECT_FALSE(decode_region_batch(encode_region_batch(batch)));
}

TEST(RegionCodec, ACountBeyondTheBytesIsRefusedBeforeAnythingIsMadeForIt) {
    std::string bytes;
    ByteWriter out{bytes};
    out.put_u8(kRegionBatchFormat);
    out.put_u8(1);
    out.put_varint(UINT64_MAX);
    EXPECT_FALSE(decode_region_batch(bytes));
}

TEST(RegionCodec, AStampIsReadBackAndNoneIsOneByte) {
    for (const Stamp& stamp : {Stamp{}, Stamp{.time = 5, .rank = 65535, .region = 31}}) {
        std::string bytes;
        ByteWriter out{bytes};
        put_stamp(stamp, out);
        EXPECT_EQ(bytes.size() == 1, stamp.none());
        ByteReader in{bytes};
        Stamp got;
        EXPECT_TRUE(get_stamp(in, got));
        EXPECT_EQ(got, stamp);
    }
}

TEST(RegionState, IsAskedByNumberNameAndHistory) {
    const RegionState asked = state();
    EXPECT_EQ(asked.find(RegionNumber{2})->name, "region-2");
    EXPECT_EQ(asked.find(RegionNumber{3}), nullptr);
    EXPECT_EQ(asked.find("region-31")->number, 31);
    EXPECT_EQ(asked.find("nowhere"), nullptr);
    EXPECT_EQ(asked.with_history("uuid-1")->number, 1);
    EXPECT_EQ(RegionState{.regions = {RegionRow{.number = 4}}}.with_history(""), nullptr);
}

TEST(RegionState, ItsFrontierIsItsOwnTimeAndTheCursorsOfOthers) {
    const Frontier frontier = state().frontier();
    ASSERT_EQ(frontier.size(), 32U);
    EXPECT_EQ(known_of(frontier, 1), 8U);
    EXPECT_EQ(known_of(frontier, 2), kAllTime);  // nothing of it is to come
    EXPECT_EQ(known_of(frontier, 31), 31 * 77ULL << 40);
    EXPECT_EQ(known_of(frontier, 9), 0U);
    EXPECT_EQ(known_of(frontier, 0), 1U);  // there may be more, of states that were merged by half
    EXPECT_EQ(known_of(RegionState{.self = 1, .time = 8, .regions = {RegionRow{.number = 1}}}.frontier(), 0), 0U);
}

}  // namespace
}  // namespace nornic::engine
