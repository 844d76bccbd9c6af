/* Pillow's resampling: weights in double, rounded to 22 fractional bits; a horizontal pass that rounds to bytes, then a
 * vertical pass. */
#include "vision/image/resize.h"

#include <math.h>
#include <string.h>

#include "vision/base/memory.h"
#include "vision/image/geometry.h"
#include "vision/image/internal.h"
#include "vision/kernels/kernels.h"

enum { GROUP = 4, PLACES = 22, LOW_PLACES = 12 };

/* ---- Filters, with Pillow's order of operations ---- */

static double sinc(double x) {
    if (x == 0.0) return 1.0;
    x = x * M_PI;
    return sin(x) / x;
}

static double filter_at(vst_filter filter, double x) {
    const double a = -0.5, size = fabs(x), angle = size * M_PI;
    switch (filter) {
    case VST_FILTER_BOX: return x > -0.5 && x <= 0.5 ? 1.0 : 0.0;
    case VST_FILTER_BILINEAR: return size < 1.0 ? 1.0 - size : 0.0;
    case VST_FILTER_HAMMING:
        if (size == 0.0) return 1.0;
        return size >= 1.0 ? 0.0 : sin(angle) / angle * (0.54f + 0.46f * cos(angle));
    case VST_FILTER_BICUBIC:
        if (size < 1.0) return ((a + 2.0) * size - (a + 3.0)) * size * size + 1;
        return size < 2.0 ? (((size - 5) * size + 8) * size - 4) * a : 0.0;
    default: return -3.0 <= x && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0;
    }
}

/* Half the width of the filter's support, in pixels. */
static double filter_radius(vst_filter filter) {
    switch (filter) {
    case VST_FILTER_BOX: return 0.5;
    case VST_FILTER_BILINEAR:
    case VST_FILTER_HAMMING: return 1.0;
    case VST_FILTER_BICUBIC: return 2.0;
    default: return 3.0;
    }
}

/* ---- Weights ---- */

/* One axis: `inputs` pixels are resized to `all`, of which `outputs` pixels from `first` on are computed. */
typedef struct axis {
    vst_filter filter;
    int inputs, all, first, outputs;
    double scale, stretch, radius; /* scale: inputs per output; stretch: factor by which the filter is widened; radius:
                                     half its width then */
    int groups;
    int32_t *bounds;
    int16_t *weights;
} axis;

static axis axis_of(vst_filter filter, int inputs, int all, int first, int outputs) {
    axis self = {.filter = filter, .inputs = inputs, .all = all, .first = first, .outputs = outputs};
    self.scale = (double)(float)inputs / all;
    self.stretch = self.scale < 1.0 ? 1.0 : self.scale;
    self.radius = filter_radius(filter) * self.stretch;
    const double most = ceil(self.radius) * 2 + 1; /* upper bound of taps per output */
    self.groups = ((most < inputs ? (int)most : inputs) + GROUP - 1) / GROUP;
    return self;
}

static axis horizontal_axis(const vst_resize_window *w) {
    return axis_of(w->filter, w->in_width, w->width, w->box.left, w->box.width);
}

static axis vertical_axis(const vst_resize_window *w) {
    return axis_of(w->filter, w->in_height, w->height, w->box.top, w->box.height);
}

/* Sets the range of inputs, *first to *end - 1, that output x depends on. Returns the filter's centre. */
static double find_taps(const axis *self, int x, int *first, int *end) {
    const double centre = 0.0f + (x + 0.5) * self->scale;
    *first = (int)(centre - self->radius + 0.5);
    *end = (int)(centre + self->radius + 0.5);
    if (*first < 0) *first = 0;
    if (*end > self->inputs) *end = self->inputs;
    return centre;
}

/* The range of inputs that the computed outputs depend on. */
static void find_source(const axis *self, int *first, int *count) {
    int end, unused;
    *first = self->first;
    *count = self->outputs;
    if (self->inputs == self->all) return; /* not resized */
    find_taps(self, self->first, first, &unused);
    find_taps(self, self->first + self->outputs - 1, &unused, &end);
    *count = end - *first;
}

vst_box vst_resize_source(const vst_resize_window *window) {
    vst_box box = {0, 0, window->in_height, window->in_width};
    if (window->filter == VST_FILTER_NEAREST) return box; /* positions are summed from the edge on */
    const axis across = horizontal_axis(window), down = vertical_axis(window);
    find_source(&down, &box.top, &box.height);
    find_source(&across, &box.left, &box.width);
    return box;
}

/* Rounds a weight to PLACES fractional bits, half away from zero, and splits it into two factors. */
static void store_weight(int16_t *weights, int tap, double value) {
    const double scaled = value * (1 << PLACES);
    const int32_t whole = (int32_t)(value < 0 ? -0.5 + scaled : 0.5 + scaled);
    const int32_t high = (whole + (1 << (LOW_PLACES - 1))) >> LOW_PLACES;
    int16_t *group = weights + tap / GROUP * (2 * GROUP) + tap % GROUP;
    group[0] = (int16_t)high;
    group[GROUP] = (int16_t)(whole - high * (1 << LOW_PLACES));
}

