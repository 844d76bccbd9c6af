/* The formats for other programs. */
#include "recipes/deploy/export.h"

#include <stdio.h>
#include <string.h>

extern const vst_export_format vsti_export_safetensors;

const vst_export_format *const vst_export_formats[] = {&vsti_export_safetensors, NULL};

static bool fits(const vst_export_format *format, const char *name, const char *path) {
    if (name) return strcmp(name, format->name) == 0;
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    return dot && strcmp(dot + 1, format->name) == 0;
}

vst_status vst_export_find(const vst_export_format **out, const char *name, const char *path) {
    char known[256] = "";
    *out = NULL;
    for (const vst_export_format *const *format = vst_export_formats; *format; format++) {
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", (*format)->name);
        if (!*out && fits(*format, name, path)) *out = *format;
    }
    if (*out) return VST_OK;
    if (name) return vst_fail(VST_ERROR_ARGUMENT, "there is no export format \"%.100s\"; there are: %s", name, known);
    return vst_fail(VST_ERROR_ARGUMENT, "%s: its ending names no export format (%s): rename it, or say --format", path,
                    known);
}
