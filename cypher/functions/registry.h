// How the files of this room hand their functions to the one table.
#pragma once

#include "cypher/functions/function.h"

#include <string>
#include <string_view>
#include <vector>

namespace nornic::cypher {

using FunctionList = std::vector<FunctionSignature>;
using Args = std::span<const Value>;

void add_scalar_functions(FunctionList& list);
void add_conversion_functions(FunctionList& list);
void add_math_functions(FunctionList& list);
void add_string_functions(FunctionList& list);
void add_list_functions(FunctionList& list);
void add_graph_functions(FunctionList& list);
void add_temporal_functions(FunctionList& list);
void add_spatial_functions(FunctionList& list);
void add_aggregate_functions(FunctionList& list);

/// "Invalid input for function 'abs()': Expected a number, got: 'a'"
[[noreturn]] void throw_input(std::string_view function,
                              std::string_view expected,
                              const Value& got);
/// kMemoryLimit if the query could not hold `bytes` more.
void check_memory(EvalContext& context, std::size_t bytes);
/// The same for a text, which has a largest size of its own.
void check_text(EvalContext& context, std::size_t bytes);

inline bool any_null(Args args) {
    for (const Value& v : args) {
        if (v.is_null()) {
            return true;
        }
    }
    return false;
}

/// The arguments' range is min … max (-1: any number).
struct Arity {
    int min;
    int max;
};

inline FunctionSignature& add_function(FunctionList& list,
                                       std::string_view category,
                                       std::string_view signature,
                                       Arity arity,
                                       std::vector<TypeSet> arguments,
                                       TypeSet result,
                                       std::string_view description,
                                       ScalarFn call) {
    FunctionSignature f;
    f.name = signature.substr(0, signature.find('('));
    f.args_min = arity.min;
    f.args_max = arity.max;
    f.category = category;
    f.description = description;
    f.signature = signature;
    f.argument_types = std::move(arguments);
    f.result_types = result;
    f.call = call;
    return list.emplace_back(std::move(f));
}

}  // namespace nornic::cypher
