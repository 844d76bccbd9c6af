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
 * disables spinning. */
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

/* Call it before every run of a program. At most twice a second it measures how much other processes use the processors
 * of this process (/proc/stat) and parks or releases threads. Does nothing if the user has set OMP_WAIT_POLICY,
 * GOMP_SPINCOUNT or OMP_THREAD_LIMIT (parked threads may count against it). Never fails: if a thread cannot be created,
 * nothing changes. All functions of this header are thread-safe. */
void vsti_threads_adapt(void);
/* Call it at the end of a run: load of other processes between runs is not counted. */
void vsti_threads_ran(void);

/* For tests: parks or releases threads; returns whether they are parked. */
void vsti_threads_park(bool parked);
bool vsti_threads_are_parked(void);

#endif
