// The engine and the store beneath it as one process has them: each call that changes something is a place to die at,
// nothing reaches the store of a process that is gone, and what is applied is shown to the checker.
#pragma once

#include "engine/snapshot.h"

#include <memory>

namespace nornic::sim {

class Node;

/// Of the process that runs now.
std::unique_ptr<engine::KvHome> watch_home(Node& node, engine::KvHome& home);
std::unique_ptr<engine::EngineHost> watch_engine(Node& node, std::unique_ptr<engine::EngineHost> inner);

}  // namespace nornic::sim
