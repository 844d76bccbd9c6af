/* Attention maps: images overlaid with the attention of class and distillation tokens. */
#include <string.h>

#include "recipes/report/internal.h"

enum { MANY = 4 }; /* from this number of runs on, maps are arranged in columns */

/* The input of a run's model (map 0), or the input with the attention of a token (1, 2). */
static vst_status write_map(FILE *html, const vst_report *report, int run, int view, int map) {
    static const char *const names[] = {"what it sees", "class token", "distillation token"};
    const vst_report_run *r = &report->runs[run];
    fputs("<figure class=attention-map>", html);
    const vst_status status = vsti_html_photo(html, &r->attention[view * (1 + r->attention_tokens) + map], names[map]);
    if (map == 0) {
        fputs("<figcaption><b>", html);
        vsti_html_text(html, vsti_class_at(report, report->labels[report->views[view]]));
        fputs("</b></figcaption></figure>", html);
        return status;
    }
    fprintf(html, "<figcaption>%s", names[map]);
    if (report->run_count > 1) {
        fputs("<br>", html);
        vsti_html_run(html, report, run);
    }
    fputs("</figcaption></figure>", html);
    return status;
}

static bool same_picture(const vst_image *a, const vst_image *b) {
    return a->height == b->height && a->width == b->width && a->channels == b->channels &&
           memcmp(a->pixels, b->pixels, (size_t)a->height * (size_t)a->width * (size_t)a->channels) == 0;
}

/* The maps of all runs, preceded by the input where a run's model has another crop or size. */
static vst_status write_view(FILE *html, const vst_report *report, int view) {
    vst_status status = VST_OK;
    const vst_image *seen = NULL;
    fprintf(html, "<div class=\"attention-maps%s\">", report->run_count > MANY ? " many" : "");
    for (int run = 0; run < report->run_count; run++) {
        const vst_report_run *r = &report->runs[run];
        if (!r->attention) continue;
        const vst_image *own = &r->attention[view * (1 + r->attention_tokens)];
        if (!seen || !same_picture(seen, own)) VST_TRY(write_map(html, report, run, view, 0));
        seen = own;
        for (int map = 1; map <= r->attention_tokens; map++) VST_TRY(write_map(html, report, run, view, map));
    }
    fputs("</div>\n", html);
out:
    return status;
}

vst_status vsti_html_attention(FILE *html, const vst_report *report) {
    vst_status status = VST_OK;
    int with_maps = 0;
    for (int i = 0; i < report->run_count; i++) with_maps += report->runs[i].attention != NULL;
    if (with_maps == 0 || report->view_count == 0) return VST_OK;
    fputs(
        "<h2>Attention maps</h2>\n<p class=note>Which patches a token's answer is made of: bright is much, dark is "
        "little, "
        "each map by its own range. Attention rollout (Abnar and Zuidema, 2020, arXiv 2005.00928): the mean of the "
        "heads, "
        "half of it and half the token itself, followed through all blocks.</p>\n<div class=gallery>\n",
        html);
    for (int i = 0; i < report->view_count; i++) VST_TRY(write_view(html, report, i));
    fputs("</div>\n", html);
out:
    return status;
}
