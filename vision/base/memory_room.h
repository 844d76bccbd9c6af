/* How much memory the machine has, and whether it is enough. */
#ifndef VISTILL_VISION_BASE_MEMORY_ROOM_H
#define VISTILL_VISION_BASE_MEMORY_ROOM_H

#include <stdbool.h>
#include <stdint.h>

#include "vision/base/status.h"

typedef struct vsti_memory_room {
    uint64_t most; /* bytes that this process could have if it were alone: RAM or its control group's limit, and swap;
                      or ulimit -v */
    uint64_t free; /* bytes that it has or gets without swapping: available ones and those that it uses already */
} vsti_memory_room;

/* Reads ROOT/proc and ROOT/sys/fs/cgroup (version 1 and 2); the root is "" but in tests. False: not known. */
bool vsti_memory_room_read(const char *root, vsti_memory_room *room);

/* Bytes that this process uses now, without files' pages and what is allocated but was not written to; 0: not known. */
uint64_t vsti_memory_used(void);

/* VST_ERROR_LIMIT if the whole process needs more bytes than it could ever have; a warning if it needs more than are
 * free. Memory that is allocated but not written to does not count as used yet, so that the check may follow the
 * allocations. `what` begins the message ("this training"), `advice` ends it ("a smaller optim.batch"). */
VST_NODISCARD vst_status vsti_memory_check(uint64_t needed, const char *what, const char *advice);

#endif
