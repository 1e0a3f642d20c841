// The MessageBus on TCP: dials each configured address once per lane, accepts what others dial, and keeps what it
// knows of each peer. docs/cluster_protocol.md is what it speaks.
#pragma once

#include "base/clock.h"
#include "observability/metrics.h"
#include "transport/message_bus.h"
#include "transport/settings.h"

#include <memory>

namespace nornic::transport {

/// set_self() comes before start(); start() checks the settings (kInvalidArgument, one line that names the
/// variable) and warns loudly if nothing proves membership. stop() is not called on the bus's own threads; the bus
/// cannot be started again.
///
/// One lane to one peer goes over one link at a time, our own or one that the peer dialed, whichever was there
/// first, until it ends: were it to change while both are good, messages could overtake each other.
///
/// metrics (or nullptr) and clock outlive the bus.
std::unique_ptr<MessageBus> make_tcp_bus(const Settings& settings, Metrics* metrics, Clock& clock);

}  // namespace nornic::transport
