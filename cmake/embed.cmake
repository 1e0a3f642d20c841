# nornic_embed(room FILE HEADER NAMESPACE NAME): the bytes of FILE as `std::string_view NAMESPACE::NAME`, in a header of the
# build folder that a source of the room includes by its path from there.
function(nornic_embed room file header namespace name)
    set(script ${CMAKE_SOURCE_DIR}/cmake/embed_file.cmake)
    add_custom_command(
        OUTPUT ${CMAKE_BINARY_DIR}/${header}
        COMMAND ${CMAKE_COMMAND} -D FILE=${CMAKE_SOURCE_DIR}/${file} -D OUTPUT=${CMAKE_BINARY_DIR}/${header}
                -D NAMESPACE=${namespace} -D NAME=${name} -P ${script}
        DEPENDS ${CMAKE_SOURCE_DIR}/${file} ${script}
        VERBATIM)
    target_sources(nornic_${room} PRIVATE ${CMAKE_BINARY_DIR}/${header})
endfunction()
