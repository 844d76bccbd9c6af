/* Every variant of the registry against timm_models.csv (written by make_models_table.py): parameters, names and shapes
 * of all tensors, input, preprocessing. And the names that other projects give to the tensors, initial values, where
 * stochastic depth is.
 * usage: test_models           the tests
 *        test_models NAME      "name shape" lines of one variant; make_models_table.py --tensors NAME prints timm's */
#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "backbones/backbone.h"
#include "tests/unit/suite.h"
#include "vision/base/memory.h"

/* Variants that timm does not have. */
static const char *const not_in_timm[] = {
    "resnet8_cifar",  "resnet14_cifar",     "resnet20_cifar",     "resnet32_cifar",
    "resnet56_cifar", "vit_mini_patch4_28", "vit_mini_patch7_28", "deit_mini_distilled_patch4_28",
    "cct_2_3x2_32",   "cct_4_3x2_32",       "cct_6_3x1_32",       "cct_6_3x2_32",
    "cct_7_3x1_32",   "cct_7_3x1_32_c100",  "cct_7_3x2_32",       "cct_7_7x2_224",
    "cct_14_7x2_224", "cct_14_7x2_384"};
enum { NOT_IN_TIMM = sizeof not_in_timm / sizeof *not_in_timm };

/* ---- Our variants ---- */

typedef struct built {
    vst_model_config *model;
    vst_params *params;
    vst_graph *graph;
} built;

/* The graph declares the parameters; nothing is allocated for their values. */
static vst_status declare(built *b, const char *variant, const char *drop_path) {
    vst_status status = vst_model_config_create(&b->model, variant);
    if (status == VST_OK && drop_path) status = vst_model_config_set(b->model, "drop_path", drop_path);
    if (status == VST_OK) status = vst_params_create(&b->params);
    if (status == VST_OK) status = vst_graph_create(&b->graph, b->params);
    if (status != VST_OK) return status;
    vst_model_build(b->graph, b->model, 1);
    return vst_graph_finish(b->graph);
}

static built build(const char *variant) {
    built b = {0};
    ck_assert_msg(declare(&b, variant, NULL) == VST_OK, "%s: %s", variant, vst_error_message());
    return b;
}

static void destroy(built *b) {
    vst_graph_destroy(b->graph);
    vst_params_destroy(b->params);
    vst_model_config_destroy(b->model);
}

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static char *tensor_line(const vst_param_info *info) {
    char line[400];
    int used = snprintf(line, sizeof line, "%s ", info->name);
    for (int d = 0; d < info->shape.rank; d++)
        used += snprintf(line + used, sizeof line - (size_t)used, d ? "x%lld" : "%lld", (long long)info->shape.dim[d]);
    snprintf(line + used, sizeof line - (size_t)used, "\n");
    return strdup(line);
}

/* Sorted "name shape" lines, in one text, to be freed. */
static char *tensor_lines(const vst_params *params) {
    const size_t count = vst_params_count(params);
    char **lines = malloc(count * sizeof *lines);
    size_t bytes = 1;
    for (size_t i = 0; i < count; i++) {
        lines[i] = tensor_line(vst_params_at(params, i));
        bytes += strlen(lines[i]);
    }
    qsort(lines, count, sizeof *lines, by_text);
    char *text = malloc(bytes), *end = text;
    for (size_t i = 0; i < count; i++) {
        end = stpcpy(end, lines[i]);
        free(lines[i]);
    }
    free(lines);
    return text;
}

static long long parameters(const vst_params *params) {
    long long sum = 0;
    for (size_t i = 0; i < vst_params_count(params); i++) {
        const vst_param_info *info = vst_params_at(params, i);
        if (info->kind == VST_PARAM_WEIGHT || info->kind == VST_PARAM_NODECAY) sum += vst_shape_count(&info->shape);
    }
    return sum;
}

/* ---- The table ---- */

