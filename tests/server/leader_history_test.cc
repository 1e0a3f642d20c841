#include "server/leader_history.h"

#include "tests/server/members.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace nornic::server {
namespace {

class LeaderHistoryTest : public testing::Test {
protected:
    void SetUp() override {
        directory_ = std::filesystem::temp_directory_path() /
                     fmt::format("leader_history.{}.{}", ::getpid(), testing::UnitTest::GetInstance()->current_test_info()->name());
        std::filesystem::remove_all(directory_);
        std::filesystem::create_directories(directory_);
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    void write(const std::string& text) const { std::ofstream{LeaderHistory::file(directory_)} << text; }
    LeaderHistory open() const { return LeaderHistory{directory_, system_clock()}; }
    static modes::SeenLeaderChange change(std::uint64_t term, std::string to) {
        return {static_cast<std::int64_t>(term) * 1000, {Term{term}, "", std::move(to), "a reason"}};
    }
    /// {"changes": …} of terms first to last.
    static std::string written(std::uint64_t first, std::uint64_t last) {
        json::array changes;
        for (std::uint64_t term = first; term <= last; ++term) {
            changes.push_back(json::object{{"at_ns", term * 1000}, {"term", term}, {"from", ""}, {"to", "a"}, {"reason", "why"}});
        }
        return json::serialize(json::object{{"changes", std::move(changes)}});
    }
    /// A standalone member of that directory, as the processes after each other are.
    json::object history_of_a_start() const {
        env::Source source;
        source.environment = {{"NORNICDB_DATA_DIR", directory_}, {"NORNICDB_AUTH", "none"}, {"NORNICDB_CLUSTER_NODE_ID", "a"}};
        auto loaded = env::load(source);
        EXPECT_TRUE(loaded);
        DataMember member;
        auto opened = Instance::open(loaded.value(), system_clock());
        EXPECT_TRUE(opened) << opened.error().message();
        member.instance = std::move(opened).value();
        EXPECT_TRUE(member.instance->start("127.0.0.1:1", "127.0.0.1:2"));
        member.http = std::make_unique<HttpBackend>(*member.instance);
        member.instance->pool().start();
        return json::parse(member.admin("GET", "/admin/cluster/history").json).as_object();
    }

    std::filesystem::path directory_;
};

TEST_F(LeaderHistoryTest, WhatEarlierProcessesSawIsShownBehindWhatThisOneSaw) {
    EXPECT_EQ(history_of_a_start().at("changes").as_array().size(), 1U);
    EXPECT_EQ(history_of_a_start().at("changes").as_array().size(), 2U);
    const json::object third = history_of_a_start();
    const json::array& changes = third.at("changes").as_array();
    ASSERT_EQ(changes.size(), 3U);
    EXPECT_EQ(third.at("since"), changes[0].at("at"));
    EXPECT_LT(changes[1].at("at").as_string(), third.at("started").as_string());
    EXPECT_LE(third.at("started").as_string(), changes[0].at("at").as_string());
}

TEST_F(LeaderHistoryTest, ItIsWrittenWhileTheMemberRuns) {
    env::Source source;
    source.environment = {{"NORNICDB_DATA_DIR", directory_}, {"NORNICDB_AUTH", "none"}};
    auto loaded = env::load(source);
    ASSERT_TRUE(loaded);
    DataMember member;
    auto opened = Instance::open(loaded.value(), system_clock());
    ASSERT_TRUE(opened) << opened.error().message();
    member.instance = std::move(opened).value();
    ASSERT_TRUE(member.instance->start("127.0.0.1:1", "127.0.0.1:2"));
    member.instance->pool().start();
    EXPECT_TRUE(eventually([&] {
        member.instance->tend();
        return open().all({}).size() == 1;
    }));
}

TEST_F(LeaderHistoryTest, ItIsBounded) {
    write(written(1, 250));
    const auto before = open().all({});
    ASSERT_EQ(before.size(), modes::kLeaderChangesKept);
    EXPECT_EQ(before.front().change.term, Term{151});
    const auto after = open().all({change(251, "b"), change(252, "c")});
    ASSERT_EQ(after.size(), modes::kLeaderChangesKept);
    EXPECT_EQ(after.front().change.term, Term{153});
    EXPECT_EQ(after.back().change.to, "c");
}

TEST_F(LeaderHistoryTest, WhatIsTornOrForeignIsLeftOut) {
    EXPECT_TRUE(open().all({}).empty());
    const std::string whole = written(1, 3);
    for (const std::string& text : {std::string{}, whole.substr(0, whole.size() / 2), std::string{"[]"}, std::string{R"({"changes": 7})"},
                                    std::string(std::size_t{2} << 20, ' '), std::string{"\0\0\0", 3}}) {
        write(text);
        EXPECT_TRUE(open().all({}).empty()) << text.substr(0, 40);
        EXPECT_EQ(open().all({change(1, "b")}).size(), 1U);
    }
    write(R"({"changes": [7, {"at_ns": 1}, {"at_ns": -1, "term": 1, "from": "", "to": "a", "reason": "x"},
                          {"at_ns": 5, "term": 2, "from": "a", "to": "b", "reason": "y", "later": true}]})");
    const auto found = open().all({});
    ASSERT_EQ(found.size(), 1U);
    EXPECT_EQ(found[0].wall_ns, 5);
    EXPECT_EQ(found[0].change.to, "b");
}

}  // namespace
}  // namespace nornic::server
