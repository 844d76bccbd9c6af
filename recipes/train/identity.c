/* Hashes and compares everything that determines the result of a run. */
#include "recipes/train/identity.h"

#include <string.h>
#include <xxhash.h>

#include "vision/base/log.h"
#include "vision/base/memory.h"

static void write_hash(char text[VSTI_HASH], uint64_t hash) {
    snprintf(text, VSTI_HASH, "%016llx", (unsigned long long)hash);
}

vst_status vsti_identity_make(vsti_identity *out, const vst_recipe *recipe, uint64_t data, uint64_t teachers,
                              uint64_t start) {
    char *essence = vst_recipe_essence(recipe);
    if (!essence) return vst_fail_memory(1 << 16);
    const uint64_t parts[4] = {XXH3_64bits(essence, strlen(essence)), data, teachers, start};
    vst_free(essence);
    write_hash(out->all, XXH3_64bits(parts, sizeof parts));
    write_hash(out->data, data);
    write_hash(out->teachers, teachers);
    write_hash(out->start, start);
    return VST_OK;
}

static vst_status compare_recipes(const vst_recipe *was, const vst_recipe *is, bool extend, const char *folder) {
    char *differences = NULL;
    vst_status status = vst_recipe_compare(was, is, extend, &differences);
    if (status == VST_OK && *differences)
        status =
            vst_fail(VST_ERROR_ARGUMENT,
                     "%s holds a run of another recipe: %s; set these keys as they were, or start over with --force",
                     folder, differences);
    else if (status == VST_OK && vst_recipe_cached(was) != vst_recipe_cached(is))
        status = vst_fail(VST_ERROR_ARGUMENT,
                          "%s holds a run %s a cache (distill.cache), whose numbers are rounded: continue it so, or "
                          "start over with --force",
                          folder, vst_recipe_cached(was) ? "with" : "without");
    vst_free(differences);
    return status;
}

static vst_status compare_contents(const vsti_identity *found, const vsti_identity *now, const char *folder) {
    const bool data = strcmp(found->data, now->data) != 0, teachers = strcmp(found->teachers, now->teachers) != 0;
    const bool start = strcmp(found->start, now->start) != 0;
    if (!data && !teachers && !start) return VST_OK; /* the same recipe, written by a version with other keys */
    return vst_fail(VST_ERROR_ARGUMENT,
                    "%s holds a run with other contents of%s%s%s%s%s: give the same ones, wherever they lie, or begin "
                    "anew with --force",
                    folder, data ? " the data set (data.path, data.test)" : "", data && teachers ? " and" : "",
                    teachers ? " the teacher (distill.teacher)" : "", (data || teachers) && start ? " and" : "",
                    start ? " the start weights (run.start)" : "");
}

vst_status vsti_identity_check(const vsti_identity *found, const vsti_identity *now, const vst_recipe *recipe,
                               const char *folder, bool extend) {
    vst_status status = VST_OK;
    vst_recipe *was = NULL;
    char *path = NULL;
    if (strcmp(found->all, now->all) == 0) return VST_OK;
    if (!(path = vst_format("%s/recipe.yaml", folder))) VST_TRY(vst_fail_memory(strlen(folder)));
    status = vst_recipe_read(&was, path, NULL, 0);
    if (status != VST_OK && status != VST_ERROR_MEMORY)
        VST_TRY(
            vst_fail_in(VST_ERROR_ARGUMENT,
                        "%s holds a run of another recipe, data set or teacher, and its recipe.yaml cannot be read to "
                        "say which (start over with --force)",
                        folder));
    VST_TRY(status);
    VST_TRY(compare_recipes(was, recipe, extend, folder));
    if (was->run.epochs != recipe->run.epochs)
        vst_log(
            VST_LOG_INFO,
            "epochs   %d in place of %d: from here on learning rate and other schedules are those of the longer run",
            recipe->run.epochs, was->run.epochs);
    if (*found->data) VST_TRY(compare_contents(found, now, folder));
    else
        vst_log(
            VST_LOG_WARNING,
            "%s: its checkpoint was written by version 0.1.0. The recipe is the same, but it cannot be verified that "
            "the contents of %s%s%s are the same",
            folder, recipe->distill.teacher ? "distill.teacher, " : "", recipe->run.start ? "run.start, " : "",
            recipe->data.test ? "data.path and data.test" : "data.path");
out:
    vst_recipe_destroy(was);
    vst_free(path);
    return status;
}
