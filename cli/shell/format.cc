#include "cli/shell/format.h"

#include <boost/json.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace nornic::cli {
namespace {

namespace json = boost::json;
constexpr std::size_t kRowsMeasured = 1000;

/// Characters as a terminal shows them: continuation bytes of UTF-8 take no room.
std::size_t width_of(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    }));
}

std::string render(const Value& value);

std::string render_properties(const Map& map) {
    std::string out = "{";
    for (const auto& [key, v] : map) {
        out += (out.size() == 1 ? "" : ", ") + key + ": " + render(v);
    }
    return out + "}";
}

std::string render_node(const Node& node) {
    std::string out = "(";
    for (const std::string& label : node.labels) {
        out += ":" + label;
    }
    if (!node.properties.empty()) {
        out += (node.labels.empty() ? "" : " ") + render_properties(node.properties);
    }
    return out + ")";
}

std::string render_relationship(const Relationship& r) {
    return "[:" + r.type + (r.properties.empty() ? "" : " " + render_properties(r.properties)) +
           "]";
}

/// A value as people who know cypher-shell expect it: text in double quotes, NULL and TRUE in
/// capitals.
std::string render(const Value& value) {
    switch (value.type()) {
        case ValueType::kNull:
            return "NULL";
        case ValueType::kBoolean:
            return value.as_boolean() ? "TRUE" : "FALSE";
        case ValueType::kString: {
            std::string out = "\"";
            for (const char c : value.as_string()) {
                if (c == '"' || c == '\\') {
                    out += '\\';
                }
                out += c;
            }
            return out + "\"";
        }
        case ValueType::kList: {
            std::string out = "[";
            for (const Value& v : value.as_list()) {
                out += (out.size() == 1 ? "" : ", ") + render(v);
            }
            return out + "]";
        }
        case ValueType::kMap:
            return render_properties(value.as_map());
        case ValueType::kNode:
            return render_node(value.as_node());
        case ValueType::kRelationship:
            return render_relationship(value.as_relationship());
        case ValueType::kPath: {
            const Path& p = value.as_path();
            std::string out = render_node(p.nodes.front());
            for (std::size_t i = 0; i < p.relationships.size(); ++i) {
                const bool forward = p.relationships[i].start == p.nodes[i].id;
                out += (forward ? "-" : "<-") + render_relationship(p.relationships[i]) +
                       (forward ? "->" : "-") + render_node(p.nodes[i + 1]);
            }
            return out;
        }
        case ValueType::kPoint:
        case ValueType::kBytes:
            return to_cypher_text(value);
        default:
            return to_plain_text(value);
    }
}

class PlainPrinter final : public Printer {
public:
    explicit PlainPrinter(std::ostream& out) : out_{out} {}
    void columns(const std::vector<std::string>& names) override {
        for (std::size_t i = 0; i < names.size(); ++i) {
            out_ << (i == 0 ? "" : ", ") << names[i];
        }
        if (!names.empty()) {
            out_ << '\n';
        }
    }
    void row(const List& values) override {
        for (std::size_t i = 0; i < values.size(); ++i) {
            out_ << (i == 0 ? "" : ", ") << render(values[i]);
        }
        out_ << '\n';
    }
    void end(std::int64_t, const Map& summary, std::int64_t) override {
        if (const std::string plan = describe_plan(summary); !plan.empty()) {
            out_ << plan << '\n';
        }
        out_.flush();
    }

private:
    std::ostream& out_;
};

