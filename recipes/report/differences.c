/* The keys in which the recipes of the runs differ. */
#include <string.h>

#include "recipes/report/internal.h"

enum { MOST_KEYS = 80 };

/* Finds the key at `line` ("key: value") in the lines of another recipe; returns its value (of *length bytes), or NULL.
 */
static const char *find_value(const char *lines, const char *line, size_t key, size_t *length) {
    for (const char *at = lines; at && *at; at = strchr(at, '\n') + 1)
        if (strncmp(at, line, key + 2) == 0) { /* with ": " */
            *length = strcspn(at + key + 2, "\n");
            return at + key + 2;
        }
    return NULL;
}

/* Like find_value, but keys of distillation have no value in a recipe without distillation. */
static const char *value_of(const char *lines, const char *line, size_t key, size_t *length) {
    static const char term[] = "distill.terms.0: ", teacher[] = "distill.teacher: ";
    size_t bytes;
    if (strncmp(line, "distill.", 8) == 0 && !find_value(lines, term, sizeof term - 3, &bytes)) {
        const char *value = find_value(lines, teacher, sizeof teacher - 3, &bytes);
        if (!value || bytes == 0 || *value == '~') return NULL;
    }
    return find_value(lines, line, key, length);
}

/* Whether the recipes differ in the key at `line`. Keys that not all models have are ignored. */
static bool differs(const vst_report *report, const char *line, size_t key) {
    const char *first = NULL;
    size_t first_length = 0;
    bool seen = false, different = false;
    for (int i = 0; i < report->run_count; i++) {
        size_t length = 0;
        if (!report->runs[i].recipe) continue;
        const char *value = value_of(report->runs[i].recipe, line, key, &length);
        if (!value && strncmp(line, "model.", 6) == 0) return false;
        if (seen && (!value != !first || (value && (length != first_length || memcmp(value, first, length) != 0))))
            different = true;
        if (!seen) first = value, first_length = length;
        seen = true;
    }
    return different;
}

/* Whether the recipe of an earlier run has the key, which is then already in the table. */
static bool was_shown(const vst_report *report, int run, const char *line, size_t key) {
    size_t length;
    for (int i = 0; i < run; i++)
        if (report->runs[i].recipe && value_of(report->runs[i].recipe, line, key, &length)) return true;
    return false;
}

static void write_row(FILE *html, const vst_report *report, const char *line, size_t key) {
    fputs("<tr><td class=name>", html);
    vsti_html_bytes(html, line, key);
    fputs("</td>", html);
    for (int i = 0; i < report->run_count; i++) {
        size_t length = 0;
        if (!report->runs[i].recipe) continue;
        const char *value = value_of(report->runs[i].recipe, line, key, &length);
        fputs("<td>", html);
        if (value && length && memcmp(value, "~", 1) != 0) vsti_html_bytes(html, value, length);
        else fputs("–", html);
        fputs("</td>", html);
    }
    fputs("</tr>\n", html);
}

static void write_head(FILE *html, const vst_report *report) {
    fputs(
        "<h3>What differs between their recipes</h3>\n<div class=scroll><table class=\"runs differences\"><thead><tr>"
        "<th>key</th>",
        html);
    for (int i = 0; i < report->run_count; i++) {
        if (!report->runs[i].recipe) continue;
        fputs("<th>", html);
        vsti_html_run(html, report, i);
        fputs("</th>", html);
    }
    fputs("</tr></thead><tbody>\n", html);
}

void vsti_html_differences(FILE *html, const vst_report *report) {
    int rows = 0;
    for (int run = 0; run < report->run_count; run++)
        for (const char *at = report->runs[run].recipe; at && *at; at = strchr(at, '\n') + 1) {
            const size_t key = strcspn(at, ":");
            if (was_shown(report, run, at, key) || !differs(report, at, key) || rows == MOST_KEYS) continue;
            if (rows++ == 0) write_head(html, report);
            write_row(html, report, at, key);
        }
    if (rows) fputs("</tbody></table></div>\n", html);
}
