#include "cypher/semantics/analyser.h"

#include "cypher/parser/parser.h"

#include <fmt/format.h>

namespace nornic::cypher {

std::string type_text(StaticType type) {
    struct Named {
        TypeSet bit;
        std::string_view name;
    };
    static constexpr Named kNames[] = {
        {types::kBoolean, "Boolean"},
        {types::kFloat, "Float"},
        {types::kInteger, "Integer"},
        {types::kString, "String"},
        {types::kMap, "Map"},
        {types::kNode, "Node"},
        {types::kPath, "Path"},
        {types::kRelationship, "Relationship"},
        {types::kPoint, "Point"},
        {types::kDuration, "Duration"},
        {types::kDate, "Date"},
        {types::kTime, "Time"},
        {types::kLocalTime, "LocalTime"},
        {types::kLocalDateTime, "LocalDateTime"},
        {types::kDateTime, "DateTime"},
        {types::kBytes, "ByteArray"},
    };
    const TypeSet set = type.set & ~types::kNull;
    if (set == (types::kAny & ~types::kNull)) {
        return "Any";
    }
    std::vector<std::string> parts;
    for (const auto& n : kNames) {
        if ((set & n.bit) != 0) {
            parts.emplace_back(n.name);
        }
    }
    if ((set & types::kList) != 0) {
        const TypeSet elements = type.elements & ~types::kNull;
        const bool known =
            elements != 0 && (elements & (elements - 1)) == 0 && elements != types::kList;
        parts.push_back(known ? fmt::format("List<{}>", type_text({elements, types::kAny}))
                              : "List<Any>");
    }
    std::string out;
    for (std::size_t i = 0; i < parts.size(); ++i) {
        out += i == 0 ? "" : (i + 1 == parts.size() ? " or " : ", ");
        out += parts[i];
    }
    return out.empty() ? "Null" : out;
}

void Analyser::fail(SourcePosition where,
                    std::string_view message,
                    std::string gql,
                    ErrorCode code) const {
    throw QueryError{code, with_caret(message, statement_.text, where), std::move(gql), where};
}

void Analyser::mismatch(const Expr& e,
                        std::string_view expected,
                        StaticType was,
                        std::string gql) const {
    if (e.kind == ExprKind::kParameter) {
        fail(e.position,
             fmt::format("Type mismatch for parameter '{}': expected {} but was {}",
                         static_cast<const Parameter&>(e).name,
                         expected,
                         type_text(was)),
             std::move(gql));
    }
    fail(e.position,
         fmt::format("Type mismatch: expected {} but was {}", expected, type_text(was)),
         std::move(gql));
}

void Analyser::require(const Expr& e, StaticType type, TypeSet accepted, std::string gql) {
    if (!type.may_be(accepted)) {
        mismatch(e, type_set_text(accepted), type, std::move(gql));
    }
}

Symbol Analyser::new_symbol(std::string name, StaticType type, bool anonymous) {
    const auto symbol = static_cast<Symbol>(result_.symbols.size());
    if (anonymous) {
        name = fmt::format("anon_{}", symbol);
    }
    result_.symbols.push_back(SymbolInfo{std::move(name), type.set, type.elements, anonymous});
    return symbol;
}

Symbol Analyser::declare(const std::string& name, StaticType type, SourcePosition where) {
    if (scope_.contains(name)) {
        fail(where, fmt::format("Variable `{}` already declared", name), "42001>42N59");
    }
    const Symbol symbol = new_symbol(name, type);
    scope_.emplace(name, symbol);
    return symbol;
}

Analyser::Local::Local(Analyser& a, const std::string& n, Symbol symbol) : analyser{a}, name{n} {
    const auto [it, inserted] = analyser.scope_.try_emplace(name, symbol);
    if (!inserted) {
        before = std::exchange(it->second, symbol);
    }
}
Analyser::Local::~Local() {
    if (before == kNoSymbol) {
        analyser.scope_.erase(name);
    } else {
        analyser.scope_[name] = before;
    }
}

void Analyser::notify_deprecated_id(SourcePosition where) {
    result_.notifications.push_back(
        Notification{"Neo.ClientNotification.Statement.FeatureDeprecationWarning",
                     "01N02",
                     "This feature is deprecated and will be removed in future versions.",
                     "The query used a deprecated function: `id`.",
                     "warn: feature deprecated without replacement. id is deprecated and will be "
                     "removed without a replacement.",
                     "WARNING",
                     "DEPRECATION",
                     where});
}

void Analyser::finish_parameters() {
    if (statement_.explain == ExplainMode::kExplain) {
        return;
    }
    std::string missing;
    for (const auto& name : statement_.parameters) {
        if (!parameters_.contains(name)) {
            missing += missing.empty() ? "" : ", ";
            missing += name;
        }
    }
    if (!missing.empty()) {
        throw QueryError{
            ErrorCode::kParameterMissing, "Expected parameter(s): " + missing, "42001>42N81"};
    }
}

Semantics Analyser::run() {
    if (auto* query = std::get_if<Query>(&statement_.body)) {
        analyse_query(*query, QueryKind::kTop, Scope{});
        result_.columns = std::move(columns_);
        result_.column_symbols = std::move(column_symbols_);
    } else if (auto* show = std::get_if<ShowCommand>(&statement_.body)) {
        analyse_show(*show);
    } else if (auto* terminate = std::get_if<TerminateCommand>(&statement_.body)) {
        for (auto& id : terminate->ids) {
            check(id);
        }
        result_.columns = {"transactionId", "username", "message"};
    } else if (auto* admin = std::get_if<AdminCommand>(&statement_.body)) {
        analyse_admin(*admin);
        result_.schema = true;
        result_.writes = true;
    } else {
        ExprPtr* options = nullptr;
        if (auto* index = std::get_if<CreateIndexCommand>(&statement_.body)) {
            options = &index->options;
        } else if (auto* constraint = std::get_if<CreateConstraintCommand>(&statement_.body)) {
            options = &constraint->options;
        }
        if (options != nullptr && *options) {
            check(*options);
        }
        result_.schema = true;
        result_.writes = true;
    }
    finish_parameters();
    return std::move(result_);
}

Result<Semantics> analyse(Statement& statement,
                          const Map& parameters,
                          const ProcedureRegistry* procedures) {
    try {
        return Analyser{statement, parameters, procedures}.run();
    } catch (const QueryError& error) {
        return error.error();
    }
}

}  // namespace nornic::cypher
