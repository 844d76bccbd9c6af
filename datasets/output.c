/* Writing a file beside its place. */
#include "datasets/output.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "vision/base/memory.h"

/* Frees what is left of it; the stream is closed. */
static void forget(vsti_output *output) {
    vst_free(output->path);
    vst_free(output->temporary);
    *output = (vsti_output){0};
}

vst_status vsti_output_open(vsti_output *output, const char *path) {
    vst_status status = VST_OK;
    *output = (vsti_output){.path = vst_strdup(path), .temporary = vst_format("%s.%ld.tmp", path, (long)getpid())};
    if (!output->path || !output->temporary) status = vst_fail_memory(strlen(path));
    else if (!(output->stream = fopen(output->temporary, "wbxe")))
        status = vst_fail(VST_ERROR_IO, "%s: cannot be written: %s", output->temporary, strerror(errno));
    if (status != VST_OK) forget(output);
    return status;
}

vst_status vsti_output_commit(vsti_output *output) {
    vst_status status = VST_OK;
    const bool written = fflush(output->stream) == 0 && !ferror(output->stream) && fsync(fileno(output->stream)) == 0;
    const int cause = errno;
    if (fclose(output->stream) != 0 || !written)
        status = vst_fail(VST_ERROR_IO, "%s: writing failed: %s", output->temporary, strerror(written ? errno : cause));
    else if (rename(output->temporary, output->path) != 0)
        status =
            vst_fail(VST_ERROR_IO, "%s: cannot be renamed to %s: %s", output->temporary, output->path, strerror(errno));
    if (status != VST_OK) unlink(output->temporary);
    forget(output);
    return status;
}

void vsti_output_discard(vsti_output *output) {
    if (!output->stream) return;
    fclose(output->stream);
    unlink(output->temporary);
    forget(output);
}
