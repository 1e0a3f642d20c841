// Result and Error: how every room says that something did not work.
//
// A function that can fail returns Result<T>. Reading the wrong side is our own bug and aborts.
// A code exists where a caller would do something different; the message is for people.
#pragma once

#include <boost/outcome/basic_result.hpp>
#include <boost/outcome/policy/terminate.hpp>
#include <boost/outcome/success_failure.hpp>
#include <boost/outcome/try.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace nornic {

/// What a caller can react to: a code per distinct reaction. graph/failure.cc maps each to Neo4j's
/// status code and GQL status, so a driver's reaction is decided in that one place.
enum class ErrorCode : std::uint16_t {
    // Anything, anywhere.
    kInvalidArgument,  // The request itself is wrong; repeating it gives the same answer.
    kNotFound,
    kAlreadyExists,
    kBusy,        // Nothing happened: a limit was reached; try again later.
    kTimedOut,    // Nothing happened.
    kCorruption,  // Stored or received bytes are not what was written.
    kIo,          // The disk or the network refused.
    kDiskFull,    // Nothing happened: read-only until there is room again.
    kStopping,    // Nothing happened: this process is on its way out.
    kInternal,    // A bug of ours.
    kUnsupported,

    // Replication.
    kNotLeader,      // Nothing happened; try again at hint().
    kUnknownCommit,  // It may or may not have happened; only an idempotent retry is safe.
    kReadOnly,       // Nothing happened: this member does not take writes.
    kDatabaseUnavailable,

    // Transactions.
    kConflict,             // Nothing happened: another transaction won; run the whole one again.
    kDeadlock,             // Nothing happened: chosen as the victim; run the whole one again.
    kTerminated,           // Nothing happened: killed by RESET, an administrator or a stop.
    kTransactionTimedOut,  // Nothing happened: the transaction's own time-out.
    kTransactionTimedOutByClient,  // The same, where the client set the time-out.
    kLockTimeout,
    kMemoryLimit,
    kTransactionLimit,
    kAccessMode,  // A write in a transaction of access mode READ.
    kTransactionNotFound,
    kForbiddenByTransactionType,  // Schema and data writes in one transaction.
    kTransactionStartFailed,
    kBookmarkTimeout,
    kInvalidBookmark,

    // Cypher, at compile time or at run time; each is one Neo4j status code.
    kSyntaxError,
    kSemanticError,
    kTypeError,
    kArgumentError,
    kArithmeticError,
    kEntityNotFound,
    kParameterMissing,
    kProcedureNotFound,
    kProcedureCallFailed,
    kExecutionFailed,
    kExternalResourceFailed,
    kNotSystemDatabase,
    kUnsupportedAdministrationCommand,

    // Schema.
    kConstraintViolation,
    kConstraintCreationFailed,
    kConstraintAlreadyExists,
    kIndexAlreadyExists,
    kEquivalentSchemaRuleAlreadyExists,
    kConstraintNotFound,
    kIndexNotFound,
    kIndexDropFailed,
    kConstraintDropFailed,
    kTokenLimit,

    // Databases and protocol.
    kDatabaseNotFound,
    kInvalidRequest,  // Bolt or HTTP: a message that does not decode or does not fit the state.
    kInvalidFormat,
    kUnauthorized,
    kAuthRateLimit,
    kCredentialsExpired,
    kForbidden,
};

/// Where in a statement an error lies. line and column count from 1, offset from 0, in characters.
struct SourcePosition {
    std::uint32_t offset = 0;
    std::uint32_t line = 1;
    std::uint32_t column = 1;
    bool operator==(const SourcePosition&) const = default;
};

/// A code and, on the heap, what people want to read. Copies share the details.
class Error {
public:
    Error(ErrorCode code, std::string message, std::string hint = {})
        : code_{code},
          details_{std::make_shared<const Details>(
              Details{std::move(message), std::move(hint), {}, std::nullopt})} {}

    /// With the place in the statement, and, where it is not the code's default, a GQL status
    /// chain: "42001>42N62" is the status and its cause.
    Error(ErrorCode code,
          std::string message,
          std::optional<SourcePosition> position,
          std::string gql)
        : code_{code},
          details_{std::make_shared<const Details>(
              Details{std::move(message), {}, std::move(gql), position})} {}

    [[nodiscard]] ErrorCode code() const noexcept { return code_; }
    [[nodiscard]] const std::string& message() const noexcept { return details_->message; }
    /// kNotLeader: the leader's advertised Bolt address, or empty.
    [[nodiscard]] const std::string& hint() const noexcept { return details_->hint; }
    [[nodiscard]] const std::string& gql() const noexcept { return details_->gql; }
    [[nodiscard]] const std::optional<SourcePosition>& position() const noexcept {
        return details_->position;
    }

private:
    struct Details {
        std::string message;
        std::string hint;
        std::string gql;
        std::optional<SourcePosition> position;
    };
    ErrorCode code_;
    std::shared_ptr<const Details> details_;
};

/// The enumerator without its k, in words an operator can search for: "disk full".
std::string_view to_string(ErrorCode code) noexcept;

/// Either a T or an Error.
template <class T = void>
using Result = boost::outcome_v2::basic_result<T, Error, boost::outcome_v2::policy::terminate>;

using boost::outcome_v2::success;

[[nodiscard]] inline auto fail(ErrorCode code, std::string message, std::string hint = {}) {
    return boost::outcome_v2::failure(Error{code, std::move(message), std::move(hint)});
}

}  // namespace nornic

/// NORNIC_TRY(auto value, f()): f()'s value, or return its error from this function.
/// NORNIC_TRY(f()): the same for Result<void>. In a coroutine: NORNIC_CO_TRY.
#define NORNIC_TRY BOOST_OUTCOME_TRY
#define NORNIC_CO_TRY BOOST_OUTCOME_CO_TRY
