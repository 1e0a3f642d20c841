#include "server/users.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <array>

namespace nornic::server {
namespace {

constexpr std::string_view kKeyPrefix = "user/";
constexpr int kIterations = 20'000;
constexpr std::size_t kHashBytes = 32;
constexpr std::size_t kSaltBytes = 16;
constexpr std::size_t kFailuresTrackedMax = 10'000;

const unsigned char* bytes_of(std::string_view s) {
    return reinterpret_cast<const unsigned char*>(s.data());
}

std::string slow_hash(std::string_view password, std::string_view salt, int iterations) {
    std::string out(kHashBytes, '\0');
    PKCS5_PBKDF2_HMAC(password.data(),
                      static_cast<int>(password.size()),
                      bytes_of(salt),
                      static_cast<int>(salt.size()),
                      iterations,
                      EVP_sha256(),
                      static_cast<int>(out.size()),
                      reinterpret_cast<unsigned char*>(out.data()));
    return out;
}

std::string quick_digest(std::string_view salt,
                         std::string_view stored,
                         std::string_view password) {
    std::string text;
    text.append(salt).append(stored).append(password);
    std::string out(kHashBytes, '\0');
    unsigned size = 0;
    EVP_Digest(text.data(),
               text.size(),
               reinterpret_cast<unsigned char*>(out.data()),
               &size,
               EVP_sha256(),
               nullptr);
    return out;
}

bool same(std::string_view a, std::string_view b) {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

bool flag(const Map& row, std::string_view key) {
    const Value* v = row.find(key);
    return v != nullptr && v->is_true();
}

User to_user(std::string_view name, const Map& row) {
    User user;
    user.name = name;
    user.password_change_required = flag(row, "passwordChangeRequired");
    user.suspended = flag(row, "suspended");
    if (const Value* home = row.find("home"); home != nullptr && home->is_string()) {
        user.home_database = home->as_string();
    }
    return user;
}

void set_password(Map& row, std::string_view password) {
    std::string salt(kSaltBytes, '\0');
    RAND_bytes(reinterpret_cast<unsigned char*>(salt.data()), static_cast<int>(salt.size()));
    row.set("salt", Value::bytes(salt));
    row.set("hash", Value::bytes(slow_hash(password, salt, kIterations)));
    row.set("iterations", std::int64_t{kIterations});
}

void apply_change(Map& row, const Users::Change& change) {
    if (change.password) {
        set_password(row, *change.password);
    }
    if (change.password_change_required) {
        row.set("passwordChangeRequired", *change.password_change_required);
    }
    if (change.suspended) {
        row.set("suspended", *change.suspended);
    }
    if (change.home_database) {
        row.set("home", *change.home_database);
    }
}

}  // namespace

Users::Users(engine::Engine& engine, Clock& clock, UserSettings settings, Commit commit, Unsettled unsettled)
    : engine_{engine}, clock_{clock}, settings_{settings}, commit_{std::move(commit)}, unsettled_{std::move(unsettled)} {}

bool Users::any() const {
    return !engine_.catalog_range(kKeyPrefix).empty();
}

std::optional<Value> Users::row(std::string_view name) const {
    return engine_.catalog(std::string{kKeyPrefix}.append(name));
}

Result<> Users::commit_row(std::string_view name, std::optional<Value> value) {
    const RowChange change{std::string{kKeyPrefix}.append(name), std::move(value)};
    return commit_({&change, 1});
}

Result<User> Users::authenticate(std::string_view name, std::string_view password) {
    const Error refused{ErrorCode::kUnauthorized,
                        "The client is unauthorized due to authentication failure."};
    {
        const std::lock_guard lock{mutex_};
        const auto it = failures_.find(name);
        if (it != failures_.end() && it->second.locked_until > clock_.now()) {
            return fail(ErrorCode::kAuthRateLimit,
                        "The client has provided incorrect authentication details too many times "
                        "in a row.");
        }
    }
    std::optional<Value> stored = row(name);
    if (!stored && name == settings_.first_user && !settings_.first_user.empty() &&
        same(password, settings_.first_password)) {
        if (!any()) {
            return User{settings_.first_user, false, false, {}};
        }
        stored = row(name);  // it may have come in between
    }
    const Map empty;
    const Map& fields = stored ? stored->as_map() : empty;
    const Value* salt = fields.find("salt");
    const Value* hash = fields.find("hash");
    const Value* iterations = fields.find("iterations");
    bool proven = false;
    std::string digest;
    if (salt != nullptr && hash != nullptr && iterations != nullptr) {
        digest = quick_digest(salt->as_bytes(), hash->as_bytes(), password);
        {
            const std::lock_guard lock{mutex_};
            const auto it = proven_.find(name);
            proven = it != proven_.end() && same(it->second, digest);
        }
        proven =
            proven ||
            same(slow_hash(password, salt->as_bytes(), static_cast<int>(iterations->as_integer())),
                 hash->as_bytes());
    } else {
        slow_hash(password, "no such user, same time", kIterations);
    }
    const std::lock_guard lock{mutex_};
    if (!proven || flag(fields, "suspended")) {
        if (settings_.failed_logins_max > 0 &&
            (failures_.size() < kFailuresTrackedMax || failures_.contains(name))) {
            Failures& failures = failures_[std::string{name}];
            if (++failures.in_a_row >= settings_.failed_logins_max) {
                failures.locked_until = clock_.now() + settings_.lockout;
                failures.in_a_row = 0;
            }
        }
        return refused;
    }
    failures_.erase(std::string{name});
    proven_[std::string{name}] = digest;
    return to_user(name, fields);
}

/// What is looked at from here on is what the change follows from.
Result<std::unique_lock<std::mutex>> Users::begin_change() {
    std::unique_lock one_at_a_time{changing_};
    if (unsettled_()) {
        return fail(ErrorCode::kDatabaseUnavailable,
                    "an earlier change of users ended with an unknown outcome and may yet be made: a majority does not answer. Repeat this once it does");
    }
    return one_at_a_time;
}

Result<> Users::check_password(const std::string& password) const {
    if (static_cast<std::int64_t>(password.size()) < settings_.password_length_min) {
        return fail(ErrorCode::kArgumentError,
                    fmt::format("A password must be at least {} characters.",
                                settings_.password_length_min));
    }
    return success();
}

Result<> Users::create(const std::string& name, const Change& change, bool check_length) {
    NORNIC_TRY(const auto one_at_a_time, begin_change());
    if (row(name)) {
        return fail(
            ErrorCode::kArgumentError,
            fmt::format("Failed to create the specified user '{}': User already exists.", name));
    }
    return put_new(name, change, check_length);
}

Result<> Users::replace(const std::string& name, const Change& change) {
    NORNIC_TRY(const auto one_at_a_time, begin_change());
    return put_new(name, change, true);
}

Result<> Users::put_new(const std::string& name, const Change& change, bool check_length) {
    if (name.empty() || name.size() > 256 || name.find_first_of(",: \t\n/") != std::string::npos) {
        return fail(ErrorCode::kArgumentError,
                    fmt::format("Username '{}' contains illegal characters. Use simple ascii "
                                "characters and numbers.",
                                name));
    }
    if (check_length) {
        NORNIC_TRY(check_password(change.password.value_or("")));
    }
    Map fields;
    fields.set("passwordChangeRequired", change.password_change_required.value_or(true));
    apply_change(fields, change);
    return commit_row(name, Value{std::move(fields)});
}

Result<> Users::alter(const std::string& name, const Change& change) {
    NORNIC_TRY(const auto one_at_a_time, begin_change());
    return alter_row(name, change);
}

Result<> Users::alter_row(const std::string& name, const Change& change) {
    const std::optional<Value> stored = row(name);
    if (!stored) {
        return fail(
            ErrorCode::kArgumentError,
            fmt::format("Failed to alter the specified user '{}': User does not exist.", name));
    }
    if (change.password) {
        NORNIC_TRY(check_password(*change.password));
    }
    Map fields = stored->as_map();
    apply_change(fields, change);
    return commit_row(name, Value{std::move(fields)});
}

Result<> Users::drop(const std::string& name) {
    NORNIC_TRY(const auto one_at_a_time, begin_change());
    if (!row(name)) {
        return fail(
            ErrorCode::kArgumentError,
            fmt::format("Failed to delete the specified user '{}': User does not exist.", name));
    }
    return commit_row(name, std::nullopt);
}

Result<> Users::rename(const std::string& from, const std::string& to) {
    NORNIC_TRY(const auto one_at_a_time, begin_change());
    const std::optional<Value> stored = row(from);
    if (!stored) {
        return fail(
            ErrorCode::kArgumentError,
            fmt::format(
                "Failed to rename the specified user '{}' to '{}': The user '{}' does not exist.",
                from,
                to,
                from));
    }
    if (row(to)) {
        return fail(
            ErrorCode::kArgumentError,
            fmt::format(
                "Failed to rename the specified user '{}' to '{}': User '{}' already exists.",
                from,
                to,
                to));
    }
    const std::array changes{RowChange{std::string{kKeyPrefix}.append(to), stored}, RowChange{std::string{kKeyPrefix}.append(from), std::nullopt}};
    return commit_(changes);
}

Result<> Users::change_own_password(const std::string& name,
                                    std::string_view old_password,
                                    const std::string& password) {
    NORNIC_TRY(const auto one_at_a_time, begin_change());
    if (auto known = authenticate(name, old_password); !known) {
        return fail(
            ErrorCode::kArgumentError,
            fmt::format(
                "User '{}' failed to alter their own password: Invalid principal or credentials.",
                name));
    }
    if (old_password == password) {
        return fail(ErrorCode::kArgumentError,
                    fmt::format("User '{}' failed to alter their own password: Old password and "
                                "new password cannot be the same.",
                                name));
    }
    Change change;
    change.password = password;
    change.password_change_required = false;
    return alter_row(name, change);
}

std::vector<User> Users::all() const {
    std::vector<User> out;
    for (const auto& [key, value] : engine_.catalog_range(kKeyPrefix)) {
        out.push_back(to_user(std::string_view{key}.substr(kKeyPrefix.size()), value.as_map()));
    }
    return out;
}

std::optional<User> Users::find(std::string_view name) const {
    const std::optional<Value> stored = row(name);
    return stored ? std::optional{to_user(name, stored->as_map())} : std::nullopt;
}

}  // namespace nornic::server
