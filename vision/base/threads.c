/* Measures OpenMP teams. Notices during runs that a team does not get the processors it spins on, and parks threads
 * until the processors are free again. */
#include "vision/base/threads.h"

#include <fcntl.h>
#include <omp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vision/base/clock.h"
enum { STAT_BYTES = 1 << 16 };
/* While threads spin: seconds of runs that are judged at once, and how many processors the team may be denied. One busy
 * program takes 0.5 to 1 of them; an idle machine's own work takes less than 0.05. */
static const double judged = 0.05, crowded = 0.25;
/* While threads are parked: seconds between two measurements (the kernel counts in hundredths of a second), and how
 * many processors others may use when the threads are released. */
static const double interval = 0.25, lonely = 0.15;
static const double longest_pause = 0.25; /* after such a time without a run, the measurement says nothing about runs */
/* Seconds to stay parked. They double when the team has to be parked again within soon_again seconds: the measurement
 * does not see what denies the processors, such as a limit on this process. */
static const double shortest_parking = 0.25, longest_parking = 30, soon_again = 2;

const char *vsti_threads_stat = "/proc/stat";

static struct {
    pthread_mutex_t mutex; /* protects the following fields */
    pthread_cond_t changed;
    bool wanted;            /* the team should stay parked */
    bool parked, changing;  /* changing: a thread is starting or ending the team, and other threads wait for it */
    pthread_t thread;       /* used only by the thread that changes it */
    double ran_for, denied; /* while threads spin: seconds of runs, and processor seconds that the team did not get */
    double since, least;    /* time of the last change, and how long to stay parked */
    double looked, others;  /* time of the last measurement (0: none), and processor seconds of others until then */
    double ran;             /* end of the last run */
} self = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

/* ---- The team ---- */

static int measure_team(void) {
    int threads = 1;
    if (omp_in_parallel() || omp_get_max_threads() == 1) return 1;
#pragma omp parallel
#pragma omp master
    threads = omp_get_num_threads();
    return threads;
}

static void set_team(int threads, bool dynamic) {
    if (omp_get_dynamic() != dynamic) omp_set_dynamic(dynamic);
    if (omp_get_max_threads() != threads) omp_set_num_threads(threads);
}

vst_status vsti_team_begin(vsti_team *team, int threads) {
    *team = (vsti_team){.before = omp_get_max_threads(), .dynamic = omp_get_dynamic()};
    set_team(threads > 0 ? threads : team->before, false);
    team->threads = measure_team();
    if (threads <= 0) set_team(team->threads, false);
    if (threads <= 0 || team->threads == threads) return VST_OK;
    vsti_team_end(team);
    const int had = team->threads;
    *team = (vsti_team){0};
    return vst_fail(VST_ERROR_UNSUPPORTED, "%d threads are needed to compute, and OpenMP gives %d%s", threads, had,
                    omp_in_parallel() ? " within a parallel region: call from outside of it, or ask for 1 thread"
                                      : ": raise OMP_THREAD_LIMIT and OMP_MAX_ACTIVE_LEVELS, or ask for fewer threads");
}

void vsti_team_end(const vsti_team *team) {
    if (team->before) set_team(team->before, team->dynamic);
}

/* ---- Waiting ---- */

static void wait_until_released(void) {
    pthread_mutex_lock(&self.mutex);
    self.parked = true;
    pthread_cond_broadcast(&self.changed);
    while (self.wanted) pthread_cond_wait(&self.changed, &self.mutex);
    pthread_mutex_unlock(&self.mutex);
}

/* The team exists while its master thread waits; the other threads sleep at the end of the region. */
static void *park(void *size) {
    const int threads = *(int *)size;
#pragma omp parallel num_threads(threads)
    {
#pragma omp master
        wait_until_released();
    }
    return NULL;
}

/* Waits until the team exists. If no thread can be created, nothing changes. */
static void start_parking(void) {
    static int size; /* read by the new thread */
    sigset_t all, old;
    size = omp_get_num_procs() - omp_get_max_threads() +
           1; /* together with the computing team this exceeds the number of processors */
    if (size < 2) size = 2;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are left to the program's own threads */
    self.wanted = pthread_create(&self.thread, NULL, park, &size) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    while (self.wanted && !self.parked) pthread_cond_wait(&self.changed, &self.mutex);
}

/* Releases the mutex meanwhile, because the team needs it to end. */
static void end_parking(void) {
    self.wanted = false;
    pthread_cond_broadcast(&self.changed);
    pthread_mutex_unlock(&self.mutex);
    pthread_join(self.thread, NULL);
    pthread_mutex_lock(&self.mutex);
    self.parked = false;
}

/* With the mutex locked. */
static void note_change(bool parked) {
    const double time = vst_seconds();
    if (parked) {
        const double least = time - self.since < soon_again ? 2 * self.least : shortest_parking;
        self.least = least < shortest_parking ? shortest_parking : least > longest_parking ? longest_parking : least;
    }
    self.since = time;
    self.ran_for = self.denied = self.looked = 0;
}

