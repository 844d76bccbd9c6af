/* Agreement: how often teacher, class head, distillation head and their mean predict the same class. */
#include <math.h>

#include "recipes/report/internal.h"

static void write_row(FILE *html, const vst_report_agreement *agreement, int row) {
    char text[32];
    fprintf(html, "<tr><th scope=row>%s</th>", agreement->names[row]);
    for (int i = 0; i < agreement->count; i++) {
        /* Colour from pale at 50 % agreement to full at 100 %. */
        const double shade = fmin(fmax((agreement->same[row][i] - 50) / 50, 0), 1);
        if (i == row) fputs("<td class=self>·</td>", html);
        else
            fprintf(html, "<td class=\"hit%s\" style=\"--v:%.3f\">%s</td>", shade > 0.6 ? " deep" : "", shade,
                    vsti_number_text(agreement->same[row][i], 2, text));
    }
    fprintf(html, "<td class=right-of>%s</td></tr>\n", vsti_number_text(agreement->right[row], 2, text));
}

static void write_table(FILE *html, const vst_report_agreement *agreement) {
    fputs("<div class=scroll><table class=\"matrix agreement\"><thead><tr><th></th>", html);
    for (int i = 0; i < agreement->count; i++) fprintf(html, "<th>%s</th>", agreement->names[i]);
    fputs("<th>right</th></tr></thead><tbody>\n", html);
    for (int i = 0; i < agreement->count; i++) write_row(html, agreement, i);
    fputs("</tbody></table></div>\n", html);
}

void vsti_html_agreement(FILE *html, const vst_report *report) {
    int shown = 0;
    for (int i = 0; i < report->run_count; i++) {
        const vst_report_agreement *agreement = report->runs[i].agreement;
        if (!agreement || agreement->count < 2) continue;
        if (shown++ == 0)
            fputs(
                "<h2>Who agrees with whom</h2>\n<p class=note>Per cent of the test images on which two give the same "
                "answer, "
                "right or wrong; in the last column, how many each gets right.</p>\n<div class=tables>\n",
                html);
        fputs("<div><h3>", html);
        vsti_html_run(html, report, i);
        fputs("</h3>\n", html);
        write_table(html, agreement);
        fputs("</div>\n", html);
    }
    if (shown) fputs("</div>\n", html);
}
