/* Operators that move elements or look at shapes. */
#include "compiler/op.h"

const struct op ops_shape[] = {
    {.name = "CenterCropPad", .traits = OP_MOVES_DATA},
    {.name = "Compress", .traits = OP_MOVES_DATA},
    {.name = "Concat", .traits = OP_MOVES_DATA},
    {.name = "DepthToSpace", .traits = OP_MOVES_DATA},
    {.name = "Expand", .traits = OP_MOVES_DATA},
    {.name = "Flatten", .traits = OP_MOVES_DATA},
    {.name = "NonZero"},
    {.name = "OneHot"},
    {.name = "Pad", .traits = OP_MOVES_DATA},
    {.name = "Reshape", .traits = OP_MOVES_DATA},
    {.name = "ReverseSequence", .traits = OP_MOVES_DATA},
    {.name = "Shape"},
    {.name = "Size"},
    {.name = "Slice", .traits = OP_MOVES_DATA},
    {.name = "SpaceToDepth", .traits = OP_MOVES_DATA},
    {.name = "Split", .traits = OP_MOVES_DATA},
    {.name = "Squeeze", .traits = OP_MOVES_DATA},
    {.name = "Tile", .traits = OP_MOVES_DATA},
    {.name = "TopK"},
    {.name = "Transpose", .traits = OP_MOVES_DATA},
    {.name = "Trilu"},
    {.name = "Unique"},
    {.name = "Unsqueeze", .traits = OP_MOVES_DATA},
};
const size_t ops_shape_count = sizeof(ops_shape) / sizeof(*ops_shape);
