// `nornicdb serve`: from settings to a running server and, on SIGTERM or SIGINT, back.
#pragma once

#include "env/settings.h"

namespace nornic::server {

/// Returns the process's exit code: 0 after a clean stop, 1 if the start was refused (one log line
/// says why), 70 if the member had to stop itself.
int serve(const env::Loaded& loaded);

}  // namespace nornic::server
