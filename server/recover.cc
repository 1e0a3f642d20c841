#include "server/recover.h"

#include "engine/kv.h"
#include "engine/log/file.h"
#include "server/assembly.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <iostream>
#include <vector>

namespace nornic::server {
namespace {

constexpr int kExitRefused = 1;

bool holds_database(const std::string& directory) {
    std::error_code ignored;
    return std::filesystem::exists(directory + "/store", ignored) ||
           std::filesystem::exists(directory + "/store.current", ignored);
}

/// The others, as "node-2 at node2:7688".
std::vector<std::string> given_up(const modes::GroupOnDisk& disk) {
    std::vector<std::string> out;
    for (const auto& [id, member] : disk.configuration.members) {
        if (id != disk.self) {
            out.push_back(fmt::format("{} at {}{}",
                                      id,
                                      member.address,
                                      member.witness      ? " (witness)"
                                      : !member.votes()   ? " (learner)"
                                                          : ""));
        }
    }
    return out;
}

}  // namespace

Result<Recovery> Recovery::open(const env::Settings& settings, Clock& clock) {
    Recovery out;
    out.directory_ = settings.data_directory;
    out.clock_ = &clock;
    std::error_code ignored;
    if (!std::filesystem::exists(out.directory_ + "/node.json", ignored)) {
        return fail(ErrorCode::kNotFound,
                    fmt::format("NORNICDB_DATA_DIR='{}' is no member's data directory: there is no node.json in it",
                                out.directory_));
    }
    if (!holds_database(out.directory_)) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("NORNICDB_DATA_DIR='{}' holds no database: it is a witness's. Take a member that has data",
                                out.directory_));
    }
    NORNIC_TRY(out.disk_.self, load_node_id(out.directory_, settings.cluster.node_id));
    NORNIC_TRY(out.log_, open_log(settings, clock));
    engine::RocksKvSettings kv_settings;
    kv_settings.directory = out.directory_ + "/store";
    engine::Settings engine_settings;
    engine_settings.cache_bytes_max = settings.cache_bytes;
    NORNIC_TRY(out.engine_,
               engine::open_engine_host(engine::make_rocks_kv_home(out.directory_, kv_settings), engine_settings, clock));
    NORNIC_TRY(out.find());
    return out;
}

Result<> Recovery::find() {
    const engine::LogRecovery& recovery = log_->recovery();
    disk_.hard_state = recovery.hard_state;
    disk_.last_index = recovery.last;
    disk_.last_term = recovery.last_term;
    applied_ = engine_->applied_index();
    const bool gap = log_->first_index() > LogIndex{applied_.value + 1};
    if (disk_.last_index < applied_ || gap) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("the store ends at log index {}, the log holds {} to {}: they do not fit together. If a "
                                "snapshot had just arrived, start the server once and stop it; else take another member",
                                applied_.value,
                                log_->first_index().value,
                                disk_.last_index.value));
    }
    auto [index, payload] = engine_->membership();
    NORNIC_TRY(each_unapplied([&](const engine::LogEntry& entry) -> Result<> {
        if (entry.kind == engine::EntryKind::kMembership) {
            index = entry.index;
            payload = entry.payload;
        }
        return success();
    }));
    if (!payload.empty()) {
        NORNIC_TRY(disk_.configuration, raft::Configuration::decode(payload));
        disk_.configuration_index = index;
    }
    // Says by itself what a disk lacks.
    NORNIC_TRY(modes::begin_anew(disk_, 0));
    return success();
}

Result<> Recovery::each_unapplied(const std::function<Result<>(const engine::LogEntry&)>& visit) {
    if (applied_ >= disk_.last_index) {
        return success();
    }
    Result<> outcome = success();
    NORNIC_TRY(log_->read(LogIndex{applied_.value + 1}, disk_.last_index, [&](const engine::LogEntry& entry) {
        outcome = visit(entry);
        return outcome.has_value();
    }));
    return outcome;
}

