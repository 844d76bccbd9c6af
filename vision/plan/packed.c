/* The store of packed weights, which inference programs derive from the parameters once per version and share. */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/plan/internal.h"

enum { MOST_OPERANDS = 16 };

struct vsti_store {
    vst_params *params;
    atomic_int references;
    atomic_uint_fast64_t version; /* of the params that all weights belong to, plus one; 0: not all are equal */
    pthread_mutex_t mutex;        /* protects the following fields */
    vsti_stream *stream;          /* NULL until the first reorder */
    pack_list list;
};

/* ---- lists of steps ---------------------------------------------------------------------------------------------- */

static void clear_step(pack_step *step) {
    vsti_arguments_destroy(step->bound);
    vsti_primitive_destroy(step->reorder);
    vst_free(step->arguments);
    vst_free(step->inputs);
    *step = (pack_step){0};
}

void vsti_pack_list_clear(pack_list *list) {
    for (size_t i = 0; i < list->step_count; i++) clear_step(&list->steps[i]);
    for (size_t i = 0; i < list->entry_count; i++) vst_free(list->entries[i].memory);
    vst_free(list->steps);
    vst_free(list->entries);
    *list = (pack_list){0};
}

static vst_status make_room(pack_list *list, int output_count) {
    vst_status status = vst_grow(&list->steps, &list->step_capacity, list->step_count + 1, sizeof *list->steps);
    if (status != VST_OK) return status;
    return vst_grow(&list->entries, &list->entry_capacity, list->entry_count + (size_t)output_count,
                    sizeof *list->entries);
}

static void append(pack_list *list, const pack_step *step, const size_t *output_bytes) {
    pack_step *new = &list->steps[list->step_count++];
    *new = *step;
    new->first_output = (int)list->entry_count;
    for (int i = 0; i < step->output_count; i++)
        list->entries[list->entry_count++] =
            (pack_entry){.bytes = output_bytes[i], .producer = (int)list->step_count - 1};
}

vst_status vsti_pack_list_add(pack_list *list, const pack_step *what, const size_t *output_bytes) {
    vst_status status = VST_OK;
    const size_t input_bytes = (size_t)what->input_count * sizeof *what->inputs;
    pack_step step = *what;
    VST_ASSERT(what->input_count + what->output_count <= MOST_OPERANDS);
    step.arguments = vst_alloc(what->argument_bytes);
    step.inputs = vst_alloc(input_bytes);
    if (!step.arguments || !step.inputs) VST_TRY(vst_fail_memory(what->argument_bytes + input_bytes));
    if (what->argument_bytes) memcpy(step.arguments, what->arguments, what->argument_bytes);
    memcpy(step.inputs, what->inputs, input_bytes);
    VST_TRY(make_room(list, what->output_count));
    append(list, &step, output_bytes);
    step = (pack_step){0};
out:
    clear_step(&step);
    return status;
}

/* ---- the store --------------------------------------------------------------------------------------------------- */

vst_status vsti_store_create(vsti_store **out, vst_params *params) {
    vsti_store *store = vst_calloc(1, sizeof *store);
    *out = store;
    if (!store) return vst_fail_memory(sizeof *store);
    store->params = params;
    atomic_init(&store->references, 1);
    pthread_mutex_init(&store->mutex, NULL);
    return VST_OK;
}

vsti_store *vsti_store_share(vsti_store *store) {
    atomic_fetch_add(&store->references, 1);
    return store;
}

void vsti_store_release(vsti_store *store) {
    if (!store || atomic_fetch_sub(&store->references, 1) > 1) return;
    vsti_pack_list_clear(&store->list);
    vsti_stream_destroy(store->stream);
    pthread_mutex_destroy(&store->mutex);
    vst_free(store);
}

char *vsti_store_memory(vsti_store *store, int entry) {
    pthread_mutex_lock(&store->mutex);
    char *memory = store->list.entries[entry].memory;
    pthread_mutex_unlock(&store->mutex);
    return memory;
}

size_t vsti_store_bytes(vsti_store *store) {
    size_t bytes = 0;
    pthread_mutex_lock(&store->mutex);
    for (size_t i = 0; i < store->list.entry_count; i++)
        if (store->list.entries[i].memory) bytes += store->list.entries[i].bytes;
    pthread_mutex_unlock(&store->mutex);
    return bytes;
}

static bool same_operands(const vsti_operand *a, const vsti_operand *b, int count) {
    for (int i = 0; i < count; i++)
        if (a[i].space != b[i].space || a[i].entry != b[i].entry || a[i].offset != b[i].offset) return false;
    return true;
}

