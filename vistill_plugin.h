/* What a new backbone, data set format, augmentation, distance or exporter implements. A plug-in is one C file; the
 * README of the folder that it is put into says what it defines, and building Vistill enters it into the table of its
 * kind. */
#ifndef VISTILL_PLUGIN_H
#define VISTILL_PLUGIN_H

#include "backbones/backbone.h"
#include "datasets/augment/augment.h"
#include "datasets/dataset.h"
#include "recipes/deploy/exporters/exporter.h"
#include "recipes/distill/distances/distance.h"
#include "vision/ops/ops.h"
#include "vistill.h"

#endif
