# A room is a folder of the source tree and one static library, nornic_<room>, of all its .cc files
# (sub-rooms included). Headers are included by their path from the root: "engine/kv.h".

function(nornic_target target)
    target_include_directories(${target} PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
    target_link_libraries(${target} PRIVATE nornic_warnings)
endfunction()

function(nornic_room room)
    cmake_parse_arguments(ARG "" "" "DEPENDS" ${ARGN})
    file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${room}/*.cc)
    list(FILTER sources EXCLUDE REGEX "/main/main\\.cc$")
    if(NOT sources)
        add_library(nornic_${room} INTERFACE)
        target_link_libraries(nornic_${room} INTERFACE ${ARG_DEPENDS})
        return()
    endif()
    add_library(nornic_${room} STATIC ${sources})
    nornic_target(nornic_${room})
    target_link_libraries(nornic_${room} PUBLIC ${ARG_DEPENDS})
    set(pch ${CMAKE_SOURCE_DIR}/cmake/pch/${room}.h)
    if(EXISTS ${pch})
        target_precompile_headers(nornic_${room} PRIVATE ${pch})
        target_compile_options(nornic_${room} PRIVATE "SHELL:-Xclang -fno-pch-timestamp")
    endif()
endfunction()

# nornic_<name>: what protoc makes of one .proto file, included by its path from the root:
# "transport/proto/cluster.pb.h". Generated code is not held to our warnings.
function(nornic_protobuf name file)
    string(REGEX REPLACE "\\.proto$" "" stem ${file})
    get_filename_component(folder ${CMAKE_BINARY_DIR}/${file} DIRECTORY)
    file(MAKE_DIRECTORY ${folder})
    add_custom_command(
        OUTPUT ${CMAKE_BINARY_DIR}/${stem}.pb.cc ${CMAKE_BINARY_DIR}/${stem}.pb.h
        COMMAND protobuf::protoc --cpp_out=${CMAKE_BINARY_DIR} -I ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/${file}
        DEPENDS ${CMAKE_SOURCE_DIR}/${file}
        VERBATIM)
    add_library(nornic_${name} STATIC ${CMAKE_BINARY_DIR}/${stem}.pb.cc)
    target_include_directories(nornic_${name} SYSTEM PUBLIC ${CMAKE_BINARY_DIR})
    target_compile_options(nornic_${name} PRIVATE -w)
    target_link_libraries(nornic_${name} PUBLIC protobuf::libprotobuf)
endfunction()
