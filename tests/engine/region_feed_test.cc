// What one region gives to another: names of tokens that each numbers itself, seeds, rules, and what is never believed.
#include "tests/engine/harness.h"
#include "tests/engine/region_support.h"

#include "base/random.h"

namespace nornic::engine::testing {
namespace {

class RegionFeedTest : public ::testing::Test {
protected:
    RegionFeedTest() {
        one.form(rows_of(2));
        two.form(rows_of(2));
    }
    void exchange() {
        one.catch_up(two);
        two.catch_up(one);
    }
    /// Names that the other region will number in another order.
    static void use_names(Region& region, std::vector<std::string> names) {
        region.commit([&](Transaction& t) {
            for (const std::string& name : names) {
                t.label_or_create(name).value();
                t.property_key_or_create(name).value();
                t.relationship_type_or_create(name).value();
            }
        });
    }
    static NodeId make(Region& region, std::string_view label_name, std::string_view key_name, std::int64_t value) {
        NodeId id;
        region.commit([&](Transaction& t) { id = create(t, label_name, key_name, Value{value}).value(); });
        return id;
    }
    /// A write of a region, as it is shipped.
    static RegionWrites written(RegionNumber origin, std::string_view write_set) {
        RegionWrites out;
        out.origin = origin;
        out.writes.push_back({LogIndex{100}, 5, stamp_write_set(RegionHeader{}, write_set)});
        out.through = LogIndex{100};
        return out;
    }