typedef struct row {
    char name[64], mean[64], std[64], interpolation[16];
    long long parameters;
    int image, channels, classes;
    double crop_pct;
    unsigned tensors;
} row;

static row *rows;
static int row_count;

static bool read_table(void) {
    FILE *file = fopen(VISTILL_SOURCE_DIR "/tests/parity/timm_models.csv", "r");
    char line[400];
    if (!file || !fgets(line, sizeof line, file)) return false;
    while (fgets(line, sizeof line, file)) {
        row r;
        if (sscanf(line, "%63[^,],%lld,%d,%d,%d,%63[^,],%63[^,],%lf,%15[^,],%x", r.name, &r.parameters, &r.image,
                   &r.channels, &r.classes, r.mean, r.std, &r.crop_pct, r.interpolation, &r.tensors) != 10)
            return false;
        rows = realloc(rows, (size_t)(row_count + 1) * sizeof *rows);
        if (!rows) return false;
        rows[row_count++] = r;
    }
    fclose(file);
    return row_count > 0;
}

static const row *row_of(const char *name) {
    for (int i = 0; i < row_count; i++)
        if (strcmp(rows[i].name, name) == 0) return &rows[i];
    return NULL;
}

static bool is_foreign_to_timm(const char *name) {
    for (int i = 0; i < NOT_IN_TIMM; i++)
        if (strcmp(not_in_timm[i], name) == 0) return true;
    return false;
}

/* ---- Tests ---- */

/* "0.485 0.456 0.406" against an option that has one value a channel, or one for all. */
static void check_list(const char *name, const char *what, const char *wanted, const vst_option_list *got,
                       int channels) {
    char *end;
    for (int c = 0; c < channels; c++, wanted = end) {
        const double value = strtod(wanted, &end);
        ck_assert_msg(end != wanted, "%s: %s of channel %d is missing in the table", name, what, c);
        ck_assert_msg(got->count == 1 || got->count == channels, "%s: %s has %d values", name, what, got->count);
        ck_assert_msg(got->value[got->count == 1 ? 0 : c] == value, "%s: %s is %g, timm's %g", name, what,
                      got->value[got->count == 1 ? 0 : c], value);
    }
}

static void check_row(const row *r) {
    built b = build(r->name);
    const vst_model_common *common = vst_model_common_of(b.model);
    ck_assert_msg(common->image == r->image && common->channels == r->channels && common->classes == r->classes,
                  "%s: %d x %d x %d, %d classes; timm's %d x %d x %d, %d classes", r->name, common->channels,
                  common->image, common->image, common->classes, r->channels, r->image, r->image, r->classes);
    check_list(r->name, "mean", r->mean, &common->mean, r->channels);
    check_list(r->name, "std", r->std, &common->std, r->channels);
    ck_assert_msg(common->crop_pct == r->crop_pct, "%s: crop_pct is %g, timm's %g", r->name, common->crop_pct,
                  r->crop_pct);
    char *interpolation =
        vst_options_get(vst_options_find(b.model->backbone->options, "interpolation"), b.model->options);
    ck_assert_str_eq(interpolation, r->interpolation);
    vst_free(interpolation);
    ck_assert_msg(parameters(b.params) == r->parameters, "%s: %lld parameters, timm's %lld", r->name,
                  parameters(b.params), r->parameters);
    char *lines = tensor_lines(b.params);
    ck_assert_msg(crc32(0, (const Bytef *)lines, (uInt)strlen(lines)) == r->tensors,
                  "%s: tensors differ from timm's; compare `test_models %s` with `make_models_table.py --tensors %s`",
                  r->name, r->name, r->name);
    free(lines);
    destroy(&b);
}

