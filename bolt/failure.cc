#include "bolt/failure.h"

namespace nornic::bolt {

namespace {

constexpr std::string_view kUnclassified = "50N42";
// Chains are two or three links long; a longer one would be a bug upstream.
constexpr int kCausesMax = 8;

void pack_gql(Packer& out, const Failure& failure, int depth, bool retry_is_safe) {
    // Neo4j says nothing more about the general status: no record, no cause.
    const bool specific = failure.gql_status != kUnclassified;
    const bool record =
        (depth == 0 && retry_is_safe) || (specific && !failure.classification.empty());
    const bool cause = specific && failure.cause != nullptr && depth < kCausesMax;
    out.map((depth == 0 ? 4 : 3) + (record ? 1 : 0) + (cause ? 1 : 0));
    if (depth == 0) {
        out.string("neo4j_code");
        out.string(failure.code);
    }
    out.string("message");
    out.string(failure.message);
    out.string("gql_status");
    out.string(failure.gql_status);
    out.string("description");
    out.string(failure.description);
    if (record) {
        const bool retry = depth == 0 && retry_is_safe;
        const bool position = failure.position.has_value();
        out.string("diagnostic_record");
        out.map(1 + (position ? 1 : 0) + (retry ? 1 : 0));
        out.string("_classification");
        out.string(failure.classification);
        if (position) {
            out.string("_position");
            out.map(3);
            out.string("offset");
            out.integer(failure.position->offset);
            out.string("column");
            out.integer(failure.position->column);
            out.string("line");
            out.integer(failure.position->line);
        }
        if (retry) {
            out.string("_idempotent");
            out.boolean(true);
        }
    }
    if (cause) {
        out.string("cause");
        pack_gql(out, *failure.cause, depth + 1, false);
    }
}

}  // namespace

void pack_failure(Packer& out, const Dialect& dialect, const Failure& failure, bool retry_is_safe) {
    if (dialect.has_gql_errors()) {
        pack_gql(out, failure, 0, retry_is_safe);
        return;
    }
    out.map(2);
    out.string("code");
    out.string(failure.code);
    out.string("message");
    out.string(failure.message);
}

}  // namespace nornic::bolt
