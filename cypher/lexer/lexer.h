// Text to tokens. Tokens are views into the text; nothing is copied or unescaped here.
#pragma once

#include "base/result.h"
#include "cypher/lexer/keywords.h"
#include "graph/value.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::cypher {

enum class TokenKind : std::uint8_t {
    kEnd,
    kIdentifier,         // keywords included
    kEscapedIdentifier,  // `a b`, quotes included
    kInteger,
    kFloat,
    kString,  // quotes included
    kLeftParen,
    kRightParen,
    kLeftBracket,
    kRightBracket,
    kLeftBrace,
    kRightBrace,
    kComma,
    kSemicolon,
    kColon,
    kDoubleColon,
    kDot,
    kDotDot,
    kPlus,
    kPlusEqual,
    kMinus,
    kStar,
    kSlash,
    kPercent,
    kCaret,
    kEqual,
    kRegexEqual,
    kNotEqual,
    kLess,
    kLessEqual,
    kGreater,
    kGreaterEqual,
    kBar,
    kDoubleBar,
    kAmpersand,
    kExclamation,
    kDollar,
};

struct Token {
    TokenKind kind = TokenKind::kEnd;
    Keyword keyword = Keyword::kNoKeyword;
    std::uint32_t begin = 0;  // bytes
    std::uint32_t end = 0;
    SourcePosition position;
};

/// How error texts print a kind of token: "')'", "an identifier".
std::string_view token_text(TokenKind kind) noexcept;

/// All tokens, the last of kind kEnd. Throws QueryError (kSyntaxError) for bytes that are no token,
/// an open string or an open comment. Precondition: fewer than 2^32 bytes.
std::vector<Token> tokenize(std::string_view text);

// What the text of a token says. Each throws QueryError kSyntaxError with the position given.

/// 'it\'s', "tab\t", "\u00E9": the text between the quotes, unescaped.
std::string unescape_string(std::string_view statement, const Token& token);
/// `a``b` -> a`b
std::string unescape_identifier(std::string_view statement, const Token& token);
/// 12, 1_000, 0x1F, 0o17. negative: the literal stands behind a minus, so that -2^63 can be
/// written.
std::int64_t parse_integer(std::string_view statement, const Token& token, bool negative);
double parse_float(std::string_view statement, const Token& token);

}  // namespace nornic::cypher
