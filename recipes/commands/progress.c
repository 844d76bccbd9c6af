/* The progress line. Its text is a pure function of time and counts (vsti_progress_text); the rest decides when to draw
 * it.
 */
#include "recipes/commands/progress.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "recipes/commands/output.h"
#include "recipes/commands/table.h"
#include "vision/base/clock.h"

enum { LINE_MAX_BYTES = 1024, BAR_CELLS = 24, LEAST_CELLS = 6 };
static const double redraw_seconds = 0.2;
static atomic_bool shown; /* a line is on the terminal */

static bool terminal_speaks_utf8(void) {
    const char *const names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (int i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (value && *value) return strcasestr(value, "utf-8") || strcasestr(value, "utf8");
    }
    return false;
}

void vst_duration_text(double seconds, char *text, size_t size) {
    if (!(seconds >= 0) || seconds > 1e8) {
        snprintf(text, size, "?");
        return;
    }
    const long whole = lround(seconds);
    if (whole < 3600) snprintf(text, size, "%ld:%02ld", whole / 60, whole % 60);
    else snprintf(text, size, "%ld:%02ld:%02ld", whole / 3600, whole / 60 % 60, whole % 60);
}

/* 12345.6 -> "12,346", 3.21 -> "3.2", 5834567 -> "5.8 M". */
static void rate_text(double rate, char *text, size_t size) {
    if (rate < 100) snprintf(text, size, "%.1f", rate);
    else if (rate < 1e3) snprintf(text, size, "%.0f", rate);
    else if (rate < 1e6) snprintf(text, size, "%.0f,%03.0f", floor(rate / 1e3), floor(fmod(rate, 1e3)));
    else snprintf(text, size, "%.1f M", rate / 1e6);
}

/* The parts of the line in order, and their priority when there is not enough room. */
typedef struct part {
    char text[112];
    int priority; /* 0 stays */
} part;

enum { LABEL, BAR, SHARE, RATE, LOSS, LEFT, PARTS };

static int parts_width(const part parts[PARTS]) {
    int width = 0;
    for (int i = 0; i < PARTS; i++)
        if (*parts[i].text) width += vst_text_width(parts[i].text) + (width ? 2 : 0);
    return width;
}

static void draw_bar(double share, int cells, bool utf8, char *bar) {
    const int full = (int)(share * cells);
    *bar = 0;
    for (int i = 0; i < cells; i++) strcat(bar, i < full ? (utf8 ? "━" : "=") : utf8 ? "╌" : ".");
}

/* "0:20 left", or "run 12:30, study 1:02:03 left"; without a total the elapsed time. */
static void time_part(const vst_progress *progress, double elapsed, double speed, char *text, size_t size) {
    char time[24];
    const uint64_t left = progress->total > progress->done ? progress->total - progress->done : 0;
    if (*progress->left) {
        snprintf(text, size, "%s left", progress->left);
    } else if (!progress->total) {
        vst_duration_text(elapsed, time, sizeof time);
        snprintf(text, size, "%s", time);
    } else if (speed > 0) {
        vst_duration_text((double)left / speed, time, sizeof time);
        snprintf(text, size, "%s left", time);
    }
}

void vsti_progress_text(const vst_progress *progress, double now, int columns, bool utf8, char *text, size_t size) {
    part parts[PARTS] = {{.priority = 0}, {.priority = 1}, {.priority = 0},
                         {.priority = 3}, {.priority = 2}, {.priority = 4}};
    char rate[32];
    const double elapsed = now - progress->started;
    const uint64_t done = progress->done > progress->begun ? progress->done - progress->begun : 0;
    const double speed = elapsed > 0 ? (double)done / elapsed : 0;
    snprintf(parts[LABEL].text, sizeof parts[LABEL].text, "%s", progress->label);
    if (speed > 0) {
        rate_text(speed, rate, sizeof rate);
        snprintf(parts[RATE].text, sizeof parts[RATE].text, "%s %s/s", rate, progress->unit);
    }
    if (isfinite(progress->loss)) snprintf(parts[LOSS].text, sizeof parts[LOSS].text, "loss %.4f", progress->loss);
    time_part(progress, elapsed, speed, parts[LEFT].text, sizeof parts[LEFT].text);
    if (progress->total > 0) {
        const double ratio = (double)progress->done / (double)progress->total, share = ratio < 1 ? ratio : 1;
        snprintf(parts[SHARE].text, sizeof parts[SHARE].text, "%3.0f %%", floor(share * 100));
        const int room = columns - parts_width(parts) - 2, cells = room < BAR_CELLS ? room : BAR_CELLS;
        if (cells >= LEAST_CELLS) draw_bar(share, cells, utf8, parts[BAR].text);
    }
    for (int least = 1; least <= 4 && parts_width(parts) > columns; least++)
        for (int i = 0; i < PARTS; i++)
            if (parts[i].priority == least) *parts[i].text = 0;
    *text = 0;
    for (int i = 0; i < PARTS; i++)
        if (*parts[i].text)
            snprintf(text + strlen(text), size - strlen(text), "%s%s", *text ? "  " : "", parts[i].text);
    vst_text_clean(text);
    text[vst_text_fit(text, columns)] = 0;
}

static void draw(const vst_progress *progress, bool finished, void *user) {
    char text[LINE_MAX_BYTES];
    const double now = vst_seconds();
    double *drawn = user;
    if (!finished && now - *drawn < redraw_seconds) return;
    *drawn = finished ? 0 : now;
    if (finished) {
        vst_progress_hide();
        return;
    }
    vsti_progress_text(progress, now, vst_terminal_width(stderr) - 1, terminal_speaks_utf8(), text, sizeof text);
    fprintf(stderr, "\r%s\033[K", text);
    fflush(stderr);
    atomic_store(&shown, true);
}

void vst_progress_show(void) {
    static double drawn; /* time of the last drawing; 0: draw at the next update */
    if (vst_terminal_width(stderr) > 0) vst_progress_set(draw, &drawn);
}

void vst_progress_hide(void) {
    if (!atomic_exchange(&shown, false)) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
}
