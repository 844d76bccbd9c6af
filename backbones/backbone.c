/* Finding, describing and building models. The families are the other files of this folder. */
#include "backbones/backbone.h"

#include <jansson.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/ops/ops.h"

static const vst_backbone *find_variant(const char *name, const vst_backbone_variant **variant) {
    for (size_t i = 0; i < vsti_backbone_count; i++)
        for (const vst_backbone_variant *v = vsti_backbone_table[i]->variants; v->name; v++)
            if (strcmp(v->name, name) == 0) {
                *variant = v;
                return vsti_backbone_table[i];
            }
    return NULL;
}

/* Variants that share the most leading letters with the unknown name. */
static void list_near(const char *name, char *text, size_t size) {
    size_t best = 0;
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < vsti_backbone_count; i++)
            for (const vst_backbone_variant *v = vsti_backbone_table[i]->variants; v->name; v++) {
                size_t same = 0;
                while (name[same] && name[same] == v->name[same]) same++;
                if (pass == 0 && same > best) best = same;
                const size_t used = strlen(text);
                if (pass == 1 && same == best && used + strlen(v->name) + 3 < size) {
                    strcat(text, used ? ", " : "");
                    strcat(text, v->name);
                }
            }
}

/* "depth=20, layers=[2, 2, 2, 2]" */
static vst_status apply_overrides(vst_model_config *model, const char *text) {
    while (text && *text) {
        char key[64], value[128];
        int used = 0;
        const bool list = sscanf(text, " %63[a-z_0-9] = [%127[^]]]%n", key, value, &used) == 2 && used;
        if (!list && sscanf(text, " %63[a-z_0-9] = %127[^,]%n", key, value, &used) != 2)
            return vst_fail(VST_ERROR_INTERNAL, "variant %s has unreadable options: %s", model->variant, text);
        vst_status status = vst_model_config_set(model, key, value);
        if (status != VST_OK) return status;
        text += used;
        if (*text == ',') text++;
    }
    return VST_OK;
}

vst_status vst_model_config_create(vst_model_config **out, const char *name) {
    *out = NULL;
    const vst_backbone_variant *variant = NULL;
    const vst_backbone *backbone = find_variant(name, &variant);
    if (!backbone) {
        char near[512] = "";
        list_near(name, near, sizeof near);
        return vst_fail(VST_ERROR_NOT_FOUND, "there is no model \"%s\"; near it: %s (vistill models lists all)", name,
                        near);
    }
    vst_status status = VST_OK;
    vst_model_config *model = vst_calloc(1, sizeof *model);
    if (!model) return vst_fail_memory(sizeof *model);
    model->backbone = backbone;
    model->variant = variant->name;
    model->options = vst_calloc(1, backbone->options_size);
    if (!model->options) {
        status = vst_fail_memory(backbone->options_size);
        goto out;
    }
    VST_TRY(vst_options_default(backbone->options, model->options));
    VST_TRY(apply_overrides(model, variant->overrides));
out:
    if (status == VST_OK) *out = model;
    else vst_model_config_destroy(model);
    return status;
}

void vst_model_config_destroy(vst_model_config *model) {
    if (!model) return;
    if (model->options) vst_options_clear(model->backbone->options, model->options);
    vst_free(model->options);
    vst_free(model);
}

vst_status vst_model_config_set(vst_model_config *model, const char *key, const char *value) {
    return vst_options_set(model->backbone->options, model->options, key, value);
}

const vst_model_common *vst_model_common_of(const vst_model_config *model) { return model->options; }

/* The name a user writes: the part after the last dot of a field's path. */
static const char *key_of(const vst_option *option) {
    const char *dot = strrchr(option->name, '.');
    return dot ? dot + 1 : option->name;
}

