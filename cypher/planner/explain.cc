// A plan as EXPLAIN and PROFILE show it.
#include "cypher/planner/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace nornic::cypher {
namespace {

constexpr std::string_view kRuntimeVersion = "5.26.0";

struct TableRow {
    std::string operator_name;
    std::string id;
    std::string details;
    std::string estimated;
    std::string rows;
    std::string hits;
};

std::int64_t own_hits(const PlanNode& node, const ExecContext& context) {
    const auto hits = [&](const PlanNode& n) {
        const auto i = static_cast<std::size_t>(n.id);
        return i < context.counts.size() ? context.counts[i].hits : 0;
    };
    std::int64_t out = hits(node);
    for (const PlanPtr& c : node.children) {
        out -= hits(*c);
    }
    return std::max<std::int64_t>(out, 0);
}

/// ProduceResults hands its child's rows on without an operator of its own.
std::int64_t own_rows(const PlanNode& node, const ExecContext& context) {
    const auto i = static_cast<std::size_t>(node.id);
    return i < context.counts.size() ? context.counts[i].rows : 0;
}

void add_rows(const PlanNode& node,
              std::size_t depth,
              const ExecContext* profiled,
              std::vector<TableRow>& out) {
    std::string name;
    for (std::size_t i = 0; i < depth; ++i) {
        name += "| ";
    }
    name += "+" + node.name;
    std::string details = node.details.substr(0, 100);
    std::ranges::replace(details, '\n', ' ');
    out.push_back({std::move(name),
                   std::to_string(node.id),
                   std::move(details),
                   fmt::format("{:.0f}", std::ceil(node.estimated_rows)),
                   profiled != nullptr ? std::to_string(own_rows(node, *profiled)) : "",
                   profiled != nullptr ? std::to_string(own_hits(node, *profiled)) : ""});
    // The right side stands above the left one, a level in.
    for (std::size_t i = node.children.size(); i-- > 1;) {
        add_rows(*node.children[i], depth + 1, profiled, out);
    }
    if (!node.children.empty()) {
        add_rows(*node.children[0], depth, profiled, out);
    }
}

std::string table(const PlanNode& root, const ExecContext* profiled) {
    std::vector<TableRow> rows{{"Operator", "Id", "Details", "Estimated Rows", "Rows", "DB Hits"}};
    add_rows(root, 0, profiled, rows);
    const std::size_t columns = profiled != nullptr ? 6 : 4;
    const auto cell = [](const TableRow& r, std::size_t c) -> const std::string& {
        switch (c) {
            case 0:
                return r.operator_name;
            case 1:
                return r.id;
            case 2:
                return r.details;
            case 3:
                return r.estimated;
            case 4:
                return r.rows;
            default:
                return r.hits;
        }
    };
    std::vector<std::size_t> widths(columns, 0);
    for (const TableRow& r : rows) {
        for (std::size_t c = 0; c < columns; ++c) {
            widths[c] = std::max(widths[c], cell(r, c).size());
        }
    }
    std::string rule;
    for (const std::size_t w : widths) {
        rule += "+" + std::string(w + 2, '-');
    }
    rule += "+\n";
    std::string out = rule;
    for (std::size_t i = 0; i < rows.size(); ++i) {
        for (std::size_t c = 0; c < columns; ++c) {
            const std::string& text = cell(rows[i], c);
            const bool right = i > 0 && c != 0 && c != 2;
            const std::string pad(widths[c] - text.size(), ' ');
            out += "| " + (right ? pad + text : text + pad) + " ";
        }
        out += "|\n";
        if (i == 0) {
            out += rule;
        }
    }
    return out + rule;
}

Value node_to_value(const PlanNode& node,
                    const std::vector<std::string>& names,
                    const ExecContext* profiled,
                    Map args) {
    Map out;
    out.set("operatorType", Value{node.name + "@neo4j"});
    List identifiers;
    for (const Slot s : node.live) {
        if (s < names.size() && !names[s].empty() && !names[s].starts_with("cache[")) {
            identifiers.emplace_back(names[s]);
        }
    }
    out.set("identifiers", Value{std::move(identifiers)});
    args.set("Id", Value{std::int64_t{node.id}});
    args.set("EstimatedRows", Value{node.estimated_rows});
    args.set("Details", Value{node.details});
    if (profiled != nullptr) {
        const std::int64_t rows = own_rows(node, *profiled);
        const std::int64_t hits = own_hits(node, *profiled);
        args.set("DbHits", Value{hits});
        args.set("Rows", Value{rows});
        args.set("PageCacheHits", Value{0});
        args.set("PageCacheMisses", Value{0});
        out.set("dbHits", Value{hits});
        out.set("rows", Value{rows});
        out.set("pageCacheHits", Value{0});
        out.set("pageCacheMisses", Value{0});
        out.set("pageCacheHitRatio", Value{0.0});
    }
    out.set("args", Value{std::move(args)});
    if (!node.children.empty()) {
        List children;
        for (const PlanPtr& c : node.children) {
            children.push_back(node_to_value(*c, names, profiled, {}));
        }
        out.set("children", Value{std::move(children)});
    }
    return Value{std::move(out)};
}

}  // namespace

Value plan_to_value(const PlanNode& root,
                    const std::vector<std::string>& slot_names,
                    const ExecContext* profiled) {
    Map args;
    args.set("planner", Value{"COST"});
    args.set("planner-impl", Value{"IDP"});
    args.set("planner-version", Value{kRuntimeVersion});
    args.set("runtime", Value{"SLOTTED"});
    args.set("runtime-impl", Value{"SLOTTED"});
    args.set("runtime-version", Value{kRuntimeVersion});
    args.set("version", Value{"5"});
    args.set(
        "string-representation",
        Value{fmt::format("Cypher 5\n\nPlanner COST\n\nRuntime SLOTTED\n\nRuntime version {}\n\n{}",
                          kRuntimeVersion,
                          table(root, profiled))});
    if (profiled != nullptr) {
        args.set("Memory", Value{static_cast<std::int64_t>(profiled->memory_bytes)});
        args.set("GlobalMemory", Value{static_cast<std::int64_t>(profiled->memory_bytes)});
    }
    return node_to_value(root, slot_names, profiled, std::move(args));
}

std::string plan_to_line(const PlanNode& root) {
    std::string out = root.name;
    if (!root.details.empty()) {
        out += "(" + root.details + ")";
    }
    const bool several = root.children.size() > 1;
    for (std::size_t i = 0; i < root.children.size(); ++i) {
        out += i == 0 ? " < " : ", ";
        out += several ? "[" + plan_to_line(*root.children[i]) + "]" : plan_to_line(*root.children[i]);
    }
    return out;
}

}  // namespace nornic::cypher