START_TEST(variants) {
    int known = 0;
    for (size_t i = 0; i < vst_backbone_count(); i++)
        for (const vst_backbone_variant *v = vst_backbone_at(i)->variants; v->name; v++) {
            const row *r = row_of(v->name);
            ck_assert_msg(!r || !is_foreign_to_timm(v->name), "%s is in timm", v->name);
            if (r) {
                check_row(r);
                known++;
            } else {
                ck_assert_msg(is_foreign_to_timm(v->name),
                              "%s is neither in timm_models.csv (make_models_table.py writes it) nor in not_in_timm",
                              v->name);
                built b = build(v->name);
                destroy(&b);
            }
        }
    ck_assert_msg(known == row_count, "timm_models.csv has %d models, of which we have %d", row_count, known);
    printf("%d variants as timm has them\n", known);
}
END_TEST

typedef struct foreign {
    const char *variant, *theirs, *ours; /* ours: NULL if the family should not know the name */
} foreign;

static const foreign names[] = {
    {"regnety_160", "stem.0.weight", "stem.conv.weight"}, /* torchvision */
    {"regnety_160", "stem.1.running_mean", "stem.bn.running_mean"},
    {"regnety_160", "trunk_output.block1.block1-0.proj.0.weight", "s1.b1.downsample.conv.weight"},
    {"regnety_160", "trunk_output.block1.block1-0.proj.1.bias", "s1.b1.downsample.bn.bias"},
    {"regnety_160", "trunk_output.block1.block1-1.f.a.0.weight", "s1.b2.conv1.conv.weight"},
    {"regnety_160", "trunk_output.block2.block2-3.f.a.1.num_batches_tracked", "s2.b4.conv1.bn.num_batches_tracked"},
    {"regnety_160", "trunk_output.block3.block3-10.f.b.0.weight", "s3.b11.conv2.conv.weight"},
    {"regnety_160", "trunk_output.block3.block3-10.f.b.1.weight", "s3.b11.conv2.bn.weight"},
    {"regnety_160", "trunk_output.block4.block4-0.f.se.fc1.bias", "s4.b1.se.fc1.bias"},
    {"regnety_160", "trunk_output.block4.block4-0.f.se.fc2.weight", "s4.b1.se.fc2.weight"},
    {"regnety_160", "trunk_output.block4.block4-0.f.c.0.weight", "s4.b1.conv3.conv.weight"},
    {"regnety_160", "trunk_output.block4.block4-0.f.c.1.running_var", "s4.b1.conv3.bn.running_var"},
    {"regnety_160", "fc.weight", "head.fc.weight"},
    {"regnety_160", "trunk_output.block1.block2-0.f.a.0.weight", NULL},
    {"regnety_160", "s1.b1.conv1.conv.weight", NULL},
    {"tf_efficientnet_b0", "_conv_stem.weight", "conv_stem.weight"}, /* lukemelas' EfficientNet-PyTorch */
    {"tf_efficientnet_b0", "_bn0.running_mean", "bn1.running_mean"},
    {"tf_efficientnet_b0", "_blocks.0._depthwise_conv.weight", "blocks.0.0.conv_dw.weight"},
    {"tf_efficientnet_b0", "_blocks.0._bn1.weight", "blocks.0.0.bn1.weight"},
    {"tf_efficientnet_b0", "_blocks.0._se_reduce.bias", "blocks.0.0.se.conv_reduce.bias"},
    {"tf_efficientnet_b0", "_blocks.0._project_conv.weight", "blocks.0.0.conv_pw.weight"},
    {"tf_efficientnet_b0", "_blocks.0._bn2.bias", "blocks.0.0.bn2.bias"},
    {"tf_efficientnet_b0", "_blocks.2._expand_conv.weight", "blocks.1.1.conv_pw.weight"},
    {"tf_efficientnet_b0", "_blocks.2._bn0.weight", "blocks.1.1.bn1.weight"},
    {"tf_efficientnet_b0", "_blocks.3._depthwise_conv.weight", "blocks.2.0.conv_dw.weight"},
    {"tf_efficientnet_b0", "_blocks.4._bn1.weight", "blocks.2.1.bn2.weight"},
    {"tf_efficientnet_b0", "_blocks.5._se_reduce.weight", "blocks.3.0.se.conv_reduce.weight"},
    {"tf_efficientnet_b0", "_blocks.10._se_expand.weight", "blocks.4.2.se.conv_expand.weight"},
    {"tf_efficientnet_b0", "_blocks.15._project_conv.weight", "blocks.6.0.conv_pwl.weight"},
    {"tf_efficientnet_b0", "_blocks.15._bn2.running_var", "blocks.6.0.bn3.running_var"},
    {"tf_efficientnet_b0", "_conv_head.weight", "conv_head.weight"},
    {"tf_efficientnet_b0", "_bn1.weight", "bn2.weight"},
    {"tf_efficientnet_b0", "_fc.bias", "classifier.bias"},
    {"tf_efficientnet_b0", "_blocks.16._bn2.weight", NULL},
    {"tf_efficientnet_b3", "_blocks.25._bn2.weight", "blocks.6.1.bn3.weight"},
    {"efficientnet_b1", "features.0.0.weight", "conv_stem.weight"}, /* torchvision */
    {"efficientnet_b1", "features.0.1.weight", "bn1.weight"},
    {"efficientnet_b1", "features.1.1.block.0.0.weight", "blocks.0.1.conv_dw.weight"},
    {"efficientnet_b1", "features.1.1.block.0.1.bias", "blocks.0.1.bn1.bias"},
    {"efficientnet_b1", "features.1.1.block.1.fc1.weight", "blocks.0.1.se.conv_reduce.weight"},
    {"efficientnet_b1", "features.1.1.block.1.fc2.bias", "blocks.0.1.se.conv_expand.bias"},
    {"efficientnet_b1", "features.1.1.block.2.0.weight", "blocks.0.1.conv_pw.weight"},
    {"efficientnet_b1", "features.1.1.block.2.1.running_var", "blocks.0.1.bn2.running_var"},
    {"efficientnet_b1", "features.2.0.block.0.0.weight", "blocks.1.0.conv_pw.weight"},
    {"efficientnet_b1", "features.2.0.block.0.1.weight", "blocks.1.0.bn1.weight"},
    {"efficientnet_b1", "features.3.2.block.1.0.weight", "blocks.2.2.conv_dw.weight"},
    {"efficientnet_b1", "features.3.2.block.1.1.weight", "blocks.2.2.bn2.weight"},
    {"efficientnet_b1", "features.5.0.block.2.fc1.weight", "blocks.4.0.se.conv_reduce.weight"},
    {"efficientnet_b1", "features.5.0.block.2.fc2.weight", "blocks.4.0.se.conv_expand.weight"},
    {"efficientnet_b1", "features.7.1.block.3.0.weight", "blocks.6.1.conv_pwl.weight"},
    {"efficientnet_b1", "features.7.1.block.3.1.weight", "blocks.6.1.bn3.weight"},
    {"efficientnet_b1", "features.8.0.weight", "conv_head.weight"},
    {"efficientnet_b1", "features.8.1.weight", "bn2.weight"},
    {"efficientnet_b1", "classifier.1.weight", "classifier.weight"},
    {"mobilenetv2_100", "features.0.0.weight", "conv_stem.weight"}, /* torchvision */
    {"mobilenetv2_100", "features.0.1.running_mean", "bn1.running_mean"},
    {"mobilenetv2_100", "features.1.conv.0.0.weight", "blocks.0.0.conv_dw.weight"},
    {"mobilenetv2_100", "features.1.conv.0.1.weight", "blocks.0.0.bn1.weight"},
    {"mobilenetv2_100", "features.1.conv.1.weight", "blocks.0.0.conv_pw.weight"},
    {"mobilenetv2_100", "features.1.conv.2.bias", "blocks.0.0.bn2.bias"},
    {"mobilenetv2_100", "features.3.conv.0.0.weight", "blocks.1.1.conv_pw.weight"},
    {"mobilenetv2_100", "features.4.conv.0.1.weight", "blocks.2.0.bn1.weight"},
    {"mobilenetv2_100", "features.7.conv.1.0.weight", "blocks.3.0.conv_dw.weight"},
    {"mobilenetv2_100", "features.10.conv.1.1.weight", "blocks.3.3.bn2.weight"},
    {"mobilenetv2_100", "features.14.conv.2.weight", "blocks.5.0.conv_pwl.weight"},
    {"mobilenetv2_100", "features.17.conv.3.weight", "blocks.6.0.bn3.weight"},
    {"mobilenetv2_100", "features.18.0.weight", "conv_head.weight"},
    {"mobilenetv2_100", "features.18.1.weight", "bn2.weight"},
    {"mobilenetv2_100", "classifier.1.bias", "classifier.bias"},
    {"mobilenetv2_100", "classifier.weight", NULL},
    {"convnext_tiny", "downsample_layers.0.0.weight", "stem.0.weight"}, /* the authors */
    {"convnext_tiny", "downsample_layers.0.1.bias", "stem.1.bias"},
    {"convnext_tiny", "downsample_layers.1.0.weight", "stages.1.downsample.0.weight"},
    {"convnext_tiny", "downsample_layers.3.1.weight", "stages.3.downsample.1.weight"},
    {"convnext_tiny", "stages.0.0.dwconv.weight", "stages.0.blocks.0.conv_dw.weight"},
    {"convnext_tiny", "stages.2.8.norm.bias", "stages.2.blocks.8.norm.bias"},
    {"convnext_tiny", "stages.2.8.pwconv1.weight", "stages.2.blocks.8.mlp.fc1.weight"},
    {"convnext_tiny", "stages.3.2.pwconv2.bias", "stages.3.blocks.2.mlp.fc2.bias"},
    {"convnext_tiny", "stages.1.0.gamma", "stages.1.blocks.0.gamma"},
    {"convnext_tiny", "norm.weight", "head.norm.weight"},
    {"convnext_tiny", "head.bias", "head.fc.bias"},
    {"convnext_tiny", "features.0.0.weight", "stem.0.weight"}, /* torchvision */
    {"convnext_tiny", "features.0.1.weight", "stem.1.weight"},
    {"convnext_tiny", "features.1.2.layer_scale", "stages.0.blocks.2.gamma"},
    {"convnext_tiny", "features.1.2.block.0.bias", "stages.0.blocks.2.conv_dw.bias"},
    {"convnext_tiny", "features.2.0.weight", "stages.1.downsample.0.weight"},
    {"convnext_tiny", "features.5.8.block.2.weight", "stages.2.blocks.8.norm.weight"},
    {"convnext_tiny", "features.5.8.block.3.weight", "stages.2.blocks.8.mlp.fc1.weight"},
    {"convnext_tiny", "features.6.1.bias", "stages.3.downsample.1.bias"},
    {"convnext_tiny", "features.7.0.block.5.weight", "stages.3.blocks.0.mlp.fc2.weight"},
    {"convnext_tiny", "classifier.0.weight", "head.norm.weight"},
    {"convnext_tiny", "classifier.2.weight", "head.fc.weight"},
    {"convnext_tiny", "head.fc.weight", NULL},
    {"resnet20_cifar", "linear.weight", "fc.weight"}, /* akamaster's pytorch_resnet_cifar10, shortcuts of option B */
    {"resnet20_cifar", "layer2.0.shortcut.0.weight", "layer2.0.downsample.0.weight"},
    {"resnet20_cifar", "layer3.0.shortcut.1.running_mean", "layer3.0.downsample.1.running_mean"},
    {"resnet20_cifar", "layer1.0.conv1.weight", NULL}};

