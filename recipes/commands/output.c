/* Filters what is printed. */
#include "recipes/commands/output.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vision/base/memory.h"

enum { LINE_BYTES = 8192 };

/* ---- UTF-8 ---- */

/* The bytes of the character at `text`, 0 if it is not UTF-8 as RFC 3629 has it. */
static size_t decode(const unsigned char *s, uint32_t *code) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const size_t length = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 0;
    if (length == 0 || s[0] > 0xf4) return 0;
    *code = length == 1 ? s[0] : s[0] & (0xffu >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        *code = *code << 6 | (s[i] & 0x3fu);
    }
    return *code < least[length] || *code > 0x10ffff || (*code >= 0xd800 && *code < 0xe000) ? 0 : length;
}

/* Whether a terminal interprets the character, or it changes the order or position of surrounding text. */
static bool steers(uint32_t code) {
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x61c || code == 0x200e || code == 0x200f ||
           (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069) || code == 0xfeff;
}

void vst_text_clean(char *text) {
    unsigned char *in = (unsigned char *)text, *out = in;
    for (uint32_t code = 0; *in;) {
        const size_t length = decode(in, &code);
        if (length && !steers(code)) {
            memmove(out, in, length);
            out += length;
        } else *out++ = length == 1 && (code == '\t' || code == '\n' || code == '\r') ? ' ' : '?';
        in += length ? length : 1;
    }
    *out = '\0';
}

/* ---- Text ---- */

static void print_clean(FILE *file, const char *format, va_list arguments) {
    char text[LINE_BYTES];
    vsnprintf(text, sizeof text, format, arguments);
    vst_text_clean(text);
    fputs(text, file);
}

void vst_print_part(FILE *file, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_clean(file, format, arguments);
    va_end(arguments);
}

void vst_print_line(FILE *file, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    print_clean(file, format, arguments);
    va_end(arguments);
    fputc('\n', file);
}

/* ---- Standard output ---- */

static bool closed;

vst_status vst_output_flush(void) {
    struct pollfd reader = {.fd = STDOUT_FILENO};
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout)) return VST_OK;
    const int error = errno; /* 0 if an earlier write failed */
    closed = error == EPIPE || (poll(&reader, 1, 0) > 0 && reader.revents & POLLERR);
    return vst_fail(VST_ERROR_IO, "standard output could not be written%s%s", error ? ": " : "",
                    error ? strerror(error) : "");
}

bool vst_output_is_closed(void) { return closed; }

/* ---- JSON ---- */

json_t *vst_json_text(const char *text) {
    static const char unknown[] = "\xef\xbf\xbd"; /* U+FFFD */
    json_t *plain = json_string(text);
    if (plain) return plain;
    char *mended = vst_alloc(3 * strlen(text) + 1), *out = mended;
    if (!mended) return NULL;
    for (const unsigned char *in = (const unsigned char *)text; *in;) {
        uint32_t code;
        const size_t length = decode(in, &code);
        memcpy(out, length ? (const char *)in : unknown, length ? length : 3);
        out += length ? length : 3;
        in += length ? length : 1;
    }
    *out = '\0';
    plain = json_string(mended);
    vst_free(mended);
    return plain;
}

vst_status vst_json_print(json_t *value) {
    if (!value) return vst_fail(VST_ERROR_MEMORY, "out of memory for the JSON output");
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    json_decref(value);
    if (!text) return vst_fail(VST_ERROR_INTERNAL, "the result cannot be written as JSON");
    puts(text);
    free(text);
    return vst_output_flush();
}