class TablePrinter final : public Printer {
public:
    explicit TablePrinter(std::ostream& out) : out_{out} {}
    void columns(const std::vector<std::string>& names) override {
        names_ = names;
        for (const std::string& name : names) {
            widths_.push_back(width_of(name));
        }
    }
    void row(const List& values) override {
        std::vector<std::string> cells;
        for (const Value& v : values) {
            cells.push_back(render(v));
        }
        if (printing_) {
            line(cells);
            return;
        }
        for (std::size_t i = 0; i < cells.size() && i < widths_.size(); ++i) {
            widths_[i] = std::max(widths_[i], width_of(cells[i]));
        }
        waiting_.push_back(std::move(cells));
        if (waiting_.size() == kRowsMeasured) {
            print_waiting();
        }
    }
    void end(std::int64_t rows, const Map& summary, std::int64_t available_ms) override {
        if (!names_.empty()) {
            if (!printing_) {
                print_waiting();
            }
            rule();
            out_ << '\n';
        }
        if (const std::string plan = describe_plan(summary); !plan.empty()) {
            out_ << plan << "\n\n";
        }
        out_ << fmt::format("{} {}\n", rows, rows == 1 ? "row" : "rows");
        const Value* consumed = summary.find("t_last");
        out_ << fmt::format(
            "ready to start consuming query after {} ms, results consumed after another {} ms\n",
            available_ms,
            consumed != nullptr && consumed->is(ValueType::kInteger) ? consumed->as_integer() : 0);
        if (const std::string changes = describe_counters(summary); !changes.empty()) {
            out_ << changes << '\n';
        }
        out_.flush();
    }

private:
    void rule() {
        out_ << '+';
        std::size_t total = widths_.size() - 1;
        for (const std::size_t w : widths_) {
            total += w + 2;
        }
        out_ << std::string(total, '-') << "+\n";
    }
    void line(const std::vector<std::string>& cells) {
        out_ << '|';
        for (std::size_t i = 0; i < cells.size(); ++i) {
            const std::size_t w = width_of(cells[i]);
            out_ << ' ' << cells[i]
                 << std::string(i < widths_.size() && widths_[i] > w ? widths_[i] - w : 0, ' ')
                 << " |";
        }
        out_ << '\n';
    }
    void print_waiting() {
        printing_ = true;
        rule();
        line(names_);
        rule();
        for (const auto& cells : waiting_) {
            line(cells);
        }
        waiting_.clear();
    }
    std::ostream& out_;
    std::vector<std::string> names_;
    std::vector<std::size_t> widths_;
    std::vector<std::vector<std::string>> waiting_;
    bool printing_ = false;
};

json::value to_json(const Value& value) {
    switch (value.type()) {
        case ValueType::kNull:
            return nullptr;
        case ValueType::kBoolean:
            return json::value(value.as_boolean());
        case ValueType::kInteger:
            return json::value(value.as_integer());
        case ValueType::kFloat:
            return std::isfinite(value.as_float()) ? json::value(value.as_float())
                                                   : json::value(format_float(value.as_float()));
        case ValueType::kString:
            return json::value(value.as_string());
        case ValueType::kList: {
            json::array out;
            for (const Value& v : value.as_list()) {
                out.push_back(to_json(v));
            }
            return out;
        }
        case ValueType::kMap: {
            json::object out;
            for (const auto& [key, v] : value.as_map()) {
                out[key] = to_json(v);
            }
            return out;
        }
        case ValueType::kNode: {
            const Node& n = value.as_node();
            json::array labels;
            for (const std::string& label : n.labels) {
                labels.emplace_back(label);
            }
            return json::object{{"elementId", n.element_id},
                                {"labels", std::move(labels)},
                                {"properties", to_json(Value{n.properties})}};
        }
        case ValueType::kRelationship: {
            const Relationship& r = value.as_relationship();
            return json::object{{"elementId", r.element_id},
                                {"startNodeElementId", r.start_element_id},
                                {"endNodeElementId", r.end_element_id},
                                {"type", r.type},
                                {"properties", to_json(Value{r.properties})}};
        }
        case ValueType::kPath: {
            json::array out;
            const Path& p = value.as_path();
            for (std::size_t i = 0; i < p.nodes.size(); ++i) {
                out.push_back(to_json(Value{p.nodes[i]}));
                if (i < p.relationships.size()) {
                    out.push_back(to_json(Value{p.relationships[i]}));
                }
            }
            return out;
        }
        default:
            return json::value(to_plain_text(value));
    }
}

