#include <math.h>

#include "runtime/kernels/quantized/step.h"
#include "runtime/kernels/reference/integer.h"

double quantized_value(const struct quantized_columns *columns, int64_t column, int32_t sum)
{
    const double value = (double)(int32_t)((uint32_t)sum + (uint32_t)columns->offset[column]) * columns->scale[column] + columns->bias[column];
    return columns->rectified && value < 0 ? 0 : value;
}

int32_t quantized_byte(const struct quantized_columns *columns, double value)
{
    return requantize(value / columns->y_scale, columns->y_zero, columns->result == RESULT_INT8);
}

/* How far from a whole number v = sum · scale + bias may lie, computed in float32. Beyond 600 both saturate. Below, each of the five roundings
 * on the way is at most 2^-24 of |sum · scale| ≤ 600 + |bias|, of |bias| or of 600. */
static float near_limit(float scale, float bias, double y_scale)
{
    const float error = (1024 + 2 * fabsf(bias)) * 0x1p-23f;
    return y_scale > 0 && isfinite(scale) && error < 0.25f ? 0.5f - error : -1;
}

void quantized_set_column(struct quantized_step *step, int64_t feature, int32_t offset, double scale, double bias)
{
    const struct quantized_columns *columns = &step->columns;
    const int64_t each = step->depthwise ? step->shape.features : step->shape.features / step->shape.group;
    const int64_t at = feature / each * step->group_blocks * step->blocks->columns + feature % each;
    const float near_scale = (float)(scale / columns->y_scale), near_bias = (float)(bias / columns->y_scale);
    ((int32_t *)columns->offset)[at] = offset;
    ((double *)columns->scale)[at] = scale;
    ((double *)columns->bias)[at] = bias;
    ((float *)columns->near_scale)[at] = near_scale;
    ((float *)columns->near_bias)[at] = near_bias;
    ((float *)columns->near_limit)[at] = near_limit(near_scale, near_bias, columns->y_scale);
}
