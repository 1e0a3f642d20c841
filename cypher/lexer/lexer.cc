#include "cypher/lexer/lexer.h"

#include "cypher/parser/parser.h"
#include "cypher/query_error.h"

#include <array>
#include <charconv>
#include <utf8proc.h>

namespace nornic::cypher {
namespace {

enum CharClass : std::uint8_t { kOther, kLetter, kDigit, kSpace, kHigh };

constexpr std::array<std::uint8_t, 256> make_classes() {
    std::array<std::uint8_t, 256> c{};
    for (std::size_t i = 0; i < 256; ++i) {
        if ((i >= 'a' && i <= 'z') || (i >= 'A' && i <= 'Z') || i == '_') {
            c[i] = kLetter;
        } else if (i >= '0' && i <= '9') {
            c[i] = kDigit;
        } else if (i == ' ' || (i >= 0x09 && i <= 0x0D) || (i >= 0x1C && i <= 0x1F)) {
            c[i] = kSpace;
        } else if (i >= 0x80) {
            c[i] = kHigh;
        }
    }
    return c;
}
constexpr std::array<std::uint8_t, 256> kClasses = make_classes();

std::uint8_t class_of(char c) noexcept {
    return kClasses[static_cast<unsigned char>(c)];
}
bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}
bool is_continuation(char c) noexcept {
    return (static_cast<unsigned char>(c) & 0xC0U) == 0x80U;
}

/// Decodes one character at `at`; -1 where the bytes are no UTF-8.
std::int32_t decode(std::string_view text, std::size_t at, std::size_t& length) noexcept {
    utf8proc_int32_t code = -1;
    const auto n = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data() + at),
                                    static_cast<utf8proc_ssize_t>(text.size() - at),
                                    &code);
    length = n > 0 ? static_cast<std::size_t>(n) : 1;
    return n > 0 ? code : -1;
}

bool is_identifier_start(std::int32_t code) noexcept {
    switch (utf8proc_category(code)) {
        case UTF8PROC_CATEGORY_LU:
        case UTF8PROC_CATEGORY_LL:
        case UTF8PROC_CATEGORY_LT:
        case UTF8PROC_CATEGORY_LM:
        case UTF8PROC_CATEGORY_LO:
        case UTF8PROC_CATEGORY_NL:
        case UTF8PROC_CATEGORY_PC:
        case UTF8PROC_CATEGORY_SC:
            return true;
        default:
            return false;
    }
}
bool is_identifier_part(std::int32_t code) noexcept {
    switch (utf8proc_category(code)) {
        case UTF8PROC_CATEGORY_MN:
        case UTF8PROC_CATEGORY_MC:
        case UTF8PROC_CATEGORY_ND:
        case UTF8PROC_CATEGORY_CF:
            return true;
        default:
            return is_identifier_start(code);
    }
}
bool is_unicode_space(std::int32_t code) noexcept {
    const auto category = utf8proc_category(code);
    return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL ||
           category == UTF8PROC_CATEGORY_ZP || code == 0xFEFF;
}

[[noreturn]] void fail_at(std::string_view statement,
                          SourcePosition position,
                          std::string_view message,
                          std::string gql) {
    throw QueryError{ErrorCode::kSyntaxError,
                     with_caret(message, statement, position),
                     std::move(gql),
                     position};
}

class Lexer {
public:
    explicit Lexer(std::string_view text) : text_{text} { tokens_.reserve(text.size() / 2 + 8); }

    std::vector<Token> run() {
        while (true) {
            skip_space();
            if (at_ >= text_.size()) {
                break;
            }
            next();
        }
        begin_ = at_;
        push(TokenKind::kEnd);
        return std::move(tokens_);
    }

private:
    [[nodiscard]] char peek(std::size_t ahead = 0) const noexcept {
        return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0';
    }
    [[nodiscard]] SourcePosition position_of(std::size_t at) const noexcept {
        return SourcePosition{static_cast<std::uint32_t>(at - extra_),
                              line_,
                              static_cast<std::uint32_t>((at - extra_) - line_start_ + 1)};
    }
    /// Moves past one byte of a token that may hold anything: a string, a comment, a quoted name.
    void advance_any() noexcept {
        const char c = text_[at_];
        ++at_;
        if (c == '\n') {
            ++line_;
            line_start_ = at_ - extra_;
        } else if (is_continuation(c)) {
            ++extra_;
        }
    }
    void push(TokenKind kind, Keyword keyword = Keyword::kNoKeyword) {
        tokens_.push_back(Token{kind,
                                keyword,
                                static_cast<std::uint32_t>(begin_),
                                static_cast<std::uint32_t>(at_),
                                start_});
    }
    void punctuation(TokenKind kind, std::size_t length) {
        at_ += length;
        push(kind);
    }

