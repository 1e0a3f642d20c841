// `nornicdb recover --force-new-cluster`: a Raft group that lost its majority for good, begun anew from what one stopped
// member has. Offline; it takes the data directory's locks, so no server can be running on it.
#pragma once

#include "base/clock.h"
#include "base/result.h"
#include "engine/log.h"
#include "engine/snapshot.h"
#include "env/settings.h"
#include "modes/raft/recovery.h"

#include <functional>
#include <iosfwd>
#include <memory>
#include <string>

namespace nornic::server {

class Recovery {
public:
    /// Opens log and store. The error's text is for the operator.
    static Result<Recovery> open(const env::Settings& settings, Clock& clock);

    /// What was found, who is given up and what may be lost: several lines.
    [[nodiscard]] std::string describe() const;
    [[nodiscard]] const modes::GroupOnDisk& disk() const noexcept { return disk_; }
    [[nodiscard]] std::string history() const { return engine_->history(); }

    /// Takes everything in the log as committed, gives the state another history, then writes the new group. Should it
    /// die in between, this member fits its old group no longer; it does not start then (recovery_mark()) and is recovered by
    /// another run.
    Result<> force_new_cluster();

private:
    Recovery() = default;
    Result<> find();
    /// Entries of the log that are not in the store.
    Result<> each_unapplied(const std::function<Result<>(const engine::LogEntry&)>& visit);

    std::string directory_;
    Clock* clock_ = nullptr;
    std::unique_ptr<engine::Log> log_;
    std::unique_ptr<engine::EngineHost> engine_;
    modes::GroupOnDisk disk_;
    LogIndex applied_;
};

/// The whole command: shows, asks for this member's name on `in` unless `yes`, does it, says what is next. Returns the
/// exit code.
int recover(const env::Settings& settings, bool yes, std::istream& in, std::ostream& out);

}  // namespace nornic::server
