/* Operators that move elements or look at shapes. */
#include "compiler/gradients/compose.h"
#include "compiler/gradients/gradients.h"
#include "compiler/lower_onednn.h"

const struct op ops_shape[] = {
    {.name = "CenterCropPad", .traits = OP_MOVES_DATA, .gradient = differentiate_centre_crop_pad},
    {.name = "Compress", .traits = OP_MOVES_DATA, .compose = compose_compress},
    {.name = "Concat", .traits = OP_MOVES_DATA, .lower = lower_concat, .gradient = differentiate_concat},
    {.name = "DepthToSpace", .traits = OP_MOVES_DATA, .gradient = differentiate_depth_to_space},
    {.name = "Expand", .traits = OP_MOVES_DATA, .gradient = differentiate_expand},
    {.name = "Flatten", .traits = OP_MOVES_DATA, .gradient = differentiate_reshape},
    {.name = "NonZero"},
    {.name = "OneHot", .compose = compose_one_hot},
    {.name = "Pad", .traits = OP_MOVES_DATA, .gradient = differentiate_pad},
    {.name = "Reshape", .traits = OP_MOVES_DATA, .gradient = differentiate_reshape},
    {.name = "ReverseSequence", .traits = OP_MOVES_DATA, .gradient = differentiate_reverse_sequence},
    {.name = "Shape"},
    {.name = "Size"},
    {.name = "Slice", .traits = OP_MOVES_DATA, .gradient = differentiate_slice},
    {.name = "SpaceToDepth", .traits = OP_MOVES_DATA, .gradient = differentiate_space_to_depth},
    {.name = "Split", .traits = OP_MOVES_DATA, .lower = lower_split, .gradient = differentiate_split},
    {.name = "Squeeze", .traits = OP_MOVES_DATA, .gradient = differentiate_reshape},
    {.name = "Tile", .traits = OP_MOVES_DATA, .gradient = differentiate_tile},
    {.name = "TopK", .gradient = differentiate_top_k, .compose = compose_top_k},
    {.name = "Transpose", .traits = OP_MOVES_DATA, .gradient = differentiate_transpose},
    {.name = "Trilu", .gradient = differentiate_triangle},
    {.name = "Unique", .compose = compose_unique},
    {.name = "Unsqueeze", .traits = OP_MOVES_DATA, .gradient = differentiate_reshape},
};
const size_t ops_shape_count = sizeof(ops_shape) / sizeof(*ops_shape);