    void skip_space() {
        while (at_ < text_.size()) {
            const char c = text_[at_];
            if (c == ' ') {
                ++at_;
            } else if (class_of(c) == kSpace) {
                advance_any();
            } else if (c == '/' && peek(1) == '/') {
                while (at_ < text_.size() && text_[at_] != '\n') {
                    advance_any();
                }
            } else if (c == '/' && peek(1) == '*') {
                const SourcePosition open = position_of(at_);
                at_ += 2;
                while (at_ < text_.size() && !(text_[at_] == '*' && peek(1) == '/')) {
                    advance_any();
                }
                if (at_ >= text_.size()) {
                    fail_at(text_,
                            open,
                            "Failed to parse comment. A comment starting on `/*` must have a "
                            "closing `*/`.",
                            "42001>42I11");
                }
                at_ += 2;
            } else if (class_of(c) == kHigh) {
                std::size_t length = 1;
                const auto code = decode(text_, at_, length);
                if (code < 0 || !is_unicode_space(code)) {
                    break;
                }
                for (std::size_t i = 0; i < length; ++i) {
                    advance_any();
                }
            } else {
                break;
            }
        }
        begin_ = at_;
        start_ = position_of(at_);
    }

    void next() {
        const char c = text_[at_];
        switch (class_of(c)) {
            case kLetter:
                identifier();
                return;
            case kDigit:
                number();
                return;
            case kHigh: {
                std::size_t length = 1;
                const auto code = decode(text_, at_, length);
                if (code >= 0 && is_identifier_start(code)) {
                    identifier();
                    return;
                }
                unknown(length);
            }
            default:
                break;
        }
        switch (c) {
            case '(':
                return punctuation(TokenKind::kLeftParen, 1);
            case ')':
                return punctuation(TokenKind::kRightParen, 1);
            case '[':
                return punctuation(TokenKind::kLeftBracket, 1);
            case ']':
                return punctuation(TokenKind::kRightBracket, 1);
            case '{':
                return punctuation(TokenKind::kLeftBrace, 1);
            case '}':
                return punctuation(TokenKind::kRightBrace, 1);
            case ',':
                return punctuation(TokenKind::kComma, 1);
            case ';':
                return punctuation(TokenKind::kSemicolon, 1);
            case ':':
                return peek(1) == ':' ? punctuation(TokenKind::kDoubleColon, 2)
                                      : punctuation(TokenKind::kColon, 1);
            case '.':
                if (peek(1) == '.') {
                    return punctuation(TokenKind::kDotDot, 2);
                }
                if (is_digit(peek(1)) && !after_operand()) {
                    return number();
                }
                return punctuation(TokenKind::kDot, 1);
            case '+':
                return peek(1) == '=' ? punctuation(TokenKind::kPlusEqual, 2)
                                      : punctuation(TokenKind::kPlus, 1);
            case '-':
                return punctuation(TokenKind::kMinus, 1);
            case '*':
                return punctuation(TokenKind::kStar, 1);
            case '/':
                return punctuation(TokenKind::kSlash, 1);
            case '%':
                return punctuation(TokenKind::kPercent, 1);
            case '^':
                return punctuation(TokenKind::kCaret, 1);
            case '=':
                return peek(1) == '~' ? punctuation(TokenKind::kRegexEqual, 2)
                                      : punctuation(TokenKind::kEqual, 1);
            case '<':
                if (peek(1) == '=') {
                    return punctuation(TokenKind::kLessEqual, 2);
                }
                return peek(1) == '>' ? punctuation(TokenKind::kNotEqual, 2)
                                      : punctuation(TokenKind::kLess, 1);
            case '>':
                return peek(1) == '=' ? punctuation(TokenKind::kGreaterEqual, 2)
                                      : punctuation(TokenKind::kGreater, 1);
            case '!':
                return peek(1) == '=' ? punctuation(TokenKind::kNotEqual, 2)
                                      : punctuation(TokenKind::kExclamation, 1);
            case '|':
                return peek(1) == '|' ? punctuation(TokenKind::kDoubleBar, 2)
                                      : punctuation(TokenKind::kBar, 1);
            case '&':
                return punctuation(TokenKind::kAmpersand, 1);
            case '$':
                return punctuation(TokenKind::kDollar, 1);
            case '\'':
            case '"':
                return string(c);
            case '`':
                return quoted_name();
            default:
                unknown(1);
        }
    }

