// The expressions of Cypher as the parser leaves them and semantics completes them (symbols,
// types). Plain data: every node owns its children; positions point into the statement's text.
#pragma once

#include "base/result.h"
#include "cypher/ast/type_set.h"
#include "graph/value.h"

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace nornic::cypher {

/// A variable after name resolution: unique in the statement, also where a name is used twice in
/// different scopes. Semantics::symbols holds names and types. kNoSymbol before resolution.
using Symbol = std::uint32_t;
inline constexpr Symbol kNoSymbol = UINT32_MAX;

struct Query;
struct PathPattern;

enum class ExprKind : std::uint8_t {
    kLiteral,
    kParameter,
    kVariable,
    kProperty,
    kLabelCheck,
    kUnary,
    kBinary,
    kIsNull,
    kTypeCheck,
    kNormalizedCheck,
    kList,
    kMap,
    kIndex,
    kSlice,
    kFunction,
    kCountStar,
    kCase,
    kListComprehension,
    kPatternComprehension,
    kQuantifier,
    kReduce,
    kMapProjection,
    kPatternPredicate,
    kSubquery,
    kShortestPath,
};

struct Expr {
    explicit Expr(ExprKind k, SourcePosition p) : kind{k}, position{p} {}
    virtual ~Expr() = default;
    Expr(const Expr&) = delete;
    Expr& operator=(const Expr&) = delete;
    ExprKind kind;
    /// Levels of expressions below and including this one; the parser bounds it, so that passes may
    /// recurse.
    std::uint16_t height = 1;
    SourcePosition position;
    /// The source text, trimmed, where the expression is a projection item; its column's name.
    std::string text;
};
using ExprPtr = std::unique_ptr<Expr>;

struct Literal final : Expr {
    Literal(SourcePosition p, Value v) : Expr{ExprKind::kLiteral, p}, value{std::move(v)} {}
    Value value;
};
struct Parameter final : Expr {
    Parameter(SourcePosition p, std::string n)
        : Expr{ExprKind::kParameter, p}, name{std::move(n)} {}
    std::string name;
};
struct Variable final : Expr {
    Variable(SourcePosition p, std::string n) : Expr{ExprKind::kVariable, p}, name{std::move(n)} {}
    std::string name;
    Symbol symbol = kNoSymbol;
};
struct Property final : Expr {
    Property(SourcePosition p, ExprPtr b, std::string k)
        : Expr{ExprKind::kProperty, p}, base{std::move(b)}, key{std::move(k)} {}
    ExprPtr base;
    std::string key;
};

/// :A&(B|!C), :A:B, :%; for relationships :A|B.
struct LabelExpr {
    enum class Kind : std::uint8_t { kName, kAnd, kOr, kNot, kWildcard };
    Kind kind = Kind::kName;
    std::string name;
    std::vector<LabelExpr> children;
    SourcePosition position;
};
struct LabelCheck final : Expr {
    LabelCheck(SourcePosition p, ExprPtr b, LabelExpr l)
        : Expr{ExprKind::kLabelCheck, p}, base{std::move(b)}, labels{std::move(l)} {}
    ExprPtr base;
    LabelExpr labels;
};

enum class UnaryOp : std::uint8_t { kNot, kPlus, kMinus };
struct Unary final : Expr {
    Unary(SourcePosition p, UnaryOp o, ExprPtr a)
        : Expr{ExprKind::kUnary, p}, op{o}, operand{std::move(a)} {}
    UnaryOp op;
    ExprPtr operand;
};

enum class BinaryOp : std::uint8_t {
    kOr,
    kXor,
    kAnd,
    kEqual,
    kNotEqual,
    kLess,
    kLessEqual,
    kGreater,
    kGreaterEqual,
    kAdd,
    kConcat,
    kSubtract,
    kMultiply,
    kDivide,
    kModulo,
    kPower,
    kStartsWith,
    kEndsWith,
    kContains,
    kRegex,
    kIn,
};
/// a < b < c arrives as (a < b) AND (b < c); the shared operand is cloned by the parser.
struct Binary final : Expr {
    Binary(SourcePosition p, BinaryOp o, ExprPtr a, ExprPtr b)
        : Expr{ExprKind::kBinary, p}, op{o}, left{std::move(a)}, right{std::move(b)} {}
    BinaryOp op;
    ExprPtr left;
    ExprPtr right;
};
struct IsNull final : Expr {
    IsNull(SourcePosition p, ExprPtr a, bool neg)
        : Expr{ExprKind::kIsNull, p}, operand{std::move(a)}, negated{neg} {}
    ExprPtr operand;
    bool negated;  // IS NOT NULL
};
/// x IS [NOT] :: INTEGER | LIST<STRING NOT NULL> …
struct TypeRef {
    TypeSet types = 0;
    bool not_null = false;
    std::vector<TypeRef> list_elements;  // of the kList bit: 0 or 1
    std::vector<TypeRef> alternatives;   // of a closed union
    std::string text;
};
struct TypeCheck final : Expr {
    TypeCheck(SourcePosition p, ExprPtr a, TypeRef t, bool neg)
        : Expr{ExprKind::kTypeCheck, p}, operand{std::move(a)}, type{std::move(t)}, negated{neg} {}
    ExprPtr operand;
    TypeRef type;
    bool negated;
};
struct NormalizedCheck final : Expr {
    NormalizedCheck(SourcePosition p, ExprPtr a, std::string f, bool neg)
        : Expr{ExprKind::kNormalizedCheck, p},
          operand{std::move(a)},
          form{std::move(f)},
          negated{neg} {}
    ExprPtr operand;
    std::string form;  // NFC NFD NFKC NFKD
    bool negated;
};
struct ListLiteral final : Expr {
    explicit ListLiteral(SourcePosition p) : Expr{ExprKind::kList, p} {}
    std::vector<ExprPtr> items;
};
struct MapLiteral final : Expr {
    explicit MapLiteral(SourcePosition p) : Expr{ExprKind::kMap, p} {}
    std::vector<std::pair<std::string, ExprPtr>> entries;
};
struct IndexAccess final : Expr {
    IndexAccess(SourcePosition p, ExprPtr b, ExprPtr i)
        : Expr{ExprKind::kIndex, p}, base{std::move(b)}, index{std::move(i)} {}
    ExprPtr base;
    ExprPtr index;
};
struct Slice final : Expr {
    Slice(SourcePosition p, ExprPtr b, ExprPtr f, ExprPtr t)
        : Expr{ExprKind::kSlice, p}, base{std::move(b)}, from{std::move(f)}, to{std::move(t)} {}
    ExprPtr base;
    ExprPtr from;  // may be null
    ExprPtr to;    // may be null
};
struct FunctionCall final : Expr {
    FunctionCall(SourcePosition p, std::string n)
        : Expr{ExprKind::kFunction, p}, name{std::move(n)} {}
    std::string name;  // as written, with its namespace: "duration.between"
    bool distinct = false;
    std::vector<ExprPtr> arguments;
    bool aggregating = false;  // set by semantics
};
struct CountStar final : Expr {
    explicit CountStar(SourcePosition p) : Expr{ExprKind::kCountStar, p} {}
};
struct Case final : Expr {
    explicit Case(SourcePosition p) : Expr{ExprKind::kCase, p} {}
    ExprPtr subject;  // null: searched CASE
    /// Simple CASE: `when` is a value to equal the subject. Extended forms (WHEN > 5) arrive as
    /// searched CASE over clones of the subject.
    std::vector<std::pair<ExprPtr, ExprPtr>> alternatives;
    ExprPtr otherwise;  // may be null
};
struct ListComprehension final : Expr {
    explicit ListComprehension(SourcePosition p) : Expr{ExprKind::kListComprehension, p} {}
    std::string variable;
    Symbol symbol = kNoSymbol;
    ExprPtr list;
    ExprPtr where;       // may be null
    ExprPtr projection;  // may be null
};
enum class QuantifierKind : std::uint8_t { kAll, kAny, kNone, kSingle };
struct Quantifier final : Expr {
    explicit Quantifier(SourcePosition p) : Expr{ExprKind::kQuantifier, p} {}
    QuantifierKind quantifier = QuantifierKind::kAll;
    std::string variable;
    Symbol symbol = kNoSymbol;
    ExprPtr list;
    ExprPtr where;
};
struct Reduce final : Expr {
    explicit Reduce(SourcePosition p) : Expr{ExprKind::kReduce, p} {}
    std::string accumulator;
    Symbol accumulator_symbol = kNoSymbol;
    ExprPtr initial;
    std::string variable;
    Symbol symbol = kNoSymbol;
    ExprPtr list;
    ExprPtr step;
};
struct MapProjection final : Expr {
    explicit MapProjection(SourcePosition p) : Expr{ExprKind::kMapProjection, p} {}
    struct Item {
        enum class Kind : std::uint8_t {
            kAllProperties,
            kProperty,
            kVariable,
            kLiteral
        } kind = Kind::kProperty;
        std::string key;  // .key, variable's name, or literal key
        ExprPtr value;    // kVariable: a Variable; kLiteral: the expression
    };
    ExprPtr base;  // a Variable
    std::vector<Item> items;
};

// ---- Patterns ----

struct NodePattern {
    SourcePosition position;
    std::string variable;       // empty: anonymous
    Symbol symbol = kNoSymbol;  // semantics gives anonymous elements one, too
    bool bound_before = false;  // semantics: introduced by an earlier clause
    std::optional<LabelExpr> labels;
    ExprPtr properties;  // MapLiteral or Parameter; may be null
    ExprPtr where;       // inline WHERE; may be null
};
enum class PatternDirection : std::uint8_t { kOutgoing, kIncoming, kBoth };
struct VariableLength {
    std::optional<std::int64_t> min;  // none: 1
    std::optional<std::int64_t> max;  // none: unbounded
};
struct RelPattern {
    SourcePosition position;
    std::string variable;
    Symbol symbol = kNoSymbol;
    bool bound_before = false;
    PatternDirection direction = PatternDirection::kBoth;
    std::optional<LabelExpr> types;
    std::optional<VariableLength> length;
    ExprPtr properties;
    ExprPtr where;
    // The length stands behind the arrow: {1,3}, + or *. `where` is asked of each relationship then, and its variable is
    // `step` in there, one relationship.
    bool quantified = false;
    Symbol step = kNoSymbol;
};
enum class PathSelector : std::uint8_t { kNone, kShortest, kAllShortest };
/// nodes.size() == relationships.size() + 1. Quantified groups ((a)-->(b)){1,3} are in `groups`.
struct PathPattern {
    SourcePosition position;
    std::string variable;  // p = …; empty: none
    Symbol symbol = kNoSymbol;
    PathSelector selector = PathSelector::kNone;
    std::vector<NodePattern> nodes;
    std::vector<RelPattern> relationships;
};

struct PatternComprehension final : Expr {
    explicit PatternComprehension(SourcePosition p) : Expr{ExprKind::kPatternComprehension, p} {}
    PathPattern pattern;
    ExprPtr where;  // may be null
    ExprPtr projection;
};
/// (a)-->(b) as a predicate; all variables are bound.
struct PatternPredicate final : Expr {
    explicit PatternPredicate(SourcePosition p) : Expr{ExprKind::kPatternPredicate, p} {}
    PathPattern pattern;
};
enum class SubqueryKind : std::uint8_t { kExists, kCount, kCollect };
/// EXISTS { … }, COUNT { … }, COLLECT { … }. A bare pattern arrives as MATCH pattern WHERE ….
struct SubqueryExpr final : Expr {
    SubqueryExpr(SourcePosition p, SubqueryKind k);
    ~SubqueryExpr() override;
    SubqueryKind subquery = SubqueryKind::kExists;
    std::unique_ptr<Query> query;
};
/// shortestPath((a)-[*]-(b)) as an expression.
struct ShortestPathExpr final : Expr {
    explicit ShortestPathExpr(SourcePosition p) : Expr{ExprKind::kShortestPath, p} {}
    PathPattern pattern;
};

/// A deep copy, positions and symbols included.
ExprPtr clone(const Expr& expr);
PathPattern clone(const PathPattern& pattern);

}  // namespace nornic::cypher
