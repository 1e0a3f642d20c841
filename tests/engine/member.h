// One member for tests of EngineHost: a host on a home that outlives it, and the log beside it.
#pragma once

#include "engine/snapshot.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace nornic::engine::testing {

inline Settings still_settings(std::uint64_t seed) {
    Settings settings;
    settings.background = false;
    settings.seed = seed;
    return settings;
}

class Member {
public:
    explicit Member(std::unique_ptr<KvHome> home,
                    Settings settings = still_settings(1),
                    Clock& clock = system_clock())
        : settings_{std::move(settings)}, clock_{clock}, home_{std::move(home)} {
        open();
    }

    void open() {
        auto opened = open_engine_host(lend_kv_home(*home_), settings_, clock_);
        ASSERT_TRUE(opened) << opened.error().message();
        host_ = std::move(opened).value();
    }
    void close() { host_.reset(); }
    /// The process starts again; `home`, if given, is what it finds.
    void restart(std::unique_ptr<KvHome> home = nullptr) {
        close();
        if (home) {
            home_ = std::move(home);
        }
        open();
    }

    EngineHost& operator*() { return *host_; }
    EngineHost* operator->() { return host_.get(); }
    KvHome& home() { return *home_; }

    Result<std::unique_ptr<Transaction>> try_begin() { return host_->begin(BeginOptions{}); }
    std::unique_ptr<Transaction> begin() {
        auto begun = try_begin();
        EXPECT_TRUE(begun) << begun.error().message();
        return std::move(begun).value();
    }
    Result<> apply(std::string write_set, Term term = Term{1}, EntryKind kind = EntryKind::kWriteSet) {
        LogEntry entry;
        entry.term = term;
        entry.index = LogIndex{host_->applied_index().value + 1};
        entry.kind = kind;
        entry.payload = std::move(write_set);
        NORNIC_TRY(host_->apply(entry));
        log.push_back(std::move(entry));
        return success();
    }
    Result<> commit(Transaction& transaction, Term term = Term{1}) {
        NORNIC_TRY(auto write_set, transaction.prepare());
        NORNIC_TRY(apply(std::move(write_set), term));
        transaction.finish();
        return success();
    }
    /// CREATE (:Thing {value: value})
    NodeId create(const Value& value, Term term = Term{1}) {
        auto transaction = begin();
        const LabelId label = transaction->label_or_create("Thing").value();
        const PropertyEntry property{transaction->property_key_or_create("value").value(), value};
        const NodeId id = transaction->create_node({&label, 1}, {&property, 1}).value();
        const Result<> done = commit(*transaction, term);
        EXPECT_TRUE(done) << done.error().message();
        return id;
    }
    /// Nodes, relationships, an index and rows of the catalogue.
    void fill(int nodes) {
        {
            auto transaction = begin();
            IndexDefinition index;
            index.name = "by_value";
            index.entity = EntityKind::kNode;
            index.type = IndexType::kRange;
            index.tokens = {"Thing"};
            index.properties = {"value"};
            ASSERT_TRUE(transaction->create_index(index));
            const Result<> done = commit(*transaction);
            ASSERT_TRUE(done) << done.error().message();
        }
        for (int i = 0; i < nodes; i += 50) {
            auto transaction = begin();
            const LabelId label = transaction->label_or_create("Thing").value();
            const RelTypeId type = transaction->relationship_type_or_create("NEXT").value();
            const PropertyKeyId key = transaction->property_key_or_create("value").value();
            NodeId before{};
            for (int j = i; j < std::min(nodes, i + 50); ++j) {
                const PropertyEntry property{key, Value{std::string(static_cast<std::size_t>(j % 40), 'v')}};
                const NodeId id = transaction->create_node({&label, 1}, {&property, 1}).value();
                if (j > i) {
                    ASSERT_TRUE(transaction->create_relationship(before, type, id, {}));
                }
                before = id;
            }
            ASSERT_TRUE(transaction->put_catalog("row/" + std::to_string(i), Value{std::int64_t{i}}));
            const Result<> done = commit(*transaction);
            ASSERT_TRUE(done) << done.error().message();
        }
    }
    std::uint64_t things() {
        auto transaction = begin();
        const auto label = transaction->tokens().label("Thing");
        return transaction->node_count(label);
    }
    std::uint64_t digest() { return host_->digest().value(); }

    std::vector<LogEntry> log;

private:
    Settings settings_;
    Clock& clock_;
    std::unique_ptr<KvHome> home_;
    std::unique_ptr<EngineHost> host_;
};

/// All pairs that an export gives, in chunks of so many bytes.
inline std::vector<SnapshotChunk> all_chunks(SnapshotExport& from, std::size_t bytes) {
    std::vector<SnapshotChunk> out;
    do {
        auto chunk = from.next(bytes);
        EXPECT_TRUE(chunk) << chunk.error().message();
        out.push_back(std::move(chunk).value());
    } while (!out.back().last);
    return out;
}

}  // namespace nornic::engine::testing
