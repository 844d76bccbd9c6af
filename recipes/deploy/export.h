/* A model file becomes a file for other programs. */
#ifndef VISTILL_RECIPES_DEPLOY_EXPORT_H
#define VISTILL_RECIPES_DEPLOY_EXPORT_H

#include "recipes/model/model.h"

VST_BEGIN_DECLS

/* A format is one file export_<name>.c of this folder. */
typedef struct vst_export_format {
    const char *name; /* "safetensors", also the ending of its files' names */
    const char *help; /* one line: who reads it */
    /* Writes the file, all of it or nothing. *note, to be vst_free'd, says how to load it there, or what it cannot say.
     */
    vst_status (*write)(const vst_model *file, const char *path, char **note);
} vst_export_format;

extern const vst_export_format *const vst_export_formats[]; /* ends with NULL */

/* The format of that name, or with NULL the one that the path's ending names; unknown ones are an error that lists all.
 */
VST_NODISCARD vst_status vst_export_find(const vst_export_format **out, const char *name, const char *path);

VST_END_DECLS
#endif
