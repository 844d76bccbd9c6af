/* PNG through libpng: the only file that includes png.h. libpng reports errors with longjmp, so everything that changes
 * after setjmp is in a `codec` outside the function that calls setjmp. As Pillow, a file is whole once all rows are
 * there: what follows them in the compressed data may be missing. Deviation from Pillow: 16-bit grey is scaled to 8
 * bits, where convert("RGB") clips, so that every value above 255 becomes white. */
#include <ctype.h>
#include <png.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "vision/base/file.h"
#include "vision/base/memory.h"
#include "vision/image/internal.h"

enum { CHUNKS_MAX = 1000, SIGNATURE = 8, HEADER = 8, CHECKSUM = 4, PASSES = 7 };

typedef struct codec {
    png_structp png;
    png_infop info;
    vst_image_limits limits;
    const uint8_t *input;
    uint8_t *output; /* owned until returned to the caller */
    size_t size, offset, capacity;
    bool in_rows; /* everything before the pixels is good */
    bool memory_failed;
    vst_status status; /* of an error of ours inside a libpng callback; VST_OK: the error is libpng's, see `text` */
    char text[160];
} codec;

static void *allocate(png_structp png, png_alloc_size_t bytes) {
    codec *self = png_get_mem_ptr(png);
    void *memory = vst_alloc(bytes);
    if (!memory) self->memory_failed = true;
    return memory;
}

static void release(png_structp png, void *memory) {
    (void)png;
    vst_free(memory);
}

static void on_error(png_structp png, const char *text) {
    codec *self = png_get_error_ptr(png);
    snprintf(self->text, sizeof self->text, "%s", text);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, const char *text) {
    (void)png;
    (void)text;
}

static void read_bytes(png_structp png, png_bytep out, size_t size) {
    codec *self = png_get_io_ptr(png);
    if (size > self->size - self->offset) png_error(png, "the data ends too early");
    memcpy(out, self->input + self->offset, size);
    self->offset += size;
}

static void write_bytes(png_structp png, png_bytep data, size_t size) {
    codec *self = png_get_io_ptr(png);
    if (vst_grow(&self->output, &self->capacity, self->size + size, 1) != VST_OK) {
        self->memory_failed = true;
        png_error(png, "out of memory");
    }
    memcpy(self->output + self->size, data, size);
    self->size += size;
}

static void flush_bytes(png_structp png) { (void)png; }

/* Converts the error to a status. */
static vst_status failure(const codec *self, const char *verb) {
    if (self->status != VST_OK) return self->status;
    if (self->memory_failed) return vst_fail(VST_ERROR_MEMORY, "%s PNG: out of memory", verb);
    return vst_fail(VST_ERROR_FORMAT, "%s PNG: %s (byte %zu of %zu)", verb, self->text, self->offset, self->size);
}

/* As Pillow: the checksums of the chunks before the pixels must be right. Those of the pixels and everything behind
 * them are not looked at, so that the end may be missing. */
static void check_sums(const codec *self) {
    for (size_t at = SIGNATURE; at + HEADER + CHECKSUM <= self->size;) {
        const size_t length = png_get_uint_32(self->input + at);
        if (memcmp(self->input + at + 4, "IDAT", 4) == 0 || length > self->size - at - HEADER - CHECKSUM) return;
        const uint8_t *end = self->input + at + HEADER + length;
        if (crc32(0, self->input + at + 4, (uInt)length + 4) != png_get_uint_32(end))
            png_error(self->png, "a wrong checksum before the pixels");
        at += HEADER + length + CHECKSUM;
    }
}

/* Reads everything up to the pixels. */
static bool read_header(codec *self) {
    png_structp png = self->png;
    check_sums(self);
    png_set_crc_action(png, PNG_CRC_QUIET_USE, PNG_CRC_QUIET_USE);
    png_set_keep_unknown_chunks(png, PNG_HANDLE_CHUNK_NEVER, NULL, -1); /* skip metadata */
    png_set_user_limits(png, PNG_UINT_31_MAX, PNG_UINT_31_MAX); /* no limits on the sides: the area is checked below */
    png_set_chunk_malloc_max(png, self->limits.chunk_bytes);
    png_set_chunk_cache_max(png, CHUNKS_MAX);
    png_read_info(png, self->info);
    self->status = vsti_check_pixels("PNG", png_get_image_height(png, self->info), png_get_image_width(png, self->info),
                                     &self->limits);
    return self->status == VST_OK;
}

