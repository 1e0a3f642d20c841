// The recursive-descent parser behind parse(). One object per statement; private to this folder.
//
// An error names what would have been accepted. Collecting that on the way would cost every good
// statement, so it is done by parsing a bad one a second time: each failed test at the token where
// the first pass stopped adds to the list.
#pragma once

#include "cypher/ast/statement.h"
#include "cypher/lexer/lexer.h"
#include "cypher/query_error.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

namespace nornic::cypher {

class Parser {
public:
    /// Bounds on what the passes after this one recurse over.
    static constexpr unsigned kNestingMax = 200;
    static constexpr unsigned kHeightMax = 1000;
    static constexpr std::size_t kClonedNodesMax = 100'000;

    Parser(std::string_view text, const std::vector<Token>& tokens)
        : text_{text}, tokens_{tokens} {}
    /// A second pass that stops at token `stop` and lists what it would have taken there.
    void record_expected_at(std::size_t stop) {
        recording_ = true;
        record_at_ = stop;
    }
    /// Throws QueryError.
    std::unique_ptr<Statement> parse_statement();
    /// The token that invalid_input() was thrown for, if it was.
    [[nodiscard]] std::size_t failed_at() const noexcept { return failed_at_; }
    static constexpr std::size_t kNowhere = SIZE_MAX;

private:
    // ---- Tokens (parser.cc) ----
    [[nodiscard]] const Token& current() const { return tokens_[i_]; }
    [[nodiscard]] const Token& ahead(std::size_t n) const {
        return tokens_[std::min(i_ + n, tokens_.size() - 1)];
    }
    [[nodiscard]] std::string_view text_of(const Token& t) const {
        return text_.substr(t.begin, t.end - t.begin);
    }
    [[nodiscard]] SourcePosition position() const { return current().position; }
    bool at(TokenKind kind) {
        if (current().kind == kind) {
            return true;
        }
        if (recording_) {
            note(token_text(kind));
        }
        return false;
    }
    bool at(Keyword keyword) {
        if (current().keyword == keyword) {
            return true;
        }
        if (recording_) {
            note_keyword(keyword_text(keyword));
        }
        return false;
    }
    /// A word that has no Keyword of its own.
    bool at_word(std::string_view word) {
        if (current().kind == TokenKind::kIdentifier &&
            equals_ignoring_case(text_of(current()), word)) {
            return true;
        }
        if (recording_) {
            note_keyword(word);
        }
        return false;
    }
    [[nodiscard]] bool is_name(const Token& t) const noexcept {
        return t.kind == TokenKind::kIdentifier || t.kind == TokenKind::kEscapedIdentifier;
    }
    template <class T>
    bool accept(T what) {
        if (!at(what)) {
            return false;
        }
        ++i_;
        return true;
    }
    bool accept_word(std::string_view word) {
        if (!at_word(word)) {
            return false;
        }
        ++i_;
        return true;
    }
    /// All of the words, in order, or none.
    bool accept_words(std::initializer_list<std::string_view> words);
    template <class T>
    void expect(T what) {
        if (!accept(what)) {
            invalid_input();
        }
    }
    void expect_word(std::string_view word) {
        if (!accept_word(word)) {
            invalid_input();
        }
    }
    std::string expect_name(std::string_view what = "an identifier");
    void note(std::string_view what);
    void note_keyword(std::string_view word);
    [[noreturn]] void invalid_input();
    [[noreturn]] void fail_at(SourcePosition where,
                              std::string_view message,
                              std::string gql,
                              ErrorCode code = ErrorCode::kSyntaxError) const;
    /// The source between two tokens, trimmed: what a column is called.
    [[nodiscard]] std::string source(std::size_t first_token, std::size_t end_token) const;
    /// The token that closes the bracket at `open`, or the last token.
    std::size_t closing(std::size_t open);

    struct Nest {
        explicit Nest(Parser& parser) : p{parser} {
            if (++p.nesting_ > kNestingMax) {
                p.too_deep();
            }
        }
        ~Nest() { --p.nesting_; }
        Nest(const Nest&) = delete;
        Nest& operator=(const Nest&) = delete;
        Parser& p;
    };
    [[noreturn]] void too_deep();
    ExprPtr set_height(ExprPtr e, unsigned below);
    /// A copy that counts against kClonedNodesMax: comparisons and CASE may nest copies in copies.
    ExprPtr bounded_clone(const Expr& e);

