// What `nornicdb check` found, a line each.
#pragma once

#include <string>
#include <vector>

namespace nornic::cli {

struct Finding {
    enum class Kind : unsigned char { kOk, kWarning, kProblem };
    Kind kind = Kind::kOk;
    std::string about;  // "bolt port"
    std::string text;   // for a problem: what it is, and what to do
};

class Findings {
public:
    void ok(std::string about, std::string text) { all_.push_back({Finding::Kind::kOk, std::move(about), std::move(text)}); }
    void warning(std::string about, std::string text) { all_.push_back({Finding::Kind::kWarning, std::move(about), std::move(text)}); }
    void problem(std::string about, std::string text) {
        ++problems_;
        all_.push_back({Finding::Kind::kProblem, std::move(about), std::move(text)});
    }
    [[nodiscard]] const std::vector<Finding>& all() const noexcept { return all_; }
    [[nodiscard]] int problems() const noexcept { return problems_; }

private:
    std::vector<Finding> all_;
    int problems_ = 0;
};

}  // namespace nornic::cli
