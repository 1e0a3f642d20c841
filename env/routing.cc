#include "env/routing.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace nornic::env {
namespace {

constexpr std::size_t kNameBytesMax = 63;
constexpr std::size_t kTagsMax = 32;
constexpr std::size_t kPoliciesMax = 64;
constexpr std::size_t kStepsMax = 64;  // of one policy
constexpr std::string_view kTags = "NORNICDB_CLUSTER_SERVER_TAGS";
constexpr std::string_view kPolicies = "NORNICDB_CLUSTER_ROUTING_POLICIES";

auto refuse(std::string_view name, std::string_view value, std::string_view why) {
    return fail(ErrorCode::kInvalidArgument, fmt::format("{}='{}': {}", name, value, why));
}

bool is_name(std::string_view text) {
    return !text.empty() && text.size() <= kNameBytesMax && std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
    });
}

std::string what_a_name_is() {
    return fmt::format("a name has letters, digits, '-', '_' and '.', at most {} of them", kNameBytesMax);
}

std::string_view trimmed(std::string_view text) {
    constexpr std::string_view kSpace = " \t\n";
    const std::size_t begin = text.find_first_not_of(kSpace);
    return begin == std::string_view::npos ? std::string_view{}
                                           : text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

/// The parts between `separator`, trimmed; one where it does not occur.
std::vector<std::string_view> parts_of(std::string_view text, std::string_view separator) {
    std::vector<std::string_view> out;
    for (;;) {
        const std::size_t at = text.find(separator);
        out.push_back(trimmed(text.substr(0, at)));
        if (at == std::string_view::npos) {
            return out;
        }
        text.remove_prefix(at + separator.size());
    }
}

/// "tags(eu,us)", "groups(eu)", "min(2)", "all()", "halt()".
std::optional<RoutingStep> read_step(std::string_view text) {
    const std::size_t open = text.find('(');
    if (open == std::string_view::npos || !text.ends_with(')')) {
        return std::nullopt;
    }
    const std::string_view name = trimmed(text.substr(0, open));
    const std::string_view inside = trimmed(text.substr(open + 1, text.size() - open - 2));
    RoutingStep out;
    if (name == "all" || name == "halt") {
        out.kind = name == "all" ? RoutingStep::Kind::kAll : RoutingStep::Kind::kHalt;
        return inside.empty() ? std::optional{out} : std::nullopt;
    }
    if (name == "min") {
        out.kind = RoutingStep::Kind::kMin;
        const auto [end, error] = std::from_chars(inside.data(), inside.data() + inside.size(), out.count);
        const bool whole = error == std::errc{} && end == inside.data() + inside.size();
        return whole && out.count > 0 ? std::optional{out} : std::nullopt;
    }
    if (name != "tags" && name != "groups") {
        return std::nullopt;
    }
    out.kind = RoutingStep::Kind::kTags;
    for (const std::string_view tag : parts_of(inside, ",")) {
        if (!is_name(tag)) {
            return std::nullopt;
        }
        out.tags.emplace_back(tag);
    }
    return out;
}

Result<RoutingPolicy> read_policy(std::string_view text, std::string_view whole) {
    const std::size_t equals = text.find('=');
    RoutingPolicy out;
    out.name = trimmed(text.substr(0, equals));
    if (equals == std::string_view::npos || !is_name(out.name)) {
        return refuse(kPolicies, whole, fmt::format("'{}' is not name = rule; rule; …: {}", text, what_a_name_is()));
    }
    std::size_t steps = 0;
    std::vector<std::string_view> rules = parts_of(text.substr(equals + 1), ";");
    if (rules.size() > 1 && rules.back().empty()) {
        rules.pop_back();
    }
    for (const std::string_view rule : rules) {
        std::vector<RoutingStep> chain;
        for (const std::string_view part : parts_of(rule, "->")) {
            auto step = read_step(part);
            if (!step || ++steps > kStepsMax) {
                return refuse(kPolicies,
                              whole,
                              fmt::format("'{}' in policy '{}': it takes tags(a,b), groups(a,b), min(n), all() or halt(), with -> between, at most {} of them",
                                          part,
                                          out.name,
                                          kStepsMax));
            }
            chain.push_back(std::move(*step));
        }
        const bool halts = std::ranges::any_of(chain, [](const RoutingStep& s) { return s.kind == RoutingStep::Kind::kHalt; });
        if (halts && (chain.size() > 1 || rule.data() != rules.back().data())) {
            return refuse(kPolicies, whole, fmt::format("halt() in policy '{}' is the last rule, and alone in it", out.name));
        }
        out.rules.push_back(std::move(chain));
    }
    return out;
}

}  // namespace

Result<> resolve_routing(ClusterSettings& c) {
    c.server_tag_list = split_list(c.server_tags);
    if (c.server_tag_list.size() > kTagsMax || !std::ranges::all_of(c.server_tag_list, is_name)) {
        return refuse(kTags, c.server_tags, fmt::format("it takes at most {} names with commas between; {}", kTagsMax, what_a_name_is()));
    }
    c.routing_policy_list.clear();
    if (trimmed(c.routing_policies).empty()) {
        return success();
    }
    for (const std::string_view part : parts_of(c.routing_policies, "|")) {
        NORNIC_TRY(RoutingPolicy policy, read_policy(part, c.routing_policies));
        if (std::ranges::find(c.routing_policy_list, policy.name, &RoutingPolicy::name) != c.routing_policy_list.end()) {
            return refuse(kPolicies, c.routing_policies, fmt::format("it has policy '{}' twice", policy.name));
        }
        c.routing_policy_list.push_back(std::move(policy));
    }
    if (c.routing_policy_list.size() > kPoliciesMax) {
        return refuse(kPolicies, c.routing_policies, fmt::format("it takes at most {} policies", kPoliciesMax));
    }
    return success();
}

}  // namespace nornic::env
