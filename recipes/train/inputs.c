/* Fills the inputs of the student's program. */
#include "recipes/train/inputs.h"

#include <string.h>

vst_status vsti_fill_inputs(vsti_trainer *t, const vst_batch *batch, vsti_position position) {
    vsti_student *s = &t->student;
    memcpy(s->image, batch->images, (size_t)batch->count * s->image_floats * sizeof *batch->images);
    memcpy(s->target, batch->targets, (size_t)batch->count * (size_t)s->classes * sizeof *batch->targets);
    vsti_student_set_loss_weights(s, t->recipe, (double)position.step / (double)t->data.steps);
    return vsti_bind_teacher_taps(&t->teachers);
}
