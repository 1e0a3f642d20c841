// Text to tree.

#include <string_view>

#include "cypher/parser/parser.h"

#include <benchmark/benchmark.h>

namespace nornic::bench {
namespace {

constexpr std::string_view kPoint = "MATCH (p:P {id:$id}) RETURN p.v";

constexpr std::string_view kLong = R"(
MATCH (customer:Customer {id: $customer})-[:PLACED]->(order:Order)
WHERE order.placed >= date($from) AND order.placed < date($to)
  AND NOT order.status IN ['cancelled', 'refused']
WITH customer, order
ORDER BY order.placed DESC
LIMIT 50
MATCH (order)-[line:CONTAINS]->(product:Product)
OPTIONAL MATCH (product)<-[:IN]-(category:Category)
WITH customer, order, product, category, line,
     line.quantity * line.price * (1 - coalesce(line.discount, 0.0)) AS amount
WITH customer, category.name AS category, collect(DISTINCT product.name)[..5] AS names,
     sum(amount) AS total, count(*) AS lines,
     avg(CASE WHEN line.quantity > 10 THEN 1 ELSE 0 END) AS bulk
WHERE total > $least AND any(name IN names WHERE name STARTS WITH 'A' OR name =~ '.*x$')
OPTIONAL MATCH path = (customer)-[:KNOWS*1..3]-(friend:Customer)
WHERE friend.active AND size([n IN nodes(path) WHERE n.blocked | n.id]) = 0
WITH customer, category, names, total, lines, bulk, count(DISTINCT friend) AS friends
UNWIND names AS name
MERGE (summary:Summary {customer: customer.id, category: category})
ON CREATE SET summary.created = datetime()
ON MATCH SET summary.updated = datetime(), summary.seen = summary.seen + 1
SET summary += {total: total, lines: lines, friends: friends}
RETURN category, name, total, lines, bulk, friends,
       {id: elementId(summary), labels: labels(summary)} AS summary
ORDER BY total DESC, category
SKIP 10 LIMIT 20)";

void parse(benchmark::State& state, std::string_view text) {
    if (!cypher::parse(text)) {
        state.SkipWithError("it does not parse");
        return;
    }
    for (auto _ : state) {
        benchmark::DoNotOptimize(cypher::parse(text));
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(text.size()));
}
BENCHMARK_CAPTURE(parse, point_read, kPoint);
BENCHMARK_CAPTURE(parse, thirty_lines, kLong);

}  // namespace
}  // namespace nornic::bench
