/* Matches tensor names of a file to parameters. A name is tried as a whole and without its first one, two … parts,
 * because programs wrap models in others ("module.", "model.backbone.", "student."). The prefix that explains most
 * parameters is the model's. Missing parameters may have other prefixes that contain nothing else of the model
 * ("head.fc." beside "backbone."). All other tensors of the file do not belong to the model. */
#include "recipes/model/match.h"

#include <stdlib.h>
#include <string.h>

#include "vision/base/memory.h"

enum { PREFIX_PARTS = 6 };

/* A tensor that matches a parameter if the first `offset` bytes of its name are a prefix. */
typedef struct hit {
    const char *name; /* the tensor's name */
    size_t tensor, offset;
    int param; /* -1: known, but not needed */
    const vst_naming *naming;
    int part, parts;
    bool fits, used;
} hit;

/* Hits with the same prefix. */
typedef struct group {
    size_t first, count;
    size_t score;
    size_t unknown; /* number of tensors with this prefix that match nothing; only for groups that explain most
                       parameters */
} group;

typedef struct matcher {
    const vst_model_config *model;
    const vst_params *params;
    const vst_weights *weights;
    const char **names; /* names of the parameters, sorted */
    int *indices;       /* their indices */
    hit *hits;
    size_t hit_count, hit_capacity;
    group *groups;
    size_t group_count, group_capacity;
} matcher;

/* ---- Names ---- */

/* Tensors in state dicts that are not part of a model: counters of thop, the step count of weight averaging
 * (torch.optim.swa_utils), and other tensors of our own checkpoints. */
static bool is_ignored(const vst_weights *weights, const char *name) {
    const char *dot = strrchr(name, '.'), *part = dot ? dot + 1 : name;
    if (strcmp(part, "total_ops") == 0 || strcmp(part, "total_params") == 0 || strcmp(part, "n_averaged") == 0)
        return true;
    return vst_weights_metadata(weights, "vistill.format") &&
           (strncmp(name, "optimizer.", 10) == 0 || strncmp(name, "ema.", 4) == 0 || strncmp(name, "distill.", 8) == 0);
}

static int by_name(const void *a, const void *b, void *names) {
    const char *const *text = names;
    return strcmp(text[*(const int *)a], text[*(const int *)b]);
}

static vst_status index_params(matcher *self) {
    const size_t count = vst_params_count(self->params);
    self->names = vst_calloc(count + 1, sizeof *self->names);
    self->indices = vst_calloc(count + 1, sizeof *self->indices);
    if (!self->names || !self->indices) return vst_fail_memory(count * sizeof *self->names);
    for (size_t i = 0; i < count; i++) {
        self->names[i] = vst_params_at(self->params, i)->name;
        self->indices[i] = (int)i;
    }
    qsort_r(self->indices, count, sizeof *self->indices, by_name, self->names);
    return VST_OK;
}