    /// Whether a dot here follows something that has properties: then `.5` is no number.
    [[nodiscard]] bool after_operand() const noexcept {
        if (tokens_.empty() || tokens_.back().end != at_) {
            return false;
        }
        switch (tokens_.back().kind) {
            case TokenKind::kIdentifier:
            case TokenKind::kEscapedIdentifier:
            case TokenKind::kRightParen:
            case TokenKind::kRightBracket:
            case TokenKind::kRightBrace:
                return true;
            default:
                return false;
        }
    }

    [[noreturn]] void unknown(std::size_t length) {
        const std::string_view bytes = text_.substr(at_, length);
        std::size_t ignored = 0;
        if (decode(text_, at_, ignored) < 0 || static_cast<unsigned char>(bytes[0]) < 0x20) {
            fail_at(text_,
                    start_,
                    fmt::format("Invalid input: byte 0x{:02X} is not part of any text",
                                static_cast<unsigned char>(bytes[0])),
                    "42001>42I06");
        }
        fail_at(text_, start_, fmt::format("Invalid input '{}'", bytes), "42001>42I06");
    }

    /// Moves past letters, digits and what else may follow the start of a name.
    void skip_identifier_part() {
        while (at_ < text_.size()) {
            const auto k = class_of(text_[at_]);
            if (k == kLetter || k == kDigit) {
                ++at_;
                continue;
            }
            if (k != kHigh) {
                return;
            }
            std::size_t length = 1;
            const auto code = decode(text_, at_, length);
            if (code < 0 || !is_identifier_part(code)) {
                return;
            }
            at_ += length;
            extra_ += length - 1;
        }
    }

    void identifier() {
        std::uint32_t hash = 0;
        while (at_ < text_.size() && class_of(text_[at_]) <= kDigit &&
               class_of(text_[at_]) != kOther) {
            hash = keyword_hash_step(hash, text_[at_]);
            ++at_;
        }
        const std::size_t plain_end = at_;
        if (at_ < text_.size() && class_of(text_[at_]) == kHigh) {
            skip_identifier_part();
        }
        const Keyword keyword = at_ == plain_end
                                    ? find_keyword(text_.substr(begin_, at_ - begin_), hash)
                                    : Keyword::kNoKeyword;
        push(TokenKind::kIdentifier, keyword);
    }

    void number() {
        // 1, 1_000, 0x1F, 0o17, 1.5, .5, 1e3, 1.5E-3. A dot belongs to the number only if a digit
        // follows, so that 1..3 stays a range and 1.name an access. Letters directly behind are
        // part of the literal: they make it invalid rather than a number and a name.
        if (text_[at_] == '0' && (peek(1) == 'x' || peek(1) == 'X' || peek(1) == 'o')) {
            skip_identifier_part();
            push(TokenKind::kInteger);
            return;
        }
        bool is_float = false;
        skip_digits();
        if (peek() == '.' && is_digit(peek(1))) {
            is_float = true;
            ++at_;
            skip_digits();
        }
        if (peek() == 'e' || peek() == 'E') {
            const std::size_t sign = peek(1) == '-' || peek(1) == '+' ? 1 : 0;
            if (is_digit(peek(1 + sign))) {
                is_float = true;
                at_ += 1 + sign;
                skip_digits();
            }
        }
        skip_identifier_part();
        push(is_float ? TokenKind::kFloat : TokenKind::kInteger);
    }
    void skip_digits() noexcept {
        while (is_digit(peek()) || (peek() == '_' && is_digit(peek(1)))) {
            ++at_;
        }
    }

    void string(char quote) {
        ++at_;
        while (at_ < text_.size() && text_[at_] != quote) {
            if (text_[at_] == '\\' && at_ + 1 < text_.size()) {
                ++at_;
            }
            advance_any();
        }
        if (at_ >= text_.size()) {
            fail_at(text_,
                    start_,
                    "Failed to parse string literal. The query must contain an even number of "
                    "non-escaped quotes.",
                    "42001>42I19");
        }
        ++at_;
        push(TokenKind::kString);
    }

    void quoted_name() {
        ++at_;
        while (at_ < text_.size()) {
            if (text_[at_] == '`') {
                if (peek(1) != '`') {
                    break;
                }
                ++at_;
            }
            advance_any();
        }
        if (at_ >= text_.size()) {
            fail_at(text_,
                    start_,
                    "Failed to parse identifier. A name that begins with ` must end with one.",
                    "42001>42I06");
        }
        ++at_;
        push(TokenKind::kEscapedIdentifier);
    }

