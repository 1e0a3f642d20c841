#include "cli/shell/splitter.h"

namespace nornic::cli {
namespace {

constexpr std::string_view kSpace = " \t\r\n";

std::string_view trim(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(kSpace);
    if (begin == std::string_view::npos) {
        return {};
    }
    return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

/// Past white space and comments.
std::size_t skip_blank(std::string_view text, std::size_t i) {
    for (;;) {
        while (i < text.size() && kSpace.find(text[i]) != std::string_view::npos) {
            ++i;
        }
        if (text.substr(i).starts_with("//")) {
            const std::size_t end = text.find('\n', i);
            i = end == std::string_view::npos ? text.size() : end + 1;
        } else if (text.substr(i).starts_with("/*")) {
            const std::size_t end = text.find("*/", i + 2);
            i = end == std::string_view::npos ? text.size() : end + 2;
        } else {
            return i;
        }
    }
}

/// Where the statement's semicolon stands; npos if it is not there yet.
std::size_t find_end(std::string_view text) {
    for (std::size_t i = 0; i < text.size();) {
        const char c = text[i];
        if (c == '\'' || c == '"' || c == '`') {
            ++i;
            while (i < text.size() && text[i] != c) {
                i += text[i] == '\\' && c != '`' ? 2 : 1;
            }
            ++i;
        } else if (text.substr(i).starts_with("//") || text.substr(i).starts_with("/*")) {
            i = skip_blank(text, i);
        } else if (c == ';') {
            return i;
        } else {
            ++i;
        }
    }
    return std::string_view::npos;
}

}  // namespace

std::optional<std::string> Splitter::next() {
    for (;;) {
        const std::size_t start = skip_blank(pending_, 0);
        if (start < pending_.size() && pending_[start] == ':') {
            const std::size_t end = pending_.find('\n', start);
            if (end == std::string::npos) {
                return std::nullopt;
            }
            std::string command{trim(std::string_view{pending_}.substr(start, end - start))};
            pending_.erase(0, end + 1);
            return command;
        }
        const std::size_t end = find_end(pending_);
        if (end == std::string::npos) {
            return std::nullopt;
        }
        std::string statement{trim(std::string_view{pending_}.substr(0, end))};
        pending_.erase(0, end + 1);
        if (skip_blank(statement, 0) < statement.size()) {
            return statement;
        }
    }
}

std::optional<std::string> Splitter::rest() {
    const std::string text{trim(pending_)};
    pending_.clear();
    if (skip_blank(text, 0) >= text.size()) {
        return std::nullopt;
    }
    return text;
}

bool Splitter::in_statement() const {
    return skip_blank(pending_, 0) < pending_.size();
}

}  // namespace nornic::cli
