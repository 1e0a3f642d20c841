// `nornicdb status` over answers that are written here: who is asked, what is found to be wrong.
#include "cli/status/cluster.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <mutex>

namespace nornic::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

/// Three members of a Raft group whose answers a test may change.
class StatusTest : public ::testing::Test {
protected:
    struct Says {
        std::string role = "follower";
        std::string state = "ready";
        std::string leader = "n1";
        int term = 3;
        bool writes = false;
        int ready = 200;
        std::string reason;
        bool up = true;
    };
    StatusTest() {
        says["n1"] = {.role = "leader", .writes = true};
        says["n2"] = {};
        says["n3"] = {};
    }
    std::string member(const std::string& id) const {
        return fmt::format(R"({{"id":"{0}","address":"{0}:7688","state":"{1}","healthy":{2},"bolt_address":"{0}:7687",)"
                           R"("http_address":"{4}","lag_seconds":{3}}})",
                           id, says.at(id).role, says.at(id).up, lag.contains(id) ? lag.at(id) : 0,
                           hidden == id      ? std::string{}
                           : shown.empty() ? id + ":7474"
                                           : shown + id.back());
    }
    std::string members(const std::string& as_seen_by) const {
        std::string out;
        for (const auto& [id, _] : says) {
            if (id.starts_with('n') && (id != stranger || as_seen_by == stranger)) {
                out += (out.empty() ? "" : ",") + member(id);
            }
        }
        return out;
    }
    Result<http::Answer> answer(const http::Site& site, std::string_view target) {
        const std::lock_guard lock{mutex};
        asked.push_back(site.host + std::string{target});
        const auto at = says.find(site.host);
        if (at == says.end() || !at->second.up || unreachable == site.host) {
            return fail(ErrorCode::kIo, site.url() + " cannot be reached");
        }
        const Says& s = at->second;
        if (target == "/ready") {
            return http::Answer{s.ready, fmt::format(R"({{"status":"x","reason":"{}"}})", s.reason), {}};
        }
        if (target == "/admin/cluster/history") {
            return http::Answer{200, R"({"since":"2026-11-28T15:00:00.000Z","reason":"'n2' was silent","changes":[]})", {}};
        }
        if (status != 200) {
            return http::Answer{status, "{}", {}};
        }
        return http::Answer{200,
                            fmt::format(R"({{"cluster_id":"c","mode":"raft","node_id":"{}","role":"{}","state":"{}","reason":"{}","term":{},)"
                                        R"("accepts_writes":{},"leader":{},"members":[{}],"links":[{}]{}}})",
                                        site.host, s.role, s.state, s.reason, s.term, s.writes,
                                        s.leader.empty() ? "null" : fmt::format(R"({{"id":"{}"}})", s.leader),
                                        members(site.host), links,
                                        s.leader.empty() ? R"(,"how_to":"start the members that are missing")" : ""),
                            {}};
    }
    Result<ClusterReport> look(const std::vector<std::string>& hosts) {
        std::vector<http::Site> sites;
        for (const std::string& host : hosts) {
            http::Site site;
            site.host = host;
            sites.push_back(site);
        }
        return look_at_cluster(sites, [this](const http::Site& site, std::string_view target) { return answer(site, target); });
    }
    static std::string problems(const ClusterReport& report) {
        std::string out;
        for (const Problem& p : report.problems) {
            out += p.what + " | " + p.todo + "\n";
        }
        return out;
    }

    std::mutex mutex;
    std::map<std::string, Says> says;
    std::map<std::string, int> lag;
    std::string unreachable;
    std::string hidden;  // shows no HTTP address
    std::string links;   // of each
    std::string stranger;  // is in nobody's list but its own
    std::string shown;  // what HTTP addresses begin with; empty: their names
    std::vector<std::string> asked;
    int status = 200;
};

TEST_F(StatusTest, AHealthyClusterLooksTheSameFromEveryMember) {
    std::string first;
    for (const char* host : {"n1", "n2", "n3"}) {
        const auto report = look({host});
        ASSERT_TRUE(report);
        EXPECT_TRUE(report.value().healthy()) << problems(report.value());
        EXPECT_EQ(report.value().leader, "n1");
        EXPECT_EQ(report.value().leader_since, "2026-11-28T15:00:00.000Z");
        EXPECT_EQ(report.value().members.size(), 3U);
        const std::string text = to_text(report.value());
        EXPECT_TRUE(first.empty() || text == first) << text;
        first = text;
    }
    EXPECT_THAT(first, HasSubstr("healthy: 3 members"));
    EXPECT_THAT(first, HasSubstr("n1:7687"));
}

