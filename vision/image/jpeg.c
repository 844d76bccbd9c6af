/* JPEG through libjpeg-turbo: the only file that includes jpeglib.h. Baseline and progressive; grey, YCbCr, RGB, CMYK
 * and YCCK; accurate integer DCT and smooth chroma upsampling, the defaults of libjpeg and Pillow. libjpeg reports
 * errors with longjmp, so everything that changes after setjmp is in a `codec` (an `encoder` for writing) outside the
 * function that calls setjmp. libjpeg allocates from its own pools, which the pixel limit bounds. */
/* jpeglib.h needs stdio.h before it; jerror.h needs jpeglib.h. */
/* clang-format off */
#include <stdio.h>
#include <jpeglib.h>
#include <jerror.h>
/* clang-format on */
#include <limits.h>
#include <setjmp.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/image/internal.h"

enum {
    ROWS = 16,       /* read at a time */
    EXIF_HEADER = 6, /* "Exif\0\0" */
    MARKER_MAX = 65533,
    LARGE_SCANS = 32 /* encoders write about 10 */
};

typedef struct codec {
    struct jpeg_decompress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_progress_mgr progress;
    jmp_buf failed;
    vst_image_limits limits;
    bool allow_damaged, damaged;
    vst_status status; /* of an error of ours; VST_OK: the error is libjpeg's, see `text` */
    char text[JMSG_LENGTH_MAX];
    vst_box box;     /* the part to return, in pixels of the scaled image */
    int left;        /* first column of the rows that libjpeg returns */
    size_t row_size; /* bytes of such a row */
    uint8_t *rows;   /* buffer for ROWS rows, owned; NULL: rows are decoded into the image */
} codec;

/* ---- Callbacks for libjpeg ---- */

static void on_error(j_common_ptr jpeg) {
    codec *self = jpeg->client_data;
    if (self->status == VST_OK) jpeg->err->format_message(jpeg, self->text);
    longjmp(self->failed, 1);
}

/* True for warnings after which pixels are wrong. Other warnings are harmless. */
static bool is_damage(int code) {
    switch (code) {
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_JPEG_EOF:
    case JWRN_MUST_RESYNC:
    case JWRN_NOT_SEQUENTIAL:
    case JWRN_TOO_MUCH_DATA:
    case JWRN_BOGUS_PROGRESSION:
    case JWRN_ARITH_BAD_CODE: return true;
    default: return false;
    }
}

static void on_message(j_common_ptr jpeg, int level) {
    codec *self = jpeg->client_data;
    if (level >= 0) return; /* trace messages */
    jpeg->err->num_warnings++;
    if (!is_damage(jpeg->err->msg_code)) return;
    self->damaged = true;
    if (!self->allow_damaged) on_error(jpeg);
}

/* Limits the number of scans: a small progressive file can contain very many, and each costs a pass over the image. An
 * image of the maximum size may have LARGE_SCANS, a smaller one more. */
static void on_progress(j_common_ptr jpeg) {
    codec *self = jpeg->client_data;
    const uint64_t pixels = (uint64_t)self->jpeg.image_height * self->jpeg.image_width;
    const uint64_t passes = pixels ? self->limits.pixels / pixels * LARGE_SCANS : 0;
    const int allowed = passes < (uint64_t)self->limits.scans ? (int)passes : self->limits.scans;
    if (self->jpeg.input_scan_number <= allowed) return;
    self->status = vst_fail(VST_ERROR_LIMIT,
                            "reading JPEG: more than %d scans of %u x %u pixels (height x width): raise the limits, or "
                            "save the file again",
                            allowed, self->jpeg.image_height, self->jpeg.image_width);
    on_error(jpeg);
}

static void drop_message(j_common_ptr jpeg) { (void)jpeg; }

/* ---- Header ---- */

/* Converts the error to a status. */
static vst_status failure(const codec *self) {
    if (self->status != VST_OK) return self->status;
    if (self->errors.msg_code == JERR_OUT_OF_MEMORY || self->errors.msg_code == JERR_NO_BACKING_STORE)
        return vst_fail(VST_ERROR_MEMORY, "reading JPEG: out of memory");
    return vst_fail(VST_ERROR_FORMAT, "reading JPEG: %s", self->text);
}

static void start(codec *self, const vst_image_limits *limits) {
    self->limits = vsti_image_limits(limits);
    self->jpeg.err = jpeg_std_error(&self->errors);
    self->errors.error_exit = on_error;
    self->errors.emit_message = on_message;
    self->errors.output_message = drop_message;
    self->jpeg.client_data = self;
    self->progress.progress_monitor = on_progress;
}