static int find_param(const matcher *self, const char *name) {
    size_t low = 0, high = vst_params_count(self->params);
    while (low < high) {
        const size_t middle = (low + high) / 2;
        const int order = strcmp(name, self->names[self->indices[middle]]);
        if (order == 0) return self->indices[middle];
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return -1;
}

static vst_shape squeezed(const vst_shape *shape) {
    vst_shape out = {0};
    for (int i = 0; i < shape->rank; i++)
        if (shape->dim[i] != 1) out.dim[out.rank++] = shape->dim[i];
    return out;
}

bool vsti_fits(const vst_param_info *info, const vst_tensor *tensor, int parts) {
    if (info->kind == VST_PARAM_COUNTER) return vst_shape_count(&tensor->shape) == 1; /* () or (1) */
    vst_shape wanted = info->shape;
    if (parts > 1) {
        if (wanted.rank < 1 || wanted.dim[0] % parts) return false;
        wanted.dim[0] /= parts;
    }
    wanted = squeezed(&wanted);
    const vst_shape found = squeezed(&tensor->shape);
    return vst_shape_equal(&wanted, &found);
}

/* Looks up the name without its first `offset` bytes; false if it is unknown. */
static bool look_up(const matcher *self, const char *name, size_t offset, hit *out) {
    vst_foreign_name foreign;
    *out = (hit){.name = name, .offset = offset, .param = find_param(self, name + offset), .parts = 1};
    if (out->param >= 0) return true;
    for (const vst_naming *n = self->model->backbone->namings; n && n->project; n++) {
        if (n->timm_names || !vst_naming_translate(n, self->model->options, name + offset, &foreign)) continue;
        out->param = *foreign.ours ? find_param(self, foreign.ours) : -1;
        if (*foreign.ours && out->param < 0) continue;
        out->naming = n;
        if (foreign.parts > 1) out->part = foreign.part, out->parts = foreign.parts;
        return true;
    }
    return false;
}

static vst_status find_hits(matcher *self) {
    vst_status status = VST_OK;
    for (size_t i = 0; i < vst_weights_count(self->weights); i++) {
        const vst_tensor *tensor = vst_weights_at(self->weights, i);
        if (is_ignored(self->weights, tensor->name)) continue;
        int before = 0;
        for (const char *part = tensor->name; part && before <= PREFIX_PARTS; part = strchr(part, '.'), before++) {
            hit found;
            if (*part == '.') part++;
            if (!look_up(self, tensor->name, (size_t)(part - tensor->name), &found)) continue;
            found.tensor = i;
            found.fits =
                found.param >= 0 && vsti_fits(vst_params_at(self->params, (size_t)found.param), tensor, found.parts);
            VST_TRY(vst_grow(&self->hits, &self->hit_capacity, self->hit_count + 1, sizeof *self->hits));
            self->hits[self->hit_count++] = found;
        }
    }
out:
    return status;
}

/* ---- Prefixes ---- */

static int compare_prefixes(const hit *x, const hit *y) {
    const size_t shorter = x->offset < y->offset ? x->offset : y->offset;
    const int order = memcmp(x->name, y->name, shorter);
    return order ? order : (x->offset > y->offset) - (x->offset < y->offset);
}

/* By prefix; then our names before those of other projects, then in file order. */
static int by_prefix(const void *a, const void *b) {
    const hit *x = a, *y = b;
    const int order = compare_prefixes(x, y);
    if (order) return order;
    if (!x->naming != !y->naming) return x->naming ? 1 : -1;
    return (x->tensor > y->tensor) - (x->tensor < y->tensor);
}

static vst_status find_groups(matcher *self) {
    vst_status status = VST_OK;
    if (self->hit_count) qsort(self->hits, self->hit_count, sizeof *self->hits, by_prefix);
    for (size_t i = 0; i < self->hit_count; i++) {
        if (i == 0 || compare_prefixes(&self->hits[i - 1], &self->hits[i]) != 0) {
            VST_TRY(vst_grow(&self->groups, &self->group_capacity, self->group_count + 1, sizeof *self->groups));
            self->groups[self->group_count++] = (group){.first = i};
        }
        group *last = &self->groups[self->group_count - 1];
        last->count++;
        if (self->hits[i].param >= 0) last->score += self->hits[i].fits ? 2 : 1;
    }
out:
    return status;
}

static size_t count_unknown(const matcher *self, const group *g) {
    const hit *h = &self->hits[g->first];
    size_t count = 0;
    for (size_t i = 0; i < vst_weights_count(self->weights); i++) {
        const char *name = vst_weights_at(self->weights, i)->name;
        count += strncmp(name, h->name, h->offset) == 0 && !is_ignored(self->weights, name);
    }
    return count > g->count ? count - g->count : 0;
}

/* The group that explains most parameters; of equal ones that with the fewest other tensors, then the first. A prefix
 * that explains less than half of the parameters is part of a name and not a prefix. NULL if nothing matches. */
static const group *main_group(matcher *self) {
    const group *best = NULL;
    for (group *g = self->groups; g < self->groups + self->group_count; g++) {
        const bool bare = self->hits[g->first].offset == 0;
        if (!bare && 2 * g->count < vst_params_count(self->params)) continue;
        if (best && g->score < best->score) continue;
        g->unknown = count_unknown(self, g);
        if (!best || g->score > best->score || g->unknown < best->unknown) best = g;
    }
    return best;
}

static void copy_prefix(char *out, size_t size, const hit *h) {
    const size_t length = h->offset < size ? h->offset : size - 1;
    memcpy(out, h->name, length);
    out[length] = 0;
}

/* ---- Assigning tensors to parameters ---- */

static void take(const matcher *self, vsti_match *out, hit *h) {
    vsti_use *use = &out->uses[h->tensor];
    if (*use == VSTI_TAKEN) return;
    if (h->param < 0) {
        *use = VSTI_USELESS;
        return;
    }
    vsti_source *source = &out->sources[h->param];
    if ((source->parts && source->parts != h->parts) || source->part[h->part]) {
        *use = VSTI_AGAIN;
        out->again[h->tensor] = h->param;
        return;
    }
    source->parts = h->parts;
    source->part[h->part] = vst_weights_at(self->weights, h->tensor);
    *use = VSTI_TAKEN;
    h->used = true;
    out->renamed += h->naming != NULL;
}

/* Finds another set with most of the parameters. If the best set is exactly the model, only another exact set counts: a
 * larger teacher may contain all tensors of a smaller student. */
static void find_other(const matcher *self, vsti_match *out, const group *best) {
    const size_t all = vst_params_count(self->params);
    const bool whole = best->unknown == 0 && best->score == 2 * all;
    for (group *g = self->groups; g < self->groups + self->group_count; g++) {
        size_t shared = 0;
        if (g == best || 2 * g->count <= all) continue;
        for (size_t i = g->first; i < g->first + g->count; i++)
            shared += self->hits[i].fits && out->sources[self->hits[i].param].parts &&
                      out->uses[self->hits[i].tensor] != VSTI_TAKEN;
        if (2 * shared <= all || (whole && (g->score < best->score || count_unknown(self, g)))) continue;
        copy_prefix(out->other, sizeof out->other, &self->hits[g->first]);
        return;
    }
}

/* True if the group has no parameter that is matched already. */
static bool is_disjoint(const matcher *self, const vsti_match *match, const group *g) {
    for (size_t i = g->first; i < g->first + g->count; i++) {
        const hit *h = &self->hits[i];
        if (h->param >= 0 && match->sources[h->param].parts && match->uses[h->tensor] != VSTI_TAKEN) return false;
    }
    return true;
}

static void take_split(const matcher *self, vsti_match *out, const group *best) {
    for (const group *g = self->groups; g < self->groups + self->group_count; g++) {
        if (g == best || !is_disjoint(self, out, g)) continue;
        for (size_t i = g->first; i < g->first + g->count; i++) {
            hit *h = &self->hits[i];
            if (h->param < 0 || out->uses[h->tensor] == VSTI_TAKEN) continue;
            take(self, out, h);
            out->split |= out->uses[h->tensor] == VSTI_TAKEN;
        }
    }
}

/* The naming that most of the matched names have. */
static void find_naming(const matcher *self, vsti_match *out) {
    size_t most = 0;
    for (const vst_naming *n = self->model->backbone->namings; n && n->project; n++) {
        size_t count = 0;
        for (size_t i = 0; i < self->hit_count; i++) count += self->hits[i].used && self->hits[i].naming == n;
        if (count > most) most = count, out->naming = n;
    }
}

static void take_all(matcher *self, vsti_match *out) {
    const group *best = main_group(self);
    for (size_t i = 0; i < vst_weights_count(self->weights); i++)
        if (is_ignored(self->weights, vst_weights_at(self->weights, i)->name)) out->uses[i] = VSTI_USELESS;
    if (best) {
        copy_prefix(out->prefix, sizeof out->prefix, &self->hits[best->first]);
        for (size_t i = best->first; i < best->first + best->count; i++) take(self, out, &self->hits[i]);
        find_other(self, out, best);
        take_split(self, out, best);
    }
    for (size_t i = 0; i < vst_weights_count(self->weights); i++)
        if (out->uses[i] == VSTI_BESIDE &&
            strncmp(vst_weights_at(self->weights, i)->name, out->prefix, strlen(out->prefix)) == 0)
            out->uses[i] = VSTI_INSIDE;
    find_naming(self, out);
}

/* ---- Matching a file ---- */

vst_status vsti_match_create(vsti_match *out, const vst_model_config *model, const vst_params *params,
                             const vst_weights *weights) {
    vst_status status = VST_OK;
    matcher self = {.model = model, .params = params, .weights = weights};
    const size_t count = vst_params_count(params), tensors = vst_weights_count(weights);
    *out = (vsti_match){0};
    out->sources = vst_calloc(count + 1, sizeof *out->sources);
    out->uses = vst_calloc(tensors + 1, sizeof *out->uses);
    out->again = vst_calloc(tensors + 1, sizeof *out->again);
    if (!out->sources || !out->uses || !out->again) VST_TRY(vst_fail_memory(count * sizeof *out->sources));
    VST_TRY(index_params(&self));
    VST_TRY(find_hits(&self));
    VST_TRY(find_groups(&self));
    take_all(&self, out);
out:
    vst_free(self.names);
    vst_free(self.indices);
    vst_free(self.hits);
    vst_free(self.groups);
    return status;
}

void vsti_match_clear(vsti_match *match) {
    vst_free(match->sources);
    vst_free(match->uses);
    vst_free(match->again);
    *match = (vsti_match){0};
}
