// Calling functions by name with plain values, and reading their answers as text.
#pragma once

#include "cypher/execution/eval_context.h"
#include "cypher/functions/function.h"
#include "cypher/functions/operators.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace nornic::cypher::test {

inline constexpr std::int64_t kNow = 1'704'157'445'006'007'008;  // 2024-01-02T01:04:05.006007008Z

inline EvalContext& context() {
    thread_local Random random{42};
    thread_local EvalContext context = [] {
        EvalContext c;
        c.random = &random;
        c.statement_wall_ns = kNow;
        c.transaction_wall_ns = kNow - kNanosPerSecond;
        c.memory_bytes_max = 1 << 20;
        return c;
    }();
    return context;
}

/// {list} is one argument that is a list; in a vector of values it would be that list's copy.
struct Arguments {
    std::vector<Value> values;
    Arguments(std::initializer_list<Value> v) : values{v} {}
    Arguments(std::vector<Value> v) : values{std::move(v)} {}  // NOLINT
};

inline Value call(std::string_view name, const Arguments& arguments, EvalContext& in = context()) {
    const std::vector<Value>& args = arguments.values;
    const FunctionSignature* f = find_function(name);
    EXPECT_NE(f, nullptr) << name;
    if (f == nullptr) {
        return Value{"no such function"};
    }
    EXPECT_GE(static_cast<int>(args.size()), f->args_min) << name;
    EXPECT_TRUE(f->args_max < 0 || static_cast<int>(args.size()) <= f->args_max) << name;
    return f->call(args, in);
}

/// The answer as Cypher text, temporals plain; or "ErrorCode: message".
template <class Evaluate>
std::string text_of(Evaluate evaluate) {
    try {
        const Value v = evaluate();
        return v.is_string() || v.is_list() ? to_cypher_text(v) : to_plain_text(v);
    } catch (const QueryError& e) {
        return std::string{to_string(e.error().code())} + ": " + e.error().message();
    }
}

inline std::string answer(std::string_view name, const Arguments& args) {
    return text_of([&] { return call(name, args); });
}

}  // namespace nornic::cypher::test