std::string Recovery::describe() const {
    const modes::GroupOnDisk& d = disk_;
    const raft::Member* self = d.configuration.find(d.self);
    const std::uint64_t certain = std::min(std::max(d.hard_state.committed, applied_), d.last_index).value;
    std::string out;
    out += fmt::format("data directory   {}\n", directory_);
    out += fmt::format("member           {}, history {}\n", d.self, history());
    out += fmt::format("group            {} (as of log index {})\n", d.configuration.describe(), d.configuration_index.value);
    out += fmt::format("term             {}{}\n",
                       d.hard_state.term.value,
                       d.hard_state.voted_for.empty() ? "" : ", voted for " + d.hard_state.voted_for);
    out += fmt::format("log              {} to {}, the last of term {}\n",
                       log_->first_index().value,
                       d.last_index.value,
                       d.last_term.value);
    out += fmt::format("applied          up to {} in the store; committed for certain up to {}\n", applied_.value, certain);
    const std::vector<std::string> lost = given_up(d);
    out += fmt::format("given up         {}\n\n", lost.empty() ? "nobody" : fmt::format("{}", fmt::join(lost, ", ")));
    out += fmt::format("'{}' becomes the only voter of a new group, with everything that its log holds.\n", d.self);
    if (d.last_index.value > certain) {
        out += fmt::format("- {} entries at the end of its log may never have been acknowledged; they will stand.\n",
                           d.last_index.value - certain);
    }
    out += "- Writes that the members given up acknowledged without this one are LOST. The member with the highest last term,\n"
           "  and among those the highest last log index, has the most: compare before you choose.\n"
           "- The members given up hold another history from then on: they are refused until their data directories are\n"
           "  emptied. None of them may run on as a group of its own while this is done.\n"
           "- Bookmarks of the old group become invalid.\n";
    if (self != nullptr && !self->votes()) {
        out += "- This member was a learner: it may lack much more than a voter would.\n";
    }
    return out;
}

Result<> Recovery::force_new_cluster() {
    NORNIC_TRY(modes::NewGroup next,
               modes::begin_anew(disk_, static_cast<std::uint64_t>(clock_->wall_ns() / 1'000'000) << 16));
    NORNIC_TRY(each_unapplied([this](const engine::LogEntry& entry) { return engine_->apply(entry); }));
    const std::string mark = recovery_mark(directory_);
    NORNIC_TRY(replace_file(mark, "run nornicdb recover again before this member is started\n"));
    NORNIC_TRY(engine::posix_file_system().sync_directory(directory_));
    NORNIC_TRY(engine_->renew_history());
    NORNIC_TRY(log_->append(std::span{&next.entry, 1}));
    NORNIC_TRY(log_->set_hard_state(next.hard_state));
    NORNIC_TRY(log_->sync());
    engine_->stop();
    // Durably: a mark that came back later would have this member recovered twice.
    NORNIC_TRY(engine::posix_file_system().remove(mark));
    return engine::posix_file_system().sync_directory(directory_);
}

int recover(const env::Settings& settings, bool yes, std::istream& in, std::ostream& out) {
    auto opened = Recovery::open(settings, system_clock());
    if (!opened) {
        out << "nornicdb recover: " << opened.error().message() << "\n";
        return kExitRefused;
    }
    Recovery& recovery = opened.value();
    out << recovery.describe() << std::flush;
    const std::string& self = recovery.disk().self;
    if (!yes) {
        out << "\nType this member's name (" << self << ") to go on: " << std::flush;
        std::string answer;
        std::getline(in, answer);
        if (answer != self) {
            out << "\nNothing was changed.\n";
            return kExitRefused;
        }
    }
    if (auto done = recovery.force_new_cluster(); !done) {
        out << "nornicdb recover: " << done.error().message() << "\nRun it again before this member is started.\n";
        return kExitRefused;
    }
    const raft::Member* member = recovery.disk().configuration.find(self);
    out << "\nDone: '" << self << "' is the only voter of a group of history " << recovery.history()
        << ". Start it as before. Then empty the data\ndirectories of the others and start them with "
           "NORNICDB_CLUSTER_RAFT_JOIN="
        << (member == nullptr ? "its address" : member->address) << ".\n";
    return 0;
}

}  // namespace nornic::server
