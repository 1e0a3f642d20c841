// Warnings about names that the database does not have: often a misspelling.

#include "cypher/ast/walk.h"
#include "cypher/semantics/semantics.h"
#include "engine/tokens.h"

#include <fmt/format.h>

#include <set>

namespace nornic::cypher {
namespace {

class Warner {
public:
    explicit Warner(const engine::Tokens& tokens) : tokens_{tokens} {}
    std::vector<Notification> take() { return std::move(out_); }

    void query(const Query& q) {
        for (const auto& part : q.parts) {
            for (const auto& clause : part.clauses) {
                visit(clause);
            }
        }
    }

private:
    enum class What : std::uint8_t { kLabel, kType, kProperty };

    void warn(What what, const std::string& name, SourcePosition where) {
        const auto kind = what == What::kLabel  ? engine::TokenKind::kLabel
                          : what == What::kType ? engine::TokenKind::kRelationshipType
                                                : engine::TokenKind::kPropertyKey;
        if (tokens_.find(kind, name) || !said_.emplace(what, name).second) {
            return;
        }
        const auto text = [&](std::string_view thing, std::string_view the_missing) {
            return fmt::format(
                "One of the {} in your query is not available in the database, make sure you "
                "didn't misspell it or that the label is available when you run "
                "this statement in your application (the missing {} is: {})",
                thing,
                the_missing,
                name);
        };
        switch (what) {
            case What::kLabel:
                add("Neo.ClientNotification.Statement.UnknownLabelWarning",
                    "01N50",
                    "The provided label is not in the database.",
                    text("labels", "label name"),
                    fmt::format("warn: label does not exist. The label `{}` does not exist. Verify "
                                "that the spelling is correct.",
                                name),
                    where);
                return;
            case What::kType:
                add("Neo.ClientNotification.Statement.UnknownRelationshipTypeWarning",
                    "01N51",
                    "The provided relationship type is not in the database.",
                    text("relationship types", "relationship type"),
                    fmt::format("warn: relationship type does not exist. The relationship type "
                                "`{}` does not exist. Verify that the spelling is correct.",
                                name),
                    where);
                return;
            case What::kProperty:
                add("Neo.ClientNotification.Statement.UnknownPropertyKeyWarning",
                    "01N52",
                    "The provided property key is not in the database",
                    text("property names", "property name"),
                    fmt::format("warn: property key does not exist. The property `{}` does not "
                                "exist. Verify that the spelling is correct.",
                                name),
                    where);
                return;
        }
    }
    void add(std::string code,
             std::string gql,
             std::string title,
             std::string description,
             std::string status,
             SourcePosition where) {
        out_.push_back(Notification{std::move(code),
                                    std::move(gql),
                                    std::move(title),
                                    std::move(description),
                                    std::move(status),
                                    "WARNING",
                                    "UNRECOGNIZED",
                                    where});
    }

    void labels(const LabelExpr& l, What what) {
        if (l.kind == LabelExpr::Kind::kName) {
            warn(what, l.name, l.position);
        }
        for (const auto& child : l.children) {
            labels(child, what);
        }
    }
    void pattern(const PathPattern& p) {
        for (std::size_t i = 0; i < p.nodes.size(); ++i) {
            const auto& n = p.nodes[i];
            if (n.labels) {
                labels(*n.labels, What::kLabel);
            }
            properties(n.properties);
            expression(n.where);
            if (i < p.relationships.size()) {
                const auto& r = p.relationships[i];
                if (r.types) {
                    labels(*r.types, What::kType);
                }
                properties(r.properties);
                expression(r.where);
            }
        }
    }
    void properties(const ExprPtr& map) {
        if (map && map->kind == ExprKind::kMap) {
            for (const auto& [key, value] : static_cast<const MapLiteral&>(*map).entries) {
                warn(What::kProperty, key, map->position);
                visit(*value);
            }
        }
    }
    void expression(const ExprPtr& e) {
        if (e) {
            visit(*e);
        }
    }
    void visit(const Expr& e) {
        switch (e.kind) {
            case ExprKind::kProperty: {
                const auto& p = static_cast<const Property&>(e);
                // Of maps and temporal values nothing is known here; a variable is most often an
                // entity.
                if (p.base->kind == ExprKind::kVariable &&
                    entities_.contains(static_cast<const Variable&>(*p.base).symbol)) {
                    warn(What::kProperty, p.key, e.position);
                }
                break;
            }
            case ExprKind::kLabelCheck: {
                const auto& check = static_cast<const LabelCheck&>(e);
                const bool relationship =
                    check.base->kind == ExprKind::kVariable &&
                    relationships_.contains(static_cast<const Variable&>(*check.base).symbol);
                labels(check.labels, relationship ? What::kType : What::kLabel);
                break;
            }
            case ExprKind::kPatternPredicate:
                pattern(static_cast<const PatternPredicate&>(e).pattern);
                return;
            case ExprKind::kPatternComprehension:
                pattern(static_cast<const PatternComprehension&>(e).pattern);
                break;
            case ExprKind::kShortestPath:
                pattern(static_cast<const ShortestPathExpr&>(e).pattern);
                return;
            case ExprKind::kSubquery:
                query(*static_cast<const SubqueryExpr&>(e).query);
                return;
            default:
                break;
        }
        for_each_child(e, [&](const Expr& child) { visit(child); });
    }
    void projection(const Projection& p) {
        for (const auto& item : p.items) {
            expression(item.expression);
        }
        for (const auto& sort : p.order_by) {
            expression(sort.expression);
        }
    }
    void visit(const Clause& clause) {
        if (const auto* m = std::get_if<MatchClause>(&clause.body)) {
            for (const auto& p : m->patterns) {
                for (const auto& n : p.nodes) {
                    entities_.insert(n.symbol);
                }
                for (const auto& r : p.relationships) {
                    entities_.insert(r.symbol);
                    relationships_.insert(r.symbol);
                }
            }
            for (const auto& p : m->patterns) {
                pattern(p);
            }
            expression(m->where);
        } else if (const auto* w = std::get_if<WithClause>(&clause.body)) {
            projection(w->projection);
            expression(w->where);
        } else if (const auto* r = std::get_if<ReturnClause>(&clause.body)) {
            projection(r->projection);
        } else if (const auto* u = std::get_if<UnwindClause>(&clause.body)) {
            expression(u->list);
        } else if (const auto* s = std::get_if<SubqueryClause>(&clause.body)) {
            query(*s->query);
        }
        // Updates create the names they use.
    }

    const engine::Tokens& tokens_;
    std::vector<Notification> out_;
    std::set<std::pair<What, std::string>> said_;
    std::set<Symbol> entities_;
    std::set<Symbol> relationships_;
};

}  // namespace

std::vector<Notification> token_warnings(const Statement& statement, const engine::Tokens& tokens) {
    const auto* query = std::get_if<Query>(&statement.body);
    if (query == nullptr) {
        return {};
    }
    Warner warner{tokens};
    warner.query(*query);
    return warner.take();
}

}  // namespace nornic::cypher
