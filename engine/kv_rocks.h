// RocksKv over a file system of the caller's, so that tests can stand a full disk beneath it.
// Nobody else includes this: the front door is engine/kv.h.
#pragma once

#include "engine/kv.h"

#include <memory>

namespace rocksdb {
class Env;
}

namespace nornic::engine {

/// `env` outlives the store; nullptr is RocksDB's own.
Result<std::unique_ptr<Kv>> open_rocks_kv_on(const RocksKvSettings& settings, rocksdb::Env* env);

}  // namespace nornic::engine
