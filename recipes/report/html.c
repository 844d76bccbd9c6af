/* Pieces of HTML that all parts of the report write. */
#include "recipes/report/html.h"

#include <math.h>
#include <string.h>

#include "vision/base/memory.h"

void vsti_html_bytes(FILE *html, const char *text, size_t length) {
    for (size_t i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (c == '<') fputs("&lt;", html);
        else if (c == '>') fputs("&gt;", html);
        else if (c == '&') fputs("&amp;", html);
        else if (c == '"') fputs("&quot;", html);
        else if (c == '\'') fputs("&#39;", html);
        else fputc((c < ' ' && c != '\n') || c == 127 ? ' ' : c, html);
    }
}

void vsti_html_text(FILE *html, const char *text) { vsti_html_bytes(html, text, strlen(text)); }

void vsti_html_run(FILE *html, const vst_report *report, int run) {
    fprintf(html, "<i class=dot style=\"background:var(--c%d)\"></i>", vsti_report_colour(run));
    vsti_html_text(html, report->runs[run].name);
}

const char *vsti_class_at(const vst_report *report, int index) {
    if (index < 0 || index >= report->class_count || !report->class_names || !report->class_names[index]) return "?";
    return report->class_names[index];
}

static void write_base64(FILE *html, const uint8_t *bytes, size_t size) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        const size_t left = size - i;
        const uint32_t word =
            (uint32_t)bytes[i] << 16 | (left > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) | (left > 2 ? bytes[i + 2] : 0);
        fputc(digits[word >> 18], html);
        fputc(digits[word >> 12 & 63], html);
        fputc(left > 1 ? digits[word >> 6 & 63] : '=', html);
        fputc(left > 2 ? digits[word & 63] : '=', html);
    }
}

vst_status vsti_html_picture(FILE *html, const vst_image *image, const char *attributes, const char *alt) {
    uint8_t *bytes;
    size_t size;
    const vst_status status = vst_png_encode(image, &bytes, &size);
    if (status != VST_OK) return status;
    fprintf(html, "<img %s width=%d height=%d alt=\"", attributes, image->width, image->height);
    vsti_html_text(html, alt);
    fputs("\" src=\"data:image/png;base64,", html);
    write_base64(html, bytes, size);
    fputs("\">", html);
    vst_free(bytes);
    return VST_OK;
}

const char *vsti_number_text(double value, int decimals, char text[32]) {
    if (isfinite(value)) snprintf(text, 32, "%.*f", decimals, value);
    else strcpy(text, "–");
    return text;
}

const char *vsti_short_text(double value, char text[32]) {
    return vsti_number_text(value, value < 0.1 ? 3 : value < 10 ? 2 : value < 100 ? 1 : 0, text);
}
