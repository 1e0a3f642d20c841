#include "engine/snapshot_pairs.h"

#include "base/bytes.h"
#include "base/random.h"
#include "tests/engine/member.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace nornic::engine {
namespace {

using testing::all_chunks;
using testing::Member;

SnapshotInfo some_info() {
    return SnapshotInfo{"id", LogIndex{7}, Term{2}, "history", 1000};
}

std::shared_ptr<Kv> kv_with(const std::vector<std::pair<std::string, std::string>>& pairs) {
    std::shared_ptr<Kv> kv = make_memory_kv();
    const auto batch = kv->new_batch();
    for (const auto& [key, value] : pairs) {
        batch->put(key, value);
    }
    EXPECT_TRUE(kv->write(*batch));
    EXPECT_TRUE(kv->flush());
    return kv;
}

std::vector<std::pair<std::string, std::string>> pairs_in(Kv& kv) {
    std::vector<std::pair<std::string, std::string>> out;
    const auto cursor = kv.new_cursor();
    for (cursor->seek(""); cursor->valid(); cursor->next()) {
        if (cursor->key() != "mimport") {
            out.emplace_back(cursor->key(), cursor->value());
        }
    }
    return out;
}

const std::vector<std::pair<std::string, std::string>> kPairs{
    {"a", ""},
    {"b", "short"},
    {"c1", std::string(300, 'x')},
    {"mimpor", "before the key that is our own"},
    {"mimport2", "behind it"},
    {"z", std::string(5000, 'y')},
};

PairExport export_of(const std::shared_ptr<Kv>& kv) {
    return PairExport{some_info(), kv, kv->new_scan()};
}

PairImport import_into(const std::shared_ptr<Kv>& kv) {
    auto progress = PairImport::progress_in(*kv).value();
    return PairImport{kv, progress.value_or(PairImport::Progress{.info = some_info(), .position = {}}), nullptr};
}

TEST(SnapshotPairs, EverySizeOfChunkCarriesTheSamePairs) {
    const auto from = kv_with(kPairs);
    for (const std::size_t bytes : {1U, 2U, 3U, 7U, 64U, 300U, 4096U, 100'000U}) {
        PairExport out = export_of(from);
        std::shared_ptr<Kv> to = make_memory_kv();
        PairImport in = import_into(to);
        for (const SnapshotChunk& chunk : all_chunks(out, bytes)) {
            EXPECT_LE(chunk.pairs.size(), bytes);
            ASSERT_FALSE(in.complete());
            const Result<> added = in.add(chunk);
            ASSERT_TRUE(added) << added.error().message();
        }
        EXPECT_TRUE(in.complete());
        EXPECT_EQ(pairs_in(*to), kPairs) << bytes;
        EXPECT_EQ(in.position().pair_count, kPairs.size());
    }
}

TEST(SnapshotPairs, AnEmptyStateIsOneEmptyChunk) {
    PairExport out = export_of(make_memory_kv());
    const auto chunks = all_chunks(out, 100);
    ASSERT_EQ(chunks.size(), 1U);
    PairImport in = import_into(make_memory_kv());
    ASSERT_TRUE(in.add(chunks.front()));
    EXPECT_TRUE(in.complete());
}

TEST(SnapshotPairs, AnExportReadsOneStateWhateverIsWrittenMeanwhile) {
    const auto from = kv_with(kPairs);
    PairExport out = export_of(from);
    const auto batch = from->new_batch();
    batch->put("b", "changed");
    batch->erase("z");
    batch->put("zz", "new");
    ASSERT_TRUE(from->write(*batch));
    std::shared_ptr<Kv> to = make_memory_kv();
    PairImport in = import_into(to);
    for (const SnapshotChunk& chunk : all_chunks(out, 50)) {
        ASSERT_TRUE(in.add(chunk));
    }
    EXPECT_EQ(pairs_in(*to), kPairs);
}

TEST(SnapshotPairs, TwoReceiversShareAnExportByTurns) {
    PairExport out = export_of(kv_with(kPairs));
    std::shared_ptr<Kv> kvs[2] = {make_memory_kv(), make_memory_kv()};
    PairImport in[2] = {import_into(kvs[0]), import_into(kvs[1])};
    SnapshotPosition at[2];
    Random random{3};
    while (!in[0].complete() || !in[1].complete()) {
        const std::size_t who = in[0].complete() ? 1 : in[1].complete() ? 0 : random.below(2);
        ASSERT_TRUE(out.seek(at[who]));
        const auto chunk = out.next(1 + random.below(200));
        ASSERT_TRUE(chunk);
        ASSERT_TRUE(in[who].add(chunk.value()));
        at[who] = out.position();
    }
    EXPECT_EQ(pairs_in(*kvs[0]), kPairs);
    EXPECT_EQ(pairs_in(*kvs[1]), kPairs);
}

TEST(SnapshotPairs, AnImportThatWasCutAnywhereGoesOnBehindItsLastWholePair) {
    const auto from = kv_with(kPairs);
    PairExport counted = export_of(from);
    const std::size_t chunks = all_chunks(counted, 40).size();
    for (std::size_t cut = 0; cut < chunks; ++cut) {
        for (const bool crash : {false, true}) {
            PairExport out = export_of(from);
            std::shared_ptr<Kv> to = make_memory_kv();
            {
                PairImport in = import_into(to);
                for (std::size_t i = 0; i < cut; ++i) {
                    ASSERT_TRUE(in.add(out.next(40).value()));
                }
            }
            if (crash) {
                crash_memory_kv(*to);
            }
            PairImport in = import_into(to);
            EXPECT_TRUE(crash ? in.position() == SnapshotPosition{} : in.position().partial == 0);
            ASSERT_TRUE(out.seek(in.position()));
            for (const SnapshotChunk& chunk : all_chunks(out, 55)) {
                const Result<> added = in.add(chunk);
                ASSERT_TRUE(added) << cut << ": " << added.error().message();
            }
            EXPECT_TRUE(in.complete());
            EXPECT_EQ(pairs_in(*to), kPairs);
        }
    }
}

TEST(SnapshotPairs, WhatWasFlushedSurvivesAPowerFailure) {
    std::vector<std::pair<std::string, std::string>> pairs;
    for (int i = 0; i < 40; ++i) {
        pairs.emplace_back("key" + std::to_string(1000 + i), std::string(std::size_t{1} << 20, 'v'));
    }
    const auto from = kv_with(pairs);
    PairExport out = export_of(from);
    std::shared_ptr<Kv> to = make_memory_kv();
    {
        PairImport in = import_into(to);
        for (int i = 0; i < 39 * 4; ++i) {
            ASSERT_TRUE(in.add(out.next(std::size_t{256} << 10).value()));
        }
    }
    crash_memory_kv(*to);
    PairImport in = import_into(to);
    EXPECT_GE(in.position().pair_count, 16U);
    EXPECT_LT(in.position().pair_count, 39U);
    ASSERT_TRUE(out.seek(in.position()));
    for (const SnapshotChunk& chunk : all_chunks(out, std::size_t{1} << 20)) {
        ASSERT_TRUE(in.add(chunk));
    }
    EXPECT_EQ(pairs_in(*to), pairs);
}

/// What must not be taken: each changes one chunk of a whole stream.
struct Damage {
    const char* name;
    std::function<void(SnapshotChunk&)> change;
};

std::string pair_bytes(std::string_view key, std::string_view value) {
    std::string bytes;
    ByteWriter out{bytes};
    out.put_string(key);
    out.put_string(value);
    return bytes;
}

TEST(SnapshotPairs, NothingIsTakenThatIsNotWhatWasSent) {
    const auto sealed = [](SnapshotChunk& chunk) { chunk.crc32c = crc32c(0, chunk.pairs); };
    const std::vector<Damage> damages{
        {"a bit", [](SnapshotChunk& c) { c.pairs[c.pairs.size() / 2] ^= 1; }},
        {"checksum", [](SnapshotChunk& c) { ++c.crc32c; }},
        {"count", [](SnapshotChunk& c) { ++c.pair_count; }},
        {"digest", [](SnapshotChunk& c) { ++c.digest; }},
        {"a bit under a right checksum",
         [&](SnapshotChunk& c) {
             c.pairs.back() ^= 1;
             sealed(c);
         }},
        {"shorter",
         [&](SnapshotChunk& c) {
             c.pairs.pop_back();
             sealed(c);
         }},
        {"order",
         [&](SnapshotChunk& c) {
             c.pairs = pair_bytes("zz", "1") + pair_bytes("zy", "2");
             sealed(c);
         }},
        {"a key again",
         [&](SnapshotChunk& c) {
             c.pairs = pair_bytes("zz", "1") + pair_bytes("zz", "2");
             sealed(c);
         }},
        {"an empty key",
         [&](SnapshotChunk& c) {
             c.pairs = pair_bytes("", "1");
             sealed(c);
         }},
        {"our own key",
         [&](SnapshotChunk& c) {
             c.pairs = pair_bytes("mimport", "1");
             sealed(c);
         }},
        {"a huge length",
         [&](SnapshotChunk& c) {
             c.pairs = std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x7F", 9);
             sealed(c);
         }},
        {"a length of eleven bytes",
         [&](SnapshotChunk& c) {
             c.pairs = std::string(11, '\xFF');
             sealed(c);
         }},
    };
    const auto from = kv_with(kPairs);
    for (const Damage& damage : damages) {
        PairExport out = export_of(from);
        std::vector<SnapshotChunk> chunks = all_chunks(out, 500);
        for (std::size_t at = 0; at < chunks.size(); ++at) {
            std::shared_ptr<Kv> to = make_memory_kv();
            PairImport in = import_into(to);
            for (std::size_t i = 0; i < at; ++i) {
                ASSERT_TRUE(in.add(chunks[i]));
            }
            const SnapshotPosition before = in.position();
            SnapshotChunk wrong = chunks[at];
            damage.change(wrong);
            const Result<> refused = in.add(wrong);
            ASSERT_FALSE(refused) << damage.name << " at " << at;
            EXPECT_EQ(refused.error().code(), ErrorCode::kCorruption);
            EXPECT_EQ(in.position(), before);
            EXPECT_FALSE(in.complete());
            // And it goes on from there.
            ASSERT_TRUE(out.seek(in.position()));
            for (const SnapshotChunk& chunk : all_chunks(out, 500)) {
                ASSERT_TRUE(in.add(chunk)) << damage.name << " at " << at;
            }
            EXPECT_EQ(pairs_in(*to), kPairs);
        }
    }
}

TEST(SnapshotPairs, AMissingARepeatedAndALateChunkAreNotTaken) {
    PairExport out = export_of(kv_with(kPairs));
    const std::vector<SnapshotChunk> chunks = all_chunks(out, 100);
    ASSERT_GT(chunks.size(), 4U);
    PairImport in = import_into(make_memory_kv());
    EXPECT_FALSE(in.add(chunks[1]));
    ASSERT_TRUE(in.add(chunks[0]));
    EXPECT_FALSE(in.add(chunks[0]));
    EXPECT_FALSE(in.add(chunks[2]));
    ASSERT_TRUE(out.seek(in.position()));
    const std::vector<SnapshotChunk> rest = all_chunks(out, 100);
    for (const SnapshotChunk& chunk : rest) {
        ASSERT_TRUE(in.add(chunk));
    }
    EXPECT_FALSE(in.add(rest.back()));
    EXPECT_TRUE(in.complete());
}

TEST(SnapshotPairs, ALastChunkThatComesTooEarlyIsNotTaken) {
    PairExport out = export_of(kv_with(kPairs));
    std::vector<SnapshotChunk> chunks = all_chunks(out, 340);
    PairImport in = import_into(make_memory_kv());
    ASSERT_TRUE(in.add(chunks[0]));
    chunks[1].last = true;
    const Result<> refused = in.add(chunks[1]);
    ASSERT_FALSE(refused) << "it ends within a pair";
}

TEST(SnapshotPairs, APlaceThatDoesNotExistIsRefused) {
    PairExport out = export_of(kv_with(kPairs));
    EXPECT_FALSE(out.seek({"b2", 2, 1, 0}));
    EXPECT_FALSE(out.seek({"z", 6, 1, 1}));
    EXPECT_FALSE(out.seek({"a", 1, 1, 1000}));
    EXPECT_EQ(all_chunks(out, 1'000'000).back().pair_count, kPairs.size());
    EXPECT_TRUE(out.seek({}));
    EXPECT_EQ(all_chunks(out, 1'000'000).back().pair_count, kPairs.size());
}

}  // namespace
}  // namespace nornic::engine
