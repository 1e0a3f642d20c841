#include "server/forwarding.h"

#include "server/bookmark.h"
#include "server/forwarded_answer.h"
#include "server/routing.h"
#include "server/session_log.h"

#include <boost/asio/post.hpp>
#include <fmt/format.h>

#include <charconv>
#include <utility>

namespace nornic::server {
namespace {

/// What a member says that has just stopped to lead. Run again over this connection it would be passed on, which a driver
/// that does not route does only for a transient error.
template <class T>
bolt::Completion<T> transient(bolt::Completion<T> done) {
    return [done = std::move(done)](Result<T> result) {
        if (!result && result.error().code() == ErrorCode::kNotLeader) {
            result = Error{ErrorCode::kDatabaseUnavailable, result.error().message()};
        }
        done(std::move(result));
    };
}

/// Of a connection whose answers another member packs as this one would. Older versions tell less of errors and warnings than is needed
/// to pack them anew, so for their clients the other member is asked in the newest.
std::optional<bolt::Version> version_passed_on(std::string_view protocol_version) {
    constexpr bolt::Version kFirst{5, 7};
    bolt::Version out;
    const std::size_t dot = protocol_version.find('.');
    const char* const end = protocol_version.data() + protocol_version.size();
    if (dot == std::string_view::npos ||
        std::from_chars(protocol_version.data(), protocol_version.data() + dot, out.major_number).ec != std::errc{} ||
        std::from_chars(protocol_version.data() + dot + 1, end, out.minor_number).ec != std::errc{} || out < kFirst) {
        return std::nullopt;
    }
    return out;
}

}  // namespace

ForwardingMetrics::ForwardingMetrics(Metrics& metrics) {
    const auto counter = [&](const char* outcome) {
        return &metrics.counter("nornicdb_forwarded_statements_total",
                                "Autocommit statements and transactions that were run at the leader for a client of this member.",
                                {{"outcome", outcome}});
    };
    done = counter("done");
    failed = counter("failed");
    refused = counter("refused");
    unknown = counter("unknown");
    seconds = &metrics.histogram("nornicdb_forwarded_seconds",
                                 "From RUN of a forwarded autocommit statement to its first record or its end.",
                                 {0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60});
}

bool may_forward(const Instance& instance, const bolt::ConnectionInfo& info) {
    // A driver that routes is told who takes writes, so that it goes there. So is a member that forwards: one hop is all. One that
    // is told a single address for all members can go nowhere else.
    const env::Settings& settings = instance.settings();
    return instance.mode().has_peers && (settings.follower_writes == "forward" || !settings.bolt_routing_address.empty()) &&
           !settings.read_only && !goes_to_the_writer(instance, info);
}

ForwardingSession::ForwardingSession(Instance& instance, ForwardingMetrics& metrics, const bolt::ConnectionInfo& info)
    : instance_{instance},
      metrics_{metrics},
      info_{info},
      regional_{instance.mode().name == "multi_region"},
      version_{regional_ ? std::nullopt : version_passed_on(info.protocol_version)},
      local_{instance, info},
      arrival_{instance.pool().shared_io()} {}

ForwardingSession::~ForwardingSession() {
    reset();
}

void ForwardingSession::count(const Result<>& outcome) {
    if (outcome) {
        metrics_.done->add();
    } else if (outcome.error().code() == ErrorCode::kUnknownCommit) {
        metrics_.unknown->add();
    } else if (nothing_happened(outcome.error().code())) {
        metrics_.refused->add();
    } else {
        metrics_.failed->add();
    }
}

void ForwardingSession::begin_trace(std::string_view name, const bolt::TransactionOptions& options) {
    Tracer* const tracer = instance_.tracer();
    if (tracer == nullptr) {
        return;
    }
    trace_ = tracer->root(name, SpanKind::kServer, trace_parent(options.metadata));
    trace_.set("enduser.id", token_.principal);
    trace_.set("client.address", info_.client_address);
    trace_.set("nornicdb.connection", info_.connection_id);
    passing_ = tracer->child("forward", trace_.context(), SpanKind::kClient);
}

void ForwardingSession::end_trace(const Error* error) {
    if (hop_) {
        passing_.set("server.address", hop_->address());
    }
    if (error != nullptr) {
        passing_.set_failed(error->message());
        trace_.set_failed(error->message());
    }
    passing_.end();
    trace_.end();
}

// ---- Login ----

void ForwardingSession::login(const bolt::AuthToken& token, bolt::Completion<bolt::Login> done) {
    token_ = token;
    local_.login(token, [this, done = std::move(done)](Result<bolt::Login> login) {
        if (!login) {
            token_ = {};
        }
        done(std::move(login));
    });
}

void ForwardingSession::login_as(std::string user, bolt::AuthToken token) {
    token_ = std::move(token);
    local_.login_as(std::move(user));
}

void ForwardingSession::logoff() {
    token_ = {};
    drop_hop();
    local_.logoff();
}

std::string ForwardingSession::resolved(const std::string& database) const {
    const auto name = instance_.resolve(database);
    return name ? name.value() : database;
}

// ---- Autocommit ----

template <class T>
bolt::Completion<T> ForwardingSession::after_writes(bolt::TransactionOptions& options, bolt::Completion<T> done) {
    if (!answered_.empty()) {
        const auto metadata = bolt::unpack_metadata(std::exchange(answered_, {}), {});
        bookmark_ = metadata ? text_at(metadata.value(), "bookmark") : std::string{};
    }
    // Of a region that was met a moment ago the history is not known here yet; then there is nothing to wait by.
    if (bookmark_.empty() || !parse_bookmarks({bookmark_}, instance_.history(), instance_.other_histories())) {
        return done;
    }
    options.bookmarks.push_back(bookmark_);
    return [this, done = std::move(done)](Result<T> result) {
        // That the write is gone with a lost branch is told once.
        if (result || result.error().code() == ErrorCode::kInvalidBookmark) {
            bookmark_.clear();
        }
        done(std::move(result));
    };
}

void ForwardingSession::run(std::string query,
                            Value parameters,
                            bolt::TransactionOptions options,
                            bolt::Completion<bolt::Running> done) {
    auto asked = std::make_shared<Asked>(Asked{std::move(query), std::move(parameters), std::move(options), {}, {}, std::move(done)});
    if (!arrival_.on_its_thread()) {
        run_anywhere(std::move(asked));
    } else if (!run_at_once(asked)) {
        elsewhere([this, asked] { run_anywhere(asked); });
    }
}

void ForwardingSession::run_anywhere(std::shared_ptr<Asked> asked) {
    const Missing what = asked->options.mode == AccessMode::kWrite ? missing(asked->query, asked->parameters, asked->options.database) : Missing{};
    // Where nobody is known, and nobody is about to be, it is refused here, in the words that say why.
    const std::uint64_t version = instance_.replica().leader_version();
    auto member = what.needs == Needs::kReader ? std::nullopt : likely_member_for(what.needs);
    if (member || (what.needs != Needs::kReader && leader_is_coming())) {
        asked->what = what;
        asked->began = instance_.clock().now();
        begin_trace("RUN", asked->options);
        run_there(*asked, std::move(member), version, false);
    } else {
        run_here(*asked);
    }
}

void ForwardingSession::run_there(Asked& asked, std::optional<std::string> member, std::uint64_t version, bool under_way) {
    const auto await = asked.what.in_parts ? Hop::Await::kStart : Hop::Await::kFirstRecord;
    bolt::Running running;
    const auto ran = at_leader(
        asked.what.needs, std::move(member), version, under_way, asked.options, [&](Hop& hop, const bolt::RunOptions& there) -> Result<> {
            const Hop::Form form = form_for(hop, asked.options);
            auto started = std::exchange(under_way, false) ? hop.started(await, form)
                                                           : hop.run(asked.query, as_map(asked.parameters), there, await, form);
            if (!started) {
                return nothing_happened(started.error().code()) ? started.error() : ended_there(started.error(), hop.has_left());
            }
            running = std::move(started).value();
            return success();
        });
    if (ran) {
        ran_there(asked, *ran ? Result<bolt::Running>{std::move(running)} : Result<bolt::Running>{ran->error()});
    } else {
        end_trace(nullptr);
        run_here(asked);
    }
}

void ForwardingSession::ran_there(Asked& asked, Result<bolt::Running> running) {
    if (!running) {
        end_trace(&running.error());
        count(running.error());
        asked.done(std::move(running));
        return;
    }
    metrics_.seconds->observe(static_cast<double>((instance_.clock().now() - asked.began).count()) / 1e9);
    place_ = Place::kStatementThere;
    if (running.value().packed.empty()) {
        if (running.value().database.empty()) {
            running.value().database = resolved(asked.options.database);
        }
        database_ = running.value().database;
    } else {
        waits_elsewhere_.store(true, std::memory_order_relaxed);
    }
    asked.done(std::move(running));
}

void ForwardingSession::run_here(Asked& asked) {
    version_there_.reset();
    auto done = after_writes(asked.options, std::move(asked.done));
    local_.run(std::move(asked.query), std::move(asked.parameters), std::move(asked.options), transient(std::move(done)));
}

// ---- On the thread that many connections share: the leader's answer is waited for without a thread of its own ----

bool ForwardingSession::runs_at_once(const std::string& query, const bolt::TransactionOptions& options) const {
    return place_ == Place::kHere && hop_ && hop_version_ == instance_.replica().leader_version() && options.mode == AccessMode::kWrite &&
           known_.query == query && known_.database == options.database && known_.needed.needs != Needs::kReader &&
           !known_.needed.in_parts && form_for(*hop_, options) == Hop::Form::kPacked && !taken_here(known_.needed.needs) &&
           !instance_.replica().out_of_service();
}

bool ForwardingSession::run_at_once(const std::shared_ptr<Asked>& asked) {
    if (!runs_at_once(asked->query, asked->options) || !hop_->is_idle()) {
        return false;
    }
    asked->what = known_.needed;
    asked->began = instance_.clock().now();
    begin_trace("RUN", asked->options);
    const Result<> sent = hop_->send(asked->query, as_map(asked->parameters), options_there(asked->options, asked->began));
    if (!sent) {
        ran_there(*asked, ended_there(sent.error(), hop_->has_left()));
        return true;
    }
    arrival_.start(hop_->descriptor(), [this, asked](bool readable) {
        if (readable && hop_->has_first_record()) {
            ran_there(*asked, hop_->started(Hop::Await::kFirstRecord, Hop::Form::kPacked));
        } else {
            elsewhere([this, asked] { run_there(*asked, hop_->address(), hop_version_, true); });
        }
    });
    return true;
}

bool ForwardingSession::pulls_at_once() const {
    return place_ == Place::kStatementThere && hop_ && hop_->has_all();
}

void ForwardingSession::elsewhere(std::function<void()> task) {
    boost::asio::post(instance_.pool().io(), [&pool = instance_.pool(), task = std::move(task)] {
        pool.enter(nullptr);
        task();
        pool.leave();
    });
}

void ForwardingSession::pull(std::int64_t statement_id,
                             std::int64_t count,
                             bolt::RecordSink& sink,
                             bolt::Completion<bolt::Pulled> done) {
    if (place_ == Place::kHere) {
        local_.pull(statement_id, count, sink, transient(std::move(done)));
    } else {
        pull_there(statement_id, count, &sink, std::move(done));
    }
}

void ForwardingSession::discard(std::int64_t statement_id, std::int64_t count, bolt::Completion<bolt::Pulled> done) {
    if (place_ == Place::kHere) {
        local_.discard(statement_id, count, transient(std::move(done)));
    } else {
        pull_there(statement_id, count, nullptr, std::move(done));
    }
}

void ForwardingSession::pull_there(std::int64_t statement_id,
                                   std::int64_t records,
                                   bolt::RecordSink* sink,
                                   bolt::Completion<bolt::Pulled> done) {
    auto pulled = hop_ ? there([&] { return hop_->pull(statement_id, records, sink); })
                       : Result<bolt::Pulled>{fail(ErrorCode::kInvalidFormat, fmt::format("No such statement: {}", statement_id))};
    const bool autocommit = place_ == Place::kStatementThere;
    if (!pulled) {
        const Error error = ended_there(pulled.error(), autocommit);
        if (autocommit) {
            place_ = Place::kHere;
            end_trace(&error);
        }
        count(error);
        done(error);
        return;
    }
    if (pulled.value().outcome == bolt::PullOutcome::kFinished) {
        pulled.value().summary.database = database_;
        if (autocommit) {
            place_ = Place::kHere;
            end_trace(nullptr);
            wrote(pulled.value());
            count(success());
        }
    }
    done(std::move(pulled));
}

// ---- Explicit transactions ----

void ForwardingSession::begin(bolt::TransactionOptions options, bolt::Completion<bolt::Begun> done) {
    const bool elsewhere = options.mode == AccessMode::kWrite && !taken_here(Needs::kWriter);
    const std::uint64_t version = instance_.replica().leader_version();
    auto member = elsewhere ? likely_member_for(Needs::kWriter) : std::nullopt;
    if (member || (elsewhere && leader_is_coming())) {
        begin_trace("transaction", options);
        const auto begun = at_leader(Needs::kWriter, std::move(member), version, false, options, [&](Hop& hop, const bolt::RunOptions& there) -> Result<> {
            Result<> there_now = hop.begin(there);
            return there_now || nothing_happened(there_now.error().code()) ? there_now : Result<>{ended_there(there_now.error(), false)};
        });
        if (begun) {
            if (!*begun) {
                end_trace(&begun->error());
                count(*begun);
                done(begun->error());
                return;
            }
            place_ = Place::kTransactionThere;
            database_ = resolved(options.database);
            done(bolt::Begun{database_});
            return;
        }
        end_trace(nullptr);
    }
    version_there_.reset();
    done = after_writes(options, std::move(done));
    local_.begin(std::move(options), std::move(done));
}

void ForwardingSession::run_in_transaction(std::string query, Value parameters, bolt::Completion<bolt::Running> done) {
    if (place_ != Place::kTransactionThere) {
        local_.run_in_transaction(std::move(query), std::move(parameters), transient(std::move(done)));
        return;
    }
    if (!hop_) {
        done(fail(ErrorCode::kInvalidRequest, "There is no open transaction."));
        return;
    }
    auto running = there([&] { return hop_->run(query, as_map(parameters), {}, Hop::Await::kStart); });
    if (!running) {
        const Error error = ended_there(running.error(), false);
        count(error);
        done(error);
        return;
    }
    running.value().database = database_;
    done(std::move(running));
}

void ForwardingSession::commit(bolt::Completion<std::string> done) {
    if (place_ != Place::kTransactionThere) {
        local_.commit(transient(std::move(done)));
        return;
    }
    auto bookmark = there([&] { return hop_->commit(); });
    if (!bookmark) {
        const Error error = ended_there(bookmark.error(), hop_->has_left());
        end_trace(&error);
        place_ = Place::kHere;
        count(error);
        done(error);
        return;
    }
    end_trace(nullptr);
    place_ = Place::kHere;
    wrote(bookmark.value());
    count(success());
    done(std::move(bookmark));
}

void ForwardingSession::rollback(bolt::Completion<void> done) {
    if (place_ != Place::kTransactionThere) {
        local_.rollback(std::move(done));
        return;
    }
    if (const Result<> ended = there([&] { return hop_->rollback(); }); !ended) {
        drop_hop();  // Then it is rolled back there by itself.
    }
    end_trace(nullptr);
    place_ = Place::kHere;
    count(success());
    done(success());
}

// ---- The rest ----

std::int64_t ForwardingSession::data_version() const {
    return version_there_ ? static_cast<std::int64_t>(version_there_->value) : local_.data_version();
}

void ForwardingSession::wrote(std::string bookmark) {
    answered_.clear();
    bookmark_ = std::move(bookmark);
    // That of another region counts in a log of its own, and says nothing here.
    const auto seen = parse_bookmarks({bookmark_}, instance_.history());
    version_there_ = seen ? seen.value().front().index : LogIndex{0};
}

void ForwardingSession::wrote(const bolt::Pulled& pulled) {
    if (pulled.packed.empty()) {
        wrote(pulled.bookmark);
    } else {
        answered_ = pulled.packed;
    }
}

Hop::Form ForwardingSession::form_for(const Hop& hop, const bolt::TransactionOptions& options) const {
    // What the client does not want to be told of is left out here.
    const bool all = options.notifications.minimum_severity == bolt::NotificationSeverity::kDefault &&
                     options.notifications.disabled_categories.empty();
    return all && version_ == hop.version() ? Hop::Form::kPacked : Hop::Form::kValues;
}

bool ForwardingSession::has_open_statement() const {
    return place_ == Place::kHere ? local_.has_open_statement() : hop_ && hop_->has_open_statement();
}

void ForwardingSession::route(Value context,
                              std::vector<std::string> bookmarks,
                              std::string database,
                              std::string impersonated_user,
                              bolt::Completion<bolt::RoutingTable> done) {
    local_.route(std::move(context), std::move(bookmarks), std::move(database), std::move(impersonated_user), std::move(done));
}

void ForwardingSession::interrupt() {
    {
        const MutexLock lock{mutex_};
        if (!interrupted_) {
            interrupted_ = instance_.clock().now();
        }
    }
    woken_.notify_all();
    if (waits_elsewhere()) {
        arrival_.cancel();
    }
    local_.interrupt();
}

void ForwardingSession::reset() {
    end_trace(nullptr);
    if (hop_ && !hop_->is_idle()) {
        drop_hop();
    }
    place_ = Place::kHere;
    local_.reset();
    const MutexLock lock{mutex_};
    interrupted_.reset();
}

}  // namespace nornic::server
