/* Samples that cannot be read. Workers only list them. The consumer counts them in the order of the batches, so that
 * the position of an error does not depend on how far workers have read ahead. */
#include "datasets/loader/broken.h"

#include <stdio.h>

#include "vision/base/log.h"
#include "vision/base/memory.h"

vst_status vsti_broken_add(vsti_broken_list *list, uint64_t sample) {
    char text[VSTI_BROKEN_TEXT];
    snprintf(text, sizeof text, "%s", vst_error_message()); /* a copy, because vst_grow may overwrite the message */
    vst_status status = vst_grow(&list->items, &list->capacity, list->count + 1, sizeof *list->items);
    if (status != VST_OK) return status;
    vsti_broken *item = &list->items[list->count++];
    item->sample = sample;
    snprintf(item->text, sizeof item->text, "%s", text);
    return VST_OK;
}

void vsti_broken_clear(vsti_broken_list *list) {
    vst_free(list->items);
    *list = (vsti_broken_list){0};
}

void vsti_broken_tally_clear(vsti_broken_tally *tally) {
    vst_free(tally->seen);
    *tally = (vsti_broken_tally){0};
}

vst_status vsti_broken_take(vsti_broken_tally *tally, const vsti_broken_list *list, const vst_dataset *dataset,
                            bool warn, double limit) {
    const uint64_t all = vst_dataset_count(dataset);
    for (size_t i = 0; i < list->count; i++) {
        const vsti_broken *item = &list->items[i];
        const uint64_t bit = UINT64_C(1) << item->sample % 64;
        if (!tally->seen && !(tally->seen = vst_calloc((size_t)(all / 64 + 1), sizeof *tally->seen)))
            return vst_fail_memory((size_t)(all / 8));
        if (tally->seen[item->sample / 64] & bit) continue;
        tally->seen[item->sample / 64] |= bit;
        tally->count++;
        if (warn) vst_log(VST_LOG_WARNING, "broken sample, replaced by the next readable one: %s", item->text);
        if ((double)tally->count > limit * (double)all)
            return vst_fail(
                VST_ERROR_LIMIT,
                "%llu of %llu samples cannot be read, the limit is %g %% (data.broken_limit); `vistill data "
                "check` lists them; the last one: %s",
                (unsigned long long)tally->count, (unsigned long long)all, 100 * limit, item->text);
    }
    return VST_OK;
}
