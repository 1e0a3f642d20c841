#include "bolt/summary.h"

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace nornic::bolt {

namespace {

std::string_view type_text(StatementType type) {
    switch (type) {
        case StatementType::kRead:
            return "r";
        case StatementType::kWrite:
            return "w";
        case StatementType::kReadWrite:
            return "rw";
        case StatementType::kSchema:
            return "s";
    }
    return "r";
}

void pack_stats(Packer& out, const Dialect& dialect, const UpdateCounters& c) {
    const std::array<std::pair<std::string_view, std::int64_t>, 12> counters{{
        {"nodes-created", c.nodes_created},
        {"nodes-deleted", c.nodes_deleted},
        {"relationships-created", c.relationships_created},
        {"relationships-deleted", c.relationships_deleted},
        {"properties-set", c.properties_set},
        {"labels-added", c.labels_added},
        {"labels-removed", c.labels_removed},
        {"indexes-added", c.indexes_added},
        {"indexes-removed", c.indexes_removed},
        {"constraints-added", c.constraints_added},
        {"constraints-removed", c.constraints_removed},
        {"system-updates", c.system_updates},
    }};
    std::size_t size = 0;
    bool contains_updates = false;
    for (std::size_t i = 0; i < counters.size(); ++i) {
        if (counters[i].second != 0) {
            ++size;
            contains_updates = contains_updates || i + 1 < counters.size();
        }
    }
    // Drivers of that age work it out themselves, and some break at a key they do not know.
    contains_updates = contains_updates && !dialect.is_legacy();
    const bool contains_system = c.system_updates != 0 && !dialect.is_legacy();
    out.map(size + (contains_updates ? 1 : 0) + (contains_system ? 1 : 0));
    for (const auto& [name, count] : counters) {
        if (count != 0) {
            out.string(name);
            out.integer(count);
        }
    }
    if (contains_updates) {
        out.string("contains-updates");
        out.boolean(true);
    }
    if (contains_system) {
        out.string("contains-system-updates");
        out.boolean(true);
    }
}

/// Leaves carry no `children` key at all.
void pack_plan(Packer& out, const Value& plan) {
    if (!plan.is_map()) {
        out.value(plan);
        return;
    }
    const Value* children = plan.as_map().find("children");
    const bool leaf = children != nullptr && children->is_list() && children->as_list().empty();
    out.map(plan.as_map().size() - (leaf ? 1 : 0));
    for (const auto& [key, item] : plan.as_map()) {
        if (key != "children") {
            out.string(key);
            out.value(item);
        } else if (!leaf) {
            out.string(key);
            if (item.is_list()) {
                out.list(item.as_list().size());
                for (const Value& child : item.as_list()) {
                    pack_plan(out, child);
                }
            } else {
                out.value(item);
            }
        }
    }
}

void pack_position(Packer& out, const SourcePosition& position) {
    out.map(3);
    out.string("offset");
    out.integer(position.offset);
    out.string("line");
    out.integer(position.line);
    out.string("column");
    out.integer(position.column);
}

bool passes(const Notification& n, const NotificationFilter& filter) {
    switch (filter.minimum_severity) {
        case NotificationSeverity::kOff:
            return false;
        case NotificationSeverity::kWarning:
            if (n.severity != "WARNING") {
                return false;
            }
            break;
        case NotificationSeverity::kDefault:
        case NotificationSeverity::kInformation:
            break;
    }
    return std::find(filter.disabled_categories.begin(),
                     filter.disabled_categories.end(),
                     n.category) == filter.disabled_categories.end();
}

/// No data before warnings before success before information.
int rank(std::string_view gql_status) {
    if (gql_status.starts_with("02")) {
        return 0;
    }
    if (gql_status.starts_with("01")) {
        return 1;
    }
    return gql_status.starts_with("00") ? 3 : 4;
}
constexpr int kPrimaryRank = 2;

void pack_notification(Packer& out, const Notification& n) {
    out.map(n.position ? 6 : 5);
    out.string("code");
    out.string(n.code);
    out.string("title");
    out.string(n.title);
    out.string("description");
    out.string(n.description);
    out.string("severity");
    out.string(n.severity);
    out.string("category");
    out.string(n.category);
    if (n.position) {
        out.string("position");
        pack_position(out, *n.position);
    }
}

void pack_status(Packer& out, const Notification& n) {
    out.map(6);
    out.string("gql_status");
    out.string(n.gql_status);
    out.string("neo4j_code");
    out.string(n.code);
    out.string("status_description");
    out.string(n.status_description);
    out.string("title");
    out.string(n.title);
    out.string("description");
    out.string(n.description);
    out.string("diagnostic_record");
    out.map(n.position ? 3 : 2);
    out.string("_classification");
    out.string(n.category);
    out.string("_severity");
    out.string(n.severity);
    if (n.position) {
        out.string("_position");
        pack_position(out, *n.position);
    }
}

void pack_statuses(Packer& out,
                   const std::vector<const Notification*>& notifications,
                   const SummaryContext& context) {
    std::string_view status = "00000";
    std::string_view description = "note: successful completion";
    if (!context.has_fields) {
        status = "00001";
        description = "note: successful completion - omitted result";
    } else if (context.records == 0) {
        status = "02000";
        description = "note: no data";
    }
    const int primary_rank = status == "02000" ? -1 : kPrimaryRank;
    out.list(notifications.size() + 1);
    bool primary_written = false;
    const auto write_primary = [&] {
        out.map(2);
        out.string("gql_status");
        out.string(status);
        out.string("status_description");
        out.string(description);
        primary_written = true;
    };
    for (int level = -1; level <= 4; ++level) {
        if (level == primary_rank) {
            write_primary();
        }
        for (const Notification* n : notifications) {
            if (rank(n->gql_status) == level) {
                pack_status(out, *n);
            }
        }
    }
    NORNIC_CHECK(primary_written, "no primary status for {}", status);
}

}  // namespace

void pack_summary(Packer& out,
                  const Dialect& dialect,
                  const StatementSummary& summary,
                  const SummaryContext& context) {
    std::vector<const Notification*> notifications;
    for (const Notification& n : summary.notifications) {
        if (passes(n, context.filter)) {
            notifications.push_back(&n);
        }
    }
    const bool stats = summary.counters.contains_updates() || summary.counters.system_updates != 0;
    const bool plan = !summary.plan.is_null() || !summary.profile.is_null();
    const bool remarks = dialect.has_statuses() || !notifications.empty();
    const bool database = !dialect.is_legacy();
    const bool version = context.data_version > 0 && !dialect.is_legacy();
    out.map(std::size_t{2} + (database ? 1 : 0) + (context.bookmark.empty() ? 0 : 1) + (version ? 1 : 0) + (stats ? 1 : 0) + (plan ? 1 : 0) +
            (remarks ? 1 : 0));
    if (!context.bookmark.empty()) {
        out.string("bookmark");
        out.string(context.bookmark);
    }
    if (version) {
        out.string("data_version");
        out.integer(context.data_version);
    }
    out.string("type");
    out.string(type_text(summary.type));
    out.string("t_last");
    out.integer(summary.result_consumed_after_ms);
    if (database) {
        out.string("db");
        out.string(summary.database);
    }
    if (stats) {
        out.string("stats");
        pack_stats(out, dialect, summary.counters);
    }
    if (plan) {
        const bool profiled = !summary.profile.is_null();
        out.string(profiled ? "profile" : "plan");
        pack_plan(out, profiled ? summary.profile : summary.plan);
    }
    if (dialect.has_statuses()) {
        out.string("statuses");
        pack_statuses(out, notifications, context);
    } else if (remarks) {
        out.string("notifications");
        out.list(notifications.size());
        for (const Notification* n : notifications) {
            pack_notification(out, *n);
        }
    }
}

}  // namespace nornic::bolt