static int channels_of(const codec *self) { return self->jpeg.num_components == 1 ? 1 : 3; }

/* Reads everything up to the first scan. */
static bool read_header(codec *self, const void *bytes, size_t size, bool exif) {
    enum { SAMPLE_BYTES = 10, SLACK = 64 << 20 };
    jpeg_create_decompress(&self->jpeg);
    self->jpeg.progress = &self->progress;
    /* Coefficients of a progressive file: 2 bytes, up to 4 components, odd sizes rounded up. */
    self->jpeg.mem->max_memory_to_use =
        (long)(self->limits.pixels < LONG_MAX / 2 / SAMPLE_BYTES ? self->limits.pixels * SAMPLE_BYTES + SLACK
                                                                 : LONG_MAX);
    jpeg_mem_src(&self->jpeg, bytes, size);
    if (exif) jpeg_save_markers(&self->jpeg, JPEG_APP0 + 1, MARKER_MAX);
    jpeg_read_header(&self->jpeg, TRUE);
    self->status = vsti_check_pixels("JPEG", self->jpeg.image_height, self->jpeg.image_width, &self->limits);
    if (self->status == VST_OK && self->jpeg.num_components == 2)
        self->status = vst_fail(VST_ERROR_UNSUPPORTED,
                                "reading JPEG: 2 components; 1 (grey), 3 (colour) and 4 (CMYK) are supported");
    return self->status == VST_OK;
}

static int orientation_of(const codec *self) {
    for (jpeg_saved_marker_ptr marker = self->jpeg.marker_list; marker; marker = marker->next)
        if (marker->data_length > EXIF_HEADER && memcmp(marker->data, "Exif\0", EXIF_HEADER) == 0)
            return vsti_exif_orientation(marker->data + EXIF_HEADER, marker->data_length - EXIF_HEADER);
    return 1;
}

static vst_status inspect(codec *self, const void *bytes, size_t size, vst_image_facts *facts) {
    if (setjmp(self->failed)) return failure(self);
    if (!read_header(self, bytes, size, true)) return failure(self);
    facts->channels = channels_of(self);
    facts->height = (int)self->jpeg.image_height;
    facts->width = (int)self->jpeg.image_width;
    facts->orientation = orientation_of(self);
    return VST_OK;
}

vst_status vsti_jpeg_inspect(const void *bytes, size_t size, const vst_image_limits *limits, vst_image_facts *facts) {
    codec self = {.allow_damaged = true}; /* the header has no pixels that could be damaged */
    start(&self, limits);
    vst_status status = inspect(&self, bytes, size, facts);
    jpeg_destroy_decompress(&self.jpeg);
    return status;
}

/* ---- Crop and scale ---- */

static int divide_up(int value, int by) { return value / by + (value % by != 0); }

/* The box scaled by 1/`by`, extended to whole pixels. */
static vst_box scale_box(vst_box box, int by) {
    const int top = box.top / by, left = box.left / by;
    return (vst_box){top, left, divide_up(box.top + box.height, by) - top, divide_up(box.left + box.width, by) - left};
}

static bool choose_part(codec *self, const vst_decode_options *options) {
    const int height = (int)self->jpeg.image_height, width = (int)self->jpeg.image_width;
    const vst_box whole = {0, 0, height, width}, box = options->crop ? *options->crop : whole;
    int by = 1;
    self->status = vsti_check_box(&box, height, width);
    if (self->status != VST_OK) return false;
    if (options->least_height > 0 && options->least_width > 0)
        for (int next = 2; next <= 8; next *= 2) {
            const vst_box smaller = scale_box(box, next);
            if (smaller.height >= options->least_height && smaller.width >= options->least_width) by = next;
        }
    self->box = scale_box(box, by);
    self->jpeg.scale_num = 1;
    self->jpeg.scale_denom = (unsigned)by;
    return true;
}

/* Skips rows and columns outside the box. With subsampled chroma one more block is decoded on each side, because smooth
 * upsampling reads neighbours. A file with several scans is decoded whole: libjpeg has to read all scans before the
 * first row, and libjpeg-turbo 2.1 has bugs in partial decoding of such files. */