/* By the first naming that knows it. */
static bool translate(const built *b, const char *theirs, vst_foreign_name *out) {
    for (const vst_naming *n = b->model->backbone->namings; n && n->project; n++)
        if (vst_naming_translate(n, b->model->options, theirs, out)) return true;
    return false;
}

START_TEST(foreign_names) {
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        built b = build(names[i].variant);
        vst_foreign_name got = {.parts = 0};
        const bool known = translate(&b, names[i].theirs, &got);
        ck_assert_msg(known == (names[i].ours != NULL), "%s: \"%s\" becomes \"%s\"", names[i].variant, names[i].theirs,
                      got.ours);
        if (known) {
            ck_assert_str_eq(got.ours, names[i].ours);
            ck_assert_msg(vst_params_find(b.params, got.ours) >= 0, "%s has no tensor %s", names[i].variant, got.ours);
        }
        destroy(&b);
    }
}
END_TEST

START_TEST(patterns_of_names) {
    static const vst_name_pair pairs[] = {
        {"block{a}.block{a}-{b}.x.", "s{a}.b{b+1}.{a/2}.", 1, 3}, {"f{a}.", "g{a-1}", 0, 0}, {"mask", NULL, 0, 0}, {0}};
    static const vst_naming naming = {.project = "p", .names = pairs};
    static const char *const unknown[] = {
        "block3.block2-0.x.w", "block.block-0.x.w", "block3.block3-0.y.w", "f12345678901.w", "f", "mas", ""};
    vst_foreign_name got;
    char text[300];
    ck_assert(vst_naming_translate(&naming, NULL, "block3.block3-09.x.weight", &got));
    ck_assert_str_eq(got.ours, "s3.b10.1.weight");
    ck_assert(got.part == 1 && got.parts == 3);
    ck_assert(vst_naming_translate(&naming, NULL, "f0.", &got));
    ck_assert_str_eq(got.ours, "g-1");
    ck_assert(vst_naming_translate(&naming, NULL, "mask_token", &got));
    ck_assert_str_eq(got.ours, "");
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        ck_assert_msg(!vst_naming_translate(&naming, NULL, unknown[i], &got), "%s", unknown[i]);
    for (size_t length = 250; length < 260; length++) { /* 255 bytes have room */
        memset(text, 'w', length);
        memcpy(text, "f7.", 3);
        text[length] = 0;
        ck_assert(vst_naming_translate(&naming, NULL, text, &got) == (length - 1 < sizeof got.ours));
    }
}
END_TEST

