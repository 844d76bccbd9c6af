/* Quantised weights in model files: their integers, their steps, and the scales of what the products read. */
#include "recipes/model/quantization.h"

#include <float.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/kernels/kernels.h"

static const char key[] = VST_QUANTIZATION_KEY;

void vst_quantization_clear(vst_quantization *quantization) {
    for (size_t i = 0; i < quantization->count; i++) vst_free((char *)quantization->products[i].name);
    vst_free(quantization->products);
    *quantization = (vst_quantization){0};
}

vst_status vst_quantization_add(vst_quantization *quantization, const char *scope, float scale, int zero_point) {
    const size_t bytes = (quantization->count + 1) * sizeof *quantization->products;
    char *name = vst_strdup(scope);
    vst_quant_product *grown = name ? vst_realloc(quantization->products, bytes) : NULL;
    if (!grown) {
        vst_free(name);
        return vst_fail_memory(bytes);
    }
    quantization->products = grown;
    grown[quantization->count++] = (vst_quant_product){name, scale, zero_point};
    return VST_OK;
}

/* ---- Reading ---- */

static vst_status add_product(vst_quantization *out, const char *path, size_t index, const json_t *entry) {
    const char *name = json_string_value(json_object_get(entry, "name"));
    const double scale = json_number_value(json_object_get(entry, "scale"));
    const json_t *zero = json_object_get(entry, "zero_point");
    const json_int_t zero_point = json_integer_value(zero);
    if (!name || !(scale >= (double)FLT_MIN) || scale > 1e30 || !json_is_integer(zero) || zero_point < 0 ||
        zero_point > 255)
        return vst_fail(VST_ERROR_FORMAT,
                        "%s: product %zu of %s should have a name, a positive scale and a zero point of 0 … 255", path,
                        index, key);
    return vst_quantization_add(out, name, (float)scale, (int)zero_point);
}

static vst_status parse(vst_quantization *out, const char *path, const char *text) {
    vst_status status = VST_OK;
    json_error_t error;
    json_t *whole = json_loads(text, JSON_REJECT_DUPLICATES, &error);
    const json_t *list = json_object_get(whole, "products");
    if (!json_is_array(list))
        VST_TRY(vst_fail(VST_ERROR_FORMAT, "%s: %s has no list of products: %s", path, key,
                         whole ? "\"products\" is missing" : error.text));
    for (size_t i = 0; i < json_array_size(list); i++) VST_TRY(add_product(out, path, i, json_array_get(list, i)));
out:
    json_decref(whole);
    return status;
}

vst_status vst_quantization_read(vst_quantization *out, const vst_safetensors *file) {
    const char *text = vst_safetensors_metadata(file, key);
    return text ? parse(out, vst_safetensors_path(file), text) : VST_OK;
}

/* ---- Writing ---- */

vst_status vst_quantization_json(char **out, const vst_quantization *quantization) {
    json_t *whole = json_object(), *list = json_array();
    bool good = whole && list;
    for (size_t i = 0; good && i < quantization->count; i++) {
        const vst_quant_product *p = &quantization->products[i];
        json_t *entry =
            json_pack("{s:s, s:f, s:i}", "name", p->name, "scale", (double)p->scale, "zero_point", p->zero_point);
        good = json_array_append_new(list, entry) == 0;
    }
    good = json_object_set_new(whole, "products", list) == 0 && good;
    char *text = good ? json_dumps(whole, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
    json_decref(whole);
    *out = vst_strdup(text);
    free(text);
    return *out ? VST_OK : vst_fail_memory(quantization->count * sizeof *quantization->products);
}

vst_status vst_integer_weight_create(vst_integer_weight *out, const vst_tensor *weight) {
    const int64_t rows = weight->shape.dim[0], elements = vst_shape_count(&weight->shape);
    const size_t name = strlen(weight->name) + sizeof "_scale",
                 floats = 2 * (size_t)rows * sizeof(float); /* steps, and shifts that are not wanted */
    const vsti_weight_quantization shape = {rows, elements / rows, elements / rows / weight->shape.dim[1], 1, 0};
    char *memory = vst_alloc(floats + (size_t)elements + name);
    *out = (vst_integer_weight){0};
    if (!memory) return vst_fail_memory(floats + (size_t)elements + name);
    out->memory = memory;
    out->steps = (float *)(void *)memory;
    out->integers = (int8_t *)memory + floats;
    out->steps_name = memory + floats + elements;
    out->steps_shape = VST_SHAPE(rows);
    snprintf(out->steps_name, name, "%s_scale", weight->name);
    vsti_get_kernels()->quantize_weights(&shape, NULL, weight->data, NULL, out->integers, out->steps,
                                         out->steps + rows);
    return VST_OK;
}
