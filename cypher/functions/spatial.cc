// point(), point.distance(), point.withinBBox().
#include "cypher/functions/operators.h"
#include "cypher/functions/registry.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

namespace nornic::cypher {
namespace {

constexpr double kEarthRadiusMetres = 6'378'140.0;

[[noreturn]] void invalid(std::string message, std::string gql) {
    throw QueryError{ErrorCode::kArgumentError, std::move(message), std::move(gql)};
}

struct Crs {
    std::string_view name;
    std::uint32_t srid;
};
constexpr Crs kSystems[] = {
    {"cartesian", Point::kCartesian},
    {"cartesian-3d", Point::kCartesian3D},
    {"wgs-84", Point::kWgs84},
    {"wgs-84-3d", Point::kWgs84_3D},
};

std::uint32_t named_srid(const Value& crs, const Value& srid) {
    if (crs.is_string()) {
        for (const Crs& c : kSystems) {
            const std::string_view s = crs.as_string();
            if (s.size() == c.name.size() &&
                std::equal(s.begin(), s.end(), c.name.begin(), [](char a, char b) {
                    return a == b || (a | 0x20) == b;
                })) {
                return c.srid;
            }
        }
        invalid(fmt::format("Unknown coordinate reference system: {}", crs.as_string()),
                "22000>22N29");
    }
    if (srid.is(ValueType::kInteger)) {
        for (const Crs& c : kSystems) {
            if (srid.as_integer() == c.srid) {
                return c.srid;
            }
        }
        invalid(fmt::format("Unknown coordinate reference system code: {}", srid.as_integer()),
                "22000>22N29");
    }
    return 0;
}

Value make_point(Args args, EvalContext& context) {
    const Value& in = args[0];
    if (in.is_null() || in.is(ValueType::kPoint)) {
        return in;
    }
    static constexpr std::string_view kKeys[] = {
        "x", "y", "z", "longitude", "latitude", "height", "crs", "srid"};
    Value found[std::size(kKeys)];
    const bool entity = in.is(ValueType::kNodeRef) || in.is(ValueType::kRelationshipRef) ||
                        in.is(ValueType::kNode) || in.is(ValueType::kRelationship);
    if (!in.is_map() && !entity) {
        throw_input("point", "a Map", in);
    }
    for (std::size_t i = 0; i < std::size(kKeys); ++i) {
        if (in.is_map() && !in.as_map().contains(kKeys[i])) {
            continue;
        }
        found[i] = property_of(in, kKeys[i], context);
        if (in.is_map() && found[i].is_null()) {
            return {};  // A coordinate that is not known: neither is the point.
        }
    }
    const auto& [x, y, z, longitude, latitude, height, crs, srid] = found;
    const bool geographic_keys = !longitude.is_null() || !latitude.is_null();
    const Value& first = !x.is_null() ? x : longitude;
    const Value& second = !y.is_null() ? y : latitude;
    const Value& third = !z.is_null() ? z : height;
    if (first.is_null() || second.is_null()) {
        if (entity) {
            return {};
        }
        invalid(
            fmt::format(
                "A point must contain either 'x' and 'y' or 'latitude' and 'longitude', but is {}",
                to_cypher_text(in)),
            "22000>22N18");
    }
    for (const Value* v : {&first, &second, &third}) {
        if (!v->is_null() && !v->is_number()) {
            invalid(fmt::format("A coordinate of a point must be a number, but is {}",
                                to_cypher_text(*v)),
                    "22000>22N19");
        }
    }
    const bool is_3d = !third.is_null();
    std::uint32_t system = named_srid(crs, srid);
    if (system == 0) {
        system = geographic_keys ? (is_3d ? Point::kWgs84_3D : Point::kWgs84)
                                 : (is_3d ? Point::kCartesian3D : Point::kCartesian);
    }
    Point p;
    p.srid = system;
    p.x = first.as_number();
    p.y = second.as_number();
    if (p.is_3d() && !is_3d) {
        invalid(
            fmt::format(
                "Cannot create point with {}D coordinate reference system and 2 coordinates", 3),
            "22000>22N20");
    }
    if (!p.is_3d() && is_3d) {
        invalid(
            fmt::format(
                "Cannot create point with {}D coordinate reference system and 3 coordinates", 2),
            "22000>22N20");
    }
    if (geographic_keys && !p.is_geographic()) {
        invalid(
            "Geographic points does not support coordinate reference system: cartesian. This is "
            "set either in the csr or "
            "the srid argument.",
            "22000>22N21");
    }
    p.z = is_3d ? third.as_number() : 0;
    const bool finite = std::isfinite(p.x) && std::isfinite(p.y) && std::isfinite(p.z);
    if (!finite) {
        invalid(fmt::format("Cannot create a point with an infinite or undefined coordinate: {}",
                            to_cypher_text(Value{p})),
                "22000>22N23");
    }
    if (p.is_geographic()) {
        if (p.y < -90 || p.y > 90) {
            invalid(fmt::format("Cannot create WGS84 point with invalid coordinate: [{}, {}]. "
                                "Valid range for Y coordinate is "
                                "[-90, 90].",
                                format_float(p.x),
                                format_float(p.y)),
                    "22000>22N23");
        }
        // Longitudes wrap around the world.
        if (p.x > 180 || p.x < -180) {
            p.x = std::remainder(p.x, 360.0);
        }
    }
    return Value{p};
}

double radians(double degrees) {
    return degrees * std::numbers::pi / 180;
}

Value distance(Args args, EvalContext&) {
    // What is no point has no distance: null, also for mixed systems.
    if (!args[0].is(ValueType::kPoint) || !args[1].is(ValueType::kPoint)) {
        return {};
    }
    const Point& a = args[0].as_point();
    const Point& b = args[1].as_point();
    if (a.srid != b.srid) {
        return {};
    }
    if (!a.is_geographic()) {
        const double dx = a.x - b.x;
        const double dy = a.y - b.y;
        const double dz = a.z - b.z;
        return Value{std::sqrt(dx * dx + dy * dy + dz * dz)};
    }
    // Haversine formula on a sphere; heights widen it by their mean, then add by Pythagoras.
    const double phi1 = radians(a.y);
    const double phi2 = radians(b.y);
    const double half_phi = std::sin((phi2 - phi1) / 2);
    const double half_lambda = std::sin(radians(b.x - a.x) / 2);
    const double h =
        half_phi * half_phi + std::cos(phi1) * std::cos(phi2) * half_lambda * half_lambda;
    const double angle = 2 * std::atan2(std::sqrt(h), std::sqrt(1 - h));
    const double flat = (kEarthRadiusMetres + (a.z + b.z) / 2) * angle;
    const double dz = a.z - b.z;
    return Value{a.is_3d() ? std::sqrt(flat * flat + dz * dz) : flat};
}

Value within(Args args, EvalContext&) {
    for (const Value& v : args) {
        if (!v.is(ValueType::kPoint)) {
            return {};
        }
    }
    const Point& p = args[0].as_point();
    const Point& low = args[1].as_point();
    const Point& high = args[2].as_point();
    if (p.srid != low.srid || p.srid != high.srid) {
        return {};
    }
    // A geographic box whose west is east of its east crosses the 180th meridian.
    const bool crosses = p.is_geographic() && low.x > high.x;
    const bool in_x = crosses ? p.x >= low.x || p.x <= high.x : p.x >= low.x && p.x <= high.x;
    const bool in_y = p.y >= low.y && p.y <= high.y;
    const bool in_z = !p.is_3d() || (p.z >= low.z && p.z <= high.z);
    return Value{in_x && in_y && in_z};
}

}  // namespace

void add_spatial_functions(FunctionList& list) {
    add_function(list,
                 "Spatial",
                 "point(input :: MAP) :: POINT",
                 {1, 1},
                 {types::kMap | types::kEntity | types::kPoint},
                 types::kPoint,
                 "A point from its coordinates.",
                 make_point);
    add_function(list,
                 "Spatial",
                 "point.distance(from :: POINT, to :: POINT) :: FLOAT",
                 {2, 2},
                 {types::kPoint},
                 types::kFloat,
                 "The distance of two points; metres between geographic ones.",
                 distance);
    add_function(
        list,
        "Spatial",
        "point.withinBBox(point :: POINT, lowerLeft :: POINT, upperRight :: POINT) :: BOOLEAN",
        {3, 3},
        {types::kPoint},
        types::kBoolean,
        "Whether a point lies in the box between two corners.",
        within);
}

}  // namespace nornic::cypher
