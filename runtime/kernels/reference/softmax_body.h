/* Softmax, LogSoftmax and Hardmax in one computing type: included with REAL, EXP and NAME(x) defined. The axis is the
 * middle one of [outer, axis, inner]; up to SOFTMAX_COLUMNS neighbours along `inner` are swept together, so that memory
 * is read in order. */

static void NAME(softmax_columns)(enum softmax_kind kind, int64_t axis, int64_t inner, int64_t columns, const REAL *x,
                                  REAL *y)
{
    REAL most[SOFTMAX_COLUMNS];
    double sum[SOFTMAX_COLUMNS];
    int64_t where[SOFTMAX_COLUMNS];
    for (int64_t j = 0; j < columns; j++) {
        most[j] = x[j];
        sum[j] = 0;
        where[j] = 0;
    }
    for (int64_t i = 1; i < axis; i++)
        for (int64_t j = 0; j < columns; j++) {
            const REAL value = x[i * inner + j];
            if (value > most[j]) {
                most[j] = value;
                where[j] = i;
            }
        }
    if (kind == SOFTMAX_HARD) {
        for (int64_t i = 0; i < axis; i++)
            for (int64_t j = 0; j < columns; j++)
                y[i * inner + j] = where[j] == i;
        return;
    }
    for (int64_t i = 0; i < axis; i++)
        for (int64_t j = 0; j < columns; j++) {
            const REAL shifted = x[i * inner + j] - most[j], power = EXP(shifted);
            sum[j] += (double)power;
            y[i * inner + j] = kind == SOFTMAX_LOG ? shifted : power;
        }
    for (int64_t j = 0; j < columns; j++)
        sum[j] = kind == SOFTMAX_LOG ? log(sum[j]) : 1 / sum[j];
    for (int64_t i = 0; i < axis; i++)
        for (int64_t j = 0; j < columns; j++) {
            const double value = (double)y[i * inner + j];
            y[i * inner + j] = (REAL)(kind == SOFTMAX_LOG ? value - sum[j] : value * sum[j]);
        }
}

void NAME(softmax)(enum softmax_kind kind, int64_t outer, int64_t axis, int64_t inner, int threads, const REAL *x,
                   REAL *y)
{
    const int64_t blocks = divide_up(inner, SOFTMAX_COLUMNS);
    if (axis == 0)
        return;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < outer * blocks; index++) {
        const int64_t column = index % blocks * SOFTMAX_COLUMNS, at = index / blocks * axis * inner + column;
        NAME(softmax_columns)(kind, axis, inner, smaller(inner - column, SOFTMAX_COLUMNS), x + at, y + at);
    }
}
