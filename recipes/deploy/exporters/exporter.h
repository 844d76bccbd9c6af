/* Exporters: a model file becomes a file for other programs. */
#ifndef VISTILL_RECIPES_DEPLOY_EXPORTERS_EXPORTER_H
#define VISTILL_RECIPES_DEPLOY_EXPORTERS_EXPORTER_H

#include "recipes/model/model.h"

VST_BEGIN_DECLS

/* A format is one file of this folder; its README says what the file defines. The build makes the table of them. */
typedef struct vst_exporter {
    const char *name; /* "safetensors", also the ending of its files' names */
    const char *help; /* one line: who reads it */
    /* Writes the file, all of it or nothing. *note, to be vst_free'd, says how to load the file there, and what it does
     * not contain.
     */
    vst_status (*write)(const vst_model *model, const char *path, char **note);
} vst_exporter;

/* All of them, in alphabetical order; index < vst_exporter_count(). */
size_t vst_exporter_count(void);
const vst_exporter *vst_exporter_at(size_t index);

/* The exporter of that name, or with NULL the one that the path's ending names; unknown ones are an error that lists
 * all. */
VST_NODISCARD vst_status vst_exporter_find(const vst_exporter **out, const char *name, const char *path);

VST_END_DECLS
#endif
