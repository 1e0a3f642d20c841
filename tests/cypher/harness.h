// A database without a server: text in, rows out, each statement in a transaction of its own.
#pragma once

#include "cypher/cypher.h"
#include "tests/engine/harness.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace nornic::cypher::testing {

struct Answer {
    std::optional<Error> error;
    std::vector<std::string> columns;
    std::vector<std::vector<Value>> rows;
    StatementSummary summary;

    [[nodiscard]] std::vector<std::string> lines() const {
        std::vector<std::string> out;
        for (const auto& row : rows) {
            std::string line;
            for (const Value& v : row) {
                line += (line.empty() ? "" : " | ") + to_cypher_text(v);
            }
            out.push_back(std::move(line));
        }
        return out;
    }
    /// Rows joined by newlines; or "error: " and the message.
    [[nodiscard]] std::string text() const {
        if (error) {
            return "error: " + error->message();
        }
        std::string out;
        for (const std::string& l : lines()) {
            out += l + "\n";
        }
        return out;
    }
    [[nodiscard]] std::string sorted_text() const {
        if (error) {
            return text();
        }
        auto all = lines();
        std::ranges::sort(all);
        std::string out;
        for (const std::string& l : all) {
            out += l + "\n";
        }
        return out;
    }
};

class Database {
public:
    explicit Database(std::uint32_t disabled_rules = 0) {
        add_graph_procedures(registry_);
        PlanCacheSettings settings;
        settings.disabled_rules = disabled_rules;
        cache_ = std::make_unique<PlanCache>(registry_, settings);
    }

    Answer run(std::string_view text, Map parameters = {}) {
        auto transaction = engine_.begin();
        Answer answer = run_in(*transaction, text, std::move(parameters));
        if (!answer.error && transaction->has_writes()) {
            if (auto done = engine_.commit(*transaction); !done) {
                answer.error = done.error();
            }
            transaction->await_indexes();  // of a constraint
        }
        return answer;
    }
    Answer run_in(engine::Transaction& transaction, std::string_view text, Map parameters = {}) {
        Answer answer;
        auto prepared = cache_->prepare(text, parameters, transaction);
        if (!prepared) {
            answer.error = prepared.error();
            return answer;
        }
        answer.columns = info(*prepared.value()).columns;
        auto execution = start(prepared.value(), services(transaction), std::move(parameters));
        if (!execution) {
            answer.error = execution.error();
            return answer;
        }
        struct Sink final : RowSink {
            explicit Sink(Answer& a) : answer{a} {}
            bool row(std::span<const Value> values) override {
                answer.rows.emplace_back(values.begin(), values.end());
                return true;
            }
            Answer& answer;
        } sink{answer};
        while (true) {
            // Small pulls, so that every query is paused and taken up again.
            auto status = execution.value()->pull(3, &sink);
            if (!status) {
                answer.error = status.error();
                return answer;
            }
            if (status.value() == PullStatus::kFinished) {
                break;
            }
        }
        answer.summary = execution.value()->summary();
        return answer;
    }
    ExecutionServices services(engine::Transaction& transaction) {
        ExecutionServices out;
        out.transaction = &transaction;
        out.procedures = &registry_;
        out.caller.database = "neo4j";
        out.memory_bytes_max = memory_bytes_max;
        out.import_directory = import_directory;
        out.begin_inner = [this]() -> Result<std::shared_ptr<engine::Transaction>> {
            return engine_.begin();
        };
        out.commit_inner = [this](const std::shared_ptr<engine::Transaction>& t) { return engine_.commit(*t); };
        return out;
    }
    engine::testing::Harness& engine() { return engine_; }
    PlanCache& cache() { return *cache_; }
    ProcedureRegistry& registry() { return registry_; }

    std::size_t memory_bytes_max = std::size_t{1} << 30;
    std::string import_directory;

private:
    engine::testing::Harness engine_;
    ProcedureRegistry registry_;
    std::unique_ptr<PlanCache> cache_;
};

}  // namespace nornic::cypher::testing
