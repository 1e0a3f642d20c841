// What another member answered is told on as it was: failures with their code, text and statuses, summaries in full.
#include "server/forwarded_answer.h"

#include <gtest/gtest.h>

namespace nornic::server {
namespace {

/// As Bolt 5.7 sends it.
Map details_of(const Failure& failure) {
    Map record{{"_classification", Value{failure.classification}}};
    if (failure.position) {
        record.set("_position",
                   Value{Map{{"offset", Value{static_cast<std::int64_t>(failure.position->offset)}},
                             {"line", Value{static_cast<std::int64_t>(failure.position->line)}},
                             {"column", Value{static_cast<std::int64_t>(failure.position->column)}}}});
    }
    Map out{{"gql_status", Value{failure.gql_status}}, {"message", Value{failure.message}}, {"diagnostic_record", Value{record}}};
    if (failure.cause != nullptr) {
        out.set("cause", Value{details_of(*failure.cause)});
    }
    return out;
}

bolt::ServerFailure told(const Error& error) {
    const Failure failure = to_failure(error);
    return {failure.code, failure.message, failure.gql_status, failure.description, Value{details_of(failure)}};
}

void expect_same(const Failure& got, const Failure& want) {
    EXPECT_EQ(got.code, want.code);
    EXPECT_EQ(got.message, want.message);
    EXPECT_EQ(got.gql_status, want.gql_status) << want.code;
    EXPECT_EQ(got.position, want.position);
    ASSERT_EQ(got.cause == nullptr, want.cause == nullptr) << want.code;
    if (want.cause != nullptr) {
        EXPECT_EQ(got.cause->gql_status, want.cause->gql_status) << want.code;
    }
}

TEST(ForwardedAnswer, EveryFailureOfThisVersionIsToldOnAsItWas) {
    for (int code = 0; code <= static_cast<int>(ErrorCode::kForbidden); ++code) {
        const Error error{static_cast<ErrorCode>(code), "what happened"};
        expect_same(to_failure(to_error(told(error))), to_failure(error));
    }
}

TEST(ForwardedAnswer, APlaceInTheStatementAndItsOwnStatusesAreKept) {
    const Error error{ErrorCode::kSyntaxError, "Variable `x` not defined", SourcePosition{7, 2, 3}, "42001>42N62"};
    expect_same(to_failure(to_error(told(error))), to_failure(error));
}

TEST(ForwardedAnswer, WhatALaterVersionSaysIsRetriedOnlyIfItIsTransient) {
    EXPECT_EQ(to_error({"Neo.TransientError.Later.Busy", "text", "", "", Value{}}).code(), ErrorCode::kDatabaseUnavailable);
    const Error other = to_error({"Neo.ClientError.Later.Wrong", "text", "", "", Value{}});
    EXPECT_EQ(other.code(), ErrorCode::kExecutionFailed);
    EXPECT_EQ(other.message(), "Neo.ClientError.Later.Wrong: text");
}

TEST(ForwardedAnswer, ASummaryKeepsCountersPlanAndNotifications) {
    const Value primary{Map{{"gql_status", Value{"00001"}}, {"status_description", Value{"note"}}}};
    const Value remark{Map{{"gql_status", Value{"01N50"}},
                           {"neo4j_code", Value{"Neo.ClientNotification.Statement.UnknownLabelWarning"}},
                           {"status_description", Value{"warn: label does not exist"}},
                           {"title", Value{"title"}},
                           {"description", Value{"text"}},
                           {"diagnostic_record",
                            Value{Map{{"_severity", Value{"WARNING"}},
                                      {"_classification", Value{"UNRECOGNIZED"}},
                                      {"_position", Value{Map{{"offset", Value{9}}, {"line", Value{1}}, {"column", Value{10}}}}}}}}}};
    const StatementSummary got = to_summary(Map{{"type", Value{"rw"}},
                                                {"db", Value{"neo4j"}},
                                                {"t_last", Value{4}},
                                                {"stats", Value{Map{{"nodes-created", Value{2}}, {"contains-updates", Value{true}}}}},
                                                {"profile", Value{Map{{"operatorType", Value{"Create"}}}}},
                                                {"statuses", Value{List{primary, remark}}}});
    EXPECT_EQ(got.type, StatementType::kReadWrite);
    EXPECT_EQ(got.database, "neo4j");
    EXPECT_EQ(got.result_consumed_after_ms, 4);
    EXPECT_EQ(got.counters.nodes_created, 2);
    EXPECT_TRUE(got.profile.is_map());
    ASSERT_EQ(got.notifications.size(), 1U);
    EXPECT_EQ(got.notifications[0].code, "Neo.ClientNotification.Statement.UnknownLabelWarning");
    EXPECT_EQ(got.notifications[0].severity, "WARNING");
    EXPECT_EQ(got.notifications[0].category, "UNRECOGNIZED");
    EXPECT_EQ(got.notifications[0].position, (SourcePosition{9, 1, 10}));
}

TEST(ForwardedAnswer, WhatIsMissingOrOfAnotherTypeIsLeftOut) {
    const StatementSummary got = to_summary(Map{{"type", Value{7}}, {"stats", Value{"none"}}, {"statuses", Value{List{Value{1}}}}});
    EXPECT_EQ(got.type, StatementType::kRead);
    EXPECT_FALSE(got.counters.contains_updates());
    EXPECT_TRUE(got.notifications.empty());
}

}  // namespace
}  // namespace nornic::server
