/* Reads config.json and preprocessor_config.json. They are a stranger's files: bounded, and what does not look as
 * expected is passed over. */
#include "recipes/model/hub.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "vision/base/file.h"
#include "vision/base/log.h"
#include "vision/base/memory.h"

enum { FILE_BYTES = 16 << 20, MOST_CLASSES = 100000, MOST_SIDE = 4096, NAME_BYTES = 256 };

/* ---- Files and values ---- */

/* NULL: not there, or warned about. */
static vst_status read_json(json_t **out, const char *weights, const char *name) {
    const char *slash = strrchr(weights, '/');
    char *path = vst_format("%.*s%s", slash ? (int)(slash + 1 - weights) : 0, weights, name), *text = NULL;
    size_t size = 0;
    json_error_t error;
    *out = NULL;
    if (!path) return vst_fail_memory(strlen(weights));
    vst_status status = vsti_file_read(path, FILE_BYTES, "a configuration", &text, &size);
    if (status == VST_OK) {
        *out = json_loadb(text, size, JSON_REJECT_DUPLICATES, &error);
        if (!*out) vst_log(VST_LOG_WARNING, "%s is passed over: line %d: %s", path, error.line, error.text);
    } else if (status != VST_ERROR_NOT_FOUND && status != VST_ERROR_MEMORY) {
        vst_log(VST_LOG_WARNING, "%s is passed over: %s", path, vst_error_message());
    }
    vst_free(text);
    vst_free(path);
    return status == VST_ERROR_MEMORY ? status : VST_OK;
}

/* A side of an image: 224, [224, 224] or {"height": 224, "width": 224}; 0 for others. */
static int side_of(const json_t *value) {
    const json_t *height = value, *width = value;
    if (json_is_object(value)) {
        height = json_object_get(value, "height");
        width = json_object_get(value, "width");
    } else if (json_is_array(value)) {
        height = json_array_get(value, json_array_size(value) - 2);
        width = json_array_get(value, json_array_size(value) - 1);
    }
    const json_int_t side = json_integer_value(height);
    return side >= 1 && side <= MOST_SIDE && side == json_integer_value(width) ? (int)side : 0;
}

static void add(vsti_hub *hub, const char *key, const char *value) {
    const size_t used = strlen(hub->overrides);
    if (used + strlen(key) + strlen(value) + 4 < sizeof hub->overrides)
        snprintf(hub->overrides + used, sizeof hub->overrides - used, "%s%s=%s", used ? ", " : "", key, value);
}

/* "[0.5, 0.5, 0.5]" of one or three numbers; false for others. */
static bool list_text(const json_t *list, char text[120]) {
    const size_t count = json_array_size(list);
    size_t used = 0;
    if (count != 1 && count != 3) return false;
    for (size_t i = 0; i < count; i++) {
        if (!json_is_number(json_array_get(list, i))) return false;
        used += (size_t)snprintf(text + used, 120 - used, "%s%.17g", i ? ", " : "[",
                                 json_number_value(json_array_get(list, i)));
    }
    snprintf(text + used, 120 - used, "]");
    return true;
}

static void add_normalisation(vsti_hub *hub, const json_t *mean, const json_t *std) {
    char means[120], deviations[120];
    if (!list_text(mean, means) || !list_text(std, deviations)) return;
    hub->channels = (int)json_array_size(mean);
    add(hub, "mean", means);
    add(hub, "std", deviations);
}

/* ---- preprocessor_config.json ---- */

/* crop / resized, such that floor(crop / crop_pct) is the resized side again. */
static void add_crop(vsti_hub *hub, int crop, int resized) {
    char text[32];
    double share = (double)crop / resized;
    if (crop > resized) return;
    if (floor(crop / share) < resized) share = nextafter(share, 0);
    snprintf(text, sizeof text, "%.17g", share);
    add(hub, "crop_pct", text);
}

static void take_sizes(vsti_hub *hub, const json_t *root) {
    const json_t *size = json_object_get(root, "size");
    const int square = side_of(size), crop = side_of(json_object_get(root, "crop_size"));
    const int shortest = side_of(json_object_get(size, "shortest_edge"));
    const int resized = shortest ? shortest : square;
    const bool cuts = json_is_true(json_object_get(root, "do_center_crop")) && crop;
    if (!resized || json_is_false(json_object_get(root, "do_resize"))) return;
    hub->squeezes = !shortest && !json_is_integer(size);
    add_crop(hub, cuts ? crop : resized, resized);
    if (!hub->image) hub->image = cuts ? crop : resized;
}

