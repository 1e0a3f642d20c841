#include "engine/index/range_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <thread>

namespace nornic::engine {
namespace {

using testing::ElementsAre;
using testing::ElementsAreArray;
using testing::IsEmpty;
using testing::UnorderedElementsAre;
using Column = IndexQuery::Column;
using Kind = IndexQuery::Kind;

constexpr LogIndex kNow{1'000'000'000};

std::string key(const Value& value) {
    return make_index_key(std::span{&value, 1});
}
std::string key(const Value& first, const Value& second) {
    const Value both[] = {first, second};
    return make_index_key(both);
}

Column equal(Value value) {
    return {Kind::kEquals, std::move(value), {}, {}, true, true};
}
Column prefix(std::string_view text) {
    return {Kind::kPrefix, Value{text}, {}, {}, true, true};
}
Column exists() {
    return {};
}
Column between(std::optional<Value> lower,
               bool lower_inclusive,
               std::optional<Value> upper,
               bool upper_inclusive) {
    return {Kind::kRange, {}, std::move(lower), std::move(upper), lower_inclusive, upper_inclusive};
}

std::vector<IndexEntry> drain(RangeCursor& cursor,
                              std::size_t batch,
                              std::vector<std::string>& keys) {
    std::vector<IndexEntry> out;
    std::vector<IndexEntry> buffer(batch);
    for (;;) {
        const std::size_t n = cursor.next(buffer).value();
        for (std::size_t i = 0; i < n; ++i) {
            keys.emplace_back(buffer[i].key);
            out.push_back({{}, buffer[i].id});
        }
        if (n < batch) {
            return out;
        }
    }
}

std::vector<std::uint64_t> ids(const RangeIndex& index,
                               const IndexQuery& query,
                               LogIndex snapshot = kNow,
                               std::size_t batch = 5) {
    Result<RangeCursor> cursor = index.seek(query, snapshot);
    std::vector<std::string> keys;
    std::vector<std::uint64_t> out;
    for (const IndexEntry& entry : drain(cursor.value(), batch, keys)) {
        out.push_back(entry.id);
    }
    EXPECT_TRUE(query.descending ? std::ranges::is_sorted(keys, std::greater{})
                                 : std::ranges::is_sorted(keys));
    return out;
}

std::vector<std::uint64_t> equals_ids(const RangeIndex& index, std::string_view wanted) {
    std::vector<std::uint64_t> out;
    EXPECT_TRUE(index.seek_equals(wanted, out).has_value());
    std::ranges::sort(out);
    return out;
}

void checkpoint(Kv& kv, RangeIndex& index) {
    index.begin_checkpoint();
    const auto batch = kv.new_batch();
    index.write_checkpoint(*batch);
    ASSERT_TRUE(kv.write(*batch).has_value());
    index.end_checkpoint(true);
}

class RangeIndexTest : public testing::Test {
protected:
    std::unique_ptr<Kv> kv_ = make_memory_kv();
    EqualityCache cache_{1 << 20};
    std::unique_ptr<RangeIndex> index_;

    void SetUp() override {
        // Neighbours on both sides, so that a cursor that runs over its prefix is caught.
        const auto batch = kv_->new_batch();
        batch->put("Q\xFF", "x");
        batch->put("S", "x");
        ASSERT_TRUE(kv_->write(*batch).has_value());
        reopen();
    }
    void reopen() {
        index_ = std::make_unique<RangeIndex>(*kv_, cache_, "R");
        ASSERT_TRUE(index_->open().has_value());
    }
};

TEST_F(RangeIndexTest, EqualityFindsWhatWasAddedAlsoAfterItWasAskedForInVain) {
    EXPECT_THAT(equals_ids(*index_, key(7)), IsEmpty());
    index_->add(key(7), 1);
    index_->add(key(7), 2);
    index_->add(key(7.0), 2);
    index_->add(key("7"), 3);
    EXPECT_THAT(equals_ids(*index_, key(7)), ElementsAre(1, 2));
    EXPECT_THAT(equals_ids(*index_, key(7)), ElementsAre(1, 2));
    EXPECT_THAT(equals_ids(*index_, key("7")), ElementsAre(3));
    checkpoint(*kv_, *index_);
    EXPECT_EQ(index_->delta_entries(), 0U);
    reopen();
    EXPECT_THAT(equals_ids(*index_, key(7)), ElementsAre(1, 2));
    EXPECT_EQ(index_->entries(), 3U);
    EXPECT_EQ(index_->distinct_values(), 2U);
}

TEST_F(RangeIndexTest, ARangeMergesKvAndMemoryInBothDirections) {
    for (int i = 0; i < 40; i += 2) {
        index_->add(key(i), static_cast<std::uint64_t>(i));
    }
    checkpoint(*kv_, *index_);
    for (int i = 1; i < 40; i += 2) {
        index_->add(key(i), static_cast<std::uint64_t>(i));
    }
    index_->add(key("30"), 100);
    index_->remove(key(10), 10, LogIndex{50});
    std::vector<std::uint64_t> expected;
    for (std::uint64_t i = 5; i < 30; ++i) {
        if (i != 10) {
            expected.push_back(i);
        }
    }
    IndexQuery query{{between(Value{5}, true, Value{30}, false)}};
    EXPECT_THAT(ids(*index_, query), ElementsAreArray(expected));
    EXPECT_THAT(ids(*index_, query, kNow, 1), ElementsAreArray(expected));
    query.descending = true;
    std::ranges::reverse(expected);
    EXPECT_THAT(ids(*index_, query), ElementsAreArray(expected));
    EXPECT_THAT(ids(*index_, query, LogIndex{49}).size(), expected.size() + 1);
    EXPECT_THAT(ids(*index_, {{between(Value{35}, false, std::nullopt, true)}}),
                ElementsAre(36, 37, 38, 39));
    EXPECT_THAT(ids(*index_, {{between(std::nullopt, true, Value{2}, true)}}),
                ElementsAre(0, 1, 2));
    EXPECT_THAT(ids(*index_, {{between(Value{2.5}, true, Value{4}, true)}}), ElementsAre(3, 4));
    EXPECT_THAT(ids(*index_, {{between(Value{2}, true, Value{"4"}, true)}}), IsEmpty());
    EXPECT_THAT(ids(*index_, {{between(Value{4}, true, Value{2}, true)}}), IsEmpty());
    EXPECT_THAT(ids(*index_, {{equal(Value{})}}), IsEmpty());
    index_->add(key(std::nan("")), 200);
    EXPECT_THAT(ids(*index_, {{equal(std::nan(""))}}), IsEmpty());
    index_->remove(key(std::nan("")), 200, LogIndex{1});
    EXPECT_EQ(ids(*index_, {{exists()}}).size(), 40U);
    EXPECT_EQ(ids(*index_, {{exists()}, true}).size(), 40U);
}

TEST_F(RangeIndexTest, APrefixTakesInAllStringsThatBeginWithIt) {
    const std::vector<std::string> words = {"",
                                            "a",
                                            "ab",
                                            std::string{"ab\0", 3},
                                            "ab\xC3\xA9",
                                            "aba",
                                            "ac",
                                            "b",
                                            "ab\xF4\x8F\xBF\xBF"};
    for (std::size_t i = 0; i < words.size(); ++i) {
        index_->add(key(Value{words[i]}), i);
    }
    index_->add(key(5), 50);
    EXPECT_THAT(ids(*index_, {{prefix("ab")}}), UnorderedElementsAre(2, 3, 4, 5, 8));
    EXPECT_THAT(ids(*index_, {{prefix("")}}), UnorderedElementsAre(0, 1, 2, 3, 4, 5, 6, 7, 8));
    EXPECT_THAT(ids(*index_, {{prefix("abc")}}), IsEmpty());
    EXPECT_THAT(ids(*index_, {{between(Value{"a"}, false, Value{"ac"}, false)}}),
                UnorderedElementsAre(2, 3, 4, 5, 8));
    EXPECT_THAT(ids(*index_, {{between(Value{"ac"}, true, std::nullopt, false)}}),
                ElementsAre(6, 7));
}

TEST_F(RangeIndexTest, ACompositeTakesEqualityThenARangeThenExistence) {
    std::uint64_t id = 0;
    for (const char* country : {"de", "fr"}) {
        for (int age = 0; age < 5; ++age) {
            index_->add(key(Value{country}, Value{age}), id++);
        }
    }
    EXPECT_THAT(ids(*index_, {{equal("fr"), between(Value{1}, false, Value{3}, true)}}),
                ElementsAre(7, 8));
    EXPECT_THAT(ids(*index_, {{equal("de"), exists()}}), ElementsAre(0, 1, 2, 3, 4));
    EXPECT_THAT(ids(*index_, {{equal("de"), equal(3)}}), ElementsAre(3));
    EXPECT_THAT(ids(*index_, {{prefix("f"), exists()}}), ElementsAre(5, 6, 7, 8, 9));
    EXPECT_THAT(ids(*index_, {{between(Value{"de"}, false, std::nullopt, true), exists()}}),
                ElementsAre(5, 6, 7, 8, 9));
    EXPECT_THAT(equals_ids(*index_, *key_range({{equal("fr"), equal(4)}}).exact), ElementsAre(9));
}

TEST_F(RangeIndexTest, VeryLongStringsAreCutButStillFound) {
    const std::string base(20'000, 'x');
    const std::vector<std::string> words = {base + "a", base + "b", base, "x", "y"};
    for (std::size_t i = 0; i < words.size(); ++i) {
        index_->add(key(Value{words[i]}), i);
    }
    EXPECT_LT(key(Value{base}).size(), kIndexKeyBytesMax + 16);
    EXPECT_THAT(equals_ids(*index_, key(Value{base + "a"})), ElementsAre(0));
    EXPECT_THAT(ids(*index_, {{prefix(base)}}), UnorderedElementsAre(0, 1, 2));
    // Bounds that were cut take in neighbours; what they must not do is miss.
    EXPECT_THAT(ids(*index_, {{between(Value{base}, false, std::nullopt, true)}}),
                testing::IsSupersetOf({0U, 1U, 4U}));
    EXPECT_THAT(ids(*index_, {{between(std::nullopt, false, Value{base + "a"}, false)}}),
                testing::IsSupersetOf({2U, 3U}));
    const IndexQuery query{{between(Value{base}, false, Value{base + "b"}, false)}};
    const auto fits = [&](const std::string& word) {
        const Value value{word};
        return matches(query, std::span{&value, 1});
    };
    EXPECT_TRUE(fits(base + "a"));
    EXPECT_FALSE(fits(base));
    EXPECT_FALSE(fits(base + "b"));
}

TEST_F(RangeIndexTest, ARemovedEntryIsFoundByOlderSnapshotsAcrossCheckpoints) {
    index_->add(key(1), 1);
    checkpoint(*kv_, *index_);
    index_->set_min_active(LogIndex{5});
    index_->remove(key(1), 1, LogIndex{10});
    const IndexQuery query{{equal(1)}};
    for (int i = 0; i < 3; ++i) {
        EXPECT_THAT(ids(*index_, query, LogIndex{9}), ElementsAre(1));
        EXPECT_THAT(ids(*index_, query, LogIndex{10}), IsEmpty());
        EXPECT_THAT(equals_ids(*index_, key(1)), ElementsAre(1));
        checkpoint(*kv_, *index_);
    }
    index_->set_min_active(LogIndex{10});
    checkpoint(*kv_, *index_);
    EXPECT_EQ(index_->delta_entries(), 0U);
    EXPECT_THAT(ids(*index_, query, LogIndex{10}), IsEmpty());
    reopen();
    EXPECT_THAT(ids(*index_, query), IsEmpty());
}

TEST_F(RangeIndexTest, AnEntryAddedAgainAfterAFailedCheckpointSurvives) {
    index_->add(key(1), 1);
    checkpoint(*kv_, *index_);
    index_->set_min_active(LogIndex{1});
    index_->remove(key(1), 1, LogIndex{10});
    index_->begin_checkpoint();
    index_->write_checkpoint(*kv_->new_batch());
    index_->end_checkpoint(false);
    index_->add(key(1), 1);
    checkpoint(*kv_, *index_);
    EXPECT_THAT(ids(*index_, {{exists()}}), ElementsAre(1));
    checkpoint(*kv_, *index_);
    reopen();
    EXPECT_THAT(ids(*index_, {{exists()}}), ElementsAre(1));
}

TEST_F(RangeIndexTest, ACursorThatBeganBeforeACheckpointMissesNothing) {
    for (int i = 0; i < 500; ++i) {
        index_->add(key(i), static_cast<std::uint64_t>(i));
    }
    Result<RangeCursor> cursor = index_->seek(IndexQuery{{exists()}}, kNow);
    std::vector<IndexEntry> some(3);
    ASSERT_EQ(cursor.value().next(some).value(), 3U);
    checkpoint(*kv_, *index_);
    std::vector<std::string> keys;
    EXPECT_EQ(drain(cursor.value(), 64, keys).size(), 497U);
}

TEST_F(RangeIndexTest, PopulationDoesNotBringBackWhatApplyRemoved) {
    index_->remove(key(1), 1, LogIndex{20});
    index_->add(key(2), 1);
    ASSERT_TRUE(index_->bulk_add({{key(5), 5}, {key(1), 1}, {key(1), 2}}).has_value());
    index_->bulk_done();
    EXPECT_THAT(ids(*index_, {{exists()}}), ElementsAre(2, 1, 5));
    EXPECT_EQ(equals_ids(*index_, key(5)), std::vector<std::uint64_t>{5});
    ASSERT_TRUE(index_->clear().has_value());
    EXPECT_THAT(ids(*index_, {{exists()}}), ElementsAre(1));
}

TEST_F(RangeIndexTest, AClearedIndexIsEmptyAndFillsAgain) {
    index_->add(key(1), 1);
    checkpoint(*kv_, *index_);
    ASSERT_TRUE(index_->clear().has_value());
    EXPECT_THAT(ids(*index_, {{exists()}}), IsEmpty());
    EXPECT_EQ(index_->entries(), 0U);
    index_->add(key(2), 2);
    checkpoint(*kv_, *index_);
    EXPECT_THAT(ids(*index_, {{exists()}}), ElementsAre(2));
    EXPECT_THAT(equals_ids(*index_, key(2)), ElementsAre(2));
    ASSERT_TRUE(index_->bulk_add({{key(3), 3}}).has_value());
    reopen();
    EXPECT_THAT(ids(*index_, {{exists()}}), ElementsAre(2, 3));
}

TEST_F(RangeIndexTest, APopulationThatBeginsWhileACheckpointIsWrittenLosesNothing) {
    index_->add(key(1), 1);
    index_->add(key(2), 2);
    index_->remove(key(2), 2, LogIndex{5});
    index_->set_min_active(LogIndex{10});
    index_->begin_checkpoint();
    index_->add(key(3), 3);
    const auto batch = kv_->new_batch();
    index_->write_checkpoint(*batch);
    ASSERT_TRUE(kv_->write(*batch).has_value());
    // The rows are there, and the layer they came from as well.
    ASSERT_TRUE(index_->clear().has_value());
    ASSERT_TRUE(index_->bulk_add({{key(1), 1}, {key(3), 3}}).has_value());
    index_->bulk_done();
    index_->end_checkpoint(true);
    const IndexQuery all{{exists()}, false};
    EXPECT_THAT(ids(*index_, all), ElementsAre(1, 3));
    EXPECT_THAT(equals_ids(*index_, key(1)), ElementsAre(1));
    checkpoint(*kv_, *index_);
    EXPECT_THAT(ids(*index_, all), ElementsAre(1, 3));
    reopen();
    EXPECT_THAT(ids(*index_, all), ElementsAre(1, 3));
}

TEST_F(RangeIndexTest, PopulationIsSeenByEqualityThoughItWasAskedBefore) {
    EXPECT_THAT(equals_ids(*index_, key(5)), IsEmpty());
    ASSERT_TRUE(index_->bulk_add({{key(5), 5}}).has_value());
    index_->bulk_done();
    EXPECT_THAT(equals_ids(*index_, key(5)), ElementsAre(5));
}

TEST_F(RangeIndexTest, TimesOfOneInstantFitABoundWhateverTheirOffset) {
    const Value here{Time{3'600'000'000'000, 3600}};
    const Value there{Time{0, 0}};
    index_->add(key(here), 1);
    index_->add(key(there), 2);
    for (const Value& bound : {here, there}) {
        EXPECT_THAT(ids(*index_, {{between(bound, true, std::nullopt, true)}}),
                    UnorderedElementsAre(1, 2));
        EXPECT_THAT(ids(*index_, {{between(std::nullopt, true, bound, true)}}),
                    UnorderedElementsAre(1, 2));
    }
}

/// Random work against a model of all versions, with checkpoints that fail, crashes with replay and
/// snapshots.
TEST_F(RangeIndexTest, CandidatesHoldAllThatAnySnapshotSeesAndSoonNoMore) {
    std::mt19937_64 random{7};
    struct Effect {
        int value;
        std::uint64_t id;
        bool add;
    };
    std::vector<Effect> log{{}};
    std::map<std::uint64_t, int> current;  // id → value
    std::uint64_t durable = 0;
    const auto apply = [&](const Effect& e, std::uint64_t at) {
        if (e.add) {
            index_->add(key(e.value), e.id);
        } else {
            index_->remove(key(e.value), e.id, LogIndex{at});
        }
    };
    const auto check =
        [&](const std::map<std::uint64_t, int>& state, std::uint64_t at, bool exact) {
            for (const int value : {0, 3, static_cast<int>(random() % 50)}) {
                std::vector<std::uint64_t> expected;
                for (const auto& [id, v] : state) {
                    if (v == value) {
                        expected.push_back(id);
                    }
                }
                const std::vector<std::uint64_t> found = equals_ids(*index_, key(value));
                EXPECT_TRUE(std::ranges::includes(found, expected))
                    << "value " << value << " at " << at;
                IndexQuery query{{equal(value)}};
                query.descending = random() % 2 == 0;
                std::vector<std::uint64_t> scanned =
                    ids(*index_, query, LogIndex{at}, 1 + random() % 40);
                std::ranges::sort(scanned);
                EXPECT_TRUE(std::ranges::includes(scanned, expected))
                    << "value " << value << " at " << at;
                if (exact) {
                    EXPECT_EQ(scanned, expected) << "value " << value << " at " << at;
                }
            }
        };
    std::optional<std::pair<std::uint64_t, std::map<std::uint64_t, int>>> snapshot;
    for (int step = 0; step < 30'000; ++step) {
        const std::uint64_t dice = random() % 1000;
        if (dice < 900) {
            const std::uint64_t id = random() % 2000;
            if (const auto had = current.find(id); had != current.end()) {
                log.push_back({had->second, id, false});
                apply(log.back(), log.size() - 1);
                current.erase(had);
            }
            if (random() % 8 != 0) {
                const int value =
                    static_cast<int>(random() % 3 == 0 ? random() % 4 : random() % 50);
                log.push_back({value, id, true});
                apply(log.back(), log.size() - 1);
                current[id] = value;
            }
        } else if (dice < 960) {
            if (snapshot) {
                check(snapshot->second, snapshot->first, false);
            }
            check(current, log.size() - 1, false);
        } else if (dice < 980) {
            snapshot.emplace(log.size() - 1, current);
            index_->set_min_active(LogIndex{snapshot->first});
        } else if (dice < 995) {
            // As of F no snapshot older than the last one taken is active, and F itself is.
            const bool good = random() % 3 != 0;
            index_->begin_checkpoint();
            const auto batch = kv_->new_batch();
            index_->write_checkpoint(*batch);
            if (good) {
                ASSERT_TRUE(kv_->write(*batch).has_value());
                durable = log.size() - 1;
            }
            index_->end_checkpoint(good);
        } else {
            reopen();
            snapshot.reset();
            for (std::uint64_t i = durable + 1; i < log.size(); ++i) {
                apply(log[i], i);
            }
        }
    }
    index_->set_min_active(LogIndex{log.size()});
    checkpoint(*kv_, *index_);
    checkpoint(*kv_, *index_);
    check(current, log.size(), false);
    std::vector<std::uint64_t> all = ids(*index_, {{exists()}}, LogIndex{log.size()}, 100);
    std::ranges::sort(all);
    std::vector<std::uint64_t> expected;
    for (const auto& [id, value] : current) {
        expected.push_back(id);
    }
    EXPECT_TRUE(std::ranges::includes(all, expected));
}

TEST_F(RangeIndexTest, AnEqualityNeverMissesWhatWasAppliedBeforeItBegan) {
    // One applier, readers that fill the cache, checkpoints that move entries under them.
    constexpr int kValues = 64;
    constexpr std::uint64_t kCount = 40'000;
    std::atomic<std::uint64_t> applied{0};
    std::atomic<bool> stop{false};
    std::atomic<std::uint64_t> looked{0};
    std::vector<std::thread> threads;
    for (std::uint64_t t = 0; t < 2; ++t) {
        threads.emplace_back([&, t] {
            std::mt19937_64 random{t};
            while (!stop.load()) {
                const std::uint64_t seen = applied.load(std::memory_order_acquire);
                const std::uint64_t value = random() % (kValues * 32);
                // Each id below `seen` is under the key id % (kValues * 32).
                const std::uint64_t expected =
                    seen / (kValues * 32) + (seen % (kValues * 32) > value ? 1 : 0);
                EXPECT_GE(equals_ids(*index_, key(static_cast<std::int64_t>(value))).size(),
                          expected);
                looked.fetch_add(1, std::memory_order_relaxed);
            }
        });
    }
    threads.emplace_back([&] {
        while (!stop.load()) {
            const std::uint64_t seen = applied.load(std::memory_order_acquire);
            EXPECT_GE(ids(*index_, {{exists()}}, kNow, 256).size(), seen);
        }
    });
    for (std::uint64_t i = 0; i < kCount; ++i) {
        index_->add(key(static_cast<std::int64_t>(i % (kValues * 32))), i);
        applied.store(i + 1, std::memory_order_release);
        if (i % 5000 == 4999) {
            checkpoint(*kv_, *index_);
        }
    }
    while (looked.load() < 1000) {
        std::this_thread::yield();
    }
    stop.store(true);
    for (std::thread& thread : threads) {
        thread.join();
    }
}

TEST_F(RangeIndexTest, AnEqualityFindsWhatWasAddedWhileAPopulationCameToItsEnd) {
    constexpr std::uint64_t kCount = 300'000;
    std::atomic<std::uint64_t> next{0};
    std::thread population{[&] {
        for (std::uint64_t last = 0; last < kCount;) {
            const std::uint64_t now = next.load(std::memory_order_acquire);
            if (now != last) {
                last = now;
                index_->bulk_done();
                equals_ids(*index_, key(static_cast<std::int64_t>(now)));  // what it learns must not be less than all
            }
        }
    }};
    for (std::uint64_t i = 1; i <= kCount; ++i) {
        next.store(i, std::memory_order_release);
        const std::string added = key(static_cast<std::int64_t>(i));
        index_->add(added, i);
        EXPECT_THAT(equals_ids(*index_, added), ElementsAre(i));
    }
    population.join();
}

TEST(EqualityCacheTest, AnInsertIsRefusedIfAnEntryWasAddedMeanwhile) {
    EqualityCache cache{1 << 16};
    std::vector<std::uint64_t> out;
    std::uint64_t stamp = 0;
    const std::uint64_t owner = cache.new_owner();
    const std::uint64_t hash = hash_index_key(owner, "k");
    EXPECT_FALSE(cache.find(owner, hash, "k", out, stamp));
    cache.added(owner, hash, "k", 9);
    cache.insert(owner, hash, "k", {}, stamp);
    EXPECT_FALSE(cache.find(owner, hash, "k", out, stamp));
    cache.insert(owner, hash, "k", std::vector<std::uint64_t>{9}, stamp);
    cache.added(owner, hash, "k", 10);
    cache.added(owner, hash, "k", 10);
    EXPECT_TRUE(cache.find(owner, hash, "k", out, stamp));
    EXPECT_THAT(out, ElementsAre(9, 10));
    EXPECT_FALSE(cache.find(cache.new_owner(), hash, "k", out, stamp));
}

TEST(EqualityCacheTest, MemoryStaysBoundedAndLargeEntriesLeave) {
    EqualityCache cache{1 << 16};
    std::vector<std::uint64_t> out;
    std::uint64_t stamp = 0;
    const std::uint64_t owner = cache.new_owner();
    for (std::uint64_t i = 0; i < 100'000; ++i) {
        const std::string k = std::to_string(i);
        const std::uint64_t hash = hash_index_key(owner, k);
        cache.find(owner, hash, k, out, stamp);
        cache.insert(owner, hash, k, std::vector<std::uint64_t>{i}, stamp);
    }
    EXPECT_LE(cache.memory_bytes(), std::size_t{1} << 16);
    const std::uint64_t hash = hash_index_key(owner, "many");
    cache.find(owner, hash, "many", out, stamp);
    cache.insert(owner, hash, "many", {}, stamp);
    for (std::uint64_t i = 0; i <= EqualityCache::kIdsMax; ++i) {
        out.clear();
        EXPECT_TRUE(cache.find(owner, hash, "many", out, stamp));
        EXPECT_EQ(out.size(), i);
        cache.added(owner, hash, "many", i);
    }
    EXPECT_FALSE(cache.find(owner, hash, "many", out, stamp));
}

TEST(DeltaLayerTest, ItIsAnOrderedSetWhateverTheOrderOfInserts) {
    std::mt19937_64 random{3};
    for (const int pattern : {0, 1, 2}) {
        DeltaLayer layer;
        std::set<std::pair<std::string, std::uint64_t>> model;
        for (std::uint64_t i = 0; i < 20'000; ++i) {
            const std::uint64_t n = pattern == 0   ? i
                                    : pattern == 1 ? 20'000 - i
                                                   : random() % 30'000;
            const std::string k = key(Value{"common prefix of them all " + std::to_string(n)});
            EXPECT_EQ(layer.add(k, n % 3), model.emplace(k, n % 3).second);
        }
        EXPECT_EQ(layer.size(), model.size());
        std::vector<const DeltaLayer::Item*> items(model.size() + 1);
        ASSERT_EQ(layer.read_ascending({}, 0, false, items), model.size());
        std::size_t i = 0;
        for (const auto& [k, id] : model) {
            ASSERT_EQ(items[i]->key(), k);
            ASSERT_EQ(items[i]->id, id);
            ++i;
        }
        ASSERT_EQ(layer.read_last(items), model.size());
        EXPECT_EQ(items[0]->key(), model.rbegin()->first);
        for (int probe = 0; probe < 500; ++probe) {
            const std::string k =
                key(Value{"common prefix of them all " + std::to_string(random() % 30'000)});
            const auto at = model.lower_bound({k, 1});
            const std::size_t n = layer.read_ascending(k, 1, false, std::span{items}.first(1));
            ASSERT_EQ(n, at == model.end() ? 0U : 1U);
            if (n == 1) {
                EXPECT_EQ(items[0]->key(), at->first);
                EXPECT_EQ(items[0]->id, at->second);
            }
            const std::size_t before = layer.read_descending(k, 1, std::span{items}.first(1));
            ASSERT_EQ(before, at == model.begin() ? 0U : 1U);
            if (before == 1) {
                EXPECT_EQ(items[0]->key(), std::prev(at)->first);
            }
            EXPECT_EQ(layer.knows(k, 1), model.contains({k, 1}));
        }
    }
}

TEST(IndexQueryTest, MatchesComparesAsCypherDoes) {
    const Value nan{std::nan("")};
    const Value one{1};
    const Value text{"b"};
    EXPECT_FALSE(matches({{equal(nan)}}, std::span{&nan, 1}));
    EXPECT_FALSE(matches({{between(Value{0}, true, std::nullopt, true)}}, std::span{&nan, 1}));
    EXPECT_TRUE(matches({{equal(1.0)}}, std::span{&one, 1}));
    EXPECT_FALSE(matches({{between(Value{0}, true, std::nullopt, true)}}, std::span{&text, 1}));
    EXPECT_TRUE(matches({{between(Value{"a"}, false, Value{"b"}, true)}}, std::span{&text, 1}));
    EXPECT_FALSE(is_indexable(Value{}));
    EXPECT_FALSE(is_indexable(Value{List{Value{1}, Value{}}}));
    EXPECT_TRUE(is_indexable(Value{List{Value{1}}}));
}

TEST(IndexQueryTest, AfterPrefixIsTheNextStringThatDoesNotBeginSo) {
    EXPECT_EQ(after_prefix("ab"), "ac");
    EXPECT_EQ(after_prefix("a\xFF\xFF"), "b");
    EXPECT_EQ(after_prefix("\xFF"), std::nullopt);
    EXPECT_EQ(after_prefix(""), std::nullopt);
}

}  // namespace
}  // namespace nornic::engine
