/* Marks a header as public. What stands between VST_BEGIN_DECLS and VST_END_DECLS has C linkage in C++ and is visible
 * in the shared library, all else is hidden; and CMake installs every header that contains them (cmake/Install.cmake).
 * A public header includes public headers only and names nothing internal. */
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
