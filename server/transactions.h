// The transactions that clients have open: numbered, listed (SHOW TRANSACTIONS), killed and timed
// out.
#pragma once

#include "base/clock.h"
#include "base/result.h"
#include "engine/transaction.h"

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

namespace nornic::server {

/// What is known of a transaction's client; the same from begin to end.
struct TransactionOrigin {
    std::string database;
    std::string user;
    std::string connection_id;
    std::string client_address;
    Value metadata;
    Deadline deadline = kNoDeadline;
    bool deadline_by_client = true;
};

/// One transaction and its client. The engine transaction is touched only with `use` held;
/// terminate() is for any thread at any time.
class OpenTransaction {
public:
    OpenTransaction(TransactionOrigin client, std::unique_ptr<engine::Transaction> begun)
        : origin{std::move(client)}, transaction_{std::move(begun)} {}

    std::uint64_t number = 0;
    std::string id;  // "neo4j-transaction-357"
    const TransactionOrigin origin;
    std::int64_t started_wall_ns = 0;

    std::mutex use;
    /// With `use` held, or on the session's own thread.
    [[nodiscard]] engine::Transaction& transaction() const noexcept { return *transaction_; }
    /// Puts a fresh one in its place; what was terminated stays so. With `use` held.
    void replace(std::unique_ptr<engine::Transaction> fresh);
    /// Lets go of the locks and snapshots of this one and of those that were taken along. With `use` held.
    void finish();
    /// Takes along a transaction of its own that the statement begins: it ends with this one. Fails with the reason if that
    /// was terminated already.
    Result<std::shared_ptr<engine::Transaction>> take_along(std::unique_ptr<engine::Transaction> inner);
    /// The outcome of one that was taken along is unknown: it does not end with this one, for its locks have to stay.
    void leave_behind(const std::shared_ptr<engine::Transaction>& inner);
    /// The first reason counts.
    void terminate(const Error& reason);
    [[nodiscard]] bool is_terminated() {
        const std::lock_guard lock{pointer_mutex_};
        return reason_.has_value();
    }
    /// With `use` held: its changes are on their way to the log, so only their outcome ends it.
    bool committing = false;
    /// With `use` held: its outcome is unknown here, and its locks stay until the last one who holds this lets go.
    bool unsettled = false;

    std::mutex text_mutex;
    std::string query;  // what runs or ran last

private:
    std::unique_ptr<engine::Transaction>
        transaction_;  // replaced with `use` and pointer_mutex_ held
    std::vector<std::weak_ptr<engine::Transaction>> inner_;  // with pointer_mutex_ held
    std::mutex pointer_mutex_;
    std::optional<Error> reason_;  // with pointer_mutex_ held
};

using OpenTransactionPtr = std::shared_ptr<OpenTransaction>;

/// Thread-safe.
class Transactions {
public:
    struct Settings {
        std::int64_t open_max = 1000;
    };
    Transactions(Settings settings, Clock& clock);
    ~Transactions();

    /// kTransactionLimit.
    Result<OpenTransactionPtr> open(TransactionOrigin origin,
                                    std::unique_ptr<engine::Transaction> transaction);
    void close(const OpenTransactionPtr& transaction);
    [[nodiscard]] std::vector<OpenTransactionPtr> all() const;
    [[nodiscard]] std::size_t count() const;
    /// false: there is none of this id.
    bool terminate(std::string_view id, const std::string& reason);
    /// Ends all with kStopping and takes no more.
    void stop();
    /// Waits until none is open; false at the deadline.
    bool wait_until_idle(Deadline deadline);

private:
    /// Ends those whose deadline passed, or that were terminated, while their client was silent, so that their locks do not
    /// stay.
    void sweep();

    const Settings settings_;
    Clock& clock_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::map<std::uint64_t, OpenTransactionPtr> open_;
    std::uint64_t next_ = 1;
    bool stopping_ = false;
    bool ended_ = false;
    std::thread sweeper_;
};

/// Neo4j's text of a killed transaction, with the reason at its end.
Error terminated(ErrorCode code, std::string_view reason);

}  // namespace nornic::server