/* What values a tensor begins with. */
typedef struct beginning {
    const char *variant, *tensor;
    double mean, deviation;
} beginning;

static const beginning beginnings[] = {
    {"resnet18", "conv1.weight", 0, 0.02525}, /* sqrt(2 / (7 * 7 * 64)) */
    {"resnet18", "layer1.0.bn1.weight", 1, 0},
    {"resnet18", "layer1.0.bn2.weight", 0, 0}, /* the block begins as the identity */
    {"resnet50", "layer4.2.bn3.weight", 0, 0},
    {"resnet50", "layer4.2.bn2.weight", 1, 0},
    {"resnet18", "fc.weight", 0, 0.02552}, /* uniform within 1 / sqrt(512) */
    {"resnet18", "fc.bias", 0, 0.02552},
    {"regnety_002", "s4.b2.conv3.bn.weight", 0, 0},
    {"regnety_002", "s4.b1.downsample.bn.weight", 1, 0},
    {"regnety_002", "s4.b2.conv2.conv.weight", 0, 0.1667}, /* sqrt(2 / (3 * 3 * 8)), the fan out of a group */
    {"regnety_002", "s4.b2.se.fc1.bias", 0, 0},
    {"regnety_002", "head.fc.weight", 0, 0.01},
    {"efficientnet_b0", "blocks.6.0.conv_dw.weight", 0, 0.4714}, /* sqrt(2 / (3 * 3)) */
    {"efficientnet_b0", "blocks.6.0.se.conv_expand.bias", 0, 0},
    {"efficientnet_b0", "classifier.weight", 0, 0.01826}, /* uniform within 1 / sqrt(1000) */
    {"efficientnet_b0", "classifier.bias", 0, 0},
    {"mobilenetv2_100", "conv_head.weight", 0, 0.03953}, /* sqrt(2 / 1280) */
    {"mobilenetv2_100", "blocks.1.1.bn3.weight", 1, 0},
    {"convnext_tiny", "stages.3.blocks.2.gamma", 1e-6, 0},
    {"convnext_tiny", "stages.3.blocks.2.conv_dw.weight", 0, 0.02},
    {"convnext_tiny", "stages.3.blocks.2.conv_dw.bias", 0, 0},
    {"convnext_tiny", "head.fc.weight", 0, 0.02}};

