#include "engine/kv_rocks.h"
#include "tests/engine/member.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <unistd.h>

namespace nornic::engine {
namespace {

using testing::all_chunks;
using testing::Member;
using testing::still_settings;
namespace fs = std::filesystem;

/// The machine's disk, which fails at the n-th change of names or sync of a directory if told to.
class FaultyFiles final : public FileSystem {
public:
    Result<std::unique_ptr<File>> open(const std::string& path, OpenMode mode) override {
        if (mode == OpenMode::kCreate) {
            NORNIC_TRY(step("create"));
        }
        return posix_file_system().open(path, mode);
    }
    Result<> rename(const std::string& from, const std::string& to) override {
        NORNIC_TRY(step("rename"));
        return posix_file_system().rename(from, to);
    }
    Result<> remove(const std::string& path) override { return posix_file_system().remove(path); }
    Result<> make_directories(const std::string& directory) override {
        return posix_file_system().make_directories(directory);
    }
    Result<std::vector<std::string>> list(const std::string& directory) override {
        return posix_file_system().list(directory);
    }
    Result<> sync_directory(const std::string& directory) override {
        NORNIC_TRY(step("sync"));
        return posix_file_system().sync_directory(directory);
    }
    Result<std::uint64_t> free_bytes(const std::string& directory) override {
        return free ? Result<std::uint64_t>{*free} : posix_file_system().free_bytes(directory);
    }
    Result<std::unique_ptr<DirectoryLock>> lock(const std::string& directory) override {
        return posix_file_system().lock(directory);
    }

    /// Called before each step; counts from 1.
    std::function<Result<>(int step)> on_step;
    int steps = 0;
    std::optional<std::uint64_t> free;

private:
    Result<> step(std::string_view) {
        ++steps;
        return on_step ? on_step(steps) : success();
    }
};

class RocksHome : public ::testing::Test {
protected:
    void SetUp() override {
        directory_ = fs::temp_directory_path() / fmt::format("kv_home_test.{}", ::getpid());
        fs::remove_all(directory_);
        fs::create_directories(directory_);
    }
    void TearDown() override { fs::remove_all(directory_); }

    std::string path(std::string_view name) const { return (directory_ / name).string(); }
    std::unique_ptr<KvHome> home(std::string_view name) {
        return make_rocks_kv_home_on(path(name), {}, files_, nullptr);
    }
    std::set<std::string> names(std::string_view name) const {
        std::set<std::string> out;
        for (const auto& entry : fs::directory_iterator{path(name)}) {
            out.insert(entry.path().filename().string());
        }
        return out;
    }
    static std::unique_ptr<SnapshotImport> whole_import(EngineHost& from, EngineHost& to) {
        const auto out = from.begin_export().value();
        auto begun = to.begin_import(out->info());
        EXPECT_TRUE(begun) << begun.error().message();
        auto in = std::move(begun).value();
        EXPECT_TRUE(out->seek(in->position()));
        for (const SnapshotChunk& chunk : all_chunks(*out, 65536)) {
            const Result<> added = in->add(chunk);
            EXPECT_TRUE(added) << added.error().message();
        }
        return in;
    }