static void take_preprocessor(vsti_hub *hub, const json_t *root) {
    /* Pillow's numbers: NEAREST, LANCZOS, BILINEAR, BICUBIC, BOX */
    static const char *const filters[] = {"nearest", "lanczos", "bilinear", "bicubic", "box"};
    const json_t *factor = json_object_get(root, "rescale_factor"), *filter = json_object_get(root, "resample");
    const json_int_t number = json_integer_value(filter);
    if (!json_is_array(json_object_get(root, "image_mean"))) return; /* of another kind of model */
    hub->source = "preprocessor_config.json";
    take_sizes(hub, root);
    if (json_is_integer(filter) && number >= 0 && number < 5) add(hub, "interpolation", filters[number]);
    if (json_is_number(factor) && fabs(json_number_value(factor) * 255 - 1) > 1e-6)
        vst_log(VST_LOG_WARNING, "preprocessor_config.json: rescale_factor %g is not 1/255: mean and std are not taken",
                json_number_value(factor));
    else if (json_is_false(json_object_get(root, "do_normalize"))) {
        add(hub, "mean", "[0]");
        add(hub, "std", "[1]");
    } else add_normalisation(hub, json_object_get(root, "image_mean"), json_object_get(root, "image_std"));
}

/* ---- config.json ---- */

static bool is_name(const char *text) {
    const size_t length = text ? strlen(text) : 0;
    for (size_t i = 0; i < length; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) return false;
    return length > 0 && length < NAME_BYTES;
}

static void drop_labels(vsti_hub *hub) {
    for (int i = 0; hub->labels && i < hub->label_count; i++) vst_free(hub->labels[i]);
    vst_free(hub->labels);
    hub->labels = NULL;
}

/* {"0": "tench", …} or ["tench", …]. LABEL_0 … is what transformers writes where nobody named them. */
static vst_status take_labels(vsti_hub *hub, const json_t *labels) {
    const size_t count = json_is_object(labels) ? json_object_size(labels) : json_array_size(labels);
    bool named = false, good = true;
    if (!count || count > MOST_CLASSES) return VST_OK;
    hub->label_count = (int)count;
    hub->labels = vst_calloc(count, sizeof *hub->labels);
    if (!hub->labels) return vst_fail_memory(count * sizeof *hub->labels);
    for (int i = 0; i < (int)count && good; i++) {
        char key[16], usual[32];
        snprintf(key, sizeof key, "%d", i);
        snprintf(usual, sizeof usual, "LABEL_%d", i);
        const json_t *value = json_is_object(labels) ? json_object_get(labels, key) : json_array_get(labels, (size_t)i);
        good = is_name(json_string_value(value));
        named |= good && strcmp(json_string_value(value), usual) != 0;
        if (good && !(hub->labels[i] = vst_strdup(json_string_value(value)))) return vst_fail_memory(NAME_BYTES);
    }
    if (!good || !named) drop_labels(hub);
    return VST_OK;
}

static vst_status take_timm(vsti_hub *hub, const json_t *root, const json_t *pretrained) {
    static const char *const filters[] = {"nearest", "lanczos", "bilinear", "bicubic", "box"};
    const char *name = json_string_value(json_object_get(root, "architecture")),
               *filter = json_string_value(json_object_get(pretrained, "interpolation"));
    const json_t *share = json_object_get(pretrained, "crop_pct");
    char text[32];
    if (name && strlen(name) < sizeof hub->variant) strcpy(hub->variant, name);
    hub->source = "config.json";
    hub->image = side_of(json_object_get(pretrained, "input_size"));
    add_normalisation(hub, json_object_get(pretrained, "mean"), json_object_get(pretrained, "std"));
    for (size_t i = 0; filter && i < sizeof filters / sizeof *filters; i++)
        if (strcmp(filter, filters[i]) == 0) add(hub, "interpolation", filter);
    if (json_is_number(share) && json_number_value(share) > 0.01 && json_number_value(share) <= 1) {
        snprintf(text, sizeof text, "%.17g", json_number_value(share));
        add(hub, "crop_pct", text);
    }
    return take_labels(hub, json_object_get(root, "label_names"));
}

static vst_status take_config(vsti_hub *hub, const json_t *root) {
    const json_t *timm = json_object_get(root, "pretrained_cfg");
    if (json_is_object(timm)) return take_timm(hub, root, timm);
    hub->image = side_of(json_object_get(root, "image_size"));
    hub->patch = side_of(json_object_get(root, "patch_size"));
    return take_labels(hub, json_object_get(root, "id2label"));
}

vst_status vsti_hub_read(vsti_hub *out, const char *weights) {
    vst_status status = VST_OK;
    json_t *config = NULL, *preprocessor = NULL;
    *out = (vsti_hub){.source = ""};
    VST_TRY(read_json(&config, weights, "config.json"));
    if (config) VST_TRY(take_config(out, config));
    if (!*out->overrides) VST_TRY(read_json(&preprocessor, weights, "preprocessor_config.json"));
    if (preprocessor) take_preprocessor(out, preprocessor);
out:
    json_decref(config);
    json_decref(preprocessor);
    return status;
}

void vsti_hub_clear(vsti_hub *hub) {
    drop_labels(hub);
    *hub = (vsti_hub){.source = ""};
}
