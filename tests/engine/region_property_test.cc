// Whatever regions write, and in whatever order, pieces and repetitions it reaches the others: all end equal, and equal to
// a merge that is written here a second time, on plain maps.
//
// A case is a list of steps drawn from a seed. Many cases run on the same engines, each with entities of its own. One that
// fails is made smaller on new engines and printed. NORNICDB_CASES: how many; NORNICDB_SEED: where they begin.
#include "base/random.h"
#include "tests/engine/region_support.h"

#include <cstdlib>
#include <set>
#include <tuple>

namespace nornic::engine::testing {
namespace {

constexpr int kRegionsMax = 5;
constexpr int kNodes = 4;
constexpr int kRelationships = 4;
constexpr int kTokens = 3;  // labels, keys
constexpr int kValues = 3;

struct Op {
    enum class Kind : std::uint8_t { kCreate, kDelete, kAddLabel, kRemoveLabel, kSet, kRemove };
    Kind kind = Kind::kCreate;
    bool node = true;
    int entity = 0;
    int token = 0;
    int value = 0;
    int start = 0;  // of a relationship that is created
    int end = 0;
    int labels = 0;  // of a node that is created: bits
};

struct Step {
    enum class Kind : std::uint8_t { kWrite, kDeliver, kRepeat, kWatermark, kSeedBegin, kSeedEnd, kRestart };
    Kind kind = Kind::kWrite;
    int region = 0;
    int other = 0;
    std::uint64_t a = 0;
    std::uint64_t b = 0;
    std::vector<Op> ops;
};

struct Case {
    std::uint64_t seed = 0;
    int regions = 2;
    /// Regions touch only what they saw created, clocks saw what was merged, and stamps are forgotten. Else: anything
    /// touches anything at any time, and nothing is forgotten.
    bool causal = true;
    std::vector<Step> steps;
};

int creator(const Case& of, bool node, int entity) {
    return (entity + (node ? 0 : 1)) % of.regions;
}

Case draw(std::uint64_t seed) {
    Random random{seed * 0x9E3779B97F4A7C15ULL + 1};
    Case out;
    out.seed = seed;
    out.regions = 2 + static_cast<int>(random.below(random.below(3) == 0 ? 4 : 2));
    out.causal = random.below(2) == 0;
    const auto number = [&](int below) { return static_cast<int>(random.below(static_cast<std::uint64_t>(below))); };
    std::set<std::pair<bool, int>> created;
    for (std::uint64_t left = 6 + random.below(20); left > 0; --left) {
        Step step;
        step.region = number(out.regions);
        step.other = (step.region + 1 + number(out.regions - 1)) % out.regions;
        step.a = random.below(1 << 16);
        step.b = random.below(1 << 16);
        const std::uint64_t dice = random.below(100);
        if (dice < 50) {
            for (std::uint64_t ops = 1 + random.below(3); ops > 0; --ops) {
                Op op;
                op.kind = static_cast<Op::Kind>(random.below(6));
                op.node = random.below(3) != 0;
                op.entity = number(op.node ? kNodes : kRelationships);
                op.token = number(kTokens);
                op.value = number(kValues);
                op.start = number(kNodes);
                op.end = number(kNodes);
                op.labels = number(1 << kTokens);
                if (random.below(3) == 0) {
                    op.kind = Op::Kind::kCreate;
                }
                if (op.kind == Op::Kind::kCreate) {
                    if (!created.emplace(op.node, op.entity).second) {
                        continue;
                    }
                    step.region = step.ops.empty() ? creator(out, op.node, op.entity) : step.region;
                    if (creator(out, op.node, op.entity) != step.region) {
                        created.erase({op.node, op.entity});
                        continue;
                    }
                } else if (!op.node && (op.kind == Op::Kind::kAddLabel || op.kind == Op::Kind::kRemoveLabel)) {
                    op.kind = Op::Kind::kSet;
                }
                step.ops.push_back(op);
            }
        } else if (dice < 72) {
            step.kind = Step::Kind::kDeliver;
        } else if (dice < 84) {
            step.kind = Step::Kind::kRepeat;
        } else if (dice < 91) {
            step.kind = Step::Kind::kWatermark;
        } else if (dice < 95) {
            step.kind = Step::Kind::kSeedBegin;
        } else if (dice < 99) {
            step.kind = Step::Kind::kSeedEnd;
        } else {
            step.kind = random.below(10) == 0 ? Step::Kind::kRestart : Step::Kind::kDeliver;
        }
        out.steps.push_back(std::move(step));
    }
    return out;
}

// ---- The merge a second time ----

struct Made {
    int region = 0;
    LogIndex index;
    Stamp stamp;
    std::vector<Op> ops;
};

class Reference {
public:
    void take(const Made& write) {
        for (const Op& op : write.ops) {
            Entity& entity = entities_[{op.node, op.entity}];
            const auto cell = [&](char kind, int token, int value) {
                auto& [stamp, held] = entity.cells[{kind, token}];
                if (write.stamp >= stamp) {
                    stamp = write.stamp;
                    held = value;
                }
            };
            switch (op.kind) {
                case Op::Kind::kCreate:
                    entity.created = true;
                    entity.start = op.start;
                    entity.end = op.end;
                    for (int label = 0; op.node && label < kTokens; ++label) {
                        if ((op.labels >> label & 1) != 0) {
                            cell('l', label, 1);
                        }
                    }
                    cell('p', op.token, op.value);
                    break;
                case Op::Kind::kDelete:
                    entity.deleted = true;
                    break;
                case Op::Kind::kAddLabel:
                case Op::Kind::kRemoveLabel:
                    cell('l', op.token, op.kind == Op::Kind::kAddLabel ? 1 : -1);
                    break;
                case Op::Kind::kSet:
                case Op::Kind::kRemove:
                    cell('p', op.token, op.kind == Op::Kind::kSet ? op.value : -1);
                    break;
            }
        }
    }
    [[nodiscard]] std::string text() const {
        const auto lives = [&](bool node, int entity) {
            const auto at = entities_.find({node, entity});
            return at != entities_.end() && at->second.created && !at->second.deleted;
        };
        std::string out;
        for (const auto& [name, entity] : entities_) {
            const bool node = name.first;
            if (!lives(node, name.second) || (!node && (!lives(true, entity.start) || !lives(true, entity.end)))) {
                continue;
            }
            out += fmt::format("{}{}", node ? 'n' : 'r', name.second);
            if (!node) {
                out += fmt::format(" {}->{}", entity.start, entity.end);
            }
            for (const auto& [cell, held] : entity.cells) {
                if (held.second >= 0) {
                    out += fmt::format(" {}{}={}", cell.first, cell.second, held.second);
                }
            }
            out += "\n";
        }
        return out;
    }

private:
    struct Entity {
        bool created = false;
        bool deleted = false;
        int start = 0;
        int end = 0;
        std::map<std::pair<char, int>, std::pair<Stamp, int>> cells;
    };
    std::map<std::pair<bool, int>, Entity> entities_;
};

// ---- The same on engines ----

std::string token_name(TokenKind kind, int token) {
    return fmt::format("{}{}", kind == TokenKind::kLabel ? 'l' : kind == TokenKind::kPropertyKey ? 'p' : 't', token);
}

/// Regions that many cases use one after the other.
class World {
public:
    explicit World(int count) {
        for (RegionNumber number = 1; number <= count; ++number) {
            regions_.push_back(std::make_unique<Region>(number));
            regions_.back()->form(rows_of(static_cast<RegionNumber>(count)));
        }
        // Each numbers its names in another order.
        for (const auto& region : regions_) {
            std::string bytes;
            WriteSetWriter writer{bytes, DatabaseId{1}};
            for (std::uint32_t i = 0; i < kTokens; ++i) {
                const int token = static_cast<int>((i + region->number()) % kTokens);
                for (const TokenKind kind : {TokenKind::kLabel, TokenKind::kPropertyKey, TokenKind::kRelationshipType}) {
                    writer.create_token(kind, i, token_name(kind, token));
                }
            }
            expect_ok(region->write(bytes));
        }
        exchange(count);
    }

