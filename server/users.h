// Users and their passwords. Rows of the catalogue ("user/<name>"), so they replicate like
// everything else; passwords are kept as salted PBKDF2-HMAC-SHA256.
#pragma once

#include "base/clock.h"
#include "base/result.h"
#include "engine/engine.h"

#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::server {

struct User {
    std::string name;
    bool password_change_required = false;
    bool suspended = false;
    std::string home_database;
};

struct UserSettings {
    bool enabled = true;
    std::int64_t password_length_min = 8;
    std::int64_t failed_logins_max = 3;
    Duration lockout = std::chrono::seconds{5};
    /// Who may log in while there is no user at all: a member whose cluster has not formed yet must be looked at and
    /// promoted, too. It holds nothing then.
    std::string first_user;
    std::string first_password;
};

/// Reads from the engine's catalogue; writes go through `commit`, which orders and applies a
/// catalogue change. Thread-safe.
class Users {
public:
    /// A catalogue row that is put or, with nullopt, erased.
    struct RowChange {
        std::string key;
        std::optional<Value> row;
    };
    /// Makes all of these changes or none, and returns when they are durable.
    using Commit = std::function<Result<>(std::span<const RowChange> changes)>;

    /// Whether a change of which nobody knows whether it was made may yet be made.
    using Unsettled = std::function<bool()>;

    Users(engine::Engine& engine, Clock& clock, UserSettings settings, Commit commit, Unsettled unsettled);

    [[nodiscard]] bool enabled() const noexcept { return settings_.enabled; }
    [[nodiscard]] bool any() const;
    /// kUnauthorized, kAuthRateLimit. A wrong name costs as much time as a wrong password.
    Result<User> authenticate(std::string_view name, std::string_view password);

    struct Change {
        std::optional<std::string> password;
        std::optional<bool> password_change_required;
        std::optional<bool> suspended;
        std::optional<std::string> home_database;
    };
    /// kArgumentError with Neo4j's texts.
    Result<> create(const std::string& name, const Change& change, bool check_length);
    /// Whether there is such a user or not, in one step: what is refused leaves the one before.
    Result<> replace(const std::string& name, const Change& change);
    Result<> alter(const std::string& name, const Change& change);
    Result<> drop(const std::string& name);
    Result<> rename(const std::string& from, const std::string& to);
    /// ALTER CURRENT USER SET PASSWORD.
    Result<> change_own_password(const std::string& name,
                                 std::string_view old_password,
                                 const std::string& password);

    [[nodiscard]] std::vector<User> all() const;
    [[nodiscard]] std::optional<User> find(std::string_view name) const;

private:
    struct Failures {
        std::int64_t in_a_row = 0;
        Deadline locked_until{};
    };
    [[nodiscard]] std::optional<Value> row(std::string_view name) const;
    Result<std::unique_lock<std::mutex>> begin_change();
    Result<> check_password(const std::string& password) const;
    Result<> put_new(const std::string& name, const Change& change, bool check_length);
    Result<> commit_row(std::string_view name, std::optional<Value> value);
    Result<> alter_row(const std::string& name, const Change& change);

    engine::Engine& engine_;
    Clock& clock_;
    const UserSettings settings_;
    const Commit commit_;
    const Unsettled unsettled_;
    /// From the look at a row until what follows from it is committed: a change that was made meanwhile would be undone. The
    /// leader alone changes users, so what others do need not be asked. Taken before mutex_.
    std::mutex changing_;
    std::mutex mutex_;
    std::map<std::string, Failures, std::less<>> failures_;
    // What was proven lately, as a digest over salt and password, so that a pool of connections
    // pays for the slow hash once.
    std::map<std::string, std::string, std::less<>> proven_;
};

}  // namespace nornic::server
