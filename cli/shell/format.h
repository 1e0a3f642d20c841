// Results as text: plain, table, JSON lines or CSV.
#pragma once

#include "graph/value.h"

#include <cstdint>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace nornic::cli {

enum class Format : std::uint8_t { kPlain, kTable, kJson, kCsv };

/// Prints one result as its rows come. Tables look at the first thousand rows for the width of
/// their columns.
class Printer {
public:
    virtual ~Printer() = default;
    virtual void columns(const std::vector<std::string>& names) = 0;
    virtual void row(const List& values) = 0;
    /// `rows` were printed; `summary` is the server's.
    virtual void end(std::int64_t rows, const Map& summary, std::int64_t available_ms) = 0;
};

std::unique_ptr<Printer> make_printer(Format format, std::ostream& out);

/// The plan of EXPLAIN or PROFILE as the server drew it; empty if there is none.
std::string describe_plan(const Map& summary);

/// "Added 1 nodes, Set 2 properties, Added 1 labels"; empty if nothing changed.
std::string describe_counters(const Map& summary);

}  // namespace nornic::cli
