/* Preprocessing of images of any size by the model's options image, crop_pct and interpolation, as in timm's
 * create_transform and torchvision. */
#ifndef VISTILL_RECIPES_INFER_PREPROCESSING_H
#define VISTILL_RECIPES_INFER_PREPROCESSING_H

#include "backbones/backbone.h"
#include "datasets/loader/loader.h"
#include "datasets/loader/transform.h"

vst_evaluation_view vst_model_view(const vst_model_config *config);

/* The preprocessing as text: "shorter side to 256, bilinear; the middle 224 × 224; mean [0.5], std [0.5]". */
enum { VST_PREPROCESSING_TEXT = 1000 };
const char *vst_preprocessing_text(const vst_model_config *config, char text[VST_PREPROCESSING_TEXT]);

/* Checks that a data set has the same number of classes as the model. */
VST_NODISCARD vst_status vst_model_check_data(const vst_model_config *config, const vst_dataset *dataset);

/* A loader for evaluation: in order, with the model's preprocessing, including the partial last batch. `broken` NULL: a
 * broken sample is an error; a skipped one counts as unlabelled. */
VST_NODISCARD vst_status vst_evaluation_loader(vst_loader **out, const vst_dataset *dataset,
                                               const vst_model_config *config, int batch, int workers,
                                               const vst_broken_rule *broken);

#endif
