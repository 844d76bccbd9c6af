/* What the program draws on a terminal, tables and the progress line, and how the library reports progress. */
#include <check.h>
#include <math.h>
#include <string.h>

#include "recipes/commands/progress.h"
#include "recipes/commands/table.h"
#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"

START_TEST(text_table) {
    vst_table *table;
    char *text;
    ck_assert_int_eq(vst_text_width("é漢字e\xcc\x81"), 6); /* one, two wide ones, a letter with a combining accent */
    ck_assert_int_eq(vst_text_width("\xff\xc3"), 2);
    ck_assert_uint_eq(vst_text_fit("é漢字", 4), 5);
    ck_ok(vst_table_create(&table, (const char *[]){"model", ">size", "note", NULL}));
    vst_table_cell(table, "é漢");
    vst_table_cell(table, "%d", 7);
    vst_table_cell(table, "words that are\nwrapped here");
    vst_table_cell(table, "long name");
    ck_ok(vst_table_text(table, &text));
    ck_assert_str_eq(text,
                     "model      size  note\n"
                     "é漢           7  words that are wrapped here\n"
                     "long name\n");
    vst_free(text);
    vst_table_wrap(table, 39);
    ck_ok(vst_table_text(table, &text));
    ck_assert_str_eq(text,
                     "model      size  note\n"
                     "é漢           7  words that are wrapped\n"
                     "                 here\n"
                     "long name\n");
    vst_free(text);
    vst_table_destroy(table);
}
END_TEST

START_TEST(progress_line) {
    vst_progress progress = {.label = "epoch 3/10", .unit = "images", .total = 60000, .started = 100};
    char text[256];
    progress.done = 20000, progress.loss = 1.5;
    vsti_progress_text(&progress, 110, 100, false, text, sizeof text);
    ck_assert_str_eq(text, "epoch 3/10  ========................   33 %  2,000 images/s  loss 1.5000  0:20 left");
    vsti_progress_text(&progress, 110, 80, false, text, sizeof text); /* the bar gives way, not the time */
    ck_assert_str_eq(text, "epoch 3/10  =======..............   33 %  2,000 images/s  loss 1.5000  0:20 left");
    strcpy(progress.left, "run 12:30, study 1:02:03");
    vsti_progress_text(&progress, 110, 80, false, text, sizeof text);
    ck_assert_str_eq(text, "epoch 3/10   33 %  2,000 images/s  loss 1.5000  run 12:30, study 1:02:03 left");
    vsti_progress_text(&progress, 110, 60, false, text, sizeof text);
    ck_assert_str_eq(text, "epoch 3/10   33 %  run 12:30, study 1:02:03 left");
    *progress.left = 0;
    progress.begun = 10000, progress.loss = NAN; /* what an earlier session did says nothing of the speed */
    vsti_progress_text(&progress, 110, 40, true, text, sizeof text);
    ck_assert_str_eq(text, "epoch 3/10   33 %  0:40 left");
    progress.done = 58010000; /* of what is read, such as a cache */
    vsti_progress_text(&progress, 110, 100, false, text, sizeof text);
    ck_assert_ptr_nonnull(strstr(text, "5.8 M images/s"));
    progress.done = progress.begun = 0;
    vsti_progress_text(&progress, 100, 100, false, text, sizeof text);
    ck_assert_str_eq(text, "epoch 3/10  ........................    0 %");
    progress.done = 60001, progress.loss = 2;
    for (int columns = 0; columns < 100; columns++) {
        vsti_progress_text(&progress, 4000, columns, true, text, sizeof text);
        ck_assert_int_le(vst_text_width(text), columns);
    }
    vst_duration_text(3 * 3600 + 5 * 60, text, sizeof text);
    ck_assert_str_eq(text, "3:05:00");
    vst_duration_text(NAN, text, sizeof text);
    ck_assert_str_eq(text, "?");
}
END_TEST

/* ---- The library's reports ---- */

typedef struct seen {
    int updates, ends;
    vst_progress last;
} seen;

static void remember(const vst_progress *progress, bool finished, void *user) {
    seen *self = user;
    if (finished) self->ends++;
    else self->updates++;
    self->last = *progress;
}

START_TEST(reports) {
    seen all = {0};
    vst_progress progress;
    vst_progress_start(&progress, "packing", "images", 8); /* without a sink nothing happens */
    vst_progress_update(&progress, 1, NAN);
    vst_progress_finish(&progress);
    vst_progress_set(remember, &all);
    vst_progress_start(&progress, "packing", "images", 9);
    ck_assert_int_eq(all.updates, 0);
    for (uint64_t i = 1; i <= 9; i++) vst_progress_update(&progress, i, 0.5);
    vst_progress_finish(&progress);
    vst_progress_set(NULL, NULL);
    vst_progress_update(&progress, 1, NAN);
    ck_assert(all.updates == 9 && all.ends == 1 && all.last.done == 9 && all.last.total == 9 && all.last.loss == 0.5);
    ck_assert_str_eq(all.last.label, "packing");
    ck_assert_str_eq(all.last.unit, "images");
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("terminal");
    tcase_set_timeout(tests, 30);
    tcase_add_test(tests, text_table);
    tcase_add_test(tests, progress_line);
    tcase_add_test(tests, reports);
    return run_suite("terminal", tests);
}
