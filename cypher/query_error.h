// QueryError: how the rooms below cypher/'s front door say that a statement failed.
//
// Expressions are evaluated deep inside operators, once a row; threading a Result through each of
// them would cost more than the work. So inside cypher/ errors are thrown, and the front door turns
// them back into a Result. No other room ever sees this exception.
#pragma once

#include "base/result.h"

#include <exception>
#include <optional>
#include <string>
#include <utility>

namespace nornic::cypher {

class QueryError : public std::exception {
public:
    explicit QueryError(Error error) : error_{std::move(error)} {}
    /// gql: the GQL status chain, "22012>22N28"; empty for the code's default.
    QueryError(ErrorCode code,
               std::string message,
               std::string gql = {},
               std::optional<SourcePosition> position = std::nullopt)
        : error_{code, std::move(message), position, std::move(gql)} {}

    [[nodiscard]] const Error& error() const noexcept { return error_; }
    [[nodiscard]] const char* what() const noexcept override { return error_.message().c_str(); }

private:
    Error error_;
};

/// The value of a Result, or its error thrown.
template <class T>
T value_or_throw(Result<T> result) {
    if (!result) {
        throw QueryError{std::move(result).error()};
    }
    return std::move(result).value();
}

}  // namespace nornic::cypher
