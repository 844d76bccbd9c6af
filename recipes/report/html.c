/* HTML elements shared by the parts of the report. */
#include "recipes/report/html.h"

#include <math.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/image/resize.h"

enum { PIXELS_SIDE = 64, PHOTO_SIDE = 224, PHOTO_QUALITY = 85 };

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

static void write_picture(FILE *html, const vst_image *image, const char *attributes, const char *alt, const char *type,
                          const uint8_t *bytes, size_t size) {
    fprintf(html, "<img %s width=%d height=%d alt=\"", attributes, image->width, image->height);
    vsti_html_text(html, alt);
    fprintf(html, "\" src=\"data:image/%s;base64,", type);
    write_base64(html, bytes, size);
    fputs("\">", html);
}

vst_status vsti_html_picture(FILE *html, const vst_image *image, const char *attributes, const char *alt) {
    uint8_t *bytes;
    size_t size;
    const vst_status status = vst_png_encode(image, &bytes, &size);
    if (status != VST_OK) return status;
    write_picture(html, image, attributes, alt, "png", bytes, size);
    vst_free(bytes);
    return VST_OK;
}

vst_status vsti_html_photo(FILE *html, const vst_image *image, const char *alt) {
    vst_status status = VST_OK;
    const int longer = image->height > image->width ? image->height : image->width;
    vst_image small = {0}, scratch = {0};
    uint8_t *bytes = NULL;
    size_t size;
    if (longer <= PIXELS_SIDE) return vsti_html_picture(html, image, "class=pixels loading=lazy", alt);
    if (longer > PHOTO_SIDE) {
        const int height = image->height * PHOTO_SIDE / longer, width = image->width * PHOTO_SIDE / longer;
        VST_TRY(vst_image_resize(image, NULL, height > 0 ? height : 1, width > 0 ? width : 1, VST_FILTER_BICUBIC,
                                 &scratch, &small));
        image = &small;
    }
    VST_TRY(vst_jpeg_encode(image, PHOTO_QUALITY, &bytes, &size));
    write_picture(html, image, "loading=lazy", alt, "jpeg", bytes, size);
out:
    vst_free(bytes);
    vst_image_clear(&small);
    vst_image_clear(&scratch);
    return status;
}

const char *vsti_number_text(double value, int decimals, char text[32]) {
    if (isfinite(value)) snprintf(text, 32, "%.*f", decimals, value);
    else strcpy(text, "–");
    return text;
}

const char *vsti_short_text(double value, char text[32]) {
    return vsti_number_text(value, value < 0.1 ? 3 : value < 10 ? 2 : value < 100 ? 1 : 0, text);
}