static int channels_of(const codec *self) {
    return png_get_color_type(self->png, self->info) & PNG_COLOR_MASK_COLOR ? 3 : 1;
}

/* Sets the conversion to 8-bit grey or RGB and allocates `out`. */
static bool prepare(codec *self, vst_image *out) {
    png_structp png = self->png;
    const int colour = png_get_color_type(png, self->info);
    if (colour == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
    if (colour == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png);
    if (colour == PNG_COLOR_TYPE_GRAY) png_set_scale_16(png);
    else png_set_strip_16(png);
    png_set_strip_alpha(png);
    self->status = vst_image_allocate(out, channels_of(self), (int)png_get_image_height(png, self->info),
                                      (int)png_get_image_width(png, self->info));
    return self->status == VST_OK;
}

static void read_rows(codec *self, vst_image *out) {
    const int passes = png_set_interlace_handling(self->png);
    png_read_update_info(self->png, self->info);
    const size_t stride = (size_t)out->width * (size_t)out->channels;
    if (png_get_rowbytes(self->png, self->info) != stride) png_error(self->png, "unexpected length of a row");
    for (int pass = 0; pass < passes; pass++)
        for (int y = 0; y < out->height; y++) png_read_row(self->png, out->pixels + (size_t)y * stride, NULL);
}

static bool is_name(const uint8_t *text) {
    for (int i = 0; i < 4; i++)
        if (!isalnum(text[i]) && text[i] != '_') return false;
    return true;
}

/* As Pillow: of the chunks from `at` on, behind that with the last row, those that begin must be whole, up to the end
 * or to what is no chunk. Another frame of an animation ends them, too. */
static vst_status check_rest(const codec *self, size_t at) {
    while (at + HEADER <= self->size) {
        const size_t length = png_get_uint_32(self->input + at), left = self->size - at - HEADER;
        const uint8_t *name = self->input + at + 4;
        if (!is_name(name) || memcmp(name, "IEND", 4) == 0 || memcmp(name, "fcTL", 4) == 0) return VST_OK;
        if (length > left)
            return vst_fail(VST_ERROR_FORMAT, "reading PNG: the file ends within its chunk %.4s (%zu bytes)",
                            (const char *)name, self->size);
        if (length + CHECKSUM > left) return VST_OK;
        at += HEADER + length + CHECKSUM;
    }
    return VST_OK;
}

static vst_status decode(codec *self, vst_image *out) {
    if (setjmp(png_jmpbuf(self->png))) return failure(self, "reading");
    self->info = png_create_info_struct(self->png);
    if (!self->info) return failure(self, "reading");
    png_set_read_fn(self->png, self, read_bytes);
    if (!read_header(self) || !prepare(self, out)) return failure(self, "reading");
    self->in_rows = true;
    read_rows(self, out);
    return check_rest(self, self->offset);
}

static vst_status decode_bytes(codec *self, vst_image *out) {
    self->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, self, on_error, on_warning, self, allocate, release);
    const vst_status status = self->png ? decode(self, out) : failure(self, "reading");
    png_destroy_read_struct(&self->png, &self->info, NULL);
    return status;
}

/* ---- What is cut off behind the last row ---- */

/* The rows before compression, a filter's number and the pixels each, of every pass of an interlaced image. */
typedef struct packed_rows {
    int passes;
    size_t length[PASSES], count[PASSES], bytes;
} packed_rows;

static packed_rows rows_of(const uint8_t *header) {
    static const int samples[] = {1, 0, 3, 1, 2, 0, 4};
    const png_uint_32 width = png_get_uint_32(header), height = png_get_uint_32(header + 4);
    const size_t bits = (size_t)header[8] * (size_t)samples[header[9]];
    const bool interlaced = header[12] != 0;
    packed_rows rows = {.passes = interlaced ? PASSES : 1};
    for (int pass = 0; pass < rows.passes; pass++) {
        const size_t columns = interlaced ? PNG_PASS_COLS(width, pass) : width;
        rows.length[pass] = 1 + (columns * bits + 7) / 8;
        rows.count[pass] = columns == 0 ? 0 : interlaced ? PNG_PASS_ROWS(height, pass) : height;
        rows.bytes += rows.length[pass] * rows.count[pass];
    }
    return rows;
}

