// Patterns: paths, nodes, relationships, labels.

#include "cypher/parser/parser_impl.h"

#include <limits>

namespace nornic::cypher {

std::vector<PathPattern> Parser::parse_pattern_list() {
    std::vector<PathPattern> out;
    do {
        out.push_back(parse_path_pattern());
    } while (accept(TokenKind::kComma));
    return out;
}

PathPattern Parser::parse_path_pattern() {
    const Nest nest{*this};
    if (recording_ && i_ == record_at_) {
        note("a graph pattern");
    }
    std::string variable;
    const auto where = position();
    if (is_name(current()) && ahead(1).kind == TokenKind::kEqual) {
        variable = expect_name();
        ++i_;
    }
    PathPattern p = parse_anonymous_pattern();
    p.variable = std::move(variable);
    p.position = where;
    return p;
}

PathPattern Parser::parse_anonymous_pattern() {
    PathPattern p;
    p.position = position();
    const Keyword k = current().keyword;
    if ((k == Keyword::kShortestPath || k == Keyword::kAllShortestPaths) &&
        ahead(1).kind == TokenKind::kLeftParen) {
        p.selector =
            k == Keyword::kShortestPath ? PathSelector::kShortest : PathSelector::kAllShortest;
        i_ += 2;
        parse_chain(p);
        expect(TokenKind::kRightParen);
        return p;
    }
    // SHORTEST 1, ANY SHORTEST: one shortest path; ALL SHORTEST: each of them. SHORTEST k and
    // GROUPS are not in the tree.
    const auto selector_word = [&] {
        if (!accept_word("PATHS")) {
            accept_word("PATH");
        }
    };
    if (k == Keyword::kShortest) {
        const auto where = position();
        ++i_;
        const std::int64_t count = current().kind == TokenKind::kInteger ? expect_count() : 1;
        selector_word();
        if (count != 1 || at_word("GROUPS") || at_word("GROUP")) {
            fail_at(where,
                    "SHORTEST with a count other than 1, or with GROUPS, is not supported",
                    "42001>42N14");
        }
        p.selector = PathSelector::kShortest;
    } else if ((k == Keyword::kAny || k == Keyword::kAll) &&
               ahead(1).keyword == Keyword::kShortest) {
        i_ += 2;
        selector_word();
        p.selector = k == Keyword::kAny ? PathSelector::kShortest : PathSelector::kAllShortest;
    } else if (k == Keyword::kAll &&
               (ahead(1).kind == TokenKind::kLeftParen || is_name(ahead(1)))) {
        ++i_;
        selector_word();
    }
    parse_chain(p);
    return p;
}

void Parser::parse_chain(PathPattern& pattern) {
    const Nest nest{*this};
    if (current().kind == TokenKind::kLeftParen && ahead(1).kind == TokenKind::kLeftParen) {
        // ((a)-->(b)): parentheses around a whole pattern mean nothing; a quantifier behind them
        // would.
        const auto where = position();
        ++i_;
        parse_chain(pattern);
        if (at(Keyword::kWhere)) {
            fail_at(
                where, "WHERE inside a parenthesized path pattern is not supported", "42001>42N14");
        }
        expect(TokenKind::kRightParen);
        if (current().kind == TokenKind::kLeftBrace || current().kind == TokenKind::kPlus ||
            current().kind == TokenKind::kStar || current().kind == TokenKind::kLeftParen) {
            fail_at(where,
                    "Quantified path patterns over more than one relationship are not supported",
                    "42001>42N14");
        }
        return;
    }
    pattern.nodes.push_back(parse_node());
    while (at_relationship()) {
        pattern.relationships.push_back(parse_relationship());
        if (current().kind == TokenKind::kLeftParen && ahead(1).kind == TokenKind::kLeftParen) {
            fail_at(position(),
                    "Quantified path patterns over more than one relationship are not supported",
                    "42001>42N14");
        }
        pattern.nodes.push_back(parse_node());
    }
}

bool Parser::at_relationship() {
    if (current().kind == TokenKind::kMinus) {
        return true;
    }
    if (current().kind == TokenKind::kLess && ahead(1).kind == TokenKind::kMinus) {
        return true;
    }
    if (recording_) {
        at(TokenKind::kMinus);
        at(TokenKind::kLess);
    }
    return false;
}

NodePattern Parser::parse_node() {
    NodePattern n;
    n.position = position();
    if (recording_ && i_ == record_at_) {
        note("a node pattern");
    }
    expect(TokenKind::kLeftParen);
    const Keyword k = current().keyword;
    const TokenKind next = ahead(1).kind;
    const bool keyword_here =
        (k == Keyword::kWhere || k == Keyword::kIs) && next != TokenKind::kRightParen &&
        next != TokenKind::kColon && next != TokenKind::kLeftBrace && next != TokenKind::kDollar &&
        ahead(1).keyword != Keyword::kWhere && ahead(1).keyword != Keyword::kIs;
    if (is_name(current()) && !keyword_here) {
        n.position = position();
        n.variable = expect_name("a variable name");
    }
    if (at(TokenKind::kColon)) {
        n.labels = parse_labels();
    } else if (accept(Keyword::kIs)) {
        n.labels = parse_label_or();
    }
    n.properties = parse_properties();
    if (accept(Keyword::kWhere)) {
        n.where = parse_expression();
    }
    expect(TokenKind::kRightParen);
    return n;
}

ExprPtr Parser::parse_properties() {
    if (current().kind == TokenKind::kDollar || at_braced_parameter()) {
        return parse_parameter();
    }
    if (current().kind == TokenKind::kLeftBrace) {
        const unsigned outer = child_height_;
        child_height_ = 0;
        ExprPtr map = parse_map();
        map = set_height(std::move(map), child_height_);
        child_height_ = std::max<unsigned>(outer, map->height);
        return map;
    }
    if (recording_ && i_ == record_at_) {
        note("'{'");
        note("a parameter");
    }
    return nullptr;
}

RelPattern Parser::parse_relationship() {
    RelPattern r;
    r.position = position();
    const bool left = accept(TokenKind::kLess);
    expect(TokenKind::kMinus);
    if (accept(TokenKind::kLeftBracket)) {
        parse_relationship_detail(r);
        expect(TokenKind::kRightBracket);
    }
    expect(TokenKind::kMinus);
    const bool right = accept(TokenKind::kGreater);
    r.direction = left == right
                      ? PatternDirection::kBoth
                      : (left ? PatternDirection::kIncoming : PatternDirection::kOutgoing);
    const auto where = position();
    std::optional<VariableLength> quantifier;
    if (accept(TokenKind::kPlus)) {
        quantifier = VariableLength{1, std::nullopt};
    } else if (accept(TokenKind::kStar)) {
        quantifier = VariableLength{0, std::nullopt};
    } else if (current().kind == TokenKind::kLeftBrace) {
        quantifier = parse_quantifier_braces();
    }
    if (quantifier) {
        if (r.length) {
            fail_at(where,
                    "A variable length relationship cannot be quantified as well",
                    "42001>42I06");
        }
        r.length = quantifier;
        r.quantified = true;
    }
    return r;
}

std::int64_t Parser::expect_count() {
    if (!at(TokenKind::kInteger)) {
        invalid_input();
    }
    return parse_integer(text_, tokens_[i_++], false);
}

std::optional<VariableLength> Parser::parse_quantifier_braces() {
    VariableLength length{0, std::nullopt};
    const auto where = position();
    expect(TokenKind::kLeftBrace);
    if (current().kind == TokenKind::kInteger) {
        length.min = expect_count();
    }
    if (accept(TokenKind::kComma)) {
        if (current().kind == TokenKind::kInteger) {
            length.max = expect_count();
        }
    } else {
        length.max = length.min;
    }
    expect(TokenKind::kRightBrace);
    if (length.max && *length.max < *length.min) {
        fail_at(where,
                "A quantifier for a path pattern must not have a lower bound which exceeds its "
                "upper bound.",
                "42001>42I06");
    }
    return length;
}

void Parser::parse_relationship_detail(RelPattern& r) {
    const Keyword k = current().keyword;
    const TokenKind next = ahead(1).kind;
    const bool keyword_here = (k == Keyword::kWhere || k == Keyword::kIs) &&
                              next != TokenKind::kRightBracket && next != TokenKind::kColon &&
                              next != TokenKind::kLeftBrace && next != TokenKind::kDollar &&
                              next != TokenKind::kStar && ahead(1).keyword != Keyword::kWhere &&
                              ahead(1).keyword != Keyword::kIs;
    if (is_name(current()) && !keyword_here) {
        r.position = position();
        r.variable = expect_name("a variable name");
    }
    if (at(TokenKind::kColon)) {
        r.types = parse_labels();
    } else if (accept(Keyword::kIs)) {
        r.types = parse_label_or();
    }
    if (accept(TokenKind::kStar)) {
        VariableLength length;
        if (current().kind == TokenKind::kInteger) {
            length.min = expect_count();
            length.max = length.min;
        }
        if (accept(TokenKind::kDotDot)) {
            length.max = std::nullopt;
            if (at(TokenKind::kInteger)) {
                length.max = expect_count();
            }
        }
        r.length = length;
    }
    r.properties = parse_properties();
    if (accept(Keyword::kWhere)) {
        r.where = parse_expression();
    }
}

// ---- Labels ----

LabelExpr Parser::parse_labels() {
    expect(TokenKind::kColon);
    return parse_label_or();
}

LabelExpr Parser::parse_label_or() {
    const Nest nest{*this};
    LabelExpr first = parse_label_and();
    if (bar_ends_ || !at(TokenKind::kBar)) {
        return first;
    }
    LabelExpr out;
    out.kind = LabelExpr::Kind::kOr;
    out.position = first.position;
    out.children.push_back(std::move(first));
    while (accept(TokenKind::kBar)) {
        accept(TokenKind::kColon);  // [:A|:B], the older form
        out.children.push_back(parse_label_and());
    }
    return out;
}

LabelExpr Parser::parse_label_and() {
    LabelExpr first = parse_label_not();
    if (!at(TokenKind::kAmpersand) && !at(TokenKind::kColon)) {
        return first;
    }
    LabelExpr out;
    out.kind = LabelExpr::Kind::kAnd;
    out.position = first.position;
    out.children.push_back(std::move(first));
    while (accept(TokenKind::kAmpersand) || accept(TokenKind::kColon)) {
        out.children.push_back(parse_label_not());
    }
    return out;
}

LabelExpr Parser::parse_label_not() {
    LabelExpr out;
    out.position = position();
    if (accept(TokenKind::kExclamation)) {
        const Nest nest{*this};
        out.kind = LabelExpr::Kind::kNot;
        out.children.push_back(parse_label_not());
        return out;
    }
    if (accept(TokenKind::kLeftParen)) {
        const bool bar = std::exchange(bar_ends_, false);
        out = parse_label_or();
        bar_ends_ = bar;
        expect(TokenKind::kRightParen);
        return out;
    }
    if (accept(TokenKind::kPercent)) {
        out.kind = LabelExpr::Kind::kWildcard;
        return out;
    }
    if (current().kind == TokenKind::kDollar) {
        fail_at(position(), "Dynamic labels and types are not supported", "42001>42N14");
    }
    out.name = expect_name();
    if (out.name.empty()) {
        fail_at(
            out.position,
            "'' is not a valid token name. Token names cannot be empty or contain any null-bytes",
            "42001>42I06");
    }
    return out;
}

std::vector<std::string> Parser::parse_label_names() {
    std::vector<std::string> out;
    const auto name = [&] {
        if (current().kind == TokenKind::kDollar) {
            fail_at(position(), "Dynamic labels and types are not supported", "42001>42N14");
        }
        const auto where = position();
        out.push_back(expect_name());
        if (out.back().empty()) {
            fail_at(where,
                    "'' is not a valid token name. Token names cannot be empty or contain any "
                    "null-bytes",
                    "42001>42I06");
        }
    };
    if (accept(Keyword::kIs)) {
        name();
    } else {
        expect(TokenKind::kColon);
        name();
    }
    while (accept(TokenKind::kColon) || accept(TokenKind::kAmpersand)) {
        name();
    }
    return out;
}

// ---- Telling a pattern from an expression ----

bool Parser::scan_pattern(std::size_t from, std::size_t& after) {
    const auto kind = [&](std::size_t t) { return tokens_[std::min(t, tokens_.size() - 1)].kind; };
    const auto node = [&](std::size_t& t) {
        if (kind(t) != TokenKind::kLeftParen) {
            return false;
        }
        std::size_t n = t + 1;
        if (is_name(tokens_[std::min(n, tokens_.size() - 1)])) {
            ++n;
        }
        switch (kind(n)) {
            case TokenKind::kRightParen:
            case TokenKind::kColon:
            case TokenKind::kLeftBrace:
            case TokenKind::kDollar:
                break;
            default: {
                const Keyword word = tokens_[std::min(n, tokens_.size() - 1)].keyword;
                if (word != Keyword::kWhere && word != Keyword::kIs) {
                    return false;
                }
                break;
            }
        }
        t = closing(t) + 1;
        return t < tokens_.size();
    };
    std::size_t t = from;
    const Keyword k = tokens_[from].keyword;
    if ((k == Keyword::kShortestPath || k == Keyword::kAllShortestPaths) &&
        kind(from + 1) == TokenKind::kLeftParen) {
        after = closing(from + 1) + 1;
        return after < tokens_.size();
    }
    if (!node(t)) {
        return false;
    }
    bool any = false;
    while (true) {
        std::size_t r = t;
        if (kind(r) == TokenKind::kLess) {
            ++r;
        }
        if (kind(r) != TokenKind::kMinus) {
            break;
        }
        ++r;
        if (kind(r) == TokenKind::kLeftBracket) {
            r = closing(r) + 1;
        }
        if (kind(r) != TokenKind::kMinus) {
            break;
        }
        ++r;
        if (kind(r) == TokenKind::kGreater) {
            ++r;
        }
        if (kind(r) == TokenKind::kPlus || kind(r) == TokenKind::kStar) {
            ++r;
        } else if (kind(r) == TokenKind::kLeftBrace) {
            r = closing(r) + 1;
        }
        if (!node(r)) {
            break;
        }
        t = r;
        any = true;
    }
    after = t;
    return any;
}

}  // namespace nornic::cypher
