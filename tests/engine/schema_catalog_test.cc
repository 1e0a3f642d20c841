#include "engine/schema_catalog.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <regex>

namespace nornic::engine {
namespace {

/// PR and QR are labels 0 and 1, R and S types 0 and 1, a, b, c keys 0 to 2.
class NamedTokens : public Tokens {
public:
    std::optional<std::uint32_t> find(TokenKind kind, std::string_view name) const override {
        const std::vector<std::string>& names = of(kind);
        const auto found = std::ranges::find(names, name);
        return found == names.end()
                   ? std::nullopt
                   : std::optional{static_cast<std::uint32_t>(found - names.begin())};
    }
    std::string_view name(TokenKind kind, std::uint32_t id) const override {
        return of(kind).at(id);
    }
    std::vector<std::string> all(TokenKind kind) const override { return of(kind); }

private:
    const std::vector<std::string>& of(TokenKind kind) const {
        return kind == TokenKind::kLabel              ? labels_
               : kind == TokenKind::kRelationshipType ? types_
                                                      : keys_;
    }
    std::vector<std::string> labels_{"PR", "QR"};
    std::vector<std::string> types_{"R", "S"};
    std::vector<std::string> keys_{"a", "b", "c"};
};

IndexRule index_rule(std::uint32_t id,
                     std::string name,
                     std::vector<std::uint32_t> keys,
                     IndexType type = IndexType::kRange) {
    IndexRule rule;
    rule.id = SchemaRuleId{id};
    rule.name = std::move(name);
    rule.type = type;
    rule.tokens = {0};
    for (const std::uint32_t key : keys) {
        rule.properties.emplace_back(key);
    }
    return rule;
}

ConstraintRule constraint_rule(std::uint32_t id,
                               std::string name,
                               ConstraintType type,
                               std::vector<std::uint32_t> keys) {
    ConstraintRule rule;
    rule.id = SchemaRuleId{id};
    rule.name = std::move(name);
    rule.type = type;
    for (const std::uint32_t key : keys) {
        rule.properties.emplace_back(key);
    }
    return rule;
}

void expect_error(const Result<>& result, ErrorCode code, std::string_view message) {
    ASSERT_FALSE(result.has_value());
    EXPECT_EQ(result.error().code(), code);
    EXPECT_EQ(result.error().message(), message);
}

class SchemaCatalogTest : public testing::Test {
protected:
    NamedTokens tokens_;
    std::unique_ptr<Kv> kv_ = make_memory_kv();
    SchemaCatalog catalog_{"s"};