/* True if both steps compute the same. */
static bool same_step(const pack_step *a, const pack_step *b) {
    if (a->function != b->function || a->input_count != b->input_count || a->output_count != b->output_count ||
        a->argument_bytes != b->argument_bytes || !same_operands(a->inputs, b->inputs, a->input_count))
        return false;
    if (!a->function) return vsti_reorder_equal(a->reorder, b->reorder);
    return memcmp(a->arguments, b->arguments, a->argument_bytes) == 0;
}

static const pack_step *find_step(const pack_list *list, const pack_step *wanted) {
    for (size_t i = 0; i < list->step_count; i++)
        if (same_step(&list->steps[i], wanted)) return &list->steps[i];
    return NULL;
}

/* Appends the steps that `to` does not have yet. map[i] becomes the entry in `to` of entry i in `from`. */
static vst_status merge(pack_list *to, pack_list *from, int *map) {
    for (size_t i = 0; i < from->step_count; i++) {
        pack_step *step = &from->steps[i];
        size_t bytes[MOST_OPERANDS];
        for (int k = 0; k < step->input_count; k++)
            if (step->inputs[k].space == SPACE_PACKED) step->inputs[k].entry = map[step->inputs[k].entry];
        const pack_step *known = find_step(to, step);
        for (int k = 0; k < step->output_count; k++) {
            bytes[k] = from->entries[step->first_output + k].bytes;
            map[step->first_output + k] = (known ? known->first_output : (int)to->entry_count) + k;
        }
        if (known) continue;
        const vst_status status = make_room(to, step->output_count);
        if (status != VST_OK) return status;
        append(to, step, bytes);
        *step = (pack_step){0};
    }
    return VST_OK;
}

static vst_status keep_entry(vsti_store *store, pack_entry *entry) {
    if (entry->memory) return VST_OK;
    entry->memory = vst_alloc_aligned(entry->bytes);
    if (!entry->memory) return vst_fail_memory(entry->bytes);
    atomic_store_explicit(&store->version, 0, memory_order_relaxed);
    return VST_OK;
}

vst_status vsti_store_take(vsti_store *store, pack_list *list, vsti_operand *operands, size_t operand_count) {
    vst_status status = VST_OK;
    int *map = vst_alloc((list->entry_count + 1) * sizeof *map);
    if (!map) return vst_fail_memory(list->entry_count * sizeof *map);
    pthread_mutex_lock(&store->mutex);
    VST_TRY(merge(&store->list, list, map));
    for (size_t i = 0; i < operand_count; i++) {
        if (operands[i].space != SPACE_PACKED) continue;
        operands[i].entry = map[operands[i].entry];
        VST_TRY(keep_entry(store, &store->list.entries[operands[i].entry]));
    }
out:
    pthread_mutex_unlock(&store->mutex);
    vst_free(map);
    return status;
}

/* ---- packing ----------------------------------------------------------------------------------------------------- */

/* Marks the steps needed to update outdated entries, and counts the needed readers of each entry. */
static void mark_needed(pack_list *list, uint64_t version) {
    for (size_t i = 0; i < list->entry_count; i++) list->entries[i].readers = 0;
    for (size_t i = list->step_count; i-- > 0;) {
        pack_step *step = &list->steps[i];
        step->needed = false;
        for (int k = 0; k < step->output_count; k++) {
            const pack_entry *entry = &list->entries[step->first_output + k];
            step->needed |= entry->memory ? entry->version != version : entry->readers > 0;
        }
        for (int k = 0; step->needed && k < step->input_count; k++)
            if (step->inputs[k].space == SPACE_PACKED) list->entries[step->inputs[k].entry].readers++;
    }
}

static vst_status allocate_temporary(pack_entry *entry) {
    entry->temporary = vst_alloc_pages(entry->bytes);
    return entry->temporary ? VST_OK : vst_fail_memory(entry->bytes);
}

static void free_temporary(pack_entry *entry) {
    vst_free_pages(entry->temporary, entry->bytes);
    entry->temporary = NULL;
}

static char *input_address(vsti_store *store, const vsti_operand *input) {
    if (input->space == SPACE_NONE) return NULL;
    if (input->space == SPACE_VALUES) return (char *)vst_params_values(store->params) + input->offset;
    const pack_entry *entry = &store->list.entries[input->entry];
    return (entry->memory ? entry->memory : entry->temporary) + input->offset;
}

/* A reorder between permanent addresses (`lasting`) keeps its arguments, so that packing again does not allocate them.
 */
