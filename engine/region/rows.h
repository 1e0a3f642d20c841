// RowSet: an ordered set of keys that lives in the Kv. In memory is only what changed since the last checkpoint, so that it may
// grow as large as a region's deletes of days.
//
// Threads: apply's, but for write_checkpoint(), which may run beside it.
#pragma once

#include "base/result.h"
#include "engine/kv.h"

#include <functional>
#include <map>
#include <string>
#include <string_view>

namespace nornic::engine {

class RowSet {
public:
    /// Nothing else may live under the prefix.
    RowSet(Kv& kv, std::string prefix) : kv_{kv}, prefix_{std::move(prefix)} {}

    void insert(std::string_view key) { active_.insert_or_assign(std::string{key}, true); }
    void erase(std::string_view key) { active_.insert_or_assign(std::string{key}, false); }
    /// In order, from `from` on, until fn(key) gives false. fn changes nothing here.
    Result<> visit(std::string_view from, const std::function<bool(std::string_view key)>& fn) const;

    // ---- Checkpoint as of F: begin (by the applier, when exactly F is applied), write, end (between two applies).
    void begin_checkpoint() { writing_.swap(active_); }
    void write_checkpoint(KvBatch& batch) const;
    void end_checkpoint(bool written);

private:
    using Changes = std::map<std::string, bool, std::less<>>;  // false: gone
    Kv& kv_;
    const std::string prefix_;
    Changes active_;
    Changes writing_;  // of the checkpoint that is under way; older than active_
};

}  // namespace nornic::engine
