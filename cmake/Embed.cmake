# vistill_embed_folder(LIST FOLDER HEADER TABLE TYPE): embeds all YAML files of a folder as `const TYPE TABLE[]` of
# {"name", "text"}, ending with {NULL, NULL}. HEADER declares TYPE and TABLE.
function(vistill_embed_folder list folder header table type)
  file(GLOB files CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${folder}/*.yaml)
  set(texts "")
  set(entries "")
  foreach(file ${files})
    get_filename_component(name ${file} NAME_WE)
    string(MAKE_C_IDENTIFIER text_${name} symbol)
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    file(READ ${file} bytes HEX)
    string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
    string(APPEND texts "static const char ${symbol}[] = {${bytes}0};\n")
    string(APPEND entries "    {\"${name}\", ${symbol}},\n")
  endforeach()
  set(output ${CMAKE_BINARY_DIR}/${table}.c)
  file(CONFIGURE OUTPUT ${output} CONTENT
"/* Generated from the files in ${folder}. */
#include \"${header}\"

${texts}
const ${type} ${table}[] = {
${entries}    {0, 0}};
" @ONLY)
  set(${list} ${${list}} ${output} PARENT_SCOPE)
endfunction()

# vistill_embed(LIST FILE SYMBOL): embeds a text file of the source tree as the C string `const char SYMBOL[]`, so that the
# program needs no data files. Appends the generated source to LIST.
function(vistill_embed list file symbol)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/${file})
  file(READ ${CMAKE_SOURCE_DIR}/${file} bytes HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  set(output ${CMAKE_BINARY_DIR}/${symbol}.c)
  file(CONFIGURE OUTPUT ${output} CONTENT
"/* Generated from ${file}. */
extern const char ${symbol}[];
const char ${symbol}[] = {${bytes}0};
" @ONLY)
  set(${list} ${${list}} ${output} PARENT_SCOPE)
endfunction()
