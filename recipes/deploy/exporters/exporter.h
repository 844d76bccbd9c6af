/* Exporters: convert a model file for other programs. */
#ifndef VISTILL_RECIPES_DEPLOY_EXPORTERS_EXPORTER_H
#define VISTILL_RECIPES_DEPLOY_EXPORTERS_EXPORTER_H

#include "recipes/model/model.h"

VST_BEGIN_DECLS

/* A format is one file of this folder (see its README). CMake generates the table. */
typedef struct vst_exporter {
    const char *name; /* "safetensors", also the file extension */
    const char *help; /* one line: which programs read it */
    /* Writes the file atomically. *note says how to load the file and what it does not contain; the caller frees it
     * with vst_free. */
    vst_status (*write)(const vst_model *model, const char *path, char **note);
} vst_exporter;

/* All exporters, in alphabetical order; index < vst_exporter_count(). */
size_t vst_exporter_count(void);
const vst_exporter *vst_exporter_at(size_t index);

/* Finds an exporter by name, or if `name` is NULL by the extension of `path`. An unknown one is an error that lists
 * all. */
VST_NODISCARD vst_status vst_exporter_find(const vst_exporter **out, const char *name, const char *path);

VST_END_DECLS
#endif
