// Bolt 3 as drivers of Neo4j 3.5's age speak it, byte for byte: HELLO logs in, PULL_ALL and DISCARD_ALL have no fields, one
// stream at a time and one database, local date-times, no element ids.
#include "bolt/conversation.h"
#include "bolt/handshake.h"

#include "support.h"

namespace nornic::bolt {
namespace {

using ::testing::_;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Invoke;
using ::testing::Not;
using ::testing::StartsWith;

class LegacyTest : public ConversationTest {
protected:
    LegacyTest() : ConversationTest{Version{3, 0}} {}

    /// Sends raw bytes and returns the raw answers, as hexadecimal digits.
    std::string talk(std::string_view hex) {
        conversation_->receive(bytes_of(hex));
        conversation_->work();
        std::string out = hex_of(transport_.output);
        transport_.output.clear();
        return out;
    }
    /// One message in one chunk.
    static std::string framed(const std::string& hex) { return fmt::format("{:04X}", bytes_of(hex).size()) + hex_of(bytes_of(hex)) + "0000"; }
    static std::string ascii(std::string_view text) { return hex_of(text); }
    static std::string pull_all() { return request(MessageTag::kPull); }
    static std::string discard_all() { return request(MessageTag::kDiscard); }
};

TEST_F(LegacyTest, ADriverOfThatAgeOffersThreeTwoOneAndNothing) {
    Handshake handshake;
    const std::string offer = bytes_of("6060B017 00000003 00000002 00000001 00000000");
    std::string_view in = offer;
    std::string reply;
    EXPECT_EQ(handshake.feed(in, reply), Handshake::Outcome::kAgreed);
    EXPECT_EQ(hex_of(reply), "00000003");
    EXPECT_EQ(handshake.version(), (Version{3, 0}));
}

TEST_F(LegacyTest, HelloLogsInAndAnswersServerAndConnectionAlone) {
    // HELLO {user_agent: "x", scheme: "basic", principal: "neo4j", credentials: "secret"}
    const std::string hello = "B101 A4 8A" + ascii("user_agent") + "8178" + "86" + ascii("scheme") + "85" + ascii("basic") + "89" +
                              ascii("principal") + "85" + ascii("neo4j") + "8B" + ascii("credentials") + "86" + ascii("secret");
    EXPECT_EQ(talk(framed(hello)),
              framed("B170A2 86" + ascii("server") + "8C" + ascii("Neo4j/5.26.0") + "8D" + ascii("connection_id") + "86" + ascii("bolt-7")));
    EXPECT_EQ(conversation_->user(), "neo4j");
    EXPECT_EQ(info_seen_.protocol_version, "3.0");
    EXPECT_TRUE(info_seen_.routing_context.is_null());
}

TEST_F(LegacyTest, RunWithMetadataThenPullAllAsBytes) {
    log_in();
    rows_ = {{1}};
    EXPECT_CALL(*session_, run(_, _, _, _))
        .WillOnce(Invoke([&](const std::string& query, const Value&, const TransactionOptions& options, Completion<Running> done) {
            EXPECT_EQ(query, "RETURN 1 AS n");
            EXPECT_EQ(options.bookmarks, (std::vector<std::string>{"b"}));
            EXPECT_EQ(options.timeout, std::optional<Duration>{std::chrono::seconds{1}});
            EXPECT_EQ(to_cypher_text(options.metadata), "{a: 1}");
            EXPECT_EQ(options.mode, AccessMode::kRead);
            EXPECT_EQ(options.database, "");  // this version does not know the key
            done(Running{0, fields_, "neo4j", 1});
        }));
    const std::string extra = "A5 89" + ascii("bookmarks") + "91 8162" + "8A" + ascii("tx_timeout") + "C903E8" + "8B" +
                              ascii("tx_metadata") + "A1 8161 01" + "84" + ascii("mode") + "8172" + "82" + ascii("db") + "8178";
    const std::string run = "B310 8D" + ascii("RETURN 1 AS n") + "A0" + extra;
    EXPECT_EQ(talk(framed(run) + framed("B03F")),
              // {t_first: 1, fields: ["n"]}, [1], {bookmark: "FB:kcw=", type: "r", t_last: 0}
              framed("B170 A2 87" + ascii("t_first") + "01 86" + ascii("fields") + "91816E") + framed("B171 9101") +
                  framed("B170 A3 88" + ascii("bookmark") + "87" + ascii("FB:kcw=") + "84" + ascii("type") + "8172 86" + ascii("t_last") + "00"));
}

TEST_F(LegacyTest, KeepAlivesAreSentFromFourOneOnOnly) {
    for (const auto& [version, taken] : {std::pair{Version{3, 0}, false}, std::pair{Version{4, 0}, false}, std::pair{Version{4, 1}, true},
                                         std::pair{Version{5, 8}, true}}) {
        start(version);
        EXPECT_EQ(conversation_->takes_noops(), taken) << version.to_text();
    }
}

TEST_F(LegacyTest, AModeThatIsNotSaidIsKnownToBeSo) {
    std::vector<bool> unsaid;
    const auto take = [&](const TransactionOptions& options, Completion<Begun> done) {
        EXPECT_EQ(options.mode, unsaid.size() == 1 ? AccessMode::kRead : AccessMode::kWrite);
        unsaid.push_back(options.mode_unsaid);
        done(Begun{"neo4j"});
    };
    log_in();
    ON_CALL(*session_, begin(_, _)).WillByDefault(Invoke(take));
    send({begin(), rollback(), begin(map_of({{"mode", "r"}})), rollback()});
    start({4, 0});
    log_in();
    ON_CALL(*session_, begin(_, _)).WillByDefault(Invoke(take));
    send({begin(), rollback()});
    EXPECT_THAT(unsaid, ElementsAre(true, false, false));
}

TEST_F(LegacyTest, StatementsOfATransactionHaveNoNumbers) {
    log_in();
    rows_ = {{1}, {2}};
    EXPECT_THAT(send({begin(), run(), pull_all(), run(), discard_all(), commit()}),
                ElementsAre("SUCCESS {}",
                            "SUCCESS {t_first: 1, fields: ['n']}",
                            "RECORD [1]",
                            "RECORD [2]",
                            "SUCCESS {type: 'r', t_last: 0}",
                            "SUCCESS {t_first: 1, fields: ['n']}",
                            "SUCCESS {type: 'r', t_last: 0}",
                            "SUCCESS {bookmark: 'FB:kcw='}"));
    EXPECT_THAT(send({begin(), rollback()}), ElementsAre("SUCCESS {}", "SUCCESS {}"));
}

TEST_F(LegacyTest, CountersHoldNumbersOnly) {
    log_in();
    summary_.counters.nodes_created = 1;
    EXPECT_THAT(send({run(), pull_all()})[1], HasSubstr("stats: {`nodes-created`: 1}}"));
}

TEST_F(LegacyTest, AnEmptyStatementIsTheLastOneAgain) {
    log_in();
    std::vector<std::string> seen;
    ON_CALL(*session_, run(_, _, _, _))
        .WillByDefault(Invoke([&](const std::string& query, const Value&, const TransactionOptions&, Completion<Running> done) {
            seen.push_back(query);
            done(Running{0, fields_, "neo4j", 1});
        }));
    send({run(""), pull_all(), run("A"), pull_all(), run(""), pull_all(), run("B"), pull_all(), run(""), pull_all()});
    EXPECT_THAT(seen, ElementsAre("", "A", "A", "B", "B"));
    start({4, 0});
    log_in();
    EXPECT_CALL(*session_, run("", _, _, _)).Times(2);
    send({run(""), pull(), run("")});
}

TEST_F(LegacyTest, MessagesOfLaterVersionsEndTheConnection) {
    for (const std::string& message : {request(MessageTag::kRoute, {Map{}, List{}, Value{}}), logon(), request(MessageTag::kLogoff),
                                       request(MessageTag::kTelemetry, {0})}) {
        start({3, 0});
        log_in();
        EXPECT_THAT(send({message}), ElementsAre());
        EXPECT_TRUE(transport_.closed);
    }
}

TEST_F(LegacyTest, PullWithACountIsNotOfThisVersion) {
    log_in();
    EXPECT_THAT(send({run(), pull(1)})[1], HasSubstr("Illegal struct size: Expected struct to be 0 fields but got 1"));
    EXPECT_THAT(send({pull_all()}), ElementsAre(StartsWith("SUCCESS")));
}

TEST_F(LegacyTest, AFailureHasCodeAndMessageAndIsLeftByReset) {
    log_in();
    EXPECT_CALL(*session_, run(_, _, _, _))
        .WillOnce(Invoke([](auto, auto, auto, Completion<Running> done) { done(fail(ErrorCode::kNotLeader, "no")); }))
        .WillOnce(::testing::DoDefault());
    EXPECT_THAT(send({run(), pull_all(), begin()}),
                ElementsAre("FAILURE {code: 'Neo.ClientError.Cluster.NotALeader', message: 'no'}", "IGNORED", "IGNORED"));
    EXPECT_THAT(send({reset(), run()}), ElementsAre("SUCCESS {}", StartsWith("SUCCESS")));
}

TEST_F(LegacyTest, ARefusedLoginIsAnsweredThenCloses) {
    EXPECT_THAT(send({hello(map_of({{"scheme", "basic"}, {"principal", "x"}}))}),
                ElementsAre(AllOf(StartsWith("FAILURE {code: 'Neo.ClientError.Security.Unauthorized'"), Not(HasSubstr("gql")))));
    EXPECT_TRUE(transport_.closed);
}

TEST_F(LegacyTest, EntitiesHaveNoElementIdsAndDateTimesAreLocal) {
    Node node;
    node.id = NodeId{7};
    node.labels = {"L"};
    node.element_id = "4:x:7";
    Relationship relationship;
    relationship.id = RelId{1};
    relationship.start = relationship.end = NodeId{7};
    relationship.type = "R";
    const std::pair<Value, const char*> rows[] = {
        {Value{node}, "B34E079181" "4C" "A0"},
        {Value{relationship}, "B552010707" "8152" "A0"},
        {Value{DateTime{3600, 5, 3600, ""}}, "B346C91C2005C90E10"},
        {Value{DateTime{0, 5, 3600, "Europe/Stockholm"}}, "B366C90E1005D010"},
        {Value{Point{4326, 1.0, 2.0, 0.0}}, "B358C910E6C1"},
    };
    for (const auto& [value, bytes] : rows) {
        std::string out;
        Packer{out, Dialect{Version{3, 0}}}.value(value);
        EXPECT_THAT(hex_of(out), StartsWith(bytes));
    }
    // A parameter comes in the same form.
    log_in();
    EXPECT_CALL(*session_, run(_, _, _, _))
        .WillOnce(Invoke([](const std::string&, const Value& parameters, auto, Completion<Running> done) {
            EXPECT_EQ(to_cypher_text(parameters), "{d: datetime('1970-01-01T02:00:00.000000005+01:00')}");
            done(Running{});
        }));
    const std::string run = "B310 8158 A1 8164 B346C91C2005C90E10 A0";
    talk(framed(run));
}

}  // namespace
}  // namespace nornic::bolt
