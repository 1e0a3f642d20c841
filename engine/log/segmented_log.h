// The segmented log with the world beneath it chosen by the caller; open_segmented_log() in
// engine/log.h is this on the machine's own disk.
#pragma once

#include "engine/log.h"
#include "engine/log/file.h"

#include <functional>
#include <memory>
#include <string>

namespace nornic::engine {

struct LogWorld {
    FileSystem* file_system = nullptr;
    /// false: no thread, so that the same calls give the same disk (for the simulator).
    bool prepare_in_background = true;
    /// Draws the salts of segments; 0 = from the operating system.
    std::uint64_t seed = 0;
    /// Takes one line for an operator; nullptr: the process's log.
    std::function<void(const std::string&)> warn;
};

Result<std::unique_ptr<Log>> open_segmented_log_on(const LogSettings& settings,
                                                   Clock& clock,
                                                   LogWorld world);

}  // namespace nornic::engine
