// What status, metrics and an operator's paths need of a member, whether it holds data or is a witness.
#pragma once

#include "base/clock.h"
#include "env/settings.h"
#include "modes/replica.h"
#include "server/lag_meter.h"
#include "server/leader_history.h"
#include "transport/message_bus.h"

#include <string>

namespace nornic::server {

struct Member {
    modes::Replica& replica;
    const transport::MessageBus* bus = nullptr;  // nullptr: no peers
    const env::Settings& settings;
    Clock& clock;
    const LagMeter& lag;
    const LeaderHistory& leaders;
    std::string history;  // of the data held; empty: a witness
};

}  // namespace nornic::server
