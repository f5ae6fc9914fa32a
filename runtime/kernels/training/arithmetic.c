/* What the kernels of training reckon with beside their inner loops: steps and what is fetched in them, totals, what is large. */
#include "runtime/kernels/training/blocks.h"

enum { LARGE_BYTES = 16 << 20, MOST_STEPS_A_LINE = 3, MOST_LINES_A_STEP = 4 };

int64_t training_outer_steps(const struct training_blocks *blocks, int64_t rows, int64_t depth, int64_t columns)
{
    const int64_t high = blocks->outer_rows, wide = blocks->outer_depth;
    return (rows + high - 1) / high * ((depth + wide - 1) / wide) * (columns / blocks->lanes);
}

void training_ahead_pace(struct training_ahead *ahead, int64_t steps)
{
    const int64_t lines = (int64_t)ahead->count * ahead->lines, each = steps > 0 ? (lines + steps - 1) / steps : 0;
    const int64_t every = lines ? steps / lines : MOST_STEPS_A_LINE;
    ahead->each = each > MOST_LINES_A_STEP ? MOST_LINES_A_STEP : (int)each;
    ahead->every = every > MOST_STEPS_A_LINE ? MOST_STEPS_A_LINE : every < 1 ? 1 : (int)every;
}

void training_total(const float *sums, size_t unit, int64_t units, int count, double *out)
{
    for (int i = 0; i < count; i++)
        out[i] = 0;
    for (int64_t u = 0; u < units; u++, sums += unit)
        for (int i = 0; i < count; i++)
            out[i] += (double)sums[i];
}

bool training_is_large(int64_t floats)
{
    return floats >= LARGE_BYTES / (int64_t)sizeof(float);
}
