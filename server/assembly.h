// The parts that a data member and a witness are both put together from: node.json, the log, the bus, the replica's
// settings.
#pragma once

#include "base/clock.h"
#include "base/result.h"
#include "engine/log.h"
#include "env/settings.h"
#include "modes/replica.h"
#include "observability/metrics.h"
#include "server/elastic_pool.h"
#include "server/modes_table.h"
#include "transport/message_bus.h"

#include <memory>
#include <string>
#include <string_view>

namespace nornic::server {

ElasticPool::Settings pool_settings(const env::Settings& settings);

/// Makes the data folder. kIo naming the setting; kInvalidArgument where a recovery was begun in it and not finished.
Result<> make_data_directory(const std::string& directory);
/// Durable in a data directory while its member is made a group of its own: store and log are changed one after the other, and
/// with the one alone it would be of no group.
std::string recovery_mark(const std::string& directory);

/// Writes a small file beside and renames it, so that a crash leaves the old one or the new one. kIo naming the file.
Result<> replace_file(const std::string& path, std::string_view text);

/// The name of this member: drawn once and kept in node.json. Another one than `wanted` is kInvalidArgument.
Result<std::string> load_node_id(const std::string& directory, const std::string& wanted);

Result<std::unique_ptr<engine::Log>> open_log(const env::Settings& settings, Clock& clock);

/// What peers may dial this member by; empty if its port is any free one.
std::string cluster_address(const env::Settings& settings);
/// The host in the addresses that clients are shown, where no setting says another.
std::string host_to_advertise(const env::Settings& settings);

/// The bus of a mode with peers; dials nobody before start().
std::unique_ptr<transport::MessageBus> make_bus(const env::Settings& settings,
                                                const ModeEntry& mode,
                                                const transport::PeerInfo& self,
                                                Metrics& metrics,
                                                Clock& clock);

modes::ReplicaSettings replica_settings(const env::Settings& settings);

/// A random version 4 uuid.
std::string make_uuid();

}  // namespace nornic::server