    // ---- Expressions (expressions.cc) ----
    ExprPtr parse_expression();
    ExprPtr parse_or();
    ExprPtr parse_xor();
    ExprPtr parse_and();
    ExprPtr parse_not();
    ExprPtr parse_comparison();
    ExprPtr parse_predicate();
    ExprPtr parse_predicate_tail(ExprPtr left, bool& matched);
    ExprPtr parse_additive();
    ExprPtr parse_multiplicative();
    ExprPtr parse_power();
    ExprPtr parse_unary();
    ExprPtr parse_postfix(bool labels_allowed = true);
    ExprPtr parse_atom();
    ExprPtr parse_name_atom();
    ExprPtr parse_keyword_atom(bool& matched);
    ExprPtr parse_number(bool negative);
    ExprPtr parse_list();
    [[nodiscard]] bool at_braced_parameter() const;
    ExprPtr parse_map();
    ExprPtr parse_map_projection(ExprPtr base);
    ExprPtr parse_function(std::size_t name_tokens);
    ExprPtr parse_trim(SourcePosition where);
    ExprPtr parse_case();
    ExprPtr parse_quantifier(QuantifierKind kind);
    ExprPtr parse_reduce();
    ExprPtr parse_subquery_expression(SubqueryKind kind);
    std::unique_ptr<Parameter> parse_parameter();
    ExprPtr binary(SourcePosition where, BinaryOp op, ExprPtr left, ExprPtr right);
    ExprPtr balanced(std::vector<ExprPtr>& operands,
                     const std::vector<SourcePosition>& at,
                     BinaryOp op,
                     std::size_t from,
                     std::size_t to);
    TypeRef parse_type();
    TypeRef parse_single_type();

    // ---- Patterns (patterns.cc) ----
    std::vector<PathPattern> parse_pattern_list();
    PathPattern parse_path_pattern();
    PathPattern parse_anonymous_pattern();
    void parse_chain(PathPattern& pattern);
    NodePattern parse_node();
    RelPattern parse_relationship();
    void parse_relationship_detail(RelPattern& r);
    std::optional<VariableLength> parse_quantifier_braces();
    LabelExpr parse_labels();
    LabelExpr parse_label_or();
    LabelExpr parse_label_and();
    LabelExpr parse_label_not();
    std::vector<std::string> parse_label_names();
    ExprPtr parse_properties();
    bool at_relationship();
    /// Whether a path pattern of at least one relationship begins at this token; gives the token
    /// after it.
    bool scan_pattern(std::size_t from, std::size_t& after);
    std::int64_t expect_count();

    // ---- Clauses (clauses.cc) ----
    Query parse_query();
    SingleQuery parse_single_query();
    bool parse_clause(SingleQuery& into);
    bool at_clause();
    void note_clauses();
    MatchClause parse_match(bool optional);
    UsingHint parse_hint();
    Projection parse_projection();
    void parse_projection_tail(Projection& p);
    ProjectionItem parse_projection_item();
    std::vector<SortItem> parse_order_by();
    std::vector<SetItem> parse_set_items();
    SetItem parse_set_item();
    RemoveItem parse_remove_item();
    template <class Item>
    void parse_changed_property(Item& item);
    MergeClause parse_merge();
    CallClause parse_procedure_call();
    std::vector<YieldItem> parse_yield_items();
    SubqueryClause parse_call_subquery();
    InTransactions parse_in_transactions();
    ForeachClause parse_foreach();
    LoadCsvClause parse_load_csv();
    std::string parse_use();
    std::string parse_dotted_name();

    // ---- Schema and administration (commands.cc) ----
    bool parse_command(Statement& s);
    bool parse_create_command(Statement& s);
    CreateIndexCommand parse_create_index(engine::IndexType type);
    CreateConstraintCommand parse_create_constraint();
    bool parse_drop_command(Statement& s);
    struct SchemaPattern {
        std::string variable;
        engine::EntityKind entity = engine::EntityKind::kNode;
        std::vector<std::string> tokens;
    };
    SchemaPattern parse_schema_pattern(bool tokens_required);
    std::string parse_schema_property(const std::string& variable);
    std::vector<std::string> parse_schema_properties(const std::string& variable);
    bool parse_if_not_exists();
    bool parse_if_exists();
    std::string parse_optional_schema_name();
    void parse_options(ExprPtr& options);
    StatementBody parse_show();
    std::optional<ShowCommand> parse_show_subject();
    void parse_show_tail(ShowCommand& s);
    TerminateCommand parse_terminate();
    AdminCommand parse_create_user(bool or_replace);
    AdminCommand parse_alter_user();
    AdminCommand parse_drop_user();
    AdminCommand parse_rename_user();
    AdminCommand parse_unsupported_admin(std::size_t from);
    ExprPtr parse_name_or_parameter();
    ExprPtr parse_string_or_parameter();
    [[nodiscard]] bool next_word_is(std::size_t n, std::string_view word) const {
        return ahead(n).kind == TokenKind::kIdentifier &&
               equals_ignoring_case(text_of(ahead(n)), word);
    }
    void parse_user_options(AdminCommand& c);
    void parse_prefixes(Statement& s);

    std::string_view text_;
    const std::vector<Token>& tokens_;
    std::size_t i_ = 0;
    unsigned nesting_ = 0;
    unsigned child_height_ = 0;  // of the expressions parsed inside the one at hand
    std::size_t cloned_nodes_ = 0;
    bool bar_ends_ = false;  // in [x IN l WHERE x:A | …] the bar is not part of the labels
    std::vector<std::size_t> closing_;
    Statement* statement_ = nullptr;
    std::unordered_set<std::string> parameters_seen_;

    bool recording_ = false;
    std::size_t record_at_ = 0;
    std::size_t muted_at_ = kNowhere;
    std::size_t failed_at_ = kNowhere;
    std::vector<std::string> expected_;
};

}  // namespace nornic::cypher
