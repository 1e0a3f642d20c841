// Queries: clauses, in the order of the text, joined by UNION.

#include "cypher/parser/parser_impl.h"

namespace nornic::cypher {

Query Parser::parse_query() {
    const Nest nest{*this};
    const bool bar = std::exchange(bar_ends_, false);
    Query q;
    q.parts.push_back(parse_single_query());
    bool first = true;
    while (at(Keyword::kUnion)) {
        const auto where = position();
        ++i_;
        const bool all = accept(Keyword::kAll);
        if (!all) {
            accept(Keyword::kDistinct);
        }
        if (!first && all != q.union_all) {
            fail_at(where, "Invalid combination of UNION and UNION ALL", "42001>42I40");
        }
        q.union_all = all;
        first = false;
        q.parts.push_back(parse_single_query());
    }
    bar_ends_ = bar;
    return q;
}

SingleQuery Parser::parse_single_query() {
    SingleQuery q;
    while (parse_clause(q)) {
    }
    if (q.clauses.empty()) {
        invalid_input();
    }
    if (q.clauses.size() == 1) {
        if (auto* call = std::get_if<CallClause>(&q.clauses[0].body)) {
            call->standalone = true;
        }
    }
    return q;
}

void Parser::note_clauses() {
    if (!recording_ || i_ != record_at_) {
        return;
    }
    for (const auto word : {"CALL",
                            "CREATE",
                            "DELETE",
                            "DETACH",
                            "FINISH",
                            "FOREACH",
                            "INSERT",
                            "LOAD CSV",
                            "MATCH",
                            "MERGE",
                            "NODETACH",
                            "OPTIONAL",
                            "REMOVE",
                            "RETURN",
                            "SET",
                            "UNWIND",
                            "USE",
                            "WITH"}) {
        note_keyword(word);
    }
}

bool Parser::parse_clause(SingleQuery& into) {
    const auto where = position();
    const auto add = [&](ClauseBody body) {
        into.clauses.push_back(Clause{where, std::move(body)});
        return true;
    };
    const auto is_subquery = [&](std::size_t n) {
        return ahead(n).kind == TokenKind::kLeftBrace || ahead(n).kind == TokenKind::kLeftParen;
    };
    switch (current().keyword) {
        case Keyword::kMatch:
            ++i_;
            return add(parse_match(false));
        case Keyword::kOptional: {
            ++i_;
            if (accept(Keyword::kMatch)) {
                return add(parse_match(true));
            }
            expect(Keyword::kCall);
            if (is_subquery(0)) {
                auto c = parse_call_subquery();
                c.optional = true;
                return add(std::move(c));
            }
            auto c = parse_procedure_call();
            c.optional = true;
            return add(std::move(c));
        }
        case Keyword::kUnwind: {
            ++i_;
            UnwindClause c;
            c.list = parse_expression();
            expect(Keyword::kAs);
            c.variable = expect_name("a variable name");
            return add(std::move(c));
        }
        case Keyword::kWith: {
            ++i_;
            WithClause c;
            c.projection = parse_projection();
            if (accept(Keyword::kWhere)) {
                c.where = parse_expression();
            }
            return add(std::move(c));
        }
        case Keyword::kReturn:
            ++i_;
            return add(ReturnClause{parse_projection()});
        case Keyword::kFinish:
            ++i_;
            return add(FinishClause{});
        case Keyword::kCreate:
        case Keyword::kInsert:
            ++i_;
            return add(CreateClause{parse_pattern_list()});
        case Keyword::kSet:
            ++i_;
            return add(SetClause{parse_set_items()});
        case Keyword::kRemove: {
            ++i_;
            RemoveClause c;
            do {
                c.items.push_back(parse_remove_item());
            } while (accept(TokenKind::kComma));
            return add(std::move(c));
        }
        case Keyword::kDetach:
        case Keyword::kNodetach:
        case Keyword::kDelete: {
            DeleteClause c;
            c.detach = current().keyword == Keyword::kDetach;
            if (current().keyword != Keyword::kDelete) {
                ++i_;
            }
            expect(Keyword::kDelete);
            do {
                c.expressions.push_back(parse_expression());
            } while (accept(TokenKind::kComma));
            return add(std::move(c));
        }
        case Keyword::kMerge:
            ++i_;
            return add(parse_merge());
        case Keyword::kCall:
            ++i_;
            if (is_subquery(0)) {
                return add(parse_call_subquery());
            }
            return add(parse_procedure_call());
        case Keyword::kForeach:
            ++i_;
            return add(parse_foreach());
        case Keyword::kLoad:
            ++i_;
            return add(parse_load_csv());
        case Keyword::kUse:
            return add(UseClause{parse_use()});
        default:
            note_clauses();
            return false;
    }
}

MatchClause Parser::parse_match(bool optional) {
    MatchClause c;
    c.optional = optional;
    c.patterns = parse_pattern_list();
    while (accept(Keyword::kUsing)) {
        c.hints.push_back(parse_hint());
    }
    if (accept(Keyword::kWhere)) {
        c.where = parse_expression();
    }
    return c;
}

UsingHint Parser::parse_hint() {
    UsingHint h;
    h.position = position();
    if (accept(Keyword::kJoin)) {
        h.kind = UsingHint::Kind::kJoin;
        expect(Keyword::kOn);
        h.variable = expect_name("a variable name");
        while (accept(TokenKind::kComma)) {
            h.properties.push_back(expect_name("a variable name"));
        }
        return h;
    }
    if (accept(Keyword::kScan)) {
        h.kind = UsingHint::Kind::kScan;
        h.variable = expect_name("a variable name");
        expect(TokenKind::kColon);
        h.label = expect_name();
        return h;
    }
    for (const std::string_view type : {"RANGE", "TEXT", "POINT", "BTREE"}) {
        if (accept_word(type)) {
            break;
        }
    }
    expect_word("INDEX");
    if (next_word_is(0, "SEEK") && is_name(ahead(1))) {
        ++i_;
    }
    h.variable = expect_name("a variable name");
    expect(TokenKind::kColon);
    h.label = expect_name();
    expect(TokenKind::kLeftParen);
    do {
        h.properties.push_back(expect_name("a property key name"));
    } while (accept(TokenKind::kComma));
    expect(TokenKind::kRightParen);
    return h;
}

// ---- Projections ----

Projection Parser::parse_projection() {
    Projection p;
    if (at(Keyword::kDistinct) && ahead(1).kind != TokenKind::kComma &&
        ahead(1).kind != TokenKind::kEnd && ahead(1).kind != TokenKind::kDot &&
        ahead(1).keyword != Keyword::kAs) {
        ++i_;
        p.distinct = true;
    }
    bool more = true;
    if (accept(TokenKind::kStar)) {
        p.star = true;
        more = accept(TokenKind::kComma);
    }
    if (more) {
        do {
            p.items.push_back(parse_projection_item());
        } while (accept(TokenKind::kComma));
    }
    parse_projection_tail(p);
    return p;
}

void Parser::parse_projection_tail(Projection& p) {
    if (at(Keyword::kOrder)) {
        p.order_by = parse_order_by();
    }
    if (accept(Keyword::kSkip) || accept(Keyword::kOffset)) {
        p.skip = parse_expression();
    }
    if (accept(Keyword::kLimit)) {
        p.limit = parse_expression();
    }
}

ProjectionItem Parser::parse_projection_item() {
    ProjectionItem item;
    item.position = position();
    const std::size_t first = i_;
    item.expression = parse_expression();
    if (item.expression->kind == ExprKind::kVariable) {
        item.expression->text = static_cast<const Variable&>(*item.expression).name;
    } else {
        item.expression->text = source(first, i_);
    }
    if (accept(Keyword::kAs)) {
        item.position = position();
        item.alias = expect_name("a variable name");
        item.aliased = true;
    } else {
        item.alias = item.expression->text;
    }
    return item;
}

std::vector<SortItem> Parser::parse_order_by() {
    expect(Keyword::kOrder);
    expect(Keyword::kBy);
    std::vector<SortItem> out;
    do {
        SortItem item;
        const std::size_t first = i_;
        item.expression = parse_expression();
        item.expression->text = source(first, i_);
        if (accept(Keyword::kDesc) || accept(Keyword::kDescending)) {
            item.descending = true;
        } else if (!accept(Keyword::kAsc)) {
            accept(Keyword::kAscending);
        }
        out.push_back(std::move(item));
    } while (accept(TokenKind::kComma));
    return out;
}

// ---- Updates ----

std::vector<SetItem> Parser::parse_set_items() {
    std::vector<SetItem> out;
    do {
        out.push_back(parse_set_item());
    } while (accept(TokenKind::kComma));
    return out;
}

/// a.b or a[expression], of SET and REMOVE.
template <class Item>
void Parser::parse_changed_property(Item& item) {
    const std::size_t first = i_;
    ExprPtr target = parse_postfix(false);
    if (target->kind == ExprKind::kProperty) {
        auto& p = static_cast<Property&>(*target);
        item.target = std::move(p.base);
        item.key = std::move(p.key);
    } else if (target->kind == ExprKind::kIndex) {
        auto& p = static_cast<IndexAccess&>(*target);
        item.kind = Item::Kind::kDynamicProperty;
        item.target = std::move(p.base);
        item.dynamic_key = std::move(p.index);
    } else {
        if (target->kind != ExprKind::kVariable) {
            i_ = first;
        }
        invalid_input();
    }
}

SetItem Parser::parse_set_item() {
    SetItem item;
    item.position = position();
    if (is_name(current())) {
        const Token& next = ahead(1);
        const bool replace = next.kind == TokenKind::kEqual;
        const bool merge = next.kind == TokenKind::kPlusEqual;
        const bool labels = next.kind == TokenKind::kColon || next.keyword == Keyword::kIs;
        if (replace || merge || labels) {
            const auto where = position();
            item.target = std::make_unique<Variable>(where, expect_name());
            if (labels) {
                item.kind = SetItem::Kind::kLabels;
                item.labels = parse_label_names();
                return item;
            }
            ++i_;
            item.kind =
                replace ? SetItem::Kind::kReplaceProperties : SetItem::Kind::kMergeProperties;
            item.value = parse_expression();
            return item;
        }
    }
    parse_changed_property(item);
    expect(TokenKind::kEqual);
    item.value = parse_expression();
    return item;
}

RemoveItem Parser::parse_remove_item() {
    RemoveItem item;
    item.position = position();
    if (is_name(current()) &&
        (ahead(1).kind == TokenKind::kColon || ahead(1).keyword == Keyword::kIs)) {
        const auto where = position();
        item.target = std::make_unique<Variable>(where, expect_name());
        item.kind = RemoveItem::Kind::kLabels;
        item.labels = parse_label_names();
        return item;
    }
    parse_changed_property(item);
    return item;
}

MergeClause Parser::parse_merge() {
    MergeClause c;
    c.pattern = parse_path_pattern();
    while (accept(Keyword::kOn)) {
        const bool create = accept(Keyword::kCreate);
        if (!create) {
            expect(Keyword::kMatch);
        }
        expect(Keyword::kSet);
        auto items = parse_set_items();
        auto& into = create ? c.on_create : c.on_match;
        into.insert(into.end(),
                    std::make_move_iterator(items.begin()),
                    std::make_move_iterator(items.end()));
    }
    return c;
}

ForeachClause Parser::parse_foreach() {
    const Nest nest{*this};
    ForeachClause c;
    expect(TokenKind::kLeftParen);
    c.variable = expect_name("a variable name");
    expect(Keyword::kIn);
    const bool bar = std::exchange(bar_ends_, true);
    c.list = parse_expression();
    bar_ends_ = false;
    expect(TokenKind::kBar);
    SingleQuery updates;
    while (parse_clause(updates)) {
    }
    if (updates.clauses.empty()) {
        invalid_input();
    }
    c.updates = std::move(updates.clauses);
    bar_ends_ = bar;
    expect(TokenKind::kRightParen);
    return c;
}

LoadCsvClause Parser::parse_load_csv() {
    LoadCsvClause c;
    expect(Keyword::kCsv);
    if (accept(Keyword::kWith)) {
        expect(Keyword::kHeaders);
        c.with_headers = true;
    }
    expect(Keyword::kFrom);
    c.url = parse_expression();
    expect(Keyword::kAs);
    c.variable = expect_name("a variable name");
    if (accept(Keyword::kFieldTerminator)) {
        if (!at(TokenKind::kString)) {
            invalid_input();
        }
        const auto where = position();
        c.field_terminator = unescape_string(text_, current());
        ++i_;
        if (c.field_terminator.size() != 1) {
            fail_at(where, "CSV field terminator can only be one character wide", "42001>42I06");
        }
    }
    return c;
}

std::string Parser::parse_dotted_name() {
    std::string name = expect_name();
    while (current().kind == TokenKind::kDot) {
        ++i_;
        name += '.';
        name += expect_name();
    }
    return name;
}

std::string Parser::parse_use() {
    expect(Keyword::kUse);
    if (next_word_is(0, "GRAPH") && is_name(ahead(1)) && ahead(1).keyword == Keyword::kNoKeyword) {
        ++i_;
    }
    const auto where = position();
    std::string name = parse_dotted_name();
    if (current().kind == TokenKind::kLeftParen) {
        fail_at(where,
                fmt::format("USE {}(...) is not supported: a database's name is expected", name),
                "42001>42N14");
    }
    return name;
}

// ---- CALL ----

CallClause Parser::parse_procedure_call() {
    CallClause c;
    c.procedure = parse_dotted_name();
    if (accept(TokenKind::kLeftParen)) {
        c.arguments.emplace();
        if (!at(TokenKind::kRightParen)) {
            do {
                c.arguments->push_back(parse_expression());
            } while (accept(TokenKind::kComma));
        }
        expect(TokenKind::kRightParen);
    }
    if (accept(Keyword::kYield)) {
        c.has_yield = true;
        if (accept(TokenKind::kStar)) {
            c.yield_star = true;
        } else {
            c.yields = parse_yield_items();
            if (accept(Keyword::kWhere)) {
                c.where = parse_expression();
            }
        }
    }
    return c;
}

std::vector<YieldItem> Parser::parse_yield_items() {
    std::vector<YieldItem> out;
    do {
        YieldItem item;
        item.position = position();
        item.column = expect_name("a variable name");
        item.alias = item.column;
        if (accept(Keyword::kAs)) {
            item.position = position();
            item.alias = expect_name("a variable name");
        }
        out.push_back(std::move(item));
    } while (accept(TokenKind::kComma));
    return out;
}

SubqueryClause Parser::parse_call_subquery() {
    SubqueryClause c;
    if (accept(TokenKind::kLeftParen)) {
        if (accept(TokenKind::kStar)) {
            c.import_star = true;
            c.imports.emplace();
        } else {
            c.imports.emplace();
            if (!at(TokenKind::kRightParen)) {
                do {
                    c.imports->push_back(expect_name("a variable name"));
                } while (accept(TokenKind::kComma));
            }
        }
        expect(TokenKind::kRightParen);
    }
    expect(TokenKind::kLeftBrace);
    c.query = std::make_unique<Query>(parse_query());
    expect(TokenKind::kRightBrace);
    if (accept(Keyword::kIn)) {
        c.in_transactions = parse_in_transactions();
    }
    return c;
}

InTransactions Parser::parse_in_transactions() {
    InTransactions t;
    if (!at_word("TRANSACTIONS") && !at_word("TRANSACTION") && !at_word("CONCURRENT")) {
        t.concurrency = parse_postfix();
    }
    if (accept_word("CONCURRENT") && !t.concurrency) {
        t.concurrency = std::make_unique<Literal>(position(), Value{0});
    }
    if (!accept_word("TRANSACTIONS")) {
        expect_word("TRANSACTION");
    }
    while (true) {
        if (!t.batch_size && accept_word("OF")) {
            t.batch_size = parse_postfix();
            if (!accept_word("ROWS")) {
                expect_word("ROW");
            }
        } else if (at(Keyword::kOn) && next_word_is(1, "ERROR")) {
            i_ += 2;
            if (accept_word("CONTINUE")) {
                t.on_error = InTransactions::OnError::kContinue;
            } else if (accept_word("BREAK")) {
                t.on_error = InTransactions::OnError::kBreak;
            } else {
                expect_word("FAIL");
            }
        } else if (t.report_variable.empty() && accept_words({"REPORT", "STATUS"})) {
            expect(Keyword::kAs);
            t.report_variable = expect_name("a variable name");
        } else {
            return t;
        }
    }
}

}  // namespace nornic::cypher