    std::string_view text_;
    std::vector<Token> tokens_;
    std::size_t at_ = 0;
    std::size_t begin_ = 0;
    SourcePosition start_;
    std::uint32_t line_ = 1;
    std::size_t line_start_ = 0;  // in characters
    std::size_t extra_ = 0;       // bytes so far that begin no character
};

void append_utf8(std::string& out, std::uint32_t code) {
    std::array<utf8proc_uint8_t, 4> bytes{};
    const auto n = utf8proc_encode_char(static_cast<utf8proc_int32_t>(code), bytes.data());
    out.append(reinterpret_cast<const char*>(bytes.data()), static_cast<std::size_t>(n));
}

bool read_hex(std::string_view text,
              std::size_t at,
              std::size_t digits,
              std::uint32_t& out) noexcept {
    if (at + digits > text.size()) {
        return false;
    }
    const char* end = text.data() + at + digits;
    const auto [p, error] = std::from_chars(text.data() + at, end, out, 16);
    return error == std::errc{} && p == end;
}

std::string_view text_of(std::string_view statement, const Token& token) {
    return statement.substr(token.begin, token.end - token.begin);
}

}  // namespace

std::string_view token_text(TokenKind kind) noexcept {
    switch (kind) {
        case TokenKind::kEnd:
            return "<EOF>";
        case TokenKind::kIdentifier:
        case TokenKind::kEscapedIdentifier:
            return "an identifier";
        case TokenKind::kInteger:
            return "an integer value";
        case TokenKind::kFloat:
            return "a float value";
        case TokenKind::kString:
            return "a string value";
        case TokenKind::kLeftParen:
            return "'('";
        case TokenKind::kRightParen:
            return "')'";
        case TokenKind::kLeftBracket:
            return "'['";
        case TokenKind::kRightBracket:
            return "']'";
        case TokenKind::kLeftBrace:
            return "'{'";
        case TokenKind::kRightBrace:
            return "'}'";
        case TokenKind::kComma:
            return "','";
        case TokenKind::kSemicolon:
            return "';'";
        case TokenKind::kColon:
            return "':'";
        case TokenKind::kDoubleColon:
            return "'::'";
        case TokenKind::kDot:
            return "'.'";
        case TokenKind::kDotDot:
            return "'..'";
        case TokenKind::kPlus:
            return "'+'";
        case TokenKind::kPlusEqual:
            return "'+='";
        case TokenKind::kMinus:
            return "'-'";
        case TokenKind::kStar:
            return "'*'";
        case TokenKind::kSlash:
            return "'/'";
        case TokenKind::kPercent:
            return "'%'";
        case TokenKind::kCaret:
            return "'^'";
        case TokenKind::kEqual:
            return "'='";
        case TokenKind::kRegexEqual:
            return "'=~'";
        case TokenKind::kNotEqual:
            return "'<>'";
        case TokenKind::kLess:
            return "'<'";
        case TokenKind::kLessEqual:
            return "'<='";
        case TokenKind::kGreater:
            return "'>'";
        case TokenKind::kGreaterEqual:
            return "'>='";
        case TokenKind::kBar:
            return "'|'";
        case TokenKind::kDoubleBar:
            return "'||'";
        case TokenKind::kAmpersand:
            return "'&'";
        case TokenKind::kExclamation:
            return "'!'";
        case TokenKind::kDollar:
            return "'$'";
    }
    return "";
}

std::vector<Token> tokenize(std::string_view text) {
    return Lexer{text}.run();
}

