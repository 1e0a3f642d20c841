#include "server/transactions.h"

#include <fmt/format.h>

#include <pthread.h>

namespace nornic::server {
namespace {
constexpr std::chrono::milliseconds kSweepInterval{250};
}

Error terminated(ErrorCode code, std::string_view reason) {
    return Error{code,
                 fmt::format("The transaction has been terminated. Retry your operation in a new "
                             "transaction, and you should see a "
                             "successful result. {} ",
                             reason)};
}

Transactions::Transactions(Settings settings, Clock& clock) : settings_{settings}, clock_{clock} {
    sweeper_ = std::thread{[this] { sweep(); }};
}

Transactions::~Transactions() {
    {
        const std::lock_guard lock{mutex_};
        ended_ = true;
        changed_.notify_all();
    }
    sweeper_.join();
}

void OpenTransaction::replace(std::unique_ptr<engine::Transaction> fresh) {
    {
        const std::lock_guard lock{pointer_mutex_};
        transaction_.swap(fresh);
        if (reason_) {
            transaction_->terminate(*reason_);
        }
    }
    fresh->finish();
}

Result<std::shared_ptr<engine::Transaction>> OpenTransaction::take_along(std::unique_ptr<engine::Transaction> inner) {
    std::shared_ptr<engine::Transaction> out = std::move(inner);
    const std::lock_guard lock{pointer_mutex_};
    if (reason_) {
        return *reason_;
    }
    std::erase_if(inner_, [](const auto& ended) { return ended.expired(); });
    inner_.push_back(out);
    return out;
}

void OpenTransaction::leave_behind(const std::shared_ptr<engine::Transaction>& inner) {
    const std::lock_guard lock{pointer_mutex_};
    std::erase_if(inner_, [&](const auto& one) { return one.lock() == inner; });
}

void OpenTransaction::finish() {
    std::vector<std::shared_ptr<engine::Transaction>> inner;
    {
        const std::lock_guard lock{pointer_mutex_};
        for (const auto& one : inner_) {
            inner.push_back(one.lock());
        }
    }
    for (const auto& one : inner) {
        if (one) {
            one->finish();
        }
    }
    transaction_->finish();
}

void OpenTransaction::terminate(const Error& reason) {
    std::vector<std::shared_ptr<engine::Transaction>> inner;  // whose last owner this may be: they end without the mutex
    const std::lock_guard lock{pointer_mutex_};
    if (reason_) {
        return;
    }
    reason_ = reason;
    transaction_->terminate(reason);
    for (const auto& one : inner_) {
        // It may be what waits for a lock, while the one around it waits for nothing.
        if (auto running = inner.emplace_back(one.lock())) {
            running->terminate(reason);
        }
    }
}

Result<OpenTransactionPtr> Transactions::open(TransactionOrigin origin,
                                              std::unique_ptr<engine::Transaction> transaction) {
    auto out = std::make_shared<OpenTransaction>(std::move(origin), std::move(transaction));
    out->started_wall_ns = clock_.wall_ns();
    const std::lock_guard lock{mutex_};
    if (stopping_) {
        return fail(ErrorCode::kDatabaseUnavailable,
                    "The server is stopping and takes no new transactions.");
    }
    if (open_.size() >= static_cast<std::size_t>(settings_.open_max)) {
        return fail(ErrorCode::kTransactionLimit,
                    fmt::format("Unable to start new transaction since the maximum number of "
                                "concurrently executing transactions is "
                                "reached ({}; NORNICDB_MAX_TRANSACTIONS).",
                                settings_.open_max));
    }
    out->number = next_++;
    out->id = fmt::format("{}-transaction-{}", out->origin.database, out->number);
    open_.emplace(out->number, out);
    return out;
}

void Transactions::close(const OpenTransactionPtr& transaction) {
    const std::lock_guard lock{mutex_};
    open_.erase(transaction->number);
    if (open_.empty() && stopping_) {
        changed_.notify_all();
    }
}

std::vector<OpenTransactionPtr> Transactions::all() const {
    const std::lock_guard lock{mutex_};
    std::vector<OpenTransactionPtr> out;
    out.reserve(open_.size());
    for (const auto& [number, transaction] : open_) {
        out.push_back(transaction);
    }
    return out;
}

std::size_t Transactions::count() const {
    const std::lock_guard lock{mutex_};
    return open_.size();
}

bool Transactions::terminate(std::string_view id, const std::string& reason) {
    for (const OpenTransactionPtr& t : all()) {
        if (t->id == id) {
            t->terminate(terminated(ErrorCode::kTerminated, reason));
            return true;
        }
    }
    return false;
}

void Transactions::stop() {
    {
        const std::lock_guard lock{mutex_};
        stopping_ = true;
    }
    for (const OpenTransactionPtr& t : all()) {
        t->terminate(terminated(ErrorCode::kDatabaseUnavailable, "The server is stopping."));
    }
}

bool Transactions::wait_until_idle(Deadline deadline) {
    std::unique_lock lock{mutex_};
    stopping_ = true;
    while (!open_.empty()) {
        if (changed_.wait_until(lock, deadline) == std::cv_status::timeout) {
            return open_.empty();
        }
    }
    return true;
}

void Transactions::sweep() {
    pthread_setname_np(pthread_self(), "tx-sweep");
    std::unique_lock lock{mutex_};
    while (!ended_) {
        changed_.wait_for(lock, kSweepInterval);
        const Deadline now = clock_.now();
        std::vector<OpenTransactionPtr> late;
        for (const auto& [number, transaction] : open_) {
            if (transaction->origin.deadline <= now || transaction->is_terminated()) {
                late.push_back(transaction);
            }
        }
        lock.unlock();
        for (const OpenTransactionPtr& t : late) {
            // A statement that runs finds its deadline by itself; a silent client's locks go here.
            const std::unique_lock use{t->use, std::try_to_lock};
            if (use && !t->committing) {
                t->terminate(t->origin.deadline_by_client
                                 ? terminated(ErrorCode::kTransactionTimedOutByClient,
                                              "The transaction has not completed within the timeout "
                                              "specified at its start by the client. "
                                              "You may want to retry with a longer timeout.")
                                 : terminated(ErrorCode::kTransactionTimedOut,
                                              "The transaction has not completed within the timeout that "
                                              "NORNICDB_TRANSACTION_TIMEOUT sets. "
                                              "You may want to retry with a longer timeout."));
                t->finish();
            }
        }
        lock.lock();
    }
}

}  // namespace nornic::server
