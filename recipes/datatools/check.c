/* Reads a whole data set in several threads and reports broken samples. */
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "recipes/datatools/datatools.h"
#include "vision/base/memory.h"
#include "vision/base/progress.h"

enum { WORKERS_MAX = 256, POLL_NANOSECONDS = 50 * 1000 * 1000 };

typedef struct work {
    const vst_dataset *dataset;
    vst_data_report *report;
    atomic_uint_fast64_t next, done;
    atomic_bool quit;
    pthread_mutex_t mutex; /* protects the report and the following fields */
    vst_status status;     /* of the first error other than a broken sample */
    char error[1024];
    int running;
} work;

static vst_status add_bad(vst_data_report *report, uint64_t sample, int label) {
    char *reason = vst_strdup(vst_error_message());
    if (!reason) return vst_fail_memory(strlen(vst_error_message()));
    const vst_status status = vst_grow(&report->bad, &report->bad_capacity, report->bad_count + 1, sizeof *report->bad);
    if (status == VST_OK) report->bad[report->bad_count++] = (vst_data_bad){sample, label, reason};
    else vst_free(reason);
    return status;
}

static void take_size(vst_data_report *report, const vst_image *image) {
    if (!report->most_height || image->height < report->least_height) report->least_height = image->height;
    if (!report->most_width || image->width < report->least_width) report->least_width = image->width;
    if (image->height > report->most_height) report->most_height = image->height;
    if (image->width > report->most_width) report->most_width = image->width;
}

static void check_one(work *self, uint64_t sample, vst_image *image) {
    vst_data_report *report = self->report;
    int label = -1;
    vst_status status = vst_dataset_read(self->dataset, sample, image, &label);
    pthread_mutex_lock(&self->mutex);
    const int row = label >= 0 && label < report->classes ? label : report->classes;
    if (status == VST_OK) {
        report->good[row]++;
        take_size(report, image);
    } else if (vst_dataset_is_broken(status)) {
        report->broken[row]++;
        status = add_bad(report, sample, label);
    }
    if (status != VST_OK && self->status == VST_OK) {
        self->status = status;
        strncpy(self->error, vst_error_message(), sizeof self->error - 1);
        atomic_store(&self->quit, true);
    }
    pthread_mutex_unlock(&self->mutex);
}

static void *check_some(void *opaque) {
    work *self = opaque;
    vst_image image = {0};
    while (!atomic_load(&self->quit)) {
        const uint64_t sample = atomic_fetch_add(&self->next, 1);
        if (sample >= vst_dataset_count(self->dataset)) break;
        check_one(self, sample, &image);
        atomic_fetch_add(&self->done, 1);
    }
    vst_image_clear(&image);
    pthread_mutex_lock(&self->mutex);
    self->running--;
    pthread_mutex_unlock(&self->mutex);
    return NULL;
}

static bool all_ended(work *self) {
    pthread_mutex_lock(&self->mutex);
    const bool ended = self->running == 0;
    pthread_mutex_unlock(&self->mutex);
    return ended;
}

/* Reports progress until all threads have ended. */
static vst_status watch(work *self, const volatile sig_atomic_t *stop) {
    vst_progress progress;
    const struct timespec pause = {.tv_nsec = POLL_NANOSECONDS};
    vst_progress_start(&progress, "checking", "images", vst_dataset_count(self->dataset));
    while (!all_ended(self)) {
        if (stop && *stop) atomic_store(&self->quit, true);
        vst_progress_update(&progress, atomic_load(&self->done), NAN);
        nanosleep(&pause, NULL);
    }
    vst_progress_finish(&progress);
    if (self->status != VST_OK) return vst_fail(self->status, "%s", self->error);
    return stop && *stop ? vst_fail(VST_ERROR_INTERRUPTED, "stopped while checking") : VST_OK;
}

static int by_sample(const void *a, const void *b) {
    const vst_data_bad *first = a, *second = b;
    return (first->sample > second->sample) - (first->sample < second->sample);
}

vst_status vst_data_check(const vst_dataset *dataset, int workers, const volatile sig_atomic_t *stop,
                          vst_data_report *report) {
    const size_t rows = (size_t)vst_dataset_classes(dataset) + 1;
    pthread_t threads[WORKERS_MAX];
    work self = {.dataset = dataset, .report = report};
    int started = 0, error = 0;
    if (workers < 1 || workers > WORKERS_MAX)
        return vst_fail(VST_ERROR_ARGUMENT, "%d workers, it must be 1 to %d", workers, WORKERS_MAX);
    report->samples = vst_dataset_count(dataset);
    report->classes = vst_dataset_classes(dataset);
    report->good = vst_calloc(rows, sizeof *report->good);
    report->broken = vst_calloc(rows, sizeof *report->broken);
    if (!report->good || !report->broken) return vst_fail_memory(rows * sizeof *report->good);
    pthread_mutex_init(&self.mutex, NULL);
    self.running = workers;
    for (; started < workers && !error; started += !error)
        error = pthread_create(&threads[started], NULL, check_some, &self);
    pthread_mutex_lock(&self.mutex);
    self.running -= workers - started;
    pthread_mutex_unlock(&self.mutex);
    vst_status status = started ? watch(&self, stop) : VST_OK;
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    pthread_mutex_destroy(&self.mutex);
    if (!started) status = vst_fail(VST_ERROR_IO, "the system refuses a thread: %s", strerror(error));
    if (report->bad_count) qsort(report->bad, report->bad_count, sizeof *report->bad, by_sample);
    return status;
}

void vst_data_report_clear(vst_data_report *report) {
    for (size_t i = 0; i < report->bad_count; i++) vst_free(report->bad[i].reason);
    vst_free(report->bad);
    vst_free(report->good);
    vst_free(report->broken);
    *report = (vst_data_report){0};
}
