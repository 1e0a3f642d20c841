// A leader that was deposed and does not know it hears of its successor's writes from other regions.
#include "tests/modes/multi_region/around.h"
#include "tests/modes/multi_region/world.h"

#include "graph/value.h"

namespace nornic::modes::regions {
namespace {

/// What became of the leader of a group.
struct Fate {
    Term term{1};
    std::optional<LogIndex> deposed_at;  // it still leads, as far as it knows, and commits nothing behind this
};

class Mortal final : public Around {
public:
    Mortal(std::unique_ptr<Strategy> local, const Fate& fate) : Around{std::move(local)}, fate_{fate} {}
    Result<> propose(ProposalId id, std::string write_set, std::uint64_t hybrid_time) override {
        if (fate_.deposed_at) {
            return fail(ErrorCode::kBusy, "nobody acknowledges anything");
        }
        return Around::propose(id, std::move(write_set), hybrid_time);
    }
    [[nodiscard]] Term write_term() const override { return fate_.term; }
    [[nodiscard]] ClusterView view() const override {
        ClusterView out = Around::view();
        out.commit_index = std::min(out.commit_index, fate_.deposed_at.value_or(out.commit_index));
        return out;
    }

private:
    const Fate& fate_;
};

TEST(RegionsDeposed, TheWritesOfASuccessorAreNoSignOfHavingBeenSetBack) {
    Fate fate;
    World::Options options;
    options.settings.form_ticks = 20;
    options.settings.status_ticks = 5;
    options.around = [&](const std::string& region, std::unique_ptr<Strategy> local) -> std::unique_ptr<Strategy> {
        return region == "a" ? std::make_unique<Mortal>(std::move(local), fate) : std::move(local);
    };
    World world{{"a", "b"}, options};
    ASSERT_TRUE(world.run_until([&] { return world.state("a")->self != 0 && world.state("b")->self != 0; }));
    const LogIndex then = world.last_index("a");
    const auto create = [](engine::Transaction& t) {
        const LabelId label = t.label_or_create("L").value();
        ASSERT_TRUE(t.create_node(std::span{&label, 1}, {}));
    };
    ASSERT_TRUE(world.write("a", create));
    ASSERT_TRUE(world.write("a", create));
    ASSERT_TRUE(world.converge());

    fate.deposed_at = then;
    world.run(50);
    EXPECT_FALSE(world.view("a").accepts_writes);  // it may have been set back, for all it knows
    fate = Fate{.term = Term{0}, .deposed_at = std::nullopt};
    world.run(5);
    fate.term = Term{3};
    world.run(50);
    EXPECT_TRUE(world.view("a").accepts_writes);
    EXPECT_EQ(world.state("a")->find(std::string_view{"a"})->era, 0U);
}

TEST(RegionsDeposed, AWriteThatNoOtherRegionHasIsNotAnsweredBeforeItsTimeIsOver) {
    Fate fate;
    World::Options options;
    options.settings.form_ticks = 20;
    options.settings.status_ticks = 5;
    options.settings.semi_sync = true;
    options.settings.semi_sync_ticks = 30;
    options.around = [&](const std::string& region, std::unique_ptr<Strategy> local) -> std::unique_ptr<Strategy> {
        return region == "a" ? std::make_unique<Mortal>(std::move(local), fate) : std::move(local);
    };
    World world{{"a", "b"}, options};
    ASSERT_TRUE(world.run_until([&] { return world.state("a")->self != 0 && world.state("b")->self != 0; }));
    world.run(100);
    const auto create = [](engine::Transaction& t) {
        const LabelId label = t.label_or_create("L").value();
        ASSERT_TRUE(t.create_node(std::span{&label, 1}, {}));
    };
    ASSERT_TRUE(world.write("a", create));
    ASSERT_TRUE(world.run_until([&] { return world.applied_all("a"); }, 3));
    world.cut("a", "b");
    ASSERT_TRUE(world.write("a", create));
    world.run(5);
    fate = Fate{.term = Term{0}, .deposed_at = std::nullopt};
    world.run(20);
    EXPECT_FALSE(world.applied_all("a"));
    EXPECT_TRUE(world.run_until([&] { return world.applied_all("a"); }, 20));
}

TEST(RegionsBegunAnew, OneThatFormsAloneInThePlaceOfAnotherIsTold) {
    World::Options options;
    options.settings.form_ticks = 20;
    options.settings.status_ticks = 5;
    World world{{"a", "b"}, options};
    ASSERT_TRUE(world.run_until([&] { return world.state("a")->self != 0 && world.state("b")->self != 0; }));
    const auto create = [](engine::Transaction& t) {
        const LabelId label = t.label_or_create("L").value();
        ASSERT_TRUE(t.create_node(std::span{&label, 1}, {}));
    };
    ASSERT_TRUE(world.write("b", create));
    ASSERT_TRUE(world.converge());
    const std::string before = world.dump_of("a");
    world.cut("a", "b");
    world.wipe("b");
    ASSERT_TRUE(world.run_until([&] { return world.state("b")->self != 0; }));
    ASSERT_TRUE(world.write("b", create));  // it draws the id of what the other one had
    world.heal();
    ASSERT_TRUE(world.run_until([&] { return !world.view("b").accepts_writes; }));
    EXPECT_EQ(world.view("b").state, "read_only");
    EXPECT_NE(world.view("b").reason.find("drop that one"), std::string::npos);
    EXPECT_FALSE(world.write("b", create));
    world.run(200);
    EXPECT_EQ(world.dump_of("a"), before);
    EXPECT_TRUE(world.command("a", {.kind = Command::Kind::kDropRegion, .target = "b"}));
}

}  // namespace
}  // namespace nornic::modes::regions
