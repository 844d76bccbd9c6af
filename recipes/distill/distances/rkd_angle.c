/* Angles of the triangles between the images of a batch (Park et al., "Relational Knowledge Distillation", 2019; the
 * authors' weight is 50). Memory and work grow with the cube of the batch size. */
#include "recipes/distill/distances/distance.h"
#include "vision/ops/ops.h"

/* (B, B, B): cosines of the angles at each image between every two others. */
static vst_value angles(vst_graph *g, vst_value x) {
    const vst_shape shape = vst_shape_at(g, x);
    const vst_value rows = vst_reshape(g, x, VST_SHAPE(1, shape.dim[0], shape.dim[1]));
    const vst_value centres = vst_reshape(g, vst_scale(g, x, -1), VST_SHAPE(shape.dim[0], 1, shape.dim[1]));
    const vst_value directions = vst_l2_normalize(g, vst_add(g, rows, centres));
    return vst_matmul(g, directions, directions, false, true);
}

static vst_value build(const vst_distance_inputs *in) {
    return vst_smooth_l1(in->graph, angles(in->graph, in->student), angles(in->graph, in->teacher));
}

extern const vst_distance vsti_distance_rkd_angle;
const vst_distance vsti_distance_rkd_angle = {.name = "rkd_angle",
                                              .help = "relational: angles between triplets of images of a batch",
                                              .expects = VST_EXPECTS_VECTORS,
                                              .build = build};
