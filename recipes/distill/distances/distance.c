/* Looks distances up by name. */
#include "recipes/distill/distances/distance.h"

#include <string.h>

const vst_distance *vst_distance_find(const char *name) {
    for (size_t i = 0; name && i < vsti_distance_count; i++)
        if (strcmp(vsti_distance_table[i]->name, name) == 0) return vsti_distance_table[i];
    return NULL;
}
