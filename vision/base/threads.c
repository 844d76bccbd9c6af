/* Watches for involuntary context switches, and parks an OpenMP team while there are many. */
#include "vision/base/threads.h"

#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static const double interval = 0.05;             /* seconds between two looks */
static const double crowded = 60, lonely = 10;   /* switches a second from which, and below which, the way changes */

static struct {
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t changed;
    bool wanted, parked, started;
    pthread_t thread;
    double looked; /* time of the last look, 0: never */
    long switches; /* involuntary ones until then */
} self = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void wait_until_released(void) {
    pthread_mutex_lock(&self.mutex);
    self.parked = true;
    pthread_cond_broadcast(&self.changed);
    while (self.wanted) pthread_cond_wait(&self.changed, &self.mutex);
    pthread_mutex_unlock(&self.mutex);
}

/* The team lives as long as its first thread waits; the others sleep at the end of the region. */
static void *park(void *size) {
    const int threads = *(int *)size;
#pragma omp parallel num_threads(threads)
    {
#pragma omp master
        wait_until_released();
    }
    return NULL;
}

static bool start_parking(void) {
    static int size;
    sigset_t all, old;
    size = omp_get_num_procs() - omp_get_max_threads() + 1; /* with the team that computes: more than there are processors */
    if (size < 2) size = 2;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals stay with the program's own threads */
    self.wanted = true;
    self.started = pthread_create(&self.thread, NULL, park, &size) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!self.started) self.wanted = false;
    return self.started;
}

void vsti_threads_park(bool parked) {
    pthread_mutex_lock(&self.mutex);
    if (parked && !self.started && start_parking())
        while (!self.parked) pthread_cond_wait(&self.changed, &self.mutex);
    const bool finish = !parked && self.started;
    if (finish) {
        self.wanted = self.started = false;
        pthread_cond_broadcast(&self.changed);
    }
    pthread_mutex_unlock(&self.mutex);
    if (!finish) return;
    pthread_join(self.thread, NULL);
    pthread_mutex_lock(&self.mutex);
    self.parked = false;
    pthread_mutex_unlock(&self.mutex);
}

bool vsti_threads_are_parked(void) {
    pthread_mutex_lock(&self.mutex);
    const bool parked = self.parked;
    pthread_mutex_unlock(&self.mutex);
    return parked;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Involuntary switches a second since the last look; negative: it is too early for one. */
static double look(void) {
    struct rusage usage;
    double rate = -1;
    pthread_mutex_lock(&self.mutex);
    const double time = now(), passed = time - self.looked;
    if (passed >= interval && getrusage(RUSAGE_SELF, &usage) == 0) {
        if (self.looked > 0) rate = (double)(usage.ru_nivcsw - self.switches) / passed;
        self.looked = time;
        self.switches = usage.ru_nivcsw;
    }
    pthread_mutex_unlock(&self.mutex);
    return rate;
}

static bool is_users_choice(void) { return getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT"); }

void vsti_threads_adapt(void) {
    if (omp_get_max_threads() < 2) return;
    const double rate = look();
    if (rate < 0 || is_users_choice()) return;
    if (rate > crowded) vsti_threads_park(true);
    else if (rate < lonely) vsti_threads_park(false);
}
