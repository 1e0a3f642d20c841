// Finds where statements end: at a semicolon outside quotes, backticks and comments.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nornic::cli {

class Splitter {
public:
    void feed(std::string_view text) { pending_.append(text); }
    /// The next complete statement without its semicolon, or a whole ":command" line; nullopt: more
    /// is needed.
    std::optional<std::string> next();
    /// What is left at the end of the input: a last statement without a semicolon.
    std::optional<std::string> rest();
    /// Whether a statement has been begun.
    [[nodiscard]] bool in_statement() const;
    void clear() { pending_.clear(); }

private:
    std::string pending_;
};

}  // namespace nornic::cli
