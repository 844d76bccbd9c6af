/* Attention maps: pictures with the attention of the models' tokens over them. */
#include "recipes/report/internal.h"

enum { MANY = 4 }; /* runs whose maps need more than a line: then in columns */

static vst_status write_map(FILE *html, const vst_report *report, int run, int view, int token) {
    const vst_report_run *r = &report->runs[run];
    const char *name = token ? "distillation token" : "class token";
    fputs("<figure class=attention-map>", html);
    const vst_status status =
        vsti_html_picture(html, &r->attention[view * r->attention_tokens + token], "loading=lazy", name);
    fprintf(html, "<figcaption>%s", name);
    if (report->run_count > 1) {
        fputs("<br>", html);
        vsti_html_run(html, report, run);
    }
    fputs("</figcaption></figure>", html);
    return status;
}

static vst_status write_view(FILE *html, const vst_report *report, int view) {
    vst_status status = VST_OK;
    const int picture = report->views[view];
    const char *label = vsti_class_at(report, report->labels[picture]);
    fprintf(html, "<div class=\"attention-maps%s\"><figure class=attention-map>",
            report->run_count > MANY ? " many" : "");
    VST_TRY(vsti_html_picture(html, &report->pictures[picture], "loading=lazy", label));
    fputs("<figcaption><b>", html);
    vsti_html_text(html, label);
    fputs("</b></figcaption></figure>", html);
    for (int run = 0; run < report->run_count; run++)
        for (int token = 0; report->runs[run].attention && token < report->runs[run].attention_tokens; token++)
            VST_TRY(write_map(html, report, run, view, token));
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
