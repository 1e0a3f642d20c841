// What drivers do, one situation a test: whole exchanges as their own conformance scripts have them. The same with a real server
// behind it is tests/cluster/situations_test.py.
#include "bolt/conversation.h"

#include "support.h"

#include <functional>
#include <utility>

namespace nornic::bolt {
namespace {

using ::testing::_;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Invoke;
using ::testing::StartsWith;

using Answers = std::vector<std::string>;
using State = Conversation::State;

class SituationsTest : public ConversationTest {
protected:
    static std::string telemetry() { return request(MessageTag::kTelemetry, {0}); }
    static std::string logoff() { return request(MessageTag::kLogoff); }
    static std::string goodbye() { return request(MessageTag::kGoodbye); }
    static std::string route() { return request(MessageTag::kRoute, {Map{}, List{}, Map{}}); }
    static std::string of_statement(MessageTag tag, std::int64_t statement, std::int64_t n = -1) {
        return request(tag, {map_of({{"n", n}, {"qid", statement}})});
    }
    void fail_run() {
        EXPECT_CALL(*session_, run(_, _, _, _)).WillOnce(Invoke([](auto, auto, auto, Completion<Running> done) {
            done(fail(ErrorCode::kSyntaxError, "bad"));
        }));
    }

    /// A fresh connection in each state that a driver can leave one in.
    std::vector<std::pair<const char*, std::function<void()>>> states() {
        return {{"NEGOTIATION", [this] { start({5, 8}); }},
                {"AUTHENTICATION", [this] { start({5, 8}), send({hello()}); }},
                {"READY", [this] { start({5, 8}), log_in(); }},
                {"STREAMING", [this] { start({5, 8}), log_in(), send({run(), pull(1)}); }},
                {"TX_READY", [this] { start({5, 8}), log_in(), send({begin()}); }},
                {"TX_STREAMING", [this] { start({5, 8}), log_in(), send({begin(), run(), pull(1)}); }},
                {"FAILED", [this] { start({5, 8}), log_in(), fail_run(), send({run()}); }}};
    }
};

// ---- Optimizations: pipelines ----

TEST_F(SituationsTest, BeginRunAndPullInOneWriteAreAnsweredInOneWrite) {
    log_in();
    rows_ = {{1}};
    transport_.writes = 0;
    EXPECT_THAT(send({begin(), run(), pull()}),
                ElementsAre("SUCCESS {db: 'neo4j'}", StartsWith("SUCCESS {t_first"), "RECORD [1]", StartsWith("SUCCESS {type")));
    EXPECT_EQ(transport_.writes, 1);
    EXPECT_THAT(send({commit()}), ElementsAre("SUCCESS {bookmark: 'FB:kcw='}"));
}

TEST_F(SituationsTest, APipelinedBeginThatFailsHasWhatFollowsIgnored) {
    log_in();
    EXPECT_CALL(*session_, begin(_, _))
        .WillOnce(Invoke([](auto, Completion<Begun> done) { done(fail(ErrorCode::kDatabaseUnavailable, "no")); }))
        .WillOnce(::testing::DoDefault());
    EXPECT_CALL(*session_, run_in_transaction(_, _, _)).Times(0);
    EXPECT_THAT(send({begin(), run(), pull()}),
                ElementsAre(HasSubstr("Neo.TransientError.General.DatabaseUnavailable"), "IGNORED", "IGNORED"));
    EXPECT_THAT(send({reset(), begin()}), ElementsAre("SUCCESS {}", StartsWith("SUCCESS")));
}

TEST_F(SituationsTest, TelemetryBeforeAPipelinedBeginChangesNothing) {
    log_in();
    EXPECT_THAT(send({telemetry(), begin(), run(), pull(), commit()}), Each(StartsWith("SUCCESS")));
    EXPECT_EQ(conversation_->state(), State::kReady);
}

TEST_F(SituationsTest, HelloLogonAndTheFirstStatementMayComeAtOnce) {
    EXPECT_THAT(send({hello(), logon(), run(), pull()}), Each(StartsWith("SUCCESS")));
    EXPECT_EQ(conversation_->state(), State::kReady);
}

TEST_F(SituationsTest, AResetThatFollowsAFailureBeforeItsAnswersAreRead) {
    log_in();
    fail_run();
    EXPECT_THAT(send({run()}), ElementsAre(HasSubstr("SyntaxError")));
    // What the driver had sent already, then its RESET.
    EXPECT_THAT(send({pull(), reset(), begin()}), ElementsAre("IGNORED", "SUCCESS {}", StartsWith("SUCCESS")));
}

TEST_F(SituationsTest, WhatIsAnsweredLeavesThoughTheNextRequestOfThePipelineTakesLong) {
    log_in();
    transport_.writes = 0;
    Completion<Pulled> running;
    EXPECT_CALL(*session_, pull(_, _, _, _)).WillOnce(Invoke([&](auto, auto, RecordSink&, Completion<Pulled> done) { running = std::move(done); }));
    EXPECT_EQ(send({begin(), run(), pull()}), Answers{});
    conversation_->flush_soon();
    EXPECT_THAT(take_answers(), ElementsAre(StartsWith("SUCCESS"), StartsWith("SUCCESS {t_first")));
    conversation_->flush_soon();
    running(Pulled{});
    transport_.run_tasks();
    EXPECT_THAT(take_answers(), ElementsAre(StartsWith("SUCCESS {type")));
    EXPECT_EQ(transport_.writes, 2);
}

TEST_F(SituationsTest, WhatIsAnsweredLeavesWhereTheConnectionEndsInTheMiddleOfAPipeline) {
    log_in();
    Completion<Pulled> running;
    EXPECT_CALL(*session_, pull(_, _, _, _)).WillOnce(Invoke([&](auto, auto, RecordSink&, Completion<Pulled> done) { running = std::move(done); }));
    EXPECT_EQ(send({run(), pull()}), Answers{});
    conversation_->terminate(true);
    running(fail(ErrorCode::kTerminated, {}));
    transport_.run_tasks();
    EXPECT_THAT(take_answers(), ElementsAre(StartsWith("SUCCESS {t_first"), HasSubstr("Terminated")));
    EXPECT_TRUE(transport_.closed);
}

// ---- Renewable authentication ----

TEST_F(SituationsTest, ReauthenticationIsPipelinedWithTheNextTransaction) {
    log_in();
    EXPECT_CALL(*session_, logoff());
    EXPECT_CALL(*session_, login(_, _)).WillOnce(Invoke([](const AuthToken&, Completion<Login> done) { done(Login{"bob", false}); }));
    EXPECT_THAT(send({logoff(), logon(), begin(), run(), pull()}), Each(StartsWith("SUCCESS")));
    EXPECT_EQ(conversation_->user(), "bob");
}

TEST_F(SituationsTest, APipelinedLogonThatIsRefusedEndsTheConnectionAndNothingBehindItRuns) {
    log_in();
    EXPECT_CALL(*session_, login(_, _)).WillOnce(Invoke([](const AuthToken&, Completion<Login> done) {
        done(fail(ErrorCode::kUnauthorized, "no"));
    }));
    EXPECT_CALL(*session_, run(_, _, _, _)).Times(0);
    EXPECT_THAT(send({logoff(), logon(), run(), pull()}),
                ElementsAre("SUCCESS {}", HasSubstr("Neo.ClientError.Security.Unauthorized")));
    EXPECT_TRUE(transport_.closed);
}

TEST_F(SituationsTest, LoggedOffNobodyRunsAStatement) {
    log_in();
    EXPECT_CALL(*session_, run(_, _, _, _)).Times(0);
    EXPECT_THAT(send({logoff(), run()}),
                ElementsAre("SUCCESS {}", HasSubstr("RunMessage cannot be handled by a session in the AUTHENTICATION state.")));
    EXPECT_TRUE(transport_.closed);
}

TEST_F(SituationsTest, LogoffInATransactionIsAViolation) {
    log_in();
    EXPECT_THAT(send({begin(), logoff()})[1], HasSubstr("LogoffMessage cannot be handled by a session in the IN_TRANSACTION state."));
    EXPECT_TRUE(transport_.closed);
}

// ---- RESET, GOODBYE, a lost peer, in each state ----

TEST_F(SituationsTest, ResetMakesAConnectionReadyInEachStateAfterTheLogin) {
    rows_ = {{1}, {2}};
    for (const auto& [name, enter] : states()) {
        enter();
        const Answers answers = send({reset()});
        if (!conversation_->authenticated()) {
            EXPECT_THAT(answers, ElementsAre(HasSubstr(fmt::format("ResetMessage cannot be handled by a session in the {} state.", name))));
            EXPECT_TRUE(transport_.closed) << name;
            continue;
        }
        EXPECT_THAT(answers, ElementsAre("SUCCESS {}")) << name;
        EXPECT_EQ(conversation_->state(), State::kReady) << name;
        EXPECT_THAT(send({begin(), run(), pull(), commit()}).back(), "SUCCESS {bookmark: 'FB:kcw='}") << name;
    }
}

TEST_F(SituationsTest, GoodbyeEndsAConnectionInEachStateWithoutAnAnswer) {
    rows_ = {{1}, {2}};
    for (const auto& [name, enter] : states()) {
        enter();
        if (session_ != nullptr) {
            EXPECT_CALL(*session_, commit(_)).Times(0);
        }
        EXPECT_EQ(send({goodbye()}), Answers{}) << name;
        EXPECT_TRUE(transport_.closed) << name;
        EXPECT_EQ(session_, nullptr) << name;  // which rolls back what was open
    }
}

TEST_F(SituationsTest, APeerThatIsLostInEachStateLeavesNothingOpen) {
    rows_ = {{1}, {2}};
    for (const auto& [name, enter] : states()) {
        enter();
        if (session_ != nullptr) {
            EXPECT_CALL(*session_, commit(_)).Times(0);
        }
        conversation_->terminate(false);
        EXPECT_TRUE(transport_.closed) << name;
        EXPECT_EQ(session_, nullptr) << name;
        EXPECT_EQ(conversation_->state(), State::kDefunct) << name;
    }
}

// ---- FAILURE and IGNORED ----

TEST_F(SituationsTest, AfterAFailureEveryRequestIsIgnored) {
    log_in();
    fail_run();
    send({run()});
    const std::vector<std::string> all{run(), pull(), discard(), begin(), commit(), rollback(), route(), telemetry(), logoff(), logon(), hello()};
    EXPECT_THAT(send(all), ::testing::AllOf(::testing::SizeIs(all.size()), Each("IGNORED")));
    EXPECT_EQ(conversation_->user(), "neo4j");
    EXPECT_THAT(send({reset()}), ElementsAre("SUCCESS {}"));
}

TEST_F(SituationsTest, AFailureOfAPullInATransactionNeedsAReset) {
    log_in();
    EXPECT_CALL(*session_, pull(_, _, _, _)).WillOnce(Invoke([](auto, auto, RecordSink&, Completion<Pulled> done) {
        done(fail(ErrorCode::kConflict, "overtaken"));
    }));
    EXPECT_CALL(*session_, commit(_)).Times(0);
    EXPECT_THAT(send({begin(), run(), pull(), commit()}),
                ElementsAre(StartsWith("SUCCESS"), StartsWith("SUCCESS"), HasSubstr("Neo.TransientError."), "IGNORED"));
    EXPECT_THAT(send({rollback()}), ElementsAre("IGNORED"));
    EXPECT_THAT(send({reset()}), ElementsAre("SUCCESS {}"));
}

TEST_F(SituationsTest, ACommitThatFailsIsAnsweredOnTheSameConnection) {
    log_in();
    for (const ErrorCode code : {ErrorCode::kUnknownCommit, ErrorCode::kNotLeader, ErrorCode::kDatabaseUnavailable}) {
        EXPECT_CALL(*session_, commit(_)).WillOnce(Invoke([code](Completion<std::string> done) { done(fail(code, "no")); }));
        const Answers answers = send({begin(), run(), pull(), commit()});
        EXPECT_THAT(answers.back(), StartsWith("FAILURE"));
        // Only an autocommit statement may be sent again by itself.
        EXPECT_THAT(answers.back(), ::testing::Not(HasSubstr("_idempotent")));
        EXPECT_FALSE(transport_.closed);
        EXPECT_THAT(send({reset()}), ElementsAre("SUCCESS {}"));
    }
}

TEST_F(SituationsTest, ATransactionThatTheServerEndedFailsAtItsNextStatementNotAtTheConnection) {
    log_in();
    send({begin()});
    EXPECT_CALL(*session_, run_in_transaction(_, _, _)).WillOnce(Invoke([](auto, auto, Completion<Running> done) {
        done(fail(ErrorCode::kNotLeader, "no"));
    }));
    EXPECT_THAT(send({run(), pull()}), ElementsAre(HasSubstr("Neo.ClientError.Cluster.NotALeader"), "IGNORED"));
    EXPECT_THAT(send({reset(), run(), pull()}), Each(StartsWith("SUCCESS")));
}

// ---- Results ----

TEST_F(SituationsTest, TwoOpenResultsOfATransactionArePulledByTheirNumbers) {
    log_in();
    std::vector<std::int64_t> asked;
    ON_CALL(*session_, pull(_, _, _, _)).WillByDefault(Invoke([&](std::int64_t id, auto, RecordSink& sink, Completion<Pulled> done) {
        asked.push_back(id);
        const Value row{id};
        sink.record({&row, 1});
        Pulled pulled;
        pulled.outcome = asked.size() < 3 ? PullOutcome::kHasMore : PullOutcome::kFinished;
        done(std::move(pulled));
    }));
    EXPECT_CALL(*session_, discard(0, -1, _));
    EXPECT_THAT(send({begin(), run(), run(), of_statement(MessageTag::kPull, 0, 1), of_statement(MessageTag::kPull, 1, 1),
                      of_statement(MessageTag::kPull, 1, 1), of_statement(MessageTag::kDiscard, 0), commit()}),
                ElementsAre(StartsWith("SUCCESS"), HasSubstr("qid: 0"), HasSubstr("qid: 1"), "RECORD [0]", "SUCCESS {has_more: true}",
                            "RECORD [1]", "SUCCESS {has_more: true}", "RECORD [1]", StartsWith("SUCCESS {type"),
                            StartsWith("SUCCESS {type"), "SUCCESS {bookmark: 'FB:kcw='}"));
}

TEST_F(SituationsTest, TheRestOfAResultIsThrownAwayByDiscard) {
    log_in();
    rows_ = {{1}, {2}, {3}};
    EXPECT_THAT(send({run(), pull(1), discard()}),
                ElementsAre(StartsWith("SUCCESS"), "RECORD [1]", "SUCCESS {has_more: true}", HasSubstr("bookmark: 'FB:kcw='")));
    EXPECT_EQ(conversation_->state(), State::kReady);
}

TEST_F(SituationsTest, ACommitWithAnOpenResultCommits) {
    log_in();
    rows_ = {{1}, {2}};
    EXPECT_THAT(send({begin(), run(), pull(1), commit()}).back(), "SUCCESS {bookmark: 'FB:kcw='}");
    EXPECT_EQ(conversation_->state(), State::kReady);
}

TEST_F(SituationsTest, ANoopBetweenMessagesIsPassedOver) {
    log_in();
    EXPECT_THAT(send({bytes_of("0000"), run(), bytes_of("0000 0000"), pull()}), Each(StartsWith("SUCCESS")));
}

// ---- Routing and databases ----

TEST_F(SituationsTest, RouteOfAnUnknownDatabaseFailsAndTheConnectionGoesOn) {
    log_in();
    EXPECT_CALL(*session_, route(_, _, "", _, _));
    EXPECT_CALL(*session_, route(_, _, "nowhere", _, _)).WillOnce(Invoke([](auto, auto, auto, auto, Completion<RoutingTable> done) {
        done(fail(ErrorCode::kDatabaseNotFound, "no"));
    }));
    EXPECT_THAT(send({request(MessageTag::kRoute, {Map{}, List{}, map_of({{"db", "nowhere"}})}), route()}),
                ElementsAre(HasSubstr("Neo.ClientError.Database.DatabaseNotFound"), "IGNORED"));
    EXPECT_THAT(send({reset(), route()}), ElementsAre("SUCCESS {}", HasSubstr("rt: {")));
}

TEST_F(SituationsTest, RouteInATransactionIsAViolation) {
    log_in();
    EXPECT_THAT(send({begin(), route()})[1], HasSubstr("RouteMessage cannot be handled by a session in the IN_TRANSACTION state."));
    EXPECT_TRUE(transport_.closed);
}

TEST_F(SituationsTest, ATableWithoutWritersIsSaidAsItIs) {
    log_in();
    EXPECT_CALL(*session_, route(_, _, _, _, _)).WillOnce(Invoke([](auto, auto, auto, auto, Completion<RoutingTable> done) {
        done(RoutingTable{10, "neo4j", {{"WRITE", {}}, {"READ", {"h:1"}}, {"ROUTE", {"h:1"}}}});
    }));
    EXPECT_THAT(send({route()})[0], HasSubstr("{addresses: [], role: 'WRITE'}"));
}

TEST_F(SituationsTest, TheRoutingContextIsNoMatterOfItsContents) {
    for (const Value& routing : {Value{Map{}}, Value{map_of({{"address", "h:1"}, {"policy", "eu"}})}}) {
        start({5, 8});
        send({hello(map_of({{"routing", routing}}))});
        EXPECT_TRUE(info_seen_.routing_context.is_map());
    }
}

TEST_F(SituationsTest, ImpersonationIsKnownFromFourFourOn) {
    for (const auto& [version, user] : {std::pair{Version{4, 3}, ""}, std::pair{Version{4, 4}, "bob"}, std::pair{Version{5, 8}, "bob"}}) {
        start(version);
        log_in();
        EXPECT_CALL(*session_, begin(_, _)).WillOnce(Invoke([wanted = user](const TransactionOptions& options, Completion<Begun> done) {
            EXPECT_EQ(options.impersonated_user, wanted);
            done(Begun{"neo4j"});
        }));
        send({begin(map_of({{"imp_user", "bob"}}))});
    }
}

TEST_F(SituationsTest, TheHomeDatabaseIsSaidByBeginAndRunWhereTheClientNamesNone) {
    for (const Value& none : {Value{}, Value{""}}) {
        start({5, 8});
        log_in();
        EXPECT_THAT(send({begin(map_of({{"db", none}})), rollback(), run("RETURN 1", {}, map_of({{"db", none}})), pull()}),
                    ElementsAre("SUCCESS {db: 'neo4j'}", "SUCCESS {}", HasSubstr("db: 'neo4j'"), StartsWith("SUCCESS")));
    }
}

// ---- Configuration ----

TEST_F(SituationsTest, NotificationsOfATransactionOverrideThoseOfHello) {
    start({5, 8});
    send({hello(map_of({{"notifications_minimum_severity", "OFF"}})), logon()});
    NotificationSeverity seen = NotificationSeverity::kDefault;
    ON_CALL(*session_, begin(_, _)).WillByDefault(Invoke([&](const TransactionOptions& options, Completion<Begun> done) {
        seen = options.notifications.minimum_severity;
        done(Begun{"neo4j"});
    }));
    send({begin(map_of({{"notifications_minimum_severity", "WARNING"}})), rollback()});
    EXPECT_EQ(seen, NotificationSeverity::kWarning);
    send({begin(map_of({{"notifications_minimum_severity", Value{}}})), rollback()});
    EXPECT_EQ(seen, NotificationSeverity::kOff);
}

TEST_F(SituationsTest, AnAbsentTimeoutIsTheServers) {
    log_in();
    EXPECT_CALL(*session_, begin(_, _)).WillOnce(Invoke([](const TransactionOptions& options, Completion<Begun> done) {
        EXPECT_EQ(options.timeout, std::nullopt);
        done(Begun{"neo4j"});
    }));
    send({begin(map_of({{"tx_timeout", Value{}}}))});
}

}  // namespace
}  // namespace nornic::bolt
