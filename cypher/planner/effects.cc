#include "cypher/planner/effects.h"

#include "cypher/planner/ast_walk.h"

#include <algorithm>

namespace nornic::cypher {
namespace {

void read_expr(const Expr& expr, Effects& out);

/// Names that must all be there; false if the expression says less or more than that.
bool plain_names(const LabelExpr& l, std::set<std::string>& out) {
    switch (l.kind) {
        case LabelExpr::Kind::kName:
            out.insert(l.name);
            return true;
        case LabelExpr::Kind::kAnd:
        case LabelExpr::Kind::kOr: {
            bool plain = true;
            for (const LabelExpr& c : l.children) {
                plain = plain_names(c, out) && plain;
            }
            return plain;
        }
        case LabelExpr::Kind::kNot:
            for (const LabelExpr& c : l.children) {
                plain_names(c, out);
            }
            return false;
        case LabelExpr::Kind::kWildcard:
            return false;
    }
    return false;
}

void read_map_keys(const ExprPtr& properties, Effects& out) {
    if (properties && properties->kind == ExprKind::kMap) {
        for (const auto& [k, v] : static_cast<const MapLiteral&>(*properties).entries) {
            out.keys.insert(k);
        }
    } else if (properties) {
        out.any_key = true;
    }
}

void read_pattern(const PathPattern& pattern, Effects& out) {
    for (const NodePattern& n : pattern.nodes) {
        if (n.labels) {
            if (!plain_names(*n.labels, out.labels)) {
                out.all_nodes = true;
            }
        } else if (!n.bound_before) {
            out.all_nodes = true;
        }
        read_map_keys(n.properties, out);
    }
    for (const RelPattern& r : pattern.relationships) {
        if (!r.types || !plain_names(*r.types, out.types)) {
            out.any_type = true;
        }
        read_map_keys(r.properties, out);
    }
    for_each_expr(pattern, [&](const Expr& e) { read_expr(e, out); });
}

bool is_name(std::string_view a, std::string_view lower) {
    return std::ranges::equal(
        a, lower, [](char x, char y) { return std::tolower(static_cast<unsigned char>(x)) == y; });
}

void read_expr(const Expr& expr, Effects& out) {
    switch (expr.kind) {
        case ExprKind::kProperty:
            out.keys.insert(static_cast<const Property&>(expr).key);
            break;
        case ExprKind::kIndex:
            if (static_cast<const IndexAccess&>(expr).index->kind != ExprKind::kLiteral) {
                out.any_key = true;
            } else if (const Value& v =
                           static_cast<const Literal&>(*static_cast<const IndexAccess&>(expr).index)
                               .value;
                       v.is_string()) {
                out.keys.insert(std::string{v.as_string()});
            }
            break;
        case ExprKind::kLabelCheck:
            if (!plain_names(static_cast<const LabelCheck&>(expr).labels, out.labels)) {
                out.any_label = true;
            }
            break;
        case ExprKind::kFunction: {
            const std::string& name = static_cast<const FunctionCall&>(expr).name;
            if (is_name(name, "properties") || is_name(name, "keys")) {
                out.any_key = true;
            } else if (is_name(name, "labels")) {
                out.any_label = true;
            }
            break;
        }
        case ExprKind::kMapProjection:
            for (const MapProjection::Item& i : static_cast<const MapProjection&>(expr).items) {
                if (i.kind == MapProjection::Item::Kind::kAllProperties) {
                    out.any_key = true;
                } else if (i.kind == MapProjection::Item::Kind::kProperty) {
                    out.keys.insert(i.key);
                }
            }
            break;
        case ExprKind::kPatternComprehension:
            read_pattern(static_cast<const PatternComprehension&>(expr).pattern, out);
            break;
        case ExprKind::kPatternPredicate:
            read_pattern(static_cast<const PatternPredicate&>(expr).pattern, out);
            break;
        case ExprKind::kShortestPath:
            read_pattern(static_cast<const ShortestPathExpr&>(expr).pattern, out);
            break;
        case ExprKind::kSubquery:
            out.add(effects_of(*static_cast<const SubqueryExpr&>(expr).query));
            break;
        default:
            break;
    }
    for_each_child(expr, [&](const Expr& e) { read_expr(e, out); });
}

void write_pattern(const PathPattern& pattern, Effects& out) {
    for (const NodePattern& n : pattern.nodes) {
        if (n.bound_before) {
            continue;
        }
        out.creates_nodes = true;
        if (n.labels) {
            plain_names(*n.labels, out.created_labels);
        } else {
            out.creates_bare_nodes = true;
        }
    }
    for (const RelPattern& r : pattern.relationships) {
        if (r.types) {
            plain_names(*r.types, out.created_types);
        }
    }
}

void write_sets(const std::vector<SetItem>& items, Effects& out) {
    for (const SetItem& item : items) {
        switch (item.kind) {
            case SetItem::Kind::kProperty:
                out.changed_keys.insert(item.key);
                break;
            case SetItem::Kind::kReplaceProperties:
            case SetItem::Kind::kMergeProperties:
                if (item.kind == SetItem::Kind::kMergeProperties &&
                    item.value->kind == ExprKind::kMap) {
                    for (const auto& [k, v] : static_cast<const MapLiteral&>(*item.value).entries) {
                        out.changed_keys.insert(k);
                    }
                } else {
                    out.changes_any_key = true;
                }
                break;
            case SetItem::Kind::kDynamicProperty:
                out.changes_any_key = true;
                break;
            case SetItem::Kind::kLabels:
                out.changed_labels.insert(item.labels.begin(), item.labels.end());
                break;
        }
    }
}

}  // namespace

void Effects::add(const Effects& o) {
    all_nodes |= o.all_nodes;
    any_label |= o.any_label;
    any_type |= o.any_type;
    any_key |= o.any_key;
    creates_nodes |= o.creates_nodes;
    creates_bare_nodes |= o.creates_bare_nodes;
    changes_any_key |= o.changes_any_key;
    deletes |= o.deletes;
    opaque_write |= o.opaque_write;
    labels.insert(o.labels.begin(), o.labels.end());
    types.insert(o.types.begin(), o.types.end());
    keys.insert(o.keys.begin(), o.keys.end());
    created_labels.insert(o.created_labels.begin(), o.created_labels.end());
    changed_labels.insert(o.changed_labels.begin(), o.changed_labels.end());
    created_types.insert(o.created_types.begin(), o.created_types.end());
    changed_keys.insert(o.changed_keys.begin(), o.changed_keys.end());
}

Effects effects_of(const Query& query) {
    Effects out;
    for (const SingleQuery& part : query.parts) {
        for (const Clause& clause : part.clauses) {
            out.add(effects_of(clause));
        }
    }
    return out;
}

Effects effects_of(const Clause& clause) {
    Effects out;
    for_each_expr(clause, [&](const Expr& e) { read_expr(e, out); });
    if (const auto* m = std::get_if<MatchClause>(&clause.body)) {
        for (const PathPattern& p : m->patterns) {
            read_pattern(p, out);
        }
    } else if (const auto* c = std::get_if<CreateClause>(&clause.body)) {
        for (const PathPattern& p : c->patterns) {
            write_pattern(p, out);
        }
    } else if (const auto* g = std::get_if<MergeClause>(&clause.body)) {
        read_pattern(g->pattern, out);
        write_pattern(g->pattern, out);
        write_sets(g->on_create, out);
        write_sets(g->on_match, out);
    } else if (const auto* s = std::get_if<SetClause>(&clause.body)) {
        write_sets(s->items, out);
    } else if (const auto* r = std::get_if<RemoveClause>(&clause.body)) {
        for (const RemoveItem& item : r->items) {
            if (item.kind == RemoveItem::Kind::kProperty) {
                out.changed_keys.insert(item.key);
            } else if (item.kind == RemoveItem::Kind::kLabels) {
                out.changed_labels.insert(item.labels.begin(), item.labels.end());
            } else {
                out.changes_any_key = true;
            }
        }
    } else if (std::holds_alternative<DeleteClause>(clause.body)) {
        out.deletes = true;
    } else if (const auto* q = std::get_if<SubqueryClause>(&clause.body)) {
        out.add(effects_of(*q->query));
    } else if (const auto* f = std::get_if<ForeachClause>(&clause.body)) {
        for (const Clause& u : f->updates) {
            out.add(effects_of(u));
        }
    }
    return out;
}

bool conflict(const Effects& r, const Effects& w) {
    const auto overlap = [](const std::set<std::string>& a, const std::set<std::string>& b) {
        return std::ranges::any_of(a, [&](const std::string& s) { return b.contains(s); });
    };
    if ((w.deletes || w.opaque_write) && r.reads()) {
        return true;
    }
    if (w.creates_nodes && r.all_nodes) {
        return true;
    }
    if (overlap(r.labels, w.created_labels) || overlap(r.labels, w.changed_labels) ||
        (r.any_label && !w.changed_labels.empty())) {
        return true;
    }
    if ((r.any_type && !w.created_types.empty()) || overlap(r.types, w.created_types)) {
        return true;
    }
    if (r.any_key && (w.changes_any_key || !w.changed_keys.empty())) {
        return true;
    }
    return (w.changes_any_key && !r.keys.empty()) || overlap(r.keys, w.changed_keys);
}

}  // namespace nornic::cypher