/* Unpacks rows as long as there is input, as Pillow does: a row that only awaits its turn is not there. *pass and *row:
 * that which is next. */
static int unpack_block(z_stream *stream, const packed_rows *rows, int *pass, size_t *row) {
    int result = Z_OK;
    while (stream->avail_in && result == Z_OK) {
        while (*pass < rows->passes && *row == rows->count[*pass]) {
            ++*pass;
            *row = 0;
        }
        if (*pass == rows->passes) break;
        if (!stream->avail_out) stream->avail_out = (uInt)rows->length[*pass];
        result = inflate(stream, Z_NO_FLUSH);
        if (!stream->avail_out) ++*row;
    }
    return result;
}

/* The IDAT chunks from `at` on, as far as they are there. *end: behind the one with the last row. False if not all rows
 * are there. */
static bool unpack_rows(const codec *self, size_t at, const packed_rows *rows, uint8_t *bytes, size_t *end) {
    z_stream stream = {.next_out = bytes};
    int pass = 0, result = inflateInit(&stream);
    size_t row = 0;
    while (result == Z_OK && stream.total_out < rows->bytes && at + HEADER <= self->size &&
           memcmp(self->input + at + 4, "IDAT", 4) == 0) {
        const size_t length = png_get_uint_32(self->input + at), left = self->size - at - HEADER;
        stream.next_in = (Bytef *)self->input + at + HEADER; /* only read */
        stream.avail_in = (uInt)(length < left ? length : left);
        result = unpack_block(&stream, rows, &pass, &row);
        at += HEADER + length + CHECKSUM;
    }
    const bool all = stream.total_out == rows->bytes && (result == Z_OK || result == Z_STREAM_END);
    inflateEnd(&stream);
    *end = at;
    return all;
}

/* The file's chunks before the pixels, and its rows packed anew. */
static vst_status repack(const codec *self, size_t before, const uint8_t *rows, size_t bytes, codec *mended) {
    enum { FASTEST = 1 };
    uLongf packed = compressBound((uLong)bytes);
    uint8_t *out = mended->output = vst_alloc(before + HEADER + packed + CHECKSUM);
    if (!out) return vst_fail_memory(before + HEADER + packed + CHECKSUM);
    memcpy(out, self->input, before);
    if (compress2(out + before + HEADER, &packed, rows, (uLong)bytes, FASTEST) != Z_OK) return vst_fail_memory(bytes);
    png_save_uint_32(out + before, (png_uint_32)packed);
    memcpy(out + before + 4, "IDAT", 4);
    mended->size = before + HEADER + packed + CHECKSUM; /* the checksum is not looked at */
    memset(out + before + HEADER + packed, 0, CHECKSUM);
    mended->input = out;
    return VST_OK;
}

/* libpng also wants what is behind the last row. Where that is missing, but all rows are there, they are packed again;
 * otherwise the first error stays. */
static vst_status decode_cut(const codec *self, vst_status first, vst_image *out) {
    vst_status status = first;
    size_t before = SIGNATURE, end;
    codec mended = {.limits = self->limits};
    while (memcmp(self->input + before + 4, "IDAT", 4) != 0) /* it is there: libpng has come so far */
        before += HEADER + png_get_uint_32(self->input + before) + CHECKSUM;
    const packed_rows packed = rows_of(self->input + SIGNATURE + HEADER);
    uint8_t *rows = packed.bytes <= UINT32_MAX ? vst_alloc(packed.bytes) : NULL;
    if (!rows) return vst_fail_memory(packed.bytes);
    if (!unpack_rows(self, before, &packed, rows, &end)) goto out;
    vst_image_clear(out);
    VST_TRY(check_rest(self, end));
    VST_TRY(repack(self, before, rows, packed.bytes, &mended));
    status = decode_bytes(&mended, out);
out:
    vst_free(mended.output);
    vst_free(rows);
    return status;
}