/* `values` is scratch for the taps of one output. `origin` is the index of the first input that is present. */
static void fill_axis(axis *self, int origin, double *values) {
    const double narrow = 1.0 / self->stretch;
    memset(self->weights, 0, (size_t)self->outputs * (size_t)self->groups * 2 * GROUP * sizeof *self->weights);
    for (int x = 0; x < self->outputs; x++) {
        int first, end;
        double sum = 0.0;
        const double centre = find_taps(self, self->first + x, &first, &end);
        for (int i = first; i < end; i++) {
            values[i - first] = filter_at(self->filter, (i - centre + 0.5) * narrow);
            sum += values[i - first];
        }
        int16_t *weights = self->weights + (size_t)x * (size_t)self->groups * 2 * GROUP;
        for (int i = 0; i < end - first; i++) store_weight(weights, i, sum != 0.0 ? values[i] / sum : values[i]);
        self->bounds[2 * x] = first - origin;
        self->bounds[2 * x + 1] = end - first;
    }
}

static vsti_taps taps_of(const axis *self) { return (vsti_taps){self->groups, self->bounds, self->weights}; }

/* ---- Scratch: one block of memory, divided into pieces ---- */

typedef struct arena {
    size_t size; /* so far; above SIZE_MAX / 2 after an overflow */
    uint8_t *memory;
} arena;

/* Returns the next piece. Only counts if there is no memory yet. */
static void *take_piece(arena *self, size_t count, size_t size) {
    enum { ALIGNMENT = 16 };
    size_t bytes;
    void *piece = self->memory ? self->memory + self->size : NULL;
    if (!vst_multiply(count, size, &bytes) || __builtin_add_overflow(bytes, ALIGNMENT - 1, &bytes) ||
        __builtin_add_overflow(self->size, bytes / ALIGNMENT * ALIGNMENT, &self->size))
        self->size = SIZE_MAX / 2 + 1; /* stays too large, whatever is added later */
    return piece;
}

static vst_status reserve(vst_image *scratch, size_t bytes) {
    enum { ROW = 1 << 16 };
    if (bytes / ROW >= INT32_MAX) return vst_fail_memory(bytes);
    return vst_image_allocate(scratch, 1, (int)(bytes / ROW) + 1, ROW);
}

typedef struct resizing {
    axis across, down;
    double *values;
    uint8_t *lines; /* VSTI_TAP_ROWS input rows, each followed by VSTI_TAP_SLACK bytes */
    uint8_t *half;  /* result of the horizontal pass */
    size_t line;    /* bytes of one row of `lines` */
} resizing;

static void lay_out(resizing *self, arena *memory, const vsti_view *in) {
    const bool horizontal = self->across.all != self->across.inputs, vertical = self->down.all != self->down.inputs;
    const int taps = GROUP * (self->across.groups > self->down.groups ? self->across.groups : self->down.groups);
    axis *axes[] = {&self->across, &self->down};
    for (int i = 0; i < 2; i++) {
        axes[i]->bounds = take_piece(memory, (size_t)axes[i]->outputs, 2 * sizeof *axes[i]->bounds);
        axes[i]->weights = take_piece(memory, (size_t)axes[i]->outputs * (size_t)axes[i]->groups,
                                      2 * GROUP * sizeof *axes[i]->weights);
    }
    self->values = take_piece(memory, (size_t)taps, sizeof *self->values);
    self->line = (size_t)in->width * (size_t)in->channels + VSTI_TAP_SLACK;
    self->lines = take_piece(memory, horizontal ? VSTI_TAP_ROWS : 0, self->line);
    self->half = take_piece(memory, horizontal && vertical ? (size_t)in->height : 0,
                            (size_t)self->across.outputs * (size_t)in->channels);
}

/* ---- The two passes ---- */

/* The horizontal pass, VSTI_TAP_ROWS rows at a time. The kernel reads up to VSTI_TAP_SLACK bytes beyond a row, so rows
 * near the end of the input are copied first. */
static void horizontal_pass(const resizing *self, const vsti_view *in, uint8_t *out) {
    const vsti_kernels *kernels = vsti_get_kernels();
    const vsti_taps taps = taps_of(&self->across);
    const size_t row = (size_t)in->width * (size_t)in->channels;
    const size_t out_row = (size_t)self->across.outputs * (size_t)in->channels;
    const uint8_t *end = in->pixels + (size_t)(in->height - 1) * in->stride + row;
    for (int y = 0; y < in->height; y += VSTI_TAP_ROWS) {
        const uint8_t *from[VSTI_TAP_ROWS];
        uint8_t *to[VSTI_TAP_ROWS];
        for (int i = 0; i < VSTI_TAP_ROWS; i++) {
            const int at = y + i < in->height ? y + i : in->height - 1;
            from[i] = in->pixels + (size_t)at * in->stride;
            to[i] = out + (size_t)at * out_row;
            if ((size_t)(end - from[i]) >= row + VSTI_TAP_SLACK) continue;
            uint8_t *line = self->lines + (size_t)i * self->line;
            memcpy(line, from[i], row);
            memset(line + row, 0, VSTI_TAP_SLACK);
            from[i] = line;
        }
        kernels->resample_rows(from, to, in->channels, &taps, self->across.outputs);
    }
}

