/* Matrix products in one computing type: included with REAL and NAME(x) defined. Rows are cut into blocks whose size
 * depends on nothing but the shape, so every number of threads computes the same bits. */

/* y_r[j] += Σ_k a_r[k] · b[k, j] for four rows. */
VECTOR_CLONES static void NAME(four_rows)(REAL *restrict y0, REAL *restrict y1, REAL *restrict y2, REAL *restrict y3,
                                          const REAL *a, int64_t a_stride, const REAL *restrict b, int64_t b_stride,
                                          int64_t k, int64_t n)
{
    for (int64_t i = 0; i < k; i++) {
        const REAL a0 = a[i], a1 = a[a_stride + i], a2 = a[2 * a_stride + i], a3 = a[3 * a_stride + i];
        const REAL *restrict row = b + i * b_stride;
        for (int64_t j = 0; j < n; j++) {
            y0[j] += a0 * row[j];
            y1[j] += a1 * row[j];
            y2[j] += a2 * row[j];
            y3[j] += a3 * row[j];
        }
    }
}

VECTOR_CLONES static void NAME(one_row)(REAL *restrict y, const REAL *a, const REAL *restrict b, int64_t b_stride,
                                        int64_t k, int64_t n)
{
    for (int64_t i = 0; i < k; i++) {
        const REAL value = a[i];
        const REAL *restrict row = b + i * b_stride;
        for (int64_t j = 0; j < n; j++)
            y[j] += value * row[j];
    }
}

/* Sixteen partial sums, always added in the same order. */
VECTOR_CLONES static REAL NAME(dot)(const REAL *restrict a, const REAL *restrict b, int64_t count)
{
    REAL sums[16] = {0};
    int64_t i = 0;
    for (; i + 16 <= count; i += 16)
        for (int j = 0; j < 16; j++)
            sums[j] += a[i + j] * b[i + j];
    REAL tail = 0;
    for (; i < count; i++)
        tail += a[i] * b[i];
    for (int width = 8; width; width /= 2)
        for (int j = 0; j < width; j++)
            sums[j] += sums[j + width];
    return sums[0] + tail;
}

/* Rows [first, last) of y[m, n] += a[m, k] · b[k, n], all row-major and dense. */
static void NAME(multiply_rows)(int64_t first, int64_t last, int64_t k, int64_t n, const REAL *a, const REAL *b,
                                REAL *y)
{
    enum { COLUMNS = 512, DEPTH = 64 };
    for (int64_t column = 0; column < n; column += COLUMNS) {
        const int64_t width = smaller(n - column, COLUMNS);
        for (int64_t deep = 0; deep < k; deep += DEPTH) {
            const int64_t depth = smaller(k - deep, DEPTH);
            int64_t i = first;
            for (; i + 4 <= last; i += 4) {
                REAL *to = y + i * n + column;
                NAME(four_rows)(to, to + n, to + 2 * n, to + 3 * n, a + i * k + deep, k, b + deep * n + column, n,
                                depth, width);
            }
            for (; i < last; i++)
                NAME(one_row)(y + i * n + column, a + i * k + deep, b + deep * n + column, n, depth, width);
        }
    }
}

/* Rows [first, last) of y[m, n] = a[m, k] · b[n, k]ᵀ. */
static void NAME(multiply_rows_transposed)(int64_t first, int64_t last, int64_t k, int64_t n, const REAL *a,
                                           const REAL *b, REAL *y)
{
    enum { COLUMNS = 32 };
    for (int64_t column = 0; column < n; column += COLUMNS)
        for (int64_t i = first; i < last; i++)
            for (int64_t j = column; j < smaller(column + COLUMNS, n); j++)
                y[i * n + j] = NAME(dot)(a + i * k, b + j * k, k);
}

static void NAME(matmul)(const struct matmul_parameters *p, int threads, const REAL *a, const REAL *b, REAL *y)
{
    enum { ROWS = 16 };
    const int64_t blocks = divide_up(p->m, ROWS);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < p->batches * blocks; index++) {
        const int64_t batch = index / blocks, first = index % blocks * ROWS, last = smaller(first + ROWS, p->m);
        const REAL *left = a + matmul_batch_offset(p, p->a_strides, batch) * p->m * p->k;
        const REAL *right = b + matmul_batch_offset(p, p->b_strides, batch) * p->k * p->n;
        REAL *to = y + batch * p->m * p->n;
        if (p->n == 1) {
            NAME(multiply_rows_transposed)(first, last, p->k, 1, left, right, to);
            continue;
        }
        memset(to + first * p->n, 0, (size_t)((last - first) * p->n) * sizeof(*to));
        NAME(multiply_rows)(first, last, p->k, p->n, left, right, to);
    }
}

static void NAME(transpose)(int64_t rows, int64_t columns, const REAL *from, REAL *to)
{
    enum { TILE = 16 };
    for (int64_t i = 0; i < rows; i += TILE)
        for (int64_t j = 0; j < columns; j += TILE)
            for (int64_t r = i; r < smaller(i + TILE, rows); r++)
                for (int64_t c = j; c < smaller(j + TILE, columns); c++)
                    to[c * rows + r] = from[r * columns + c];
}

/* a is [m, k] by now; b is [n, k] when transpose_b, else [k, n]. */
static void NAME(gemm)(const struct gemm_parameters *p, int threads, const REAL *a, const REAL *b, const REAL *c,
                       REAL *y)
{
    enum { ROWS = 16 };
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t first = 0; first < p->m; first += ROWS) {
        const int64_t last = smaller(first + ROWS, p->m);
        if (p->transpose_b || p->n == 1) {
            NAME(multiply_rows_transposed)(first, last, p->k, p->n, a, b, y);
        } else {
            memset(y + first * p->n, 0, (size_t)((last - first) * p->n) * sizeof(*y));
            NAME(multiply_rows)(first, last, p->k, p->n, a, b, y);
        }
        for (int64_t i = first; i < last; i++) {
            REAL *row = y + i * p->n;
            for (int64_t j = 0; p->alpha != 1 && j < p->n; j++)
                row[j] = SCALE(p->alpha, row[j]);
            for (int64_t j = 0; c && p->beta != 0 && j < p->n; j++)
                row[j] += SCALE(p->beta, c[i * p->c_row_stride + j * p->c_column_stride]);
        }
    }
}
