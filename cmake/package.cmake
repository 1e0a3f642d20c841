# What is installed, and the Debian package: `make package` puts it into build/package.
include(GNUInstallDirs)
install(TARGETS nornicdb RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(FILES compose/debian/nornicdb.conf DESTINATION /etc/nornicdb)
install(FILES compose/systemd/nornicdb.service DESTINATION lib/systemd/system)
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/nornicdb RENAME copyright)
install(FILES NOTICE README.md DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/nornicdb)
install(DIRECTORY docs DESTINATION ${CMAKE_INSTALL_DATADIR}/doc/nornicdb FILES_MATCHING PATTERN "*.md" PATTERN "openapi.json")
install(FILES compose/prometheus/alerts.yml compose/grafana/dashboards/nornicdb.json
        DESTINATION ${CMAKE_INSTALL_DATADIR}/nornicdb)
# The program prints its completions itself.
install(CODE [[
    set(share "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}/share")
    foreach(file bash:bash-completion/completions/nornicdb zsh:zsh/vendor-completions/_nornicdb
                 fish:fish/vendor_completions.d/nornicdb.fish)
        string(REPLACE ":" ";" file ${file})
        list(GET file 0 shell)
        list(GET file 1 path)
        cmake_path(GET path PARENT_PATH folder)
        file(MAKE_DIRECTORY ${share}/${folder})
        execute_process(COMMAND $<TARGET_FILE:nornicdb> completion ${shell} OUTPUT_FILE ${share}/${path} COMMAND_ERROR_IS_FATAL ANY)
    endforeach()
]])

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME nornicdb)
set(CPACK_PACKAGE_VENDOR nornicdb)
set(CPACK_PACKAGE_CONTACT "nornicdb maintainers <maintainers@nornicdb.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "replicated property-graph database for Neo4j drivers")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "Speaks Bolt and Cypher, so that the official Neo4j drivers work with it. Runs alone, with a
hot standby, as a Raft group or in several regions; how it replicates is one setting.")
set(CPACK_SET_DESTDIR ON) # /etc, outside the prefix, goes along.
set(CPACK_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION database)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS adduser)
set(CPACK_DEBIAN_PACKAGE_RECOMMENDS ca-certificates)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA
    ${CMAKE_CURRENT_SOURCE_DIR}/compose/debian/conffiles
    ${CMAKE_CURRENT_SOURCE_DIR}/compose/debian/postinst
    ${CMAKE_CURRENT_SOURCE_DIR}/compose/debian/prerm
    ${CMAKE_CURRENT_SOURCE_DIR}/compose/debian/postrm)
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_CURRENT_SOURCE_DIR}/build/package)
include(CPack)