class JsonPrinter final : public Printer {
public:
    explicit JsonPrinter(std::ostream& out) : out_{out} {}
    void columns(const std::vector<std::string>& names) override { names_ = names; }
    void row(const List& values) override {
        json::object line;
        for (std::size_t i = 0; i < values.size() && i < names_.size(); ++i) {
            line[names_[i]] = to_json(values[i]);
        }
        out_ << json::serialize(line) << '\n';
    }
    void end(std::int64_t, const Map&, std::int64_t) override { out_.flush(); }

private:
    std::ostream& out_;
    std::vector<std::string> names_;
};

class CsvPrinter final : public Printer {
public:
    explicit CsvPrinter(std::ostream& out) : out_{out} {}
    void columns(const std::vector<std::string>& names) override {
        for (std::size_t i = 0; i < names.size(); ++i) {
            cell(i, names[i]);
        }
        if (!names.empty()) {
            out_ << "\r\n";
        }
    }
    void row(const List& values) override {
        for (std::size_t i = 0; i < values.size(); ++i) {
            const Value& v = values[i];
            cell(i, v.is_null() ? "" : v.is_string() ? std::string{v.as_string()} : render(v));
        }
        out_ << "\r\n";
    }
    void end(std::int64_t, const Map&, std::int64_t) override { out_.flush(); }

private:
    void cell(std::size_t position, const std::string& text) {
        out_ << (position == 0 ? "" : ",");
        if (text.find_first_of(",\"\r\n") == std::string::npos) {
            out_ << text;
            return;
        }
        out_ << '"';
        for (const char c : text) {
            out_ << (c == '"' ? "\"\"" : std::string(1, c));
        }
        out_ << '"';
    }
    std::ostream& out_;
};

}  // namespace

std::string describe_plan(const Map& summary) {
    for (const char* key : {"plan", "profile"}) {
        const Value* plan = summary.find(key);
        const Value* arguments =
            plan != nullptr && plan->is_map() ? plan->as_map().find("args") : nullptr;
        const Value* drawn = arguments != nullptr && arguments->is_map()
                                 ? arguments->as_map().find("string-representation")
                                 : nullptr;
        if (drawn != nullptr && drawn->is_string()) {
            return std::string{drawn->as_string()};
        }
    }
    return {};
}

std::string describe_counters(const Map& summary) {
    const Value* stats = summary.find("stats");
    if (stats == nullptr || !stats->is_map()) {
        return {};
    }
    constexpr std::pair<std::string_view, std::string_view> kTexts[] = {
        {"nodes-created", "Added {} nodes"},
        {"nodes-deleted", "Deleted {} nodes"},
        {"relationships-created", "Created {} relationships"},
        {"relationships-deleted", "Deleted {} relationships"},
        {"properties-set", "Set {} properties"},
        {"labels-added", "Added {} labels"},
        {"labels-removed", "Removed {} labels"},
        {"indexes-added", "Added {} indexes"},
        {"indexes-removed", "Removed {} indexes"},
        {"constraints-added", "Added {} constraints"},
        {"constraints-removed", "Removed {} constraints"},
    };
    std::string out;
    for (const auto& [key, text] : kTexts) {
        const Value* n = stats->as_map().find(key);
        if (n != nullptr && n->is(ValueType::kInteger) && n->as_integer() > 0) {
            out += (out.empty() ? "" : ", ") + fmt::format(fmt::runtime(text), n->as_integer());
        }
    }
    return out;
}

std::unique_ptr<Printer> make_printer(Format format, std::ostream& out) {
    switch (format) {
        case Format::kPlain:
            return std::make_unique<PlainPrinter>(out);
        case Format::kTable:
            return std::make_unique<TablePrinter>(out);
        case Format::kJson:
            return std::make_unique<JsonPrinter>(out);
        case Format::kCsv:
            return std::make_unique<CsvPrinter>(out);
    }
    return nullptr;
}

}  // namespace nornic::cli