static void skip_unneeded(codec *self) {
    struct jpeg_decompress_struct *jpeg = &self->jpeg;
    const int height = (int)jpeg->output_height, width = (int)jpeg->output_width;
    const vst_box *box = &self->box;
    self->left = 0;
    if (jpeg_has_multiple_scans(jpeg)) return;
    const int block_width = jpeg->max_h_samp_factor * DCTSIZE, block_height = jpeg->max_v_samp_factor * DCTSIZE;
    const bool upsampled = jpeg->max_h_samp_factor * jpeg->max_v_samp_factor > 1;
    const int beside = upsampled ? block_width : 0, above = upsampled ? block_height : 0;
    JDIMENSION left = (JDIMENSION)(box->left > beside ? box->left - beside : 0);
    const int right = box->left + box->width < width - beside ? box->left + box->width + beside : width;
    JDIMENSION columns = (JDIMENSION)right - left;
    if ((int)columns < width) {
        jpeg_crop_scanline(jpeg, &left, &columns);
        self->left = (int)left;
    }
    const int skipped = box->top / block_height * block_height - above;
    if (skipped > 0 && box->top < height) jpeg_skip_scanlines(jpeg, (JDIMENSION)skipped);
}

/* ---- Rows ---- */

/* CMYK to RGB as in Pillow, which treats all CMYK JPEGs as inverted, as Adobe writes them. */
static void convert_cmyk(const uint8_t *cmyk, uint8_t *rgb, int width) {
    for (int i = 0; i < width; i++) {
        const unsigned white = cmyk[4 * i + 3];
        for (int c = 0; c < 3; c++) {
            const unsigned product = (255u - cmyk[4 * i + c]) * white + 128;
            rgb[3 * i + c] = (uint8_t)(white - ((product >> 8) + product) / 256);
        }
    }
}

/* Copies the columns of the box from one row of libjpeg's. */
static void store_row(const codec *self, const uint8_t *row, uint8_t *out) {
    const int components = self->jpeg.output_components;
    const uint8_t *first = row + (size_t)(self->box.left - self->left) * (size_t)components;
    if (components == 4) convert_cmyk(first, out, self->box.width);
    else memcpy(out, first, (size_t)self->box.width * (size_t)components);
}

/* Reads rows down to the end of the box. */
static void read_rows(codec *self, vst_image *out) {
    const size_t stride = (size_t)out->width * (size_t)out->channels;
    const JDIMENSION end = (JDIMENSION)(self->box.top + self->box.height);
    uint8_t *pointers[ROWS];
    while (self->jpeg.output_scanline < end) {
        const int first = (int)self->jpeg.output_scanline - self->box.top; /* negative: above the box */
        const JDIMENSION left = end - self->jpeg.output_scanline, wanted = left < ROWS ? left : ROWS;
        for (int i = 0; i < (int)wanted; i++)
            pointers[i] =
                self->rows ? self->rows + (size_t)i * self->row_size : out->pixels + (size_t)(first + i) * stride;
        const int count = (int)jpeg_read_scanlines(&self->jpeg, pointers, wanted);
        for (int i = 0; self->rows && i < count; i++)
            if (first + i >= 0) store_row(self, pointers[i], out->pixels + (size_t)(first + i) * stride);
    }
}

static bool prepare(codec *self, const vst_decode_options *options, vst_image *out) {
    struct jpeg_decompress_struct *jpeg = &self->jpeg;
    if (!choose_part(self, options)) return false;
    jpeg->out_color_space = jpeg->num_components == 1 ? JCS_GRAYSCALE : jpeg->num_components == 3 ? JCS_RGB : JCS_CMYK;
    jpeg->dct_method = JDCT_ISLOW;
    self->status = vst_image_allocate(out, channels_of(self), self->box.height, self->box.width);
    if (self->status != VST_OK) return false;
    jpeg_start_decompress(jpeg);
    skip_unneeded(self);
    self->row_size = (size_t)jpeg->output_width * (size_t)jpeg->output_components;
    if (self->row_size == (size_t)out->width * (size_t)out->channels &&
        jpeg->output_scanline == (JDIMENSION)self->box.top)
        return true; /* the rows are decoded into the image */
    self->rows = vst_alloc(ROWS * self->row_size);
    if (!self->rows) self->status = vst_fail_memory(ROWS * self->row_size);
    return self->status == VST_OK;
}

static vst_status decode(codec *self, const void *bytes, size_t size, const vst_decode_options *options,
                         vst_image *out) {
    if (setjmp(self->failed)) return failure(self);
    if (!read_header(self, bytes, size, false) || !prepare(self, options, out)) return failure(self);
    read_rows(self, out);
    return VST_OK;
}

