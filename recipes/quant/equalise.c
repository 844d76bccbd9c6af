/* Moves the scales of channels between the layers that write a value and those that read it: what is written is divided
 * by a scale for each channel, and the weights that read it are multiplied by it. The function of the model stays the
 * same, and a single scale for all channels then suits the value better (SmoothQuant, Xiao et al., 2023). After a layer
 * norm channels may be shifted, too, so that their ranges lie around zero (RepQ-ViT, Li et al., 2023). */
#include <math.h>
#include <string.h>

#include "recipes/quant/internal.h"
#include "vision/base/memory.h"

/* How a parameter takes part in a value. */
typedef enum part { WRITES_WEIGHT, WRITES_SHIFT, READS } part;

typedef struct user {
    part part;
    int value;                       /* that is written or read */
    size_t offset;                   /* of the parameter in the params' values */
    int64_t out, in, window, groups; /* of a reading weight (out, in, window); what is written: (out, in) */
    bool has_bias;                   /* a reader that can make up for shifts, at `bias` */
    size_t bias;
} user;

typedef struct node_set {
    int parent; /* of the union of values; itself for a root */
    int axis;   /* of the channels; -1: unknown */
    bool fixed; /* something reads or writes the value that cannot be scaled */
    bool rigid; /* it can be scaled, but not shifted */
} node_set;

struct vsti_equaliser {
    node_set *sets; /* by value */
    user *users;
    size_t value_count, user_count;
    vst_graph *graph;
    vst_params *declared;
    const vst_params *params;        /* of the model: their offsets */
    int *first_input, *first_output; /* by parameter: values of the first node that has it; 0: none */
};

static int root_of(const vsti_equaliser *e, int value) {
    while (e->sets[value].parent != value) value = e->sets[value].parent;
    return value;
}

static void fix(vsti_equaliser *e, int value) { e->sets[root_of(e, value)].fixed = true; }

static void unite(vsti_equaliser *e, int a, int b, bool rigid) {
    const int x = root_of(e, a), y = root_of(e, b);
    e->sets[y].parent = x;
    e->sets[x].fixed |= e->sets[y].fixed;
    e->sets[x].rigid |= e->sets[y].rigid | rigid;
}

/* ---- what the nodes do with their values ---- */

static int input_of(const vsti_equaliser *e, size_t node, int index) {
    return vst_node_input_at(e->graph, node, index).value.id;
}
static int output_of(const vsti_equaliser *e, size_t node) { return vst_node_output_at(e->graph, node, 0).value.id; }

static size_t offset_of(const vsti_equaliser *e, const char *name) {
    return vst_params_at(e->params, (size_t)vst_params_find(e->params, name))->offset;
}

/* Whether the parameter is new. A layer that is emitted twice, for all tokens and for the first ones, is scaled once:
 * what its nodes read belongs together, and what they write. */
static bool is_new(vsti_equaliser *e, const char *name, int value, int *first) {
    const int index = vst_params_find(e->params, name);
    const bool known = first[index] != 0;
    if (known) unite(e, first[index], value, false);
    else first[index] = value;
    return !known;
}

static void add_writer(vsti_equaliser *e, size_t node, int input, part as, int64_t out) {
    const vst_operand operand = vst_node_input_at(e->graph, node, input);
    if (!is_new(e, operand.name, output_of(e, node), e->first_output)) return;
    const int64_t count = vst_shape_count(&operand.shape);
    e->users[e->user_count++] = (user){
        .part = as, .value = output_of(e, node), .offset = offset_of(e, operand.name), .out = out, .in = count / out};
}

static void add_reader(vsti_equaliser *e, size_t node, const vst_node_info *info, bool padded) {
    const vst_operand weight = vst_node_input_at(e->graph, node, 1);
    vst_attribute groups;
    if (!is_new(e, weight.name, input_of(e, node, 0), e->first_input)) return;
    user *made = &e->users[e->user_count++];
    *made = (user){.part = READS,
                   .value = input_of(e, node, 0),
                   .offset = offset_of(e, weight.name),
                   .out = weight.shape.dim[0],
                   .in = weight.shape.dim[1],
                   .window = weight.shape.rank == 4 ? weight.shape.dim[2] * weight.shape.dim[3] : 1,
                   .groups = vst_node_attribute_find(e->graph, node, "groups", &groups) ? groups.integer : 1,
                   .has_bias = info->input_count > 2 && !padded};
    if (made->has_bias) made->bias = offset_of(e, vst_node_input_at(e->graph, node, 2).name);
}

