#include "cypher/ast/statement.h"

namespace nornic::cypher {

SubqueryExpr::SubqueryExpr(SourcePosition p, SubqueryKind k)
    : Expr{ExprKind::kSubquery, p}, subquery{k} {}
SubqueryExpr::~SubqueryExpr() = default;

SubqueryClause::SubqueryClause() = default;
SubqueryClause::~SubqueryClause() = default;
SubqueryClause::SubqueryClause(SubqueryClause&&) noexcept = default;
SubqueryClause& SubqueryClause::operator=(SubqueryClause&&) noexcept = default;

}  // namespace nornic::cypher
