// Bolt's view of an instance: a QuerySession a connection, behind one that forwards writes where this may have to.
#pragma once

#include "bolt/backend.h"
#include "server/forwarding.h"
#include "server/instance.h"

namespace nornic::server {

class BoltBackend final : public bolt::Backend {
public:
    explicit BoltBackend(Instance& instance) : instance_{instance}, forwarding_{instance.metrics()} {}
    std::unique_ptr<bolt::Session> open_session(const bolt::ConnectionInfo& info) override;
    [[nodiscard]] bool authentication_enabled() const override;
    [[nodiscard]] std::string server_agent() const override;
    [[nodiscard]] std::string advertised_address() const override;

private:
    Instance& instance_;
    ForwardingMetrics forwarding_;
};

}  // namespace nornic::server
