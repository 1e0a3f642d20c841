#include "tests/sim/network.h"
#include "tests/sim/node.h"
#include "tests/sim/regions.h"

#include <algorithm>
#include <utility>

namespace nornic::sim {

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

// ---- How they begin and end ----

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

}  // namespace nornic::sim
