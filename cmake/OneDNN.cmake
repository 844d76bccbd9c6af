# Finds oneDNN 3: the system's if it has one (Debian 13), else the PyPI wheels of oneDNN 3.2 with GNU OpenMP, which are
# downloaded once to the build tree and checked by SHA-256. Defines the target vistill_onednn and, for the wheels,
# VISTILL_ONEDNN_LIBRARY and VISTILL_ONEDNN_LICENSES, which cmake/Install.cmake installs.
add_library(vistill_onednn INTERFACE)
find_package(dnnl 3 QUIET CONFIG)
if(dnnl_FOUND)
  message(STATUS "oneDNN: the system's ${dnnl_VERSION}")
  target_link_libraries(vistill_onednn INTERFACE DNNL::dnnl)
else()
  # All build trees of one checkout share the download.
  set(VISTILL_ONEDNN_ROOT ${CMAKE_SOURCE_DIR}/build/onednn CACHE PATH "Where the oneDNN wheels are unpacked")
  set(onednn_cpu_gomp_sha 2f22a54d6a890ed14bfa185d42a4be65d8b5b1df85dc1f0f3a9abe31620416fb)
  set(onednn_devel_cpu_gomp_sha 9763c69e8c907e119056bd52ad918ca84ac9ba939d130a99dfa95ccca3e5e284)
  if(NOT EXISTS ${VISTILL_ONEDNN_ROOT}/complete)
    find_package(Python3 REQUIRED COMPONENTS Interpreter)
    message(STATUS "oneDNN: fetching the wheels of oneDNN 3.2 with pip into ${VISTILL_ONEDNN_ROOT}")
    foreach(package onednn_cpu_gomp onednn_devel_cpu_gomp)
      string(REPLACE "_" "-" name ${package})
      file(GLOB wheel ${VISTILL_ONEDNN_ROOT}/${package}-*.whl) # somebody may have put it there
      if(NOT wheel)
        execute_process(COMMAND ${Python3_EXECUTABLE} -m pip download --quiet --no-deps --only-binary=:all: --retries 1
                                --timeout 30 --disable-pip-version-check -d ${VISTILL_ONEDNN_ROOT} ${name}==2023.2.0
                        RESULT_VARIABLE failed ERROR_VARIABLE text)
        file(GLOB wheel ${VISTILL_ONEDNN_ROOT}/${package}-*.whl)
        if(failed OR NOT wheel)
          message(FATAL_ERROR "pip could not fetch ${name}==2023.2.0: ${text}\nTo go on, one of: python3-pip with a "
                              "connection to PyPI (or a mirror: PIP_INDEX_URL); oneDNN 3 of the system (Debian 13: "
                              "libdnnl-dev); the wheels of onednn-cpu-gomp and onednn-devel-cpu-gomp 2023.2.0, fetched "
                              "elsewhere with `pip download --no-deps`, in ${VISTILL_ONEDNN_ROOT}.")
        endif()
      endif()
      file(SHA256 ${wheel} sum)
      if(NOT sum STREQUAL ${package}_sha)
        file(REMOVE ${wheel})
        message(FATAL_ERROR "${wheel} has SHA-256 ${sum}, expected ${${package}_sha}: not used.")
      endif()
      file(ARCHIVE_EXTRACT INPUT ${wheel} DESTINATION ${VISTILL_ONEDNN_ROOT})
    endforeach()
    file(TOUCH ${VISTILL_ONEDNN_ROOT}/complete)
  endif()
  set(devel ${VISTILL_ONEDNN_ROOT}/onednn_devel_cpu_gomp-2023.2.0.data/data)
  set(library ${VISTILL_ONEDNN_ROOT}/onednn_cpu_gomp-2023.2.0.data/data/lib)
  set(VISTILL_ONEDNN_LIBRARY ${library}/libdnnl.so.3)
  set(VISTILL_ONEDNN_LICENSES ${library}/../share/doc/onednn/LICENSE ${library}/../share/doc/onednn/THIRD-PARTY-PROGRAMS
      ${VISTILL_ONEDNN_ROOT}/onednn_cpu_gomp-2023.2.0.dist-info/LICENSE.txt)
  # As an imported library, so that CMake adds its path to programs in the build tree and removes it when installing.
  add_library(vistill_onednn_wheel SHARED IMPORTED)
  set_target_properties(vistill_onednn_wheel PROPERTIES IMPORTED_LOCATION ${VISTILL_ONEDNN_LIBRARY}
                        IMPORTED_SONAME libdnnl.so.3 INTERFACE_INCLUDE_DIRECTORIES ${devel}/include)
  target_link_libraries(vistill_onednn INTERFACE vistill_onednn_wheel)
endif()
