#include "server/session_log.h"

#include "observability/log.h"
#include "server/startup_lines.h"

#include <gtest/gtest.h>

#include <vector>

namespace nornic::server {
namespace {

cypher::PreparedInfo administration() {
    cypher::PreparedInfo info;
    info.administration = true;
    return info;
}

TEST(SessionLog, PasswordsOfStatementsThatAdministerAreHidden) {
    EXPECT_EQ(shown_text(R"(CREATE USER ann SET PASSWORD 'o\'neil' CHANGE NOT REQUIRED)", administration()),
              "CREATE USER ann SET PASSWORD '***' CHANGE NOT REQUIRED");
    EXPECT_EQ(shown_text(R"(ALTER CURRENT USER SET PASSWORD FROM "a" TO 'b')", administration()),
              R"(ALTER CURRENT USER SET PASSWORD FROM "***" TO '***')");
    EXPECT_EQ(shown_text("CREATE USER ann SET PASSWORD 'never closed", administration()), "CREATE USER ann SET PASSWORD '***");
    EXPECT_EQ(shown_text("CREATE (:T {a: 'b'})", {}), "CREATE (:T {a: 'b'})");
}

TEST(SessionLog, TextsAreCutBetweenCharacters) {
    EXPECT_EQ(cut("short"), "short");
    const std::string text = std::string(1999, 'a') + "äöü";
    EXPECT_EQ(cut(text), std::string(1999, 'a') + "…");
}

TEST(SessionLog, ATraceparentIsTakenOfMetadataOnly) {
    const std::string text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    EXPECT_TRUE(trace_parent(Value{Map{{"traceparent", Value{text}}}}));
    EXPECT_FALSE(trace_parent(Value{Map{{"traceparent", Value{1}}}}));
    EXPECT_FALSE(trace_parent(Value{Map{{"traceparent", Value{"00-1-2-01"}}}}));
    EXPECT_FALSE(trace_parent(Value{}));
}

std::string errors_of(const std::function<void()>& work) {
    testing::internal::CaptureStderr();
    work();
    log::flush();
    return testing::internal::GetCapturedStderr();
}

TEST(SessionLog, AnAdministratorsRequestIsAuditedWithItsOutcomeUnlessItOnlyReads) {
    const auto ask = [](const std::string& method, Result<http::Document> answer) {
        http::AdminRequest request;
        request.method = method;
        request.path = "/admin/promote";
        request.body = R"({"force":true})";
        request.user = "ann";
        request.client_address = "10.0.0.7:5";
        int answers = 0;
        const std::string lines = errors_of([&] { audited(request, [&](Result<http::Document>) { ++answers; })(std::move(answer)); });
        EXPECT_EQ(answers, 1);
        return lines;
    };
    http::Document document;
    const std::string done = ask("POST", document);
    EXPECT_NE(done.find(R"(Audit: user=ann client=10.0.0.7:5 via=http)"), std::string::npos) << done;
    EXPECT_NE(done.find(R"(action="POST /admin/promote {\"force\":true}" outcome=done)"), std::string::npos) << done;
    document.status = 409;
    EXPECT_NE(ask("POST", document).find("status 409"), std::string::npos);
    EXPECT_NE(ask("POST", Error{ErrorCode::kNotLeader, "another leads"}).find("another leads"), std::string::npos);
    EXPECT_EQ(ask("GET", document), "");
}

TEST(StartupLines, SayWhatOperatorsWaitForOnce) {
    StartupLines lines{3};
    modes::ClusterView view;
    view.self = "node-1";
    view.state = "starting";
    modes::MemberView self;
    self.id = "node-1";
    self.cluster_address = "core1:5000";
    view.members.push_back(self);
    Deadline now{std::chrono::seconds{100}};
    const auto look = [&](std::uint64_t applied, const std::string& history) {
        now += std::chrono::seconds{6};
        return errors_of([&] { lines.look(view, LogIndex{applied}, history, now); });
    };
    EXPECT_NE(look(0, "").find("Waiting for a total of 3 core members..."), std::string::npos);
    EXPECT_EQ(look(0, ""), "");

    modes::MemberView other;
    other.id = "node-3";
    other.cluster_address = "core3:5000";
    view.members.push_back(other);
    EXPECT_NE(look(0, "").find("Discovered core member at core3:5000\n"), std::string::npos);

    view.leader = "node-3";
    view.commit_index = LogIndex{5};
    view.state = "catching_up";
    const std::string behind = look(2, "c5daed30");
    EXPECT_NE(behind.find("Bound to cluster with id c5daed30\n"), std::string::npos) << behind;
    EXPECT_NE(behind.find("Waiting to catchup with leader... we are 3 entries behind leader at 5."), std::string::npos) << behind;

    view.state = "starting";
    view.reason = "another region has its name";
    EXPECT_NE(look(5, "c5daed30").find("Not ready yet: another region has its name.\n"), std::string::npos);
    EXPECT_EQ(look(5, "c5daed30"), "");
    view.reason.clear();

    view.state = "ready";
    const std::string joined = look(5, "c5daed30");
    EXPECT_NE(joined.find("we are 0 entries behind leader at 5."), std::string::npos) << joined;
    EXPECT_NE(joined.find("Successfully joined the Raft group.\n"), std::string::npos) << joined;
    EXPECT_EQ(look(5, "c5daed30"), "");

    // Later on a member that is not ready says so, not at once, and not again and again.
    view.leader.clear();
    view.state = "no_quorum";
    view.reason = "a majority of 3 members is needed and 1 can be reached";
    EXPECT_EQ(look(5, "c5daed30"), "");
    EXPECT_NE(look(5, "c5daed30").find("Not ready (no_quorum): a majority of 3 members is needed and 1 can be reached.\n"), std::string::npos);
    EXPECT_EQ(look(5, "c5daed30"), "");
    view.state = "ready";
    EXPECT_NE(look(5, "c5daed30").find("Ready again.\n"), std::string::npos);
    EXPECT_EQ(look(5, "c5daed30"), "");
}

TEST(StartupLines, AMemberThatFindsNobodySaysAfterAWhileWhatItWaitsFor) {
    StartupLines lines{0};
    modes::ClusterView view;
    view.state = "starting";
    view.reason = "no group was found yet; start the member that has NORNICDB_CLUSTER_RAFT_BOOTSTRAP=true";
    Deadline now{std::chrono::seconds{100}};
    const auto look = [&] { return errors_of([&] { lines.look(view, LogIndex{0}, "", now); }); };
    EXPECT_EQ(look(), "");
    now += std::chrono::seconds{11};
    EXPECT_NE(look().find("Not ready yet: no group was found yet; start the member that has NORNICDB_CLUSTER_RAFT_BOOTSTRAP=true.\n"),
              std::string::npos);
}

}  // namespace
}  // namespace nornic::server