    /// Empty: as it should be. Else what went wrong.
    std::string run(const Case& of);
    [[nodiscard]] std::uint64_t cases() const { return cases_; }
    /// Indexes, counters and lists, once for many cases.
    void check_whole() {
        const std::string first = dump(*regions_.front());
        for (const auto& region : regions_) {
            ASSERT_EQ(dump(*region), first) << "region " << int{region->number()};
            // Another member of it, which restarts on its way.
            Region member{region->number()};
            for (const LogEntry& entry : region->log) {
                expect_ok(member.apply(entry.payload, entry.hybrid_time));
                if (entry.index.value == region->log.size() / 2) {
                    expect_ok(member->checkpoint());
                    member.restart();
                }
            }
            ASSERT_EQ((*member).digest().value(), (**region).digest().value()) << "region " << int{region->number()};
            ASSERT_EQ(*member.state(), *region->state());
        }
    }

private:
    struct Seed {
        int from = 0;
        std::unique_ptr<SeedReader> reader;
        std::set<std::size_t> seen;
    };

    void exchange(int count) {
        for (int i = 0; i < count; ++i) {
            for (int j = 0; j < count; ++j) {
                if (i != j) {
                    region(i).catch_up(region(j));
                }
            }
        }
    }
    Region& region(int at) { return *regions_[static_cast<std::size_t>(at)]; }
    [[nodiscard]] std::uint64_t id(const Case& of, bool node, int entity) const {
        const auto sequence = (node ? kNodes : kRelationships) * cases_ + static_cast<std::uint64_t>(entity);
        return id_of(sequence, static_cast<std::uint32_t>(creator(of, node, entity) + 1));
    }
    static std::uint32_t token(const Region& region, int token) {
        return static_cast<std::uint32_t>((token + 2 * kTokens - region.number()) % kTokens);
    }
    [[nodiscard]] bool saw_creation(int at, bool node, int entity) const {
        return std::any_of(seen_[static_cast<std::size_t>(at)].begin(), seen_[static_cast<std::size_t>(at)].end(), [&](std::size_t made) {
            return std::any_of(made_[made].ops.begin(), made_[made].ops.end(), [&](const Op& op) {
                return op.kind == Op::Kind::kCreate && op.node == node && op.entity == entity;
            });
        });
    }
    [[nodiscard]] bool may(const Case& of, int at, const Op& op, const std::vector<Op>& before) const {
        const auto known = [&](bool node, int entity) {
            return !of.causal || saw_creation(at, node, entity) ||
                   std::any_of(before.begin(), before.end(), [&](const Op& one) {
                       return one.kind == Op::Kind::kCreate && one.node == node && one.entity == entity;
                   });
        };
        if (op.kind == Op::Kind::kCreate) {
            return op.node || (known(true, op.start) && known(true, op.end));
        }
        return known(op.node, op.entity);
    }
    void write(const Case& of, const Step& step);
    void put(const Case& of, const Region& on, const Op& op, WriteSetWriter& writer) const;
    void deliver(const Case& of, int from, int to, std::uint64_t back, std::uint64_t count);
    void repeat(const Case& of, const Step& step);
    void advance_watermark(const Case& of, int at);
    void end_seed(int at);
    [[nodiscard]] std::string text(const Case& of, int at);

