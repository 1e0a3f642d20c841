#include "server/bolt_backend.h"

#include "server/query_session.h"
#include "server/version.h"

namespace nornic::server {

std::unique_ptr<bolt::Session> BoltBackend::open_session(const bolt::ConnectionInfo& info) {
    if (may_forward(instance_, info)) {
        return std::make_unique<ForwardingSession>(instance_, forwarding_, info);
    }
    return std::make_unique<QuerySession>(instance_, info);
}
bool BoltBackend::authentication_enabled() const {
    return instance_.users().enabled();
}
std::string BoltBackend::server_agent() const {
    return std::string{kBoltServerAgent};
}
std::string BoltBackend::advertised_address() const {
    // Drivers key what they know of this member by it.
    const std::string& single = instance_.settings().bolt_routing_address;
    return env::parse_host_port(single) ? single : instance_.bolt_address();
}

}  // namespace nornic::server
