#include "server/unbind.h"

#include "engine/kv.h"
#include "engine/region.h"
#include "engine/snapshot.h"
#include "server/assembly.h"
#include "server/leader_history.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <unistd.h>

namespace nornic::server {
namespace {

constexpr int kExitRefused = 1;

Result<> check_directory(const std::string& directory) {
    std::error_code ignored;
    if (!std::filesystem::exists(directory + "/node.json", ignored)) {
        return fail(ErrorCode::kNotFound,
                    fmt::format("NORNICDB_DATA_DIR='{}' is no member's data directory: there is no node.json in it", directory));
    }
    if (!std::filesystem::exists(directory + "/store", ignored) && !std::filesystem::exists(directory + "/store.current", ignored)) {
        return fail(ErrorCode::kInvalidArgument,
                    fmt::format("NORNICDB_DATA_DIR='{}' holds no data: it is a witness's. Empty it instead", directory));
    }
    return success();
}

/// What was logged after it goes into the data, too, whether it is known to be committed or not: nobody else decides about it now.
Result<> apply_rest(engine::Log& log, engine::EngineHost& engine) {
    const LogIndex applied = engine.applied_index();
    if (log.last_index() < applied || log.first_index() > LogIndex{applied.value + 1}) {
        return fail(ErrorCode::kCorruption,
                    fmt::format("the store ends at log index {}, the log holds {} to {}: they do not fit together. If a snapshot had just "
                                "arrived, start the server once and stop it",
                                applied.value,
                                log.first_index().value,
                                log.last_index().value));
    }
    if (applied == log.last_index()) {
        return success();
    }
    Result<> outcome = success();
    NORNIC_TRY(log.read(LogIndex{applied.value + 1}, log.last_index(), [&](const engine::LogEntry& entry) {
        outcome = engine.apply(entry);
        return outcome.has_value();
    }));
    return outcome;
}

}  // namespace

Result<Unbound> unbind(const env::Settings& settings, Clock& clock) {
    const std::string& directory = settings.data_directory;
    NORNIC_TRY(check_directory(directory));
    Unbound out;
    NORNIC_TRY(out.member, load_node_id(directory, settings.cluster.node_id));
    NORNIC_TRY(const auto log, open_log(settings, clock));
    engine::RocksKvSettings kv_settings;
    kv_settings.directory = directory + "/store";
    engine::Settings engine_settings;
    engine_settings.cache_bytes_max = settings.cache_bytes;
    NORNIC_TRY(const auto engine, engine::open_engine_host(engine::make_rocks_kv_home(directory, kv_settings), engine_settings, clock));
    NORNIC_TRY(apply_rest(*log, *engine));
    if (engine->regions() != nullptr && engine->regions()->region_state()->self != 0) {
        return fail(ErrorCode::kInvalidArgument,
                    "this data is a region's, with what it owes to other regions in it: give the region up there "
                    "(nornicdb peers region drop) instead");
    }
    out.old_history = engine->history();
    // An empty list of members, in the log before it is in the store, so that both fit together should this die in between.
    const Term term = std::max(log->recovery().hard_state.term, log->recovery().last_term);
    const LogIndex last{log->last_index().value + 1};
    const engine::LogEntry nobody{
        term, last, static_cast<std::uint64_t>(clock.wall_ns() / 1'000'000) << 16, engine::EntryKind::kMembership, {}};
    NORNIC_TRY(log->append(std::span{&nobody, 1}));
    NORNIC_TRY(log->sync());
    NORNIC_TRY(engine->apply(nobody));
    NORNIC_TRY(engine->renew_history());
    NORNIC_TRY(engine->checkpoint());
    out.history = engine->history();
    out.last = last;
    engine->stop();
    // Its old entries name members; whoever follows this member from now on gets its state instead.
    NORNIC_TRY(log->reset(LogIndex{last.value + 1}, term));
    NORNIC_TRY(log->set_hard_state({.term = term, .voted_for = {}, .committed = last, .extra = {}}));
    NORNIC_TRY(log->sync());
    // Who led there is of no use where the names mean others.
    ::unlink(LeaderHistory::file(directory).c_str());
    const std::string name_file = directory + "/node.json";
    if (::unlink(name_file.c_str()) != 0) {
        return fail(ErrorCode::kIo, fmt::format("'{}' cannot be removed: {}", name_file, std::strerror(errno)));
    }
    return out;
}

int run_unbind(const env::Settings& settings, bool yes, std::istream& in, std::ostream& out) {
    const auto refuse = [&](std::string_view why) {
        out << "nornicdb unbind: " << why << "\n";
        return kExitRefused;
    };
    if (auto fine = check_directory(settings.data_directory); !fine) {
        return refuse(fine.error().message());
    }
    auto name = load_node_id(settings.data_directory, settings.cluster.node_id);
    if (!name) {
        return refuse(name.error().message());
    }
    out << fmt::format("'{}' in '{}' forgets its name, its votes and the members of its cluster. Its data stays and becomes a history of\n"
                       "its own: the old cluster's members will not take it back with it.\n",
                       name.value(),
                       settings.data_directory);
    if (!yes) {
        out << fmt::format("Type this member's name ({}) to go on: ", name.value()) << std::flush;
        std::string answer;
        std::getline(in, answer);
        if (answer != name.value()) {
            out << "\nNothing was changed.\n";
            return kExitRefused;
        }
    }
    auto done = unbind(settings, system_clock());
    if (!done) {
        return refuse(done.error().message());
    }
    out << fmt::format("\nDone: history {} (it was {}), everything up to log index {}. Start it as what its settings say; take '{}' out of\n"
                       "its old cluster, if that goes on: nornicdb peers remove {}\n",
                       done.value().history,
                       done.value().old_history,
                       done.value().last.value,
                       done.value().member,
                       done.value().member);
    return 0;
}

}  // namespace nornic::server
