/* TensorBoard's event files: TFRecords of Event messages with scalars (tensorflow/core/util/event.proto, summary.proto;
 * the records' checksums are CRC-32C, masked). Internal to this folder. */
#ifndef VISTILL_RECIPES_TRAIN_EVENTS_H
#define VISTILL_RECIPES_TRAIN_EVENTS_H

#include <stddef.h>
#include <stdint.h>

/* TensorBoard recognises a file by "tfevents" in its name. */
#define VSTI_EVENTS_FILE "events.out.tfevents.0.vistill"
enum { VSTI_EVENT_BYTES = 2048, VSTI_EVENT_SCALARS = 24 };

typedef struct vsti_scalar {
    const char *tag; /* "train/loss"; at most 63 bytes */
    double value;
} vsti_scalar;

/* The first record of a file, and a record of scalars at a step; `seconds` since 1970. Both return the number of bytes
 * written. */
size_t vsti_event_head(uint8_t out[VSTI_EVENT_BYTES], double seconds);
size_t vsti_event_scalars(uint8_t out[VSTI_EVENT_BYTES], double seconds, uint64_t step, const vsti_scalar *scalars,
                          int count);

/* CRC-32C (Castagnoli). */
uint32_t vsti_crc32c(const void *bytes, size_t size);

#endif
