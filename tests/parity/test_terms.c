/* Distillation terms against PyTorch with the formulas of the published code (make_term_fixtures.py): losses within
 * 1e-5, gradients within 1e-4 of their root mean square. */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "recipes/distill/term.h"
#include "tests/unit/compare.h"
#include "tests/unit/context.h"
#include "tests/unit/own_folder.h"
#include "tests/unit/suite.h"
#include "tests/unit/term_text.h"
#include "vision/tensor/safetensors.h"

typedef struct term_case {
    const char *name, *student_tap, *teacher_tap, *keys;
} term_case;

static const term_case cases[] = {
    {"kd_t1", "logits", "logits", "distance=kl"},
    {"kd_t20", "logits", "logits", "distance=kl temperature=20"},
    {"deit_soft", "logits_dist", "logits", "distance=kl temperature=3 reduction=elements"},
    {"deit_hard", "logits_dist", "logits", "distance=hard"},
    {"standardised", "logits", "logits", "distance=kl temperature=2 transform=standardize"},
    {"locality", "blocks.1", "layer3", "distance=mse projector=linear"},
    {"hint", "blocks.1", "layer3", "distance=mse projector=linear"},
    {"attention_transfer", "blocks.1", "layer2", "distance=mse align=smaller transform=attention"},
    {"attention_transfer_uneven", "blocks.1", "layer2", "distance=mse align=smaller transform=attention"},
    {"fitnets_strided", "blocks.1", "layer3", "distance=mse projector=regressor"},
    {"fitnets_transposed", "blocks.1", "layer2", "distance=mse projector=regressor"},
    {"fitnets_same", "blocks.1", "layer3", "distance=mse projector=regressor"},
    {"fitnets_valid", "blocks.1", "layer3", "distance=mse projector=regressor"},
    {"fitnets_resized", "blocks.1", "layer3", "distance=mse projector=regressor"},
    {"softmax_mse", "logits", "logits", "distance=softmax_mse"},
    {"relation_of_a_map", "blocks.1", "layer3", "distance=kl transform=relation"},
    {"minilm_values", "blocks.1.v", "blocks.5.v", "distance=kl transform=relation"},
    {"attention_kl", "blocks.1.scores", "blocks.5.scores", "distance=kl"},
    {"attention_mse", "blocks.1.scores", "blocks.5.scores", "distance=mse"},
    {"cosine", "blocks.1", "blocks.3", "distance=cosine tokens=all"},
    {"hidden", "blocks.1", "blocks.3", "distance=mse tokens=all"},
    {"class_token", "blocks.1", "blocks.3", "distance=mse tokens=class"},
    {"unit", "blocks.1", "blocks.3", "distance=mse transform=unit"},
    {"rkd_distance", "pooled", "pooled", "distance=rkd_distance"},
    {"rkd_angle", "pooled", "pooled", "distance=rkd_angle"},
    {"rkd_pooled", "blocks.1", "layer3", "distance=rkd_distance"},
};
enum { CASES = sizeof cases / sizeof cases[0] };

static const vst_tensor *tensor_of(const vst_safetensors *file, const char *name, const char *part) {
    char text[64];
    snprintf(text, sizeof text, "%s.%s", name, part);
    return vst_safetensors_find(file, text);
}

static size_t count_of(const vst_tensor *tensor) { return (size_t)vst_shape_count(&tensor->shape); }

static void set_param(vst_params *params, const char *name, const vst_tensor *tensor) {
    const int index = tensor ? vst_params_find(params, name) : -1;
    if (index < 0) return;
    memcpy(vst_params_values(params) + vst_params_at(params, (size_t)index)->offset, tensor->data,
           count_of(tensor) * sizeof(float));
}

START_TEST(equals_pytorch) {
    const term_case *c = &cases[_i];
    vst_safetensors *file;
    vst_params *params;
    vst_graph *g;
    vst_context *context;
    char input[VST_TEACHER_INPUT_NAME];
    ck_ok(vst_safetensors_open(&file, VISTILL_SOURCE_DIR "/tests/parity/terms.safetensors", NULL));
    const vst_tensor *student = tensor_of(file, c->name, "student"), *teacher = tensor_of(file, c->name, "teacher");
    const vst_tensor *gradient = tensor_of(file, c->name, "gradient"), *loss = tensor_of(file, c->name, "loss");
    ck_assert_msg(student && teacher && gradient && loss, "the fixture lacks %s", c->name);
    vst_term_options term = term_of(c->keys);
    ck_ok(vst_term_set(&term, "student", c->student_tap));
    ck_ok(vst_term_set(&term, "teacher", c->teacher_tap));
    ck_ok(vst_params_create(&params));
    ck_ok(vst_graph_create(&g, params));
    vst_tap(g, c->student_tap, vst_param(g, "student", student->shape, (vst_init){0}));
    const vst_value value = vst_term_build(g, &term, 0, c->teacher_tap, teacher->shape, (vst_value){0});
    vst_differentiate(g, value);
    ck_ok(vst_graph_finish(g));
    ck_ok(vst_params_allocate(params, true, 1));
    set_param(params, "student", student);
    set_param(params, "distill.0.projector.weight", tensor_of(file, c->name, "weight"));
    set_param(params, "distill.0.projector.bias", tensor_of(file, c->name, "bias"));
    context = create_context(g, &value, 1, &(vst_program_options){.mode = VST_TRAIN});
    memcpy(vst_context_input(context, vst_term_input(0, c->teacher_tap, input)), teacher->data,
           count_of(teacher) * sizeof(float));
    ck_ok(vst_context_run(context, 0));
    const double got = vst_context_output(context, 0)[0], want = *(const float *)loss->data;
    const float *slope =
        vst_params_gradients(params) + vst_params_at(params, (size_t)vst_params_find(params, "student"))->offset;
    const double worst = relative_difference(slope, (const float *)gradient->data, count_of(gradient), 0);
    printf("%-20s loss %.7f, off by %.1e; gradient off by %.1e of its RMS\n", c->name, got, fabs(got - want), worst);
    fflush(stdout);
    ck_assert_close("loss", got, want,
                    (tolerance){.absolute = fabs(want) > 1 ? 0 : 1e-5, .relative = fabs(want) > 1 ? 1e-5 : 0});
    ck_assert_double_lt(worst, 1e-4);
    destroy_context(context);
    vst_graph_destroy(g);
    vst_params_destroy(params);
    vst_safetensors_close(file);
    vst_term_clear(&term);
}
END_TEST

int main(void) {
    TCase *tests = tcase_create("terms");
    tcase_set_timeout(tests, 60);
    tcase_add_loop_test(tests, equals_pytorch, 0, CASES);
    return run_suite("terms", tests);
}
