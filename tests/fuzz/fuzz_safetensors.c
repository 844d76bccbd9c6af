/* libFuzzer target: the safetensors reader. Accepted files must satisfy everything that the header promises. */
#include <stdint.h>
#include <stdlib.h>

#include "vision/tensor/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    vst_safetensors *file;
    if (vst_safetensors_parse(&file, "fuzz", data, size, NULL) != VST_OK) {
        if (file || !*vst_error_message()) abort();
        return 0;
    }
    for (size_t i = 0; i < vst_safetensors_count(file); i++) {
        const vst_tensor *tensor = vst_safetensors_at(file, i);
        const size_t count = (size_t)vst_shape_count(&tensor->shape);
        float first, last;
        if (vst_safetensors_find(file, tensor->name) != tensor) abort();
        if (count == 0) continue;
        const size_t step = vst_dtype_size(tensor->dtype);
        vst_to_float(&first, tensor->data, tensor->dtype, 1);
        vst_to_float(&last, (const char *)tensor->data + (count - 1) * step, tensor->dtype, 1);
    }
    vst_safetensors_close(file);
    return 0;
}
