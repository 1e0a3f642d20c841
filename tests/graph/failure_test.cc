#include "graph/failure.h"

#include <gtest/gtest.h>

#include <set>

namespace nornic {
namespace {

constexpr int kLastCode = static_cast<int>(ErrorCode::kForbidden);

/// What the official drivers do with a code inside a managed transaction.
bool drivers_retry(const std::string& code) {
    return code.starts_with("Neo.TransientError.") ||
           code == "Neo.ClientError.Cluster.NotALeader" ||
           code == "Neo.ClientError.General.ForbiddenOnReadOnlyDatabase";
}

TEST(Failure, HasACodeAndAKnownStatusForEveryError) {
    const std::string_view unknown = gql_description("00000");
    for (int i = 0; i <= kLastCode; ++i) {
        const Failure f = to_failure(Error{static_cast<ErrorCode>(i), "what happened"});
        EXPECT_TRUE(f.code.starts_with("Neo.")) << i;
        EXPECT_EQ(f.message, "what happened");
        EXPECT_EQ(f.gql_status.size(), 5U) << f.code;
        EXPECT_TRUE(f.description.starts_with("error: ")) << f.code;
        EXPECT_TRUE(f.gql_status == "50N42" || f.description != unknown)
            << f.code << ' ' << f.gql_status;
        for (const Failure* c = f.cause.get(); c != nullptr; c = c->cause.get()) {
            EXPECT_NE(c->description, unknown) << f.code << ' ' << c->gql_status;
        }
        const std::string want = f.code.starts_with("Neo.ClientError.")      ? "CLIENT_ERROR"
                                 : f.code.starts_with("Neo.TransientError.") ? "TRANSIENT_ERROR"
                                                                             : "DATABASE_ERROR";
        EXPECT_EQ(f.classification, want);
    }
}

TEST(Failure, IsRetriedExactlyWhereNothingHappenedAndAnotherTryMaySucceed) {
    const std::set<ErrorCode> retried = {
        ErrorCode::kBusy,
        ErrorCode::kTimedOut,
        ErrorCode::kStopping,
        ErrorCode::kNotLeader,
        ErrorCode::kReadOnly,
        ErrorCode::kDiskFull,
        ErrorCode::kDatabaseUnavailable,
        ErrorCode::kConflict,
        ErrorCode::kDeadlock,
        ErrorCode::kLockTimeout,
        ErrorCode::kMemoryLimit,
        ErrorCode::kTransactionLimit,
        ErrorCode::kBookmarkTimeout,
    };
    for (int i = 0; i <= kLastCode; ++i) {
        const auto code = static_cast<ErrorCode>(i);
        EXPECT_EQ(drivers_retry(to_failure(Error{code, "x"}).code), retried.contains(code))
            << to_string(code);
    }
}

TEST(Failure, NeverLetsADriverRunAnUnknownCommitTwice) {
    const Failure f = to_failure(Error{ErrorCode::kUnknownCommit, "the leader is gone"});
    EXPECT_FALSE(drivers_retry(f.code));
    EXPECT_EQ(f.gql_status, "08007");
}

TEST(Failure, AnswersTheCodesThatDriversActOn) {
    struct Row {
        ErrorCode code;
        const char* neo4j;
        const char* gql;
    };
    const Row rows[] = {
        {ErrorCode::kNotLeader, "Neo.ClientError.Cluster.NotALeader", "08N07"},
        {ErrorCode::kConflict, "Neo.TransientError.Transaction.Outdated", "40000"},
        {ErrorCode::kDeadlock, "Neo.TransientError.Transaction.DeadlockDetected", "50N05"},
        {ErrorCode::kTransactionTimedOutByClient,
         "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration",
         "25N14"},
        {ErrorCode::kDatabaseNotFound, "Neo.ClientError.Database.DatabaseNotFound", "42001"},
        {ErrorCode::kSyntaxError, "Neo.ClientError.Statement.SyntaxError", "42001"},
        {ErrorCode::kInvalidBookmark, "Neo.ClientError.Transaction.InvalidBookmark", "08N12"},
        {ErrorCode::kConstraintViolation,
         "Neo.ClientError.Schema.ConstraintValidationFailed",
         "22N79"},
    };
    for (const Row& r : rows) {
        const Failure f = to_failure(Error{r.code, "x"});
        EXPECT_EQ(f.code, r.neo4j);
        EXPECT_EQ(f.gql_status, r.gql);
    }
}

TEST(Failure, TakesTheStatusChainAndPositionOfTheError) {
    const Failure f = to_failure(
        Error{ErrorCode::kArithmeticError, "/ by zero", SourcePosition{7, 1, 8}, "22012>22N28"});
    EXPECT_EQ(f.gql_status, "22012");
    EXPECT_EQ(f.description, "error: data exception - division by zero");
    ASSERT_TRUE(f.cause);
    EXPECT_EQ(f.cause->gql_status, "22N28");
    EXPECT_FALSE(f.cause->cause);
    ASSERT_TRUE(f.position);
    EXPECT_EQ(f.position->column, 8U);
}

TEST(Failure, FillsInTheTextsThatNobodyWrites) {
    EXPECT_TRUE(to_failure(Error{ErrorCode::kTerminated, ""})
                    .message.ends_with("Explicitly terminated by the user. "));
    EXPECT_EQ(to_failure(Error{ErrorCode::kTerminated, "killed"}).message, "killed");
}

TEST(Counters, AddUpAndKnowWhetherAnythingChanged) {
    UpdateCounters a;
    EXPECT_FALSE(a.contains_updates());
    UpdateCounters b;
    b.labels_removed = 2;
    b.nodes_created = 1;
    a += b;
    a += b;
    EXPECT_EQ(a.labels_removed, 4);
    EXPECT_EQ(a.nodes_created, 2);
    EXPECT_TRUE(a.contains_updates());
}

}  // namespace
}  // namespace nornic