/* Linear layers and convolutions. */
static void take_product(vsti_equaliser *e, size_t node, const vst_node_info *info, bool padded) {
    const bool convolution = strcmp(info->operation, "conv2d") == 0;
    const vst_operand x = vst_node_input_at(e->graph, node, 0);
    const int out = output_of(e, node);
    e->sets[out].axis = convolution ? 1 : info->shape.rank - 1;
    e->sets[out].rigid = true;
    if (vst_node_input_at(e->graph, node, 1).kind != VST_VALUE_PARAMETER) {
        fix(e, x.value.id);
        fix(e, out);
        return;
    }
    if (x.kind != VST_VALUE_NODE || e->sets[x.value.id].axis != (convolution ? 1 : x.shape.rank - 1))
        fix(e, x.value.id);
    add_reader(e, node, info, padded);
    const int64_t channels = info->shape.dim[e->sets[out].axis];
    add_writer(e, node, 1, WRITES_WEIGHT, channels);
    if (info->input_count > 2) add_writer(e, node, 2, WRITES_SHIFT, channels);
}

/* Inputs x, weight, bias, …: what a norm reads cannot be scaled, what it writes can. */
static void take_norm(vsti_equaliser *e, size_t node, const vst_node_info *info, bool batch) {
    const int axis = batch ? 1 : info->shape.rank - 1;
    fix(e, input_of(e, node, 0));
    e->sets[output_of(e, node)].axis = axis;
    e->sets[output_of(e, node)].rigid = batch;
    add_writer(e, node, 1, WRITES_WEIGHT, info->shape.dim[axis]);
    add_writer(e, node, 2, WRITES_SHIFT, info->shape.dim[axis]);
}

/* An operation that leaves channels what they are; `axis`: theirs in the output, -1: it does not. */
static void take_passing(vsti_equaliser *e, size_t node, const vst_node_info *info, int axis, bool rigid) {
    const int out = output_of(e, node);
    e->sets[out].axis = axis;
    for (int i = 0; i < info->input_count; i++) {
        const vst_operand x = vst_node_input_at(e->graph, node, i);
        const bool alike = i == 0 || (e->sets[x.value.id].axis == axis && vst_shape_equal(&x.shape, &info->shape));
        if (axis < 0 || x.kind != VST_VALUE_NODE || !alike) fix(e, x.value.id);
        unite(e, out, x.value.id, rigid);
    }
    if (axis < 0) fix(e, out);
}

static int permuted_axis(const vsti_equaliser *e, size_t node, int axis) {
    vst_attribute order;
    if (vst_node_attribute_find(e->graph, node, "order", &order))
        for (int i = 0; i < order.dims.rank; i++)
            if (order.dims.dim[i] == axis) return i;
    return -1;
}

static int sliced_axis(const vsti_equaliser *e, size_t node, int axis) {
    vst_attribute sliced;
    return vst_node_attribute_find(e->graph, node, "axis", &sliced) && sliced.integer != axis ? axis : -1;
}

static int reshaped_axis(const vst_shape *from, const vst_shape *to, int axis) {
    const bool last = axis == from->rank - 1 && to->rank > 0 && to->dim[to->rank - 1] == from->dim[axis];
    return last ? to->rank - 1 : -1;
}

static bool is_one_of(const char *name, const char *const *list) {
    while (*list && strcmp(name, *list) != 0) list++;
    return *list != NULL;
}

static void take(vsti_equaliser *e, size_t node) {
    static const char *const homogeneous[] = {"relu", "add", "max_pool", "avg_pool", NULL};
    const vst_node_info info = vst_graph_node_at(e->graph, node);
    const vst_operand x = vst_node_input_at(e->graph, node, 0);
    const int axis = info.input_count ? e->sets[x.value.id].axis : -1;
    const char *name = info.operation;
    if (info.quantizable) take_product(e, node, &info, vsti_is_padded(e->graph, node));
    else if (strcmp(name, "batch_norm") == 0 || strcmp(name, "layer_norm") == 0)
        take_norm(e, node, &info, strcmp(name, "batch_norm") == 0);
    else if (strcmp(name, "permute") == 0) take_passing(e, node, &info, permuted_axis(e, node, axis), false);
    else if (strcmp(name, "slice") == 0) take_passing(e, node, &info, sliced_axis(e, node, axis), false);
    else if (strcmp(name, "reshape") == 0)
        take_passing(e, node, &info, axis < 0 ? -1 : reshaped_axis(&x.shape, &info.shape, axis), false);
    else if (strcmp(name, "dropout") == 0) take_passing(e, node, &info, axis, false);
    else take_passing(e, node, &info, is_one_of(name, homogeneous) ? axis : -1, true);
}

