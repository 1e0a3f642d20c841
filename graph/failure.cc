#include "graph/failure.h"

#include <algorithm>
#include <array>
#include <iterator>

namespace nornic {
namespace {

struct Row {
    ErrorCode code;
    std::string_view neo4j;
    /// GQL status, and after '>' its cause; what an Error brings along goes first.
    std::string_view gql;
    /// Where the error says nothing itself.
    std::string_view text = {};
};

constexpr std::string_view kTerminatedText =
    "The transaction has been terminated. Retry your operation in a new transaction, and you "
    "should see a successful "
    "result. Explicitly terminated by the user. ";
constexpr std::string_view kTimedOutText =
    "The transaction has been terminated. Retry your operation in a new transaction, and you "
    "should see a successful "
    "result. The transaction has not completed within the specified timeout "
    "(db.transaction.timeout). You may want to "
    "retry with a longer timeout. ";
constexpr std::string_view kTimedOutByClientText =
    "The transaction has been terminated. Retry your operation in a new transaction, and you "
    "should see a successful "
    "result. The transaction has not completed within the timeout specified at its start by the "
    "client. You may want "
    "to retry with a longer timeout. ";

// Drivers act on the first word: they retry TransientError, and of ClientError only the two that
// speak of the writer. So a code of "nothing happened, try again" is transient, and the one of an
// unknown outcome must not be: a second run could write twice.
constexpr Row kRows[] = {
    {ErrorCode::kInvalidArgument, "Neo.ClientError.General.InvalidArguments", "22N05"},
    {ErrorCode::kNotFound, "Neo.ClientError.General.InvalidArguments", "22N05"},
    {ErrorCode::kAlreadyExists, "Neo.ClientError.General.InvalidArguments", "22N05"},
    {ErrorCode::kBusy, "Neo.TransientError.Request.NoThreadsAvailable", "51N66"},
    {ErrorCode::kTimedOut, "Neo.TransientError.Cluster.ReplicationFailure", "25N08"},
    {ErrorCode::kCorruption, "Neo.DatabaseError.General.StorageDamageDetected", "50N00"},
    {ErrorCode::kIo, "Neo.DatabaseError.General.UnknownError", "50N00"},
    {ErrorCode::kDiskFull, "Neo.ClientError.General.ForbiddenOnReadOnlyDatabase", "08N08"},
    {ErrorCode::kStopping, "Neo.TransientError.General.DatabaseUnavailable", "08N09"},
    {ErrorCode::kInternal, "Neo.DatabaseError.General.UnknownError", "50N42"},
    {ErrorCode::kUnsupported, "Neo.ClientError.Statement.UnsupportedOperationError", "51N00"},

    {ErrorCode::kNotLeader, "Neo.ClientError.Cluster.NotALeader", "08N07"},
    {ErrorCode::kUnknownCommit, "Neo.DatabaseError.Transaction.TransactionCommitFailed", "08007"},
    {ErrorCode::kReadOnly, "Neo.ClientError.General.ForbiddenOnReadOnlyDatabase", "08N08"},
    {ErrorCode::kDatabaseUnavailable, "Neo.TransientError.General.DatabaseUnavailable", "08N09"},

    {ErrorCode::kConflict, "Neo.TransientError.Transaction.Outdated", "40000"},
    {ErrorCode::kDeadlock, "Neo.TransientError.Transaction.DeadlockDetected", "50N05"},
    {ErrorCode::kTerminated, "Neo.ClientError.Transaction.Terminated", "25N14", kTerminatedText},
    {ErrorCode::kTransactionTimedOut,
     "Neo.ClientError.Transaction.TransactionTimedOut",
     "25N14",
     kTimedOutText},
    {ErrorCode::kTransactionTimedOutByClient,
     "Neo.ClientError.Transaction.TransactionTimedOutClientConfiguration",
     "25N14",
     kTimedOutByClientText},
    {ErrorCode::kLockTimeout, "Neo.TransientError.Transaction.LockAcquisitionTimeout", "50N05"},
    {ErrorCode::kMemoryLimit, "Neo.TransientError.General.MemoryPoolOutOfMemoryError", "51N66"},
    {ErrorCode::kTransactionLimit,
     "Neo.TransientError.Transaction.MaximumTransactionLimitReached",
     "51N66"},
    {ErrorCode::kAccessMode, "Neo.ClientError.Statement.AccessMode", "08N03>42N02"},
    {ErrorCode::kTransactionNotFound, "Neo.ClientError.Transaction.TransactionNotFound", "25N05"},
    {ErrorCode::kForbiddenByTransactionType,
     "Neo.ClientError.Transaction.ForbiddenDueToTransactionType",
     "25N01"},
    {ErrorCode::kTransactionStartFailed,
     "Neo.DatabaseError.Transaction.TransactionStartFailed",
     "25N17"},
    {ErrorCode::kBookmarkTimeout, "Neo.TransientError.Transaction.BookmarkTimeout", "08N13"},
    {ErrorCode::kInvalidBookmark, "Neo.ClientError.Transaction.InvalidBookmark", "08N12"},

    {ErrorCode::kSyntaxError, "Neo.ClientError.Statement.SyntaxError", "42001>42I06"},
    {ErrorCode::kSemanticError, "Neo.ClientError.Statement.SemanticError", "42001>42N09"},
    {ErrorCode::kTypeError, "Neo.ClientError.Statement.TypeError", "22G03>22N01"},
    {ErrorCode::kArgumentError, "Neo.ClientError.Statement.ArgumentError", "22N05"},
    {ErrorCode::kArithmeticError, "Neo.ClientError.Statement.ArithmeticError", "22003>22N28"},
    {ErrorCode::kEntityNotFound, "Neo.ClientError.Statement.EntityNotFound", "25N13"},
    {ErrorCode::kParameterMissing, "Neo.ClientError.Statement.ParameterMissing", "42001>42N81"},
    {ErrorCode::kProcedureNotFound, "Neo.ClientError.Procedure.ProcedureNotFound", "42001>42N08"},
    {ErrorCode::kProcedureCallFailed,
     "Neo.ClientError.Procedure.ProcedureCallFailed",
     "52N37>52U00"},
    {ErrorCode::kExecutionFailed, "Neo.DatabaseError.Statement.ExecutionFailed", "50N00"},
    {ErrorCode::kExternalResourceFailed,
     "Neo.ClientError.Statement.ExternalResourceFailed",
     "22000>22N43"},
    {ErrorCode::kNotSystemDatabase, "Neo.ClientError.Statement.NotSystemDatabaseError", "51N28"},
    {ErrorCode::kUnsupportedAdministrationCommand,
     "Neo.ClientError.Statement.UnsupportedAdministrationCommand",
     "51N27"},

    {ErrorCode::kConstraintViolation,
     "Neo.ClientError.Schema.ConstraintValidationFailed",
     "22N79>22N80"},
    {ErrorCode::kConstraintCreationFailed,
     "Neo.DatabaseError.Schema.ConstraintCreationFailed",
     "50N11"},
    {ErrorCode::kConstraintAlreadyExists,
     "Neo.ClientError.Schema.ConstraintAlreadyExists",
     "22N65"},
    {ErrorCode::kIndexAlreadyExists, "Neo.ClientError.Schema.IndexAlreadyExists", "22N71"},
    {ErrorCode::kEquivalentSchemaRuleAlreadyExists,
     "Neo.ClientError.Schema.EquivalentSchemaRuleAlreadyExists",
     "22N70"},
    {ErrorCode::kConstraintNotFound, "Neo.ClientError.Schema.ConstraintNotFound", "22N66"},
    {ErrorCode::kIndexNotFound, "Neo.ClientError.Schema.IndexNotFound", "22N69"},
    {ErrorCode::kIndexDropFailed, "Neo.DatabaseError.Schema.IndexDropFailed", "50N10>22N69"},
    {ErrorCode::kConstraintDropFailed, "Neo.DatabaseError.Schema.ConstraintDropFailed", "50N12"},
    {ErrorCode::kTokenLimit, "Neo.DatabaseError.Schema.TokenLimitReached", "50N00"},

    {ErrorCode::kDatabaseNotFound, "Neo.ClientError.Database.DatabaseNotFound", "42001>42N00"},
    {ErrorCode::kInvalidRequest, "Neo.ClientError.Request.Invalid", "08N06"},
    {ErrorCode::kInvalidFormat, "Neo.ClientError.Request.InvalidFormat", "08N06"},
    {ErrorCode::kUnauthorized, "Neo.ClientError.Security.Unauthorized", "42NFF"},
    {ErrorCode::kAuthRateLimit, "Neo.ClientError.Security.AuthenticationRateLimit", "42NFF"},
    {ErrorCode::kCredentialsExpired, "Neo.ClientError.Security.CredentialsExpired", "42NFF>42NFD"},
    {ErrorCode::kForbidden, "Neo.ClientError.Security.Forbidden", "42NFF"},
};
static_assert(std::size(kRows) == static_cast<std::size_t>(ErrorCode::kForbidden) + 1,
              "a code without a row");
static_assert(
    [] {
        for (std::size_t i = 0; i < std::size(kRows); ++i) {
            if (static_cast<std::size_t>(kRows[i].code) != i) {
                return false;
            }
        }
        return true;
    }(),
    "rows stand in the order of ErrorCode");

struct Status {
    std::string_view status;
    std::string_view condition;  // what follows "error: "
};

constexpr Status kStatuses[] = {
    {"08000", "connection exception"},
    {"08007", "connection exception - transaction resolution unknown"},
    {"08N00", "connection exception - unable to connect to database"},
    {"08N01", "connection exception - unable to write to database"},
    {"08N02", "connection exception - unable to connect to database"},
    {"08N03", "connection exception - failed to write to graph"},
    {"08N04", "connection exception - unable to route to database"},
    {"08N06", "connection exception - protocol error"},
    {"08N07", "connection exception - not the leader"},
    {"08N08", "connection exception - database is read only"},
    {"08N09", "connection exception - database unavailable"},
    {"08N10", "connection exception - invalid server state"},
    {"08N11", "connection exception - request error"},
    {"08N12", "connection exception - failed to parse bookmark"},
    {"08N13", "connection exception - database not up to requested bookmark"},
    {"08N14", "connection exception - alias chains are not permitted"},
    {"22000", "data exception"},
    {"22003", "data exception - numeric value out of range"},
    {"22007", "data exception - invalid date, time, or datetime format"},
    {"22012", "data exception - division by zero"},
    {"22015", "data exception - interval field overflow"},
    {"22G03", "data exception - invalid value type"},
    {"22N00", "data exception - unsupported value"},
    {"22N01", "data exception - invalid type"},
    {"22N02", "data exception - specified negative numeric value"},
    {"22N03", "data exception - specified numeric value out of range"},
    {"22N04", "data exception - invalid input value"},
    {"22N05", "data exception - input failed validation"},
    {"22N06", "data exception - invalid arguments, expected"},
    {"22N10", "data exception - invalid pre-parser option key"},
    {"22N11", "data exception - invalid argument"},
    {"22N12", "data exception - invalid date, time, or datetime format"},
    {"22N13", "data exception - invalid time zone"},
    {"22N14", "data exception - invalid temporal value combination"},
    {"22N15", "data exception - invalid temporal component"},
    {"22N16", "data exception - invalid import value"},
    {"22N18", "data exception - incomplete spatial value"},
    {"22N19", "data exception - invalid spatial value"},
    {"22N20", "data exception - invalid spatial value dimensions"},
    {"22N21", "data exception - unsupported coordinate reference system"},
    {"22N22", "data exception - invalid spatial value combination"},
    {"22N23", "data exception - invalid latitude or longitude value"},
    {"22N24", "data exception - invalid coordinate arguments"},
    {"22N25", "data exception - invalid temporal arguments"},
    {"22N26", "data exception - unsupported rounding mode"},
    {"22N27", "data exception - invalid entity type"},
    {"22N28", "data exception - overflow error"},
    {"22N29", "data exception - unknown coordinate reference system"},
    {"22N31", "data exception - invalid property value"},
    {"22N32", "data exception - property type is not storable"},
    {"22N36", "data exception - invalid temporal value"},
    {"22N37", "data exception - invalid coercion"},
    {"22N38", "data exception - invalid function argument"},
    {"22N39", "data exception - unsupported property value type"},
    {"22N43", "data exception - could not load external resource"},
    {"22N54", "data exception - duplicate map key"},
    {"22N56", "data exception - protocol message length limit overflow"},
    {"22N65", "data exception - constraint already exists"},
    {"22N66", "data exception - constraint not found"},
    {"22N69", "data exception - index does not exist"},
    {"22N70", "data exception - index already exists"},
    {"22N71", "data exception - index with the same name already exists"},
    {"22N77", "data exception - property presence verification failed"},
    {"22N78", "data exception - property type verification failed"},
    {"22N79", "data exception - property uniqueness constraint violated"},
    {"22N80", "data exception - index entry conflict"},
    {"22N85", "data exception - string too short"},
    {"22N97", "data exception - unexpected struct tag"},
    {"22NB1", "data exception - type mismatch"},
    {"25000", "invalid transaction state"},
    {"25N01", "invalid transaction state - invalid combination of statement types"},
    {"25N02", "invalid transaction state - unable to complete transaction"},
    {"25N05", "invalid transaction state - transaction not found"},
    {"25N08", "invalid transaction state - lease expired"},
    {"25N13", "invalid transaction state - entity deleted in this transaction"},
    {"25N14", "invalid transaction state - transaction termination client error"},
    {"25N17", "invalid transaction state - transaction start failed"},
    {"40000", "transaction rollback"},
    {"40003", "transaction rollback - statement completion unknown"},
    {"42000", "syntax error or access rule violation"},
    {"42001", "syntax error or access rule violation - invalid syntax"},
    {"42002", "syntax error or access rule violation - invalid reference"},
    {"42I06", "syntax error or access rule violation - invalid input"},
    {"42I07", "syntax error or access rule violation - invalid number literal"},
    {"42I13",
     "syntax error or access rule violation - invalid number of procedure or function arguments"},
    {"42I14", "syntax error or access rule violation - exactly one relationship type required"},
    {"42I16", "syntax error or access rule violation - invalid point map"},
    {"42I19", "syntax error or access rule violation - invalid string literal"},
    {"42I24", "syntax error or access rule violation - invalid use of aggregate function"},
    {"42I37", "syntax error or access rule violation - invalid use of RETURN *"},
    {"42I56", "syntax error or access rule violation - only directed relationships are supported"},
    {"42N00", "syntax error or access rule violation - graph reference not found"},
    {"42N02", "syntax error or access rule violation - writing in read access mode"},
    {"42N08", "syntax error or access rule violation - no such procedure"},
    {"42N09", "syntax error or access rule violation - invalid statement"},
    {"42N17", "syntax error or access rule violation - unsupported request"},
    {"42N21", "syntax error or access rule violation - expression in WITH must be aliased"},
    {"42N31", "syntax error or access rule violation - number out of range"},
    {"42N38", "syntax error or access rule violation - duplicate return item name"},
    {"42N39", "syntax error or access rule violation - incompatible return columns"},
    {"42N45", "syntax error or access rule violation - unexpected end of input"},
    {"42N48", "syntax error or access rule violation - no such function"},
    {"42N50", "syntax error or access rule violation - no such procedure output"},
    {"42N59", "syntax error or access rule violation - variable already defined"},
    {"42N62", "syntax error or access rule violation - variable not defined"},
    {"42N81", "syntax error or access rule violation - missing request parameter"},
    {"42NFD",
     "syntax error or access rule violation - permission/access denied. Credentials expired"},
    {"42NFF", "syntax error or access rule violation - permission/access denied"},
    {"50N00", "general processing exception - internal error"},
    {"50N05", "general processing exception - deadlock detected"},
    {"50N07", "general processing exception - execution failed"},
    {"50N10", "general processing exception - index drop failed"},
    {"50N11", "general processing exception - constraint creation failed"},
    {"50N12", "general processing exception - constraint drop failed"},
    {"50N42",
     "general processing exception - unexpected error. Unexpected error has occurred. See debug "
     "log for details."},
    {"51N00", "system configuration or operation exception - unsupported operation"},
    {"51N27", "system configuration or operation exception - not supported in this edition"},
    {"51N28", "system configuration or operation exception - not supported by this database"},
    {"51N29", "system configuration or operation exception - not supported by this server"},
    {"51N30", "system configuration or operation exception - not supported in this edition"},
    {"51N66", "system configuration or operation exception - resource exhaustion"},
    {"52N37", "procedure exception - procedure execution failed"},
    {"52U00", "procedure exception - custom procedure execution error"},
    {"G1001", "dependent object error - edges still exist"},
};
static_assert(std::ranges::is_sorted(kStatuses, {}, &Status::status));

std::string describe(std::string_view status) {
    return std::string{gql_description(status)};
}

/// The causes "a>b>c", outermost first.
std::shared_ptr<const Failure> make_cause(std::string_view chain, const Failure& outer) {
    if (chain.empty()) {
        return nullptr;
    }
    const std::size_t arrow = chain.find('>');
    auto cause = std::make_shared<Failure>();
    cause->gql_status = chain.substr(0, arrow);
    cause->description = describe(cause->gql_status);
    cause->message = cause->gql_status + ": " + outer.message;
    cause->classification = outer.classification;
    cause->position = outer.position;
    if (arrow != std::string_view::npos) {
        cause->cause = make_cause(chain.substr(arrow + 1), outer);
    }
    return cause;
}

}  // namespace

std::string_view gql_description(std::string_view gql_status) noexcept {
    // "error: " is part of every text; the full texts are made once.
    static const auto kTexts = [] {
        std::array<std::string, std::size(kStatuses)> texts;
        for (std::size_t i = 0; i < texts.size(); ++i) {
            texts[i] = "error: " + std::string{kStatuses[i].condition};
        }
        return texts;
    }();
    const auto* found = std::ranges::lower_bound(kStatuses, gql_status, {}, &Status::status);
    if (found == std::end(kStatuses) || found->status != gql_status) {
        found = std::ranges::lower_bound(kStatuses, std::string_view{"50N42"}, {}, &Status::status);
    }
    return kTexts[static_cast<std::size_t>(found - std::begin(kStatuses))];
}

bool is_retried(ErrorCode code) noexcept {
    const std::string_view status = kRows[static_cast<std::size_t>(code)].neo4j;
    return status.starts_with("Neo.TransientError.") || status == "Neo.ClientError.Cluster.NotALeader" ||
           status == "Neo.ClientError.General.ForbiddenOnReadOnlyDatabase";
}

std::optional<ErrorCode> error_code_of(std::string_view neo4j_code) noexcept {
    // Where several share a status code the last is the most general one: "database unavailable" after "stopping".
    for (auto row = std::rbegin(kRows); row != std::rend(kRows); ++row) {
        if (row->neo4j == neo4j_code) {
            return row->code;
        }
    }
    return std::nullopt;
}

Failure to_failure(const Error& error) {
    const Row& row = kRows[static_cast<std::size_t>(error.code())];
    Failure out;
    out.code = row.neo4j;
    out.message = error.message().empty() ? std::string{row.text} : error.message();
    out.classification = row.neo4j.starts_with("Neo.ClientError")      ? "CLIENT_ERROR"
                         : row.neo4j.starts_with("Neo.TransientError") ? "TRANSIENT_ERROR"
                                                                       : "DATABASE_ERROR";
    out.position = error.position();
    const std::string_view chain = error.gql().empty() ? row.gql : std::string_view{error.gql()};
    const std::size_t arrow = chain.find('>');
    out.gql_status = chain.substr(0, arrow);
    out.description = describe(out.gql_status);
    if (arrow != std::string_view::npos) {
        out.cause = make_cause(chain.substr(arrow + 1), out);
    }
    return out;
}

bool UpdateCounters::contains_updates() const noexcept {
    return !(*this == UpdateCounters{});
}

UpdateCounters& UpdateCounters::operator+=(const UpdateCounters& other) noexcept {
    nodes_created += other.nodes_created;
    nodes_deleted += other.nodes_deleted;
    relationships_created += other.relationships_created;
    relationships_deleted += other.relationships_deleted;
    properties_set += other.properties_set;
    labels_added += other.labels_added;
    labels_removed += other.labels_removed;
    indexes_added += other.indexes_added;
    indexes_removed += other.indexes_removed;
    constraints_added += other.constraints_added;
    constraints_removed += other.constraints_removed;
    system_updates += other.system_updates;
    return *this;
}

}  // namespace nornic