vst_status vst_png_decode(const void *bytes, size_t size, int channels, const vst_image_limits *limits,
                          vst_image *out) {
    if (channels != 0 && channels != 1 && channels != 3)
        return vst_fail(VST_ERROR_ARGUMENT, "reading PNG: %d channels asked for, it must be 0 (as in the file), 1 or 3",
                        channels);
    codec self = {.limits = vsti_image_limits(limits), .input = bytes, .size = size};
    vst_status status = decode_bytes(&self, out);
    if (status == VST_ERROR_FORMAT && self.in_rows) status = decode_cut(&self, status, out);
    if (status == VST_OK && channels) status = vst_image_convert(out, channels);
    if (status != VST_OK) vst_image_clear(out);
    return status;
}

/* ---- Inspecting ---- */

static vst_status inspect(codec *self, vst_image_facts *facts) {
    if (setjmp(png_jmpbuf(self->png))) return failure(self, "reading");
    self->info = png_create_info_struct(self->png);
    if (!self->info) return failure(self, "reading");
    png_set_read_fn(self->png, self, read_bytes);
    if (!read_header(self)) return failure(self, "reading");
    facts->channels = channels_of(self);
    facts->height = (int)png_get_image_height(self->png, self->info);
    facts->width = (int)png_get_image_width(self->png, self->info);
    return VST_OK;
}

/* Finds the eXIf chunk, which may be before or after the pixels. */
static int orientation_of(const uint8_t *bytes, size_t size) {
    for (size_t at = SIGNATURE; size - at >= HEADER + CHECKSUM;) {
        const size_t length = png_get_uint_32(bytes + at);
        if (length > size - at - HEADER - CHECKSUM) break;
        if (memcmp(bytes + at + 4, "eXIf", 4) == 0) return vsti_exif_orientation(bytes + at + HEADER, length);
        at += HEADER + length + CHECKSUM;
    }
    return 1;
}

vst_status vsti_png_inspect(const void *bytes, size_t size, const vst_image_limits *limits, vst_image_facts *facts) {
    codec self = {.limits = vsti_image_limits(limits), .input = bytes, .size = size};
    self.png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, &self, on_error, on_warning, &self, allocate, release);
    vst_status status = self.png ? inspect(&self, facts) : failure(&self, "reading");
    png_destroy_read_struct(&self.png, &self.info, NULL);
    if (status == VST_OK) facts->orientation = orientation_of(bytes, size);
    return status;
}

/* ---- Writing ---- */

static void write_image(codec *self, const vst_image *image) {
    png_set_IHDR(self->png, self->info, (png_uint_32)image->width, (png_uint_32)image->height, 8,
                 image->channels == 1 ? PNG_COLOR_TYPE_GRAY : PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(self->png, self->info);
    const size_t stride = (size_t)image->width * (size_t)image->channels;
    for (int y = 0; y < image->height; y++) png_write_row(self->png, image->pixels + (size_t)y * stride);
    png_write_end(self->png, NULL);
}

static vst_status encode(codec *self, const vst_image *image) {
    if (setjmp(png_jmpbuf(self->png))) return failure(self, "writing");
    self->info = png_create_info_struct(self->png);
    if (!self->info) return failure(self, "writing");
    png_set_write_fn(self->png, self, write_bytes, flush_bytes);
    write_image(self, image);
    return VST_OK;
}

vst_status vst_png_encode(const vst_image *image, uint8_t **bytes, size_t *size) {
    codec self = {0};
    self.png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, &self, on_error, on_warning, &self, allocate, release);
    vst_status status = self.png ? encode(&self, image) : failure(&self, "writing");
    png_destroy_write_struct(&self.png, &self.info);
    if (status != VST_OK) {
        vst_free(self.output);
        return status;
    }
    *bytes = self.output;
    *size = self.size;
    return VST_OK;
}

vst_status vst_png_write(const char *path, const vst_image *image) {
    uint8_t *bytes = NULL;
    size_t size = 0;
    vst_status status = vst_png_encode(image, &bytes, &size);
    if (status == VST_OK) status = vsti_file_write(path, bytes, size);
    vst_free(bytes);
    return status;
}