START_TEST(initial_values) {
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++) {
        const beginning *want = &beginnings[i];
        built b = build(want->variant);
        ck_assert_int_eq(vst_params_allocate(b.params, false, 1), VST_OK);
        const int index = vst_params_find(b.params, want->tensor);
        ck_assert_msg(index >= 0, "%s has no tensor %s", want->variant, want->tensor);
        const vst_param_info *info = vst_params_at(b.params, (size_t)index);
        const float *values = vst_params_values(b.params) + info->offset;
        double sum = 0, squares = 0;
        for (size_t k = 0; k < info->count; k++) sum += values[k];
        const double mean = sum / (double)info->count;
        for (size_t k = 0; k < info->count; k++) squares += (values[k] - mean) * (values[k] - mean);
        const double deviation = sqrt(squares / (double)info->count),
                     error = 5 * want->deviation / sqrt((double)info->count);
        ck_assert_msg(fabs(mean - want->mean) <= error + 1e-9 && fabs(deviation - want->deviation) <= error + 1e-9,
                      "%s: %s begins with %g ± %g, timm's with %g ± %g", want->variant, want->tensor, mean, deviation,
                      want->mean, want->deviation);
        destroy(&b);
    }
}
END_TEST

/* Stochastic depth is in every block that has a shortcut, but for the first, whose rate is 0. */
START_TEST(drop_path) {
    static const struct {
        const char *variant;
        int count;
    } wanted[] = {
        {"resnet50", 15}, {"regnety_002", 12}, {"efficientnet_b0", 9}, {"mobilenetv2_100", 10}, {"convnext_tiny", 17}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        built b = {0};
        ck_assert_msg(declare(&b, wanted[i].variant, "0.2") == VST_OK, "%s", vst_error_message());
        char *text = vst_graph_text(b.graph);
        int count = 0;
        for (const char *at = text; (at = strstr(at, "drop_path")); at++) count++;
        ck_assert_msg(count == wanted[i].count, "%s: %d blocks with stochastic depth, not %d", wanted[i].variant, count,
                      wanted[i].count);
        vst_free(text);
        destroy(&b);
    }
}
END_TEST

/* Outside of Check, whose assertions work in tests alone. */
static int print_tensors(const char *variant) {
    built b = {0};
    const bool declared = declare(&b, variant, NULL) == VST_OK;
    if (declared) {
        char *lines = tensor_lines(b.params);
        fputs(lines, stdout);
        free(lines);
    } else {
        fprintf(stderr, "%s\n", vst_error_message());
    }
    destroy(&b);
    return declared ? 0 : 1;
}

int main(int argc, char **argv) {
    if (argc > 1) return print_tensors(argv[1]);
    if (!read_table()) {
        fprintf(stderr, "timm_models.csv cannot be read\n");
        return 1;
    }
    TCase *cases = tcase_create("models");
    tcase_set_timeout(cases, 300);
    tcase_add_test(cases, variants);
    tcase_add_test(cases, foreign_names);
    tcase_add_test(cases, patterns_of_names);
    tcase_add_test(cases, initial_values);
    tcase_add_test(cases, drop_path);
    return run_suite("models", cases);
}
