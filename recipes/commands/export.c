/* `vistill export`: writes a model file for other programs. */
#include <stdio.h>

#include "recipes/commands/main.h"
#include "recipes/commands/output.h"
#include "recipes/deploy/exporters/exporter.h"
#include "vision/base/file.h"
#include "vision/base/memory.h"

extern const vst_command vsti_command_export;

static int run(const vst_arguments *arguments) {
    vst_status status = VST_OK;
    vst_model *model = NULL;
    const vst_exporter *exporter = NULL;
    const char *output = vst_flag_value(arguments, "output");
    char *note = NULL;
    if (!output) return vst_command_usage(&vsti_command_export, "-o FILE is missing, the file to write");
    VST_TRY(vst_exporter_find(&exporter, vst_flag_value(arguments, "format"), output));
    VST_TRY(vst_model_read(&model, arguments->words[0]));
    VST_TRY(vsti_file_check_writable(output));
    VST_TRY(exporter->write(model, output, &note));
    vst_print_line(stdout, "written     %s (%s)", output, exporter->name);
    vst_print_line(stdout, "note        %s", note);
out:
    vst_free(note);
    vst_model_destroy(model);
    return vst_command_exit(status);
}

static const vst_flag flags[] = {
    {"output", 'o', "FILE", "the file to write"},
    {"format", 'f', "FORMAT", "safetensors (timm's names); by default the extension of FILE"},
    {0}};

const vst_command vsti_command_export = {.name = "export",
                                         .words = "MODEL -o FILE",
                                         .summary = "write a model for other programs",
                                         .help =
                                             "safetensors: the tensors with timm's names and nothing else, for "
                                             "timm.create_model(NAME, checkpoint_path=FILE),\n"
                                             "which loads them strictly, and for every program that reads safetensors.",
                                         .flags = flags,
                                         .minimum = 1,
                                         .maximum = 1,
                                         .run = run};