std::string unescape_string(std::string_view statement, const Token& token) {
    const std::string_view raw = text_of(statement, token);
    const std::string_view body = raw.substr(1, raw.size() - 2);
    std::size_t escape = body.find('\\');
    if (escape == std::string_view::npos) {
        return std::string{body};
    }
    std::string out;
    out.reserve(body.size());
    std::size_t from = 0;
    while (escape != std::string_view::npos) {
        out.append(body.substr(from, escape - from));
        const char c = escape + 1 < body.size() ? body[escape + 1] : '\0';
        from = escape + 2;
        switch (c) {
            case 't':
                out += '\t';
                break;
            case 'b':
                out += '\b';
                break;
            case 'n':
                out += '\n';
                break;
            case 'r':
                out += '\r';
                break;
            case 'f':
                out += '\f';
                break;
            case '\\':
            case '\'':
            case '"':
            case '`':
                out += c;
                break;
            case 'u':
            case 'U': {
                const std::size_t digits = c == 'u' ? 4 : 8;
                std::uint32_t code = 0;
                if (!read_hex(body, from, digits, code)) {
                    fail_at(statement,
                            token.position,
                            fmt::format("Invalid input '{}': expected {} hexadecimal digits "
                                        "specifying a unicode character",
                                        body.substr(escape, 2 + digits),
                                        digits == 4 ? "four" : "eight"),
                            "42001>42I06");
                }
                from += digits;
                std::uint32_t low = 0;
                if (code >= 0xD800 && code <= 0xDBFF && body.substr(from, 2) == "\\u" &&
                    read_hex(body, from + 2, 4, low) && low >= 0xDC00 && low <= 0xDFFF) {
                    code = 0x10000 + ((code - 0xD800) << 10U) + (low - 0xDC00);
                    from += 6;
                }
                if (code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) {
                    fail_at(statement,
                            token.position,
                            fmt::format("Invalid input '{}': not a unicode character",
                                        body.substr(escape, 2 + digits)),
                            "42001>42I06");
                }
                append_utf8(out, code);
                break;
            }
            default:
                // Not an escape: the backslash stands for itself, as in a regular expression.
                out += '\\';
                from = escape + 1;
                break;
        }
        escape = body.find('\\', from);
    }
    out.append(body.substr(from));
    return out;
}

std::string unescape_identifier(std::string_view statement, const Token& token) {
    const std::string_view raw = text_of(statement, token);
    if (token.kind != TokenKind::kEscapedIdentifier) {
        return std::string{raw};
    }
    std::string out;
    out.reserve(raw.size());
    for (std::size_t i = 1; i + 1 < raw.size(); ++i) {
        out += raw[i];
        if (raw[i] == '`') {
            ++i;  // the second of a doubled quote
        }
    }
    return out;
}

std::int64_t parse_integer(std::string_view statement, const Token& token, bool negative) {
    const std::string_view raw = text_of(statement, token);
    std::string digits;
    digits.reserve(raw.size() + 1);
    int base = 10;
    std::string_view body = raw;
    if (raw.size() > 1 && raw[0] == '0' && (raw[1] == 'x' || raw[1] == 'X')) {
        base = 16;
        body.remove_prefix(2);
    } else if (raw.size() > 1 && raw[0] == '0' && raw[1] == 'o') {
        base = 8;
        body.remove_prefix(2);
    } else if (raw.size() > 1 && raw[0] == '0' &&
               raw.find_first_not_of("01234567") == std::string_view::npos) {
        fail_at(statement,
                token.position,
                fmt::format("The octal integer literal syntax `{}` is no longer supported, please "
                            "use `0o{}` instead",
                            raw,
                            raw.substr(1)),
                "42001>42I07");
    }
    if (negative) {
        digits += '-';
    }
    for (const char c : body) {
        if (c != '_') {
            digits += c;
        }
    }
    std::int64_t value = 0;
    const char* end = digits.data() + digits.size();
    const auto [p, error] = std::from_chars(digits.data(), end, value, base);
    if (error == std::errc::invalid_argument || p != end || body.empty() || body.back() == '_') {
        fail_at(statement, token.position, "invalid literal number", "42001>42I07");
    }
    if (error == std::errc::result_out_of_range) {
        fail_at(statement, token.position, "integer is too large", "22003");
    }
    return value;
}

double parse_float(std::string_view statement, const Token& token) {
    std::string digits{text_of(statement, token)};
    std::erase(digits, '_');
    if (digits.front() == '.') {
        digits.insert(digits.begin(), '0');
    }
    // from_chars takes no plus sign in front, but does in an exponent.
    double value = 0;
    const char* end = digits.data() + digits.size();
    const auto [p, error] = std::from_chars(digits.data(), end, value);
    if (error == std::errc::invalid_argument || p != end) {
        fail_at(statement, token.position, "invalid literal number", "42001>42I07");
    }
    if (error == std::errc::result_out_of_range) {
        // Too small is zero, as everywhere; too large is an error. The exponent's sign tells which.
        const auto exponent = digits.find_first_of("eE");
        const bool small =
            exponent == std::string::npos ? digits.starts_with("0.") : digits[exponent + 1] == '-';
        if (small) {
            return 0.0;
        }
        fail_at(statement, token.position, "floating point number is too large", "22003");
    }
    return value;
}

}  // namespace nornic::cypher
