// What Prometheus reads of the process and its disk, under the names that every Prometheus client gives them.
#pragma once

#include "env/settings.h"
#include "observability/metrics.h"

namespace nornic::server {

void add_process_metrics(Metrics& metrics, const env::Settings& settings);

}  // namespace nornic::server
