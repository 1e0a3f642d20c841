// Requests in, status and body out, over a backend that is a mock.
#include "http/query_api.h"

#include "http/json_values.h"

#include <boost/json.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nornic::http {
namespace {

using testing::_;
using testing::NiceMock;
using testing::Return;

class MockBackend : public Backend {
public:
    MOCK_METHOD(Document, discovery, (const std::string&), (override));
    MOCK_METHOD(Document, health, (), (override));
    MOCK_METHOD(Document, ready, (), (override));
    MOCK_METHOD(Document, leader_probe, (), (override));
    MOCK_METHOD(Document, replica_probe, (), (override));
    MOCK_METHOD(std::string, metrics, (), (override));
    MOCK_METHOD(bool, authentication_enabled, (), (const, override));
    MOCK_METHOD(Result<std::string>, authenticate, (const Credentials&), (override));
    MOCK_METHOD(Result<Value>, parse_temporal, (std::string_view, std::string_view), (override));
    MOCK_METHOD(void, admin, (AdminRequest, Completion<Document>), (override));
    MOCK_METHOD(void, query, (std::string, QueryRequest, Completion<QueryAnswer>), (override));
    MOCK_METHOD(void,
                begin,
                (std::string, QueryRequest, (Completion<std::pair<OpenTransaction, QueryAnswer>>)),
                (override));
    MOCK_METHOD(void,
                query_in,
                (std::string,
                 std::string,
                 QueryRequest,
                 (Completion<std::pair<OpenTransaction, QueryAnswer>>)),
                (override));
    MOCK_METHOD(void,
                commit,
                (std::string, std::string, QueryRequest, Completion<QueryAnswer>),
                (override));
    MOCK_METHOD(void, rollback, (std::string, std::string, Completion<void>), (override));
};

class QueryApi : public testing::Test {
protected:
    QueryApi() {
        ON_CALL(backend, authentication_enabled).WillByDefault(Return(true));
        ON_CALL(backend, authenticate)
            .WillByDefault([](const Credentials& c) -> Result<std::string> {
                if (c.user == "admin" && c.password == "right") {
                    return c.user;
                }
                return fail(ErrorCode::kUnauthorized,
                            "The client is unauthorized due to authentication failure.");
            });
        ON_CALL(backend, query)
            .WillByDefault([this](const std::string&,
                                  QueryRequest request,
                                  const Completion<QueryAnswer>& done) {
                seen = std::move(request);
                QueryAnswer answer;
                answer.fields = {"x"};
                answer.rows = {{Value{std::int64_t{7}}}};
                answer.bookmarks = {"nb1:h:3"};
                answer.summary.counters.nodes_created = 1;
                done(std::move(answer));
            });
    }
    ApiResponse send(const std::string& method,
                     const std::string& path,
                     const std::string& body = {},
                     const std::string& type = "application/json") {
        ApiRequest request;
        request.method = method;
        request.path = path;
        request.body = body;
        request.content_type = type;
        request.accept = type;
        request.credentials = {"admin", password, !password.empty()};
        ApiResponse out;
        int answers = 0;
        handle(backend, std::move(request), [&](ApiResponse response) {
            out = std::move(response);
            ++answers;
        });
        EXPECT_EQ(answers, 1);
        return out;
    }
    NiceMock<MockBackend> backend;
    QueryRequest seen;
    std::string password = "right";
};

TEST_F(QueryApi, AStatementIsAnsweredWithFieldsValuesAndBookmark) {
    const ApiResponse r = send(
        "POST",
        "/db/neo4j/query/v2",
        R"({"statement":"RETURN $a","parameters":{"a":[1,2.5,"t",null,{"k":true}]},"includeCounters":true,"accessMode":"READ","bookmarks":["b"]})");
    EXPECT_EQ(r.status, 202);
    const auto json = boost::json::parse(r.body).as_object();
    EXPECT_EQ(boost::json::serialize(json.at("data")), R"({"fields":["x"],"values":[[7]]})");
    EXPECT_EQ(json.at("bookmarks").as_array().at(0).as_string(), "nb1:h:3");
    EXPECT_EQ(json.at("counters").as_object().at("nodesCreated").as_int64(), 1);
    EXPECT_EQ(seen.database, "neo4j");
    EXPECT_EQ(seen.mode, AccessMode::kRead);
    EXPECT_EQ(to_cypher_text(seen.parameters), "{a: [1, 2.5, 't', null, {k: true}]}");
}

TEST_F(QueryApi, TypedJsonCarriesTypesBothWays) {
    const ApiResponse r = send(
        "POST",
        "/db/neo4j/query/v2",
        R"x({"statement":"RETURN $a","parameters":{"a":{"$type":"Integer","_value":"9223372036854775807"},"b":{"$type":"Point","_value":"SRID=7203;POINT (1.0 2.0)"}}})x",
        "application/vnd.neo4j.query");
    EXPECT_EQ(r.status, 202);
    EXPECT_EQ(r.content_type, "application/vnd.neo4j.query");
    EXPECT_EQ(seen.parameters.as_map().find("a")->as_integer(), INT64_MAX);
    EXPECT_EQ(seen.parameters.as_map().find("b")->as_point().y, 2.0);
    EXPECT_NE(r.body.find(R"({"$type":"Integer","_value":"7"})"), std::string::npos);
}

struct BadRequest {
    const char* name;
    const char* method;
    const char* path;
    const char* body;
    int status;
    const char* words;
};
class BadRequests : public QueryApi, public testing::WithParamInterface<BadRequest> {};
TEST_P(BadRequests, AreAnsweredWithWhatIsWrong) {
    const ApiResponse r = send(GetParam().method, GetParam().path, GetParam().body);
    EXPECT_EQ(r.status, GetParam().status);
    EXPECT_NE(r.body.find(GetParam().words), std::string::npos) << r.body;
}
INSTANTIATE_TEST_SUITE_P(
    All,
    BadRequests,
    testing::Values(
        BadRequest{"no_body", "POST", "/db/neo4j/query/v2", "", 400, "no body"},
        BadRequest{"not_json", "POST", "/db/neo4j/query/v2", "{", 400, "not a JSON object"},
        BadRequest{"a_list", "POST", "/db/neo4j/query/v2", "[]", 400, "not a JSON object"},
        BadRequest{"no_statement", "POST", "/db/neo4j/query/v2", "{}", 400, "statement"},
        BadRequest{"bad_parameters",
                   "POST",
                   "/db/neo4j/query/v2",
                   R"({"statement":"x","parameters":[]})",
                   400,
                   "parameters"},
        BadRequest{"bad_mode",
                   "POST",
                   "/db/neo4j/query/v2",
                   R"({"statement":"x","accessMode":"q"})",
                   400,
                   "accessMode"},
        BadRequest{"get", "GET", "/db/neo4j/query/v2", "", 405, "POST"},
        BadRequest{"unknown", "GET", "/nothing", "", 404, "/nothing"},
        BadRequest{"post_health", "POST", "/health", "", 405, "GET"},
        BadRequest{"deep", "POST", "/db/neo4j/query/v2/tx/1/commit/more", "{}", 404, "nothing"}),
    [](const auto& info) { return std::string{info.param.name}; });

TEST_F(QueryApi, DeepJsonIsRefusedNotFollowed) {
    const std::string deep = R"({"statement":"x","parameters":{"a":)" + std::string(100'000, '[') +
                             std::string(100'000, ']') + "}}";
    EXPECT_EQ(send("POST", "/db/neo4j/query/v2", deep).status, 400);
}

TEST_F(QueryApi, CredentialsAreAskedForAndChecked) {
    password = "wrong";
    const ApiResponse wrong = send("POST", "/db/neo4j/query/v2", R"({"statement":"x"})");
    EXPECT_EQ(wrong.status, 401);
    EXPECT_NE(wrong.body.find("Neo.ClientError.Security.Unauthorized"), std::string::npos);
    password.clear();
    const ApiResponse none = send("POST", "/db/neo4j/query/v2", R"({"statement":"x"})");
    EXPECT_EQ(none.status, 401);
    EXPECT_TRUE(none.ask_credentials);
}

TEST_F(QueryApi, HealthAndMetricsNeedNoPassword) {
    password.clear();
    EXPECT_CALL(backend, health).WillOnce(Return(Document{503, "{}"}));
    EXPECT_CALL(backend, metrics).WillOnce(Return("up 1\n"));
    EXPECT_EQ(send("GET", "/health").status, 503);
    const ApiResponse api = send("GET", "/openapi.json");
    EXPECT_EQ(api.status, 200);
    EXPECT_EQ(api.content_type, "application/json");
    EXPECT_TRUE(boost::json::parse(api.body).as_object().at("paths").as_object().contains("/openapi.json"));
    EXPECT_EQ(send("POST", "/openapi.json").status, 405);
    const ApiResponse metrics = send("GET", "/metrics");
    EXPECT_EQ(metrics.body, "up 1\n");
    EXPECT_TRUE(metrics.content_type.starts_with("text/plain"));
}

TEST_F(QueryApi, TransactionsBeginRunCommitAndRollBack) {
    EXPECT_CALL(backend, begin(std::string{"admin"}, _, _)).WillOnce([](auto, auto, auto done) {
        done(std::pair{OpenTransaction{"t1", "2026-01-01T00:00:30Z"}, QueryAnswer{}});
    });
    const ApiResponse begun = send("POST", "/db/neo4j/query/v2/tx", "");
    EXPECT_EQ(begun.status, 202);
    EXPECT_NE(begun.body.find(R"("transaction":{"id":"t1")"), std::string::npos);
    EXPECT_CALL(backend, query_in(_, std::string{"t1"}, _, _))
        .WillOnce([](auto, auto, auto, auto done) {
            done(fail(ErrorCode::kTransactionNotFound, "gone"));
        });
    EXPECT_EQ(send("POST", "/db/neo4j/query/v2/tx/t1", R"({"statement":"x"})").status, 404);
    EXPECT_CALL(backend, commit(_, std::string{"t1"}, _, _))
        .WillOnce([](auto, auto, auto, auto done) { done(QueryAnswer{}); });
    EXPECT_EQ(send("POST", "/db/neo4j/query/v2/tx/t1/commit", "").status, 202);
    EXPECT_CALL(backend, rollback(_, std::string{"t1"}, _)).WillOnce([](auto, auto, auto done) {
        done(success());
    });
    EXPECT_EQ(send("DELETE", "/db/neo4j/query/v2/tx/t1").status, 200);
}

TEST_F(QueryApi, WhatAnOperatorAsksGoesToTheBackendOnceItIsKnownWhoAsks) {
    AdminRequest asked;
    ON_CALL(backend, admin).WillByDefault([&](AdminRequest request, const Completion<Document>& done) {
        asked = std::move(request);
        done(Document{409, R"({"promoted":false})"});
    });
    const ApiResponse refused = send("POST", "/admin/promote", R"({"force":true})");
    EXPECT_EQ(refused.status, 409);
    EXPECT_EQ(refused.content_type, "application/json");
    EXPECT_EQ(refused.body, R"({"promoted":false})");
    EXPECT_EQ(asked.method, "POST");
    EXPECT_EQ(asked.path, "/admin/promote");
    EXPECT_EQ(asked.body, R"({"force":true})");
    EXPECT_EQ(asked.user, "admin");
    EXPECT_EQ(send("GET", "/db/neo4j/cluster/writable").status, 409);
    EXPECT_EQ(asked.path, "/db/neo4j/cluster/writable");
    EXPECT_EQ(send("POST", "/admin/promote", std::string(65 * 1024, ' ')).status, 400);
    ON_CALL(backend, admin).WillByDefault([](AdminRequest, const Completion<Document>& done) {
        done(Document{405, "{}", "application/json", "GET"});
    });
    EXPECT_EQ(send("POST", "/admin/cluster/status").allow, "GET");
}

TEST_F(QueryApi, WithoutCredentialsAnOperatorIsAskedForThem) {
    EXPECT_CALL(backend, admin).Times(0);
    password.clear();
    const ApiResponse nobody = send("POST", "/admin/promote");
    EXPECT_EQ(nobody.status, 401);
    EXPECT_TRUE(nobody.ask_credentials);
    password = "wrong";
    EXPECT_EQ(send("GET", "/admin/cluster/status").status, 401);
    EXPECT_EQ(send("GET", "/db/neo4j/cluster/writable").status, 401);
}

TEST(JsonValues, PlainValuesReadAsPeopleExpect) {
    Node node;
    node.id = NodeId{1};
    node.element_id = "4:u:1";
    node.labels = {"A"};
    node.properties.set("k", Value{"v"});
    const std::pair<Value, std::string> kCases[] = {
        {Value{}, "null"},
        {Value{true}, "true"},
        {Value{std::int64_t{-1}}, "-1"},
        {Value{List{Value{std::int64_t{1}}, Value{"x"}}}, R"([1,"x"])"},
        {Value{List{}}, "[]"},
        {Value::bytes("\x01\x02"), R"("AQI=")"},
        {Value{Date{0}}, R"("1970-01-01")"},
        {Value{Point{Point::kWgs84, 1.5, 2, 0}}, R"x("SRID=4326;POINT (1.5 2.0)")x"},
        {Value{node}, R"({"elementId":"4:u:1","labels":["A"],"properties":{"k":"v"}})"},
    };
    for (const auto& [value, want] : kCases) {
        EXPECT_EQ(boost::json::serialize(to_json(value, JsonStyle::kPlain)), want);
    }
    EXPECT_EQ(boost::json::serialize(to_json(Value{std::int64_t{5}}, JsonStyle::kTyped)),
              R"({"$type":"Integer","_value":"5"})");
}

TEST_F(QueryApi, LoadBalancersAskWithoutAPassword) {
    password.clear();
    EXPECT_CALL(backend, leader_probe).Times(2).WillRepeatedly(Return(Document{503, "{}"}));
    EXPECT_CALL(backend, replica_probe).WillOnce(Return(Document{200, "{}"}));
    EXPECT_CALL(backend, health).WillOnce(Return(Document{200, "{}"}));
    EXPECT_EQ(send("GET", "/leader").status, 503);
    EXPECT_EQ(send("HEAD", "/primary").status, 503);
    EXPECT_EQ(send("GET", "/replica").status, 200);
    EXPECT_EQ(send("GET", "/live").status, 200);
    EXPECT_EQ(send("POST", "/leader").status, 405);
    EXPECT_EQ(send("GET", "/leader/x").status, 404);
    EXPECT_EQ(send("GET", "/info/peers").status, 401);
}

}  // namespace
}  // namespace nornic::http
