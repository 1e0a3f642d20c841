#include "server/consistency.h"

#include <fmt/format.h>

namespace nornic::server {
namespace {

using Level = modes::ReadConsistency;

std::optional<Level> level_named(std::string_view name) {
    for (const Level level : {Level::kOne, Level::kLocalOne, Level::kQuorum, Level::kLocalQuorum, Level::kAll}) {
        if (modes::to_string(level) == name) {
            return level;
        }
    }
    return std::nullopt;
}

const Value* find(const Value& map, std::string_view key) {
    return map.is_map() ? map.as_map().find(key) : nullptr;
}

}  // namespace

Result<Asked> asked_of(const bolt::TransactionOptions& options,
                       const Value& routing_context,
                       const env::Settings& settings,
                       const ModeEntry& mode) {
    Asked out;
    const Value* named = find(options.metadata, kConsistencyKey);
    named = named != nullptr ? named : find(routing_context, kConsistencyKey);
    std::optional<Level> level;
    if (named != nullptr) {
        level = named->is_string() ? level_named(named->as_string()) : std::nullopt;
        if (!level) {
            return fail(ErrorCode::kArgumentError,
                        fmt::format("consistency {}: it takes ONE, LOCAL_ONE, QUORUM, LOCAL_QUORUM or ALL",
                                    named->is_string() ? fmt::format("'{}'", named->as_string().substr(0, 100)) : "is no text"));
        }
    }
    // Where none is named, what is only for the other access mode does not count.
    const auto by_setting = [&](const std::string& text) { return level ? level : level_named(text); };
    const Level by_mode = options.mode == AccessMode::kRead || options.mode_unsaid ? Level::kOne : mode.write_mode_reads;
    out.read = by_setting(settings.cluster.read_consistency).value_or(by_mode);
    if (mode.has_peers && options.mode == AccessMode::kWrite) {
        out.write = by_setting(settings.cluster.write_consistency);
        if (out.write == Level::kOne || out.write == Level::kLocalOne) {
            out.write.reset();  // no mode promises less
        }
    }
    if (const Value* version = find(options.metadata, kDataVersionKey); version != nullptr && !version->is_null()) {
        if (version->type() != ValueType::kInteger || version->as_integer() < 0) {
            return fail(ErrorCode::kArgumentError, "data_version: it takes a number, as an earlier answer had it");
        }
        out.data_version = LogIndex{static_cast<std::uint64_t>(version->as_integer())};
    }
    return out;
}

}  // namespace nornic::server
