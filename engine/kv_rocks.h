// RocksKv over a file system of the caller's, so that tests can stand a full disk beneath it.
// Nobody else includes this: the front doors are engine/kv.h and engine/snapshot.h.
#pragma once

#include "engine/kv.h"
#include "engine/log/file.h"
#include "engine/snapshot.h"

#include <functional>
#include <memory>

namespace rocksdb {
class Env;
}

namespace nornic::engine {

/// `env` outlives the store; nullptr is RocksDB's own. `closed` is called once nobody, not even a cursor, has it open
/// any more. `steadily`: what is written goes to the disk bit by bit and not in bursts that others would wait for.
Result<std::unique_ptr<Kv>> open_rocks_kv_on(const RocksKvSettings& settings,
                                             rocksdb::Env* env,
                                             std::function<void()> closed = {},
                                             bool steadily = false);

/// `files` holds the file that names the store in use, `env` the stores.
std::unique_ptr<KvHome> make_rocks_kv_home_on(const std::string& directory,
                                              const RocksKvSettings& settings,
                                              FileSystem& files,
                                              rocksdb::Env* env);

}  // namespace nornic::engine
