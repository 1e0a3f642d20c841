// What a server looks at before it opens a data directory.
#include "modes/raft/extra.h"
#include "server/assembly.h"
#include "server/disk_room.h"
#include "server/modes_table.h"

#include <filesystem>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace nornic::server {
namespace {

using testing::HasSubstr;

TEST(DataDirectory, IsMadeAndNamedWhereItCannotBe) {
    const std::string top = testing::TempDir() + "/data_directory_" + std::to_string(::getpid());
    ASSERT_TRUE(make_data_directory(top + "/a/b"));
    EXPECT_TRUE(std::filesystem::is_directory(top + "/a/b"));
    std::filesystem::create_directory(top + "/a/b/store");
    const auto without_log = make_data_directory(top + "/a/b");
    ASSERT_FALSE(without_log) << "the newest writes were in the log";
    EXPECT_EQ(without_log.error().code(), ErrorCode::kCorruption);
    EXPECT_THAT(without_log.error().message(), testing::AllOf(HasSubstr(top), HasSubstr("restore")));
    std::filesystem::create_directory(top + "/a/b/log");
    EXPECT_TRUE(make_data_directory(top + "/a/b"));
    ASSERT_TRUE(replace_file(recovery_mark(top + "/a/b"), ""));
    const auto half = make_data_directory(top + "/a/b");
    ASSERT_FALSE(half);
    EXPECT_THAT(half.error().message(), testing::AllOf(HasSubstr(top), HasSubstr("recover --force-new-cluster")));
    std::filesystem::remove_all(top);
}

/// Whether data of a member of a mode is taken under another.
TEST(DataDirectory, DataOfAMemberIsServedInItsModeOrWhatTheModeBecomes) {
    const std::string raft = modes::format_raft_extra({.directory = raft::DirectoryId{7}, .configuration_index = {}, .configuration = {}, .quarantine = {}});
    const auto fits = [](std::string_view mode, std::string_view extra, bool of_a_region = false) {
        return check_data_fits(*find_mode(mode).value(), "d", extra, of_a_region).has_value();
    };
    for (const char* mode : {"standalone", "ha_standby", "raft", "multi_region"}) {
        EXPECT_TRUE(fits(mode, "")) << mode;
    }
    EXPECT_TRUE(fits("raft", raft));
    EXPECT_TRUE(fits("multi_region", raft));
    EXPECT_FALSE(fits("standalone", raft));
    EXPECT_FALSE(fits("ha_standby", raft));
    EXPECT_TRUE(fits("ha_standby", "primary b 1:1"));
    EXPECT_FALSE(fits("standalone", "primary b 1:1"));
    EXPECT_TRUE(fits("multi_region", raft, true));
    EXPECT_FALSE(fits("raft", raft, true));
    const auto refused = check_data_fits(*find_mode("standalone").value(), "/var/d", raft, false);
    EXPECT_THAT(refused.error().message(), testing::AllOf(HasSubstr("/var/d"), HasSubstr("NORNICDB_CLUSTER_MODE=raft"), HasSubstr("nornicdb unbind")));
}

/// The log says that its disk is full until its next write; whether there is room again is asked meanwhile.
TEST(DiskRoom, AFullDiskIsNotFullForLongerThanItIs) {
    env::Settings settings;
    settings.data_directory = testing::TempDir();
    settings.disk_reserve_bytes = 1;
    modes::ReplicaStats stats;
    EXPECT_FALSE(disk_is_full(stats, settings));
    stats.disk_full = true;
    EXPECT_FALSE(disk_is_full(stats, settings)) << "there is room";
    settings.disk_reserve_bytes = std::uint64_t{1} << 60;
    EXPECT_TRUE(disk_is_full(stats, settings));
    settings.data_directory = "/no/such/directory";
    settings.disk_reserve_bytes = 1;
    EXPECT_TRUE(disk_is_full(stats, settings)) << "nothing is known, so the log is believed";
}

}  // namespace
}  // namespace nornic::server
