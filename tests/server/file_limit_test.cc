#include "server/file_limit.h"

#include <gtest/gtest.h>

#include <sys/resource.h>

namespace nornic::server {
namespace {

TEST(FileLimit, ConnectionsAreAsManyAsAskedWhereThereIsRoom) {
    const ConnectionLimits got = connection_limits(1 << 20, {10'000, 1'000});
    EXPECT_EQ(got.bolt, 10'000U);
    EXPECT_EQ(got.http, 1'000U);
}

TEST(FileLimit, TheStoreHasItsFilesFirst) {
    for (const std::size_t files : {0U, 100U, 1024U, 4096U, 11'399U}) {
        const ConnectionLimits got = connection_limits(files, {10'000, 1'000});
        EXPECT_GE(got.http, 16U);
        EXPECT_GE(got.bolt, 16U);
        if (files >= 1024) {
            EXPECT_LE(got.bolt + got.http, files - 400);
            EXPECT_GT(got.bolt, got.http);
        }
    }
}

TEST(FileLimit, IsRaisedToTheHardOne) {
    rlimit before{};
    ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &before), 0);
    rlimit low = before;
    low.rlim_cur = 256;
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
    EXPECT_EQ(raise_file_limit(), before.rlim_max);
    EXPECT_EQ(setrlimit(RLIMIT_NOFILE, &before), 0);
}

}  // namespace
}  // namespace nornic::server