    std::vector<std::unique_ptr<Region>> regions_;
    std::uint64_t cases_ = 0;
    std::vector<Made> made_;
    std::vector<std::set<std::size_t>> seen_;
    std::map<int, Seed> seeds_;  // by the region that gets it
};

void World::put(const Case& of, const Region& on, const Op& op, WriteSetWriter& writer) const {
    const std::uint64_t at = id(of, op.node, op.entity);
    const PropertyKeyId key{token(on, op.token)};
    const Value value{std::int64_t{op.value}};
    switch (op.kind) {
        case Op::Kind::kCreate:
            if (op.node) {
                NodeData node;
                for (int label = 0; label < kTokens; ++label) {
                    if ((op.labels >> label & 1) != 0) {
                        node.labels.emplace_back(token(on, label));
                    }
                }
                std::sort(node.labels.begin(), node.labels.end());
                node.properties = {{key, value}};
                writer.create_node(NodeId{at}, node);
            } else {
                RelData relationship;
                relationship.type = RelTypeId{token(on, 0)};
                relationship.start = NodeId{id(of, true, op.start)};
                relationship.end = NodeId{id(of, true, op.end)};
                relationship.properties = {{key, value}};
                writer.create_relationship(RelId{at}, relationship);
            }
            break;
        case Op::Kind::kDelete:
            op.node ? writer.delete_node(NodeId{at}) : writer.delete_relationship(RelId{at});
            break;
        case Op::Kind::kAddLabel:
            writer.add_label(NodeId{at}, LabelId{token(on, op.token)});
            break;
        case Op::Kind::kRemoveLabel:
            writer.remove_label(NodeId{at}, LabelId{token(on, op.token)});
            break;
        case Op::Kind::kSet:
        case Op::Kind::kRemove: {
            const Value put = op.kind == Op::Kind::kSet ? value : Value{};
            op.node ? writer.set_property(NodeId{at}, key, put) : writer.set_property(RelId{at}, key, put);
            break;
        }
    }
}

void World::write(const Case& of, const Step& step) {
    Region& on = region(step.region);
    Made made;
    made.region = step.region;
    std::string bytes;
    WriteSetWriter writer{bytes, DatabaseId{1}};
    for (const Op& op : step.ops) {
        if (may(of, step.region, op, made.ops)) {
            put(of, on, op, writer);
            made.ops.push_back(op);
        }
    }
    if (made.ops.empty()) {
        return;
    }
    RegionHeader header = on.header();
    header.rank = static_cast<std::uint16_t>(header.rank + (step.a % 16 == 0 ? 1 : 0));
    // Few different times, so that they meet.
    const std::uint64_t time = (of.causal ? on.now() : on.last_time() + 1) + step.b % 3;
    expect_ok(on.apply(stamp_write_set(header, bytes), time));
    made.index = on.last();
    made.stamp = Stamp{.time = time, .rank = header.rank, .region = on.number()};
    seen_[static_cast<std::size_t>(step.region)].insert(made_.size());
    made_.push_back(std::move(made));
}

void World::deliver(const Case& of, int from, int to, std::uint64_t back, std::uint64_t count) {
    Region& source = region(from);
    Region& target = region(to);
    const std::uint64_t cursor = target.cursor_of(source).value;
    const std::uint64_t first = std::max<std::uint64_t>(1, cursor + 1 - std::min(back, cursor));
    const std::uint64_t last = std::min(source.last().value, cursor + count);
    if (first > last) {
        return;
    }
    const RegionWrites writes = source.ship(LogIndex{first}, LogIndex{last}, target.number());
    auto payload = target->regions()->localize(writes, false);
    ASSERT_TRUE(payload) << payload.error().message();
    if (payload.value().empty()) {
        return;
    }
    std::uint64_t time = target.last_time() + 1;
    for (const RegionWrite& write : writes.writes) {
        time = of.causal ? std::max({time, target.now(), write.time}) : time;
    }
    expect_ok(target.apply(payload.value(), time));
    if (back % 3 == 2) {  // as it is when a leader that lost its office had proposed it, too
        expect_ok(target.apply(payload.value(), time + 1));
    }
    for (std::size_t i = 0; i < made_.size(); ++i) {
        if (made_[i].region == from && made_[i].index.value <= last) {
            seen_[static_cast<std::size_t>(to)].insert(i);
        }
    }
}

/// A write alone, out of its place: before what it follows, or once more.
void World::repeat(const Case& of, const Step& step) {
    if (made_.empty()) {
        return;
    }
    const std::size_t which = step.a % made_.size();
    const Made& made = made_[which];
    Region& target = region(step.region);
    if (made.region == step.region || (of.causal && made.stamp.time <= target.state()->watermark)) {
        return;
    }
    RegionWrites writes = region(made.region).ship(made.index, made.index);
    writes.writes.front().index = LogIndex{};
    writes.through = LogIndex{};
    writes.through_time = 0;
    writes.frontier = {};
    auto payload = target->regions()->localize(writes, false);
    ASSERT_TRUE(payload) << payload.error().message();
    expect_ok(target.apply(payload.value(), of.causal ? std::max(target.now(), made.stamp.time) : target.last_time() + 1));
    seen_[static_cast<std::size_t>(step.region)].insert(which);
}

void World::advance_watermark(const Case& of, int at) {
    if (!of.causal) {
        return;
    }
    // What everybody is known to have, as this region knows it.
    const auto state = region(at).state();
    std::uint64_t time = UINT64_MAX;
    for (const RegionRow& holder : state->regions) {
        const Frontier frontier = holder.number == state->self ? state->frontier() : holder.reported;
        for (const RegionRow& origin : state->regions) {
            time = std::min(time, known_of(frontier, origin.number));
        }
    }
    if (time > state->watermark) {
        region(at).advance_watermark(time);
    }
}

void World::end_seed(int at) {
    const auto found = seeds_.find(at);
    if (found == seeds_.end()) {
        return;
    }
    region(at).take_seed(*found->second.reader, 300);
    seen_[static_cast<std::size_t>(at)].insert(found->second.seen.begin(), found->second.seen.end());
    seeds_.erase(found);
}

std::string World::text(const Case& of, int at) {
    auto transaction = region(at).begin(AccessMode::kRead);
    std::string out;
    const auto cells = [&](const std::vector<LabelId>& labels, const std::vector<PropertyEntry>& properties) {
        std::set<std::string> names;
        for (const LabelId label : labels) {
            names.insert(fmt::format(" {}=1", transaction->tokens().name(label)));
        }
        for (const PropertyEntry& entry : properties) {
            names.insert(fmt::format(" {}={}", transaction->tokens().name(entry.key), entry.value.as_integer()));
        }
        for (const std::string& name : names) {
            out += name;
        }
        out += "\n";
    };
    std::map<std::uint64_t, int> nodes;
    for (int entity = 0; entity < kNodes; ++entity) {
        nodes[id(of, true, entity)] = entity;
    }
    std::map<int, std::set<std::uint64_t>> expected;  // relationships at each node, as they say themselves
    for (int entity = 0; entity < kRelationships; ++entity) {
        const RelId relationship{id(of, false, entity)};
        if (const RelPtr data = transaction->relationship(relationship)) {
            out += fmt::format("r{} {}->{}", entity, nodes[data->start.value], nodes[data->end.value]);
            cells({}, data->properties);
            expected[nodes[data->start.value]].insert(relationship.value);
            expected[nodes[data->end.value]].insert(relationship.value);
        }
    }
    for (int entity = 0; entity < kNodes; ++entity) {
        const NodeId node{id(of, true, entity)};
        std::set<std::uint64_t> around;
        if (const NodePtr data = transaction->node(node)) {
            out += fmt::format("n{}", entity);
            cells(data->labels, data->properties);
            std::vector<Adjacent> found;
            transaction->expand(node, Direction::kBoth, {}, found);
            for (const Adjacent& one : found) {
                around.insert(one.relationship.value);
            }
        }
        if (around != expected[entity]) {
            out += fmt::format("n{} has {} relationships in its list and {} that name it\n", entity, around.size(), expected[entity].size());
        }
    }
    return out;
}

std::string World::run(const Case& of) {
    ++cases_;
    made_.clear();
    seeds_.clear();
    seen_.assign(static_cast<std::size_t>(of.regions), {});
    std::uint64_t time = 0;
    for (int i = 0; i < of.regions; ++i) {
        time = std::max(time, region(i).now());
    }
    for (int i = 0; i < of.regions; ++i) {
        expect_ok(region(i).apply(stamp_write_set(region(i).header(), std::string_view{"\x01\x01", 2}), time));
    }
    exchange(of.regions);
    for (const Step& step : of.steps) {
        switch (step.kind) {
            case Step::Kind::kWrite:
                write(of, step);
                break;
            case Step::Kind::kDeliver:
                if (!seeds_.contains(step.region) || seeds_.at(step.region).from != step.other) {
                    deliver(of, step.other, step.region, step.a % 4, 1 + step.b % 6);
                }
                break;
            case Step::Kind::kRepeat:
                repeat(of, step);
                break;
            case Step::Kind::kWatermark:
                advance_watermark(of, step.region);
                break;
            case Step::Kind::kSeedBegin: {
                auto seed = region(step.other)->regions()->begin_seed();
                EXPECT_TRUE(seed) << seed.error().message();
                seeds_[step.region] = Seed{step.other, std::move(seed).value(), seen_[static_cast<std::size_t>(step.other)]};
                break;
            }
            case Step::Kind::kSeedEnd:
                end_seed(step.region);
                break;
            case Step::Kind::kRestart:
                if (seeds_.empty()) {
                    if (step.a % 2 == 0) {
                        expect_ok(region(step.region)->checkpoint());
                    }
                    region(step.region).restart();
                }
                break;
        }
        if (::testing::Test::HasFatalFailure()) {
            return "see above";
        }
    }
    for (int i = 0; i < of.regions; ++i) {
        end_seed(i);
    }
    exchange(of.regions);
    Reference reference;
    for (const Made& made : made_) {
        reference.take(made);
    }
    const auto lines = [](const std::string& text) {
        std::set<std::string> out;
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t end = text.find('\n', at);
            out.insert(text.substr(at, end - at));
            at = end + 1;
        }
        return out;
    };
    const std::string wanted = reference.text();
    for (int i = 0; i < of.regions; ++i) {
        if (const std::string got = text(of, i); lines(got) != lines(wanted)) {
            return fmt::format("region {} has\n{}wanted\n{}", i + 1, got, wanted);
        }
    }
    return {};
}

// ---- Failures ----

std::string describe(const Case& of) {
    std::string out = fmt::format("NORNICDB_SEED={}: {} regions{}\n", of.seed, of.regions, of.causal ? ", causal" : "");
    static constexpr std::array kSteps{"writes", "gets", "gets once more", "forgets", "asks for a seed of", "has the seed", "restarts"};
    static constexpr std::array kOps{"create", "delete", "add label", "remove label", "set", "remove"};
    for (const Step& step : of.steps) {
        out += fmt::format("{} {} of {} ({}, {}):", step.region + 1, kSteps[static_cast<std::size_t>(step.kind)], step.other + 1, step.a, step.b);
        for (const Op& op : step.ops) {
            out += fmt::format(" [{} {}{} token {} value {} ends {} {} labels {}]",
                               kOps[static_cast<std::size_t>(op.kind)],
                               op.node ? 'n' : 'r',
                               op.entity,
                               op.token,
                               op.value,
                               op.start,
                               op.end,
                               op.labels);
        }
        out += "\n";
    }
    return out;
}

/// Leaves out what is not needed for it to fail.
std::string shrink(Case of) {
    std::string why;
    const auto fails = [&](const Case& tried) {
        World world{tried.regions};
        const std::string result = world.run(tried);
        if (!result.empty()) {
            why = result;
        }
        return !result.empty();
    };
    if (!fails(of)) {
        return "It does not fail alone, only after the cases before it.\n" + describe(of);
    }
    for (bool smaller = true; smaller;) {
        smaller = false;
        for (std::size_t i = 0; i < of.steps.size(); ++i) {
            Case without = of;
            without.steps.erase(without.steps.begin() + static_cast<std::ptrdiff_t>(i));
            if (fails(without)) {
                of = std::move(without);
                smaller = true;
                break;
            }
            for (std::size_t op = 0; op < of.steps[i].ops.size() && of.steps[i].ops.size() > 1; ++op) {
                without = of;
                without.steps[i].ops.erase(without.steps[i].ops.begin() + static_cast<std::ptrdiff_t>(op));
                if (fails(without)) {
                    of = std::move(without);
                    smaller = true;
                    break;
                }
            }
        }
    }
    return describe(of) + why;
}

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
    const char* text = std::getenv(name);
    return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

TEST(RegionProperty, AllRegionsEndEqualAndAsTheReferenceSays) {
    constexpr std::uint64_t kCasesOfAWorld = 250;
    const std::uint64_t cases = from_environment("NORNICDB_CASES", 4000);
    const std::uint64_t first = from_environment("NORNICDB_SEED", 1);
    std::array<std::unique_ptr<World>, kRegionsMax + 1> worlds;  // by how many regions there are
    for (std::uint64_t i = 0; i < cases; ++i) {
        const Case drawn = draw(first + i);
        auto& world = worlds[static_cast<std::size_t>(drawn.regions)];
        if (!world || world->cases() == kCasesOfAWorld) {
            if (world) {
                world->check_whole();
            }
            world = std::make_unique<World>(drawn.regions);
        }
        if (const std::string why = world->run(drawn); !why.empty() || HasFailure()) {
            FAIL() << why << "\n" << shrink(drawn);
        }
    }
    for (const auto& world : worlds) {
        if (world) {
            world->check_whole();
        }
    }
}

}  // namespace
}  // namespace nornic::engine::testing
