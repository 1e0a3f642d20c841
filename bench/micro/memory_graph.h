// An engine over MemoryKv whose log is only a counter: what is left when disk and network cost
// nothing.
#pragma once

#include "base/check.h"
#include "engine/engine.h"
#include "engine/kv.h"

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nornic::bench {

class MemoryGraph {
public:
    MemoryGraph() {
        engine::Settings settings;
        // No checkpoint while something is timed.
        settings.checkpoint_log_bytes = std::uint64_t{1} << 40;
        settings.checkpoint_interval = std::chrono::hours{1};
        engine_ = engine::open_engine(engine::make_memory_kv(), settings, system_clock()).value();
    }

    engine::Engine& engine() { return *engine_; }

    std::unique_ptr<engine::Transaction> begin(AccessMode mode = AccessMode::kWrite) {
        engine::BeginOptions options;
        options.mode = mode;
        return engine_->begin(options).value();
    }

    void apply(std::string write_set) {
        engine::LogEntry entry;
        entry.term = Term{1};
        entry.index = LogIndex{engine_->applied_index().value + 1};
        entry.payload = std::move(write_set);
        NORNIC_CHECK(engine_->apply(entry).has_value(), "apply");
    }

    void commit(engine::Transaction& transaction) {
        apply(transaction.prepare().value());
        transaction.finish();
    }

    /// (:label {id: i}) for i in [0, count), in transactions of a thousand.
    std::vector<NodeId> add_nodes(std::string_view label_name, std::int64_t count) {
        std::vector<NodeId> nodes;
        while (std::ssize(nodes) < count) {
            auto transaction = begin();
            const LabelId label = transaction->label_or_create(label_name).value();
            const PropertyKeyId key = transaction->property_key_or_create("id").value();
            for (int i = 0; i < 1000 && std::ssize(nodes) < count; ++i) {
                const engine::PropertyEntry id{key, Value{static_cast<std::int64_t>(nodes.size())}};
                nodes.push_back(
                    transaction->create_node(std::span{&label, 1}, std::span{&id, 1}).value());
            }
            commit(*transaction);
        }
        return nodes;
    }

private:
    std::unique_ptr<engine::Engine> engine_;
};

}  // namespace nornic::bench
