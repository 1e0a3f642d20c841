// Expressions, lowest precedence first: OR, XOR, AND, NOT, comparisons, string, list and type
// predicates,
// + - ||, * / %, ^, unary + and -, then property, index and label access.

#include "cypher/parser/parser_impl.h"

#include <algorithm>
#include <limits>

namespace nornic::cypher {

ExprPtr Parser::binary(SourcePosition where, BinaryOp op, ExprPtr left, ExprPtr right) {
    const unsigned below = std::max(left->height, right->height);
    return set_height(std::make_unique<Binary>(where, op, std::move(left), std::move(right)),
                      below);
}

/// a AND b AND c … as a tree of logarithmic height: generated queries join thousands of them.
ExprPtr Parser::balanced(std::vector<ExprPtr>& operands,
                         const std::vector<SourcePosition>& at,
                         BinaryOp op,
                         std::size_t from,
                         std::size_t to) {
    if (to - from == 1) {
        return std::move(operands[from]);
    }
    const std::size_t middle = from + (to - from + 1) / 2;
    auto left = balanced(operands, at, op, from, middle);
    auto right = balanced(operands, at, op, middle, to);
    return binary(at[middle - 1], op, std::move(left), std::move(right));
}

ExprPtr Parser::parse_expression() {
    const Nest nest{*this};
    const unsigned outer = child_height_;
    if (recording_ && i_ == record_at_) {
        note("an expression");
        muted_at_ = i_;
    }
    child_height_ = 0;
    ExprPtr e = parse_or();
    muted_at_ = kNowhere;
    child_height_ = std::max<unsigned>(outer, e->height);
    return e;
}

ExprPtr Parser::parse_or() {
    ExprPtr first = parse_xor();
    if (!at(Keyword::kOr)) {
        return first;
    }
    std::vector<ExprPtr> operands;
    std::vector<SourcePosition> where;
    operands.push_back(std::move(first));
    while (at(Keyword::kOr)) {
        where.push_back(position());
        ++i_;
        operands.push_back(parse_xor());
    }
    return balanced(operands, where, BinaryOp::kOr, 0, operands.size());
}

ExprPtr Parser::parse_xor() {
    ExprPtr left = parse_and();
    while (at(Keyword::kXor)) {
        const auto where = position();
        ++i_;
        left = binary(where, BinaryOp::kXor, std::move(left), parse_and());
    }
    return left;
}

ExprPtr Parser::parse_and() {
    ExprPtr first = parse_not();
    if (!at(Keyword::kAnd)) {
        return first;
    }
    std::vector<ExprPtr> operands;
    std::vector<SourcePosition> where;
    operands.push_back(std::move(first));
    while (at(Keyword::kAnd)) {
        where.push_back(position());
        ++i_;
        operands.push_back(parse_not());
    }
    return balanced(operands, where, BinaryOp::kAnd, 0, operands.size());
}

ExprPtr Parser::parse_not() {
    std::vector<SourcePosition> nots;
    while (current().keyword == Keyword::kNot) {
        nots.push_back(position());
        ++i_;
    }
    ExprPtr e = parse_comparison();
    while (!nots.empty()) {
        const unsigned below = e->height;
        e = set_height(std::make_unique<Unary>(nots.back(), UnaryOp::kNot, std::move(e)), below);
        nots.pop_back();
    }
    return e;
}

namespace {
bool comparison_of(TokenKind kind, BinaryOp& op) {
    switch (kind) {
        case TokenKind::kEqual:
            op = BinaryOp::kEqual;
            return true;
        case TokenKind::kNotEqual:
            op = BinaryOp::kNotEqual;
            return true;
        case TokenKind::kLess:
            op = BinaryOp::kLess;
            return true;
        case TokenKind::kLessEqual:
            op = BinaryOp::kLessEqual;
            return true;
        case TokenKind::kGreater:
            op = BinaryOp::kGreater;
            return true;
        case TokenKind::kGreaterEqual:
            op = BinaryOp::kGreaterEqual;
            return true;
        default:
            return false;
    }
}
}  // namespace

ExprPtr Parser::parse_comparison() {
    ExprPtr left = parse_predicate();
    BinaryOp op{};
    if (recording_) {
        for (const auto k : {TokenKind::kEqual,
                             TokenKind::kNotEqual,
                             TokenKind::kLess,
                             TokenKind::kLessEqual,
                             TokenKind::kGreater,
                             TokenKind::kGreaterEqual}) {
            at(k);
        }
    }
    if (!comparison_of(current().kind, op)) {
        return left;
    }
    std::vector<ExprPtr> links;
    std::vector<SourcePosition> where;
    while (comparison_of(current().kind, op)) {
        const auto here = position();
        ++i_;
        ExprPtr right = parse_predicate();
        BinaryOp next{};
        ExprPtr shared = comparison_of(current().kind, next) ? bounded_clone(*right) : nullptr;
        links.push_back(binary(here, op, std::move(left), std::move(right)));
        where.push_back(here);
        left = std::move(shared);
    }
    return balanced(links, where, BinaryOp::kAnd, 0, links.size());
}

ExprPtr Parser::parse_predicate() {
    ExprPtr left = parse_additive();
    bool matched = true;
    while (matched) {
        left = parse_predicate_tail(std::move(left), matched);
    }
    return left;
}

ExprPtr Parser::parse_predicate_tail(ExprPtr left, bool& matched) {
    const auto where = position();
    const auto with = [&](BinaryOp op) {
        return binary(where, op, std::move(left), parse_additive());
    };
    if (recording_) {
        at(TokenKind::kRegexEqual);
        at(TokenKind::kDoubleColon);
        for (const auto k :
             {Keyword::kIn, Keyword::kStarts, Keyword::kEnds, Keyword::kContains, Keyword::kIs}) {
            at(k);
        }
    }
    if (current().kind == TokenKind::kRegexEqual) {
        ++i_;
        return with(BinaryOp::kRegex);
    }
    const unsigned below = left->height;
    if (current().kind == TokenKind::kDoubleColon) {
        ++i_;
        return set_height(std::make_unique<TypeCheck>(where, std::move(left), parse_type(), false),
                          below);
    }
    switch (current().keyword) {
        case Keyword::kIn:
            ++i_;
            return with(BinaryOp::kIn);
        case Keyword::kContains:
            ++i_;
            return with(BinaryOp::kContains);
        case Keyword::kStarts:
            ++i_;
            expect(Keyword::kWith);
            return with(BinaryOp::kStartsWith);
        case Keyword::kEnds:
            ++i_;
            expect(Keyword::kWith);
            return with(BinaryOp::kEndsWith);
        case Keyword::kIs: {
            ++i_;
            const bool negated = accept(Keyword::kNot);
            if (accept(Keyword::kNull)) {
                return set_height(std::make_unique<IsNull>(where, std::move(left), negated), below);
            }
            if (accept(TokenKind::kDoubleColon) || accept(Keyword::kTyped)) {
                return set_height(
                    std::make_unique<TypeCheck>(where, std::move(left), parse_type(), negated),
                    below);
            }
            std::string form = "NFC";
            for (const std::string_view f : {"NFC", "NFD", "NFKC", "NFKD"}) {
                if (accept_word(f)) {
                    form = f;
                    break;
                }
            }
            if (accept(Keyword::kNormalized)) {
                return set_height(
                    std::make_unique<NormalizedCheck>(where, std::move(left), form, negated),
                    below);
            }
            if (negated) {
                invalid_input();
            }
            return set_height(
                std::make_unique<LabelCheck>(where, std::move(left), parse_label_or()), below);
        }
        default:
            matched = false;
            return left;
    }
}

ExprPtr Parser::parse_additive() {
    ExprPtr left = parse_multiplicative();
    while (true) {
        const auto where = position();
        BinaryOp op{};
        if (at(TokenKind::kPlus)) {
            op = BinaryOp::kAdd;
        } else if (at(TokenKind::kMinus)) {
            op = BinaryOp::kSubtract;
        } else if (at(TokenKind::kDoubleBar)) {
            op = BinaryOp::kConcat;
        } else {
            return left;
        }
        ++i_;
        left = binary(where, op, std::move(left), parse_multiplicative());
    }
}

ExprPtr Parser::parse_multiplicative() {
    ExprPtr left = parse_power();
    while (true) {
        const auto where = position();
        BinaryOp op{};
        if (at(TokenKind::kStar)) {
            op = BinaryOp::kMultiply;
        } else if (at(TokenKind::kSlash)) {
            op = BinaryOp::kDivide;
        } else if (at(TokenKind::kPercent)) {
            op = BinaryOp::kModulo;
        } else {
            return left;
        }
        ++i_;
        left = binary(where, op, std::move(left), parse_power());
    }
}

ExprPtr Parser::parse_power() {
    ExprPtr left = parse_unary();
    while (at(TokenKind::kCaret)) {
        const auto where = position();
        ++i_;
        left = binary(where, BinaryOp::kPower, std::move(left), parse_unary());
    }
    return left;
}

ExprPtr Parser::parse_unary() {
    if (current().kind != TokenKind::kMinus && current().kind != TokenKind::kPlus) {
        return parse_postfix();
    }
    const Nest nest{*this};
    const auto where = position();
    const bool minus = current().kind == TokenKind::kMinus;
    ++i_;
    if (minus && (current().kind == TokenKind::kInteger || current().kind == TokenKind::kFloat) &&
        ahead(1).kind != TokenKind::kDot && ahead(1).kind != TokenKind::kLeftBracket) {
        ExprPtr literal = parse_number(true);
        literal->position = where;
        return literal;
    }
    ExprPtr operand = parse_unary();
    const unsigned below = operand->height;
    return set_height(std::make_unique<Unary>(
                          where, minus ? UnaryOp::kMinus : UnaryOp::kPlus, std::move(operand)),
                      below);
}

ExprPtr Parser::parse_postfix(bool labels_allowed) {
    ExprPtr e = parse_atom();
    while (true) {
        const auto where = position();
        if (at(TokenKind::kDot)) {
            ++i_;
            const unsigned below = e->height;
            e = set_height(
                std::make_unique<Property>(where, std::move(e), expect_name("a property key name")),
                below);
        } else if (at(TokenKind::kLeftBracket)) {
            ++i_;
            const unsigned outer = child_height_;
            child_height_ = e->height;
            const bool bar = std::exchange(bar_ends_, false);
            ExprPtr from = current().kind == TokenKind::kDotDot ? nullptr : parse_expression();
            if (accept(TokenKind::kDotDot)) {
                ExprPtr to =
                    current().kind == TokenKind::kRightBracket ? nullptr : parse_expression();
                e = std::make_unique<Slice>(where, std::move(e), std::move(from), std::move(to));
            } else {
                e = std::make_unique<IndexAccess>(where, std::move(e), std::move(from));
            }
            expect(TokenKind::kRightBracket);
            bar_ends_ = bar;
            e = set_height(std::move(e), child_height_);
            child_height_ = outer;
        } else if (labels_allowed && at(TokenKind::kColon)) {
            const unsigned below = e->height;
            e = set_height(std::make_unique<LabelCheck>(where, std::move(e), parse_labels()),
                           below);
        } else {
            return e;
        }
    }
}

ExprPtr Parser::parse_number(bool negative) {
    const Token& t = current();
    ++i_;
    if (t.kind == TokenKind::kInteger) {
        return std::make_unique<Literal>(t.position, Value{parse_integer(text_, t, negative)});
    }
    const double v = parse_float(text_, t);
    return std::make_unique<Literal>(t.position, Value{negative ? -v : v});
}

std::unique_ptr<Parameter> Parser::parse_parameter() {
    const auto where = position();
    const bool braces = accept(TokenKind::kLeftBrace);
    if (!braces) {
        expect(TokenKind::kDollar);
    }
    std::string name;
    if (current().kind == TokenKind::kInteger) {
        name = std::string{text_of(current())};
        ++i_;
    } else {
        name = expect_name("a parameter name");
    }
    if (braces) {
        expect(TokenKind::kRightBrace);
    }
    if (parameters_seen_.insert(name).second) {
        statement_->parameters.push_back(name);
    }
    return std::make_unique<Parameter>(where, std::move(name));
}

ExprPtr Parser::parse_atom() {
    const unsigned outer = child_height_;
    child_height_ = 0;
    ExprPtr e;
    switch (current().kind) {
        case TokenKind::kInteger:
        case TokenKind::kFloat:
            e = parse_number(false);
            break;
        case TokenKind::kString:
            e = std::make_unique<Literal>(position(), Value{unescape_string(text_, current())});
            ++i_;
            break;
        case TokenKind::kDollar:
            e = parse_parameter();
            break;
        case TokenKind::kLeftBracket:
            e = parse_list();
            break;
        case TokenKind::kLeftBrace:
            e = at_braced_parameter() ? ExprPtr{parse_parameter()} : parse_map();
            break;
        case TokenKind::kLeftParen: {
            std::size_t after = 0;
            if (scan_pattern(i_, after)) {
                auto predicate = std::make_unique<PatternPredicate>(position());
                predicate->pattern = parse_anonymous_pattern();
                e = std::move(predicate);
                break;
            }
            ++i_;
            const bool bar = std::exchange(bar_ends_, false);
            e = parse_expression();
            bar_ends_ = bar;
            expect(TokenKind::kRightParen);
            child_height_ = outer;
            return e;
        }
        case TokenKind::kIdentifier:
        case TokenKind::kEscapedIdentifier:
            e = parse_name_atom();
            break;
        default:
            if (recording_ && i_ == record_at_) {
                note("an expression");
            }
            invalid_input();
    }
    const unsigned below = std::max<unsigned>(child_height_, e->height - 1U);
    e = set_height(std::move(e), below);
    child_height_ = outer;
    return e;
}

ExprPtr Parser::parse_name_atom() {
    if (current().keyword != Keyword::kNoKeyword) {
        bool matched = true;
        ExprPtr e = parse_keyword_atom(matched);
        if (matched) {
            return e;
        }
    }
    // a.b.c( is a call; a.b.c a property of a property.
    if (ahead(1).kind == TokenKind::kLeftParen) {
        return parse_function(1);
    }
    if (ahead(1).kind == TokenKind::kDot) {
        std::size_t n = 1;
        while (ahead(n).kind == TokenKind::kDot && is_name(ahead(n + 1))) {
            n += 2;
        }
        if (ahead(n).kind == TokenKind::kLeftParen && n > 1) {
            return parse_function(n);
        }
    }
    const auto where = position();
    auto variable = std::make_unique<Variable>(where, unescape_identifier(text_, current()));
    ++i_;
    if (current().kind == TokenKind::kLeftBrace) {
        return parse_map_projection(std::move(variable));
    }
    return variable;
}

ExprPtr Parser::parse_keyword_atom(bool& matched) {
    const auto where = position();
    const TokenKind next = ahead(1).kind;
    const auto literal = [&](Value v) {
        ++i_;
        return std::make_unique<Literal>(where, std::move(v));
    };
    const auto quantifier = [&](QuantifierKind kind) -> ExprPtr {
        if (next == TokenKind::kLeftParen && is_name(ahead(2)) &&
            ahead(3).keyword == Keyword::kIn) {
            return parse_quantifier(kind);
        }
        matched = false;
        return nullptr;
    };
    const auto subquery = [&](SubqueryKind kind) -> ExprPtr {
        if (next == TokenKind::kLeftBrace) {
            return parse_subquery_expression(kind);
        }
        matched = false;
        return nullptr;
    };
    if (next != TokenKind::kLeftParen && next != TokenKind::kLeftBrace) {
        switch (current().keyword) {
            case Keyword::kTrue:
                return literal(Value{true});
            case Keyword::kFalse:
                return literal(Value{false});
            case Keyword::kNull:
                return literal(Value{});
            case Keyword::kInf:
            case Keyword::kInfinity:
                return literal(Value{std::numeric_limits<double>::infinity()});
            case Keyword::kNan:
                return literal(Value{std::numeric_limits<double>::quiet_NaN()});
            default:
                break;
        }
    }
    switch (current().keyword) {
        case Keyword::kCase:
            // A variable may be called case; CASE begins an expression or a WHEN.
            if (next == TokenKind::kDot || next == TokenKind::kComma ||
                next == TokenKind::kRightParen || next == TokenKind::kEnd ||
                next == TokenKind::kRightBracket || next == TokenKind::kEqual) {
                break;
            }
            return parse_case();
        case Keyword::kCount:
            if (next == TokenKind::kLeftParen && ahead(2).kind == TokenKind::kStar &&
                ahead(3).kind == TokenKind::kRightParen) {
                i_ += 4;
                return std::make_unique<CountStar>(where);
            }
            return subquery(SubqueryKind::kCount);
        case Keyword::kExists:
            return subquery(SubqueryKind::kExists);
        case Keyword::kCollect:
            return subquery(SubqueryKind::kCollect);
        case Keyword::kAll:
            return quantifier(QuantifierKind::kAll);
        case Keyword::kAny:
            return quantifier(QuantifierKind::kAny);
        case Keyword::kNone:
            return quantifier(QuantifierKind::kNone);
        case Keyword::kSingle:
            return quantifier(QuantifierKind::kSingle);
        case Keyword::kReduce:
            if (next == TokenKind::kLeftParen && is_name(ahead(2)) &&
                ahead(3).kind == TokenKind::kEqual) {
                return parse_reduce();
            }
            break;
        case Keyword::kShortestPath:
        case Keyword::kAllShortestPaths:
            if (next == TokenKind::kLeftParen) {
                auto e = std::make_unique<ShortestPathExpr>(where);
                e->pattern = parse_anonymous_pattern();
                return e;
            }
            break;
        case Keyword::kTrim:
            if (next == TokenKind::kLeftParen) {
                return parse_trim(where);
            }
            break;
        default:
            break;
    }
    matched = false;
    return nullptr;
}

/// trim(x), trim('a' FROM x), trim(BOTH 'a' FROM x), trim(LEADING FROM x): the last three arrive as
/// calls of btrim, ltrim, rtrim.
ExprPtr Parser::parse_trim(SourcePosition where) {
    i_ += 2;
    std::string name = "btrim";
    bool specified = false;
    for (const auto& [word, function] : {std::pair{"BOTH", "btrim"},
                                         std::pair{"LEADING", "ltrim"},
                                         std::pair{"TRAILING", "rtrim"}}) {
        if (current().kind == TokenKind::kIdentifier &&
            equals_ignoring_case(text_of(current()), word) &&
            ahead(1).kind != TokenKind::kRightParen && ahead(1).kind != TokenKind::kComma &&
            ahead(1).kind != TokenKind::kDot) {
            ++i_;
            name = function;
            specified = true;
            break;
        }
    }
    auto call = std::make_unique<FunctionCall>(where, "trim");
    ExprPtr first;
    if (!(specified && current().keyword == Keyword::kFrom)) {
        if (current().kind != TokenKind::kRightParen) {
            first = parse_expression();
        }
    }
    if (accept(Keyword::kFrom)) {
        call->name = name;
        call->arguments.push_back(parse_expression());
        if (first) {
            call->arguments.push_back(std::move(first));
        }
    } else {
        if (specified) {
            invalid_input();
        }
        if (first) {
            call->arguments.push_back(std::move(first));
        }
        while (accept(TokenKind::kComma)) {
            call->arguments.push_back(parse_expression());
        }
    }
    expect(TokenKind::kRightParen);
    return call;
}

ExprPtr Parser::parse_function(std::size_t name_tokens) {
    auto call = std::make_unique<FunctionCall>(position(), std::string{});
    for (std::size_t n = 0; n < name_tokens; n += 2) {
        call->name += n > 0 ? "." : "";
        call->name += unescape_identifier(text_, ahead(n));
    }
    i_ += name_tokens + 1;
    const bool bar = std::exchange(bar_ends_, false);
    if (accept(Keyword::kDistinct)) {
        call->distinct = true;
    } else {
        accept(Keyword::kAll);
    }
    const bool normalize = equals_ignoring_case(call->name, "normalize");
    if (!at(TokenKind::kRightParen)) {
        do {
            if (normalize && call->arguments.size() == 1 && is_name(current()) &&
                ahead(1).kind == TokenKind::kRightParen) {
                // normalize(x, NFKC): the form is a word, not a variable.
                call->arguments.push_back(
                    std::make_unique<Literal>(position(), Value{text_of(current())}));
                ++i_;
            } else {
                call->arguments.push_back(parse_expression());
            }
        } while (accept(TokenKind::kComma));
    }
    bar_ends_ = bar;
    expect(TokenKind::kRightParen);
    return call;
}

ExprPtr Parser::parse_list() {
    const auto where = position();
    expect(TokenKind::kLeftBracket);
    const bool bar = std::exchange(bar_ends_, false);
    ExprPtr out;
    std::size_t after = 0;
    const bool named_path = is_name(current()) && ahead(1).kind == TokenKind::kEqual &&
                            ahead(2).kind == TokenKind::kLeftParen;
    if (is_name(current()) && ahead(1).keyword == Keyword::kIn) {
        auto e = std::make_unique<ListComprehension>(where);
        e->variable = expect_name();
        ++i_;
        bar_ends_ = true;
        e->list = parse_expression();
        if (accept(Keyword::kWhere)) {
            e->where = parse_expression();
        }
        bar_ends_ = false;
        if (accept(TokenKind::kBar)) {
            e->projection = parse_expression();
        }
        out = std::move(e);
    } else if (scan_pattern(named_path ? i_ + 2 : i_, after) &&
               (tokens_[after].kind == TokenKind::kBar ||
                tokens_[after].keyword == Keyword::kWhere)) {
        auto e = std::make_unique<PatternComprehension>(where);
        e->pattern = parse_path_pattern();
        bar_ends_ = true;
        if (accept(Keyword::kWhere)) {
            e->where = parse_expression();
        }
        bar_ends_ = false;
        expect(TokenKind::kBar);
        e->projection = parse_expression();
        out = std::move(e);
    } else {
        auto e = std::make_unique<ListLiteral>(where);
        if (!at(TokenKind::kRightBracket)) {
            do {
                e->items.push_back(parse_expression());
            } while (accept(TokenKind::kComma));
        }
        out = std::move(e);
    }
    bar_ends_ = bar;
    expect(TokenKind::kRightBracket);
    return out;
}

/// {name}, as Cypher wrote $name up to Neo4j 3.5: drivers of that age still ask for a routing table so.
bool Parser::at_braced_parameter() const {
    return current().kind == TokenKind::kLeftBrace && ahead(2).kind == TokenKind::kRightBrace &&
           (is_name(ahead(1)) || ahead(1).kind == TokenKind::kInteger);
}

ExprPtr Parser::parse_map() {
    auto map = std::make_unique<MapLiteral>(position());
    expect(TokenKind::kLeftBrace);
    const bool bar = std::exchange(bar_ends_, false);
    if (!at(TokenKind::kRightBrace)) {
        do {
            std::string key = expect_name("a property key name");
            expect(TokenKind::kColon);
            map->entries.emplace_back(std::move(key), parse_expression());
        } while (accept(TokenKind::kComma));
    }
    bar_ends_ = bar;
    expect(TokenKind::kRightBrace);
    return map;
}

ExprPtr Parser::parse_map_projection(ExprPtr base) {
    auto e = std::make_unique<MapProjection>(base->position);
    e->base = std::move(base);
    expect(TokenKind::kLeftBrace);
    const bool bar = std::exchange(bar_ends_, false);
    using Kind = MapProjection::Item::Kind;
    if (!at(TokenKind::kRightBrace)) {
        do {
            MapProjection::Item item;
            if (accept(TokenKind::kDot)) {
                if (accept(TokenKind::kStar)) {
                    item.kind = Kind::kAllProperties;
                } else {
                    item.kind = Kind::kProperty;
                    item.key = expect_name("a property key name");
                }
            } else {
                const auto where = position();
                item.key = expect_name();
                if (accept(TokenKind::kColon)) {
                    item.kind = Kind::kLiteral;
                    item.value = parse_expression();
                } else {
                    item.kind = Kind::kVariable;
                    item.value = std::make_unique<Variable>(where, item.key);
                }
            }
            e->items.push_back(std::move(item));
        } while (accept(TokenKind::kComma));
    }
    bar_ends_ = bar;
    expect(TokenKind::kRightBrace);
    child_height_ = std::max(child_height_, 1U);
    return e;
}

ExprPtr Parser::parse_case() {
    auto out = std::make_unique<Case>(position());
    expect(Keyword::kCase);
    ExprPtr subject;
    if (current().keyword != Keyword::kWhen) {
        subject = parse_expression();
    }
    struct When {
        std::vector<ExprPtr> values;      // for a simple CASE: to equal the subject
        std::vector<ExprPtr> predicates;  // complete conditions
        std::vector<SourcePosition> at;
        ExprPtr then;
    };
    std::vector<When> whens;
    bool extended = false;
    if (!at(Keyword::kWhen)) {
        invalid_input();
    }
    while (accept(Keyword::kWhen)) {
        When when;
        do {
            const auto where = position();
            when.at.push_back(where);
            if (!subject) {
                when.predicates.push_back(parse_expression());
                continue;
            }
            BinaryOp op{};
            if (comparison_of(current().kind, op)) {
                ++i_;
                extended = true;
                when.predicates.push_back(
                    binary(where, op, bounded_clone(*subject), parse_additive()));
                when.values.push_back(nullptr);
                continue;
            }
            const Keyword k = current().keyword;
            const bool tail =
                current().kind == TokenKind::kRegexEqual ||
                current().kind == TokenKind::kDoubleColon ||
                ((k == Keyword::kIs || k == Keyword::kIn || k == Keyword::kStarts ||
                  k == Keyword::kEnds || k == Keyword::kContains) &&
                 ahead(1).keyword != Keyword::kThen && ahead(1).kind != TokenKind::kComma &&
                 ahead(1).kind != TokenKind::kDot);
            if (tail) {
                bool matched = true;
                extended = true;
                when.predicates.push_back(parse_predicate_tail(bounded_clone(*subject), matched));
                when.values.push_back(nullptr);
                continue;
            }
            when.values.push_back(parse_expression());
            when.predicates.push_back(nullptr);
        } while (subject && accept(TokenKind::kComma));
        extended = extended || when.at.size() > 1;
        expect(Keyword::kThen);
        when.then = parse_expression();
        whens.push_back(std::move(when));
    }
    for (auto& when : whens) {
        if (!subject) {
            out->alternatives.emplace_back(std::move(when.predicates[0]), std::move(when.then));
            continue;
        }
        if (!extended) {
            out->alternatives.emplace_back(std::move(when.values[0]), std::move(when.then));
            continue;
        }
        for (std::size_t i = 0; i < when.at.size(); ++i) {
            if (!when.predicates[i]) {
                when.predicates[i] = binary(when.at[i],
                                            BinaryOp::kEqual,
                                            bounded_clone(*subject),
                                            std::move(when.values[i]));
            }
            child_height_ = std::max<unsigned>(child_height_, when.predicates[i]->height);
        }
        ExprPtr any = balanced(when.predicates, when.at, BinaryOp::kOr, 0, when.predicates.size());
        child_height_ = std::max<unsigned>(child_height_, any->height);
        out->alternatives.emplace_back(std::move(any), std::move(when.then));
    }
    if (subject && !extended) {
        out->subject = std::move(subject);
    }
    if (accept(Keyword::kElse)) {
        out->otherwise = parse_expression();
    }
    expect(Keyword::kEnd);
    return out;
}

ExprPtr Parser::parse_quantifier(QuantifierKind kind) {
    auto e = std::make_unique<Quantifier>(position());
    e->quantifier = kind;
    i_ += 2;
    e->variable = expect_name();
    expect(Keyword::kIn);
    const bool bar = std::exchange(bar_ends_, false);
    e->list = parse_expression();
    expect(Keyword::kWhere);
    e->where = parse_expression();
    bar_ends_ = bar;
    expect(TokenKind::kRightParen);
    return e;
}

ExprPtr Parser::parse_reduce() {
    auto e = std::make_unique<Reduce>(position());
    i_ += 2;
    const bool bar = std::exchange(bar_ends_, false);
    e->accumulator = expect_name();
    expect(TokenKind::kEqual);
    e->initial = parse_expression();
    expect(TokenKind::kComma);
    e->variable = expect_name();
    expect(Keyword::kIn);
    bar_ends_ = true;
    e->list = parse_expression();
    bar_ends_ = false;
    expect(TokenKind::kBar);
    e->step = parse_expression();
    bar_ends_ = bar;
    expect(TokenKind::kRightParen);
    return e;
}

ExprPtr Parser::parse_subquery_expression(SubqueryKind kind) {
    const auto where = position();
    auto e = std::make_unique<SubqueryExpr>(where, kind);
    const Nest nest{*this};
    i_ += 1;
    expect(TokenKind::kLeftBrace);
    const bool bar = std::exchange(bar_ends_, false);
    const Keyword k = current().keyword;
    const bool pattern = current().kind == TokenKind::kLeftParen ||
                         (is_name(current()) && ahead(1).kind == TokenKind::kEqual) ||
                         ((k == Keyword::kShortestPath || k == Keyword::kAllShortestPaths) &&
                          ahead(1).kind == TokenKind::kLeftParen) ||
                         k == Keyword::kShortest || k == Keyword::kAny || k == Keyword::kAll;
    if (pattern && kind != SubqueryKind::kCollect) {
        MatchClause match;
        const auto at_pattern = position();
        match.patterns = parse_pattern_list();
        if (accept(Keyword::kWhere)) {
            match.where = parse_expression();
        }
        e->query = std::make_unique<Query>();
        e->query->parts.emplace_back().clauses.push_back(
            Clause{at_pattern, ClauseBody{std::move(match)}});
    } else {
        e->query = std::make_unique<Query>(parse_query());
    }
    bar_ends_ = bar;
    expect(TokenKind::kRightBrace);
    return e;
}

// ---- Types ----

TypeRef Parser::parse_type() {
    const Nest nest{*this};
    const std::size_t first = i_;
    TypeRef out = parse_single_type();
    if (!at(TokenKind::kBar)) {
        return out;
    }
    TypeRef all;
    all.alternatives.push_back(std::move(out));
    while (accept(TokenKind::kBar)) {
        all.alternatives.push_back(parse_single_type());
    }
    for (const auto& a : all.alternatives) {
        all.types |= a.types;
    }
    all.not_null =
        std::ranges::all_of(all.alternatives, [](const TypeRef& a) { return a.not_null; });
    all.text = source(first, i_);
    return all;
}

TypeRef Parser::parse_single_type() {
    TypeRef t;
    const std::size_t first = i_;
    const auto words = [&](std::initializer_list<std::string_view> w) { return accept_words(w); };
    const auto zone = [&](bool& with) {
        if (words({"WITHOUT", "TIME", "ZONE"}) || words({"WITHOUT", "TIMEZONE"})) {
            with = false;
            return true;
        }
        with = words({"WITH", "TIME", "ZONE"}) || words({"WITH", "TIMEZONE"});
        return with;
    };
    constexpr TypeSet kPropertyValue = types::kBoolean | types::kNumber | types::kString |
                                       types::kTemporal | types::kDuration | types::kPoint |
                                       types::kList | types::kBytes;
    bool with_zone = false;
    if (words({"ANY", "PROPERTY", "VALUE"}) || words({"PROPERTY", "VALUE"})) {
        t.types = kPropertyValue;
    } else if (words({"ANY", "NODE"}) || words({"NODE"}) || words({"ANY", "VERTEX"}) ||
               words({"VERTEX"})) {
        t.types = types::kNode;
    } else if (words({"ANY", "RELATIONSHIP"}) || words({"RELATIONSHIP"}) ||
               words({"ANY", "EDGE"}) || words({"EDGE"})) {
        t.types = types::kRelationship;
    } else if (words({"ANY", "MAP"}) || words({"MAP"})) {
        t.types = types::kMap;
    } else if (accept(Keyword::kAny)) {
        accept_word("VALUE");
        t.types = types::kAny;
        if (accept(TokenKind::kLess)) {
            TypeRef inner = parse_type();
            expect(TokenKind::kGreater);
            inner.text = source(first, i_);
            t = std::move(inner);
        }
    } else if (words({"BOOLEAN"}) || words({"BOOL"})) {
        t.types = types::kBoolean;
    } else if (words({"STRING"}) || words({"VARCHAR"})) {
        t.types = types::kString;
    } else if (words({"SIGNED", "INTEGER"}) || words({"INTEGER"}) || words({"INT"}) ||
               words({"INTEGER64"}) || words({"INT64"})) {
        t.types = types::kInteger;
    } else if (words({"FLOAT"}) || words({"FLOAT64"})) {
        t.types = types::kFloat;
    } else if (words({"DATE"})) {
        t.types = types::kDate;
    } else if (words({"LOCAL", "TIME"})) {
        t.types = types::kLocalTime;
    } else if (words({"LOCAL", "DATETIME"})) {
        t.types = types::kLocalDateTime;
    } else if (words({"ZONED", "TIME"})) {
        t.types = types::kTime;
    } else if (words({"ZONED", "DATETIME"})) {
        t.types = types::kDateTime;
    } else if (words({"TIMESTAMP"})) {
        if (!zone(with_zone)) {
            invalid_input();
        }
        t.types = with_zone ? types::kDateTime : types::kLocalDateTime;
    } else if (words({"TIME"})) {
        if (!zone(with_zone)) {
            invalid_input();
        }
        t.types = with_zone ? types::kTime : types::kLocalTime;
    } else if (words({"DURATION"})) {
        t.types = types::kDuration;
    } else if (words({"POINT"})) {
        t.types = types::kPoint;
    } else if (words({"PATH"}) || words({"PATHS"})) {
        t.types = types::kPath;
    } else if (words({"NULL"})) {
        t.types = types::kNull;
    } else if (words({"NOTHING"})) {
        t.types = 0;
        t.not_null = true;
    } else if (words({"LIST"}) || words({"ARRAY"})) {
        expect(TokenKind::kLess);
        t.types = types::kList;
        t.list_elements.push_back(parse_type());
        expect(TokenKind::kGreater);
    } else {
        invalid_input();
    }
    const auto not_null = [&] {
        if (words({"NOT", "NULL"}) || accept(TokenKind::kExclamation)) {
            t.not_null = true;
        }
    };
    not_null();
    unsigned lists = 0;
    while (words({"LIST"}) || words({"ARRAY"})) {
        if (++lists > kNestingMax) {
            too_deep();
        }
        TypeRef list;
        t.text = source(first, i_ - 1);
        list.types = types::kList;
        list.list_elements.push_back(std::move(t));
        t = std::move(list);
        not_null();
    }
    t.text = source(first, i_);
    return t;
}

}  // namespace nornic::cypher
