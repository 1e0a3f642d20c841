// Standalone: one member, no peers. A write is committed once it is synced here; every read is
// current.
#pragma once

#include "modes/strategy.h"

#include <memory>

namespace nornic::modes {

std::unique_ptr<Strategy> make_standalone(const StrategyStart& start);

}  // namespace nornic::modes
