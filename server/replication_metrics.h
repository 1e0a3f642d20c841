// What Prometheus reads of replication, of a data member or a witness. Names: docs/metrics.md.
#pragma once

#include "observability/metrics.h"
#include "server/member.h"

#include <functional>

namespace nornic::server {

/// `member` is asked at each scrape. Both must outlive the last one.
void add_replication_metrics(Metrics& metrics, std::function<Member()> member);

}  // namespace nornic::server
