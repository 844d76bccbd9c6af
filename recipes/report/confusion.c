/* Confusion matrices: a table of shaded cells for few classes, an image for many, and the most frequent confusions. */
#include <math.h>
#include <string.h>

#include "recipes/report/internal.h"
#include "vision/base/memory.h"

enum { TABLE_CLASSES = 24, PICTURE_CLASSES = 2000, PICTURE_SIDE = 480, PAIRS = 6 };

/* The predictions of a label; returns their number. */
static uint64_t spread(const vst_confusion *confusion, int label, uint64_t *row) {
    memset(row, 0, (size_t)confusion->classes * sizeof *row);
    for (size_t i = confusion->rows[label]; i < confusion->rows[label + 1]; i++)
        if (confusion->cells[i].prediction >= 0) row[confusion->cells[i].prediction] = confusion->cells[i].count;
    return vst_confusion_samples(confusion, label);
}

/* Shade: the fraction itself on the diagonal; off the diagonal 20 % is fully coloured, to make errors visible. */
static void write_table(FILE *html, const vst_report *report, const vst_confusion *confusion) {
    const int classes = report->class_count;
    uint64_t cells[TABLE_CLASSES];
    fputs("<div class=scroll><table class=matrix><thead><tr><th></th>", html);
    for (int i = 0; i < classes; i++) {
        fputs("<th scope=col><span>", html);
        vsti_html_text(html, vsti_class_at(report, i));
        fputs("</span></th>", html);
    }
    fputs("</tr></thead><tbody>\n", html);
    for (int row = 0; row < classes; row++) {
        const uint64_t sum = spread(confusion, row, cells);
        fputs("<tr><th scope=row>", html);
        vsti_html_text(html, vsti_class_at(report, row));
        fputs("</th>", html);
        for (int i = 0; i < classes; i++) {
            const double share = sum ? (double)cells[i] / (double)sum : 0;
            const double shade = row == i ? share : fmin(share * 5, 1);
            fprintf(html, "<td class=\"%s%s\" style=\"--v:%.3f\">", row == i ? "hit" : "miss",
                    shade > 0.6 ? " deep" : "", shade);
            if (cells[i]) fprintf(html, "%llu", (unsigned long long)cells[i]);
            fputs("</td>", html);
        }
        fputs("</tr>\n", html);
    }
    fputs("</tbody></table></div>\n", html);
}

static vst_status write_picture(FILE *html, const vst_report *report, const vst_confusion *confusion) {
    vst_status status = VST_OK;
    uint64_t cells[PICTURE_CLASSES];
    const int classes = report->class_count, scale = classes < PICTURE_SIDE ? PICTURE_SIDE / classes : 1;
    vst_image image = {0};
    VST_TRY(vst_image_allocate(&image, 3, classes * scale, classes * scale));
    for (int row = 0; row < classes; row++) {
        const uint64_t sum = spread(confusion, row, cells);
        for (int y = row * scale; y < (row + 1) * scale; y++)
            for (int x = 0; x < classes * scale; x++) {
                const int column = x / scale;
                const double share = sum ? (double)cells[column] / (double)sum : 0;
                const double shade = row == column ? share : fmin(share * 5, 1);
                const double full[2][3] = {{196, 60, 40}, {26, 110, 160}};
                uint8_t *pixel = image.pixels + 3 * ((size_t)y * (size_t)image.width + (size_t)x);
                for (int c = 0; c < 3; c++) pixel[c] = (uint8_t)lround(245 + shade * (full[row == column][c] - 245));
            }
    }
    VST_TRY(vsti_html_picture(html, &image, "class=matrix", "confusion matrix: labels down, predictions across"));
out:
    vst_image_clear(&image);
    return status;
}

/* The PAIRS largest counts off the diagonal, in descending order. */
static void write_pairs(FILE *html, const vst_report *report, const vst_confusion *confusion) {
    const vst_confusion_cell *best[PAIRS];
    int found = 0;
    for (size_t i = 0; i < confusion->count; i++) {
        const vst_confusion_cell *cell = &confusion->cells[i];
        if (cell->label == cell->prediction) continue;
        int place = found;
        while (place > 0 && best[place - 1]->count < cell->count) place--;
        if (place == PAIRS) continue;
        if (found < PAIRS) found++;
        memmove(best + place + 1, best + place, (size_t)(found - 1 - place) * sizeof *best);
        best[place] = cell;
    }
    if (found == 0) return;
    fputs("<div class=pairs><h4>Most often confused</h4><ol>", html);
    for (int i = 0; i < found; i++) {
        fputs("<li><b>", html);
        vsti_html_text(html, vsti_class_at(report, best[i]->label));
        fputs("</b> taken for <b>", html);
        vsti_html_text(html, vsti_class_at(report, best[i]->prediction));
        fprintf(html, "</b><small>%llu of %llu</small></li>", (unsigned long long)best[i]->count,
                (unsigned long long)vst_confusion_samples(confusion, best[i]->label));
    }
    fputs("</ol></div>\n", html);
}

vst_status vsti_html_confusion(FILE *html, const vst_report *report, const vst_report_run *run) {
    vst_status status = VST_OK;
    fputs("<div class=confusion>\n", html);
    if (report->class_count <= TABLE_CLASSES) write_table(html, report, run->confusion);
    else if (report->class_count <= PICTURE_CLASSES) VST_TRY(write_picture(html, report, run->confusion));
    write_pairs(html, report, run->confusion);
    fputs("</div>\n", html);
out:
    return status;
}
