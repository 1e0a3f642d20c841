// A backend for fuzzing http: answers at once and gives parameters back as rows, so that what was
// read is written.
#pragma once

#include "http/backend.h"

#include <string>
#include <utility>
#include <vector>

namespace nornic::http::fuzzing {

class EchoBackend final : public Backend {
public:
    Document discovery(const std::string& host) override {
        return {200, "{\"host_bytes\":" + std::to_string(host.size()) + "}"};
    }
    Document health() override { return {200, "{\"status\":\"ok\"}"}; }
    Document ready() override { return {503, "{\"status\":\"starting\"}"}; }
    Document leader_probe() override { return {200, "{}"}; }
    Document replica_probe() override { return {503, "{}"}; }
    std::string metrics() override { return "up 1\n"; }
    [[nodiscard]] bool authentication_enabled() const override { return true; }
    Result<std::string> authenticate(const Credentials& credentials) override {
        // Nearly everyone may come in, or the fuzzer would first have to learn base64.
        if (credentials.user == "refused") {
            return fail(ErrorCode::kUnauthorized, "no");
        }
        return std::string{"someone"};
    }
    Result<Value> parse_temporal(std::string_view type, std::string_view text) override {
        if (text.empty()) {
            return fail(ErrorCode::kInvalidRequest, "not a " + std::string{type});
        }
        return Value{std::string{text}};
    }
    void admin(AdminRequest request, Completion<Document> done) override {
        done(Document{200, "{\"body_bytes\":" + std::to_string(request.body.size()) + "}"});
    }
    void query(std::string, QueryRequest request, Completion<QueryAnswer> done) override {
        done(answer(request));
    }
    void begin(std::string,
               QueryRequest request,
               Completion<std::pair<OpenTransaction, QueryAnswer>> done) override {
        done(in_transaction("1", request));
    }
    void query_in(std::string,
                  std::string transaction,
                  QueryRequest request,
                  Completion<std::pair<OpenTransaction, QueryAnswer>> done) override {
        if (transaction.size() > 8) {
            done(fail(ErrorCode::kTransactionNotFound, "no such transaction"));
            return;
        }
        done(in_transaction(std::move(transaction), request));
    }
    void commit(std::string,
                std::string,
                QueryRequest request,
                Completion<QueryAnswer> done) override {
        done(answer(request));
    }
    void rollback(std::string, std::string, Completion<void> done) override { done(success()); }

private:
    static Result<QueryAnswer> answer(const QueryRequest& request) {
        if (request.statement.starts_with("fail")) {
            return fail(ErrorCode::kSyntaxError, request.statement);
        }
        QueryAnswer out;
        out.fields = {"statement", request.statement};
        out.rows.push_back({Value{request.statement}, request.parameters});
        out.bookmarks = request.bookmarks;
        return out;
    }
    static Result<std::pair<OpenTransaction, QueryAnswer>> in_transaction(
        std::string id, const QueryRequest& request) {
        NORNIC_TRY(auto out, answer(request));
        return std::pair{OpenTransaction{std::move(id), "2030-01-01T00:00:00Z"}, std::move(out)};
    }
};

}  // namespace nornic::http::fuzzing