    fs::path directory_;
    FaultyFiles files_;
};

TEST_F(RocksHome, TheStoreInUseChangesItsNameAndTheOneBeforeIsRemoved) {
    Member a{home("a")};
    Member b{home("b"), still_settings(2)};
    a.fill(300);
    b.fill(100);
    EXPECT_EQ(names("b"), (std::set<std::string>{"store"}));
    ASSERT_TRUE(b->install(whole_import(*a, *b)));
    EXPECT_EQ(names("b"), (std::set<std::string>{"store-1", "store.current"}));
    EXPECT_EQ(b.digest(), a.digest());
    b.restart();
    EXPECT_EQ(b.digest(), a.digest());
    EXPECT_TRUE(b->freshly_installed());

    a.create(Value{"more"});
    ASSERT_TRUE(b->install(whole_import(*a, *b)));
    EXPECT_EQ(names("b"), (std::set<std::string>{"store-2", "store.current"}));
    b.restart(home("b"));
    EXPECT_EQ(b.digest(), a.digest());
    b.create(Value{"and more"});
    ASSERT_TRUE(b->checkpoint());
    b.restart(home("b"));
    EXPECT_EQ(b.things(), 302U);
    EXPECT_FALSE(b->freshly_installed());
}

TEST_F(RocksHome, AFirstStoreIsUsedOnlyOnceItsNameIsDurable) {
    const auto fails = [](int) -> Result<> { return fail(ErrorCode::kIo, "as told"); };
    files_.on_step = fails;
    EXPECT_EQ(home("new")->open().error().code(), ErrorCode::kIo);
    files_.on_step = nullptr;
    EXPECT_TRUE(home("new")->open());
    EXPECT_EQ(files_.steps, 2);
}

TEST_F(RocksHome, WhatAnOldTransactionReadsStaysUntilItEnds) {
    Member a{home("a")};
    Member b{home("b"), still_settings(2)};
    a.fill(10);
    b.fill(2000);
    ASSERT_TRUE(b->checkpoint());
    b.restart(home("b"));
    auto old = b.begin();
    auto cursor = old->scan_label(*old->tokens().label("Thing"));
    NodeId ids[5];
    ASSERT_EQ(cursor->next(ids), 5U);
    ASSERT_TRUE(b->install(whole_import(*a, *b)));
    EXPECT_EQ(names("b"), (std::set<std::string>{"store", "store-1", "store.current"}));
    static_cast<void>(cursor->next(ids));
    EXPECT_TRUE(old->killed());
    EXPECT_EQ(b.things(), 10U);
    cursor.reset();
    old.reset();
    EXPECT_EQ(names("b"), (std::set<std::string>{"store-1", "store.current"}));
}

TEST_F(RocksHome, AnExportOutlivesTheStateItIsOf) {
    Member a{home("a")};
    Member b{home("b"), still_settings(2)};
    a.fill(1000);
    const std::uint64_t digest = a.digest();
    auto out = a->begin_export().value();
    b.fill(10);
    ASSERT_TRUE(a->install(whole_import(*b, *a)));
    EXPECT_NE(a.digest(), digest);
    auto in = b->begin_import(out->info()).value();
    for (const SnapshotChunk& chunk : all_chunks(*out, 1000)) {
        ASSERT_TRUE(in->add(chunk));
    }
    ASSERT_TRUE(b->install(std::move(in)));
    EXPECT_EQ(b.digest(), digest);
    out.reset();
    EXPECT_EQ(names("a"), (std::set<std::string>{"store-1", "store.current"}));
}

/// At each step the directory is copied as a crash there would leave it; every copy opens as the state before or as
/// the one after, and only once.
TEST_F(RocksHome, ACrashAtAnyStepOfAnInstallationLeavesOneOfTheTwoStates) {
    Member a{home("a")};
    Member b{home("b"), still_settings(2)};
    a.fill(200);
    b.fill(100);
    ASSERT_TRUE(b->checkpoint());
    const std::uint64_t before = b.digest();
    const std::uint64_t after = a.digest();
    for (int round = 0; round < 2; ++round) {
        auto in = whole_import(*a, *b);
        std::vector<std::string> copies;
        files_.steps = 0;
        files_.on_step = [&](int step) -> Result<> {
            copies.push_back(fmt::format("copy.{}.{}", round, step));
            fs::copy(path("b"), path(copies.back()), fs::copy_options::recursive);
            return success();
        };
        auto old = b.begin();  // what is replaced is still there when the last copy is made
        ASSERT_TRUE(b->install(std::move(in)));
        files_.on_step = nullptr;
        ASSERT_EQ(copies.size(), 4U);
        copies.push_back(fmt::format("copy.{}.end", round));
        fs::copy(path("b"), path(copies.back()), fs::copy_options::recursive);
        std::vector<std::uint64_t> digests;
        for (const std::string& copy : copies) {
            Member c{home(copy), still_settings(3)};
            digests.push_back(c.digest());
            EXPECT_EQ(c->freshly_installed(), round == 1 || digests.back() == after);
            const std::set<std::string> left = names(copy);
            EXPECT_LE(left.size(), 3U);
            EXPECT_FALSE(left.contains("store.current.new"));
            // Either way the next snapshot arrives.
            ASSERT_TRUE(c->install(whole_import(*a, *c)));
            EXPECT_EQ(c.digest(), after);
        }
        EXPECT_EQ(digests.front(), round == 0 ? before : after);
        EXPECT_EQ(digests.back(), after);
    }
}

TEST_F(RocksHome, AnInstallationThatFailsLeavesTheStateInUse) {
    Member a{home("a")};
    Member b{home("b"), still_settings(2)};
    a.fill(200);
    b.fill(100);
    ASSERT_TRUE(b->checkpoint());
    const std::uint64_t before = b.digest();
    for (int fails = 1; fails <= 4; ++fails) {
        auto in = whole_import(*a, *b);
        files_.steps = 0;
        files_.on_step = [&](int step) -> Result<> {
            if (step == fails) {
                return fail(ErrorCode::kIo, "as told");
            }
            return success();
        };
        auto running = b.begin();
        const Result<> installed = b->install(std::move(in));
        files_.on_step = nullptr;
        ASSERT_FALSE(installed) << fails;
        EXPECT_FALSE(running->killed());
        EXPECT_EQ(b.digest(), before);
        running.reset();
        b.restart(home("b"));
        EXPECT_EQ(b.digest(), before) << fails;
    }
    // What had arrived is used at the next attempt.
    ASSERT_TRUE(b->install(whole_import(*a, *b)));
    EXPECT_EQ(b.digest(), a.digest());
}

TEST_F(RocksHome, WhatArrivedSurvivesARestartAndTheRoomIsGivenBack) {
    Member a{home("a")};
    Member b{home("b"), still_settings(2)};
    a.fill(1000);
    const auto out = a->begin_export().value();
    const std::vector<SnapshotChunk> chunks = all_chunks(*out, 5000);
    {
        auto in = b->begin_import(out->info()).value();
        for (std::size_t i = 0; i < chunks.size() / 2; ++i) {
            ASSERT_TRUE(in->add(chunks[i]));
        }
    }
    b.restart(home("b"));
    EXPECT_EQ(names("b"), (std::set<std::string>{"store", "store-1"}));
    auto in = b->begin_import(out->info()).value();
    EXPECT_GT(in->position().pair_count, 0U);
    ASSERT_TRUE(out->seek(in->position()));
    for (const SnapshotChunk& chunk : all_chunks(*out, 5000)) {
        ASSERT_TRUE(in->add(chunk));
    }
    EXPECT_TRUE(in->complete());
    in.reset();
    ASSERT_TRUE(b->discard_import());
    EXPECT_EQ(names("b"), (std::set<std::string>{"store"}));
}

TEST_F(RocksHome, ASnapshotForWhichThereIsNoRoomIsRefusedBeforehand) {
    Member b{home("b"), still_settings(2)};
    files_.free = std::uint64_t{1} << 30;
    EXPECT_TRUE(b->begin_import({"x", LogIndex{1}, Term{1}, "h", std::uint64_t{500} << 20}));
    for (const std::uint64_t bytes : {std::uint64_t{1} << 30, UINT64_MAX}) {
        const auto refused = b->begin_import({"y", LogIndex{1}, Term{1}, "h", bytes});
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().code(), ErrorCode::kDiskFull);
    }
}

TEST_F(RocksHome, AFileThatNamesNoStoreIsReportedAndNothingIsRemoved) {
    fs::create_directories(path("b"));
    for (const std::string_view text : {"", "store-1", "store-01\n", "store-1 \n", "../store\n", "store-7\n"}) {
        Member a{home("b")};
        a.close();
        std::ofstream{path("b/store.current")} << text;
        const auto opened = open_engine_host(home("b"), still_settings(1), system_clock());
        ASSERT_FALSE(opened) << text;
        EXPECT_EQ(opened.error().code(), ErrorCode::kCorruption);
        EXPECT_NE(opened.error().message().find("store.current"), std::string::npos);
        EXPECT_TRUE(names("b").contains("store"));
        fs::remove(path("b/store.current"));
    }
}

}  // namespace
}  // namespace nornic::engine
