#include "tests/sim/regions.h"

#include "tests/sim/checker.h"
#include "tests/sim/network.h"
#include "tests/sim/node.h"
#include "tests/sim/raft_checker.h"
#include "tests/sim/workload_support.h"

#include <algorithm>
#include <utility>

namespace nornic::sim {
namespace {

constexpr std::uint64_t kEventsMax = 8'000'000;  // a run that does more goes in circles
constexpr Duration kPatience = std::chrono::seconds{30};
constexpr Duration kPatienceMax = std::chrono::minutes{5};  // for a long log in small batches over a long way

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

// ---- What was written ----

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

// ---- Who is there ----

Regions::Regions(std::uint64_t seed, Mutation mutation, Tracing tracing, Marks& marks) : ground{seed} {
    const std::vector<Menu> menus = draw_regions(seed, mutation);
    between_menu = menus.front();
    between_menu.latency_max = std::array{kMillisecond * 2, kMillisecond * 30, kMillisecond * 100}[ground.random.below(3)];
    between_menu.latency_min = between_menu.latency_max / 2;
    between_menu.queue_bytes_max = std::size_t{64} << 20;  // a stream's window fits, as it does in a bus
    for (std::size_t i = 0; i < menus.size(); ++i) {
        worlds_.push_back(std::make_unique<World>(menus[i], tracing, marks, ground, this, i));
        for (const auto& node : worlds_.back()->nodes) {
            all_.push_back(node.get());
            node->region = menus[i].regions.settings;
            node->region.region = name_of(i);
            node->region.tick_ms = 10;
            skews_.push_back(worlds_.back()->between(-between_menu.regions.skew_max, between_menu.regions.skew_max));
        }
    }
    // Who is there already need not know of one that is added to them.
    const bool unnamed = between_menu.regions.late && ground.random.one_in(2);
    for (Node* const node : all_) {
        for (const auto& world : worlds_) {
            if (world.get() == &node->world() || (unnamed && world == worlds_.back())) {
                continue;
            }
            modes::RemoteRegion remote;
            remote.name = name_of(world->region);
            for (const auto& other : world->nodes) {
                remote.addresses.push_back(world->address_of(other->id()));
            }
            node->region.remotes.push_back(std::move(remote));
        }
    }
    set_clocks();
    between = std::make_unique<Network>(*worlds_.front(), all_.size(), this);
}

Regions::~Regions() = default;

std::string Regions::name_of(std::size_t region) {
    return "r" + std::to_string(region + 1);
}

std::size_t Regions::number_of(const Node& node) const {
    return static_cast<std::size_t>(std::ranges::find(all_, &node) - all_.begin());
}

std::optional<std::size_t> Regions::find(const std::string& name) const {
    for (std::size_t i = 0; i < all_.size(); ++i) {
        if (name == name_of(all_[i]->world().region) + '/' + all_[i]->id()) {
            return i;
        }
    }
    return std::nullopt;
}

std::optional<Violation> Regions::violation() const {
    for (const auto& world : worlds_) {
        if (world->violation()) {
            return Violation{name_of(world->region) + ": " + world->violation()->what};
        }
    }
    return std::nullopt;
}

std::deque<std::string> Regions::lines() const {
    std::deque<std::string> out;
    for (const auto& world : worlds_) {
        out.insert(out.end(), world->lines().begin(), world->lines().end());
    }
    std::ranges::sort(out);  // they begin with the time
    return out;
}

std::size_t Regions::acknowledged_count() const {
    std::size_t out = 0;
    for (const auto& world : worlds_) {
        out += world->checker->acknowledged_count();
    }
    return out;
}

void Regions::set_clocks() {
    for (std::size_t i = 0; i < all_.size(); ++i) {
        all_[i]->clock().set_wall_offset(days_ + skews_[i]);
    }
}

// ---- Faults ----

void Regions::every(Duration mean, std::function<void()> fault) {
    if (mean.count() == 0) {
        return;
    }
    ground.scheduler.after(worlds_.front()->between(mean / 4, mean * 7 / 4), [this, mean, fault = std::move(fault)] {
        if (worlds_.front()->faults) {
            fault();
            every(mean, fault);
        }
    });
}

void Regions::cut(std::size_t a, std::size_t b, bool cut) {
    for (std::size_t i = 0; i < all_.size(); ++i) {
        for (std::size_t j = 0; j < all_.size(); ++j) {
            const std::size_t from = all_[i]->world().region;
            const std::size_t to = all_[j]->world().region;
            if ((from == a && to == b) || (from == b && to == a)) {
                between->cut(i, j, cut);
            }
        }
    }
}

void Regions::plan_faults() {
    World& world = *worlds_.front();
    Random& random = ground.random;
    const auto two = [this, &random] {
        const std::size_t a = random.below(worlds_.size());
        return std::pair{a, (a + 1 + random.below(worlds_.size() - 1)) % worlds_.size()};
    };
    const RegionsMenu& menu = between_menu.regions;
    every(menu.cut, [=, this, &world] {
        const auto [a, b] = two();
        world.mark("regions: cut");
        cut(a, b, true);
        ground.scheduler.after(world.between(kMillisecond, world.a_while() * 3), [this, a, b] { cut(a, b, false); });
    });
    every(menu.long_cut, [=, this, &world, &random] {
        const auto [a, b] = two();
        world.mark("regions: cut for days");
        world.trace("{} and {} do not hear each other for days", name_of(a), name_of(b));
        const Duration half = world.between(kMillisecond * 200, kMillisecond * 1500);
        cut(a, b, true);
        ground.scheduler.after(half, [this, &random] {
            days_ += std::chrono::hours{24} * static_cast<int>(1 + random.below(3));
            set_clocks();
        });
        ground.scheduler.after(half * 2, [this, a, b] { cut(a, b, false); });
    });
    every(menu.promote, [=, this, &random] {
        World& asked = *worlds_[random.below(worlds_.size())];
        Node* const node = asked.someone_to_ask();
        if (node == nullptr) {
            return;
        }
        modes::Command command;
        command.kind = modes::Command::Kind::kPromoteRegion;
        asked.trace("{} is asked to make its region the primary one", node->id());
        asked.ask(*node, command, [&asked](bool done) { asked.mark(done ? "regions: promoted" : "regions: not promoted"); });
    });
    every(menu.skew_max.count() == 0 ? Duration::zero() : kMillisecond * 1500, [this, &world, &random] {
        skews_[random.below(skews_.size())] = world.between(-between_menu.regions.skew_max, between_menu.regions.skew_max);
        set_clocks();
    });
    every(menu.drop, [this] { lose_one(); });
    every(between_menu.reset, [this, &random] {
        between->reset(random.below(all_.size()), random.below(all_.size()));
    });
}

void Regions::heal() {
    for (const auto& world : worlds_) {
        world->heal();
    }
    between->heal();
    std::ranges::fill(skews_, Duration::zero());
    set_clocks();
}

// ---- The run ----

bool Regions::until(Duration deadline) {
    while (!violation() && ground.scheduler.step(deadline)) {
        if (ground.scheduler.events() > kEventsMax) {
            worlds_.front()->violate("the run does not come to an end");
        }
    }
    return !violation();
}

std::string Regions::states() const {
    std::string out;
    for (const auto& world : worlds_) {
        out += fmt::format("\n    {}:{}", name_of(world->region), world->states());
        for (const auto& node : world->nodes) {
            if (!node->accepting() || node->witness() || !node->replica().view().is_leader()) {
                continue;
            }
            for (const modes::RegionView& region : node->replica().view().regions) {
                out += fmt::format(" {} is {} ({}), lag {};", region.name, region.state, region.reason, region.lag_entries);
            }
            const auto state = node->engine().regions()->region_state();
            for (const engine::RegionRow& row : state->regions) {
                out += fmt::format(" {} up to {}@{};", row.name, row.cursor.value, row.cursor_time);
            }
            out += fmt::format(" watermark {};", state->watermark);
        }
    }
    return out;
}

std::uint64_t Regions::cursors() const {
    std::uint64_t out = 0;
    for (Node* const node : all_) {
        if (!node->running() || node->witness()) {
            continue;
        }
        for (const engine::RegionRow& row : node->engine().regions()->region_state()->regions) {
            out += row.cursor.value;
        }
    }
    return out;
}

bool Regions::all_equal(const std::vector<Node*>& leaders) {
    const std::string first = dump_of(*leaders.front()).text;
    return std::ranges::all_of(leaders, [&](Node* leader) { return leader == nullptr || dump_of(*leader).text == first; });
}

void Regions::run() {
    std::vector<std::unique_ptr<Workload>> workloads;
    std::vector<std::unique_ptr<Clients>> clients;
    for (const auto& world : worlds_) {
        workloads.push_back(make_workload(*world, "regions"));
        clients.push_back(std::make_unique<Clients>(*world, *workloads.back()));
        const bool late = between_menu.regions.late && world == worlds_.back();
        if (late) {
            start_late(*world);
        } else {
            world->start_raft();
        }
        clients.back()->start();
        world->probe();
        ground.scheduler.after(world->between(Duration::zero(), kMillisecond * 1500), [&world] { world->plan_faults(); });
    }
    if (between_menu.regions.old_data) {
        begin_as_group();
    }
    ground.scheduler.after(worlds_.front()->between(Duration::zero(), kMillisecond * 1500), [this] { plan_faults(); });
    static_cast<void>(until(between_menu.faults_for));
    heal();

    const Duration healed = ground.scheduler.now();
    std::vector<Node*> leaders(worlds_.size());
    std::vector<bool> writing(worlds_.size());
    std::vector<bool> written(worlds_.size());
    bool done = false;
    Duration progress = healed;  // when a region last took something in
    std::uint64_t taken = 0;
    while (!done && ground.scheduler.now() < progress + kPatience && ground.scheduler.now() < healed + kPatienceMax && until(ground.scheduler.now() + kMillisecond * 20)) {
        if (const std::uint64_t now = cursors(); now > taken) {
            taken = now;
            progress = ground.scheduler.now();
        }
        done = true;
        for (std::size_t i = 0; i < worlds_.size(); ++i) {
            if (worlds_[i]->lost) {
                written[i] = false;
                continue;
            }
            leaders[i] = worlds_[i]->settled();
            if (leaders[i] == nullptr || writing[i]) {
                done = false;
            } else if (!written[i] && leaders[i]->replica().term().value == 0 && between_menu.regions.settings.primary_only) {
                done = done && clients[i]->idle() && worlds_[i]->equal_to(*leaders[i]);
            } else if (!written[i]) {
                done = false;
                writing[i] = true;
                clients[i]->write(*leaders[i], [&, i](bool committed) {
                    writing[i] = false;
                    written[i] = committed;
                });
            } else {
                done = done && clients[i]->idle() && worlds_[i]->equal_to(*leaders[i]);
            }
        }
        done = done && std::ranges::find(written, true) != written.end() && all_equal(leaders);
    }
    if (!violation() && !done) {
        std::string how;
        for (std::size_t i = 1; i < leaders.size(); ++i) {
            if (leaders[0] != nullptr && leaders[i] != nullptr) {
                how += fmt::format("\n    {} and {}: {}", name_of(0), name_of(i), difference(dump_of(*leaders[0]).text, dump_of(*leaders[i]).text));
            }
        }
        worlds_.front()->violate(fmt::format("no leaders, equal graphs and new writes {} ms after healing:{}{}",
                                             (ground.scheduler.now() - healed).count() / 1'000'000,
                                             states(),
                                             how));
    }
    if (!violation()) {
        judge(leaders);
    }
    for (std::size_t i = 0; i < worlds_.size() && !violation(); ++i) {
        if (worlds_[i]->lost) {
            continue;
        }
        worlds_[i]->checker->compare_states();
        worlds_[i]->checker->judge(*leaders[i]);
        worlds_[i]->raft_checker->judge(*leaders[i]);
        workloads[i]->judge(*leaders[i]);
    }
    // What is under way refers to the workloads.
    for (Node* const node : all_) {
        node->end();
    }
}

/// Once the others are regions: before that they would have to name each other.
void Regions::start_late(World& world) {
    ground.scheduler.after(world.between(kMillisecond * 100, kMillisecond * 1000), [this, &world] {
        const bool formed = std::ranges::all_of(all_, [&](Node* node) {
            return &node->world() == &world || node->witness() || node->world().lost ||
                   (node->running() && node->engine().regions()->region_state()->self != 0);
        });
        if (formed) {
            world.mark("regions: one is added");
            world.start_raft();
        } else {
            start_late(world);
        }
    });
}

/// The machines of one in the middle burn down. Not the first or the last, which may have begun in other ways.
void Regions::lose_one() {
    World& world = *worlds_[1];
    const auto formed_elsewhere = [&](Node* node) {
        if (&node->world() == &world || node->witness() || !node->running() || node->engine().regions() == nullptr) {
            return false;
        }
        const auto state = node->engine().regions()->region_state();
        const auto* const row = state->find(name_of(1));
        return state->self != 0 && row != nullptr && state->primary != row->number;
    };
    if (world.lost || std::ranges::none_of(all_, formed_elsewhere)) {
        return;
    }
    world.mark("regions: one is lost");
    world.trace("all of {} is lost", name_of(1));
    world.lost = true;
    ledger.lose(1);
    for (const auto& node : world.nodes) {
        node->retire();
    }
    drop(1);
}

/// Until somebody has taken note.
void Regions::drop(std::size_t region) {
    ground.scheduler.after(worlds_.front()->between(kMillisecond * 100, kMillisecond * 2000), [this, region] {
        World& asked = *worlds_[(region + 1 + ground.random.below(worlds_.size() - 1)) % worlds_.size()];
        Node* const node = asked.someone_to_ask();
        if (node == nullptr) {
            return drop(region);
        }
        modes::Command command;
        command.kind = modes::Command::Kind::kDropRegion;
        command.target = name_of(region);
        asked.trace("{} is asked to drop {}", node->id(), name_of(region));
        asked.ask(*node, command, [this, region, &asked](bool done) {
            asked.mark(done ? "regions: dropped" : "regions: not dropped");
            if (done) {
                return;
            }
            // It may be the primary one, which a promotion that was under way made it.
            Node* const promoted = asked.someone_to_ask();
            if (promoted == nullptr) {
                return drop(region);
            }
            modes::Command promote;
            promote.kind = modes::Command::Kind::kPromoteRegion;
            asked.trace("{} is asked to make its region the primary one", promoted->id());
            asked.ask(*promoted, promote, [this, region](bool) { drop(region); });
        });
    });
}

/// The first one has data before it becomes a region.
void Regions::begin_as_group() {
    World& world = *worlds_.front();
    for (const auto& node : world.nodes) {
        node->group_first = true;
    }
    ground.scheduler.after(world.between(kMillisecond * 500, kMillisecond * 2500), [this, &world] {
        world.mark("regions: a group with data becomes one");
        for (const auto& node : world.nodes) {
            node->retire();
        }
        ground.scheduler.after(kMicrosecond, [&world] {
            for (const auto& node : world.nodes) {
                node->group_first = false;
                node->start();
            }
        });
    });
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
