// StartupLines: what an operator waits for when a group of members starts, in the words of Neo4j's own log, which people and
// scripts look for: who was found, which cluster it is, how far behind this member is, that it has joined. Later: that it cannot do
// its work any more, why, and that it can again.
#pragma once

#include "base/clock.h"
#include "modes/strategy.h"

#include <optional>
#include <set>
#include <string>

namespace nornic::server {

/// One thread at a time.
class StartupLines {
public:
    /// `wanted`: members that the group is made of, 0 where that is not known.
    explicit StartupLines(std::size_t wanted) : wanted_{wanted} {}

    /// To be called now and then, also after the start: members may come later.
    void look(const modes::ClusterView& view, LogIndex applied, const std::string& history, Deadline now);

private:
    void watch(const modes::ClusterView& view, Deadline now);

    const std::size_t wanted_;
    std::set<std::string> discovered_;
    bool bound_ = false;
    bool joined_ = false;
    Deadline next_{};  // of a line that repeats itself
    std::optional<Deadline> not_ready_since_;
    bool said_not_ready_ = false;
};

}  // namespace nornic::server