TEST_F(StatusTest, TheFirstThatAnswersIsAsked) {
    const auto report = look({"nowhere", "n2"});
    ASSERT_TRUE(report);
    EXPECT_EQ(report.value().asked, "http://n2:7474");
    const auto none = look({"nowhere", "elsewhere"});
    ASSERT_FALSE(none);
    EXPECT_THAT(none.error().message(), testing::AllOf(HasSubstr("nowhere"), HasSubstr("elsewhere")));
}

TEST_F(StatusTest, AWrongPasswordIsSaid) {
    status = 401;
    const auto report = look({"n1", "n2"});
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code(), ErrorCode::kUnauthorized);
    EXPECT_EQ(asked.size(), 1U) << "a wrong password is tried once";
}

TEST_F(StatusTest, AMemberThatIsDownIsNamedWithWhatToDo) {
    says["n3"].up = false;
    const ClusterReport report = look({"n1"}).value();
    EXPECT_FALSE(report.healthy());
    EXPECT_THAT(problems(report), HasSubstr("n3 is down"));
    EXPECT_THAT(problems(report), HasSubstr("nornicdb peers remove n3"));
    EXPECT_THAT(problems(report), HasSubstr("2 of 3 voters are up: one more loss stops all writes"));
    EXPECT_EQ(report.members[2].health, "down");
    EXPECT_EQ(report.members[2].state, "unknown");
}

TEST_F(StatusTest, OneThatPeersHearIsNotCalledDown) {
    unreachable = "n3";
    const ClusterReport report = look({"n1"}).value();
    EXPECT_EQ(report.members[2].health, "unreachable");
    EXPECT_THAT(problems(report), HasSubstr("NORNICDB_HTTP_ADVERTISE_ADDR"));
    EXPECT_THAT(problems(report), testing::Not(HasSubstr("down")));
    EXPECT_TRUE(report.healthy()) << "the cluster is: the leader vouches for it";
    EXPECT_THAT(to_text(report), HasSubstr("note: n3 cannot be asked from here"));
    EXPECT_EQ(to_json(report).at("notes").as_array().size(), 1U);
    unreachable = "n1";
    EXPECT_TRUE(look({"n2"}).value().healthy()) << "so does a follower for a leader";
    EXPECT_TRUE(to_json(report).at("problems").as_array().empty());
}

TEST_F(StatusTest, WhereShownAddressesAreNotReachedTheMembersNetworkIs) {
    shown = "localhost:747";  // n1 at localhost:7471, as a host of containers maps them
    const ClusterReport report = look({"n2"}).value();
    EXPECT_TRUE(report.healthy()) << problems(report);
    EXPECT_THAT(to_text(report), HasSubstr("healthy: 3 members"));
    EXPECT_THAT(asked, testing::Contains("n3/ready"));
}

TEST_F(StatusTest, AnotherMemberBehindAnAddressIsNotTakenForIt) {
    says["localhost"] = says["n2"];  // inside a container, what the host calls so is the container itself
    shown = "localhost:747";
    const ClusterReport report = look({"n2"}).value();
    EXPECT_EQ(report.members[0].role, "leader");
    EXPECT_TRUE(report.healthy()) << problems(report);
}

TEST_F(StatusTest, WithoutALeaderThatComesFirst) {
    says["n1"].up = false;
    for (const char* host : {"n2", "n3"}) {
        says[host] = {.role = "candidate", .state = "no_quorum", .leader = "", .ready = 503, .reason = "only 1 of 3 is reached"};
    }
    const ClusterReport report = look({"n2"}).value();
    ASSERT_FALSE(report.healthy());
    EXPECT_EQ(report.problems.front().what, "nobody takes writes: only 1 of 3 is reached");
    EXPECT_EQ(report.problems.front().todo, "start the members that are missing");
    EXPECT_THAT(to_text(report), HasSubstr("no leader"));
}

TEST_F(StatusTest, AnotherOneWhereAMemberIsOnlyGuessedToBeIsNoNews) {
    hidden = "n3";  // it was never heard of, so it is looked for beside its cluster address
    says["n3"].up = false;
    const auto report = look_at_cluster({[] {
        http::Site site;
        site.host = "n1";
        return site;
    }()},
                                        [this](http::Site site, std::string_view target) {
                                            site.host = site.host == "n3" ? "n1" : site.host;
                                            return answer(site, target);
                                        });
    EXPECT_THAT(problems(report.value()), HasSubstr("n3 is down: its peers do not hear it |"));
}