char *vst_model_config_to_json(const vst_model_config *model) {
    json_t *options = json_object(), *root = NULL;
    char *dumped = NULL, *text = NULL;
    for (const vst_option *o = model->backbone->options; options && o->type != VST_TYPE_END; o++) {
        char *value = vst_options_get(o, model->options);
        if (!value || json_object_set_new(options, key_of(o), json_string(value)) != 0) {
            json_decref(options);
            options = NULL;
        }
        vst_free(value);
    }
    if (options) root = json_pack("{s:s, s:o}", "variant", model->variant, "options", options);
    if (root) dumped = json_dumps(root, JSON_COMPACT);
    if (dumped) text = vst_strdup(dumped);
    json_decref(root);
    void (*release)(void *);
    json_get_alloc_funcs(NULL, &release);
    if (dumped) release(dumped);
    return text;
}

vst_status vst_model_config_from_json(vst_model_config **out, const char *json) {
    *out = NULL;
    vst_status status = VST_OK;
    vst_model_config *model = NULL;
    json_error_t error;
    json_t *root = json_loads(json, JSON_REJECT_DUPLICATES, &error);
    const char *variant = json_string_value(json_object_get(root, "variant")), *key;
    json_t *options = json_object_get(root, "options"), *value;
    if (!variant || !json_is_object(options)) {
        status = vst_fail(VST_ERROR_FORMAT, "the model's description is not {\"variant\": …, \"options\": {…}}");
        goto out;
    }
    VST_TRY(vst_model_config_create(&model, variant));
    json_object_foreach(options, key, value) {
        if (!json_is_string(value)) {
            status = vst_fail(VST_ERROR_FORMAT, "option \"%s\" of the model's description is not a string", key);
            goto out;
        }
        VST_TRY(vst_model_config_set(model, key, json_string_value(value)));
    }
out:
    json_decref(root);
    if (status == VST_OK) *out = model;
    else vst_model_config_destroy(model);
    return status;
}

static double per_channel(const vst_option_list *list, int channel, double fallback) {
    if (list->count == 0) return fallback;
    return list->value[list->count == 1 ? 0 : channel];
}

static vst_value normalised(vst_graph *graph, const vst_model_common *common, vst_value image) {
    if (!common->mean.count && !common->std.count) return image;
    double mean[VST_OPTION_LIST_MAX], deviation[VST_OPTION_LIST_MAX];
    const bool fits = (common->mean.count <= 1 || common->mean.count == common->channels) &&
                      (common->std.count <= 1 || common->std.count == common->channels);
    if (!fits) {
        vst_graph_fail(graph, VST_ERROR_ARGUMENT,
                       "mean has %d and std %d values for %d channels: give one, or one a channel", common->mean.count,
                       common->std.count, common->channels);
        return (vst_value){0};
    }
    for (int c = 0; c < common->channels; c++) {
        mean[c] = per_channel(&common->mean, c, 0);
        deviation[c] = per_channel(&common->std, c, 1);
    }
    return vst_channel_normalize(graph, image, mean, deviation);
}

void vst_model_normalization(const vst_model_config *model, int channel, double *mean, double *std) {
    const vst_model_common *common = vst_model_common_of(model);
    *mean = per_channel(&common->mean, channel, 0);
    *std = per_channel(&common->std, channel, 1);
}

void vst_model_build_on(vst_graph *graph, const vst_model_config *model, vst_value image) {
    model->backbone->build(graph, normalised(graph, vst_model_common_of(model), image), model->options);
}

void vst_model_build(vst_graph *graph, const vst_model_config *model, int batch) {
    const vst_model_common *common = vst_model_common_of(model);
    vst_model_build_on(graph, model,
                       vst_input(graph, "image", VST_SHAPE(batch, common->channels, common->image, common->image)));
}

vst_value vst_model_scores(vst_graph *graph) {
    const vst_value logits = vst_find(graph, "logits"), distilled = vst_find(graph, "logits_dist");
    if (!logits.id) vst_graph_fail(graph, VST_ERROR_NOT_FOUND, "the model has no tap 'logits'");
    return distilled.id ? vst_scale(graph, vst_add(graph, logits, distilled), 0.5) : logits;
}
