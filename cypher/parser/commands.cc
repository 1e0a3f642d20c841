// Commands: indexes and constraints, SHOW, TERMINATE, users; and what is known by name only to be
// refused.

#include "cypher/parser/parser_impl.h"

namespace nornic::cypher {

using engine::ConstraintType;
using engine::EntityKind;
using engine::IndexType;

bool Parser::parse_command(Statement& s) {
    // A command begins with its verb and another word; a clause of the same name goes on with a
    // pattern.
    const bool word_follows =
        ahead(1).kind == TokenKind::kIdentifier && ahead(2).kind != TokenKind::kEqual;
    const auto unsupported = [&] {
        s.body = parse_unsupported_admin(i_);
        return true;
    };
    switch (current().keyword) {
        case Keyword::kCreate:
            return word_follows && parse_create_command(s);
        case Keyword::kDrop:
            return parse_drop_command(s);
        case Keyword::kShow:
            s.body = parse_show();
            return true;
        case Keyword::kTerminate:
            s.body = parse_terminate();
            return true;
        case Keyword::kAlter:
            if (next_word_is(1, "USER") || next_word_is(1, "CURRENT")) {
                s.body = parse_alter_user();
                return true;
            }
            if (word_follows) {
                return unsupported();
            }
            return false;
        case Keyword::kRename:
            if (next_word_is(1, "USER")) {
                s.body = parse_rename_user();
                return true;
            }
            if (word_follows) {
                return unsupported();
            }
            return false;
        case Keyword::kGrant:
        case Keyword::kDeny:
        case Keyword::kRevoke:
        case Keyword::kStart:
        case Keyword::kStop:
        case Keyword::kDeallocate:
        case Keyword::kReallocate:
        case Keyword::kEnable:
        case Keyword::kDryrun:
            if (current().keyword == Keyword::kStart && !next_word_is(1, "DATABASE")) {
                note_clauses();
                invalid_input();
            }
            if (word_follows) {
                return unsupported();
            }
            return false;
        default:
            if (recording_ && i_ == record_at_) {
                for (const auto word : {"ALTER",
                                        "DENY",
                                        "DROP",
                                        "GRANT",
                                        "RENAME",
                                        "REVOKE",
                                        "SHOW",
                                        "START DATABASE",
                                        "STOP DATABASE",
                                        "TERMINATE"}) {
                    note_keyword(word);
                }
            }
            return false;
    }
}

AdminCommand Parser::parse_unsupported_admin(std::size_t from) {
    AdminCommand c;
    while (current().kind != TokenKind::kEnd && current().kind != TokenKind::kSemicolon) {
        ++i_;
    }
    c.text = source(from, i_);
    return c;
}

// ---- CREATE, DROP ----

bool Parser::parse_create_command(Statement& s) {
    const std::size_t from = i_;
    std::size_t n = 1;
    bool or_replace = false;
    if (ahead(1).keyword == Keyword::kOr && next_word_is(2, "REPLACE")) {
        or_replace = true;
        n = 3;
    }
    struct Named {
        std::string_view word;
        IndexType type;
    };
    constexpr std::array kIndexWords{Named{"RANGE", IndexType::kRange},
                                     Named{"BTREE", IndexType::kRange},
                                     Named{"TEXT", IndexType::kText},
                                     Named{"POINT", IndexType::kPoint},
                                     Named{"LOOKUP", IndexType::kLookup},
                                     Named{"FULLTEXT", IndexType::kFulltext},
                                     Named{"VECTOR", IndexType::kVector}};
    if (next_word_is(n, "INDEX")) {
        i_ += n + 1;
        s.body = parse_create_index(IndexType::kRange);
        return true;
    }
    for (const auto& named : kIndexWords) {
        if (next_word_is(n, named.word) && next_word_is(n + 1, "INDEX")) {
            if (named.word == "BTREE") {
                i_ += n;
                fail_at(position(),
                        "Invalid index type b-tree, use range, point or text index instead.",
                        "42001>42N14");
            }
            i_ += n + 2;
            s.body = parse_create_index(named.type);
            return true;
        }
    }
    if (next_word_is(n, "CONSTRAINT")) {
        i_ += n + 1;
        s.body = parse_create_constraint();
        return true;
    }
    if (next_word_is(n, "USER")) {
        i_ += n + 1;
        s.body = parse_create_user(or_replace);
        return true;
    }
    for (const std::string_view word : {"DATABASE", "COMPOSITE", "ALIAS", "ROLE", "IMMUTABLE"}) {
        if (next_word_is(n, word)) {
            s.body = parse_unsupported_admin(from);
            return true;
        }
    }
    if (or_replace) {
        i_ += n;
        invalid_input();
    }
    return false;
}

bool Parser::parse_if_not_exists() {
    return accept_words({"IF", "NOT", "EXISTS"});
}
bool Parser::parse_if_exists() {
    return accept_words({"IF", "EXISTS"});
}

std::string Parser::parse_optional_schema_name() {
    const bool for_follows = next_word_is(0, "FOR") && ahead(1).kind == TokenKind::kLeftParen;
    const bool if_follows = next_word_is(0, "IF") && next_word_is(1, "NOT");
    const bool on_follows =
        current().keyword == Keyword::kOn &&
        (ahead(1).kind == TokenKind::kColon || ahead(1).kind == TokenKind::kLeftParen);
    if (is_name(current()) && !for_follows && !if_follows && !on_follows) {
        return expect_name();
    }
    return {};
}

void Parser::parse_options(ExprPtr& options) {
    if (accept_word("OPTIONS")) {
        options = current().kind == TokenKind::kDollar ? ExprPtr{parse_parameter()} : parse_map();
    }
}

Parser::SchemaPattern Parser::parse_schema_pattern(bool tokens_required) {
    SchemaPattern p;
    const auto tokens = [&] {
        if (!tokens_required && !at(TokenKind::kColon)) {
            return;
        }
        expect(TokenKind::kColon);
        do {
            p.tokens.push_back(expect_name());
        } while (accept(TokenKind::kBar));
    };
    expect(TokenKind::kLeftParen);
    if (accept(TokenKind::kRightParen)) {
        p.entity = EntityKind::kRelationship;
        accept(TokenKind::kLess);
        expect(TokenKind::kMinus);
        expect(TokenKind::kLeftBracket);
        p.variable = expect_name("a variable name");
        tokens();
        expect(TokenKind::kRightBracket);
        expect(TokenKind::kMinus);
        accept(TokenKind::kGreater);
        expect(TokenKind::kLeftParen);
        expect(TokenKind::kRightParen);
        return p;
    }
    p.variable = expect_name("a variable name");
    tokens();
    expect(TokenKind::kRightParen);
    return p;
}

std::string Parser::parse_schema_property(const std::string& variable) {
    const auto where = position();
    const std::string name = expect_name("a variable name");
    if (name != variable) {
        fail_at(where, fmt::format("Variable `{}` not defined", name), "42001>42N62");
    }
    expect(TokenKind::kDot);
    return expect_name("a property key name");
}

std::vector<std::string> Parser::parse_schema_properties(const std::string& variable) {
    std::vector<std::string> out;
    if (!accept(TokenKind::kLeftParen)) {
        out.push_back(parse_schema_property(variable));
        return out;
    }
    do {
        out.push_back(parse_schema_property(variable));
    } while (accept(TokenKind::kComma));
    expect(TokenKind::kRightParen);
    return out;
}

CreateIndexCommand Parser::parse_create_index(IndexType type) {
    CreateIndexCommand c;
    c.type = type;
    c.name = parse_optional_schema_name();
    c.if_not_exists = parse_if_not_exists();
    if (current().keyword == Keyword::kOn) {
        fail_at(position(),
                "Invalid create index syntax, use `CREATE INDEX FOR ...` instead.",
                "42001>42N14");
    }
    expect_word("FOR");
    const auto where = position();
    const SchemaPattern p = parse_schema_pattern(type != IndexType::kLookup);
    c.entity = p.entity;
    c.tokens = p.tokens;
    if (p.tokens.size() > 1 && type != IndexType::kFulltext) {
        fail_at(where,
                "Only full-text indexes take more than one label or relationship type",
                "42001>42N14");
    }
    expect(Keyword::kOn);
    if (type == IndexType::kLookup) {
        accept_word("EACH");
        expect_word(c.entity == EntityKind::kNode ? "labels" : "type");
        expect(TokenKind::kLeftParen);
        const auto at_name = position();
        const std::string name = expect_name("a variable name");
        if (name != p.variable) {
            fail_at(at_name, fmt::format("Variable `{}` not defined", name), "42001>42N62");
        }
        expect(TokenKind::kRightParen);
    } else if (type == IndexType::kFulltext) {
        expect_word("EACH");
        expect(TokenKind::kLeftBracket);
        do {
            c.properties.push_back(parse_schema_property(p.variable));
        } while (accept(TokenKind::kComma));
        expect(TokenKind::kRightBracket);
    } else {
        c.properties = parse_schema_properties(p.variable);
        if (c.properties.size() > 1 && type != IndexType::kRange) {
            fail_at(where,
                    fmt::format("{} indexes take exactly one property",
                                type == IndexType::kText    ? "Text"
                                : type == IndexType::kPoint ? "Point"
                                                            : "Vector"),
                    "42001>42N14");
        }
    }
    parse_options(c.options);
    return c;
}

CreateConstraintCommand Parser::parse_create_constraint() {
    CreateConstraintCommand c;
    c.name = parse_optional_schema_name();
    c.if_not_exists = parse_if_not_exists();
    if (current().keyword == Keyword::kOn) {
        fail_at(position(),
                "Invalid constraint syntax, ON and ASSERT should be replaced by FOR and REQUIRE.",
                "42001>42N14");
    }
    expect_word("FOR");
    const auto where = position();
    const SchemaPattern p = parse_schema_pattern(true);
    if (p.tokens.size() > 1) {
        fail_at(where, "A constraint takes exactly one label or relationship type", "42001>42N14");
    }
    c.entity = p.entity;
    c.token = p.tokens.front();
    if (current().kind == TokenKind::kIdentifier && next_word_is(0, "ASSERT")) {
        fail_at(position(),
                "Invalid constraint syntax, ON and ASSERT should be replaced by FOR and REQUIRE.",
                "42001>42N14");
    }
    expect_word("REQUIRE");
    c.properties = parse_schema_properties(p.variable);
    const auto single = [&](std::string_view kind) {
        if (c.properties.size() > 1) {
            fail_at(where,
                    fmt::format("Constraint type '{}' does not allow multiple properties", kind),
                    "42001>42N14");
        }
    };
    const auto type_follows = [&] {
        single("IS TYPED");
        c.type = ConstraintType::kPropertyType;
        c.property_type = parse_type();
    };
    if (accept(TokenKind::kDoubleColon)) {
        type_follows();
    } else {
        expect(Keyword::kIs);
        const bool not_null = accept_words({"NOT", "NULL"});
        if (not_null) {
            single("IS NOT NULL");
            c.type = ConstraintType::kExists;
        } else if (accept(TokenKind::kDoubleColon) || accept(Keyword::kTyped)) {
            type_follows();
        } else {
            const auto at_kind = position();
            bool node = accept_word("NODE");
            const bool relationship = !node && (accept_word("RELATIONSHIP") || accept_word("REL"));
            if ((node && c.entity != EntityKind::kNode) ||
                (relationship && c.entity != EntityKind::kRelationship)) {
                fail_at(at_kind, "The constraint's kind does not fit its pattern", "42001>42N14");
            }
            if (accept_word("KEY")) {
                c.type = ConstraintType::kKey;
            } else {
                expect_word("UNIQUE");
                c.type = ConstraintType::kUnique;
            }
        }
    }
    parse_options(c.options);
    return c;
}

bool Parser::parse_drop_command(Statement& s) {
    const std::size_t from = i_;
    expect(Keyword::kDrop);
    const bool index = at_word("INDEX");
    if (index || at_word("CONSTRAINT")) {
        ++i_;
        if (current().keyword == Keyword::kOn &&
            (ahead(1).kind == TokenKind::kColon || ahead(1).kind == TokenKind::kLeftParen)) {
            fail_at(position(),
                    index ? "Indexes cannot be dropped by schema, please drop by name instead: "
                            "DROP INDEX index_name"
                          : "Constraints cannot be dropped by schema, please drop by name instead: "
                            "DROP CONSTRAINT constraint_name",
                    "42001>42N14");
        }
        DropSchemaCommand c;
        c.constraint = !index;
        c.name = expect_name();
        c.if_exists = parse_if_exists();
        s.body = std::move(c);
        return true;
    }
    if (accept_word("USER")) {
        s.body = parse_drop_user();
        return true;
    }
    for (const std::string_view word : {"DATABASE", "COMPOSITE", "ALIAS", "ROLE", "SERVER"}) {
        if (at_word(word)) {
            s.body = parse_unsupported_admin(from);
            return true;
        }
    }
    invalid_input();
}

// ---- SHOW, TERMINATE ----

std::optional<ShowCommand> Parser::parse_show_subject() {
    ShowCommand s;
    const auto either = [&](std::string_view singular, std::string_view plural) {
        return accept_word(plural) || accept_word(singular);
    };
    const auto indexes = [&] { return either("INDEX", "INDEXES"); };
    const auto constraints = [&] { return either("CONSTRAINT", "CONSTRAINTS"); };
    const std::size_t from = i_;
    const auto what = [&](std::string_view name) {
        s.what = name;
        if (i_ > from + 1) {
            s.filter = source(from, i_ - 1);
            for (char& c : s.filter) {
                c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
            }
        }
        return std::optional{std::move(s)};
    };
    // Words that may stand before INDEXES, CONSTRAINTS, FUNCTIONS or PROCEDURES.
    static constexpr std::array kFilters{
        "ALL",       "RANGE",        "TEXT", "POINT",    "LOOKUP", "FULLTEXT",   "VECTOR",
        "NODE",      "RELATIONSHIP", "REL",  "PROPERTY", "UNIQUE", "UNIQUENESS", "KEY",
        "EXISTENCE", "EXIST",        "TYPE", "BUILT",    "IN",     "USER",       "DEFINED"};
    std::size_t n = 0;
    while (std::ranges::any_of(kFilters, [&](std::string_view f) { return next_word_is(n, f); })) {
        ++n;
    }
    const auto follows = [&](std::string_view singular, std::string_view plural) {
        return next_word_is(n, singular) || next_word_is(n, plural);
    };
    if (n == 0 || follows("INDEX", "INDEXES") || follows("CONSTRAINT", "CONSTRAINTS") ||
        follows("FUNCTION", "FUNCTIONS")) {
        i_ += n;
        if (indexes()) {
            return what("INDEXES");
        }
        if (constraints()) {
            return what("CONSTRAINTS");
        }
        const bool functions = either("FUNCTION", "FUNCTIONS");
        if (functions || (n == 0 && either("PROCEDURE", "PROCEDURES"))) {
            auto out = what(functions ? "FUNCTIONS" : "PROCEDURES");
            if (accept_word("EXECUTABLE") && accept(Keyword::kBy)) {
                if (!accept_words({"CURRENT", "USER"})) {
                    out->names.push_back(parse_name_or_parameter());
                }
            }
            return out;
        }
        i_ -= n;
    }
    if (either("TRANSACTION", "TRANSACTIONS")) {
        s.what = "TRANSACTIONS";
    } else if (either("SETTING", "SETTINGS")) {
        s.what = "SETTINGS";
    } else if (either("CONFLICT", "CONFLICTS")) {
        s.what = "CONFLICTS";
    } else if (accept_words({"DEFAULT", "DATABASE"})) {
        s.what = "DEFAULT DATABASE";
        return s;
    } else if (accept_words({"HOME", "DATABASE"})) {
        s.what = "HOME DATABASE";
        return s;
    } else if (either("DATABASE", "DATABASES")) {
        s.what = "DATABASES";
        if (is_name(current()) && current().keyword != Keyword::kYield &&
            current().keyword != Keyword::kWhere) {
            s.names.push_back(std::make_unique<Literal>(position(), Value{parse_dotted_name()}));
        } else if (current().kind == TokenKind::kDollar) {
            s.names.push_back(parse_parameter());
        }
        return s;
    } else if (either("SERVER", "SERVERS")) {
        s.what = "SERVERS";
        return s;
    } else if (accept_words({"CURRENT", "USER"})) {
        s.what = "CURRENT USER";
        return s;
    } else if (next_word_is(0, "USERS") ||
               (next_word_is(0, "USER") &&
                (ahead(1).kind == TokenKind::kEnd || ahead(1).kind == TokenKind::kSemicolon ||
                 ahead(1).keyword == Keyword::kYield || ahead(1).keyword == Keyword::kWhere))) {
        ++i_;
        s.what = "USERS";
        if (accept(Keyword::kWith)) {
            expect_word("AUTH");
        }
        return s;
    } else {
        return std::nullopt;
    }
    if (current().kind == TokenKind::kString || current().kind == TokenKind::kDollar) {
        do {
            s.names.push_back(parse_expression());
        } while (accept(TokenKind::kComma));
    }
    return s;
}

StatementBody Parser::parse_show() {
    const std::size_t from = i_;
    expect(Keyword::kShow);
    if (auto s = parse_show_subject()) {
        parse_show_tail(*s);
        return std::move(*s);
    }
    for (const std::string_view word : {"ALIAS",
                                        "ALIASES",
                                        "ROLE",
                                        "ROLES",
                                        "POPULATED",
                                        "PRIVILEGE",
                                        "PRIVILEGES",
                                        "SUPPORTED",
                                        "USER",
                                        "ALL"}) {
        if (at_word(word)) {
            if (word == "ALL" && !next_word_is(1, "ROLES") && !next_word_is(1, "ROLE") &&
                !next_word_is(1, "PRIVILEGES") && !next_word_is(1, "PRIVILEGE")) {
                break;
            }
            return parse_unsupported_admin(from);
        }
    }
    invalid_input();
}

void Parser::parse_show_tail(ShowCommand& s) {
    if (accept(Keyword::kYield)) {
        if (accept(TokenKind::kStar)) {
            s.yield_star = true;
        } else {
            s.yields = parse_yield_items();
        }
        Projection tail;
        parse_projection_tail(tail);
        s.order_by = std::move(tail.order_by);
        s.skip = std::move(tail.skip);
        s.limit = std::move(tail.limit);
        if (accept(Keyword::kWhere)) {
            s.where = parse_expression();
        }
        if (accept(Keyword::kReturn)) {
            s.returns = ReturnClause{parse_projection()};
        }
    } else if (accept(Keyword::kWhere)) {
        s.where = parse_expression();
    }
}

TerminateCommand Parser::parse_terminate() {
    TerminateCommand c;
    expect(Keyword::kTerminate);
    if (!accept_word("TRANSACTIONS")) {
        expect_word("TRANSACTION");
    }
    do {
        c.ids.push_back(parse_expression());
    } while (accept(TokenKind::kComma));
    return c;
}

// ---- Users ----

ExprPtr Parser::parse_name_or_parameter() {
    if (current().kind == TokenKind::kDollar) {
        return parse_parameter();
    }
    const auto where = position();
    return std::make_unique<Literal>(where, Value{expect_name()});
}

ExprPtr Parser::parse_string_or_parameter() {
    if (current().kind == TokenKind::kDollar) {
        return parse_parameter();
    }
    if (!at(TokenKind::kString)) {
        invalid_input();
    }
    const auto where = position();
    Value v{unescape_string(text_, current())};
    ++i_;
    return std::make_unique<Literal>(where, std::move(v));
}

/// [SET] [PLAINTEXT] PASSWORD 'x' [CHANGE [NOT] REQUIRED], SET PASSWORD CHANGE …, SET STATUS …, SET
/// HOME DATABASE x.
void Parser::parse_user_options(AdminCommand& c) {
    bool any = false;
    while (true) {
        if (accept_words({"REMOVE", "HOME", "DATABASE"})) {
            c.home_database.clear();
            any = true;
            continue;
        }
        const bool set = accept(Keyword::kSet);
        if (!set && !any) {
            invalid_input();
        }
        if (accept_words({"PASSWORD", "CHANGE"}) || (!set && accept_word("CHANGE"))) {
            c.password_change_required = !accept(Keyword::kNot);
            expect_word("REQUIRED");
        } else if (accept_word("PASSWORD") || accept_words({"PLAINTEXT", "PASSWORD"})) {
            c.password = parse_string_or_parameter();
        } else if (accept_words({"ENCRYPTED", "PASSWORD"})) {
            fail_at(position(),
                    "Encrypted passwords are not supported; give the password in plain text",
                    "42001>42N14");
        } else if (accept_word("STATUS")) {
            c.suspended = !accept_word("ACTIVE");
            if (*c.suspended) {
                expect_word("SUSPENDED");
            }
        } else if (accept_words({"HOME", "DATABASE"})) {
            c.home_database = parse_dotted_name();
        } else {
            invalid_input();
        }
        any = true;
        if (!at(Keyword::kSet) && !at_word("CHANGE") && !at(Keyword::kRemove)) {
            return;
        }
    }
}

AdminCommand Parser::parse_create_user(bool or_replace) {
    AdminCommand c;
    c.kind = AdminCommand::Kind::kCreateUser;
    c.replace = or_replace;
    c.user = parse_name_or_parameter();
    c.if_not_exists = parse_if_not_exists();
    parse_user_options(c);
    if (!c.password) {
        invalid_input();
    }
    return c;
}

AdminCommand Parser::parse_alter_user() {
    AdminCommand c;
    expect(Keyword::kAlter);
    if (accept_word("CURRENT")) {
        c.kind = AdminCommand::Kind::kAlterCurrentUserPassword;
        expect_word("USER");
        expect(Keyword::kSet);
        expect_word("PASSWORD");
        expect(Keyword::kFrom);
        c.old_password = parse_string_or_parameter();
        expect_word("TO");
        c.password = parse_string_or_parameter();
        return c;
    }
    c.kind = AdminCommand::Kind::kAlterUser;
    expect_word("USER");
    c.user = parse_name_or_parameter();
    c.if_exists = parse_if_exists();
    parse_user_options(c);
    return c;
}

AdminCommand Parser::parse_drop_user() {
    AdminCommand c;
    c.kind = AdminCommand::Kind::kDropUser;
    c.user = parse_name_or_parameter();
    c.if_exists = parse_if_exists();
    return c;
}

AdminCommand Parser::parse_rename_user() {
    AdminCommand c;
    c.kind = AdminCommand::Kind::kRenameUser;
    i_ += 2;
    c.user = parse_name_or_parameter();
    c.if_exists = parse_if_exists();
    expect_word("TO");
    c.new_name = parse_name_or_parameter();
    return c;
}

}  // namespace nornic::cypher