TEST_F(StatusTest, WhomAMemberDialsInVainIsSaidWithTheReason) {
    links = R"({"id":null,"address":"h:7688","connected":false,"last_error":"h:7688: Connection refused"},)"
            R"({"id":"n2","address":"n2:7688","connected":false,"last_error":"Connection refused"},)"
            R"({"id":"n3","address":"n3:7688","connected":false,"last_error":"node 'n3' belongs to cluster 'other'"},)"
            R"({"id":"n3","address":"x:1","connected":true,"last_error":"an old one"})";
    ClusterReport report = look({"n1"}).value();
    EXPECT_TRUE(report.healthy()) << "the address may be of one that is gone";
    EXPECT_EQ(problems(report), "n1 reaches no member at h:7688: Connection refused | \n");
    says["n1"] = {.role = "follower", .state = "starting", .leader = "", .ready = 503, .reason = "no group was found yet"};
    report = look({"n1"}).value();
    EXPECT_FALSE(report.healthy());
    EXPECT_THAT(problems(report), HasSubstr("n1 reaches no member at h:7688: Connection refused | \n"));
    EXPECT_THAT(problems(report), HasSubstr("n1 reaches no member at n3:7688: node 'n3' belongs to cluster 'other' | \n"));
    EXPECT_THAT(problems(report), testing::Not(HasSubstr("n2:7688")));
}

TEST_F(StatusTest, WhoSaysWhatToDoIsNotWaitedFor) {
    says["n1"] = {.role = "follower", .state = "starting", .leader = "", .ready = 503, .reason = "no group was found yet"};
    EXPECT_THAT(problems(look({"n1"}).value()), HasSubstr("if it has just been started: wait"));
    says["n1"].reason = "this member was taken out of the group; empty its data directory";
    EXPECT_THAT(problems(look({"n1"}).value()), testing::Not(HasSubstr("wait;")));
}

TEST_F(StatusTest, OneThatIsAskedAndIsNoMemberAnyMoreShowsItselfToo) {
    stranger = "n3";
    says["n3"] = {.state = "foreign_data", .leader = "", .ready = 503, .reason = "this member holds data of another group"};
    const ClusterReport report = look({"n3"}).value();
    EXPECT_THAT(problems(report), HasSubstr("n3 is foreign_data: this member holds data of another group"));
    EXPECT_TRUE(look({"n1"}).value().healthy());
}

TEST_F(StatusTest, TwoThatTakeWritesAreFound) {
    says["n2"] = {.role = "leader", .leader = "n2", .term = 4, .writes = true};
    const ClusterReport report = look({"n3"}).value();
    EXPECT_THAT(problems(report), HasSubstr("2 members say that they take writes | n1 is of the older term"));
}

TEST_F(StatusTest, LagAndWhatIsNotReadyAreFound) {
    says["n2"] = {.state = "catching_up", .ready = 503, .reason = "a snapshot is on its way"};
    lag["n3"] = 9;
    const ClusterReport report = look({"n1"}).value();
    EXPECT_THAT(problems(report), HasSubstr("n2 is catching_up: a snapshot is on its way | wait"));
    EXPECT_THAT(problems(report), HasSubstr("n3 is 9.0 s behind"));
}

TEST_F(StatusTest, JsonHasAllOfIt) {
    says["n3"].up = false;
    const boost::json::object out = to_json(look({"n1"}).value());
    EXPECT_FALSE(out.at("healthy").as_bool());
    EXPECT_EQ(out.at("leader").at("id"), "n1");
    EXPECT_EQ(out.at("members").as_array().size(), 3U);
    EXPECT_EQ(out.at("members").at(2).at("health"), "down");
    EXPECT_GE(out.at("problems").as_array().size(), 1U);
}

TEST_F(StatusTest, NonsenseOfAServerIsAnError) {
    const auto nonsense = [](const std::string& body) {
        return look_at_cluster({http::Site{}}, [&](const http::Site&, std::string_view) -> Result<http::Answer> {
            return http::Answer{200, body, {}};
        });
    };
    EXPECT_FALSE(nonsense("<html>"));
    EXPECT_FALSE(nonsense("[]"));
    std::string many = R"({"mode":"raft","members":[)";
    for (int i = 0; i < 10'000; ++i) {
        many += fmt::format(R"({}{{"id":"n{}","http_address":"h{}"}})", i == 0 ? "" : ",", i, i);
    }
    EXPECT_LE(nonsense(many + "]}").value().members.size(), 64U);
    // What is there but of another kind is passed over.
    EXPECT_TRUE(nonsense(R"({"mode":7,"members":[1,{"id":{}},null],"leader":"x","regions":{"a":1}})"));
}

}  // namespace
}  // namespace nornic::cli
