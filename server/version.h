// What this server calls itself.
#pragma once

#include <string_view>

namespace nornic::server {

inline constexpr std::string_view kVersion = "0.1.0";
/// The Neo4j release whose Cypher and Bolt this server speaks; clients decide features by it.
inline constexpr std::string_view kCompatibleVersion = "5.26.0";
/// The Java driver takes no agent that does not begin with "Neo4j/".
inline constexpr std::string_view kBoltServerAgent = "Neo4j/5.26.0";

}  // namespace nornic::server
