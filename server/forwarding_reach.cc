// Who takes what a ForwardingSession passes on, the connection to that member, and the wait for the next leader.
#include "observability/log.h"
#include "server/forwarded_answer.h"
#include "server/forwarding.h"
#include "server/routing.h"
#include "server/session_log.h"
#include "server/version.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace nornic::server {
namespace {

// How long a statement waits for the next leader: some elections.
constexpr std::chrono::seconds kLeaderPatience{10};
constexpr std::chrono::milliseconds kLeaderInterval{10};
// A leader that was replaced in good order answers at once; one that was cut off or stopped may not for long.
constexpr std::chrono::seconds kOldLeaderPatience{2};
constexpr std::chrono::seconds kInterruptPatience{2};
constexpr std::chrono::milliseconds kConnectTimeout{3000};
// Twice the keep-alive of a member that works on a request, and some more.
constexpr std::chrono::milliseconds kReceiveTimeout{150'000};
constexpr std::size_t kKnownBytesMax = 4096;

}  // namespace

bool ForwardingSession::nothing_happened(ErrorCode code) {
    return code == ErrorCode::kNotLeader || code == ErrorCode::kDatabaseUnavailable;
}

// ---- Who takes it ----

bool ForwardingSession::taken_here(Needs needs) const {
    if (needs == Needs::kReader) {
        return true;
    }
    if (instance_.replica().term() == Term{0}) {
        return false;
    }
    return needs == Needs::kWriter || !regional_ || !instance_.primary_refusal();
}

std::optional<std::string> ForwardingSession::member_for(Needs needs) const {
    const modes::ClusterView view = instance_.replica().view();
    std::string address;
    std::string cluster_address;
    const auto primary = std::ranges::find(view.regions, true, &modes::RegionView::primary);
    const bool by_primary = needs == Needs::kSchemaWriter || instance_.settings().cluster.region_writes == "primary";
    if (by_primary && primary != view.regions.end() && !primary->self) {
        address = primary->leader_bolt_address;
        cluster_address = primary->leader_address;
    } else if (view.leader != view.self) {
        const auto leader = std::ranges::find(view.members, view.leader, &modes::MemberView::id);
        if (leader != view.members.end()) {
            address = leader->bolt_address;
            cluster_address = leader->cluster_address;
        }
    }
    const std::uint16_t port = instance_.settings().follower_writes_port;
    if (const auto at = env::parse_host_port(cluster_address); at && port != 0 && !address.empty()) {
        address = at->first.find(':') == std::string::npos ? fmt::format("{}:{}", at->first, port)
                                                           : fmt::format("[{}]:{}", at->first, port);
    }
    return address.empty() ? std::nullopt : std::optional{std::move(address)};
}

std::optional<std::string> ForwardingSession::likely_member_for(Needs needs) const {
    // Other regions' leaders change without being this member's.
    const bool same = hop_ && !regional_ && hop_version_ == instance_.replica().leader_version();
    return same ? std::optional{hop_->address()} : member_for(needs);
}

bool ForwardingSession::leader_is_coming() const {
    const modes::ClusterView view = instance_.replica().view();
    return view.leader.empty() && view.state == "read_only";
}

ForwardingSession::Missing ForwardingSession::missing(const std::string& query, const Value& parameters, const std::string& database) {
    // What is wrong with this member is said by the session that runs it.
    if ((!regional_ && taken_here(Needs::kWriter)) || instance_.replica().out_of_service()) {
        return {};
    }
    if (known_.query != query || known_.database != database || known_.needed.needs == Needs::kReader) {
        known_ = {query.size() <= kKnownBytesMax ? query : std::string{}, database, needed(query, parameters, database)};
    }
    return taken_here(known_.needed.needs) ? Missing{} : known_.needed;
}

ForwardingSession::Missing ForwardingSession::needed(const std::string& query, const Value& parameters, const std::string& database) {
    // So is what is wrong with the statement.
    const auto resolved = instance_.resolve(database);
    const auto plans = resolved ? instance_.plans(resolved.value(), instance_.generation()) : nullptr;
    if (!plans) {
        return {};
    }
    engine::BeginOptions options;
    options.database = resolved.value() == "system" ? "system" : "neo4j";
    options.mode = AccessMode::kRead;
    auto transaction = instance_.engine().begin(options);
    if (!transaction) {
        return {};
    }
    const auto prepared = plans->prepare(query, as_map(parameters), *transaction.value());
    transaction.value()->finish();
    if (!prepared) {
        return {};
    }
    const cypher::PreparedInfo& info = cypher::info(*prepared.value());
    if (info.explain_only || !(info.writes || info.schema)) {
        return {};
    }
    return {info.schema || info.administration ? Needs::kSchemaWriter : Needs::kWriter, info.in_transactions};
}

// ---- The connection to it ----

Result<> ForwardingSession::reach(const std::string& address) {
    if (hop_ && hop_->address() == address && hop_->is_idle()) {
        return success();
    }
    drop_hop();
    const env::Settings& settings = instance_.settings();
    bolt::ClientSettings client;
    client.scheme = token_.has_credentials ? token_.scheme : "none";
    client.user = token_.principal;
    client.password = token_.credentials;
    client.user_agent = fmt::format("nornicdb-forward/{} {}", kVersion, info_.client_address);
    // A connection that routes: there it is refused, and not forwarded again, where no writes are taken.
    client.routing = Value{Map{{"address", Value{address}}, {std::string{kForwardedKey}, Value{"true"}}}};
    client.tls = settings.bolt_tls.enabled;
    client.tls_ca_file = settings.cluster.tls_ca_file;
    if (!settings.bolt_tls.client_ca_file.empty()) {
        client.tls_cert_file = settings.bolt_tls.certificate_file;
        client.tls_key_file = settings.bolt_tls.key_file;
    }
    client.connect_timeout = kConnectTimeout;
    client.receive_timeout = kReceiveTimeout;
    client.first_version = version_;
    client.still_wanted = [this] { return still_wanted(); };
    NORNIC_TRY(auto hop, Hop::open(address, std::move(client)));
    log::debug("{} of user '{}' writes through {}.", info_.connection_id, token_.principal, address);
    hop_ = std::move(hop);
    return success();
}

void ForwardingSession::drop_hop() {
    if (hop_ && !hop_->is_idle()) {
        hop_->abandon();
    }
    arrival_.forget_descriptor();
    hop_.reset();
}

bool ForwardingSession::still_wanted() {
    const Deadline now = instance_.clock().now();
    if (const auto since = interrupted()) {
        if (hop_) {
            hop_->interrupt();
        }
        return now - *since < kInterruptPatience;
    }
    const auto member = member_for(needs_);
    const bool replaced = taken_here(needs_) || (member && hop_ && *member != hop_->address());
    if (!replaced) {
        unwanted_since_.reset();
        return true;
    }
    if (!unwanted_since_) {
        unwanted_since_ = now;
    }
    return now - *unwanted_since_ < kOldLeaderPatience;
}

std::optional<Deadline> ForwardingSession::interrupted() const {
    const MutexLock lock{mutex_};
    return interrupted_;
}

bool ForwardingSession::pause(Deadline until) {
    MutexLock lock{mutex_};
    if (interrupted_ || instance_.clock().now() >= until) {
        return false;
    }
    woken_.wait_for(lock, kLeaderInterval);
    return !interrupted_;
}

bolt::RunOptions ForwardingSession::options_there(const bolt::TransactionOptions& options, Deadline began) const {
    bolt::RunOptions out;
    out.database = options.database;
    out.bookmarks = options.bookmarks;
    out.metadata = options.metadata;
    if (instance_.tracer() != nullptr && (passing_ || !trace_parent(options.metadata))) {
        // Whether it is traced is decided once.
        Map metadata = as_map(options.metadata);
        metadata.set("traceparent", Value{(passing_ ? passing_.context() : Tracer::not_sampled()).traceparent()});
        out.metadata = Value{std::move(metadata)};
    }
    out.impersonated_user = options.impersonated_user;
    if (options.timeout) {
        // What is left of it; 0 would mean none at all.
        const Duration left = *options.timeout - (instance_.clock().now() - began);
        const auto whole = std::chrono::ceil<std::chrono::milliseconds>(left);
        out.timeout = options.timeout->count() == 0 ? std::chrono::milliseconds{0} : std::max(whole, std::chrono::milliseconds{1});
    }
    return out;
}

std::optional<Result<>> ForwardingSession::at_leader(Needs needs,
                                                     std::optional<std::string> member,
                                                     std::uint64_t version,
                                                     bool under_way,
                                                     const bolt::TransactionOptions& options,
                                                     const std::function<Result<>(Hop&, const bolt::RunOptions&)>& work) {
    const Deadline began = instance_.clock().now();
    Duration patience = kLeaderPatience;
    if (options.timeout && options.timeout->count() > 0) {
        patience = std::min(patience, *options.timeout);
    }
    const ElasticPool::Away away{instance_.pool()};
    needs_ = needs;
    unwanted_since_.reset();
    Error last{ErrorCode::kDatabaseUnavailable, "no member of the cluster is known to take writes"};
    for (bool first = true; first || pause(began + patience); first = false) {
        if (!first || !member) {
            if (taken_here(needs)) {
                return std::nullopt;
            }
            version = instance_.replica().leader_version();
            member = member_for(needs);
            if (!member) {
                continue;
            }
        }
        Result<> result = std::exchange(under_way, false) ? Result<>{success()} : reach(*member);
        if (result) {
            hop_version_ = version;
            result = work(*hop_, options_there(options, began));
        }
        if (result || !nothing_happened(result.error().code())) {
            return result;
        }
        last = result.error();
    }
    if (interrupted()) {
        return fail(ErrorCode::kTerminated, std::string{});
    }
    return fail(ErrorCode::kDatabaseUnavailable,
                "The write could not be passed on to the leader, and nothing was written: " + last.message());
}

Error ForwardingSession::ended_there(Error error, bool may_have_committed) {
    const std::string where = hop_ ? hop_->address() : std::string{"the leader"};
    if (error.code() == ErrorCode::kIo) {
        drop_hop();
        place_ = Place::kHere;
        if (may_have_committed) {
            error = Error{ErrorCode::kUnknownCommit,
                          fmt::format("The connection to the leader at {} was lost after the write was passed on to it: it may or may "
                                      "not have been committed ({}).",
                                      where,
                                      error.message())};
        } else {
            error = Error{ErrorCode::kDatabaseUnavailable,
                          fmt::format("The connection to the leader at {} was lost, and the transaction was rolled back: {}",
                                      where,
                                      error.message())};
        }
    } else if (error.code() == ErrorCode::kNotLeader) {
        error = Error{ErrorCode::kDatabaseUnavailable, error.message()};
    }
    log::debug("{}: what was passed on to {} ended with {}: {}", info_.connection_id, where, to_string(error.code()), error.message());
    return error;
}

}  // namespace nornic::server