static vst_status run_reorder(vsti_store *store, pack_step *step, void *const *addresses, bool lasting) {
    static const vsti_role roles[] = {VSTI_SRC, VSTI_DST, VSTI_SCRATCHPAD};
    vst_status status = VST_OK;
    vsti_arguments *arguments = step->bound;
    const size_t scratch = vsti_primitive_bytes(step->reorder, VSTI_SCRATCHPAD);
    void *memory[] = {addresses[0], addresses[1], scratch ? vst_alloc_aligned(scratch) : NULL};
    if (scratch && !memory[2]) VST_TRY(vst_fail_memory(scratch));
    if (!store->stream) VST_TRY(vsti_stream_create(&store->stream));
    if (!lasting || !arguments)
        VST_TRY(vsti_arguments_create(&arguments, step->reorder, roles, memory, scratch ? 3 : 2));
    VST_TRY(vsti_primitive_run(step->reorder, store->stream, arguments));
    if (lasting && !scratch) step->bound = arguments;
out:
    if (arguments != step->bound) vsti_arguments_destroy(arguments);
    vst_free(memory[2]);
    return status;
}

/* True if the input is in the params or in permanent memory. */
static bool is_lasting(const vsti_store *store, const vsti_operand *input) {
    return input->space != SPACE_PACKED || store->list.entries[input->entry].memory;
}

/* Outputs that are up to date may be in use by a run at the same time, so they are written to temporary memory instead.
 */
static vst_status run_step(vsti_store *store, pack_step *step, uint64_t version) {
    vst_status status = VST_OK;
    void *addresses[MOST_OPERANDS];
    pack_entry *outputs = &store->list.entries[step->first_output];
    for (int k = 0; k < step->input_count; k++) addresses[k] = input_address(store, &step->inputs[k]);
    for (int k = 0; k < step->output_count; k++) {
        const bool stale = outputs[k].memory && outputs[k].version != version;
        if (!stale) VST_TRY(allocate_temporary(&outputs[k]));
        addresses[step->input_count + k] = stale ? outputs[k].memory : outputs[k].temporary;
    }
    if (step->function) step->function(addresses, step->arguments, &(vsti_run){0});
    else VST_TRY(run_reorder(store, step, addresses, is_lasting(store, &step->inputs[0]) && !outputs[0].temporary));
    for (int k = 0; k < step->output_count; k++) {
        if (outputs[k].memory) outputs[k].version = version;
        if (outputs[k].memory || outputs[k].readers == 0) free_temporary(&outputs[k]);
    }
    for (int k = 0; k < step->input_count; k++) {
        if (step->inputs[k].space != SPACE_PACKED) continue;
        pack_entry *entry = &store->list.entries[step->inputs[k].entry];
        if (--entry->readers == 0) free_temporary(entry);
    }
    step->needed = false;
out:
    return status;
}

/* Runs the needed steps that this step depends on, then the step. Chains are a few steps long. */
static vst_status run_chain(vsti_store *store, pack_step *step, uint64_t version) {
    pack_list *list = &store->list;
    for (int k = 0; k < step->input_count; k++) {
        if (step->inputs[k].space != SPACE_PACKED) continue;
        pack_step *producer = &list->steps[list->entries[step->inputs[k].entry].producer];
        const vst_status status = producer->needed ? run_chain(store, producer, version) : VST_OK;
        if (status != VST_OK) return status;
    }
    return run_step(store, step, version);
}

/* The needed step with the most bytes of permanent output; NULL if no step is needed. */
static pack_step *largest_needed(pack_list *list) {
    pack_step *largest = NULL;
    size_t most = 0;
    for (size_t i = 0; i < list->step_count; i++) {
        size_t bytes = 0;
        if (!list->steps[i].needed) continue;
        for (int k = 0; k < list->steps[i].output_count; k++) {
            const pack_entry *output = &list->entries[list->steps[i].first_output + k];
            if (output->memory) bytes += output->bytes;
        }
        if (largest && bytes <= most) continue;
        largest = &list->steps[i];
        most = bytes;
    }
    return largest;
}

/* Large weights are packed first: their temporary copies exist while little permanent memory is in use, which keeps the
 * peak low. */
static vst_status pack(vsti_store *store, uint64_t version) {
    vst_status status = VST_OK;
    mark_needed(&store->list, version);
    for (pack_step *step; (step = largest_needed(&store->list));) VST_TRY(run_chain(store, step, version));
out:
    for (size_t i = 0; i < store->list.entry_count; i++) free_temporary(&store->list.entries[i]);
    return status;
}

vst_status vsti_store_refresh(vsti_store *store) {
    vst_status status = VST_OK;
    const uint64_t version = vst_params_version(store->params) + 1;
    if (atomic_load_explicit(&store->version, memory_order_acquire) == version) return VST_OK;
    pthread_mutex_lock(&store->mutex);
    if (atomic_load_explicit(&store->version, memory_order_relaxed) != version) status = pack(store, version);
    if (status == VST_OK) atomic_store_explicit(&store->version, version, memory_order_release);
    pthread_mutex_unlock(&store->mutex);
    return status;
}