vst_status vsti_jpeg_decode(const void *bytes, size_t size, const vst_decode_options *options, vst_image *out,
                            bool *damaged) {
    codec self = {.allow_damaged = options->allow_damaged};
    start(&self, options->limits);
    vst_status status = decode(&self, bytes, size, options, out);
    jpeg_destroy_decompress(&self.jpeg);
    vst_free(self.rows);
    *damaged = self.damaged;
    if (status == VST_OK && options->channels) status = vst_image_convert(out, options->channels);
    return status;
}

/* ---- Writing ---- */

typedef struct encoder {
    struct jpeg_compress_struct jpeg;
    struct jpeg_error_mgr errors;
    struct jpeg_destination_mgr destination;
    jmp_buf failed;
    vst_status status; /* of an error of ours; VST_OK: the error is libjpeg's, see `text` */
    char text[JMSG_LENGTH_MAX];
    uint8_t *output; /* owned until returned to the caller */
    size_t size, capacity;
} encoder;

static void on_write_error(j_common_ptr jpeg) {
    encoder *self = jpeg->client_data;
    if (self->status == VST_OK) jpeg->err->format_message(jpeg, self->text);
    longjmp(self->failed, 1);
}

/* Enlarges the output buffer; its first `used` bytes are written. */
static void grow_output(encoder *self, size_t used, size_t capacity) {
    self->status = vst_grow(&self->output, &self->capacity, capacity, 1);
    if (self->status != VST_OK) on_write_error((j_common_ptr)&self->jpeg);
    self->destination.next_output_byte = self->output + used;
    self->destination.free_in_buffer = self->capacity - used;
}

static void start_output(j_compress_ptr jpeg) {
    enum { FIRST = 4096 };
    grow_output(jpeg->client_data, 0, FIRST);
}

/* libjpeg calls this when the whole buffer is full, whatever free_in_buffer says. */
static boolean output_is_full(j_compress_ptr jpeg) {
    encoder *self = jpeg->client_data;
    grow_output(self, self->capacity, 2 * self->capacity);
    return TRUE;
}

static void end_output(j_compress_ptr jpeg) {
    encoder *self = jpeg->client_data;
    self->size = self->capacity - self->destination.free_in_buffer;
}

/* libjpeg's defaults for a quality, as in Pillow: baseline, 4:2:0. */
static void write_image(encoder *self, const vst_image *image, int quality) {
    struct jpeg_compress_struct *jpeg = &self->jpeg;
    jpeg_create_compress(jpeg);
    jpeg->dest = &self->destination;
    jpeg->image_height = (JDIMENSION)image->height;
    jpeg->image_width = (JDIMENSION)image->width;
    jpeg->input_components = image->channels;
    jpeg->in_color_space = image->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg_set_defaults(jpeg);
    jpeg_set_quality(jpeg, quality, TRUE);
    jpeg_start_compress(jpeg, TRUE);
    const size_t stride = (size_t)image->width * (size_t)image->channels;
    for (int y = 0; y < image->height; y++) {
        uint8_t *row = image->pixels + (size_t)y * stride;
        jpeg_write_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_compress(jpeg);
}

static vst_status encode(encoder *self, const vst_image *image, int quality) {
    if (setjmp(self->failed) == 0) {
        write_image(self, image, quality);
        return VST_OK;
    }
    if (self->status != VST_OK) return self->status;
    return vst_fail(self->errors.msg_code == JERR_OUT_OF_MEMORY ? VST_ERROR_MEMORY : VST_ERROR_ARGUMENT,
                    "writing a JPEG of %d x %d pixels (height x width): %s", image->height, image->width, self->text);
}

vst_status vst_jpeg_encode(const vst_image *image, int quality, uint8_t **bytes, size_t *size) {
    if (quality < 1 || quality > 100)
        return vst_fail(VST_ERROR_ARGUMENT, "writing a JPEG of quality %d: it must be from 1 to 100", quality);
    encoder self = {0};
    self.jpeg.err = jpeg_std_error(&self.errors);
    self.errors.error_exit = on_write_error;
    self.errors.output_message = drop_message;
    self.jpeg.client_data = &self;
    self.destination = (struct jpeg_destination_mgr){
        .init_destination = start_output, .empty_output_buffer = output_is_full, .term_destination = end_output};
    const vst_status status = encode(&self, image, quality);
    jpeg_destroy_compress(&self.jpeg);
    if (status != VST_OK) {
        vst_free(self.output);
        return status;
    }
    *bytes = self.output;
    *size = self.size;
    return VST_OK;
}
