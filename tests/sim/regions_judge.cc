// What clients wrote, and whether all regions end with it.
#include "tests/sim/node.h"
#include "tests/sim/regions.h"
#include "tests/sim/workload_support.h"

#include <algorithm>
#include <utility>

namespace nornic::sim {
namespace {

/// What everybody can see of a graph, by names.
struct Dump {
    std::string text;
    struct Seen {
        std::map<std::string, std::int64_t> properties;
    };
    std::map<std::int64_t, Seen> nodes;  // by name
};

std::string properties_of(engine::GraphReader& reader, const std::vector<PropertyEntry>& properties, Dump::Seen* seen) {
    std::map<std::string, std::int64_t> named;
    for (const PropertyEntry& entry : properties) {
        named.emplace(reader.tokens().name(entry.key), entry.value.as_integer());
    }
    std::string out;
    for (const auto& [name, value] : named) {
        out += fmt::format(" {}={}", name, value);
    }
    if (seen != nullptr) {
        seen->properties = std::move(named);
    }
    return out;
}

Dump dump_of(Node& node) {
    Dump out;
    const auto reader = read_now(node);
    if (reader == nullptr) {
        return out;
    }
    std::array<NodeId, 64> batch;
    const auto cursor = reader->scan_nodes();
    for (std::size_t n = cursor->next(batch); n > 0; n = cursor->next(batch)) {
        for (std::size_t i = 0; i < n; ++i) {
            const auto data = reader->node(batch[i]);
            std::set<std::string> labels;
            for (const LabelId label : data->labels) {
                labels.emplace(reader->tokens().name(label));
            }
            Dump::Seen seen;
            out.text += fmt::format("({} {}{})\n", batch[i].value, fmt::join(labels, ":"), properties_of(*reader, data->properties, &seen));
            if (const auto name = seen.properties.find("name"); name != seen.properties.end()) {
                out.nodes.emplace(name->second, std::move(seen));
            }
        }
    }
    std::array<RelId, 64> some;
    const auto relationships = reader->scan_relationships({});
    std::map<std::uint64_t, std::string> lines;  // by id
    for (std::size_t n = relationships->next(some); n > 0; n = relationships->next(some)) {
        for (std::size_t i = 0; i < n; ++i) {
            const auto data = reader->relationship(some[i]);
            lines[some[i].value] = fmt::format("[{} {} {}->{}{}]\n",
                                               some[i].value,
                                               reader->tokens().name(data->type),
                                               data->start.value,
                                               data->end.value,
                                               properties_of(*reader, data->properties, nullptr));
        }
    }
    for (const auto& [id, line] : lines) {
        out.text += line;
    }
    return out;
}

/// The first line in which they differ.
std::string difference(std::string_view a, std::string_view b) {
    std::set<std::string, std::less<>> lines[2];
    for (const auto& [text, into] : {std::pair{a, &lines[0]}, std::pair{b, &lines[1]}}) {
        for (std::string_view rest = text; !rest.empty();) {
            const std::size_t end = rest.find('\n');
            into->emplace(rest.substr(0, end));
            rest.remove_prefix(end + 1);
        }
    }
    std::vector<std::string> only[2];
    std::ranges::set_difference(lines[0], lines[1], std::back_inserter(only[0]));
    std::ranges::set_difference(lines[1], lines[0], std::back_inserter(only[1]));
    for (auto& some : only) {
        some.resize(std::min<std::size_t>(some.size(), 3));
    }
    return fmt::format("{} against {}", fmt::join(only[0], " "), fmt::join(only[1], " "));
}

}  // namespace

void Ledger::ended(const Draft& draft, std::size_t region, const Answer& answer) {
    if (answer.outcome == Outcome::kRefused) {
        return;
    }
    const bool lost = lost_.contains(region);
    const std::optional<LogIndex> index =
        answer.outcome == Outcome::kCommitted ? std::optional{answer.committed.index} : std::nullopt;
    for (const Effect& effect : draft) {
        Story& story = stories[effect.name];
        switch (effect.kind) {
            case Effect::Kind::kCreate:
                if (index && !lost) {
                    story.created = region;
                }
                break;
            case Effect::Kind::kDelete:
                story.perhaps_deleted = true;
                if (index && !lost) {
                    story.deleted[region] = *index;
                }
                break;
            case Effect::Kind::kOwn:
                if (!lost) {
                    story.own[region].push_back({effect.value, index});
                }
                break;
            case Effect::Kind::kShared:
                if (effect.value == 0) {
                    story.perhaps_removed = true;
                } else {
                    story.shared.insert(effect.value);
                }
                if (index && effect.seen != 0 && !lost) {
                    story.overwritten.insert_or_assign(effect.seen, region);
                }
                if (effect.seen != 0) {
                    story.perhaps_overwritten.insert(effect.seen);
                }
                if (index && effect.value != 0) {
                    story.acknowledged.insert_or_assign(effect.value, region);
                }
                break;
        }
    }
}

void Ledger::lose(std::size_t region) {
    lost_.insert(region);
    for (auto& [name, story] : stories) {
        if (story.created == region) {
            story.created.reset();
        }
        story.deleted.erase(region);
        story.own.erase(region);
        std::erase_if(story.overwritten, [&](const auto& write) { return write.second == region; });
    }
}

bool Regions::all_equal(const std::vector<Node*>& leaders) {
    const std::string first = dump_of(*leaders.front()).text;
    return std::ranges::all_of(leaders, [&](Node* leader) { return leader == nullptr || dump_of(*leader).text == first; });
}

std::string Regions::differences(const std::vector<Node*>& leaders) {
    std::string out;
    for (std::size_t i = 1; i < leaders.size(); ++i) {
        if (leaders[0] != nullptr && leaders[i] != nullptr) {
            out += fmt::format("\n    {} and {}: {}", name_of(0), name_of(i), difference(dump_of(*leaders[0]).text, dump_of(*leaders[i]).text));
        }
    }
    return out;
}

/// Everybody has the same, and it is what was written.
void Regions::judge(const std::vector<Node*>& leaders) {
    World& world = *worlds_.front();
    const Dump dump = dump_of(*leaders.front());
    for (Node* const node : all_) {
        if (node->witness() || node->world().lost) {
            continue;
        }
        if (const std::string text = dump_of(*node).text; text != dump.text) {
            world.violate(fmt::format("{}/{} ends with another graph: {}", name_of(node->world().region), node->id(), difference(dump.text, text)));
            return;
        }
    }
    const auto wrong = [&](std::int64_t name, std::string_view what) { world.violate(fmt::format("node {} {}", name, what)); };
    std::map<std::int64_t, std::int64_t> shared;
    for (const auto& [name, story] : ledger.stories) {
        const auto there = dump.nodes.find(name);
        if (there == dump.nodes.end()) {
            if (story.created && !story.perhaps_deleted) {
                return wrong(name, "was created and never deleted, and is gone");
            }
            continue;
        }
        if (!story.deleted.empty()) {
            return wrong(name, fmt::format("was deleted by {} and is back", name_of(story.deleted.begin()->first)));
        }
        const auto& properties = there->second.properties;
        for (const auto& [region, writes] : story.own) {
            const auto at = properties.find("own" + std::to_string(region));
            const std::int64_t value = at == properties.end() ? 0 : at->second;
            const Ledger::Write* last = nullptr;
            bool unknown = false;
            for (const Ledger::Write& write : writes) {
                if (!write.index) {
                    unknown = unknown || write.value == value;
                } else if (last == nullptr || *write.index > *last->index) {
                    last = &write;
                }
            }
            if (!unknown && value != (last == nullptr ? 0 : last->value)) {
                return wrong(name, fmt::format("has {} in the property that only {} writes; the last that was acknowledged is {}",
                                               value,
                                               name_of(region),
                                               last == nullptr ? 0 : last->value));
            }
        }
        const auto at = properties.find("shared");
        const std::int64_t value = at == properties.end() ? 0 : at->second;
        if (value == 0 ? !story.perhaps_removed && story.created.has_value() : !story.shared.contains(value)) {
            return wrong(name, fmt::format("has {} in the property that all write, which nobody wrote", value));
        }
        shared[name] = value;
        if (story.overwritten.contains(value)) {
            return wrong(name, fmt::format("has {} in the property that all write, and somebody who had seen that wrote another", value));
        }
    }
    judge_conflicts(leaders, shared);
}

}  // namespace nornic::sim
