/* Finds exporters by name or file extension. */
#include "recipes/deploy/exporters/exporter.h"

#include <stdio.h>
#include <string.h>

extern const vst_exporter *const vsti_exporter_table[];
extern const size_t vsti_exporter_count;

size_t vst_exporter_count(void) { return vsti_exporter_count; }
const vst_exporter *vst_exporter_at(size_t index) { return vsti_exporter_table[index]; }

static bool fits(const vst_exporter *exporter, const char *name, const char *path) {
    if (name) return strcmp(name, exporter->name) == 0;
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    return dot && strcmp(dot + 1, exporter->name) == 0;
}

vst_status vst_exporter_find(const vst_exporter **out, const char *name, const char *path) {
    char known[256] = "";
    *out = NULL;
    for (size_t i = 0; i < vst_exporter_count(); i++) {
        const vst_exporter *exporter = vst_exporter_at(i);
        const size_t used = strlen(known);
        snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", exporter->name);
        if (!*out && fits(exporter, name, path)) *out = exporter;
    }
    if (*out) return VST_OK;
    if (name) return vst_fail(VST_ERROR_ARGUMENT, "there is no export format \"%.100s\"; there are: %s", name, known);
    return vst_fail(VST_ERROR_ARGUMENT, "%s: its ending names no export format (%s): rename it, or say --format", path,
                    known);
}
