/* Marks a header as public. Declarations between VST_BEGIN_DECLS and VST_END_DECLS have C linkage in C++ and are
 * exported from the shared library; everything else is hidden. CMake installs every header that contains these macros
 * (cmake/Install.cmake). A public header includes public headers only and does not mention internal names. */
#ifndef VISTILL_VISION_BASE_API_H
#define VISTILL_VISION_BASE_API_H

#ifdef __cplusplus
#define VST_BEGIN_DECLS _Pragma("GCC visibility push(default)") extern "C" {
#define VST_END_DECLS \
    }                 \
    _Pragma("GCC visibility pop")
#else
#define VST_BEGIN_DECLS _Pragma("GCC visibility push(default)")
#define VST_END_DECLS _Pragma("GCC visibility pop")
#endif

#endif
