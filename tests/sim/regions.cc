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

}  // namespace

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
        worlds_.front()->violate(fmt::format("no leaders, equal graphs and new writes {} ms after healing:{}{}",
                                             (ground.scheduler.now() - healed).count() / 1'000'000,
                                             states(),
                                             differences(leaders)));
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

}  // namespace nornic::sim
