#include "base/result.h"

#include <string_view>

namespace nornic {

std::string_view to_string(ErrorCode code) noexcept {
    switch (code) {
        case ErrorCode::kInvalidArgument:
            return "invalid argument";
        case ErrorCode::kNotFound:
            return "not found";
        case ErrorCode::kAlreadyExists:
            return "already exists";
        case ErrorCode::kBusy:
            return "busy";
        case ErrorCode::kTimedOut:
            return "timed out";
        case ErrorCode::kCorruption:
            return "corruption";
        case ErrorCode::kIo:
            return "i/o error";
        case ErrorCode::kDiskFull:
            return "disk full";
        case ErrorCode::kStopping:
            return "stopping";
        case ErrorCode::kInternal:
            return "internal error";
        case ErrorCode::kUnsupported:
            return "unsupported";
        case ErrorCode::kNotLeader:
            return "not leader";
        case ErrorCode::kUnknownCommit:
            return "unknown commit";
        case ErrorCode::kReadOnly:
            return "read only";
        case ErrorCode::kDatabaseUnavailable:
            return "database unavailable";
        case ErrorCode::kConflict:
            return "conflict";
        case ErrorCode::kDeadlock:
            return "deadlock";
        case ErrorCode::kTerminated:
            return "terminated";
        case ErrorCode::kTransactionTimedOut:
            return "transaction timed out";
        case ErrorCode::kTransactionTimedOutByClient:
            return "transaction timed out (client)";
        case ErrorCode::kLockTimeout:
            return "lock timeout";
        case ErrorCode::kMemoryLimit:
            return "memory limit";
        case ErrorCode::kTransactionLimit:
            return "transaction limit";
        case ErrorCode::kAccessMode:
            return "access mode";
        case ErrorCode::kTransactionNotFound:
            return "transaction not found";
        case ErrorCode::kForbiddenByTransactionType:
            return "forbidden by transaction type";
        case ErrorCode::kTransactionStartFailed:
            return "transaction start failed";
        case ErrorCode::kBookmarkTimeout:
            return "bookmark timeout";
        case ErrorCode::kInvalidBookmark:
            return "invalid bookmark";
        case ErrorCode::kSyntaxError:
            return "syntax error";
        case ErrorCode::kSemanticError:
            return "semantic error";
        case ErrorCode::kTypeError:
            return "type error";
        case ErrorCode::kArgumentError:
            return "argument error";
        case ErrorCode::kArithmeticError:
            return "arithmetic error";
        case ErrorCode::kEntityNotFound:
            return "entity not found";
        case ErrorCode::kParameterMissing:
            return "parameter missing";
        case ErrorCode::kProcedureNotFound:
            return "procedure not found";
        case ErrorCode::kProcedureCallFailed:
            return "procedure call failed";
        case ErrorCode::kExecutionFailed:
            return "execution failed";
        case ErrorCode::kExternalResourceFailed:
            return "external resource failed";
        case ErrorCode::kNotSystemDatabase:
            return "not the system database";
        case ErrorCode::kUnsupportedAdministrationCommand:
            return "unsupported administration command";
        case ErrorCode::kConstraintViolation:
            return "constraint violation";
        case ErrorCode::kConstraintCreationFailed:
            return "constraint creation failed";
        case ErrorCode::kConstraintAlreadyExists:
            return "constraint already exists";
        case ErrorCode::kIndexAlreadyExists:
            return "index already exists";
        case ErrorCode::kEquivalentSchemaRuleAlreadyExists:
            return "equivalent schema rule already exists";
        case ErrorCode::kConstraintNotFound:
            return "constraint not found";
        case ErrorCode::kIndexNotFound:
            return "index not found";
        case ErrorCode::kIndexDropFailed:
            return "index drop failed";
        case ErrorCode::kConstraintDropFailed:
            return "constraint drop failed";
        case ErrorCode::kTokenLimit:
            return "token limit";
        case ErrorCode::kDatabaseNotFound:
            return "database not found";
        case ErrorCode::kInvalidRequest:
            return "invalid request";
        case ErrorCode::kInvalidFormat:
            return "invalid format";
        case ErrorCode::kUnauthorized:
            return "unauthorized";
        case ErrorCode::kAuthRateLimit:
            return "authentication rate limit";
        case ErrorCode::kCredentialsExpired:
            return "credentials expired";
        case ErrorCode::kForbidden:
            return "forbidden";
    }
    return "unknown error";
}

}  // namespace nornic
