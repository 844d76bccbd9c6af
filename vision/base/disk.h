/* Free space of disks. */
#ifndef VISTILL_VISION_BASE_DISK_H
#define VISTILL_VISION_BASE_DISK_H

#include <stdint.h>

#include "vision/base/status.h"

/* "1.20 TB", "3.21 GB", "40.0 MB" or "1.5 kB", in powers of 1000. */
const char *vsti_bytes_text(uint64_t bytes, char text[32]);

/* VST_ERROR_IO if the disk of `path` (or of its nearest existing parent) has fewer than `needed` bytes free for this
 * user. The message says how much is needed and free and where, followed by `advice`. */
VST_NODISCARD vst_status vsti_disk_check(const char *path, uint64_t needed, const char *advice);

#endif
