/* The progress line. What is drawn is a pure function of time and counts (vsti_progress_text); the rest decides when.
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

enum { LINE_MAX_BYTES = 1024, BAR_CELLS = 24 };
static const double redraw_seconds = 0.2;
static atomic_bool shown; /* a line stands on the terminal */

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

/* 12345.6 -> "12,346", 3.21 -> "3.2". */
static void rate_text(double rate, char *text, size_t size) {
    if (rate < 100) snprintf(text, size, "%.1f", rate);
    else if (rate < 1e3) snprintf(text, size, "%.0f", rate);
    else if (rate < 1e6) snprintf(text, size, "%.0f,%03.0f", floor(rate / 1e3), floor(fmod(rate, 1e3)));
    else snprintf(text, size, "%.3g", rate);
}

void vsti_progress_text(const vst_progress *progress, double now, int columns, bool utf8, char *text, size_t size) {
    const uint64_t done = progress->done;
    const double loss = progress->loss;
    char bar[BAR_CELLS * 4 + 8] = "", loss_text[32] = "", rate[32], time_text[48] = "", left[24];
    const double elapsed = now - progress->started, speed = elapsed > 0 ? (double)done / elapsed : 0;
    rate_text(speed, rate, sizeof rate);
    if (isfinite(loss)) snprintf(loss_text, sizeof loss_text, "  loss %.4f", loss);
    if (progress->total > 0) {
        const double share = done < progress->total ? (double)done / (double)progress->total : 1;
        const int full = (int)(share * BAR_CELLS), cells = columns >= 70 ? BAR_CELLS : 0;
        for (int i = 0; i < cells; i++) strcat(bar, i < full ? (utf8 ? "━" : "=") : utf8 ? "╌" : ".");
        snprintf(bar + strlen(bar), sizeof bar - strlen(bar), "%s%3.0f %%", cells ? " " : "", floor(share * 100));
        if (speed > 0) {
            vst_duration_text((double)(progress->total - (done < progress->total ? done : progress->total)) / speed,
                              left, sizeof left);
            snprintf(time_text, sizeof time_text, "  %s left", left);
        }
    } else {
        vst_duration_text(elapsed, left, sizeof left);
        snprintf(time_text, sizeof time_text, "  %s", left);
    }
    snprintf(text, size, "%s  %s  %s %s/s%s%s", progress->label, bar, rate, progress->unit, loss_text, time_text);
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
    static double drawn; /* when; 0: the next update draws */
    if (vst_terminal_width(stderr) > 0) vst_progress_set(draw, &drawn);
}

void vst_progress_hide(void) {
    if (!atomic_exchange(&shown, false)) return;
    fputs("\r\033[K", stderr);
    fflush(stderr);
}
