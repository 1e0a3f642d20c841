// What a clause may read and write in the graph, so that the planner knows where a write could be
// seen by a read of the same statement that should not see it (and puts an Eager between).
#pragma once

#include "cypher/ast/statement.h"

#include <set>
#include <string>

namespace nornic::cypher {

struct Effects {
    // Reads.
    bool all_nodes = false;  // a node pattern without a plain label
    std::set<std::string> labels;
    bool any_label = false;  // labels(n)
    bool any_type = false;
    std::set<std::string> types;
    bool any_key = false;  // properties(n), keys(n), n {.*}
    std::set<std::string> keys;
    // Writes.
    bool creates_nodes = false;
    bool creates_bare_nodes = false;  // without labels
    std::set<std::string> created_labels;
    std::set<std::string> changed_labels;
    std::set<std::string> created_types;
    std::set<std::string> changed_keys;
    bool changes_any_key = false;
    bool deletes = false;
    bool opaque_write = false;  // a procedure that writes

    [[nodiscard]] bool writes() const noexcept {
        return creates_nodes || !changed_labels.empty() || !created_types.empty() ||
               !changed_keys.empty() || changes_any_key || deletes || opaque_write;
    }
    [[nodiscard]] bool reads() const noexcept {
        return all_nodes || !labels.empty() || any_label || any_type || !types.empty() || any_key ||
               !keys.empty();
    }
    void add(const Effects& other);
};

Effects effects_of(const Clause& clause);
Effects effects_of(const Query& query);
/// Whether what `writer` writes may change what `reader` reads.
bool conflict(const Effects& reader, const Effects& writer);

}  // namespace nornic::cypher
