#include "engine/index/label_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <random>
#include <set>
#include <thread>

namespace nornic::engine {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::uint64_t id(std::uint64_t sequence, std::uint32_t region = 0) {
    return sequence << kRegionBits | region;
}

std::vector<std::uint64_t> ids(LabelIndex& index, std::uint32_t token, std::size_t batch = 7) {
    std::vector<std::uint64_t> out;
    LabelScan scan = index.scan(token);
    std::vector<std::uint64_t> buffer(batch);
    for (;;) {
        const std::size_t n = scan.next_ids(buffer).value();
        out.insert(out.end(), buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(n));
        if (n < batch) {
            return out;
        }
    }
}

void checkpoint(Kv& kv, LabelIndex& index, std::uint64_t f) {
    index.begin_checkpoint(LogIndex{f});
    const auto batch = kv.new_batch();
    index.write_checkpoint(*batch);
    ASSERT_TRUE(kv.write(*batch).has_value());
    index.end_checkpoint(true);
}

class LabelIndexTest : public testing::Test {
protected:
    std::unique_ptr<Kv> kv_ = make_memory_kv();
    std::unique_ptr<LabelIndex> index_ = std::make_unique<LabelIndex>(*kv_, "L");

    void reopen() { index_ = std::make_unique<LabelIndex>(*kv_, "L"); }
    void set(std::uint32_t token, std::uint64_t entity) {
        ASSERT_TRUE(index_->set(token, entity).has_value());
    }
    void clear(std::uint32_t token, std::uint64_t entity, std::uint64_t at) {
        ASSERT_TRUE(index_->clear(token, entity, LogIndex{at}).has_value());
    }
};

TEST_F(LabelIndexTest, IdsComeInAscendingOrderAcrossChunksAndRegions) {
    for (const std::uint64_t entity :
         {id(5000), id(1), id(1, 3), id(0, 31), id(70), id(9'000'000)}) {
        set(2, entity);
    }
    set(3, id(4));
    const auto expected = {id(0, 31), id(1), id(1, 3), id(70), id(5000), id(9'000'000)};
    EXPECT_THAT(ids(*index_, 2), testing::ElementsAreArray(expected));
    EXPECT_THAT(ids(*index_, 2, 1), testing::ElementsAreArray(expected));
    EXPECT_THAT(ids(*index_, 3), ElementsAre(id(4)));
    EXPECT_THAT(ids(*index_, 4), IsEmpty());
    EXPECT_THAT(ids(*index_, LabelIndex::kEveryEntity), IsEmpty());
}

TEST_F(LabelIndexTest, WordsNamePageRegionAndMask) {
    set(0, id(64));
    set(0, id(65));
    set(0, id(127, 2));
    std::array<PageWord, 4> words;
    LabelScan scan = index_->scan(0);
    ASSERT_EQ(scan.next_words(words).value(), 2U);
    EXPECT_EQ(words[0].page, 1U);
    EXPECT_EQ(words[0].mask, 3U);
    EXPECT_EQ(words[1].region, 2U);
    EXPECT_EQ(page_entity(words[1].page, words[1].region, 63), id(127, 2));
    EXPECT_EQ(index_->word(0, 0, 1).value(), 3U);
    EXPECT_EQ(index_->scan(0, 2).next_words(words).value(), 0U);
    EXPECT_EQ(index_->scan(0, 0, 1).next_words(words).value(), 0U);
}

TEST_F(LabelIndexTest, AClearWaitsForTheLastSnapshotThatSeesTheLabel) {
    set(0, id(1));
    clear(0, id(1), 10);
    index_->reclaim(LogIndex{9});
    EXPECT_TRUE(index_->may_contain(0, id(1)).value());
    index_->reclaim(LogIndex{10});
    EXPECT_FALSE(index_->may_contain(0, id(1)).value());
    EXPECT_EQ(index_->pending_clears(), 0U);
}

TEST_F(LabelIndexTest, ALabelSetAgainOutlivesAnOlderClear) {
    set(0, id(1));
    clear(0, id(1), 10);
    set(0, id(1));
    index_->reclaim(LogIndex{20});
    EXPECT_TRUE(index_->may_contain(0, id(1)).value());
    clear(0, id(1), 30);
    set(0, id(1));
    clear(0, id(1), 40);
    index_->reclaim(LogIndex{35});
    EXPECT_TRUE(index_->may_contain(0, id(1)).value());
    index_->reclaim(LogIndex{40});
    EXPECT_FALSE(index_->may_contain(0, id(1)).value());
}

TEST_F(LabelIndexTest, ACheckpointKeepsWhatItsStateHolds) {
    for (std::uint64_t i = 0; i < 1000; ++i) {
        set(0, id(i));  // a bitmap
    }
    set(0, id(1'000'000, 7));  // a list of places
    set(0, id(5000));
    clear(0, id(3), 10);
    clear(0, id(5000), 20);
    checkpoint(*kv_, *index_, 15);
    reopen();
    // As of 15 node 3 is gone for good and node 5000 is not.
    EXPECT_FALSE(index_->may_contain(0, id(3)).value());
    EXPECT_TRUE(index_->may_contain(0, id(5000)).value());
    EXPECT_EQ(ids(*index_, 0).size(), 1001U);
    EXPECT_EQ(ids(*index_, 0).back(), id(1'000'000, 7));
}

TEST_F(LabelIndexTest, AnEmptiedChunkLeavesTheKv) {
    set(0, id(1));
    checkpoint(*kv_, *index_, 1);
    clear(0, id(1), 2);
    index_->reclaim(LogIndex{2});
    checkpoint(*kv_, *index_, 2);
    const auto cursor = kv_->new_cursor();
    cursor->seek("");
    EXPECT_FALSE(cursor->valid());
}

TEST_F(LabelIndexTest, AFailedCheckpointIsWrittenByTheNext) {
    set(0, id(1));
    index_->begin_checkpoint(LogIndex{1});
    const auto batch = kv_->new_batch();
    index_->write_checkpoint(*batch);
    index_->end_checkpoint(false);
    reopen();
    EXPECT_THAT(ids(*index_, 0), IsEmpty());
    set(0, id(1));
    index_->begin_checkpoint(LogIndex{1});
    index_->write_checkpoint(*kv_->new_batch());
    index_->end_checkpoint(false);
    checkpoint(*kv_, *index_, 1);
    reopen();
    EXPECT_THAT(ids(*index_, 0), ElementsAre(id(1)));
}

TEST_F(LabelIndexTest, ALabelSetAgainWhileACheckpointRunsIsNotForgotten) {
    set(0, id(1));
    checkpoint(*kv_, *index_, 1);
    clear(0, id(1), 2);
    index_->begin_checkpoint(LogIndex{2});
    const auto batch = kv_->new_batch();
    index_->write_checkpoint(*batch);
    set(0, id(1));  // at 3: replay would set it, but only until the next checkpoint
    ASSERT_TRUE(kv_->write(*batch).has_value());
    index_->end_checkpoint(true);
    checkpoint(*kv_, *index_, 3);
    reopen();
    EXPECT_THAT(ids(*index_, 0), ElementsAre(id(1)));
}

TEST_F(LabelIndexTest, ABadChunkIsReportedNotSkipped) {
    set(0, id(1));
    checkpoint(*kv_, *index_, 1);
    const auto cursor = kv_->new_cursor();
    cursor->seek("");
    const std::string key{cursor->key()};
    for (const std::string_view bad : {std::string_view{"\x02"},
                                       std::string_view{"\x00\x01", 2},
                                       std::string_view{"\x00\x00\x10", 3},
                                       std::string_view{"\x01\x00", 2}}) {
        const auto batch = kv_->new_batch();
        batch->put(key, bad);
        ASSERT_TRUE(kv_->write(*batch).has_value());
        reopen();
        const Result<bool> read = index_->may_contain(0, id(1));
        ASSERT_FALSE(read.has_value());
        EXPECT_EQ(read.error().code(), ErrorCode::kCorruption);
    }
}

/// Random sets, clears, reclaims, checkpoints and crashes against a model that remembers every
/// version.
TEST_F(LabelIndexTest, CandidatesHoldAllThatAnySnapshotSees) {
    std::mt19937_64 random{42};
    struct Effect {
        std::uint32_t token;
        std::uint64_t entity;
        bool set;
    };
    std::vector<Effect> log{{}};
    std::map<std::pair<std::uint32_t, std::uint64_t>, bool> state;
    std::uint64_t durable = 0;
    const auto apply = [&](const Effect& effect, std::uint64_t at) {
        if (effect.set) {
            set(effect.token, effect.entity);
        } else {
            clear(effect.token, effect.entity, at);
        }
    };
    for (int step = 0; step < 20'000; ++step) {
        const std::uint64_t dice = random() % 100;
        const std::uint64_t at = log.size();
        if (dice < 90) {
            const Effect effect{static_cast<std::uint32_t>(random() % 3),
                                id(random() % 4 == 0 ? random() % 100'000 : random() % 200,
                                   static_cast<std::uint32_t>(random() % 2)),
                                random() % 3 != 0};
            log.push_back(effect);
            apply(effect, at);
        } else if (dice < 96) {
            index_->reclaim(LogIndex{at - 1});
        } else if (dice < 99) {
            checkpoint(*kv_, *index_, at - 1);
            durable = at - 1;
        } else {
            reopen();
            for (std::uint64_t i = durable + 1; i < at; ++i) {
                apply(log[i], i);
            }
        }
    }
    for (std::uint64_t i = 1; i < log.size(); ++i) {
        state[{log[i].token, log[i].entity}] = log[i].set;
    }
    index_->reclaim(LogIndex{log.size()});
    for (std::uint32_t token = 0; token < 3; ++token) {
        std::vector<std::uint64_t> expected;
        for (const auto& [key, present] : state) {
            if (key.first == token && present) {
                expected.push_back(key.second);
            }
        }
        EXPECT_EQ(ids(*index_, token, 64), expected);
    }
}

TEST_F(LabelIndexTest, ReadersAndACheckpointRunBesideTheApplier) {
    constexpr std::uint64_t kCount = 60'000;
    std::atomic<std::uint64_t> applied{0};
    std::atomic<bool> stop{false};
    std::thread reader{[&] {
        while (!stop.load()) {
            const std::uint64_t seen = applied.load(std::memory_order_acquire);
            const std::vector<std::uint64_t> found = ids(*index_, 0, 512);
            // Nothing was cleared, so all that was applied before the scan is in it.
            EXPECT_GE(found.size(), seen);
            EXPECT_TRUE(std::ranges::is_sorted(found));
        }
    }};
    std::thread writer{[&] {
        while (!stop.load()) {
            const auto batch = kv_->new_batch();
            index_->write_checkpoint(*batch);
            EXPECT_TRUE(kv_->write(*batch).has_value());
            index_->end_checkpoint(true);
        }
    }};
    for (std::uint64_t i = 0; i < kCount; ++i) {
        set(0, id(i));
        applied.store(i + 1, std::memory_order_release);
    }
    stop.store(true);
    reader.join();
    writer.join();
    checkpoint(*kv_, *index_, kCount);
    reopen();
    EXPECT_EQ(ids(*index_, 0, 512).size(), kCount);
}

}  // namespace
}  // namespace nornic::engine