void vsti_threads_park(bool parked) {
    pthread_mutex_lock(&self.mutex);
    while (self.changing) pthread_cond_wait(&self.changed, &self.mutex);
    if (parked != self.parked) {
        self.changing = true;
        note_change(parked);
        if (parked) start_parking();
        else end_parking();
        self.changing = false;
        pthread_cond_broadcast(&self.changed);
    }
    pthread_mutex_unlock(&self.mutex);
}

bool vsti_threads_are_parked(void) {
    pthread_mutex_lock(&self.mutex);
    const bool parked = self.parked;
    pthread_mutex_unlock(&self.mutex);
    return parked;
}

/* Busy seconds of a processor from its line in /proc/stat. */
static double busy_seconds(const char *line) {
    unsigned long long user = 0, nice = 0, system = 0, idle, wait, interrupts = 0, soft = 0;
    sscanf(line, "%llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle, &wait, &interrupts, &soft);
    return (double)(user + nice + system + interrupts + soft) / (double)sysconf(_SC_CLK_TCK);
}

static double seconds_of(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

/* Processor seconds that other processes have used so far on our processors; negative if unknown. */
static double others_seconds(void) {
    static char text[STAT_BYTES]; /* protected by the mutex */
    cpu_set_t ours;
    double sum = 0;
    const int file = open(vsti_threads_stat, O_RDONLY | O_CLOEXEC);
    const ssize_t size = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (file >= 0) close(file);
    if (size <= 0 || sched_getaffinity(0, sizeof ours, &ours) != 0) return -1;
    text[size] = 0;
    for (const char *line = text; line; line = strchr(line, '\n')) {
        int cpu, used = 0;
        line += *line == '\n';
        if (sscanf(line, "cpu%d %n", &cpu, &used) == 1 && used && cpu >= 0 && cpu < CPU_SETSIZE &&
            CPU_ISSET(cpu, &ours))
            sum += busy_seconds(line + used);
    }
    return sum - seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

/* Number of processors that others have used since the last measurement, 0 if unknown (they are released to try);
 * negative if it is too early. With the mutex locked. */
static double look(double begun, double time) {
    double rate = -1;
    const double passed = time - self.looked;
    const bool idle = begun - self.ran > longest_pause; /* nothing ran, so others could use the processors */
    if (passed < interval && !idle) return -1;
    const double others = others_seconds();
    if (self.looked > 0 && !idle) rate = others < 0 || self.others < 0 ? 0 : (others - self.others) / passed;
    if (self.looked > 0 && !idle && rate < 0) rate = 0; /* the resolution of the two clocks differs */
    self.looked = time;
    self.others = others;
    return rate;
}

/* Processor seconds of the calling thread's team. Each thread reads its own clock: the kernel brings that of a thread
 * that runs elsewhere up to date only at its next tick. */
static double team_seconds(void) {
    double sum = 0;
#pragma omp parallel
    {
#pragma omp barrier /* waiting for a thread that is late is no part of a run that begins */
        const double own = seconds_of(CLOCK_THREAD_CPUTIME_ID);
#pragma omp atomic
        sum += own;
    }
    return sum;
}

/* Adds a run of threads that spin; whether they lack processors. With the mutex locked. */
static bool is_denied(double seconds, double used, int threads) {
    const int processors = omp_get_num_procs();
    const double wanted = seconds * (threads < processors ? threads : processors);
    self.ran_for += seconds;
    self.denied += wanted - used;
    if (self.ran_for < judged) return false;
    const bool denied = self.denied > crowded * self.ran_for;
    self.ran_for = self.denied = 0;
    return denied;
}

vsti_waiting vsti_waiting_policy(void) {
    if (getenv("OMP_WAIT_POLICY") || getenv("GOMP_SPINCOUNT")) return VSTI_WAITING_CHOSEN;
    return getenv("OMP_THREAD_LIMIT") ? VSTI_WAITING_LIMITED : VSTI_WAITING_ADAPTS;
}

static bool may_adapt(void) { return omp_get_max_threads() > 1 && vsti_waiting_policy() == VSTI_WAITING_ADAPTS; }

vsti_threads_clock vsti_threads_run_begins(void) {
    if (!may_adapt()) return (vsti_threads_clock){0};
    vsti_threads_clock begin = {.spins = !vsti_threads_are_parked()};
    if (begin.spins) begin.used = team_seconds();
    begin.time = vst_seconds();
    return begin;
}

void vsti_threads_run_ends(const vsti_threads_clock *begin) {
    if (!may_adapt()) return;
    const double used = begin->spins ? team_seconds() - begin->used : 0, time = vst_seconds();
    pthread_mutex_lock(&self.mutex);
    bool parked = self.parked;
    if (parked) {
        const double rate = look(begin->time, time);
        if (rate >= 0 && rate < lonely && time - self.since >= self.least) parked = false;
    } else if (begin->spins) {
        parked = is_denied(time - begin->time, used, omp_get_max_threads());
    }
    self.ran = time;
    const bool change = parked != self.parked;
    pthread_mutex_unlock(&self.mutex);
    if (change) vsti_threads_park(parked);
}
