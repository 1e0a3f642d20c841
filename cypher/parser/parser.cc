#include "cypher/parser/parser.h"

#include "cypher/ast/walk.h"
#include "cypher/parser/parser_impl.h"

#include <algorithm>
#include <limits>

namespace nornic::cypher {
namespace {

constexpr std::size_t kTextBytesMax = std::size_t{256} << 20;

std::string_view line_of(std::string_view statement, std::uint32_t line) {
    std::size_t from = 0;
    for (std::uint32_t n = 1; n < line; ++n) {
        const auto newline = statement.find('\n', from);
        if (newline == std::string_view::npos) {
            return {};
        }
        from = newline + 1;
    }
    auto to = statement.find('\n', from);
    to = to == std::string_view::npos ? statement.size() : to;
    if (to > from && statement[to - 1] == '\r') {
        --to;
    }
    return statement.substr(from, to - from);
}

std::string joined(const std::vector<std::string>& words) {
    std::string out;
    for (std::size_t i = 0; i < words.size(); ++i) {
        if (i > 0) {
            out += i + 1 == words.size() ? " or " : ", ";
        }
        out += words[i];
    }
    return out;
}

}  // namespace

std::string with_caret(std::string_view message,
                       std::string_view statement,
                       SourcePosition position) {
    std::string out = fmt::format("{} (line {}, column {} (offset: {}))\n\"{}\"\n",
                                  message,
                                  position.line,
                                  position.column,
                                  position.offset,
                                  line_of(statement, position.line));
    out.append(position.column, ' ');
    out += '^';
    return out;
}

// ---- Tokens ----

bool Parser::accept_words(std::initializer_list<std::string_view> words) {
    std::size_t n = 0;
    for (const auto word : words) {
        const Token& t = ahead(n);
        if (t.kind != TokenKind::kIdentifier || !equals_ignoring_case(text_of(t), word)) {
            if (recording_ && n == 0) {
                note_keyword(word);
            }
            return false;
        }
        ++n;
    }
    i_ += n;
    return true;
}

std::string Parser::expect_name(std::string_view what) {
    if (!is_name(current())) {
        if (recording_) {
            note(what);
        }
        invalid_input();
    }
    return unescape_identifier(text_, tokens_[i_++]);
}

void Parser::note(std::string_view what) {
    if (i_ != record_at_ || muted_at_ == record_at_ ||
        std::ranges::find(expected_, what) != expected_.end()) {
        return;
    }
    expected_.emplace_back(what);
}

void Parser::note_keyword(std::string_view word) {
    std::string quoted = "'";
    quoted += word;
    quoted += '\'';
    note(quoted);
}

void Parser::invalid_input() {
    failed_at_ = i_;
    const Token& t = current();
    std::string message = fmt::format("Invalid input '{}'", text_of(t));
    if (!expected_.empty()) {
        // Phrases ("an expression") first, then symbols and words, so that the list reads the same
        // whichever way it was gathered.
        std::ranges::sort(expected_, [](const std::string& a, const std::string& b) {
            const bool quoted_a = a.front() == '\'';
            const bool quoted_b = b.front() == '\'';
            return quoted_a != quoted_b ? quoted_b : a < b;
        });
        message += ": expected " + joined(expected_);
    }
    fail_at(t.position, message, "42001>42I06");
}

void Parser::fail_at(SourcePosition where,
                     std::string_view message,
                     std::string gql,
                     ErrorCode code) const {
    throw QueryError{code, with_caret(message, text_, where), std::move(gql), where};
}

void Parser::too_deep() {
    fail_at(position(),
            fmt::format("The statement is nested too deeply: at most {} levels are supported",
                        kNestingMax),
            "42001>42I06");
}

std::string Parser::source(std::size_t first_token, std::size_t end_token) const {
    const auto begin = tokens_[first_token].begin;
    return std::string{text_.substr(begin, tokens_[end_token - 1].end - begin)};
}

std::size_t Parser::closing(std::size_t open) {
    if (closing_.empty()) {
        closing_.assign(tokens_.size(), tokens_.size() - 1);
        std::vector<std::size_t> stack;
        for (std::size_t t = 0; t < tokens_.size(); ++t) {
            switch (tokens_[t].kind) {
                case TokenKind::kLeftParen:
                case TokenKind::kLeftBracket:
                case TokenKind::kLeftBrace:
                    stack.push_back(t);
                    break;
                case TokenKind::kRightParen:
                case TokenKind::kRightBracket:
                case TokenKind::kRightBrace:
                    if (!stack.empty()) {
                        closing_[stack.back()] = t;
                        stack.pop_back();
                    }
                    break;
                default:
                    break;
            }
        }
    }
    return closing_[open];
}

ExprPtr Parser::set_height(ExprPtr e, unsigned below) {
    if (below + 1 > kHeightMax) {
        fail_at(
            e->position,
            fmt::format(
                "The expression is too long or nested too deeply: at most {} levels are supported",
                kHeightMax),
            "42001>42I06");
    }
    e->height = static_cast<std::uint16_t>(below + 1);
    return e;
}

namespace {
void count_nodes(const Expr& e, std::size_t& count, std::size_t limit) {
    if (++count > limit) {
        return;
    }
    for_each_child(e, [&](const Expr& child) { count_nodes(child, count, limit); });
}
}  // namespace

ExprPtr Parser::bounded_clone(const Expr& e) {
    count_nodes(e, cloned_nodes_, kClonedNodesMax);
    if (cloned_nodes_ > kClonedNodesMax) {
        fail_at(e.position,
                "The statement's chained comparisons or CASE expressions are too large",
                "42001>42I06");
    }
    return clone(e);
}

// ---- Statements ----

void Parser::parse_prefixes(Statement& s) {
    while (true) {
        if (at(Keyword::kExplain) && s.explain == ExplainMode::kNone) {
            ++i_;
            s.explain = ExplainMode::kExplain;
        } else if (at(Keyword::kProfile) && s.explain == ExplainMode::kNone) {
            ++i_;
            s.explain = ExplainMode::kProfile;
        } else if (at(Keyword::kCypher)) {
            ++i_;
            if (current().kind == TokenKind::kInteger || current().kind == TokenKind::kFloat) {
                const std::string_view version = text_of(current());
                if (version != "5") {
                    throw QueryError{
                        ErrorCode::kArgumentError,
                        fmt::format(
                            "{} is not a valid option for cypher version. Valid options are: 5",
                            version),
                        "22000>22N10"};
                }
                ++i_;
            }
            while (is_name(current()) && ahead(1).kind == TokenKind::kEqual) {
                i_ += 2;
                if (!is_name(current()) && current().kind != TokenKind::kInteger) {
                    invalid_input();
                }
                ++i_;
            }
        } else {
            return;
        }
    }
}

std::unique_ptr<Statement> Parser::parse_statement() {
    auto statement = std::make_unique<Statement>();
    statement_ = statement.get();
    statement->text = std::string{text_};
    parse_prefixes(*statement);
    if (current().kind == TokenKind::kEnd ||
        (current().kind == TokenKind::kSemicolon && tokens_.size() == 2)) {
        throw QueryError{ErrorCode::kSyntaxError,
                         "Unexpected end of input: expected CYPHER, EXPLAIN, PROFILE or Query "
                         "(line 0, column 0 (offset: 1))\n\"\"\n ^",
                         "42001>42N45"};
    }
    const SourcePosition use_position = position();
    if (current().keyword == Keyword::kUse && is_name(ahead(1))) {
        statement->use_graph = parse_use();
    }
    if (parse_command(*statement)) {
        if (!statement->use_graph.empty() &&
            std::holds_alternative<AdminCommand>(statement->body)) {
            fail_at(use_position,
                    "The `USE` clause is not required for Administration Commands. Retry your "
                    "query omitting the `USE` clause and it will "
                    "be routed automatically.",
                    "42001>42N17");
        }
    } else {
        statement->body = parse_query();
    }
    if (accept(TokenKind::kSemicolon) && current().kind != TokenKind::kEnd) {
        std::size_t statements = 1;
        bool inside = false;
        for (std::size_t t = i_; t < tokens_.size(); ++t) {
            const bool content =
                tokens_[t].kind != TokenKind::kSemicolon && tokens_[t].kind != TokenKind::kEnd;
            statements += content && !inside ? 1 : 0;
            inside = content;
        }
        throw QueryError{
            ErrorCode::kSyntaxError,
            fmt::format("Expected exactly one statement per query but got: {}", statements),
            "42001>42N46"};
    }
    if (!at(TokenKind::kEnd)) {
        invalid_input();
    }
    return statement;
}

Result<std::unique_ptr<Statement>> parse(std::string_view text) {
    if (text.size() > kTextBytesMax) {
        return fail(ErrorCode::kSyntaxError,
                    fmt::format("The statement has {} bytes; at most {} are supported",
                                text.size(),
                                kTextBytesMax));
    }
    try {
        const std::vector<Token> tokens = tokenize(text);
        Parser parser{text, tokens};
        try {
            return parser.parse_statement();
        } catch (const QueryError& error) {
            if (parser.failed_at() == Parser::kNowhere) {
                throw;
            }
            Parser again{text, tokens};
            again.record_expected_at(parser.failed_at());
            return again.parse_statement();
        }
    } catch (const QueryError& error) {
        return error.error();
    }
}

}  // namespace nornic::cypher
