// The state machine, message by message, against what a Neo4j 5.26 answers.
#include "bolt/conversation.h"

#include "support.h"

#include <chrono>
#include <tuple>

namespace nornic::bolt {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Invoke;
using ::testing::StartsWith;

using Answers = std::vector<std::string>;
constexpr const char* kUnclassified =
    "gql_status: '50N42', description: 'error: general processing exception - unexpected error. "
    "Unexpected error has occurred. See debug log for details.'}";

std::string unclassified(std::string_view code, std::string_view message) {
    return fmt::format("FAILURE {{neo4j_code: '{}', message: {}, {}",
                       code,
                       to_cypher_text(Value{message}),
                       kUnclassified);
}

// ---- HELLO, LOGON, LOGOFF ----

TEST_F(ConversationTest, HelloAndLogonOfEachVersion) {
    const std::string hints = "hints: {`connection.recv_timeout_seconds`: 120}";
    const auto first = [&](Version version) {
        start(version);
        return send({hello(
            map_of({{"scheme", "basic"}, {"principal", "neo4j"}, {"credentials", "x"}}))})[0];
    };
    for (const Version v : {Version{4, 3},
                            Version{4, 4},
                            Version{5, 0},
                            Version{5, 1},
                            Version{5, 4},
                            Version{5, 7}}) {
        const std::string answer = first(v);
        EXPECT_THAT(answer, HasSubstr("server: 'Neo4j/5.26.0', connection_id: 'bolt-7', hints: {"))
            << v.to_text();
        EXPECT_THAT(answer, HasSubstr("120}")) << v.to_text();
        EXPECT_THAT(answer, ::testing::Not(HasSubstr("protocol_version"))) << v.to_text();
        EXPECT_EQ(conversation_->authenticated(), v < (Version{5, 1})) << v.to_text();
    }
    EXPECT_THAT(first({5, 8}), HasSubstr("ssr.enabled"));
    EXPECT_THAT(send({logon()}), ElementsAre("SUCCESS {advertised_address: 'localhost:7687'}"));
    EXPECT_EQ(conversation_->user(), "neo4j");
    first({5, 7});
    EXPECT_THAT(send({logon()}), ElementsAre("SUCCESS {}"));
    EXPECT_THAT(first({4, 2}), ::testing::Not(HasSubstr("hints")));
}

TEST_F(ConversationTest, ProtocolVersionIsSaidAfterAManifestOnly) {
    start({5, 8}, true);
    EXPECT_THAT(send({hello()})[0], HasSubstr("protocol_version: '5.8'"));
}

TEST_F(ConversationTest, FourFourAgreesOnUtcWhenAsked) {
    start({4, 4});
    EXPECT_THAT(send({hello(map_of(
                    {{"patch_bolt", List{"utc"}}, {"scheme", "basic"}, {"credentials", "x"}}))})[0],
                HasSubstr("patch_bolt: ['utc']"));
    rows_ = {{Value{DateTime{0, 0, 0, ""}}}};
    send({run()});
    conversation_->receive(pull());
    conversation_->work();
    EXPECT_THAT(hex_of(transport_.output), HasSubstr("B349000000"));
}

TEST_F(ConversationTest, TheSessionLearnsWhoConnects) {
    send({hello(map_of({{"routing", map_of({{"address", "h:1"}})}}))});
    EXPECT_EQ(info_seen_.user_agent, "test/1");
    EXPECT_EQ(info_seen_.protocol_version, "5.8");
    EXPECT_EQ(to_cypher_text(info_seen_.routing_context), "{address: 'h:1'}");
    start({5, 8});
    send({hello()});
    EXPECT_TRUE(info_seen_.routing_context.is_null());
}

TEST_F(ConversationTest, HelloWithoutUserAgentFailsAndMayBeRepeated) {
    EXPECT_THAT(send({request(MessageTag::kHello, {Map{}})}),
                ElementsAre(unclassified(
                    "Neo.ClientError.Request.Invalid",
                    "Illegal value for field \"user_agent\": Expected value to be non-null")));
    EXPECT_EQ(conversation_->state(), Conversation::State::kNegotiation);
    EXPECT_THAT(
        send({reset()}),
        ElementsAre(unclassified("Neo.ClientError.Request.Invalid",
                                 "Message of type ResetMessage cannot be handled by a session "
                                 "in the NEGOTIATION state.")));
    EXPECT_TRUE(transport_.closed);
}

TEST_F(ConversationTest, HelloWithoutBoltAgentFailsFromFiveThreeOn) {
    const std::string bare = request(MessageTag::kHello, {map_of({{"user_agent", "x"}})});
    const std::string answer = send({bare})[0];
    EXPECT_THAT(answer,
                HasSubstr("Illegal value for field \"bolt_agent\": Must be a map with string keys "
                          "and string values."));
    EXPECT_THAT(answer, HasSubstr("gql_status: '08N06'"));
    EXPECT_THAT(answer, HasSubstr("gql_status: '22G03'"));
    EXPECT_THAT(answer, HasSubstr("gql_status: '22N01'"));
    start({5, 2});
    EXPECT_THAT(send({bare})[0], StartsWith("SUCCESS"));
}

TEST_F(ConversationTest, RunBeforeHelloAndBeforeLogonCloses) {
    EXPECT_THAT(
        send({run()}),
        ElementsAre(unclassified("Neo.ClientError.Request.Invalid",
                                 "Message of type RunMessage cannot be handled by a session in "
                                 "the NEGOTIATION state.")));
    EXPECT_TRUE(transport_.closed);
    start({5, 8});
    const Answers answers = send({hello(), run(), pull()});
    ASSERT_EQ(answers.size(), 2U);
    EXPECT_THAT(
        answers[1],
        HasSubstr("RunMessage cannot be handled by a session in the AUTHENTICATION state."));
    EXPECT_TRUE(transport_.closed);
}

TEST_F(ConversationTest, ASecondHelloCloses) {
    log_in();
    EXPECT_THAT(send({hello()})[0],
                HasSubstr("HelloMessage cannot be handled by a session in the READY state."));
    EXPECT_TRUE(transport_.closed);
}

TEST_F(ConversationTest, AnUnknownMessageClosesWithoutAWord) {
    log_in();
    EXPECT_THAT(send({request(static_cast<MessageTag>(0x77), {})}), ElementsAre());
    EXPECT_TRUE(transport_.closed);
}

TEST_F(ConversationTest, GoodbyeClosesAfterWhatCameBeforeIt) {
    log_in();
    EXPECT_THAT(send({run(), pull(), request(MessageTag::kGoodbye)}),
                ElementsAre(StartsWith("SUCCESS"), StartsWith("SUCCESS")));
    EXPECT_TRUE(transport_.closed);
}

TEST_F(ConversationTest, ARefusedLoginIsAnsweredThenCloses) {
    send({hello()});
    EXPECT_CALL(*session_, login(_, _))
        .WillOnce(Invoke([](const AuthToken& token, Completion<Login> done) {
            EXPECT_EQ(token.principal, "neo4j");
            EXPECT_EQ(token.credentials, "secret");
            done(fail(ErrorCode::kUnauthorized,
                      "The client is unauthorized due to authentication failure."));
        }));
    EXPECT_THAT(send({logon(), run()}),
                ElementsAre(HasSubstr("Neo.ClientError.Security.Unauthorized")));
    EXPECT_TRUE(transport_.closed);
    EXPECT_EQ(metrics_.authentication_failures.load(), 1U);
}

TEST_F(ConversationTest, TokensThatCannotBeTakenAreNamed) {
    const std::tuple<Map, const char*> rows[] = {
        {map_of({{"scheme", "none"}}), "is only allowed when auth is disabled."},
        {map_of({{"scheme", "magic"}, {"credentials", "x"}}), "is not supported."},
        {Map{}, "missing key `scheme`"},
        {map_of({{"scheme", "basic"}, {"principal", "x"}}), "missing key `credentials`"},
    };
    for (const auto& [token, problem] : rows) {
        start({5, 8});
        send({hello()});
        EXPECT_CALL(*session_, login(_, _)).Times(0);
        EXPECT_THAT(send({request(MessageTag::kLogon, {token})})[0],
                    AllOf(HasSubstr("Unsupported authentication token, "), HasSubstr(problem)));
        EXPECT_TRUE(transport_.closed);
    }
}

TEST_F(ConversationTest, WithAuthenticationOffAnyTokenReachesTheSession) {
    ON_CALL(backend_, authentication_enabled()).WillByDefault(::testing::Return(false));
    send({hello()});
    EXPECT_THAT(send({request(MessageTag::kLogon, {Map{}})}), ElementsAre(StartsWith("SUCCESS")));
}

TEST_F(ConversationTest, ExpiredCredentialsAreSaid) {
    send({hello()});
    ON_CALL(*session_, login(_, _))
        .WillByDefault(
            Invoke([](const AuthToken&, Completion<Login> done) { done(Login{"neo4j", true}); }));
    EXPECT_THAT(send({logon()})[0], HasSubstr("credentials_expired: true"));
}

TEST_F(ConversationTest, LogoffAndLogonChangeTheUser) {
    log_in();
    EXPECT_CALL(*session_, logoff());
    EXPECT_THAT(send({request(MessageTag::kLogoff), logon(), run(), pull()}),
                ElementsAre("SUCCESS {}",
                            "SUCCESS {advertised_address: 'localhost:7687'}",
                            StartsWith("SUCCESS"),
                            StartsWith("SUCCESS")));
    start({5, 0});
    log_in();
    EXPECT_THAT(send({request(MessageTag::kLogoff)}), ElementsAre());
    EXPECT_TRUE(transport_.closed);
}

TEST_F(ConversationTest, BeforeLoginAMessageIsBounded) {
    send({hello()});
    conversation_->receive(bytes_of("FFFF 00"));
    conversation_->work();
    EXPECT_THAT(take_answers(),
                ElementsAre(HasSubstr("Value of size 65535 exceeded limit of 8192")));
    EXPECT_TRUE(transport_.closed);
    start({5, 8});
    log_in();
    EXPECT_THAT(send({run(std::string(100'000, ' '))}), ElementsAre(StartsWith("SUCCESS")));
}

// ---- RUN, PULL, DISCARD ----

TEST_F(ConversationTest, RunAndPullAreAnsweredInOneWrite) {
    log_in();
    rows_ = {{1}, {2}};
    summary_.records = 2;
    transport_.writes = 0;
    EXPECT_THAT(send({run(), pull()}),
                ElementsAre("SUCCESS {t_first: 1, fields: ['n'], db: 'neo4j'}",
                            "RECORD [1]",
                            "RECORD [2]",
                            "SUCCESS {bookmark: 'FB:kcw=', type: 'r', t_last: 0, db: 'neo4j', "
                            "statuses: [{gql_status: "
                            "'00000', status_description: 'note: successful completion'}]}"));
    EXPECT_EQ(transport_.writes, 1);
}

TEST_F(ConversationTest, TheDatabaseIsSaidOnlyIfTheClientNamedNone) {
    log_in();
    EXPECT_THAT(send({run("RETURN 1", {}, map_of({{"db", "neo4j"}})), pull()})[0],
                "SUCCESS {t_first: 1, fields: ['n']}");
    EXPECT_THAT(send({begin()})[0], "SUCCESS {db: 'neo4j'}");
    send({rollback()});
    EXPECT_THAT(send({begin(map_of({{"db", "neo4j"}}))})[0], "SUCCESS {}");
    start({5, 7});
    log_in();
    EXPECT_THAT(send({run(), pull()})[0], "SUCCESS {t_first: 1, fields: ['n']}");
    EXPECT_THAT(send({begin()})[0], "SUCCESS {}");
}

TEST_F(ConversationTest, PullCountsAndSaysThatThereIsMore) {
    log_in();
    rows_ = {{1}, {2}, {3}};
    EXPECT_THAT(
        send({run(), pull(2)}),
        ElementsAre(StartsWith("SUCCESS"), "RECORD [1]", "RECORD [2]", "SUCCESS {has_more: true}"));
    EXPECT_EQ(conversation_->state(), Conversation::State::kAutoCommit);
    EXPECT_THAT(send({pull(2)}), ElementsAre("RECORD [3]", HasSubstr("bookmark: 'FB:kcw='")));
    EXPECT_EQ(conversation_->state(), Conversation::State::kReady);
}

TEST_F(ConversationTest, OptionsReachTheSession) {
    log_in();
    EXPECT_CALL(*session_, run(_, _, _, _))
        .WillOnce(Invoke([](const std::string& query,
                            const Value& parameters,
                            const TransactionOptions& options,
                            Completion<Running> done) {
            EXPECT_EQ(query, "RETURN $x");
            EXPECT_EQ(to_cypher_text(parameters), "{x: [1, 'a']}");
            EXPECT_EQ(options.database, "db1");
            EXPECT_EQ(options.mode, AccessMode::kRead);
            EXPECT_EQ(options.bookmarks, (std::vector<std::string>{"a", "b"}));
            EXPECT_EQ(options.timeout, std::optional<Duration>{std::chrono::milliseconds{300}});
            EXPECT_EQ(to_cypher_text(options.metadata), "{app: 'x'}");
            EXPECT_EQ(options.impersonated_user, "bob");
            EXPECT_EQ(options.notifications.minimum_severity, NotificationSeverity::kOff);
            done(Running{});
        }));
    send({run("RETURN $x",
              map_of({{"x", List{1, "a"}}}),
              map_of({{"db", "db1"},
                      {"mode", "r"},
                      {"bookmarks", List{"a", "b"}},
                      {"tx_timeout", 300},
                      {"tx_metadata", map_of({{"app", "x"}})},
                      {"imp_user", "bob"},
                      {"unknown", 1},
                      {"notifications_minimum_severity", "OFF"}}))});
}

TEST_F(ConversationTest, TimeoutsOfZeroAndBelowMeanNone) {
    log_in();
    for (const std::int64_t ms :
         {std::int64_t{0}, std::int64_t{-1}, std::numeric_limits<std::int64_t>::max()}) {
        EXPECT_CALL(*session_, begin(_, _))
            .WillOnce(Invoke([](const TransactionOptions& o, Completion<Begun> done) {
                EXPECT_EQ(o.timeout, std::optional<Duration>{Duration{0}});
                done(Begun{});
            }));
        send({begin(map_of({{"tx_timeout", ms}})), rollback()});
    }
}

TEST_F(ConversationTest, FieldsThatDoNotDecodeFailButTheStateStays) {
    log_in();
    const std::tuple<std::string, std::string, const char*> rows[] = {
        {run("RETURN 1", {}, map_of({{"mode", "q"}})),
         "Illegal value for field \"mode\": Expecting access mode value to be \\'r\\' or \\'w\\'",
         "22N04"},
        {begin(map_of({{"tx_timeout", "x"}})), "Illegal value for field \"tx_timeout\"", "22N01"},
        {begin(map_of({{"notifications_minimum_severity", "LOUD"}})),
         "Illegal value for field \"notifications_minimum_severity\"",
         "08N06"},
        {request(MessageTag::kRun, {"RETURN 1", Map{}}), "Illegal struct size", "50N42"},
        {run("RETURN 1", map_of({{"x", Value{Node{}}}})),
         "Illegal value for field \"params\": Unexpected struct tag: 0x4E",
         "22N97"},
        {request(MessageTag::kRun, {1, Map{}, Map{}}),
         "Illegal value for field \"statement\"",
         "22N01"},
        {request(MessageTag::kTelemetry, {4}), "Unknown driver interface type 4", "50N42"},
    };
    for (const auto& [message, text, gql] : rows) {
        const Answers answers = send({message});
        ASSERT_EQ(answers.size(), 1U);
        EXPECT_THAT(answers[0], HasSubstr(text));
        EXPECT_THAT(answers[0], HasSubstr(gql));
        EXPECT_EQ(conversation_->state(), Conversation::State::kReady);
    }
    // A PULL pipelined behind it violates the state.
    const Answers answers = send({run("RETURN 1", {}, map_of({{"mode", "q"}})), pull()});
    ASSERT_EQ(answers.size(), 2U);
    EXPECT_THAT(answers[1],
                HasSubstr("PullMessage cannot be handled by a session in the READY state."));
    EXPECT_TRUE(transport_.closed);
}

TEST_F(ConversationTest, DuplicateParametersAreRefused) {
    log_in();
    // RUN "x" {a: 1, a: 2} {}
    EXPECT_THAT(send({bytes_of("000C B310 8178 A2816101816102 A0 0000")})[0],
                HasSubstr("Illegal value for field \"params\": Duplicate map key: \"a\""));
}

TEST_F(ConversationTest, PullNeedsACount) {
    log_in();
    send({run()});
    EXPECT_THAT(send({pull(0)})[0],
                HasSubstr("Illegal value for field \"meta\": Illegal value for field \"n\": "
                          "Expecting size to be at least 1, but got: 0"));
    EXPECT_THAT(send({request(MessageTag::kPull, {Map{}})})[0],
                HasSubstr("\"n\": Expected value to be non-null"));
    EXPECT_THAT(send({pull()}), ElementsAre(StartsWith("SUCCESS")));
}

TEST_F(ConversationTest, TrailingBytesAreLetPass) {
    log_in();
    EXPECT_THAT(send({bytes_of("0005 B00F 010203 0000")}), ElementsAre(StartsWith("SUCCESS")));
}

TEST_F(ConversationTest, MessagesOutOfStateCloseWithTheStatesName) {
    const std::tuple<std::vector<std::string>, std::string, const char*> rows[] = {
        {{}, pull(), "PullMessage cannot be handled by a session in the READY state."},
        {{}, commit(), "CommitMessage cannot be handled by a session in the READY state."},
        {{run()}, run(), "RunMessage cannot be handled by a session in the AUTO_COMMIT state."},
        {{run()}, begin(), "BeginMessage cannot be handled by a session in the AUTO_COMMIT state."},
        {{begin()},
         begin(),
         "BeginMessage cannot be handled by a session in the IN_TRANSACTION state."},
        {{begin()},
         request(MessageTag::kRoute, {Map{}, List{}, Map{}}),
         "RouteMessage cannot be handled by a session in the IN_TRANSACTION state."},
        {{begin()},
         request(MessageTag::kTelemetry, {0}),
         "TelemetryMessage cannot be handled by a session in the IN_TRANSACTION state."},
        {{}, logon(), "LogonMessage cannot be handled by a session in the READY state."},
    };
    for (const auto& [before, message, text] : rows) {
        start({5, 8});
        log_in();
        send(before);
        EXPECT_THAT(send({message}), ElementsAre(HasSubstr(text)));
        EXPECT_TRUE(transport_.closed) << text;
    }
}

// ---- transactions ----

TEST_F(ConversationTest, StatementsOfATransactionAreNumbered) {
    log_in();
    rows_ = {{1}};
    EXPECT_THAT(send({begin(), run(), pull(), run(), discard(), commit()}),
                ElementsAre("SUCCESS {db: 'neo4j'}",
                            "SUCCESS {t_first: 1, fields: ['n'], qid: 0}",
                            "RECORD [1]",
                            AllOf(HasSubstr("type: 'r'"), ::testing::Not(HasSubstr("bookmark"))),
                            "SUCCESS {t_first: 1, fields: ['n'], qid: 1}",
                            StartsWith("SUCCESS {type"),
                            "SUCCESS {bookmark: 'FB:kcw='}"));
    EXPECT_EQ(conversation_->state(), Conversation::State::kReady);
    EXPECT_THAT(send({begin(), run(), commit()}), ElementsAre(_, _, HasSubstr("bookmark")));
    EXPECT_THAT(send({begin(), rollback()}), ElementsAre(_, "SUCCESS {}"));
}

TEST_F(ConversationTest, AnUnknownStatementIsTheSessionsFailure) {
    log_in();
    send({begin(), run()});
    EXPECT_CALL(*session_, pull(7, -1, _, _))
        .WillOnce(Invoke([](auto, auto, RecordSink&, Completion<Pulled> done) {
            done(fail(ErrorCode::kInvalidFormat, "No such statement: 7"));
        }));
    EXPECT_THAT(send({request(MessageTag::kPull, {map_of({{"n", -1}, {"qid", 7}})})})[0],
                AllOf(HasSubstr("Neo.ClientError.Request.InvalidFormat"),
                      HasSubstr("No such statement: 7")));
}

// ---- failures, IGNORED, RESET ----

TEST_F(ConversationTest, AfterAFailureEverythingIsIgnoredUntilReset) {
    log_in();
    EXPECT_CALL(*session_, run(_, _, _, _))
        .WillOnce(Invoke([](auto, auto, auto, Completion<Running> done) {
            done(fail(ErrorCode::kSyntaxError, "bad"));
        }));
    EXPECT_CALL(*session_, reset()).Times(1);
    EXPECT_THAT(send({run(), pull()}),
                ElementsAre(HasSubstr("Neo.ClientError.Statement.SyntaxError"), "IGNORED"));
    EXPECT_THAT(send({rollback(),
                      commit(),
                      begin(),
                      request(MessageTag::kLogoff),
                      request(MessageTag::kRoute, {Map{}, List{}, Map{}})}),
                ElementsAre("IGNORED", "IGNORED", "IGNORED", "IGNORED", "IGNORED"));
    EXPECT_THAT(send({reset()}), ElementsAre("SUCCESS {}"));
    EXPECT_CALL(*session_, run(_, _, _, _))
        .WillOnce(Invoke([](auto, auto, auto, Completion<Running> done) { done(Running{}); }));
    EXPECT_THAT(send({run()}), ElementsAre(StartsWith("SUCCESS")));
}

TEST_F(ConversationTest, FailureMapsOfEachVersion) {
    const auto failure = [this](Version version) {
        start(version);
        log_in();
        ON_CALL(*session_, run(_, _, _, _))
            .WillByDefault(Invoke([](auto, auto, auto, Completion<Running> done) {
                done(boost::outcome_v2::failure(
                    Error{ErrorCode::kSyntaxError, "bad", SourcePosition{7, 1, 8}, "42001>42N62"}));
            }));
        return send({run()})[0];
    };
    EXPECT_EQ(failure({5, 6}),
              "FAILURE {code: 'Neo.ClientError.Statement.SyntaxError', message: 'bad'}");
    EXPECT_EQ(failure({4, 4}),
              "FAILURE {code: 'Neo.ClientError.Statement.SyntaxError', message: 'bad'}");
    const std::string newest = failure({5, 7});
    EXPECT_THAT(newest,
                StartsWith("FAILURE {neo4j_code: 'Neo.ClientError.Statement.SyntaxError', message: "
                           "'bad', gql_status: '42001', description: '"));
    EXPECT_THAT(newest,
                HasSubstr("diagnostic_record: {_classification: 'CLIENT_ERROR', _position: "
                          "{offset: 7, column: 8, line: 1}}"));
    EXPECT_THAT(newest, HasSubstr("cause: {message: "));
    EXPECT_THAT(newest, HasSubstr("gql_status: '42N62'"));
}

TEST_F(ConversationTest, ARefusalBeforeAnythingWasTriedMayBeRetriedByTheDriver) {
    log_in();
    const auto refuse = [this](ErrorCode code) {
        ON_CALL(*session_, run(_, _, _, _))
            .WillByDefault(Invoke(
                [code](auto, auto, auto, Completion<Running> done) { done(fail(code, "no")); }));
        ON_CALL(*session_, run_in_transaction(_, _, _))
            .WillByDefault(
                Invoke([code](auto, auto, Completion<Running> done) { done(fail(code, "no")); }));
    };
    refuse(ErrorCode::kNotLeader);
    EXPECT_THAT(send({run()})[0], HasSubstr("_idempotent: true"));
    refuse(ErrorCode::kUnknownCommit);
    send({reset()});
    EXPECT_THAT(send({run()})[0], ::testing::Not(HasSubstr("_idempotent")));
    send({reset()});
    refuse(ErrorCode::kNotLeader);
    EXPECT_THAT(send({begin(), run()})[1], ::testing::Not(HasSubstr("_idempotent")));
}

TEST_F(ConversationTest, ResetOfAnIdleSessionDoesNotTouchIt) {
    log_in();
    EXPECT_CALL(*session_, interrupt()).Times(0);
    EXPECT_CALL(*session_, reset()).Times(0);
    EXPECT_THAT(send({reset(), reset()}), ElementsAre("SUCCESS {}", "SUCCESS {}"));
}

TEST_F(ConversationTest, ResetRollsAnOpenTransactionBack) {
    log_in();
    EXPECT_CALL(*session_, reset()).Times(1);
    EXPECT_THAT(send({begin()}), ElementsAre(StartsWith("SUCCESS")));
    EXPECT_THAT(send({reset()}), ElementsAre("SUCCESS {}"));
    EXPECT_THAT(send({begin()}), ElementsAre(StartsWith("SUCCESS")));
}

TEST_F(ConversationTest, ResetInterruptsARunningCallAndIgnoresWhatIsQueuedBeforeIt) {
    log_in();
    Completion<Pulled> running;
    EXPECT_CALL(*session_, pull(_, _, _, _))
        .WillOnce(Invoke(
            [&](auto, auto, RecordSink&, Completion<Pulled> done) { running = std::move(done); }));
    EXPECT_THAT(send({run(), pull()}), ElementsAre());
    EXPECT_EQ(send({request(MessageTag::kTelemetry, {0}), request(MessageTag::kTelemetry, {0})}),
              Answers{});
    EXPECT_CALL(*session_, interrupt()).Times(1);
    EXPECT_CALL(*session_, reset()).Times(1);
    EXPECT_EQ(send({reset()}), Answers{});
    running(fail(ErrorCode::kTerminated, {}));
    transport_.run_tasks();
    EXPECT_THAT(take_answers(),
                ElementsAre(StartsWith("SUCCESS {t_first"),
                            HasSubstr("Neo.ClientError.Transaction.Terminated"),
                            "IGNORED",
                            "IGNORED",
                            "SUCCESS {}"));
    EXPECT_EQ(conversation_->state(), Conversation::State::kReady);
}

TEST_F(ConversationTest, AnInterruptThatCompletesTheCallItselfIsSafe) {
    log_in();
    Completion<Pulled> running;
    EXPECT_CALL(*session_, pull(_, _, _, _))
        .WillOnce(Invoke(
            [&](auto, auto, RecordSink&, Completion<Pulled> done) { running = std::move(done); }));
    send({run(), pull()});
    EXPECT_CALL(*session_, interrupt()).WillOnce(Invoke([&] {
        running(fail(ErrorCode::kTerminated, {}));
    }));
    send({reset()});
    transport_.run_tasks();
    conversation_->work();
    EXPECT_EQ(conversation_->state(), Conversation::State::kReady);
    EXPECT_THAT(take_answers(),
                ElementsAre(StartsWith("SUCCESS {t_first"), HasSubstr("Terminated"), "SUCCESS {}"));
}

TEST_F(ConversationTest, AWholeExchangeBeforeResetIsIgnoredWhenItArrivesTogether) {
    log_in();
    EXPECT_CALL(*session_, run(_, _, _, _)).Times(0);
    EXPECT_THAT(send({run(), pull(), reset()}), ElementsAre("IGNORED", "IGNORED", "SUCCESS {}"));
}

TEST_F(ConversationTest, CallsMayCompleteLaterAndGoOnElsewhere) {
    log_in();
    Completion<std::string> committing;
    EXPECT_CALL(*session_, commit(_)).WillOnce(Invoke([&](Completion<std::string> done) {
        committing = std::move(done);
    }));
    EXPECT_THAT(send({begin(), commit(), run(), pull()}), ElementsAre());
    EXPECT_NE(conversation_->busy_since(), 0);
    // The completing thread must not make further calls: they are posted.
    EXPECT_CALL(*session_, run(_, _, _, _)).Times(0);
    committing(std::string{"FB:x"});
    ::testing::Mock::VerifyAndClearExpectations(session_);
    play_working_session(*session_);
    transport_.run_tasks();
    EXPECT_THAT(take_answers(),
                ElementsAre(_,
                            "SUCCESS {bookmark: 'FB:x'}",
                            StartsWith("SUCCESS {t_first"),
                            StartsWith("SUCCESS {bookmark")));
    EXPECT_EQ(conversation_->busy_since(), 0);
}

TEST_F(ConversationTest, ThePullOfAStatementThatIsDoneIsAnsweredByTheThreadThatEndedIt) {
    log_in();
    for (const auto& end : {pull(), discard()}) {
        Completion<Running> running;
        EXPECT_CALL(*session_, run(_, _, _, _)).WillOnce([&](auto, auto, auto, Completion<Running> done) {
            running = std::move(done);
        });
        EXPECT_THAT(send({run("CREATE (:A)"), end}), ElementsAre());
        Running done;
        done.finished = true;
        running(std::move(done));
        EXPECT_TRUE(transport_.tasks.empty());
        EXPECT_THAT(take_answers(), ElementsAre(StartsWith("SUCCESS {t_first"), StartsWith("SUCCESS {bookmark")));
        EXPECT_EQ(conversation_->busy_since(), 0);
    }
}

TEST_F(ConversationTest, WhatComesBehindAStatementThatIsDoneIsNotBegunByTheThreadThatEndedIt) {
    log_in();
    rows_ = {{1}};
    summary_.records = 1;
    Completion<Running> running;
    EXPECT_CALL(*session_, run(_, _, _, _)).WillOnce([&](auto, auto, auto, Completion<Running> done) {
        running = std::move(done);
    });
    EXPECT_THAT(send({run("CREATE (:A)"), pull(), run(), pull()}), ElementsAre());
    ::testing::Mock::VerifyAndClearExpectations(session_);
    play_working_session(*session_);
    EXPECT_CALL(*session_, run(_, _, _, _)).Times(0);
    Running done;
    done.finished = true;
    running(std::move(done));
    ::testing::Mock::VerifyAndClearExpectations(session_);
    play_working_session(*session_);
    EXPECT_EQ(transport_.tasks.size(), 1U);
    transport_.run_tasks();
    EXPECT_EQ(take_answers().size(), 6U);
}

// ---- back-pressure and ends ----

TEST_F(ConversationTest, ASlowReaderPausesThePull) {
    settings_.output_bytes_max = 4096;
    start({5, 8});
    log_in();
    for (int i = 0; i < 5000; ++i) {
        rows_.push_back({i});
    }
    transport_.blocked = true;
    conversation_->receive(run() + pull(4000));
    conversation_->work();
    EXPECT_LT(transport_.output.size(), 8192U);
    EXPECT_GT(transport_.output.size(), 4096U);
    std::size_t rounds = 0;
    std::string all;
    while (conversation_->state() == Conversation::State::kAutoCommit && rounds < 100) {
        all += transport_.output;
        const bool ended = transport_.output.find("has_more") != std::string::npos;
        transport_.output.clear();
        if (ended) {
            break;
        }
        ++rounds;
        conversation_->on_writable();
        EXPECT_LT(transport_.output.size(), 8192U);
    }
    const Answers answers = answers_of(all, dialect_);
    ASSERT_EQ(answers.size(), 4002U);  // PULL's count runs across pauses.
    EXPECT_EQ(answers[4000], "RECORD [3999]");
    EXPECT_EQ(answers[4001], "SUCCESS {has_more: true}");
    EXPECT_GT(rounds, 5U);
}

TEST_F(ConversationTest, APeerThatAsksTurnByTurnAndNeverReadsIsAnsweredUpToTheLimit) {
    constexpr std::size_t kTurns = 2000;
    settings_.output_bytes_max = 4096;
    settings_.input_bytes_max = 8192;
    start({5, 8});
    log_in();
    transport_.blocked = true;
    for (std::size_t i = 0; i < kTurns; ++i) {
        conversation_->receive(run() + pull());
        conversation_->work();
    }
    EXPECT_GT(transport_.output.size(), 4096U);
    EXPECT_LT(transport_.output.size(), 8192U);
    EXPECT_FALSE(conversation_->wants_input());
    // Once it reads, all of it is answered.
    transport_.blocked = false;
    conversation_->on_writable();
    EXPECT_TRUE(transport_.input_resumed);
    EXPECT_EQ(take_answers().size(), 2 * kTurns);
    EXPECT_THAT(send({run(), pull()}), ElementsAre(_, _));
}

TEST_F(ConversationTest, SoIsOneThatIsNotLoggedIn) {
    settings_.output_bytes_max = 4096;
    start({5, 8});
    transport_.blocked = true;
    for (int i = 0; i < 1000; ++i) {
        conversation_->receive(request(MessageTag::kHello, {Map{}}));
        conversation_->work();
    }
    EXPECT_LT(transport_.output.size(), 8192U);
    EXPECT_EQ(conversation_->state(), Conversation::State::kNegotiation);
}

TEST_F(ConversationTest, OneThatLeavesWithItsAnswersUnreadIsDoneWith) {
    settings_.output_bytes_max = 1024;
    start({5, 8});
    log_in();
    transport_.blocked = true;
    for (int i = 0; i < 1000; ++i) {
        conversation_->receive(run() + pull());
        conversation_->work();
    }
    conversation_->terminate(false);
    EXPECT_FALSE(transport_.closed);
    conversation_->on_writable();  // nothing can be sent any more
    EXPECT_TRUE(transport_.closed);
}

TEST_F(ConversationTest, RecordsOfALongPullLeaveNowAndThen) {
    log_in();
    std::vector<std::string> early;
    EXPECT_CALL(*session_, pull(_, _, _, _))
        .WillOnce(Invoke([&](auto, auto, RecordSink& sink, Completion<Pulled> done) {
            const Value one{1};
            EXPECT_TRUE(sink.record({&one, 1}));
            conversation_->flush_soon();
            EXPECT_FALSE(sink.record({&one, 1}));
            Pulled paused;
            paused.outcome = PullOutcome::kPaused;
            paused.records = 2;
            done(std::move(paused));
        }))
        .WillOnce(Invoke([&](auto, auto, RecordSink& sink, Completion<Pulled> done) {
            early = take_answers();
            const Value two{2};
            EXPECT_TRUE(sink.record({&two, 1}));
            done(Pulled{});
        }));
    EXPECT_THAT(send({run(), pull()}), ElementsAre("RECORD [2]", HasSubstr("'00000'")));
    EXPECT_THAT(early, ElementsAre(StartsWith("SUCCESS"), "RECORD [1]", "RECORD [1]"));
}

TEST_F(ConversationTest, ResetEndsAPullThatWaitsForASlowReader) {
    settings_.output_bytes_max = 1024;
    start({5, 8});
    log_in();
    rows_.assign(1000, List{1});
    transport_.blocked = true;
    conversation_->receive(run() + pull());
    conversation_->work();
    conversation_->receive(reset());
    conversation_->work();
    transport_.output.clear();
    transport_.blocked = false;
    conversation_->on_writable();
    EXPECT_THAT(take_answers(),
                ElementsAre(HasSubstr("Neo.ClientError.Transaction.Terminated"), "SUCCESS {}"));
}

TEST_F(ConversationTest, ReadingPausesWhenTooMuchIsQueued) {
    settings_.input_bytes_max = 1000;
    start({5, 8});
    log_in();
    Completion<Running> running;
    EXPECT_CALL(*session_, run(_, _, _, _))
        .WillOnce(
            Invoke([&](auto, auto, auto, Completion<Running> done) { running = std::move(done); }));
    send({run()});
    EXPECT_TRUE(conversation_->wants_input());
    send({run(std::string(2000, ' '))});
    EXPECT_FALSE(conversation_->wants_input());
    running(fail(ErrorCode::kSyntaxError, "bad"));
    transport_.run_tasks();
    EXPECT_TRUE(transport_.input_resumed);
}

TEST_F(ConversationTest, APeerThatLeavesInterruptsWhatRuns) {
    log_in();
    Completion<Pulled> running;
    EXPECT_CALL(*session_, pull(_, _, _, _))
        .WillOnce(Invoke(
            [&](auto, auto, RecordSink&, Completion<Pulled> done) { running = std::move(done); }));
    send({run(), pull()});
    EXPECT_CALL(*session_, interrupt()).Times(1);
    conversation_->terminate(false);
    EXPECT_FALSE(transport_.closed);
    running(fail(ErrorCode::kTerminated, {}));
    transport_.run_tasks();
    EXPECT_TRUE(transport_.closed);
}

TEST_F(ConversationTest, AStopWaitsForAnOpenTransaction) {
    log_in();
    send({begin()});
    conversation_->close_when_idle();
    EXPECT_FALSE(transport_.closed);
    EXPECT_THAT(send({run(), pull(), commit()}), ElementsAre(_, _, HasSubstr("bookmark")));
    EXPECT_TRUE(transport_.closed);
    start({5, 8});
    log_in();
    conversation_->close_when_idle();
    EXPECT_TRUE(transport_.closed);
}

// ---- ROUTE, TELEMETRY ----

TEST_F(ConversationTest, RouteOfEachVersion) {
    log_in();
    EXPECT_CALL(*session_, route(_, _, "db1", "bob", _));
    send({request(MessageTag::kRoute,
                  {Map{}, List{"bm"}, map_of({{"db", "db1"}, {"imp_user", "bob"}})})});
    start({5, 8});
    log_in();
    EXPECT_THAT(
        send({request(MessageTag::kRoute, {Map{}, List{}, Map{}})}),
        ElementsAre(
            "SUCCESS {rt: {servers: [{addresses: ['h:1'], role: 'WRITE'}, {addresses: ['h:1', "
            "'h:2'], "
            "role: 'READ'}, {addresses: ['h:1'], role: 'ROUTE'}], ttl: 300, db: 'neo4j'}}"));
    start({4, 3});
    log_in();
    EXPECT_THAT(send({request(MessageTag::kRoute, {Map{}, List{}, Value{}})})[0],
                AllOf(HasSubstr("ttl: 300}"), ::testing::Not(HasSubstr("db:"))));
    EXPECT_CALL(*session_, route(_, _, "db2", "", _));
    send({request(MessageTag::kRoute, {Map{}, List{}, "db2"})});
}

TEST_F(ConversationTest, TelemetryIsTakenFromFiveFourOn) {
    int api = -1;
    settings_.on_telemetry = [&](int a) { api = a; };
    log_in();
    EXPECT_THAT(send({request(MessageTag::kTelemetry, {3})}), ElementsAre("SUCCESS {}"));
    EXPECT_EQ(api, 3);
    start({5, 3});
    log_in();
    EXPECT_THAT(send({request(MessageTag::kTelemetry, {3})}), ElementsAre());
    EXPECT_TRUE(transport_.closed);
}

// ---- summaries ----

Notification note(std::string gql, std::string severity, std::string category) {
    Notification n;
    n.code = "Neo.ClientNotification.X";
    n.gql_status = std::move(gql);
    n.title = "t";
    n.description = "d";
    n.status_description = "s";
    n.severity = std::move(severity);
    n.category = std::move(category);
    n.position = SourcePosition{3, 1, 4};
    return n;
}

TEST_F(ConversationTest, StatusesAreOrderedAndNotificationsOfOlderVersionsAreNot) {
    summary_.notifications = {note("03N90", "INFORMATION", "PERFORMANCE"),
                              note("01N50", "WARNING", "UNRECOGNIZED")};
    log_in();
    std::string last = send({run(), pull()})[1];
    const auto at = [&](const char* what) { return last.find(what); };
    EXPECT_LT(at("'02000'"), at("'01N50'"));
    EXPECT_LT(at("'01N50'"), at("'03N90'"));
    EXPECT_THAT(
        last,
        HasSubstr(
            "{gql_status: '01N50', neo4j_code: 'Neo.ClientNotification.X', status_description: "
            "'s', "
            "title: 't', description: 'd', diagnostic_record: {_classification: 'UNRECOGNIZED', "
            "_severity: 'WARNING', _position: {offset: 3, line: 1, column: 4}}}"));
    rows_ = {{1}};
    last = send({run(), pull()})[2];
    EXPECT_LT(at("'01N50'"), at("'00000'"));
    EXPECT_LT(at("'00000'"), at("'03N90'"));
    fields_.clear();
    rows_.clear();
    EXPECT_THAT(send({run(), pull()})[1], HasSubstr("'00001'"));
    start({5, 4});
    log_in();
    EXPECT_THAT(send({run(), pull()})[1],
                HasSubstr("notifications: [{code: 'Neo.ClientNotification.X', title: 't', "
                          "description: 'd', severity: "
                          "'INFORMATION', category: 'PERFORMANCE', position: {offset: 3, line: 1, "
                          "column: 4}}, "));
    summary_.notifications.clear();
    EXPECT_THAT(send({run(), pull()})[1], ::testing::Not(HasSubstr("notifications")));
}

TEST_F(ConversationTest, NotificationFiltersOfHelloAndRun) {
    summary_.notifications = {note("03N90", "INFORMATION", "PERFORMANCE"),
                              note("01N50", "WARNING", "UNRECOGNIZED")};
    send({hello(map_of({{"notifications_minimum_severity", "WARNING"}})), logon()});
    EXPECT_THAT(send({run(), pull()})[1],
                AllOf(HasSubstr("01N50"), ::testing::Not(HasSubstr("03N90"))));
    EXPECT_THAT(
        send({run("x",
                  {},
                  map_of({{"notifications_disabled_classifications", List{"UNRECOGNIZED"}}})),
              pull()})[1],
        ::testing::Not(HasSubstr("01N50")));
    // The old key is not looked at any more.
    EXPECT_THAT(
        send({run("x", {}, map_of({{"notifications_disabled_categories", List{"UNRECOGNIZED"}}})),
              pull()})[1],
        HasSubstr("01N50"));
    EXPECT_THAT(
        send({run("x", {}, map_of({{"notifications_minimum_severity", "OFF"}})), pull()})[1],
        AllOf(HasSubstr("02000"), ::testing::Not(HasSubstr("01N50"))));
}

TEST_F(ConversationTest, CountersPlansAndTypesAreInTheSummary) {
    log_in();
    summary_.type = StatementType::kReadWrite;
    summary_.counters.nodes_created = 2;
    summary_.counters.labels_added = 1;
    summary_.plan = Value{
        Map{{"operatorType", "ProduceResults@neo4j"},
            {"children",
             List{Value{Map{{"operatorType", "AllNodesScan@neo4j"}, {"children", List{}}}}}}}};
    EXPECT_THAT(
        send({run(), pull()})[1],
        HasSubstr(
            "type: 'rw', t_last: 0, db: 'neo4j', stats: {`nodes-created`: 2, `labels-added`: 1, "
            "`contains-updates`: true}, plan: {operatorType: 'ProduceResults@neo4j', children: "
            "[{operatorType: 'AllNodesScan@neo4j'}]}, statuses"));
    summary_ = {};
    summary_.type = StatementType::kSchema;
    summary_.counters.system_updates = 1;
    EXPECT_THAT(send({run(), pull()})[1],
                HasSubstr("stats: {`system-updates`: 1, `contains-system-updates`: true}"));
}

TEST_F(ConversationTest, AMillionRecordsArePackedInWellUnderATenthOfAMicrosecondEach) {
    settings_.output_bytes_max = std::size_t{1} << 30;
    start({5, 8});
    log_in();
    constexpr std::int64_t kRecords = 1'000'000;
    std::chrono::nanoseconds best = std::chrono::hours{1};
    ON_CALL(*session_, pull(_, _, _, _))
        .WillByDefault(Invoke([&](auto, auto, RecordSink& sink, Completion<Pulled> done) {
            const auto begin = std::chrono::steady_clock::now();
            for (std::int64_t i = 0; i < kRecords; ++i) {
                const Value v{i};
                sink.record({&v, 1});
            }
            best =
                std::min<std::chrono::nanoseconds>(best, std::chrono::steady_clock::now() - begin);
            done(Pulled{});
        }));
    for (int i = 0; i < 5; ++i) {
        conversation_->receive(run() + pull());
        conversation_->work();
        transport_.output.clear();
    }
    RecordProperty("nanoseconds_per_record", std::to_string(best.count() / kRecords));
#ifdef NDEBUG
    EXPECT_LT(best.count() / kRecords, 100);
#endif
}

}  // namespace
}  // namespace nornic::bolt
