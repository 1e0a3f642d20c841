#include "engine/kv_rocks.h"
#include "tests/engine/member.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>
#include <unistd.h>

namespace nornic::engine {
namespace {

using testing::Member;
using testing::still_settings;
namespace fs = std::filesystem;

/// In slices of so many bytes.
Result<std::uint64_t> read_all(StateView& view, std::size_t bytes) {
    for (;;) {
        NORNIC_TRY(const bool all, view.read(bytes));
        if (all) {
            return view.digest();
        }
    }
}

std::uint64_t digest_now(Member& member, std::size_t bytes = 1000) {
    auto view = member->view_state();
    EXPECT_TRUE(view) << view.error().message();
    auto digest = read_all(*view.value(), bytes);
    EXPECT_TRUE(digest) << digest.error().message();
    return digest ? digest.value() : 0;
}

/// Applies what the other one has in its log, changed by `change`.
void follow(Member& member, const Member& leader, const std::function<void(LogEntry&)>& change = {}) {
    for (LogEntry entry : leader.log) {
        if (entry.index > member->applied_index()) {
            if (change) {
                change(entry);
            }
            const Result<> done = member->apply(entry);
            ASSERT_TRUE(done) << done.error().message();
        }
    }
}

class StateViews : public ::testing::TestWithParam<bool> {
protected:
    ~StateViews() override { fs::remove_all(directory_); }
    std::unique_ptr<KvHome> home() {
        if (!GetParam()) {
            return make_memory_kv_home();
        }
        fs::create_directories(directory_);
        const std::string at = (directory_ / std::to_string(homes_++)).string();
        fs::create_directories(at);
        return make_rocks_kv_home(at, RocksKvSettings{.directory = at});
    }

private:
    const fs::path directory_ = fs::temp_directory_path() / ("nornic-views-" + std::to_string(::getpid()));
    int homes_ = 0;
};

INSTANTIATE_TEST_SUITE_P(Stores, StateViews, ::testing::Values(false, true), [](const auto& info) {
    return info.param ? "Rocks" : "Memory";
});

TEST_P(StateViews, MembersThatAppliedTheSameHaveEqualDigestsWhateverIsTheirOwn) {
    Member a{home()};
    Settings small = still_settings(2);
    small.cache_bytes_max = std::size_t{64} << 10;  // pages come and go
    Member b{home(), small};
    a.fill(2000);
    ASSERT_TRUE(a->checkpoint());
    follow(b, a);
    EXPECT_EQ(digest_now(a), digest_now(b));
    // An id that is drawn and not used, and a store that was written at other times.
    { auto abandoned = a.begin(); EXPECT_TRUE(abandoned->create_node({}, {})); }
    ASSERT_TRUE(b->checkpoint());
    b.restart();
    EXPECT_EQ(digest_now(a, 1), digest_now(b, SIZE_MAX)) << "the slices do not matter";
    a.create(Value{"more"});
    EXPECT_NE(digest_now(a), digest_now(b));
    follow(b, a);
    EXPECT_EQ(digest_now(a), digest_now(b));
    EXPECT_EQ(digest_now(a), a.digest());
}

TEST_P(StateViews, OneEntryThatWasNotTakenInIsNoticed) {
    Member a{home()};
    a.fill(500);
    a.create(Value{"odd"});
    const LogIndex last = a->applied_index();
    a.create(Value{"later"});
    Member b{home(), still_settings(2)};
    follow(b, a, [&](LogEntry& entry) {
        if (entry.index == last) {
            entry.kind = EntryKind::kNoop;
        }
    });
    EXPECT_EQ(a->applied_index(), b->applied_index());
    EXPECT_NE(digest_now(a), digest_now(b));
}

TEST_P(StateViews, WhatIsAppliedLaterDoesNotChangeIt) {
    Member a{home()};
    a.fill(1000);
    const std::uint64_t before = a.digest();
    auto view = a->view_state();
    ASSERT_TRUE(view);
    EXPECT_EQ(view.value()->index(), a->applied_index());
    ASSERT_TRUE(view.value()->read(1000));
    for (int i = 0; i < 100; ++i) {
        a.create(Value{std::int64_t{i}});
    }
    ASSERT_TRUE(a.apply("noted", Term{1}, EntryKind::kMembership));
    ASSERT_TRUE(a->checkpoint());
    const auto digest = read_all(*view.value(), 1000);
    ASSERT_TRUE(digest) << digest.error().message();
    EXPECT_EQ(digest.value(), before);
    EXPECT_NE(a.digest(), before);
}

TEST_P(StateViews, AStateThatIsReplacedGivesNoDigest) {
    Member a{home()};
    a.fill(1000);
    ASSERT_TRUE(a->checkpoint());
    auto view = a->view_state();
    ASSERT_TRUE(view);
    ASSERT_TRUE(view.value()->read(1));
    ASSERT_TRUE(a->reload());
    const auto rest = view.value()->read(SIZE_MAX);
    ASSERT_FALSE(rest);
    EXPECT_EQ(rest.error().code(), ErrorCode::kStopping);
    EXPECT_EQ(digest_now(a), a.digest()) << "the one in its place does";
}

TEST(StateView, OfAStoreThatLostAPairIsAnother) {
    const std::string at = (fs::temp_directory_path() / ("nornic-lost-" + std::to_string(::getpid()))).string();
    fs::create_directories(at);
    const RocksKvSettings settings{.directory = at + "/store"};
    Member a{make_rocks_kv_home(at, settings)};
    a.fill(500);
    ASSERT_TRUE(a->checkpoint());
    const std::uint64_t before = digest_now(a);
    a.close();
    {
        auto kv = open_rocks_kv(settings);
        ASSERT_TRUE(kv) << kv.error().message();
        const auto cursor = kv.value()->new_cursor();
        cursor->seek("n");
        ASSERT_TRUE(cursor->valid() && cursor->key().starts_with("n"));
        const auto batch = kv.value()->new_batch();
        batch->erase(cursor->key());
        ASSERT_TRUE(kv.value()->write(*batch));
        ASSERT_TRUE(kv.value()->flush());
    }
    a.open();
    EXPECT_NE(digest_now(a), before);
    a.close();
    fs::remove_all(at);
}

}  // namespace
}  // namespace nornic::engine
