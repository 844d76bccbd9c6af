/* Contexts: memory and primitive arguments of a program for one thread, running it, and the profile. */
#include <string.h>

#include "vision/base/clock.h"
#include "vision/base/memory.h"
#include "vision/base/threads.h"
#include "vision/plan/internal.h"

struct vst_context {
    vst_program *program;
    char *arena;
    void **pointers;            /* by operand of the program */
    vsti_arguments **arguments; /* by step, NULL for kernels */
    vsti_stream *stream;
    double *seconds; /* by row; NULL without profile */
    uint64_t runs;
};

static void *address(const vst_context *context, const vsti_operand *at) {
    const vst_program *program = context->program;
    switch (at->space) {
    case SPACE_NONE: return NULL;
    case SPACE_ARENA: return context->arena + at->offset;
    case SPACE_VALUES: return (char *)vst_params_values(program->params) + at->offset;
    case SPACE_GRADIENTS: return (char *)vst_params_gradients(program->params) + at->offset;
    case SPACE_PACKED: return vsti_store_memory(program->store, at->entry) + at->offset;
    }
    return NULL;
}

/* ---- creation ---------------------------------------------------------------------------------------------------- */

static size_t aligned(size_t bytes) { return (bytes + VST_ALIGNMENT - 1) & ~(size_t)(VST_ALIGNMENT - 1); }

/* Without the profile. Allocations by oneDNN for the descriptions of arguments are small and not counted. */
size_t vsti_context_bytes(const vst_program *program) {
    size_t bytes = sizeof(vst_context) + aligned(program->arena_bytes) + vsti_stream_bytes();
    bytes += program->operand_count * sizeof(void *) + program->step_count * sizeof(vsti_arguments *);
    for (size_t i = 0; i < program->step_count; i++)
        if (program->steps[i].primitive) bytes += vsti_arguments_bytes(program->steps[i].operand_count);
    return bytes;
}

static vst_status bind_primitive(vst_context *context, size_t index) {
    vsti_role roles[VSTI_ROLES];
    const vsti_step *s = &context->program->steps[index];
    VST_ASSERT(s->operand_count <= VSTI_ROLES);
    for (int k = 0; k < s->operand_count; k++) roles[k] = context->program->operands[s->first + (size_t)k].role;
    return vsti_arguments_create(&context->arguments[index], s->primitive, roles, context->pointers + s->first,
                                 s->operand_count);
}

static vst_status allocate(vst_context *context) {
    const vst_program *program = context->program;
    context->arena = vst_alloc_aligned(aligned(program->arena_bytes));
    if (!context->arena) return vst_fail_memory(program->arena_bytes);
    memset(context->arena, 0, program->arena_bytes);
    context->pointers = vst_alloc(program->operand_count * sizeof *context->pointers);
    context->arguments = vst_calloc(program->step_count, sizeof *context->arguments);
    if (!context->pointers || !context->arguments)
        return vst_fail_memory(program->operand_count * sizeof *context->pointers);
    return VST_OK;
}

vst_status vst_context_create(vst_context **out, vst_program *program, const vst_context_options *options) {
    vst_status status = VST_OK;
    *out = NULL;
    vst_context *context = vst_calloc(1, sizeof *context);
    if (!context) return vst_fail_memory(sizeof *context);
    context->program = program;
    VST_TRY(allocate(context));
    VST_TRY(vsti_stream_create(&context->stream));
    for (size_t i = 0; i < program->operand_count; i++) context->pointers[i] = address(context, &program->operands[i]);
    for (size_t i = 0; i < program->step_count; i++)
        if (program->steps[i].primitive) VST_TRY(bind_primitive(context, i));
    if (options && options->profile) {
        context->seconds = vst_calloc(program->row_count, sizeof *context->seconds);
        if (!context->seconds) VST_TRY(vst_fail_memory(program->row_count * sizeof *context->seconds));
    }
    *out = context;
    context = NULL;
out:
    vst_context_destroy(context);
    return status;
}

void vst_context_destroy(vst_context *context) {
    if (!context) return;
    for (size_t i = 0; context->arguments && i < context->program->step_count; i++)
        vsti_arguments_destroy(context->arguments[i]);
    vsti_stream_destroy(context->stream);
    vst_free(context->arguments);
    vst_free(context->pointers);
    vst_free(context->seconds);
    vst_free(context->arena);
    vst_free(context);
}

vst_program *vst_context_program(const vst_context *context) { return context->program; }

/* ---- running ----------------------------------------------------------------------------------------------------- */

float *vst_context_input(vst_context *context, const char *name) {
    const vst_program *program = context->program;
    for (size_t i = 0; i < program->input_count; i++)
        if (strcmp(program->inputs[i].name, name) == 0) return address(context, &program->inputs[i].at);
    return NULL;
}

const float *vst_context_output(const vst_context *context, int index) {
    if (index < 0 || index >= context->program->output_count) return NULL;
    return address(context, &context->program->outputs[index]);
}

static vst_status run_steps(vst_context *context, const vsti_run *run) {
    const vst_program *program = context->program;
    for (size_t i = 0; i < program->step_count; i++) {
        const vsti_step *s = &program->steps[i];
        const double start = context->seconds ? vst_seconds() : 0;
        if (s->function) {
            s->function(context->pointers + s->first, s->arguments, run);
        } else {
            const vst_status status = vsti_primitive_run(s->primitive, context->stream, context->arguments[i]);
            if (status != VST_OK) return status;
        }
        if (context->seconds) context->seconds[s->row] += vst_seconds() - start;
    }
    return VST_OK;
}

vst_status vst_context_run(vst_context *context, uint32_t step_number) {
    vst_program *program = context->program;
    const vsti_run run = {program->seed, step_number};
    vsti_team team;
    vst_status status = vsti_team_begin(&team, program->threads);
    if (status != VST_OK) return status;
    status = vsti_store_refresh(program->store);
    if (status == VST_OK) {
        context->runs++;
        const vsti_threads_clock begin = vsti_threads_run_begins();
        status = run_steps(context, &run);
        vsti_threads_run_ends(&begin);
    }
    vsti_team_end(&team);
    return status;
}

/* ---- profile ----------------------------------------------------------------------------------------------------- */

size_t vst_context_profile_count(const vst_context *context) { return context->program->row_count; }

void vst_context_profile_reset(vst_context *context) {
    context->runs = 0;
    for (size_t i = 0; context->seconds && i < context->program->row_count; i++) context->seconds[i] = 0;
}

void vst_context_profile_at(const vst_context *context, size_t index, vst_profile_row *out) {
    *out = context->program->rows[index];
    if (context->seconds && context->runs) out->seconds = context->seconds[index] / (double)context->runs;
}
