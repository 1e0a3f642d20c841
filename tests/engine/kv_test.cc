// Both stores behind engine/kv.h, held to the same contract; then what only RocksDB can meet.
#include "engine/kv.h"

#include "base/random.h"
#include "engine/kv_rocks.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rocksdb/env.h>
#include <rocksdb/file_system.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <map>
#include <unistd.h>

namespace nornic::engine {
namespace {

using ::testing::HasSubstr;

std::string fresh_directory(std::string_view name) {
    const auto path =
        std::filesystem::temp_directory_path() / fmt::format("kv_test.{}.{}", ::getpid(), name);
    std::filesystem::remove_all(path);
    return path.string();
}

std::unique_ptr<Kv> open_rocks(const std::string& directory, rocksdb::Env* env = nullptr) {
    RocksKvSettings settings;
    settings.directory = directory;
    auto opened = open_rocks_kv_on(settings, env);
    EXPECT_TRUE(opened) << opened.error().message();
    return opened ? std::move(opened).value() : nullptr;
}

void put(Kv& kv, std::string_view key, std::string_view value) {
    const auto batch = kv.new_batch();
    batch->put(key, value);
    const Result<> written = kv.write(*batch);
    ASSERT_TRUE(written) << written.error().message();
}

std::string dump(Kv& kv) {
    std::string out;
    const auto cursor = kv.new_cursor();
    for (cursor->seek(""); cursor->valid(); cursor->next()) {
        out += fmt::format("{}={} ", cursor->key(), cursor->value());
    }
    EXPECT_TRUE(cursor->status());
    return out;
}

class AnyKv : public ::testing::TestWithParam<const char*> {
protected:
    void SetUp() override {
        directory_ = fresh_directory("any");
        kv_ = std::string_view{GetParam()} == "Rocks" ? open_rocks(directory_) : make_memory_kv();
        ASSERT_NE(kv_, nullptr);
    }
    void TearDown() override {
        kv_.reset();
        std::filesystem::remove_all(directory_);
        std::filesystem::remove_all(directory_ + ".copy");
    }
    std::string directory_;
    std::unique_ptr<Kv> kv_;
};

TEST_P(AnyKv, ABatchIsVisibleWholeAndAtOnce) {
    put(*kv_, "a", "old");
    const auto batch = kv_->new_batch();
    batch->put("b", "2");
    batch->erase("a");
    batch->put("c", std::string("\0\xff", 2));
    EXPECT_GT(batch->bytes(), 4U);
    EXPECT_EQ(kv_->get("b").value(), std::nullopt);
    ASSERT_TRUE(kv_->write(*batch));
    EXPECT_EQ(kv_->get("a").value(), std::nullopt);
    EXPECT_EQ(kv_->get("b").value(), "2");
    EXPECT_EQ(kv_->get("c").value(), std::string("\0\xff", 2));
}

TEST_P(AnyKv, ACursorSeesTheStateAtItsCreation) {
    put(*kv_, "a", "1");
    const auto cursor = kv_->new_cursor();
    put(*kv_, "a", "2");
    put(*kv_, "b", "2");
    cursor->seek("");
    ASSERT_TRUE(cursor->valid());
    EXPECT_EQ(cursor->value(), "1");
    cursor->next();
    EXPECT_FALSE(cursor->valid());
    EXPECT_EQ(dump(*kv_), "a=2 b=2 ");
}

TEST_P(AnyKv, CursorsSeekBothWaysAndMayBeMovedPastTheEnds) {
    for (const char* key : {"b", "d", "f"}) {
        put(*kv_, key, key);
    }
    const auto cursor = kv_->new_cursor();
    struct Row {
        const char* key;
        const char* at_or_after;  // "" = none
        const char* at_or_before;
    };
    for (const Row& row : {Row{"a", "b", ""},
                           Row{"b", "b", "b"},
                           Row{"c", "d", "b"},
                           Row{"f", "f", "f"},
                           Row{"g", "", "f"}}) {
        cursor->seek(row.key);
        EXPECT_EQ(cursor->valid() ? cursor->key() : "", row.at_or_after) << row.key;
        cursor->seek_back(row.key);
        EXPECT_EQ(cursor->valid() ? cursor->key() : "", row.at_or_before) << row.key;
    }
    cursor->seek("d");
    cursor->previous();
    EXPECT_EQ(cursor->key(), "b");
    cursor->previous();
    EXPECT_FALSE(cursor->valid());
    cursor->previous();
    cursor->next();
    EXPECT_FALSE(cursor->valid());
    EXPECT_TRUE(cursor->status());
}

TEST_P(AnyKv, ARangeIsErasedWithoutItsEndAndAnEmptyOneErasesNothing) {
    for (const char* key : {"a", "b", "c", "d"}) {
        put(*kv_, key, "v");
    }
    const auto batch = kv_->new_batch();
    batch->erase_range("b", "d");
    batch->erase_range("d", "a");
    batch->erase_range("a", "a");
    ASSERT_TRUE(kv_->write(*batch));
    EXPECT_EQ(dump(*kv_), "a=v d=v ");
}

TEST_P(AnyKv, TakesABatchOf64MiB) {
    const auto batch = kv_->new_batch();
    const std::string value(16 << 10, 'v');
    for (int i = 0; i < 4096; ++i) {
        batch->put(fmt::format("key{:05}", i), value);
    }
    EXPECT_GE(batch->bytes(), std::size_t{64} << 20);
    ASSERT_TRUE(kv_->write(*batch));
    ASSERT_TRUE(kv_->flush());
    EXPECT_EQ(kv_->get("key04095").value(), value);
}

TEST_P(AnyKv, FollowsAMapThroughRandomBatches) {
    std::map<std::string, std::string> model;
    Random random{5};
    for (int round = 0; round < 60; ++round) {
        const auto batch = kv_->new_batch();
        for (int i = 0; i < 40; ++i) {
            const std::string key = fmt::format("{:03}", random.below(500));
            switch (random.below(8)) {
                case 0: {
                    const std::string end = fmt::format("{:03}", random.below(500));
                    batch->erase_range(key, end);
                    if (key < end) {
                        model.erase(model.lower_bound(key), model.lower_bound(end));
                    }
                    break;
                }
                case 1:
                case 2:
                    batch->erase(key);
                    model.erase(key);
                    break;
                default:
                    model[key] = fmt::format("{}.{}", round, i);
                    batch->put(key, model[key]);
            }
        }
        ASSERT_TRUE(kv_->write(*batch));
        if (random.one_in(10)) {
            ASSERT_TRUE(kv_->flush());
        }
    }
    std::string expected;
    for (const auto& [key, value] : model) {
        expected += fmt::format("{}={} ", key, value);
    }
    EXPECT_EQ(dump(*kv_), expected);
}

TEST_P(AnyKv, ACheckpointIsRefusedWhereSomethingIs) {
    put(*kv_, "a", "1");
    ASSERT_TRUE(kv_->checkpoint(directory_ + ".copy"));
    const Result<> again = kv_->checkpoint(directory_ + ".copy");
    ASSERT_FALSE(again);
    EXPECT_EQ(again.error().code(), ErrorCode::kAlreadyExists);
}

INSTANTIATE_TEST_SUITE_P(Kv, AnyKv, ::testing::Values("Rocks", "Memory"), [](const auto& info) {
    return std::string{info.param};
});

TEST(MemoryKv, ACrashLeavesTheLastFlush) {
    const auto kv = make_memory_kv();
    put(*kv, "a", "1");
    put(*kv, "b", "1");
    ASSERT_TRUE(kv->flush());
    put(*kv, "a", "2");
    put(*kv, "a", "3");
    put(*kv, "c", "3");
    const auto batch = kv->new_batch();
    batch->erase_range("b", "c");
    ASSERT_TRUE(kv->write(*batch));
    EXPECT_EQ(dump(*kv), "a=3 c=3 ");
    crash_memory_kv(*kv);
    EXPECT_EQ(dump(*kv), "a=1 b=1 ");
    crash_memory_kv(*kv);
    EXPECT_EQ(dump(*kv), "a=1 b=1 ");
}

class RocksKvTest : public ::testing::Test {
protected:
    void SetUp() override { directory_ = fresh_directory("rocks"); }
    void TearDown() override {
        std::filesystem::remove_all(directory_);
        std::filesystem::remove_all(directory_ + ".copy");
        std::filesystem::remove_all(directory_ + ".killed");
    }
    std::string directory_;
};

TEST_F(RocksKvTest, WhatWasFlushedSurvivesAKillAndTheRestIsGoneWhole) {
    const auto kv = open_rocks(directory_);
    put(*kv, "a", "1");
    ASSERT_TRUE(kv->flush());
    put(*kv, "b", "2");
    // What a killed process leaves behind is what its files hold now.
    std::filesystem::copy(directory_, directory_ + ".killed");
    EXPECT_EQ(dump(*open_rocks(directory_ + ".killed")), "a=1 ");
}

TEST_F(RocksKvTest, AnOrderlyStopKeepsEverythingAndACursorKeepsTheStoreOpen) {
    auto kv = open_rocks(directory_);
    put(*kv, "a", "1");
    auto cursor = kv->new_cursor();
    kv.reset();
    cursor->seek("a");
    EXPECT_EQ(cursor->value(), "1");
    cursor.reset();
    EXPECT_EQ(dump(*open_rocks(directory_)), "a=1 ");
}

TEST_F(RocksKvTest, ACheckpointIsAStoreOfItsOwn) {
    const auto kv = open_rocks(directory_);
    put(*kv, "a", "1");
    ASSERT_TRUE(kv->checkpoint(directory_ + ".copy"));
    put(*kv, "a", "2");
    EXPECT_EQ(dump(*open_rocks(directory_ + ".copy")), "a=1 ");
    EXPECT_GT(kv->disk_bytes(), 0U);
    EXPECT_GT(kv->memory_bytes(), 0U);
}

TEST_F(RocksKvTest, ItSaysWhatItHoldsInMemoryAndOnDisk) {
    const auto kv = open_rocks(directory_);
    put(*kv, "a", std::string(100'000, 'x'));
    const KvStats before = kv->stats();
    EXPECT_GE(before.memtable_bytes, 100'000U);
    EXPECT_EQ(before.sst_live_bytes, 0U);
    EXPECT_EQ(before.level0_files, 0U);
    ASSERT_TRUE(kv->flush());
    const KvStats after = kv->stats();
    EXPECT_LT(after.memtable_bytes, before.memtable_bytes);
    EXPECT_GT(after.sst_live_bytes, 0U);
    EXPECT_GE(after.sst_bytes, after.sst_live_bytes);
    EXPECT_EQ(after.level0_files, 1U);
    EXPECT_GT(after.block_cache_bytes_max, 0U);
    EXPECT_EQ(after.stall_stops + after.stall_slowdowns + after.background_errors, 0U);
    EXPECT_FALSE(after.writes_stopped);
}

TEST_F(RocksKvTest, ASecondOpenAndADamagedFileNameTheDirectory) {
    auto kv = open_rocks(directory_);
    put(*kv, "a", "1");
    RocksKvSettings settings;
    settings.directory = directory_;
    const auto second = open_rocks_kv(settings);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code(), ErrorCode::kIo);
    EXPECT_THAT(second.error().message(), HasSubstr(directory_));
    kv.reset();
    for (const auto& file : std::filesystem::directory_iterator{directory_}) {
        if (file.path().filename().string().starts_with("MANIFEST")) {
            std::fstream out{file.path(), std::ios::in | std::ios::out | std::ios::binary};
            out.seekp(12);
            out.write("damage", 6);
        }
    }
    const auto damaged = open_rocks_kv(settings);
    ASSERT_FALSE(damaged);
    EXPECT_EQ(damaged.error().code(), ErrorCode::kCorruption);
    EXPECT_THAT(damaged.error().message(), testing::AllOf(HasSubstr(directory_), HasSubstr("restore it from a backup")));
}

/// A file system that is full while told so.
class FullFile final : public rocksdb::FSWritableFileOwnerWrapper {
public:
    FullFile(std::unique_ptr<rocksdb::FSWritableFile>&& file, const std::atomic<bool>& full)
        : FSWritableFileOwnerWrapper{std::move(file)}, full_{full} {}
    rocksdb::IOStatus Append(const rocksdb::Slice& data,
                             const rocksdb::IOOptions& options,
                             rocksdb::IODebugContext* context) override {
        return full_ ? rocksdb::IOStatus::NoSpace("the disk is full")
                     : FSWritableFileOwnerWrapper::Append(data, options, context);
    }
    rocksdb::IOStatus Append(const rocksdb::Slice& data,
                             const rocksdb::IOOptions& options,
                             const rocksdb::DataVerificationInfo& info,
                             rocksdb::IODebugContext* context) override {
        return full_ ? rocksdb::IOStatus::NoSpace("the disk is full")
                     : FSWritableFileOwnerWrapper::Append(data, options, info, context);
    }

private:
    const std::atomic<bool>& full_;
};

class FullFileSystem final : public rocksdb::FileSystemWrapper {
public:
    FullFileSystem() : FileSystemWrapper{rocksdb::FileSystem::Default()} {}
    const char* Name() const override { return "FullFileSystem"; }
    rocksdb::IOStatus NewWritableFile(const std::string& name,
                                      const rocksdb::FileOptions& options,
                                      std::unique_ptr<rocksdb::FSWritableFile>* result,
                                      rocksdb::IODebugContext* context) override {
        std::unique_ptr<rocksdb::FSWritableFile> file;
        rocksdb::IOStatus status =
            FileSystemWrapper::NewWritableFile(name, options, &file, context);
        if (status.ok()) {
            *result = std::make_unique<FullFile>(std::move(file), full);
        }
        return status;
    }
    std::atomic<bool> full{false};
};

TEST_F(RocksKvTest, AFullDiskIsSaidAndForgottenOnceThereIsRoom) {
    const auto file_system = std::make_shared<FullFileSystem>();
    const std::unique_ptr<rocksdb::Env> env = rocksdb::NewCompositeEnv(file_system);
    auto kv = open_rocks(directory_, env.get());
    put(*kv, "a", "1");
    ASSERT_TRUE(kv->flush());
    put(*kv, "b", "2");
    file_system->full = true;
    for (int i = 0; i < 3; ++i) {
        const Result<> flushed = kv->flush();
        ASSERT_FALSE(flushed);
        ASSERT_EQ(flushed.error().code(), ErrorCode::kDiskFull) << flushed.error().message();
        const auto batch = kv->new_batch();
        batch->put("c", "3");
        const Result<> written = kv->write(*batch);
        ASSERT_FALSE(written);
        ASSERT_EQ(written.error().code(), ErrorCode::kDiskFull) << written.error().message();
    }
    EXPECT_EQ(dump(*kv), "a=1 b=2 ");  // Reading goes on.
    file_system->full = false;
    put(*kv, "c", "3");
    ASSERT_TRUE(kv->flush());
    std::filesystem::copy(directory_, directory_ + ".killed");
    EXPECT_EQ(dump(*open_rocks(directory_ + ".killed")), "a=1 b=2 c=3 ");
    put(*kv, "d", "4");
    kv.reset();
    kv = open_rocks(directory_, env.get());
    EXPECT_EQ(dump(*kv), "a=1 b=2 c=3 d=4 ");
    kv.reset();
}

}  // namespace
}  // namespace nornic::engine