/* What others read as the model's features stays as it is. */
static void fix_taps(vsti_equaliser *e) {
    for (size_t i = 0; i < vst_tap_count(e->graph); i++) fix(e, vst_find(e->graph, vst_tap_name(e->graph, i)).id);
}

static size_t at_least(size_t values, vst_operand operand) {
    return (size_t)operand.value.id >= values ? (size_t)operand.value.id + 1 : values;
}

/* Leaves out what no layer on integers reads. */
static void fix_others(vsti_equaliser *e, const vsti_candidates *candidates) {
    for (size_t v = 1; v < e->value_count; v++) {
        bool read = false;
        for (size_t i = 0; i < candidates->count; i++)
            read |= candidates->list[i].usable && root_of(e, candidates->list[i].value) == root_of(e, (int)v);
        if (!read) fix(e, (int)v);
    }
}

vst_status vsti_equaliser_create(vsti_equaliser **out, const vst_model *model, const vsti_candidates *candidates) {
    vst_status status = VST_OK;
    vsti_equaliser *e = *out = vst_calloc(1, sizeof *e);
    size_t values = 1, inputs = 0;
    if (!e) return vst_fail_memory(sizeof *e);
    e->params = model->params;
    VST_TRY(vst_model_declare(&e->graph, &e->declared, model->config));
    const size_t nodes = vst_graph_node_count(e->graph), params = vst_params_count(model->params);
    for (size_t i = 0; i < nodes; i++) {
        const vst_node_info info = vst_graph_node_at(e->graph, i);
        for (int k = 0; k < info.output_count; k++) values = at_least(values, vst_node_output_at(e->graph, i, k));
        for (int k = 0; k < info.input_count; k++) values = at_least(values, vst_node_input_at(e->graph, i, k));
        inputs += (size_t)info.input_count;
    }
    e->sets = vst_calloc(values, sizeof *e->sets);
    e->users = vst_calloc(2 * inputs + 1, sizeof *e->users);
    e->first_input = vst_calloc(2 * params + 1, sizeof *e->first_input);
    if (!e->sets || !e->users || !e->first_input) VST_TRY(vst_fail_memory(values * sizeof *e->sets));
    e->first_output = e->first_input + params;
    e->value_count = values;
    for (size_t v = 0; v < values; v++) e->sets[v] = (node_set){.parent = (int)v, .axis = -1};
    for (size_t i = 0; i < nodes; i++) take(e, i);
    fix_taps(e);
    fix_others(e, candidates);
out:
    return status;
}

void vsti_equaliser_destroy(vsti_equaliser *e) {
    if (!e) return;
    vst_graph_destroy(e->graph);
    vst_params_destroy(e->declared);
    vst_free(e->sets);
    vst_free(e->users);
    vst_free(e->first_input);
    vst_free(e);
}

static bool is_free(const vsti_equaliser *e, size_t value) {
    return e->sets[value].parent == (int)value && !e->sets[value].fixed;
}

size_t vsti_equaliser_sets(const vsti_equaliser *e) {
    size_t count = 0;
    for (size_t v = 1; v < e->value_count; v++) count += is_free(e, v);
    return count;
}

/* ---- scales of one set ---- */

typedef struct channels {
    int64_t count;
    double *low, *high; /* of the value */
    double *weight;     /* the largest of what reads it */
    double *scale, *shift;
} channels;

/* The first of the channels that output o of a reading weight sees. */
static int64_t first_channel(const user *u, int64_t o) { return o / (u->out / u->groups) * u->in; }

static void measure_weights(channels *c, const user *u, const float *values) {
    const float *weight = values + u->offset;
    for (int64_t o = 0; o < u->out; o++)
        for (int64_t i = 0; i < u->in; i++)
            for (int64_t k = 0; k < u->window; k++) {
                double *most = &c->weight[first_channel(u, o) + i];
                *most = fmax(*most, fabs((double)*weight++));
            }
}

static void choose_scales(channels *c, const vsti_migration *way, bool shifts) {
    double logs = 0;
    int64_t live = 0;
    for (int64_t i = 0; i < c->count; i++) {
        const double reach = fmax(-c->low[i], c->high[i]), span = c->high[i] - c->low[i];
        c->scale[i] = way->fold ? span : pow(reach, way->alpha) / pow(c->weight[i], 1 - way->alpha);
        c->shift[i] = shifts ? (c->high[i] + c->low[i]) / 2 : 0;
        if (!(c->scale[i] > 1e-20 && c->scale[i] < 1e20))
            c->scale[i] = 0; /* a channel that is always the same, or not read */
        else logs += log(c->scale[i]), live++;
    }
    const double mean = live ? exp(logs / (double)live) : 1;
    for (int64_t i = 0; i < c->count; i++) {
        c->scale[i] = c->scale[i] > 0 ? fmin(fmax(c->scale[i] / mean, 1e-3), 1e3) : 1;
    }
}

