# vistill_registry(LIST FOLDER TYPE [EXCEPT…]): generates the table of everything that one folder defines.
#
# Each FOLDER/name.c (but the files EXCEPTed, which hold the interface) defines `const TYPE vsti_<kind>_name`, where kind is
# TYPE without "vst_". The generated file defines `const TYPE *const vsti_<kind>_table[]` and `const size_t
# vsti_<kind>_count`, both declared in FOLDER/<interface>.h, the interface being the first of EXCEPT, and the names as the text of
# a choice, vsti_<kind>_names[] "adam|adamw". So a new backbone, format, augmentation, distance, optimiser, schedule or command is
# one new file and no list is edited.
function(vistill_registry list folder type interface)
  string(REGEX REPLACE "^vst_" "" kind ${type})
  file(GLOB files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.c)
  set(declarations "")
  set(entries "")
  set(names "")
  set(count 0)
  foreach(file ${files})
    get_filename_component(name ${file} NAME_WE)
    if(NOT name IN_LIST interface AND NOT name IN_LIST ARGN)
      string(APPEND declarations "extern const ${type} vsti_${kind}_${name};\n")
      string(APPEND entries "    &vsti_${kind}_${name},\n")
      list(APPEND names ${name})
      math(EXPR count "${count} + 1")
    endif()
  endforeach()
  list(JOIN names "|" names)
  string(REPLACE "/" "_" flat ${folder})
  set(output ${CMAKE_BINARY_DIR}/registry_${flat}.c)
  file(CONFIGURE OUTPUT ${output} CONTENT
"/* Generated from the files in ${folder}. */
#include \"${folder}/${interface}.h\"

${declarations}
const ${type} *const vsti_${kind}_table[] = {
${entries}    NULL};
const size_t vsti_${kind}_count = ${count};
extern const char vsti_${kind}_names[];
const char vsti_${kind}_names[] = \"${names}\";
" @ONLY)
  set(${list} ${${list}} ${output} PARENT_SCOPE)
endfunction()
