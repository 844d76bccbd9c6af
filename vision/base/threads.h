/* How OpenMP's threads wait for each other. On a machine of their own they spin, which is fastest. Beside other busy
 * programs a spinning thread keeps the processor from the one it waits for (measured: 5 to 40 times slower than a fair
 * share), so they should go to sleep soon. libgomp reads its settings only at the start of a process, but documents
 * (GOMP_SPINCOUNT) that it spins hardly at all while it manages more threads than there are processors: so a few parked
 * threads are enough to tell it. */
#ifndef VISTILL_VISION_BASE_THREADS_H
#define VISTILL_VISION_BASE_THREADS_H

#include <stdbool.h>

/* Sets the number of OpenMP threads that the calling thread's parallel regions have, 0 or less: leaves it, and gives
 * the number before, to set it back. Other threads keep theirs. */
int vsti_threads_use(int threads);

/* To be called often by the threads that run programs: looks, at most twice a second, how much of the processors that
 * we may run on others use (/proc/stat), and changes the way of waiting. Does nothing where the user has set
 * OMP_WAIT_POLICY or GOMP_SPINCOUNT. Never fails: if a thread cannot be had, waiting stays as it was. Thread-safe, as
 * all of these functions. */
void vsti_threads_adapt(void);
/* To be called at the end of a run: while no program runs, others are welcome to the processors. */
void vsti_threads_ran(void);

/* The two halves of it, for tests: parks threads, or lets them go; whether they are parked. */
void vsti_threads_park(bool parked);
bool vsti_threads_are_parked(void);

#endif