/* ---- applying them ---- */

static void divide(const user *u, float *values, const channels *c) {
    for (int64_t i = 0; i < c->count; i++)
        for (int64_t k = 0; k < u->in; k++) {
            float *value = &values[u->offset + (size_t)(i * u->in + k)];
            const double shifted = (double)*value - (u->part == WRITES_SHIFT ? c->shift[i] : 0);
            *value = (float)(shifted / c->scale[i]);
        }
}

static void multiply(const user *u, float *values, const channels *c) {
    float *weight = values + u->offset;
    for (int64_t o = 0; o < u->out; o++) {
        double shift = 0;
        for (int64_t i = 0; i < u->in; i++)
            for (int64_t k = 0; k < u->window; k++, weight++) {
                shift += (double)*weight * c->shift[first_channel(u, o) + i];
                *weight = (float)((double)*weight * c->scale[first_channel(u, o) + i]);
            }
        if (u->has_bias) values[u->bias + (size_t)o] += (float)shift;
    }
}

/* What the layers on integers read of the set; false if none does, or it cannot be scaled. */
static bool collect(const vsti_equaliser *e, int root, const vsti_candidates *candidates, const vsti_extremes *extremes,
                    channels *c) {
    bool found = false;
    for (size_t i = 0; i < candidates->count; i++) {
        const vsti_candidate *layer = &candidates->list[i];
        if (!layer->usable || root_of(e, layer->value) != root) continue;
        const vsti_extremes *x = &extremes[layer->tap];
        for (int64_t k = 0; k < c->count; k++) {
            c->low[k] = found ? fmin(c->low[k], (double)x->low[k]) : (double)x->low[k];
            c->high[k] = found ? fmax(c->high[k], (double)x->high[k]) : (double)x->high[k];
        }
        found = true;
    }
    return found;
}

static int64_t channels_of(const user *u) { return u->part == READS ? u->in * u->groups : u->out; }

/* The users of a set agree on its channels; *shifts: whether all of them can be shifted. */
static bool examine(const vsti_equaliser *e, int root, int64_t *count, bool *shifts) {
    *count = 0;
    *shifts = !e->sets[root].rigid;
    for (size_t i = 0; i < e->user_count; i++) {
        const user *u = &e->users[i];
        if (root_of(e, u->value) != root) continue;
        if (*count && channels_of(u) != *count) return false;
        *count = channels_of(u);
        if (u->part == READS && !u->has_bias) *shifts = false;
    }
    return *count > 0;
}

static vst_status equalise_set(const vsti_equaliser *e, int root, float *values, const vsti_candidates *candidates,
                               const vsti_extremes *extremes, const vsti_migration *way) {
    channels c = {0};
    bool shifts;
    if (!examine(e, root, &c.count, &shifts)) return VST_OK;
    double *memory = vst_calloc(5 * (size_t)c.count, sizeof *memory);
    if (!memory) return vst_fail_memory(5 * (size_t)c.count * sizeof *memory);
    c.low = memory;
    c.high = c.low + c.count;
    c.weight = c.high + c.count;
    c.scale = c.weight + c.count;
    c.shift = c.scale + c.count;
    if (collect(e, root, candidates, extremes, &c)) {
        for (size_t i = 0; i < e->user_count; i++)
            if (e->users[i].part == READS && root_of(e, e->users[i].value) == root)
                measure_weights(&c, &e->users[i], values);
        choose_scales(&c, way, way->fold && shifts);
        for (size_t i = 0; i < e->user_count; i++) {
            if (root_of(e, e->users[i].value) != root) continue;
            if (e->users[i].part == READS) multiply(&e->users[i], values, &c);
            else divide(&e->users[i], values, &c);
        }
    }
    vst_free(memory);
    return VST_OK;
}

vst_status vsti_equalise(const vsti_equaliser *e, float *values, const vsti_candidates *candidates,
                         const vsti_extremes *extremes, const vsti_migration *way) {
    vst_status status = VST_OK;
    for (size_t v = 1; v < e->value_count && status == VST_OK; v++)
        if (is_free(e, v)) status = equalise_set(e, (int)v, values, candidates, extremes, way);
    return status;
}
