/* Multiplies the rate by a factor if a measure has not improved for some epochs, as torch's ReduceLROnPlateau (relative
 * threshold), on which timm's plateau is based: mode max for an accuracy, mode min for a loss, which is passed as a
 * negative number. The rate does not fall below min_lr. */
#include <math.h>

#include "vision/optim/schedules/schedule_method.h"

typedef struct plateau {
    double decay_rate, threshold;
    int patience, cooldown;
} plateau;

static const vst_option options[] = {
    VST_OPTION_DOUBLE(plateau, decay_rate, 0.1, 0, 1, "factor of each decay"),
    VST_OPTION_INT(plateau, patience, 10, 0, 100000, "epochs without improvement before a decay"),
    VST_OPTION_DOUBLE(plateau, threshold, 1e-4, 0, 1, "relative improvement that counts"),
    VST_OPTION_INT(plateau, cooldown, 0, 0, 100000, "epochs after a decay that are not counted"), VST_OPTION_END};

static double rate(const vst_schedule *s, const void *own, uint64_t after) {
    const plateau *o = own;
    (void)after;
    return fmax(s->minimum, s->rate * pow(o->decay_rate, s->state ? s->state->decays : 0));
}

static void measured(const vst_schedule *s, const void *own, double measure) {
    const plateau *o = own;
    vst_schedule_state *state = s->state;
    const bool better = !state->measured || measure > state->best + fabs(state->best) * o->threshold;
    if (better) state->best = measure;
    state->measured = true;
    state->bad = better ? 0 : state->bad + 1;
    if (state->cooldown > 0) {
        state->cooldown--;
        state->bad = 0;
    }
    if (state->bad <= o->patience) return;
    state->decays++;
    state->cooldown = o->cooldown;
    state->bad = 0;
}

extern const vst_schedule_method vsti_schedule_method_plateau;
const vst_schedule_method vsti_schedule_method_plateau = {
    .name = "plateau",
    .help =
        "lr multiplied by decay_rate when the validation top-1 stops rising, or without data.validation when the "
        "training loss stops falling, as in timm",
    .options = options,
    .options_size = sizeof(plateau),
    .rate = rate,
    .measured = measured};
