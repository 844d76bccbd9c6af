/* The number of OpenMP threads of a computation, and how threads wait for each other.
 *
 * A team can be smaller than requested: OMP_THREAD_LIMIT, OMP_DYNAMIC, OMP_MAX_ACTIVE_LEVELS, a call within a parallel
 * region. oneDNN and our attention distribute work by the planned number of threads; with fewer threads a part is not
 * computed, or threads wait forever for one that does not exist. The team is therefore measured before a program is
 * planned and before each run.
 *
 * On an idle machine waiting threads spin, which is fastest. If other programs are busy, a spinning thread takes the
 * processor from the thread it waits for (measured: 5 to 40 times slower than a fair share), so waiting threads should
 * sleep early. libgomp reads its settings only at the start of a process, but it hardly spins while it manages more
 * threads than there are processors (documented for GOMP_SPINCOUNT). Creating a few parked (sleeping) threads therefore
 * disables spinning.
 *
 * A team that spins uses all the processor time of a run, so what it did not use, others had: busy programs of any
 * priority, or a limit on this process's processor time. That is noticed within one run or 50 ms. Parked threads are
 * released when other processes leave the processors alone (/proc/stat). */
#ifndef VISTILL_VISION_BASE_THREADS_H
#define VISTILL_VISION_BASE_THREADS_H

#include <stdbool.h>

#include "vision/base/status.h"

typedef struct vsti_team {
    int threads;  /* of each parallel region of the calling thread, until vsti_team_end */
    int before;   /* the caller's number of threads, 0 if unchanged */
    bool dynamic; /* whether OpenMP may reduce the size of teams */
} vsti_team;

/* Gives the calling thread's parallel regions exactly `threads` threads; VST_ERROR_UNSUPPORTED if there are fewer. 0:
 * as many as the caller's setting really gives; one within a parallel region, as in oneDNN. Other threads are not
 * affected. vsti_team_end restores the setting; it does nothing for a team that is {0} or has failed. */
VST_NODISCARD vst_status vsti_team_begin(vsti_team *team, int threads);
void vsti_team_end(const vsti_team *team);

typedef struct vsti_threads_clock {
    bool spins;        /* no threads were parked */
    double time, used; /* seconds: of the clock, and of processors by the team, if it spins */
} vsti_threads_clock;

/* Around every run of a program: notices that the team does not get its processors, or has them again, and parks or
 * releases threads. Does nothing unless vsti_waiting_policy is VSTI_WAITING_ADAPTS. Never fails: if a thread cannot be
 * created, nothing changes. All functions of this header are thread-safe. */
vsti_threads_clock vsti_threads_run_begins(void);
void vsti_threads_run_ends(const vsti_threads_clock *begin);

typedef enum vsti_waiting {
    VSTI_WAITING_ADAPTS,
    VSTI_WAITING_CHOSEN, /* by OMP_WAIT_POLICY or GOMP_SPINCOUNT */
    VSTI_WAITING_LIMITED /* OMP_THREAD_LIMIT is set, and parked threads may count against it */
} vsti_waiting;
vsti_waiting vsti_waiting_policy(void);

/* For tests: the file that is read for /proc/stat; parks or releases threads; returns whether they are parked. */
extern const char *vsti_threads_stat;
void vsti_threads_park(bool parked);
bool vsti_threads_are_parked(void);

#endif
