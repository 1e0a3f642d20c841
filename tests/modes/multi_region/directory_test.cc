// Who is a region, under which number, and whom the others heed: directories that differ, and regions that were given up.
#include "tests/modes/multi_region/world.h"

#include "graph/value.h"

#include <gmock/gmock.h>

#include <algorithm>

namespace nornic::modes::regions {
namespace {

using engine::Transaction;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::Not;

void create(Transaction& t, const std::string& label) {
    const LabelId id = t.label_or_create(label).value();
    ASSERT_TRUE(t.create_node(std::span{&id, 1}, {}));
}

World::Options quick() {
    World::Options options;
    options.settings.form_ticks = 20;
    options.settings.status_ticks = 5;
    options.settings.silent_ticks = 60;
    options.settings.watermark_ticks = 50;
    options.settings.retry_ticks = 40;
    return options;
}

class RegionsDirectory : public ::testing::Test {
protected:
    void begin(const std::vector<std::string>& names) {
        world = std::make_unique<World>(names, quick());
        ASSERT_TRUE(formed());
    }
    bool formed() {
        return world->run_until([&] { return std::ranges::all_of(world->names(), [&](const auto& name) { return number(name) != 0; }); });
    }
    void write(const std::string& region, const std::string& label) {
        ASSERT_TRUE(world->write(region, [&](Transaction& t) { create(t, label); }));
    }
    bool equal(const std::string& a, const std::string& b) {
        return world->run_until([&] { return world->dump_of(a) == world->dump_of(b); });
    }
    void drop(const std::string& at, const std::string& region) {
        const auto dropped = world->command(at, {.kind = Command::Kind::kDropRegion, .target = region});
        ASSERT_TRUE(dropped) << dropped.error().message();
    }
    void isolate(const std::string& region) {
        for (const std::string& other : world->names()) {
            if (other != region) {
                world->cut(region, other);
            }
        }
    }
    int number(const std::string& region) { return world->state(region)->self; }
    bool has_dropped(const std::string& at, engine::RegionNumber which) {
        const auto state = world->state(at);
        const auto* row = state->find(which);
        return row != nullptr && row->dropped;
    }
    std::unique_ptr<World> world;
};

TEST_F(RegionsDirectory, OneThatWasNumberedApartIsLeftOutAndTheOthersGoOn) {
    begin({"a", "b"});
    for (const std::string odd : {"B", "c"}) {  // one that is heard before the one that agrees, and one after it
        world->add(odd, {"a", "x"});
        isolate(odd);
        ASSERT_TRUE(formed());
    }
    ASSERT_EQ(number("B"), 1);
    ASSERT_EQ(number("c"), 2);
    world->heal();
    world->cut("B", "c");
    world->run(200);
    EXPECT_EQ(world->state("a")->regions.size(), 2U);  // "x" of theirs is nobody here
    EXPECT_EQ(world->state("b")->regions.size(), 2U);
    write("a", "OfA");
    write("b", "OfB");
    write("c", "OfC");
    EXPECT_TRUE(equal("a", "b"));
    EXPECT_THAT(world->dump_of("a"), HasSubstr("OfB"));
    EXPECT_THAT(world->dump_of("a"), Not(HasSubstr("OfC")));
    EXPECT_THAT(world->dump_of("c"), Not(HasSubstr("OfA")));
    ASSERT_TRUE(world->command("b", {.kind = Command::Kind::kPromoteRegion}));
    EXPECT_TRUE(world->run_until([&] { return world->state("a")->primary == 2; }));
    EXPECT_EQ(world->state("c")->primary, 1);
    for (const std::string name : {"a", "b", "c"}) {
        EXPECT_EQ(world->view(name).state, "degraded");
        EXPECT_THAT(world->view(name).reason, HasSubstr("numbered apart"));
        EXPECT_TRUE(world->view(name).accepts_writes);
    }
    EXPECT_EQ(std::ranges::count_if(world->events("a"), [](const auto& event) { return event.find("'c' knows number") != std::string::npos; }), 1);
    world->crash("c");
    world->crash("B");
    EXPECT_TRUE(world->run_until([&] { return world->view("a").state == "ready"; }));
}

TEST_F(RegionsDirectory, ANewGroupJoinsNobodyWhileThoseThatItHearsContradictEachOther) {
    begin({"a", "b"});
    world->add("c", {"a"});
    world->cut("c", "a");
    world->cut("c", "b");
    ASSERT_TRUE(formed());
    world->heal();
    world->add("d", {"a", "b", "c"});
    world->run(100);
    EXPECT_EQ(number("d"), 0);
    EXPECT_THAT(world->view("d").reason, HasSubstr("numbered apart"));
    world->wipe("c");  // it was emptied, as that says
    EXPECT_TRUE(formed());
    EXPECT_EQ(world->view("a").state, "ready");
    EXPECT_TRUE(world->run_until([&] { return world->view("d").accepts_writes && world->view("c").accepts_writes; }));
    EXPECT_NE(number("c"), number("d"));
}

TEST_F(RegionsDirectory, OneThatWasAwayWhileANameGotAnotherNumberIsNotLockedOut) {
    begin({"a", "b", "c"});
    write("c", "OfTheFirst");
    ASSERT_TRUE(world->converge());
    isolate("b");
    drop("a", "c");
    world->wipe("c");
    ASSERT_TRUE(world->run_until([&] { return number("c") == 4 && world->view("c").accepts_writes; }));
    EXPECT_TRUE(has_dropped("c", 3));
    write("c", "OfTheSecond");
    write("b", "OfB");
    world->heal("b", "c");  // not yet by the one that dropped it
    EXPECT_TRUE(world->run_until([&] { return has_dropped("b", 3) && world->state("b")->find(engine::RegionNumber{4}) != nullptr; }));
    world->heal();
    EXPECT_TRUE(equal("a", "b"));
    EXPECT_TRUE(equal("a", "c"));
    EXPECT_THAT(world->dump_of("b"), HasSubstr("OfTheSecond"));
    EXPECT_THAT(world->dump_of("c"), HasSubstr("OfB"));
    for (const std::string& name : world->names()) {
        EXPECT_EQ(world->view(name).state, "ready") << world->view(name).reason;
        EXPECT_THAT(world->events(name), Not(Contains(HasSubstr("numbered apart"))));
    }
}

TEST_F(RegionsDirectory, NothingThatADroppedRegionSaysIsHeeded) {
    begin({"a", "b", "c"});
    world->run(50);
    isolate("c");
    ASSERT_TRUE(world->command("c", {.kind = Command::Kind::kPromoteRegion}));
    drop("c", "b");
    world->add("d", {"c"});
    world->cut("d", "a");
    world->cut("d", "b");
    ASSERT_TRUE(world->run_until([&] { return number("d") == 4; }));
    drop("a", "c");
    ASSERT_TRUE(world->run_until([&] { return has_dropped("b", 3); }));
    world->crash("d");
    world->heal("a", "c");
    world->heal("b", "c");
    ASSERT_TRUE(world->run_until([&] { return world->view("c").state == "read_only"; }));
    world->run(100);
    for (const std::string name : {"a", "b"}) {
        EXPECT_EQ(world->state(name)->primary, 1);
        EXPECT_EQ(world->state(name)->epoch, 0U);
        EXPECT_FALSE(has_dropped(name, 2));
        EXPECT_EQ(world->state(name)->regions.size(), 3U);
        EXPECT_EQ(world->view(name).state, "ready");
        EXPECT_TRUE(world->view(name).accepts_writes);
    }
}

TEST_F(RegionsDirectory, ADroppedOneIsToldSoThoughItGaveOutNumbersThatTheOthersGaveOtherwise) {
    begin({"a", "b", "c"});
    world->run(50);
    isolate("c");
    ASSERT_TRUE(world->command("c", {.kind = Command::Kind::kPromoteRegion}));
    world->add("d", {"c"});
    world->cut("d", "a");
    world->cut("d", "b");
    ASSERT_TRUE(world->run_until([&] { return number("d") == 4; }));
    world->crash("d");
    world->add("e", {"a"});
    world->cut("e", "c");
    ASSERT_TRUE(world->run_until([&] { return number("e") == 4; }));
    drop("a", "c");
    world->heal("a", "c");
    ASSERT_TRUE(world->run_until([&] { return !world->view("c").accepts_writes; }));
    EXPECT_THAT(world->view("c").reason, HasSubstr("dropped"));
    EXPECT_EQ(world->view("a").state, "ready");
}

TEST_F(RegionsDirectory, ADroppedOneKnowsItAfterARestartBeforeAnybodyTellsIt) {
    begin({"a", "b", "c"});
    world->run(50);
    isolate("c");
    drop("a", "c");
    world->heal();
    ASSERT_TRUE(world->run_until([&] { return !world->view("c").accepts_writes; }));
    world->run(20);
    isolate("c");
    world->crash("c");
    world->start("c");
    world->run(50);
    EXPECT_FALSE(world->view("c").accepts_writes);
    EXPECT_THAT(world->view("c").reason, HasSubstr("dropped"));
    EXPECT_FALSE(world->write("c", [](Transaction& t) { create(t, "L"); }));
    EXPECT_FALSE(world->command("c", {.kind = Command::Kind::kPromoteRegion}));
}

}  // namespace
}  // namespace nornic::modes::regions
