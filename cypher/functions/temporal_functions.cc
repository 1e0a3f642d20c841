// date(), datetime.truncate(), duration.between()…: the temporal rows of the function table.
#include "cypher/functions/registry.h"
#include "cypher/functions/temporal.h"

#include <fmt/format.h>

namespace nornic::cypher {
namespace {

temporal::Zone context_zone(EvalContext& context) {
    return temporal::parse_zone(default_zone(context));
}

template <ValueType kKind>
Value parse(std::string_view text, EvalContext& context) {
    if constexpr (kKind == ValueType::kDate) {
        return Value{temporal::parse_date(text)};
    } else if constexpr (kKind == ValueType::kLocalTime) {
        return Value{temporal::parse_local_time(text)};
    } else if constexpr (kKind == ValueType::kTime) {
        return Value{temporal::parse_time(
            text, context_zone(context), current_instant(context, ClockKind::kStatement).seconds)};
    } else if constexpr (kKind == ValueType::kLocalDateTime) {
        return Value{temporal::parse_local_date_time(text)};
    } else {
        return Value{temporal::parse_date_time(text, context_zone(context))};
    }
}

template <ValueType kKind>
Value construct(Args args, EvalContext& context) {
    if (args.empty()) {
        return temporal::now(
            kKind, current_instant(context, ClockKind::kStatement), context_zone(context));
    }
    const Value& v = args[0];
    if (v.is_null()) {
        return {};
    }
    if (v.is_string()) {
        return parse<kKind>(v.as_string(), context);
    }
    if (v.is_map()) {
        return temporal::from_map(kKind, v.as_map(), context);
    }
    if (temporal::parts_of(v)) {
        return temporal::from_value(kKind, v, context);
    }
    throw_input(temporal::kind_name(kKind), "a string, a map or a temporal value", v);
}

template <ValueType kKind, ClockKind kClock>
Value clock(Args args, EvalContext& context) {
    if (any_null(args)) {
        return {};
    }
    if (!args.empty() && !args[0].is_string()) {
        throw_input(temporal::kind_name(kKind), "a time zone as a string", args[0]);
    }
    const temporal::Zone zone =
        args.empty() ? context_zone(context) : temporal::parse_zone(args[0].as_string());
    return temporal::now(kKind, current_instant(context, kClock), zone);
}

template <ValueType kKind>
Value truncate(Args args, EvalContext& context) {
    if (any_null(args)) {
        return {};
    }
    if (!args[0].is_string()) {
        throw_input("truncate", "a unit as a string", args[0]);
    }
    if (args.size() > 2 && !args[2].is_map()) {
        throw_input("truncate", "a map of fields", args[2]);
    }
    const Value now =
        args.size() > 1
            ? Value{}
            : temporal::now(
                  kKind, current_instant(context, ClockKind::kStatement), context_zone(context));
    return temporal::truncate(kKind,
                              args[0].as_string(),
                              args.size() > 1 ? args[1] : now,
                              args.size() > 2 ? &args[2].as_map() : nullptr,
                              context);
}

Value duration(Args args, EvalContext&) {
    const Value& v = args[0];
    if (v.is_null() || v.is(ValueType::kDuration)) {
        return v;
    }
    if (v.is_string()) {
        return Value{temporal::parse_duration(v.as_string())};
    }
    if (v.is_map()) {
        return Value{temporal::duration_from_map(v.as_map())};
    }
    throw_input("duration", "a string, a map or a duration", v);
}

template <temporal::Between kUnit>
Value between(Args args, EvalContext&) {
    return any_null(args) ? Value{} : Value{temporal::between(kUnit, args[0], args[1])};
}

std::int64_t integer_argument(std::string_view function, const Value& v) {
    constexpr double kFloatMax = 9e18;
    if (v.is(ValueType::kFloat) && v.as_float() > -kFloatMax && v.as_float() < kFloatMax) {
        return static_cast<std::int64_t>(v.as_float());
    }
    if (!v.is(ValueType::kInteger)) {
        throw_input(function, "an integer", v);
    }
    return v.as_integer();
}

Value from_epoch(Args args, EvalContext& context) {
    if (any_null(args)) {
        return {};
    }
    Map fields{{"epochSeconds", integer_argument("datetime.fromEpoch", args[0])},
               {"nanosecond", integer_argument("datetime.fromEpoch", args[1])}};
    return temporal::from_map(ValueType::kDateTime, fields, context);
}

Value from_epoch_millis(Args args, EvalContext& context) {
    if (any_null(args)) {
        return {};
    }
    Map fields{{"epochMillis", integer_argument("datetime.fromEpochMillis", args[0])}};
    return temporal::from_map(ValueType::kDateTime, fields, context);
}

template <ValueType kKind>
void add_kind(FunctionList& list, std::string_view type, TypeSet set) {
    const std::string_view n = temporal::kind_name(kKind);
    const std::string category = "Temporal";
    const TypeSet input = types::kString | types::kMap | types::kTemporal;
    const auto put = [&](const std::string& signature,
                         Arity arity,
                         std::vector<TypeSet> arguments,
                         const std::string& description,
                         ScalarFn call) {
        // All of them may look at the clock or the statement's time zone.
        add_function(list, category, signature, arity, std::move(arguments), set, description, call)
            .deterministic = false;
    };
    put(fmt::format("{}(input = DEFAULT_TEMPORAL_ARGUMENT :: ANY) :: {}", n, type),
        {0, 1},
        {input},
        fmt::format("A {} from a string, a map or another temporal value; the current one without "
                    "argument.",
                    type),
        construct<kKind>);
    put(fmt::format("{}.statement(timezone = DEFAULT_TEMPORAL_ARGUMENT :: ANY) :: {}", n, type),
        {0, 1},
        {types::kString},
        fmt::format("The {} at which the statement began.", type),
        clock<kKind, ClockKind::kStatement>);
    put(fmt::format("{}.transaction(timezone = DEFAULT_TEMPORAL_ARGUMENT :: ANY) :: {}", n, type),
        {0, 1},
        {types::kString},
        fmt::format("The {} at which the transaction began.", type),
        clock<kKind, ClockKind::kTransaction>);
    put(fmt::format("{}.realtime(timezone = DEFAULT_TEMPORAL_ARGUMENT :: ANY) :: {}", n, type),
        {0, 1},
        {types::kString},
        fmt::format("The {} at which the call is made.", type),
        clock<kKind, ClockKind::kRealtime>);
    put(fmt::format("{}.truncate(unit :: STRING, input = DEFAULT_TEMPORAL_ARGUMENT :: ANY, fields "
                    "= null :: MAP) :: {}",
                    n,
                    type),
        {1, 3},
        {types::kString, types::kTemporal, types::kMap},
        fmt::format("A {} cut to a unit, such as 'month', with single fields replaced after.",
                    type),
        truncate<kKind>);
}

}  // namespace

void add_temporal_functions(FunctionList& list) {
    add_kind<ValueType::kDate>(list, "DATE", types::kDate);
    add_kind<ValueType::kLocalTime>(list, "LOCAL TIME", types::kLocalTime);
    add_kind<ValueType::kTime>(list, "ZONED TIME", types::kTime);
    add_kind<ValueType::kLocalDateTime>(list, "LOCAL DATETIME", types::kLocalDateTime);
    add_kind<ValueType::kDateTime>(list, "ZONED DATETIME", types::kDateTime);
    add_function(list,
                 "Temporal",
                 "datetime.fromEpoch(seconds :: INTEGER | FLOAT, nanoseconds :: INTEGER | FLOAT) "
                 ":: ZONED DATETIME",
                 {2, 2},
                 {types::kNumber},
                 types::kDateTime,
                 "The instant a number of seconds and nanoseconds after 1970.",
                 from_epoch)
        .deterministic = false;
    add_function(list,
                 "Temporal",
                 "datetime.fromEpochMillis(milliseconds :: INTEGER | FLOAT) :: ZONED DATETIME",
                 {1, 1},
                 {types::kNumber},
                 types::kDateTime,
                 "The instant a number of milliseconds after 1970.",
                 from_epoch_millis)
        .deterministic = false;
    add_function(list,
                 "Temporal",
                 "duration(input :: ANY) :: DURATION",
                 {1, 1},
                 {types::kString | types::kMap | types::kDuration},
                 types::kDuration,
                 "A duration from a string or a map of units.",
                 duration);
    const std::vector<TypeSet> two{types::kTemporal, types::kTemporal};
    add_function(list,
                 "Temporal",
                 "duration.between(from :: ANY, to :: ANY) :: DURATION",
                 {2, 2},
                 two,
                 types::kDuration,
                 "The way from one moment to another in months, days and seconds.",
                 between<temporal::Between::kAll>);
    add_function(list,
                 "Temporal",
                 "duration.inMonths(from :: ANY, to :: ANY) :: DURATION",
                 {2, 2},
                 two,
                 types::kDuration,
                 "The whole months between two moments.",
                 between<temporal::Between::kMonths>);
    add_function(list,
                 "Temporal",
                 "duration.inDays(from :: ANY, to :: ANY) :: DURATION",
                 {2, 2},
                 two,
                 types::kDuration,
                 "The whole days between two moments.",
                 between<temporal::Between::kDays>);
    add_function(list,
                 "Temporal",
                 "duration.inSeconds(from :: ANY, to :: ANY) :: DURATION",
                 {2, 2},
                 two,
                 types::kDuration,
                 "The seconds and nanoseconds between two moments.",
                 between<temporal::Between::kSeconds>);
}

}  // namespace nornic::cypher
