/* How OpenMP threads wait for each other. On an idle machine they spin, which is fastest. If other programs are busy, a
 * spinning thread takes the processor from the thread it waits for (measured: 5 to 40 times slower than a fair share),
 * so waiting threads should sleep early. libgomp reads its settings only at the start of a process, but it hardly spins
 * while it manages more threads than there are processors (documented for GOMP_SPINCOUNT). Creating a few parked
 * (sleeping) threads therefore disables spinning. */
#ifndef VISTILL_VISION_BASE_THREADS_H
#define VISTILL_VISION_BASE_THREADS_H

#include <stdbool.h>

/* Sets the number of OpenMP threads of the calling thread's parallel regions (0 or less: no change) and returns the
 * previous number, for restoring it. Other threads are not affected. */
int vsti_threads_use(int threads);

/* Call it before every run of a program. At most twice a second it measures how much other processes use the processors
 * of this process (/proc/stat) and parks or releases threads. Does nothing if the user has set OMP_WAIT_POLICY or
 * GOMP_SPINCOUNT. Never fails: if a thread cannot be created, nothing changes. All functions of this header are
 * thread-safe. */
void vsti_threads_adapt(void);
/* Call it at the end of a run: load of other processes between runs is not counted. */
void vsti_threads_ran(void);

/* For tests: parks or releases threads; returns whether they are parked. */
void vsti_threads_park(bool parked);
bool vsti_threads_are_parked(void);

#endif
