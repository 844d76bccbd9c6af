# vistill_embed(LIST FILE SYMBOL): a text file of the source tree as the C string `const char SYMBOL[]`, so that the program
# needs no files beside it. Appends the generated source to LIST.
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