    void checkpoint(bool written = true) {
        catalog_.begin_checkpoint();
        const auto batch = kv_->new_batch();
        catalog_.write_checkpoint(*batch);
        if (written) {
            ASSERT_TRUE(kv_->write(*batch).has_value());
        }
        catalog_.end_checkpoint(written);
    }
};

TEST_F(SchemaCatalogTest, TextsAreThoseOfNeo4j) {
    EXPECT_EQ(schema_text(index_rule(1, "i", {0, 1}), tokens_), "(:PR {a, b})");
    IndexRule rel = index_rule(1, "i", {0});
    rel.entity = EntityKind::kRelationship;
    EXPECT_EQ(schema_text(rel, tokens_), "()-[:R {a}]-()");
    rel.tokens = {0, 1};
    EXPECT_EQ(schema_text(rel, tokens_), "()-[:R|S {a}]-()");
    EXPECT_EQ(schema_text(SchemaCatalog::initial_rules()[0], tokens_), "(:<any-labels>)");
    EXPECT_EQ(schema_text(SchemaCatalog::initial_rules()[1], tokens_), "()-[:<any-types>]-()");
    EXPECT_EQ(
        description(index_rule(3, "pra", {0}), tokens_),
        "Index( id=3, name='pra', type='RANGE', schema=(:PR {a}), indexProvider='range-1.0' )");
    ConstraintRule unique = constraint_rule(4, "c", ConstraintType::kUnique, {0});
    unique.owned_index = SchemaRuleId{3};
    EXPECT_EQ(description(unique, tokens_),
              "Constraint( id=4, name='c', type='UNIQUENESS', schema=(:PR {a}), ownedIndex=3 )");
    EXPECT_EQ(description(constraint_rule(0, "", ConstraintType::kExists, {0}), tokens_, false),
              "Constraint( type='NODE PROPERTY EXISTENCE', schema=(:PR {a}) )");
}

TEST_F(SchemaCatalogTest, DefaultNamesAreStableAndTellShapesApart) {
    const std::string name = default_name(index_rule(1, "", {0}), tokens_);
    EXPECT_TRUE(std::regex_match(name, std::regex{"index_[0-9a-f]{8}"})) << name;
    EXPECT_EQ(name, default_name(index_rule(9, "other", {0}), tokens_));
    EXPECT_NE(name, default_name(index_rule(1, "", {1}), tokens_));
    EXPECT_NE(name, default_name(index_rule(1, "", {0}, IndexType::kText), tokens_));
    // Every member and every version must give the same name: it is in users' scripts.
    EXPECT_EQ(name, "index_0867aa8b");
    EXPECT_TRUE(std::regex_match(
        default_name(constraint_rule(1, "", ConstraintType::kUnique, {0}), tokens_),
        std::regex{"constraint_[0-9a-f]{8}"}));
}

TEST_F(SchemaCatalogTest, AnIndexThatIsThereAlreadyIsRefusedInNeo4jsWords) {
    catalog_.put_index(index_rule(3, "pra", {0}), IndexState::kOnline);
    const auto schema = catalog_.schema();
    expect_error(check_new_index(*schema, index_rule(0, "pra", {0}), tokens_),
                 ErrorCode::kEquivalentSchemaRuleAlreadyExists,
                 "An equivalent index already exists, 'Index( id=3, name='pra', type='RANGE', "
                 "schema=(:PR {a}), "
                 "indexProvider='range-1.0' )'.");
    expect_error(check_new_index(*schema, index_rule(0, "x", {0}), tokens_),
                 ErrorCode::kIndexAlreadyExists,
                 "There already exists an index (:PR {a}).");
    expect_error(check_new_index(*schema, index_rule(0, "pra", {1}), tokens_),
                 ErrorCode::kIndexAlreadyExists,
                 "There already exists an index called 'pra'.");
    EXPECT_TRUE(check_new_index(*schema, index_rule(0, "x", {0, 1}), tokens_).has_value());
    EXPECT_TRUE(
        check_new_index(*schema, index_rule(0, "x", {0}, IndexType::kText), tokens_).has_value());
    expect_error(check_new_constraint(
                     *schema, constraint_rule(0, "u", ConstraintType::kUnique, {0}), tokens_),
                 ErrorCode::kIndexAlreadyExists,
                 "There already exists an index (:PR {a}). A constraint cannot be created until "
                 "the index has been dropped.");
    EXPECT_TRUE(check_new_constraint(
                    *schema, constraint_rule(0, "e", ConstraintType::kExists, {0}), tokens_)
                    .has_value());
    expect_error(check_new_constraint(
                     *schema, constraint_rule(0, "pra", ConstraintType::kExists, {0}), tokens_),
                 ErrorCode::kIndexAlreadyExists,
                 "There already exists an index called 'pra'.");
}

TEST_F(SchemaCatalogTest, AConstraintThatIsThereAlreadyIsRefusedInNeo4jsWords) {
    IndexRule owned = index_rule(3, "u", {0});
    owned.owning_constraint = SchemaRuleId{4};
    ConstraintRule unique = constraint_rule(4, "u", ConstraintType::kUnique, {0});
    unique.owned_index = SchemaRuleId{3};
    catalog_.put_index(owned, IndexState::kOnline);
    catalog_.put_constraint(unique);
    const auto schema = catalog_.schema();
    expect_error(check_new_constraint(
                     *schema, constraint_rule(0, "u", ConstraintType::kUnique, {0}), tokens_),
                 ErrorCode::kEquivalentSchemaRuleAlreadyExists,
                 "An equivalent constraint already exists, 'Constraint( id=4, name='u', "
                 "type='UNIQUENESS', schema=(:PR {a}), "
                 "ownedIndex=3 )'.");
    expect_error(
        check_new_constraint(*schema, constraint_rule(0, "v", ConstraintType::kKey, {0}), tokens_),
        ErrorCode::kConstraintAlreadyExists,
        "Constraint already exists: Constraint( id=4, name='u', type='UNIQUENESS', schema=(:PR "
        "{a}), ownedIndex=3 )");
    expect_error(check_new_constraint(
                     *schema, constraint_rule(0, "u", ConstraintType::kExists, {1}), tokens_),
                 ErrorCode::kConstraintAlreadyExists,
                 "There already exists a constraint called 'u'.");
    expect_error(check_new_index(*schema, index_rule(0, "i", {0}), tokens_),
                 ErrorCode::kConstraintAlreadyExists,
                 "There is a uniqueness constraint on (:PR {a}), so an index is already created "
                 "that matches this.");
    EXPECT_EQ(check_drop_index(*schema, "u").error().message(),
              "Unable to drop index: Index belongs to constraint: `u`");
    EXPECT_EQ(check_drop_index(*schema, "nope").error().message(),
              "Unable to drop index called `nope`. There is no such index.");
    EXPECT_EQ(check_drop_index(*schema, "nope").error().code(), ErrorCode::kIndexDropFailed);
    EXPECT_EQ(check_drop_constraint(*schema, "nope").error().code(),
              ErrorCode::kConstraintDropFailed);
    EXPECT_EQ(check_drop_constraint(*schema, "u").value()->id, SchemaRuleId{4});
}

TEST_F(SchemaCatalogTest, OnlyAnOnlineIndexIsFoundByThePlanner) {
    const std::vector<PropertyKeyId> a{PropertyKeyId{0}};
    catalog_.put_index(index_rule(3, "i", {0}), IndexState::kPopulating);
    const std::uint64_t version = catalog_.version();
    const auto before = catalog_.schema();
    EXPECT_EQ(before->find_index(EntityKind::kNode, 0, a), nullptr);
    catalog_.set_progress(SchemaRuleId{3}, 40);
    EXPECT_EQ(catalog_.schema()->index_named("i")->population_percent, 40.0);
    catalog_.set_online(SchemaRuleId{3});
    EXPECT_GT(catalog_.version(), version);
    ASSERT_NE(catalog_.schema()->find_index(EntityKind::kNode, 0, a), nullptr);
    EXPECT_EQ(catalog_.schema()->find_index(EntityKind::kRelationship, 0, a), nullptr);
    EXPECT_EQ(catalog_.schema()->find_index(EntityKind::kNode, 1, a), nullptr);
    EXPECT_EQ(before->index_named("i")->state,
              IndexState::kPopulating);  // a snapshot does not change
    catalog_.put_index(index_rule(3, "i", {0}), IndexState::kPopulating);  // replayed
    EXPECT_EQ(catalog_.schema()->index_named("i")->state, IndexState::kOnline);
    catalog_.set_failed(SchemaRuleId{3}, "why");
    EXPECT_EQ(catalog_.schema()->index_named("i")->failure, "why");
    EXPECT_TRUE(catalog_.drop(SchemaRuleId{3}));
    EXPECT_FALSE(catalog_.drop(SchemaRuleId{3}));
    catalog_.set_online(SchemaRuleId{3});
    EXPECT_TRUE(catalog_.schema()->indexes.empty());
    EXPECT_EQ(catalog_.counters(SchemaRuleId{3}), nullptr);
    EXPECT_EQ(catalog_.next_id(), SchemaRuleId{4});
}

TEST_F(SchemaCatalogTest, WhatACheckpointWroteComesBackAndUnfinishedPopulationsStartOver) {
    for (const IndexRule& rule : SchemaCatalog::initial_rules()) {
        catalog_.put_index(rule, IndexState::kOnline);
    }
    catalog_.put_index(index_rule(3, "i", {0, 2}), IndexState::kOnline);
    catalog_.put_index(index_rule(5, "p", {1}), IndexState::kPopulating);
    catalog_.put_index(index_rule(6, "gone", {2}), IndexState::kOnline);
    catalog_.put_index(index_rule(7, "failed", {0}), IndexState::kPopulating);
    catalog_.set_failed(SchemaRuleId{7}, "why");
    ConstraintRule typed = constraint_rule(8, "t", ConstraintType::kPropertyType, {1});
    typed.property_types.bits = 0xF00000001ULL;
    catalog_.put_constraint(typed);
    catalog_.put_constraint(constraint_rule(9, "gone too", ConstraintType::kExists, {1}));
    checkpoint();
    catalog_.drop(SchemaRuleId{6});
    checkpoint(false);
    catalog_.drop(SchemaRuleId{9});
    checkpoint();
    SchemaCatalog again{"s"};
    ASSERT_TRUE(again.load(*kv_).has_value());
    const auto schema = again.schema();
    ASSERT_EQ(schema->indexes.size(), 5U);
    EXPECT_EQ(schema->index_named("failed")->state, IndexState::kPopulating);
    EXPECT_EQ(schema->index_named("failed")->failure, "");
    EXPECT_EQ(schema->index_named("index_343aff4e")->rule.type, IndexType::kLookup);
    EXPECT_EQ(schema->index_named("i")->rule.properties,
              (std::vector{PropertyKeyId{0}, PropertyKeyId{2}}));
    EXPECT_EQ(schema->index_named("i")->state, IndexState::kOnline);
    EXPECT_EQ(schema->index_named("p")->state, IndexState::kPopulating);
    ASSERT_EQ(schema->constraints.size(), 1U);
    EXPECT_EQ(schema->constraints[0].property_types, typed.property_types);
    EXPECT_EQ(again.next_id(), SchemaRuleId{10});
}

TEST_F(SchemaCatalogTest, CountersAndStatisticsLeaveTheVersionAlone) {
    catalog_.put_index(index_rule(3, "i", {0}), IndexState::kOnline);
    const auto counters = catalog_.counters(SchemaRuleId{3});
    counters->reads.fetch_add(5);
    const std::uint64_t version = catalog_.version();
    catalog_.set_statistics(SchemaRuleId{3}, 7, 6);
    EXPECT_EQ(catalog_.version(), version);
    const Schema schema = catalog_.schema_with_counters();
    EXPECT_EQ(schema.index_named("i")->reads, 5U);
    EXPECT_EQ(schema.index_named("i")->entries, 7U);
    EXPECT_EQ(catalog_.schema()->index_named("i")->distinct_values, 6U);
}

TEST_F(SchemaCatalogTest, RulesSurviveEncodingAndNoPrefixOfOneDecodes) {
    IndexRule rule = index_rule(3, "name", {0, 1, 2}, IndexType::kFulltext);
    rule.tokens = {4, 500, 70'000};
    rule.owning_constraint = SchemaRuleId{0};
    rule.options = "{x}";
    std::string bytes;
    ByteWriter writer{bytes};
    encode_rule(rule, writer);
    ByteReader reader{bytes};
    const IndexRule back = decode_index_rule(reader).value();
    EXPECT_TRUE(reader.at_end());
    EXPECT_EQ(back.name, rule.name);
    EXPECT_EQ(back.type, rule.type);
    EXPECT_EQ(back.tokens, rule.tokens);
    EXPECT_EQ(back.properties, rule.properties);
    EXPECT_EQ(back.owning_constraint, rule.owning_constraint);
    EXPECT_EQ(back.options, rule.options);
    for (std::size_t n = 0; n < bytes.size(); ++n) {
        ByteReader cut{std::string_view{bytes}.substr(0, n)};
        EXPECT_EQ(decode_index_rule(cut).error().code(), ErrorCode::kCorruption) << n;
    }
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        std::string damaged = bytes;
        damaged[i] = '\xFF';
        ByteReader bad{damaged};
        (void)decode_index_rule(bad);  // an error or another rule, never a crash
    }
}

}  // namespace
}  // namespace nornic::engine