static void vertical_pass(const resizing *self, const vsti_view *in, vst_image *out) {
    const vsti_kernels *kernels = vsti_get_kernels();
    const vsti_taps taps = taps_of(&self->down);
    const size_t row = (size_t)out->width * (size_t)out->channels;
    for (int y = 0; y < out->height; y++)
        kernels->resample_column(in->pixels, in->stride, in->height, &taps, y, out->pixels + (size_t)y * row,
                                 (int64_t)row);
}

/* `in` is the part of the input given by vst_resize_source. */
static vst_status resample(const vsti_view *in, const vst_resize_window *window, vst_image *scratch, vst_image *out) {
    const bool horizontal = window->width != window->in_width, vertical = window->height != window->in_height;
    const vst_box source = vst_resize_source(window);
    resizing self = {horizontal_axis(window), vertical_axis(window), NULL, NULL, NULL, 0};
    arena memory = {0};
    lay_out(&self, &memory, in);
    const vst_status status = reserve(scratch, memory.size);
    if (status != VST_OK) return status;
    memory = (arena){0, scratch->pixels};
    lay_out(&self, &memory, in);
    vsti_view half = *in;
    if (horizontal) {
        fill_axis(&self.across, source.left, self.values);
        horizontal_pass(&self, in, vertical ? self.half : out->pixels);
        half = (vsti_view){self.half, (size_t)out->width * (size_t)in->channels, in->channels, in->height, out->width};
    }
    if (vertical) {
        fill_axis(&self.down, source.top, self.values);
        vertical_pass(&self, &half, out);
    }
    return VST_OK;
}

static vst_status check_filter(vst_filter filter) {
    if ((unsigned)filter <= VST_FILTER_LANCZOS) return VST_OK;
    return vst_fail(VST_ERROR_ARGUMENT, "resizing an image: unknown filter %d", (int)filter);
}

static void scale_nearest(const vsti_view *in, vst_image *out) {
    vsti_scale_nearest(in, (double)(float)in->width / out->width, 0, (double)(float)in->height / out->height, 0, out);
}

vst_status vst_image_resize(const vst_image *in, const vst_box *box, int height, int width, vst_filter filter,
                            vst_image *scratch, vst_image *out) {
    const vst_box whole = {0, 0, in->height, in->width};
    if (!box) box = &whole;
    vst_status status = vsti_check_box(box, in->height, in->width);
    if (status == VST_OK) status = check_filter(filter);
    if (status == VST_OK) status = vst_image_allocate(out, in->channels, height, width);
    if (status != VST_OK) return status;
    const vsti_view view = vsti_view_box(in, *box);
    const vst_resize_window window = {box->height, box->width, height, width, {0, 0, height, width}, filter};
    if (view.height == height && view.width == width) {
        vsti_copy_view(&view, out->pixels);
    } else if (filter == VST_FILTER_NEAREST) {
        scale_nearest(&view, out);
    } else {
        return resample(&view, &window, scratch, out);
    }
    return VST_OK;
}

/* Sets `out` to the window's source. `in` is the whole input or already that part. */
static vst_status find_view(const vst_image *in, const vst_resize_window *window, vsti_view *out) {
    const vst_box source = vst_resize_source(window);
    if (in->height == window->in_height && in->width == window->in_width) *out = vsti_view_box(in, source);
    else if (in->height == source.height && in->width == source.width) *out = vsti_view_of(in);
    else
        return vst_fail(VST_ERROR_ARGUMENT,
                        "a window of a resized image needs the image of %d x %d pixels (height x width) or its part of "
                        "%d x %d, this one has %d x %d",
                        window->in_height, window->in_width, source.height, source.width, in->height, in->width);
    return VST_OK;
}

vst_status vst_image_resize_window(const vst_image *in, const vst_resize_window *window, vst_image *scratch,
                                   vst_image *out) {
    vst_status status = VST_OK;
    vsti_view view;
    VST_TRY(vsti_check_box(&window->box, window->height, window->width));
    VST_TRY(check_filter(window->filter));
    VST_TRY(find_view(in, window, &view));
    if (window->filter == VST_FILTER_NEAREST) {
        VST_TRY(vst_image_allocate(scratch, in->channels, window->height, window->width));
        scale_nearest(&view, scratch);
        return vst_image_crop(scratch, window->box, out);
    }
    VST_TRY(vst_image_allocate(out, in->channels, window->box.height, window->box.width));
    if (window->height == window->in_height && window->width == window->in_width) vsti_copy_view(&view, out->pixels);
    else VST_TRY(resample(&view, window, scratch, out));
out:
    return status;
}

void vst_resize_shorter(int height, int width, int side, int *out_height, int *out_width) {
    const bool tall = width <= height;
    const int shorter = tall ? width : height, longer = tall ? height : width;
    const int other = (int)((double)((int64_t)side * longer) / shorter);
    *out_height = tall ? other : side;
    *out_width = tall ? side : other;
}
