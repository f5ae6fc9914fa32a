/* GridSample's weighted sums in one element type; included with REAL and SAMPLE set. */
static void SAMPLE(REAL *restrict target, const REAL *restrict source, int64_t channels, int64_t target_step, int64_t source_step,
                   const struct samples *samples)
{
    for (int64_t c = 0; c < channels; c++) {
        const REAL *from = source + c * source_step;
        REAL sum = 0;
        for (int k = 0; k < samples->count; k++)
            sum += (REAL)samples->weight[k] * from[samples->offset[k]];
        target[c * target_step] = sum;
    }
}