    Region one{1};
    Region two{2};
};

TEST_F(RegionFeedTest, WritesKeepTheirNamesWhereTokensHaveOtherNumbers) {
    use_names(one, {"A", "B", "C"});
    use_names(two, {"C", "A"});
    const NodeId a = make(one, "A", "B", 1);
    const NodeId c = make(two, "C", "C", 2);
    exchange();
    one.commit([&](Transaction& t) {
        ASSERT_TRUE(t.create_relationship(a, type(t, "B"), c, {}));
        ASSERT_TRUE(t.add_label(c, label(t, "B")));
    });
    two.commit([&](Transaction& t) {
        ASSERT_TRUE(t.set_property(a, key(t, "New"), Value{"x"}));
        ASSERT_TRUE(t.set_property(c, key(t, "C"), Value{}));
    });
    exchange();
    EXPECT_EQ(dump(one), dump(two));
    EXPECT_NE(dump(one).find("node " + std::to_string(a.value) + " :A B=1 New='x'"), std::string::npos) << dump(one);
    EXPECT_NE(dump(one).find(":B :C\n"), std::string::npos) << dump(one);
    EXPECT_NE(dump(one).find("-B->"), std::string::npos) << dump(one);
}

TEST_F(RegionFeedTest, ANameThatIsNewInBothRegionsGetsOneNumberInEach) {
    make(one, "Same", "same", 1);
    make(two, "Same", "same", 2);
    exchange();
    EXPECT_EQ(dump(one), dump(two));
    auto transaction = one.begin(AccessMode::kRead);
    EXPECT_EQ(transaction->tokens().all(TokenKind::kLabel).size(), 1U);
}

TEST_F(RegionFeedTest, ANameThatALocalTransactionHasReservedStaysItsOwn) {
    auto open = two.begin();
    const LabelId reserved = label(*open, "Mine");
    make(one, "Other", "k", 1);
    make(one, "Mine", "k", 2);
    two.catch_up(one);
    ASSERT_TRUE(create(*open, "Mine", "k", Value{3}));
    expect_ok(two.write(open->prepare().value()));
    open->finish();
    EXPECT_EQ(two.begin(AccessMode::kRead)->tokens().label("Mine"), reserved);
    one.catch_up(two);
    EXPECT_EQ(dump(one), dump(two));
}

TEST_F(RegionFeedTest, WhatIsAppliedAlreadyIsLeftOut) {
    make(one, "A", "k", 1);
    make(one, "A", "k", 2);
    const RegionWrites all = one.ship(LogIndex{1}, one.last());
    expect_ok(two.take(all));
    const std::uint64_t entries = two.log.size();
    expect_ok(two.take(all));
    EXPECT_EQ(two.log.size(), entries);
    EXPECT_EQ(dump(one), dump(two));
}

TEST_F(RegionFeedTest, OnlyOwnWritesAndPromotionsAreShipped) {
    make(one, "A", "k", 1);
    two.catch_up(one);
    RegionChange promote;
    promote.kind = RegionChange::Kind::kPromote;
    promote.number = 2;
    promote.epoch = 7;
    two.change(promote);
    const RegionWrites writes = two.ship(LogIndex{1}, two.last());
    ASSERT_EQ(writes.writes.size(), 1U);
    EXPECT_EQ(writes.writes.front().index, two.last());
    one.catch_up(two);
    EXPECT_EQ(one.state()->primary, 2);
    EXPECT_EQ(one.state()->epoch, 7U);
}

TEST_F(RegionFeedTest, AWriteThatIsNotAppliedHereYetIsShippedWithTheNamesThatItMakes) {
    // Committed in a region that waits for the others before it applies.
    auto transaction = one.begin();
    ASSERT_TRUE(create(*transaction, "Early", "k", Value{1}));
    LogEntry entry;
    entry.term = Term{1};
    entry.index = LogIndex{one.last().value + 1};
    entry.hybrid_time = one.now();
    entry.payload = stamp_write_set(one.header(), transaction->prepare().value());
    RegionWrites writes;
    expect_ok(one->regions()->ship(entry, writes));
    // What follows names the same tokens and makes none.
    std::string bytes;
    WriteSetWriter writer{bytes, DatabaseId{1}};
    NodeData node;
    node.labels = {label(*transaction, "Early")};
    writer.create_node(NodeId{1000 << kRegionBits | 1}, node);
    LogEntry next = entry;
    ++next.index;
    ++next.hybrid_time;
    next.payload = stamp_write_set(one.header(), bytes);
    RegionWrites second;
    expect_ok(one->regions()->ship(next, second));
    writes.through = entry.index;
    second.through = next.index;
    expect_ok(two.take(writes));
    expect_ok(two.take(second));
    auto read = two.begin(AccessMode::kRead);
    EXPECT_EQ(read->node_count(read->tokens().label("Early")), 2U);
    // Names of an entry that nobody shipped from here are not guessed.
    node.labels = {LabelId{77}};
    std::string unknown;
    WriteSetWriter{unknown, DatabaseId{1}}.create_node(NodeId{1001 << kRegionBits | 1}, node);
    next.payload = stamp_write_set(one.header(), unknown);
    const auto refused = one->regions()->ship(next, second);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code(), ErrorCode::kBusy);
}

TEST_F(RegionFeedTest, RulesTravelWithTheirNames) {
    use_names(two, {"x", "y", "z"});
    one.commit([](Transaction& t) {
        IndexDefinition index;
        index.name = "by_y";
        index.tokens = {"z"};
        index.properties = {"y", "x"};
        ASSERT_TRUE(t.create_index(index));
    });
    one.commit([](Transaction& t) {
        ConstraintDefinition constraint;
        constraint.name = "once";
        constraint.token = "x";
        constraint.properties = {"z"};
        ASSERT_TRUE(t.create_constraint(constraint));
    });
    two.catch_up(one);
    const auto shape = [](Region& region) {
        auto t = region.begin(AccessMode::kRead);
        std::string out;
        for (const IndexView& view : t->schema()->indexes) {
            out += view.rule.name + " " + schema_text(view.rule, t->tokens()) + "\n";
        }
        for (const ConstraintRule& rule : t->schema()->constraints) {
            out += rule.name + " " + schema_text(rule, t->tokens()) + "\n";
        }
        return out;
    };
    EXPECT_EQ(shape(one), shape(two));
    EXPECT_NE(shape(two).find("by_y (:z {y, x})"), std::string::npos) << shape(two);
    one.commit([](Transaction& t) { ASSERT_TRUE(t.drop_constraint("once")); });
    two.catch_up(one);
    EXPECT_EQ(shape(one), shape(two));
    EXPECT_EQ(shape(two).find("once"), std::string::npos);
}

TEST_F(RegionFeedTest, CatalogueRowsTravel) {
    one.commit([](Transaction& t) {
        ASSERT_TRUE(t.put_catalog("user/ann", Value{"v1"}));
        ASSERT_TRUE(t.put_catalog("user/bob", Value{"v2"}));
    });
    one.commit([](Transaction& t) { ASSERT_TRUE(t.erase_catalog("user/bob")); });
    two.catch_up(one);
    EXPECT_EQ(two->catalog("user/ann")->as_string(), "v1");
    EXPECT_FALSE(two->catalog("user/bob"));
}

TEST_F(RegionFeedTest, ARestartInBetweenChangesNothing) {
    make(one, "A", "k", 1);
    two.catch_up(one);
    expect_ok(two->checkpoint());
    const NodeId later = make(one, "B", "l", 2);
    two.restart();
    two.catch_up(one);
    one.restart();
    two.commit([&](Transaction& t) { ASSERT_TRUE(t.set_property(later, key(t, "m"), Value{4})); });
    two.restart();
    one.catch_up(two);
    EXPECT_EQ(dump(one), dump(two));
}

// ---- Seeds

class RegionSeedTest : public RegionFeedTest {
protected:
    /// Something of all that a state may hold.
    void fill() {
        use_names(one, {"A", "B", "C"});
        use_names(two, {"C", "B", "X"});
        const NodeId kept = make(one, "A", "B", 1);
        const NodeId gone = make(one, "C", "B", 2);
        std::vector<NodeId> chain;
        for (int i = 0; i < 200; ++i) {
            chain.push_back(make(one, "B", "C", i));
        }
        one.commit([&](Transaction& t) {
            for (std::size_t i = 1; i < chain.size(); ++i) {
                const PropertyEntry weight{key(t, "A"), Value{static_cast<std::int64_t>(i)}};
                ASSERT_TRUE(t.create_relationship(chain[i - 1], type(t, "B"), chain[i], std::span{&weight, 1}));
            }
            ASSERT_TRUE(t.delete_node(gone));
            ASSERT_TRUE(t.set_property(kept, key(t, "B"), Value{}));
            ASSERT_TRUE(t.put_catalog("row", Value{7}));
        });
    }
};

TEST_F(RegionSeedTest, ASeedMakesAnEmptyRegionEqual) {
    fill();
    auto seed = one->regions()->begin_seed();
    ASSERT_TRUE(seed) << seed.error().message();
    two.take_seed(*seed.value());
    EXPECT_EQ(dump(one), dump(two));
    EXPECT_EQ(two->catalog("row")->as_integer(), 7);
    EXPECT_EQ(two.cursor_of(one), one.last());
    EXPECT_GE(seed.value()->entities_read(), 401U);
    EXPECT_EQ(seed.value()->entities_estimate(), 201U + 199U);
}

TEST_F(RegionSeedTest, ASeedIsOfOneIndexWhateverIsWrittenMeanwhile) {
    fill();
    auto seed = one->regions()->begin_seed().value();
    const LogIndex as_of = one.last();
    const std::string then = dump(one);
    make(one, "Later", "k", 9);
    one.commit([](Transaction& t) {
        std::vector<NodeId> nodes(1000);
        nodes.resize(t.scan_nodes()->next(nodes));
        for (const NodeId id : nodes) {
            ASSERT_TRUE(t.set_property(id, key(t, "k"), Value{"later"}));
        }
    });
    two.take_seed(*seed, 1);
    EXPECT_EQ(seed->index(), as_of);
    EXPECT_EQ(dump(two), then);
    two.catch_up(one);
    EXPECT_EQ(dump(one), dump(two));
}

TEST_F(RegionSeedTest, APartHoldsAboutAsMuchAsWasAskedForHoweverLargeAPageIs) {
    for (int i = 0; i < 20; ++i) {
        one.commit([&](Transaction& t) {
            ASSERT_TRUE(create(t, "Large", "k", Value{std::string(10'000, static_cast<char>('a' + i))}));
        });
    }
    auto seed = one->regions()->begin_seed().value();
    int parts = 0;
    while (true) {
        const auto part = seed->next(25'000).value();
        if (!part) {
            break;
        }
        for (const RegionWrite& write : part->writes) {
            EXPECT_LE(write.payload.size(), 36'000U);
        }
        expect_ok(two.take(*part));
        ++parts;
    }
    EXPECT_GE(parts, 7);
    EXPECT_EQ(dump(one), dump(two));
}

TEST_F(RegionSeedTest, ANodeOfMoreThanAPieceComesInSeveralAndEndsEqual) {
    const std::string megabytes(std::size_t{3} << 20, 'x');
    NodeId node;
    one.commit([&](Transaction& t) {
        const LabelId labels[] = {t.label_or_create("Large").value(), t.label_or_create("Gone").value()};
        node = t.create_node(labels, {}).value();
    });
    for (int i = 0; i < 8; ++i) {
        one.commit([&](Transaction& t) {
            ASSERT_TRUE(t.set_property(node, t.property_key_or_create("p" + std::to_string(i)).value(), Value{megabytes + std::to_string(i)}));
        });
    }
    one.commit([&](Transaction& t) {
        ASSERT_TRUE(t.set_property(node, t.property_key_or_create("p3").value(), Value{}));
        ASSERT_TRUE(t.remove_label(node, t.label_or_create("Gone").value()));
    });
    auto seed = one->regions()->begin_seed();
    ASSERT_TRUE(seed);
    while (true) {
        auto part = seed.value()->next(std::size_t{512} << 10);
        ASSERT_TRUE(part) << part.error().message();
        if (!part.value()) {
            break;
        }
        std::size_t bytes = 0;
        for (const RegionWrite& write : part.value()->writes) {
            bytes += write.payload.size();
        }
        EXPECT_LT(bytes, std::size_t{10} << 20);
        expect_ok(two.take(*part.value()));
    }
    EXPECT_TRUE(dump(two) == dump(one));  // too long to be printed
}

TEST_F(RegionSeedTest, ASeedTakenTwiceOrTooLateDoesNoHarm) {
    fill();
    auto early = one->regions()->begin_seed().value();
    auto again = one->regions()->begin_seed().value();
    two.take_seed(*again);
    one.commit([](Transaction& t) {
        std::vector<NodeId> nodes(1000);
        nodes.resize(t.scan_nodes()->next(nodes));
        ASSERT_TRUE(t.set_property(nodes.front(), key(t, "B"), Value{"newer"}));
        ASSERT_TRUE(t.remove_label(nodes[1], label(t, "B")));
        std::vector<Adjacent> around;
        t.expand(nodes.back(), Direction::kBoth, {}, around);
        for (const Adjacent& one_of : around) {
            ASSERT_TRUE(t.delete_relationship(one_of.relationship));
        }
        ASSERT_TRUE(t.delete_node(nodes.back()));
    });
    two.catch_up(one);
    const std::string before = dump(two);
    two.take_seed(*early);
    EXPECT_EQ(dump(two), before);
    EXPECT_EQ(dump(one), before);
}

TEST_F(RegionSeedTest, DataFromBeforeTheRegionsIsSeeded) {
    Region old{1};
    old.apply([] {
        std::string bytes;
        WriteSetWriter writer{bytes, DatabaseId{1}};
        writer.create_token(TokenKind::kLabel, 0, "Old");
        NodeData node;
        node.labels = {LabelId{0}};
        writer.create_node(NodeId{0}, node);
        return bytes;
    }(), 1).value();
    old.form(rows_of(2));
    EXPECT_FALSE(old.state()->pristine);
    auto seed = old->regions()->begin_seed().value();
    two.take_seed(*seed);
    EXPECT_EQ(dump(two), dump(old));
    EXPECT_NE(dump(two).find("node 0 :Old"), std::string::npos);
}

TEST_F(RegionSeedTest, ADeletedNodeComesAsItsTombstone) {
    const NodeId node = make(one, "A", "k", 1);
    two.catch_up(one);
    one.commit([&](Transaction& t) { ASSERT_TRUE(t.delete_node(node)); });
    auto seed = one->regions()->begin_seed().value();
    two.take_seed(*seed);
    EXPECT_EQ(dump(one), dump(two));
    EXPECT_EQ(two.begin(AccessMode::kRead)->node(node), nullptr);
}

TEST_F(RegionSeedTest, RowsAndRulesThatAreGoneGoInTheOtherRegionToo) {
    one.commit([](Transaction& t) { ASSERT_TRUE(t.put_catalog("row", Value{1})); });
    one.commit([](Transaction& t) {
        IndexDefinition index;
        index.name = "i";
        index.tokens = {"A"};
        index.properties = {"k"};
        ASSERT_TRUE(t.create_index(index));
    });
    two.catch_up(one);
    const std::size_t rules = two.begin(AccessMode::kRead)->schema()->indexes.size();
    one.commit([](Transaction& t) { ASSERT_TRUE(t.erase_catalog("row")); });
    one.commit([](Transaction& t) { ASSERT_TRUE(t.drop_index("i")); });
    two.take_seed(*one->regions()->begin_seed().value());
    EXPECT_FALSE(two->catalog("row"));
    EXPECT_EQ(two.begin(AccessMode::kRead)->schema()->indexes.size(), rules - 1);
}

TEST_F(RegionSeedTest, ADatabaseIsThereBeforeAnythingIsWrittenToIt) {
    constexpr DatabaseId kThird{9};
    std::string create;
    WriteSetWriter{create, DatabaseId{2}}.create_database(kThird, "third", "uuid of third");
    expect_ok(one.write(create));
    std::string fill;
    WriteSetWriter writer{fill, kThird};
    writer.create_token(TokenKind::kLabel, 0, "A");
    writer.create_token(TokenKind::kPropertyKey, 0, "k");
    IndexRule index;
    index.id = SchemaRuleId{1};
    index.name = "third_a";
    index.tokens = {0};
    index.properties = {PropertyKeyId{0}};
    std::string encoded;
    ByteWriter bytes{encoded};
    encode_rule(index, bytes);
    writer.put_rule(WriteOp::kPutIndex, encoded);
    writer.create_node(NodeId{id_of(1, 1)}, NodeData{.labels = {LabelId{0}}, .properties = {{PropertyKeyId{0}, Value{5}}}});
    expect_ok(one.write(fill));

    // Of a stream nothing is added to what holds a new database.
    RegionWrites writes;
    expect_ok(one->regions()->ship(one.log[one.log.size() - 2], writes));
    EXPECT_TRUE(writes.closed);

    two.take_seed(*one->regions()->begin_seed().value());
    BeginOptions options;
    options.database = "third";
    options.mode = AccessMode::kRead;
    auto there = two->begin(options);
    ASSERT_TRUE(there) << there.error().message();
    EXPECT_NE(there.value()->node(NodeId{id_of(1, 1)}), nullptr);
    EXPECT_NE(there.value()->schema()->index_named("third_a"), nullptr);
}

TEST_F(RegionSeedTest, ASeedOfAStateThatWasReplacedSaysSo) {
    fill();
    auto seed = one->regions()->begin_seed().value();
    ASSERT_TRUE(seed->next(1));  // databases
    ASSERT_TRUE(seed->next(1));  // rows and rules
    expect_ok(one->reload());
    const auto next = seed->next(1);
    ASSERT_FALSE(next);
    EXPECT_EQ(next.error().code(), ErrorCode::kStopping);
}

// ---- What comes from outside

TEST_F(RegionFeedTest, WhatWouldStopAMemberThatAppliesItIsRefusedBefore) {
    const auto refused = [&](const RegionWrites& writes, std::string_view why) {
        const auto got = two->regions()->localize(writes, false);
        ASSERT_FALSE(got) << why;
        EXPECT_EQ(got.error().code(), ErrorCode::kCorruption) << got.error().message();
        EXPECT_NE(got.error().message().find(why), std::string::npos) << got.error().message();
    };
    const auto with = [&](auto&& fill) {
        std::string bytes;
        WriteSetWriter writer{bytes, DatabaseId{1}};
        fill(writer);
        return written(1, bytes);
    };
    refused(with([](WriteSetWriter& w) { w.delete_node(NodeId{UINT64_MAX}); }), "out of range");
    refused(with([](WriteSetWriter& w) { w.add_label(NodeId{33}, LabelId{5}); }), "has no name");
    refused(with([](WriteSetWriter& w) { w.put_rule(WriteOp::kPutIndex, "?"); }), "");
    refused(with([](WriteSetWriter& w) { w.create_token(TokenKind::kLabel, 0, ""); }), "token name");
    refused(with([](WriteSetWriter& w) {
                RegionChange change;
                change.kind = RegionChange::Kind::kWatermark;
                change.time = UINT64_MAX;
                w.change_region(encode_region_change(change));
            }),
            "not theirs");
    refused(with([](WriteSetWriter& w) {
                NodeData node;
                node.labels = {LabelId{1}, LabelId{1}};
                w.create_token(TokenKind::kLabel, 1, "L");
                w.create_node(NodeId{33}, node);
            }),
            "twice");
    refused(written(2, "\x01\x01"), "no number of another region");
    refused(written(9, "\x01\x01"), "not known here");
    RegionWrites twice = written(1, "\x01\x01");
    twice.writes.push_back(twice.writes.front());
    refused(twice, "follows");
    RegionWrites broken = written(1, "\x01\x01");
    broken.writes.front().payload.resize(2);
    refused(broken, "cut off");
}

TEST_F(RegionFeedTest, NoNoiseInWhatIsShippedStopsTheRegionThatTakesIt) {
    use_names(one, {"A", "B"});
    const NodeId node = make(one, "A", "B", 1);
    one.commit([&](Transaction& t) { ASSERT_TRUE(t.create_relationship(node, type(t, "A"), node, {})); });
    const RegionWrites good = one.ship(LogIndex{1}, one.last());
    Random random{3};
    for (int i = 0; i < 3000; ++i) {
        RegionWrites noisy = good;
        std::string& payload = noisy.writes[random.below(noisy.writes.size())].payload;
        for (std::uint64_t n = 1 + random.below(3); n > 0; --n) {
            payload[random.below(payload.size())] = static_cast<char>(random.below(256));
        }
        for (RegionWrite& write : noisy.writes) {
            write.index = LogIndex{};  // never left out as known
        }
        auto localized = two->regions()->localize(noisy, false);
        if (localized && !localized.value().empty()) {
            const Result<> done = two.apply(std::move(localized).value(), two.now());
            ASSERT_TRUE(done) << "round " << i << ": " << done.error().message();
        }
    }
}

}  // namespace
}  // namespace nornic::engine::testing
