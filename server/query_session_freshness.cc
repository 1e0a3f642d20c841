// How fresh what a client is shown must be, and how safe what it wrote: bookmarks, levels, confirmations, and the waits for them.
#include "server/query_session_impl.h"

#include <boost/asio/post.hpp>

#include <chrono>

namespace nornic::server {
namespace {

constexpr std::chrono::seconds kBookmarkPatience{30};
// How long a write that is committed waits for those members that its level takes besides.
constexpr std::chrono::seconds kAcknowledgePatience{10};

}  // namespace

QuerySession::Done QuerySession::interruptible(Done then, const Error& if_interrupted) {
    auto wait = std::make_shared<Wait>(std::move(then), if_interrupted);
    // Once it has answered, this session may be gone.
    Done end = [this, &instance = instance_, wait](const Result<>& outcome) {
        // A statement may block for long; not on the thread that wakes waiters.
        boost::asio::post(instance.pool().io(), [this, &instance, wait, outcome] { end_wait(this, instance, wait, outcome); });
    };
    bool already = false;
    {
        const std::lock_guard lock{open_mutex_};
        already = interrupted_;
        waiting_ = wait;
    }
    if (already) {
        end(if_interrupted);
    }
    return end;
}

void QuerySession::end_wait(QuerySession* session,
                            Instance& instance,
                            const std::shared_ptr<Wait>& wait,
                            const Result<>& outcome) {
    if (wait->over.exchange(true)) {
        return;
    }
    const Done then = std::move(wait->then);
    instance.pool().enter(nullptr);
    {
        const std::lock_guard lock{session->open_mutex_};
        session->waiting_.reset();
    }
    then(outcome);
    instance.pool().leave();
}

void QuerySession::acknowledge(LogIndex index, Done then) {
    if (!asked_.write) {
        then(success());
        return;
    }
    Instance& instance = instance_;
    const auto level = *asked_.write;
    const Done held =
        interruptible(std::move(then),
                      Error{ErrorCode::kUnknownCommit,
                            "the transaction was committed as this cluster's mode promises; whether as many members hold it as its "
                            "consistency asks for was not waited for, since the connection was reset"});
    instance.replica().await_acknowledged(level, index, instance.clock().now() + kAcknowledgePatience, held);
}

namespace {

/// Moves what is of other regions' logs out of `seen`.
std::vector<Seen> take_others(std::vector<Seen>& seen) {
    std::vector<Seen> out;
    for (const Seen& s : seen) {
        if (!s.history.empty()) {
            out.push_back(s);
        }
    }
    std::erase_if(seen, [](const Seen& s) { return !s.history.empty(); });
    return out;
}

}  // namespace

Result<> QuerySession::check_branch(const std::vector<Seen>& seen) const {
    if (!instance_.mode().has_peers) {
        return success();
    }
    const LogIndex applied = instance_.engine().applied_index();
    for (const Seen& s : seen) {
        // Only what is applied here counts: the rest of this member's log may itself be of a lost branch.
        const auto here = instance_.replica().term_at(std::min(s.index, applied));
        if (!s.term || !here) {
            continue;
        }
        if (*here > *s.term) {
            return lost_branch(s);
        }
        if (s.index <= applied && *here < *s.term) {
            return fail(ErrorCode::kDatabaseUnavailable,
                        "this member has not yet joined the branch of the log that the bookmark is of");
        }
    }
    return success();
}

void QuerySession::after_bookmarks(const bolt::TransactionOptions& options, bool confirm_later, Done then) {
    auto parsed = parse_bookmarks(options.bookmarks, instance_.history(), instance_.other_histories());
    if (!parsed && is_joining()) {
        // A standby that has not got the primary's data yet must not call a good bookmark a bad one.
        then(fail(ErrorCode::kDatabaseUnavailable, "this member is being brought up to date: " + instance_.replica().view().reason));
        return;
    }
    if (!parsed) {
        // It may have got it in between.
        parsed = parse_bookmarks(options.bookmarks, instance_.history(), instance_.other_histories());
    }
    if (!parsed) {
        then(parsed.error());
        return;
    }
    auto seen = std::make_shared<std::vector<Seen>>(std::move(parsed).value());
    if (asked_.data_version) {
        seen->push_back({*asked_.data_version, std::nullopt, {}, {}});
    }
    generation_ = instance_.generation();
    if (state_was_replaced()) {
        // Not with what a client sends along: nobody told it that there was anything to send.
        auto shown = parse_bookmarks({shown_}, instance_.history());
        if (!shown || !check_branch(shown.value())) {
            shown_.clear();
            then(fail(ErrorCode::kDatabaseUnavailable,
                      "what this connection was shown before was taken back on this member: another one leads, without it"));
            return;
        }
        seen->push_back(std::move(shown.value().front()));
    }
    Duration patience = kBookmarkPatience;
    if (options.timeout && options.timeout->count() > 0) {
        patience = std::min(patience, *options.timeout);
    }
    const Deadline deadline = instance_.clock().now() + patience;
    const AccessMode mode = options.mode;
    if (std::vector<Seen> others = take_others(*seen); !others.empty()) {
        then = [this, others = std::move(others), mode, deadline, then = std::move(then)](Result<> ready) {
            if (ready) {
                after_regions(others, mode, deadline, then);
            } else {
                then(ready);
            }
        };
    }
    if (const Result<> fine = check_branch(*seen); !fine) {
        then(fine.error());
        return;
    }
    LogIndex latest;
    for (const Seen& one : *seen) {
        latest = std::max(latest, one.index);
    }
    const bool causal = asked_.causal();
    // That this member led says nothing of what other regions acknowledged, or of what all members hold.
    const bool crosses = asked_.read == modes::ReadConsistency::kAll ||
                         (instance_.mode().name == "multi_region" && asked_.read != modes::ReadConsistency::kLocalQuorum);
    unconfirmed_ = !causal && !crosses && confirm_later && confirms_later(options);
    if (unconfirmed_) {
        // What is committed may have been shown by others before it is applied here.
        latest = std::max(latest, instance_.replica().committed());
    }
    wanted_ = latest;
    if ((causal || unconfirmed_) && latest <= instance_.engine().applied_index()) {
        then(success());
        return;
    }
    // The point may come when nobody waits any more, and the session is gone.
    const auto index = std::make_shared<LogIndex>();
    Instance& instance = instance_;
    const auto level = unconfirmed_ ? modes::ReadConsistency::kOne : asked_.read;
    const Done reached = interruptible(
        [this, seen, mode, index, then = std::move(then)](const Result<>& point) {
            wanted_ = point ? std::max(wanted_, *index) : wanted_;
            generation_ = instance_.generation();
            then(point ? check_branch(*seen) : Result<>{not_reached(point.error(), mode)});
        },
        terminated(ErrorCode::kTerminated, "Explicitly terminated by the user."));
    instance.replica().read_point(level,
                                  latest == LogIndex{0} ? std::nullopt : std::optional{latest},
                                  deadline,
                                  [index, reached](Result<LogIndex> point) {
                                      *index = point ? point.value() : LogIndex{};
                                      reached(point ? Result<>{success()} : Result<>{point.error()});
                                  });
}

Error QuerySession::not_reached(const Error& error, AccessMode mode) const {
    if (error.code() == ErrorCode::kNotLeader && mode == AccessMode::kRead) {
        // Drivers take the other code for that of a write in a session that only reads, and give up.
        return {ErrorCode::kDatabaseUnavailable, error.message()};
    }
    if (error.code() != ErrorCode::kBookmarkTimeout) {
        return error;
    }
    return {ErrorCode::kBookmarkTimeout,
            "Database '" + instance_.settings().default_database + "' " + error.message()};
}

/// One region after the other: it takes as long as the slowest.
void QuerySession::after_regions(std::vector<Seen> seen, AccessMode mode, Deadline deadline, Done then) {
    if (seen.empty()) {
        then(success());
        return;
    }
    const Seen next = std::move(seen.back());
    seen.pop_back();
    Instance& instance = instance_;
    const Done reached = interruptible(
        [this, next, seen = std::move(seen), mode, deadline, then = std::move(then)](const Result<>& point) {
            if (point) {
                after_regions(seen, mode, deadline, then);
            } else {
                then(point.error().code() == ErrorCode::kNotFound ? foreign_bookmark(next) : not_reached(point.error(), mode));
            }
        },
        terminated(ErrorCode::kTerminated, "Explicitly terminated by the user."));
    instance.replica().region_point(next.history, next.index, deadline, [reached](Result<LogIndex> point) {
        reached(point ? Result<>{success()} : Result<>{point.error()});
    });
}

bool QuerySession::confirms_later(const bolt::TransactionOptions& options) const {
    return options.mode == AccessMode::kWrite && instance_.mode().has_peers && instance_.replica().term() != Term{0};
}

/// All that this leader knew to be committed is in the snapshot already. That no other member led before it was taken is
/// confirmed afterwards: by the commit itself, if there is one, else here.
void QuerySession::confirm(Done then) {
    Instance& instance = instance_;
    const Done confirmed = interruptible(
        [this, then = std::move(then)](const Result<>& point) {
            if (!point) {
                then(point.error());
            } else if (began_in_ == Term{0} || instance_.replica().term() != began_in_) {
                then(fail(ErrorCode::kDatabaseUnavailable, "leadership changed while the statement ran"));
            } else {
                then(success());
            }
        },
        terminated(ErrorCode::kTerminated, "Explicitly terminated by the user."));
    instance.replica().read_point(modes::ReadConsistency::kLocalQuorum,
                                  std::nullopt,
                                  instance.clock().now() + kBookmarkPatience,
                                  [confirmed](Result<LogIndex> point) {
                                      confirmed(point ? Result<>{success()} : Result<>{point.error()});
                                  });
}

}  // namespace nornic::server
