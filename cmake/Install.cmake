# `cmake --install` installs the program, the shared and the static library, the public headers, the CMake package Vistill,
# vistill.pc and vistill-static.pc, and oneDNN if it came from the wheels. The prefix may be moved afterwards.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(TARGETS vistill_program vistill_shared vistill
        RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR}
        LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR}
        ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})

# Public headers (vision/base/api.h), and the headers in the root, which only include them.
file(GLOB_RECURSE headers CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR} vision/*.h backbones/*.h datasets/*.h recipes/*.h)
foreach(header ${headers})
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${header})
  file(STRINGS ${header} public REGEX "VST_BEGIN_DECLS")
  if(public)
    get_filename_component(folder ${header} DIRECTORY)
    install(FILES ${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/vistill/${folder})
  endif()
endforeach()
install(FILES vistill.h vistill_plugin.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/vistill)

# oneDNN of the wheels is installed in its own folder, so that it does not conflict with another oneDNN.
set(vistill_onednn_folder ${CMAKE_INSTALL_LIBDIR}/vistill)
set(vistill_onednn "")
if(VISTILL_ONEDNN_LIBRARY)
  get_filename_component(vistill_onednn ${VISTILL_ONEDNN_LIBRARY} NAME)
  install(FILES ${VISTILL_ONEDNN_LIBRARY} DESTINATION ${vistill_onednn_folder})
  install(FILES ${VISTILL_ONEDNN_LICENSES} DESTINATION ${CMAKE_INSTALL_DOCDIR}/onednn)
  file(RELATIVE_PATH way ${CMAKE_INSTALL_FULL_BINDIR} ${CMAKE_INSTALL_FULL_LIBDIR}/vistill)
  set_target_properties(vistill_program PROPERTIES INSTALL_RPATH "$ORIGIN/${way}")
  set_target_properties(vistill_shared PROPERTIES INSTALL_RPATH "$ORIGIN/vistill")
endif()

set(package ${CMAKE_INSTALL_LIBDIR}/cmake/Vistill)
# What a static consumer links. Clang's OpenMP is in no folder that linkers search, so it is named by its path.
set(vistill_openmp ${OpenMP_C_LIB_NAMES})
list(TRANSFORM vistill_openmp REPLACE "^omp$" "${OpenMP_omp_LIBRARY}")
configure_package_config_file(cmake/VistillConfig.cmake.in VistillConfig.cmake INSTALL_DESTINATION ${package}
                              PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR vistill_onednn_folder)
write_basic_package_version_file(VistillConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/VistillConfig.cmake ${CMAKE_BINARY_DIR}/VistillConfigVersion.cmake DESTINATION ${package})

file(RELATIVE_PATH way ${CMAKE_INSTALL_FULL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_PREFIX})
string(REGEX REPLACE "/$" "" vistill_pc_prefix "\${pcfiledir}/${way}")
foreach(folder libdir includedir)
  string(TOUPPER ${folder} variable)
  cmake_path(APPEND vistill_pc_${folder} "\${prefix}" ${CMAKE_INSTALL_${variable}}) # absolute paths are unchanged
endforeach()
if(vistill_onednn)
  set(vistill_pc_onednn "-L\${libdir}/vistill -l:${vistill_onednn} -Wl,-rpath,\${libdir}/vistill")
else()
  set(vistill_pc_onednn "-L$<TARGET_FILE_DIR:DNNL::dnnl> -ldnnl")
endif()
list(TRANSFORM vistill_openmp REPLACE "^([^/]+)$" "-l\\1" OUTPUT_VARIABLE vistill_pc_openmp)
list(JOIN vistill_pc_openmp " " vistill_pc_openmp)
foreach(name vistill vistill-static)
  configure_file(cmake/${name}.pc.in ${name}.pc.in @ONLY)
  file(GENERATE OUTPUT ${name}.pc INPUT ${CMAKE_BINARY_DIR}/${name}.pc.in)
  install(FILES ${CMAKE_BINARY_DIR}/${name}.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
endforeach()
