# Writes OUTPUT, a header that has the bytes of FILE in NAMESPACE as NAME. An array of bytes, as string literals are bounded.
file(READ ${FILE} bytes HEX)
string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
# One line of half a megabyte is hard on whoever looks at it.
string(REGEX REPLACE "(................................................................................)" "\\1\n" bytes "${bytes}")
cmake_path(GET FILE FILENAME name)
file(WRITE ${OUTPUT} "// ${name}, by cmake/embed_file.cmake.
#pragma once
#include <string_view>
namespace ${NAMESPACE} {
inline constexpr unsigned char ${NAME}Bytes[] = {
${bytes}};
inline const std::string_view ${NAME}{reinterpret_cast<const char*>(${NAME}Bytes), sizeof ${NAME}Bytes};
}  // namespace ${NAMESPACE}
")
