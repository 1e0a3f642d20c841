// What goes between regions: every write arrives, once, whatever is cut and whoever crashes, and all regions end equal.
#include "tests/modes/multi_region/around.h"
#include "tests/modes/multi_region/world.h"

#include "graph/value.h"

#include <fmt/format.h>
#include <gmock/gmock.h>

namespace nornic::modes::regions {
namespace {

using engine::Transaction;
using ::testing::Contains;
using ::testing::HasSubstr;

void create(Transaction& t, const std::string& label, std::int64_t x) {
    const LabelId id = t.label_or_create(label).value();
    const engine::PropertyEntry property{t.property_key_or_create("x").value(), Value{x}};
    ASSERT_TRUE(t.create_node(std::span{&id, 1}, std::span{&property, 1}));
}

/// The node of that x.
std::optional<NodeId> find(Transaction& t, std::int64_t x) {
    const auto key = t.property_key_or_create("x").value();
    auto cursor = t.scan_nodes();
    std::vector<NodeId> ids(16);
    while (const std::size_t count = cursor->next(ids)) {
        for (std::size_t i = 0; i < count; ++i) {
            const Value* value = t.node(ids[i])->property(key);
            if (value != nullptr && to_cypher_text(*value) == std::to_string(x)) {
                return ids[i];
            }
        }
    }
    return std::nullopt;
}

void set(Transaction& t, std::int64_t x, const std::string& key, const std::string& value) {
    ASSERT_TRUE(t.set_property(find(t, x).value(), t.property_key_or_create(key).value(), Value{value}));
}

World::Options quick() {
    World::Options options;
    options.settings.form_ticks = 20;
    options.settings.status_ticks = 5;
    options.settings.silent_ticks = 60;
    options.settings.watermark_ticks = 50;
    options.settings.retry_ticks = 40;
    options.settings.batch_entries_max = 4;
    options.settings.window_batches = 2;
    return options;
}

class Regions : public ::testing::Test {
protected:
    void begin(const std::vector<std::string>& names, World::Options options = quick()) {
        world = std::make_unique<World>(names, std::move(options));
        ASSERT_TRUE(world->run_until([&] {
            for (const std::string& name : world->names()) {
                if (world->state(name)->self == 0) {
                    return false;
                }
            }
            return true;
        }));
    }
    std::unique_ptr<World> world;
};

TEST_F(Regions, NumberThemselvesAlikeAndTheFirstNameIsPrimary) {
    begin({"a", "b"});
    EXPECT_EQ(world->state("a")->self, 1);
    EXPECT_EQ(world->state("b")->self, 2);
    EXPECT_EQ(world->state("a")->primary, 1);
    EXPECT_EQ(world->state("b")->primary, 1);
    EXPECT_TRUE(world->view("b").accepts_writes);
}

TEST_F(Regions, ARegionWhoseOthersAreAwayFormsAloneAndTheyAgreeLater) {
    world = std::make_unique<World>(std::vector<std::string>{}, quick());
    world->add("b", {"a"});
    ASSERT_TRUE(world->run_until([&] { return world->state("b")->self == 2; }));
    ASSERT_TRUE(world->write("b", [](Transaction& t) { create(t, "L", 1); }));
    world->add("a", {"b"});
    ASSERT_TRUE(world->run_until([&] { return world->state("a")->self == 1; }));
    ASSERT_TRUE(world->converge());
    EXPECT_THAT(world->dump_of("a"), HasSubstr("x=1"));
    EXPECT_EQ(world->dump_of("a"), world->dump_of("b"));
}

TEST_F(Regions, WhatOneWritesTheOthersShow) {
    begin({"a", "b", "c"});
    for (int i = 0; i < 30; ++i) {
        ASSERT_TRUE(world->write(i % 3 == 0 ? "a" : i % 3 == 1 ? "b" : "c", [&](Transaction& t) { create(t, "L" + std::to_string(i % 4), i); }));
    }
    ASSERT_TRUE(world->converge());
    EXPECT_EQ(std::ranges::count(world->dump_of("a"), '\n'), 30);
    EXPECT_EQ(world->dump_of("a"), world->dump_of("b"));
    EXPECT_EQ(world->dump_of("a"), world->dump_of("c"));
}

TEST_F(Regions, TheLaterWriteOfAPropertyWinsAndTheOtherIsInTheConflictLogOfBoth) {
    begin({"a", "b"});
    ASSERT_TRUE(world->write("a", [](Transaction& t) { create(t, "L", 1); }));
    ASSERT_TRUE(world->converge());
    world->cut("a", "b");
    ASSERT_TRUE(world->write("a", [](Transaction& t) { set(t, 1, "name", "of a"); }));
    world->run(10);
    ASSERT_TRUE(world->write("b", [](Transaction& t) { set(t, 1, "name", "of b"); }));
    ASSERT_TRUE(world->write("b", [](Transaction& t) { set(t, 1, "other", "kept"); }));
    world->run(500);
    world->heal();
    ASSERT_TRUE(world->converge());
    EXPECT_EQ(world->dump_of("a"), world->dump_of("b"));
    EXPECT_THAT(world->dump_of("a"), HasSubstr("name='of b'"));
    EXPECT_THAT(world->dump_of("a"), HasSubstr("other='kept'"));
    const auto of_a = world->engine("a").catalog_range(engine::kConflictPrefix);
    const auto of_b = world->engine("b").catalog_range(engine::kConflictPrefix);
    ASSERT_EQ(of_a.size(), 1U);
    ASSERT_EQ(of_b.size(), 1U);
    EXPECT_EQ(of_a[0].first, of_b[0].first);
    EXPECT_THAT(to_cypher_text(of_a[0].second), HasSubstr("of a"));
    EXPECT_EQ(world->state("a")->conflicts, 1U);
}

TEST_F(Regions, WhatFollowsWhatWasSeenIsNoConflict) {
    begin({"a", "b"});
    ASSERT_TRUE(world->write("a", [](Transaction& t) { create(t, "L", 1); }));
    ASSERT_TRUE(world->converge());
    ASSERT_TRUE(world->write("b", [](Transaction& t) { set(t, 1, "name", "of b"); }));
    ASSERT_TRUE(world->converge());
    ASSERT_TRUE(world->write("a", [](Transaction& t) { set(t, 1, "name", "of a"); }));
    ASSERT_TRUE(world->converge());
    EXPECT_THAT(world->dump_of("b"), HasSubstr("name='of a'"));
    EXPECT_EQ(world->state("a")->conflicts + world->state("b")->conflicts, 0U);
}

TEST_F(Regions, AFastClockWaitsUntilItIsItsTime) {
    World::Options options = quick();
    options.clock_offset_ms["b"] = 5'000;
    begin({"a", "b"}, options);
    ASSERT_TRUE(world->write("b", [](Transaction& t) { create(t, "L", 1); }));
    world->run(100);
    EXPECT_EQ(world->dump_of("a"), "\n");
    EXPECT_THAT(world->events("a"), Contains(HasSubstr("in the future")));
    ASSERT_TRUE(world->converge());
    EXPECT_THAT(world->dump_of("a"), HasSubstr("x=1"));
}

TEST_F(Regions, CrashesOnEitherSideLoseAndRepeatNothing) {
    begin({"a", "b"});
    for (int round = 0; round < 6; ++round) {
        for (int i = 0; i < 12; ++i) {
            ASSERT_TRUE(world->write("a", [&](Transaction& t) { create(t, "A", round * 100 + i); }));
            ASSERT_TRUE(world->write("b", [&](Transaction& t) { create(t, "B", round * 100 + 50 + i); }));
        }
        const std::string victim = round % 2 == 0 ? "a" : "b";
        world->run(static_cast<std::uint64_t>(round));
        world->crash(victim);
        world->run(30);
        world->start(victim);
    }
    ASSERT_TRUE(world->converge());
    EXPECT_EQ(world->dump_of("a"), world->dump_of("b"));
    EXPECT_EQ(std::ranges::count(world->dump_of("a"), '\n'), 6 * 24);
}

TEST_F(Regions, ARegionAwayForLongerThanTheLogReachesGetsTheStateAndKeepsItsOwn) {
    begin({"a", "b"});
    ASSERT_TRUE(world->write("a", [](Transaction& t) { create(t, "L", 1); }));
    ASSERT_TRUE(world->write("a", [](Transaction& t) { create(t, "L", 2); }));
    ASSERT_TRUE(world->converge());
    world->cut("a", "b");
    ASSERT_TRUE(world->write("a", [](Transaction& t) { ASSERT_TRUE(t.delete_node(find(t, 2).value())); }));
    ASSERT_TRUE(world->write("a", [](Transaction& t) { set(t, 1, "name", "of a"); }));
    ASSERT_TRUE(world->write("b", [](Transaction& t) { create(t, "L", 3); }));
    ASSERT_TRUE(world->write("b", [](Transaction& t) { set(t, 2, "name", "too late"); }));
    world->run(300);
    world->cut_log("a");
    world->cut_log("b");
    world->heal();
    ASSERT_TRUE(world->converge());
    EXPECT_EQ(world->dump_of("a"), world->dump_of("b"));
    EXPECT_THAT(world->dump_of("b"), HasSubstr("name='of a'"));
    EXPECT_THAT(world->dump_of("a"), HasSubstr("x=3"));
    EXPECT_THAT(world->dump_of("b"), ::testing::Not(HasSubstr("x=2")));
}

TEST_F(Regions, OneMoreIsTakenInAndHasEverythingBeforeItWrites) {
    begin({"a", "b"});
    for (int i = 0; i < 20; ++i) {
        ASSERT_TRUE(world->write(i % 2 == 0 ? "a" : "b", [&](Transaction& t) { create(t, "L", i); }));
    }
    ASSERT_TRUE(world->converge());
    ASSERT_TRUE(world->write("b", [](Transaction& t) { ASSERT_TRUE(t.delete_node(find(t, 7).value())); }));
    world->run(400);  // long enough to forget it
    world->add("c", {"a", "b"});
    ASSERT_TRUE(world->run_until([&] { return world->view("c").accepts_writes; }));
    EXPECT_EQ(world->dump_of("c"), world->dump_of("a"));
    ASSERT_TRUE(world->write("c", [](Transaction& t) { create(t, "L", 100); }));
    ASSERT_TRUE(world->converge());
    EXPECT_EQ(world->state("c")->self, 3);
    EXPECT_EQ(world->dump_of("c"), world->dump_of("a"));
    EXPECT_EQ(world->dump_of("c"), world->dump_of("b"));
    EXPECT_EQ(std::ranges::count(world->dump_of("a"), '\n'), 20);
}

TEST_F(Regions, OneThatFormedAloneAndWasNotCountedOnGetsAllDataBeforeItGoesOn) {
    begin({"a", "b"});
    ASSERT_TRUE(world->write("a", [](Transaction& t) { create(t, "L", 7); }));
    ASSERT_TRUE(world->converge());
    ASSERT_TRUE(world->write("b", [](Transaction& t) { ASSERT_TRUE(t.delete_node(find(t, 7).value())); }));
    ASSERT_TRUE(world->run_until([&] { return world->state("a")->tombstones == 0 && world->state("b")->tombstones == 0 && world->dump_of("a") == "\n"; }));
    world->cut_log("b");  // a's tells of the creation, nothing of the deletion
    world->cut("a", "c");
    world->cut("b", "c");
    world->add("c", {"a", "b"});
    ASSERT_TRUE(world->run_until([&] { return world->state("c")->self == 3; }));
    ASSERT_TRUE(world->write("c", [](Transaction& t) { create(t, "L", 8); }));
    world->heal();
    ASSERT_TRUE(world->run_until([&] { return world->state("c")->find(std::string_view{"c"})->era == 1; }));
    ASSERT_TRUE(world->run_until([&] { return world->view("c").accepts_writes; }));
    ASSERT_TRUE(world->run_until([&] { return world->dump_of("a") == world->dump_of("c") && world->dump_of("b") == world->dump_of("c"); }));
    EXPECT_EQ(std::ranges::count(world->dump_of("c"), '\n'), 1);
    EXPECT_THAT(world->dump_of("c"), HasSubstr("x=8"));
}

TEST_F(Regions, OneThatWasSetBackGetsWhatItLostAndDrawsNoIdTwice) {
    begin({"a", "b"});
    for (int i = 0; i < 5; ++i) {
        ASSERT_TRUE(world->write("a", [&](Transaction& t) { create(t, "L", i); }));
    }
    ASSERT_TRUE(world->converge());
    const LogIndex older = world->last_index("a");
    for (int i = 5; i < 40; ++i) {
        ASSERT_TRUE(world->write("a", [&](Transaction& t) { create(t, "L", i); }));
    }
    ASSERT_TRUE(world->converge());
    world->set_back("a", older);
    world->run(5);
    EXPECT_FALSE(world->view("a").accepts_writes);
    ASSERT_TRUE(world->run_until([&] { return world->view("a").accepts_writes; }));
    EXPECT_EQ(world->dump_of("a"), world->dump_of("b"));
    for (int i = 40; i < 45; ++i) {
        ASSERT_TRUE(world->write("a", [&](Transaction& t) { create(t, "L", i); }));
    }
    ASSERT_TRUE(world->write("b", [&](Transaction& t) { create(t, "L", 45); }));
    EXPECT_TRUE(world->run_until([&] { return world->dump_of("a") == world->dump_of("b"); }));
    EXPECT_EQ(std::ranges::count(world->dump_of("b"), '\n'), 46);
    EXPECT_EQ(world->state("a")->find(world->state("a")->self)->era, 1U);
}

TEST_F(Regions, OneThatWasSetBackAndWroteMoreThanItLostIsFoundOut) {
    begin({"a", "b"});
    ASSERT_TRUE(world->write("a", [&](Transaction& t) { create(t, "L", 1); }));
    ASSERT_TRUE(world->converge());
    const LogIndex older = world->last_index("a");
    ASSERT_TRUE(world->write("a", [&](Transaction& t) { set(t, 1, "name", "lost"); }));
    ASSERT_TRUE(world->converge());
    world->cut("a", "b");
    world->set_back("a", older);
    world->run(5);
    for (int i = 10; i < 30; ++i) {
        ASSERT_TRUE(world->write("a", [&](Transaction& t) { create(t, "L", i); }));
    }
    world->heal();
    ASSERT_TRUE(world->run_until([&] { return world->state("a")->find(world->state("a")->self)->era == 1; }));
    EXPECT_TRUE(world->run_until([&] { return world->view("a").accepts_writes && world->dump_of("a") == world->dump_of("b"); }));
    EXPECT_EQ(std::ranges::count(world->dump_of("b"), '\n'), 21);
    EXPECT_THAT(world->dump_of("a"), HasSubstr("name='lost'"));
}

TEST_F(Regions, DeletesAreForgottenOnceAllHaveThem) {
    begin({"a", "b"});
    ASSERT_TRUE(world->write("a", [](Transaction& t) { create(t, "L", 1); }));
    ASSERT_TRUE(world->converge());
    ASSERT_TRUE(world->write("b", [](Transaction& t) { ASSERT_TRUE(t.delete_node(find(t, 1).value())); }));
    world->cut("a", "b");
    world->run(500);
    EXPECT_EQ(world->state("b")->tombstones, 1U);  // a does not have it
    world->heal();
    EXPECT_TRUE(world->run_until([&] { return world->state("a")->tombstones == 0 && world->state("b")->tombstones == 0; }));
    EXPECT_EQ(world->dump_of("a"), "\n");
}

TEST_F(Regions, WithNothingToSayTheLogsStandStill) {
    begin({"a", "b"});
    ASSERT_TRUE(world->write("a", [](Transaction& t) { create(t, "L", 1); }));
    ASSERT_TRUE(world->converge());
    world->run(1000);
    const LogIndex a = world->engine("a").applied_index();
    const LogIndex b = world->engine("b").applied_index();
    world->run(2000);
    EXPECT_EQ(world->engine("a").applied_index(), a);
    EXPECT_EQ(world->engine("b").applied_index(), b);
}

TEST_F(Regions, APromotionReachesAllAndFencesTheOneBefore) {
    World::Options options = quick();
    options.settings.primary_only = true;
    begin({"a", "b"}, options);
    EXPECT_TRUE(world->write("a", [](Transaction& t) { create(t, "L", 1); }));
    EXPECT_FALSE(world->write("b", [](Transaction& t) { create(t, "L", 2); }));
    ASSERT_TRUE(world->converge());
    world->cut("a", "b");
    const auto promoted = world->command("b", {.kind = Command::Kind::kPromoteRegion});
    ASSERT_TRUE(promoted) << promoted.error().message();
    EXPECT_TRUE(world->write("b", [](Transaction& t) { set(t, 1, "name", "new"); }));
    world->run(50);
    EXPECT_TRUE(world->write("a", [](Transaction& t) { set(t, 1, "name", "old"); }));  // it cannot know
    EXPECT_TRUE(world->write("a", [](Transaction& t) { create(t, "L", 3); }));
    world->heal();
    ASSERT_TRUE(world->run_until([&] { return !world->view("a").accepts_writes; }));
    ASSERT_TRUE(world->converge());
    EXPECT_EQ(world->dump_of("a"), world->dump_of("b"));
    EXPECT_THAT(world->dump_of("a"), HasSubstr("name='new'"));  // later by the clock, and fenced
    EXPECT_THAT(world->dump_of("b"), HasSubstr("x=3"));
    EXPECT_EQ(world->state("a")->primary, 2);
    EXPECT_GE(world->state("a")->conflicts, 1U);
}

TEST_F(Regions, ADroppedRegionHoldsNothingBackAndIsRefused) {
    begin({"a", "b", "c"});
    ASSERT_TRUE(world->write("a", [](Transaction& t) { create(t, "L", 1); }));
    ASSERT_TRUE(world->converge());
    world->cut("a", "c");
    world->cut("b", "c");
    ASSERT_TRUE(world->write("b", [](Transaction& t) { ASSERT_TRUE(t.delete_node(find(t, 1).value())); }));
    world->run(500);
    EXPECT_EQ(world->state("a")->tombstones, 1U);
    const auto dropped = world->command("a", {.kind = Command::Kind::kDropRegion, .target = "c"});
    ASSERT_TRUE(dropped) << dropped.error().message();
    EXPECT_TRUE(world->run_until([&] { return world->state("a")->tombstones == 0 && world->state("b")->tombstones == 0; }));
    world->heal();
    EXPECT_TRUE(world->run_until([&] { return !world->view("c").accepts_writes; }));
    EXPECT_FALSE(world->write("c", [](Transaction& t) { create(t, "L", 9); }));
    for (const std::string name : {"a", "b"}) {  // both had the same of it
        EXPECT_THAT(world->events(name), ::testing::Not(Contains(HasSubstr("its state is asked for"))));
    }
}

/// A few batches of the state of `from` come to `to`, which its log does not reach back for any more.
void merge_by_half(World& world, const std::string& from, const std::string& to) {
    world.cut_log(from);
    world.cut_after(from, to, 3);
    world.heal(from, to);
    ASSERT_TRUE(world.run_until([&] { return world.is_cut(from, to); }));
}

World::Options quick_and_small() {
    World::Options options = quick();
    options.settings.batch_bytes_max = 300;
    return options;
}

TEST_F(Regions, WhatCameByHalfOfAStateTheOthersGetOnceItsRegionIsDropped) {
    begin({"a", "b", "c"}, quick_and_small());
    ASSERT_TRUE(world->write("a", [](Transaction& t) { create(t, "L", 1000); }));
    world->run(100);
    world->cut("a", "c");
    world->cut("b", "c");
    for (int i = 1; i <= 60; ++i) {
        ASSERT_TRUE(world->write("c", [&](Transaction& t) { create(t, "L", i); }));
    }
    ASSERT_TRUE(world->write("c", [](Transaction& t) { ASSERT_TRUE(t.delete_node(find(t, 1000).value())); }));
    world->run(10);
    merge_by_half(*world, "c", "a");
    const auto lines = std::ranges::count(world->dump_of("a"), '\n');
    ASSERT_GT(lines, 2);
    ASSERT_LT(lines, 60);
    world->crash("c");
    const auto dropped = world->command("b", {.kind = Command::Kind::kDropRegion, .target = "c"});
    ASSERT_TRUE(dropped) << dropped.error().message();
    EXPECT_TRUE(world->run_until([&] { return world->dump_of("a") == world->dump_of("b"); }));
    EXPECT_EQ(std::ranges::count(world->dump_of("a"), '\n'), lines);
    // Nothing is kept for it any more, and nothing asked for again and again.
    ASSERT_TRUE(world->write("a", [](Transaction& t) { ASSERT_TRUE(t.delete_node(find(t, 1).value())); }));
    EXPECT_TRUE(world->run_until([&] { return world->state("a")->tombstones == 0 && world->state("b")->tombstones == 0; }));
    world->run(300);
    const LogIndex a = world->engine("a").applied_index();
    const LogIndex b = world->engine("b").applied_index();
    world->run(1000);
    EXPECT_EQ(world->engine("a").applied_index(), a);
    EXPECT_EQ(world->engine("b").applied_index(), b);
}

TEST_F(Regions, WhatCameByHalfOfAStateGoesOnByHalfOfAnotherOne) {
    begin({"a", "b", "c", "d"}, quick_and_small());
    world->run(100);
    for (const std::string name : {"a", "b", "d"}) {
        world->cut(name, "c");
    }
    for (int i = 1; i <= 60; ++i) {
        ASSERT_TRUE(world->write("c", [&](Transaction& t) { create(t, "L", i); }));
    }
    world->run(10);
    merge_by_half(*world, "c", "b");
    world->crash("c");
    for (const std::string name : {"a", "d"}) {
        world->cut(name, "b");
    }
    ASSERT_TRUE(world->command("b", {.kind = Command::Kind::kDropRegion, .target = "c"}));
    merge_by_half(*world, "b", "a");
    ASSERT_GT(std::ranges::count(world->dump_of("a"), '\n'), 1);
    world->crash("b");
    EXPECT_EQ(world->dump_of("d"), "\n");
    ASSERT_TRUE(world->command("d", {.kind = Command::Kind::kDropRegion, .target = "b"}));
    EXPECT_TRUE(world->run_until([&] { return world->dump_of("a") == world->dump_of("d"); }));
    EXPECT_GT(std::ranges::count(world->dump_of("d"), '\n'), 1);
}

TEST_F(Regions, WhatOneAloneHasOfADroppedRegionTheOthersGetFromIt) {
    begin({"a", "b", "c"});
    world->run(100);
    world->cut("a", "c");
    ASSERT_TRUE(world->write("c", [](Transaction& t) { create(t, "L", 1); }));
    world->run(50);
    EXPECT_THAT(world->dump_of("b"), HasSubstr("x=1"));
    EXPECT_EQ(world->dump_of("a"), "\n");
    world->crash("c");
    ASSERT_TRUE(world->command("b", {.kind = Command::Kind::kDropRegion, .target = "c"}));
    EXPECT_TRUE(world->run_until([&] { return world->dump_of("a") == world->dump_of("b"); }));
    EXPECT_THAT(world->dump_of("a"), HasSubstr("x=1"));
    const LogIndex settled = world->engine("a").applied_index();
    world->run(1000);
    EXPECT_LE(world->engine("a").applied_index().value, settled.value + 4);  // it is not asked for again and again
}

TEST_F(Regions, TwoThatWerePromotedApartAgreeOnOne) {
    begin({"a", "b"});
    world->run(50);
    world->cut("a", "b");
    ASSERT_TRUE(world->command("b", {.kind = Command::Kind::kPromoteRegion}));
    ASSERT_TRUE(world->command("b", {.kind = Command::Kind::kPromoteRegion}));
    world->heal();
    ASSERT_TRUE(world->run_until([&] { return world->state("a")->primary == 2; }));
    world->cut("a", "b");
    ASSERT_TRUE(world->command("a", {.kind = Command::Kind::kPromoteRegion}));
    world->heal();
    EXPECT_TRUE(world->run_until([&] { return world->state("b")->primary == 1; }));
    EXPECT_EQ(world->state("a")->epoch, 2U);
}

TEST_F(Regions, SemiSynchronousWritesWaitForAnotherRegionAndGoOnVisiblyWithout) {
    World::Options options = quick();
    options.settings.semi_sync = true;
    options.settings.semi_sync_ticks = 30;
    begin({"a", "b"}, options);
    world->run(100);
    ASSERT_TRUE(world->write("a", [](Transaction& t) { create(t, "L", 1); }));
    EXPECT_TRUE(world->run_until([&] { return world->applied_all("a"); }, 3));
    EXPECT_THAT(world->dump_of("a"), HasSubstr("x=1"));
    world->cut("a", "b");
    ASSERT_TRUE(world->write("a", [](Transaction& t) { create(t, "L", 2); }));
    world->run(10);
    EXPECT_FALSE(world->applied_all("a"));
    EXPECT_TRUE(world->run_until([&] { return world->applied_all("a"); }, 60));
    EXPECT_EQ(world->view("a").state, "degraded");
    world->heal();
    EXPECT_TRUE(world->run_until([&] { return world->view("a").state == "ready"; }));
    EXPECT_EQ(world->dump_of("a"), world->dump_of("b"));
}

TEST_F(Regions, SemiSynchronousWritesThatComeSteadilyWaitAgainOnceAnotherRegionKeepsUp) {
    World::Options options = quick();
    options.settings.semi_sync = true;
    options.settings.semi_sync_ticks = 30;
    begin({"a", "b"}, options);
    world->run(100);
    world->cut("a", "b");
    int x = 0;
    const auto write = [&] { ASSERT_TRUE(world->write("a", [&](Transaction& t) { create(t, "L", ++x); })); };
    write();
    ASSERT_TRUE(world->run_until([&] { return world->view("a").state == "degraded"; }));
    for (int i = 0; i < 50; ++i) {
        write();
        world->run(1);
    }
    EXPECT_EQ(world->view("a").state, "degraded");
    world->heal();
    for (int i = 0; i < 100; ++i) {  // at no tick the other region has all of it
        write();
        world->run(1);
    }
    EXPECT_EQ(world->view("a").state, "ready");
    world->cut("a", "b");
    ASSERT_TRUE(world->command("a", {.kind = Command::Kind::kDropRegion, .target = "b"}));
    write();
    EXPECT_TRUE(world->run_until([&] { return world->applied_all("a") && world->view("a").state == "ready"; }, 10));  // there is nobody to wait for
}

/// Takes nothing while it is told so.
class Stalling final : public Around {
public:
    Stalling(std::unique_ptr<Strategy> local, const bool& stalls) : Around{std::move(local)}, stalls_{stalls} {}
    Result<> propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) override {
        if (stalls_) {
            return fail(ErrorCode::kBusy, "too many writes are under way");
        }
        return Around::propose(id, std::move(write_set), hybrid_time);
    }

private:
    const bool& stalls_;
};

TEST_F(Regions, AStateThatIsTakenInSlowlyIsNotBegunAnew) {
    bool stalls = false;
    World::Options options = quick_and_small();
    options.around = [&](const std::string& region, std::unique_ptr<Strategy> local) -> std::unique_ptr<Strategy> {
        return region == "b" ? std::make_unique<Stalling>(std::move(local), stalls) : std::move(local);
    };
    begin({"a", "b"}, options);
    world->run(50);
    world->cut("a", "b");
    for (int i = 0; i < 60; ++i) {
        ASSERT_TRUE(world->write("a", [&](Transaction& t) { create(t, "L", i); }));
    }
    world->run(10);
    world->cut_log("a");
    const std::uint64_t before = world->batches("b");
    world->heal();
    stalls = true;
    ASSERT_TRUE(world->run_until([&] { return world->batches("b") > before + 1; }));
    world->run(300);
    stalls = false;
    ASSERT_TRUE(world->converge());
    EXPECT_EQ(world->dump_of("a"), world->dump_of("b"));
    const auto given = std::ranges::count_if(world->events("a"), [](const auto& event) { return event.find("gets the state") != std::string::npos; });
    EXPECT_EQ(given, 1);
}

}  // namespace
}  // namespace nornic::modes::regions
