#include "tests/modes/multi_region/world.h"

#include "graph/value.h"
#include "modes/standalone/standalone.h"

#include <fmt/format.h>

#include <algorithm>

namespace nornic::modes::regions {
namespace {

constexpr std::uint64_t kTickMs = 10;
constexpr std::uint64_t kBeganMs = 1'700'000'000'000;

engine::Settings engine_settings(const std::string& region, std::uint64_t disk) {
    engine::Settings settings;
    settings.background = false;
    settings.seed = fnv1a(region) + disk;
    settings.checkpoint_log_bytes = std::uint64_t{1} << 40;
    settings.checkpoint_interval = std::chrono::hours{1};
    return settings;
}

std::string properties_text(const engine::Tokens& tokens, const std::vector<engine::PropertyEntry>& properties) {
    std::map<std::string, std::string> sorted;
    for (const auto& entry : properties) {
        sorted[std::string{tokens.name(engine::TokenKind::kPropertyKey, entry.key.value)}] = to_cypher_text(entry.value);
    }
    std::string out;
    for (const auto& [key, value] : sorted) {
        out += fmt::format(" {}={}", key, value);
    }
    return out;
}

}  // namespace

std::string dump(engine::Engine& engine) {
    engine::BeginOptions options;
    options.mode = AccessMode::kRead;
    auto transaction = engine.begin(options).value();
    const engine::Tokens& tokens = transaction->tokens();
    std::vector<std::string> lines;
    std::vector<NodeId> nodes(64);
    auto cursor = transaction->scan_nodes();
    while (const std::size_t count = cursor->next(nodes)) {
        for (std::size_t i = 0; i < count; ++i) {
            const auto node = transaction->node(nodes[i]);
            std::vector<std::string> labels;
            for (const LabelId label : node->labels) {
                labels.emplace_back(tokens.name(engine::TokenKind::kLabel, label.value));
            }
            std::sort(labels.begin(), labels.end());
            lines.push_back(fmt::format("({}) :{}{}", nodes[i].value, fmt::join(labels, ":"), properties_text(tokens, node->properties)));
        }
    }
    std::vector<RelId> relationships(64);
    auto walk = transaction->scan_relationships({});
    while (const std::size_t count = walk->next(relationships)) {
        for (std::size_t i = 0; i < count; ++i) {
            const auto relationship = transaction->relationship(relationships[i]);
            lines.push_back(fmt::format("[{}] {}-{}->{}{}",
                                        relationships[i].value,
                                        relationship->start.value,
                                        tokens.name(engine::TokenKind::kRelationshipType, relationship->type.value),
                                        relationship->end.value,
                                        properties_text(tokens, relationship->properties)));
        }
    }
    return fmt::format("{}\n", fmt::join(lines, "\n"));
}

World::World(const std::vector<std::string>& regions, Options options) : options_{std::move(options)} {
    for (const std::string& region : regions) {
        std::vector<std::string> remotes = regions;
        std::erase(remotes, region);
        add(region, remotes);
    }
}

World::~World() = default;

std::vector<std::string> World::names() const {
    std::vector<std::string> out;
    for (const auto& [name, unused] : members_) {
        out.push_back(name);
    }
    return out;
}

void World::add(const std::string& region, std::vector<std::string> remotes) {
    Member& m = members_[region];
    m.remotes = std::move(remotes);
    m.home = engine::make_memory_kv_home();
    start(region);
}

std::uint64_t World::wall_ms(const std::string& region) const {
    const auto at = options_.clock_offset_ms.find(region);
    return kBeganMs + tick_ * kTickMs + static_cast<std::uint64_t>(at == options_.clock_offset_ms.end() ? 0 : at->second);
}

void World::start(const std::string& region) {
    Member& m = members_.at(region);
    m.engine = engine::open_engine_host(engine::lend_kv_home(*m.home), engine_settings(region, m.disks), system_clock()).value();
    m.clock = HybridClock{};
    for (LogIndex at{m.engine->applied_index().value + 1}; at <= m.log.last_index(); ++at) {
        const auto applied = m.engine->apply(*m.log.find(at));
        ASSERT_TRUE(applied) << applied.error().message();
        m.clock.observe(m.log.find(at)->hybrid_time);
    }
    m.clock.observe(m.engine->regions()->region_state()->time);
    StrategyStart start;
    start.self = "n";
    start.cluster_id = region;
    start.cluster_address = region + ":7688";
    start.history = m.engine->history();
    start.last_index = m.log.last_index();
    start.last_term = m.log.term_at(start.last_index).value();
    start.hard_state.term = Term{1};
    start.applied = m.engine->applied_index();
    start.log = &m.log;
    start.regions = m.engine->regions();
    start.seed = fnv1a(region) + tick_;
    MultiRegionSettings settings = options_.settings;
    settings.region = region;
    for (const std::string& remote : m.remotes) {
        settings.remotes.push_back({remote, {remote + ":7688"}});
    }
    m.strategy = make_multi_region(start, settings, [&](const StrategyStart& s) {
        auto local = make_standalone(s);
        return options_.around ? options_.around(region, std::move(local)) : std::move(local);
    });
}

void World::crash(const std::string& region) {
    Member& m = members_.at(region);
    m.strategy.reset();
    m.offered.clear();
    m.waiting.clear();
    m.open = 0;
    m.engine->stop();
    m.engine.reset();
    engine::crash_memory_kv_home(*m.home);
    m.connected.clear();
    for (auto& [name, other] : members_) {
        if (other.strategy && other.connected.erase(region) > 0) {
            other.strategy->peer_down(region + "/n", transport::LostReason::kClosed);
        }
    }
    std::erase_if(network_, [&](const Message& m2) { return m2.from == region || m2.to == region; });
}

void World::set_back(const std::string& region, LogIndex to) {
    crash(region);
    members_.at(region).log.drop_after(to);
    start(region);
}

void World::wipe(const std::string& region) {
    crash(region);
    Member& m = members_.at(region);
    m.home = engine::make_memory_kv_home();
    m.log = conformance::MemoryLog{};
    ++m.disks;
    start(region);
}

void World::watch_connections() {
    for (auto& [name, m] : members_) {
        for (auto& [other, o] : members_) {
            if (name == other || !m.strategy || !o.strategy || cut_.contains({name, other}) || m.connected.contains(other)) {
                continue;
            }
            PeerInfo info;
            info.id = other + "/n";
            info.mode = "multi_region";
            info.cluster_address = other + ":7688";
            info.region = other;
            m.connected.insert(other);
            m.strategy->peer_up(info);
        }
    }
}

void World::disconnect() {
    for (auto& [name, m] : members_) {
        for (auto& [other, o] : members_) {
            if (cut_.contains({name, other}) && m.strategy && m.connected.erase(other) > 0) {
                m.strategy->peer_down(other + "/n", transport::LostReason::kSilent);
            }
        }
    }
    std::erase_if(network_, [&](const Message& m) { return cut_.contains({m.from, m.to}); });
}

void World::pump(const std::string& region) {
    Member& m = members_.at(region);
    while (m.strategy) {
        for (Outbound& out : m.strategy->take_messages()) {
            const std::string to = out.to.substr(0, out.to.find('/'));
            if (m.connected.contains(to) && !cut_.contains({region, to})) {
                network_.push_back({region, to, std::move(out.message)});
            }
        }
        Ready ready = m.strategy->take_ready();
        for (std::string& event : ready.events) {
            m.events.push_back(std::move(event));
        }
        for (const Placed& placed : ready.placed) {
            if (auto node = m.offered.extract(placed.id)) {
                m.waiting[placed.index] = std::move(node.mapped());
            }
        }
        for (const Refusal& refusal : ready.refused) {
            m.open -= m.offered.erase(refusal.id);
        }
        for (CommandAnswer& answer : m.strategy->take_answers()) {
            m.answers.emplace(answer.id, std::move(answer.outcome));
        }
        bool worked = false;
        if (!ready.entries.empty()) {
            m.log.append(ready.entries);
            m.strategy->persisted(ready.entries.back().index);
            worked = true;
        }
        for (LogIndex at{m.engine->applied_index().value + 1}; at <= ready.committed; ++at) {
            const auto applied = m.engine->apply(*m.log.find(at));
            ASSERT_TRUE(applied) << applied.error().message();
            m.clock.observe(m.engine->regions()->region_state()->time);
            m.strategy->applied(at);
            if (auto node = m.waiting.extract(at)) {
                node.mapped()->finish();
                --m.open;
            }
            worked = true;
        }
        if (!worked) {
            return;
        }
    }
}

bool World::deliver() {
    if (network_.empty()) {
        return false;
    }
    const Message next = network_.front();
    network_.pop_front();
    Member& m = members_.at(next.to);
    if (m.strategy && m.connected.contains(next.from)) {
        m.batches += next.message->has_region_batch() ? 1 : 0;
        m.strategy->now(hybrid_time_of(wall_ms(next.to)));
        m.strategy->step(next.from + "/n", *next.message);
        pump(next.to);
        const auto limit = cut_after_.find({next.from, next.to});
        if (limit != cut_after_.end() && next.message->has_region_batch() && --limit->second == 0) {
            cut_after_.erase(limit);
            cut(next.from, next.to);
        }
    }
    return true;
}

void World::settle() {
    for (const auto& [name, m] : members_) {
        pump(name);
    }
    for (int i = 0; i < 100'000 && deliver(); ++i) {
    }
}

void World::run(std::uint64_t ticks) {
    for (std::uint64_t i = 0; i < ticks; ++i) {
        ++tick_;
        watch_connections();
        for (auto& [name, m] : members_) {
            if (m.strategy) {
                m.strategy->now(hybrid_time_of(wall_ms(name)));
                m.strategy->tick();
            }
        }
        settle();
    }
}

bool World::run_until(const std::function<bool()>& done, std::uint64_t ticks) {
    for (std::uint64_t i = 0; i < ticks && !done(); ++i) {
        run(1);
    }
    return done();
}

bool World::converge(std::uint64_t ticks) {
    return run_until(
        [&] {
            for (auto& [name, m] : members_) {
                if (!m.strategy) {
                    continue;
                }
                for (auto& [other, o] : members_) {
                    if (name == other || !o.strategy) {
                        continue;
                    }
                    const auto here = state(name);
                    const auto* row = here->find(std::string_view{other});
                    if (row == nullptr || row->cursor_time < engine::known_of(state(other)->frontier(), row->number)) {
                        // Its newest own write may be older than what it merged since.
                        if (row == nullptr || dump_of(name) != dump_of(other)) {
                            return false;
                        }
                    }
                }
            }
            return true;
        },
        ticks);
}

Result<> World::write(const std::string& region, const Work& work) {
    Member& m = members_.at(region);
    if (!m.strategy || m.strategy->write_term().value == 0) {
        return fail(ErrorCode::kNotLeader, "no writes here");
    }
    NORNIC_TRY(auto transaction, m.engine->begin({}));
    work(*transaction);
    NORNIC_TRY(std::string bytes, transaction->prepare());
    const ProposalId id{m.next_id++};
    NORNIC_TRY(m.strategy->propose(id, std::move(bytes), m.clock.next(wall_ms(region))));
    m.offered.emplace(id, std::move(transaction));
    ++m.open;
    pump(region);
    return success();
}

Result<std::string> World::command(const std::string& region, Command command) {
    Member& m = members_.at(region);
    const std::uint64_t id = m.next_id++;
    NORNIC_TRY(m.strategy->command(id, command));
    if (!run_until([&] { return m.answers.contains(id); }, 1000)) {
        return fail(ErrorCode::kTimedOut, "no answer");
    }
    return m.answers.at(id);
}

void World::cut_log(const std::string& region) {
    Member& m = members_.at(region);
    ASSERT_TRUE(m.engine->checkpoint());
    m.log.drop_before(LogIndex{m.engine->durable_index().value + 1});
}

}  // namespace nornic::modes::regions
