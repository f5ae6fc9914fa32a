/* Attention in one computing type: included with REAL and NAME(x) defined. A query row belongs to one thread. */

static void NAME(round_row)(int32_t dtype, REAL *row, int64_t count)
{
    if (sizeof(REAL) == sizeof(float))
        operand_round(dtype, (float *)row, count);
}

static double NAME(sum_row)(int32_t dtype, const REAL *row, int64_t count)
{
    if (sizeof(REAL) == sizeof(float))
        return operand_sum(dtype, (const float *)row, count, 1);
    double sum = 0;
    for (int64_t j = 0; j < count; j++)
        sum += (double)row[j];
    return sum;
}

/* Soft-max of a row whose intermediate results are stored in `dtype`; a row of -∞ becomes zero. */
static void NAME(softmax_row)(int32_t dtype, REAL *row, int64_t count)
{
    REAL most = -INFINITY;
    for (int64_t j = 0; j < count; j++)
        most = row[j] > most ? row[j] : most;
    if (most == -INFINITY)
        most = 0;
    for (int64_t j = 0; j < count; j++)
        row[j] -= most;
    NAME(round_row)(dtype, row, count);
    for (int64_t j = 0; j < count; j++)
        row[j] = (REAL)exp((double)row[j]);
    NAME(round_row)(dtype, row, count);
    REAL divisor = (REAL)NAME(sum_row)(dtype, row, count);
    if (divisor == 0)
        divisor = 1;
    for (int64_t j = 0; j < count; j++)
        row[j] = row[j] / divisor;
    NAME(round_row)(dtype, row, count);
}

/* bias[j] for one query; false when no key takes part. */
static bool NAME(bias_row)(const struct attention *a, const struct attention_mask *mask, int64_t b, int64_t h,
                           int64_t i, REAL *bias)
{
    const int64_t length = mask->lengths ? mask->lengths[b] : a->keys;
    /* The position of the first query among the keys. */
    const int64_t offset = a->past ? a->past : mask->lengths ? length - a->queries : 0;
    const REAL *values = mask->elements;
    bool any = false;
    if (values)
        values += b * mask->strides[0] + h * mask->strides[1] + i * mask->strides[2];
    for (int64_t j = 0; j < a->keys; j++) {
        const bool out = j >= length || (a->causal && j > i + offset)
                      || (a->left_window >= 0 && j < i + offset - a->left_window)
                      || (a->right_window >= 0 && j > i + offset + a->right_window) || (values && j >= mask->mask_keys);
        REAL value = out ? -INFINITY : 0;
        if (values && j < mask->mask_keys) {
            const REAL element = values[j * mask->strides[3]];
            value += mask->boolean ? (element != 0 ? 0 : -INFINITY) : element;
        }
        bias[j] = value;
        any = any || value != -INFINITY;
    }
    return any;
}

void NAME(attention)(const struct attention *a, const struct attention_mask *mask, const struct attention_operands *o,
                     int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < a->batch * a->heads * a->queries; index++) {
        const int64_t i = index % a->queries, h = index / a->queries % a->heads, b = index / a->queries / a->heads;
        const int64_t shared = b * a->kv_heads + h / (a->heads / a->kv_heads);
        const REAL *q = (const REAL *)o->q + index * a->head_size,
                   *k = (const REAL *)o->k + shared * a->keys * a->head_size;
        const REAL *v = (const REAL *)o->v + shared * a->keys * a->value_size;
        REAL *row = (REAL *)o->rows + (int64_t)omp_get_thread_num() * 2 * a->keys, *bias = row + a->keys;
        REAL *seen = o->scores ? (REAL *)o->scores + index * a->keys : NULL;
        for (int64_t j = 0; j < a->keys; j++) {
            REAL sum = 0;
            for (int64_t d = 0; d < a->head_size; d++)
                sum += q[d] * k[j * a->head_size + d];
            row[j] = sum;
        }
        NAME(round_row)(a->dtype, row, a->keys);
        if (seen && a->score_mode == 0)
            memcpy(seen, row, (size_t)a->keys * sizeof(*seen));
        if (a->softcap > 0) {
            for (int64_t j = 0; j < a->keys; j++)
                row[j] = (REAL)(a->softcap * tanh((double)row[j] / a->softcap));
            NAME(round_row)(a->dtype, row, a->keys);
        }
        if (seen && a->score_mode == 1)
            memcpy(seen, row, (size_t)a->keys * sizeof(*seen));
        const bool any = NAME(bias_row)(a, mask, b, h, i, bias);
        for (int64_t j = 0; j < a->keys; j++)
            row[j] += bias[j];
        NAME(round_row)(a->dtype, row, a->keys);
        if (seen && a->score_mode == 2)
            memcpy(seen, row, (size_t)a->keys * sizeof(*seen));
        NAME(round_row)(a->softmax_dtype, row, a->keys);
        NAME(softmax_row)(a->softmax_dtype, row, a->keys);
        NAME(round_row)(a->dtype, row, a->keys);
        for (int64_t j = 0; !any && j < a->keys; j++)
            row[j] = 0;
        if (seen && a->score_mode == 3)
            memcpy(seen, row, (size_t)a->keys * sizeof(*seen));
        if (!o->y)
            continue;
        REAL *y = (REAL *)o->y + (o->merged ? ((b * a->queries + i) * a->heads + h) : index) * a->value_size;
        for (int64_t d = 0; d < a->value_size; d++)
            y[d] = 0;
        for (int64_t j = 0; j < a->keys; j++) {
            if (row[j] == 0) /* what the padding of a cache holds does not matter, not even a NaN */
                continue;
            for (int64_t d = 0; d < a->value_size; d++)
                y[d] += row[j] * v[j * a->value_size + d];
        }
    }
}

/* Only the last step: o->scores holds the probabilities. */
void NAME(attention_values)(const struct attention *a, const struct attention_operands *o, int threads)
{
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t index = 0; index < a->batch * a->heads * a->queries; index++) {
        const int64_t h = index / a->queries % a->heads, b = index / a->queries / a->heads;
        const int64_t shared = b * a->kv_heads + h / (a->heads / a->kv_heads);
        const REAL *row = (const REAL *)o->scores + index * a->keys,
                   *v = (const REAL *)o->v + shared * a->keys * a->value_size;
        REAL *y = (REAL *)o->y + index * a->value_size;
        for (int64_t d = 0; d < a->value_size; d++)
            y[d] = 0;
        for (int64_t j = 0; j < a->keys; j++)
            for (int64_t d = 0; d < a->value_size; d++)
                y[d] += row[j] * v[j * a->value_size + d];
    }
}

static void NAME(pack)(REAL *to, const REAL *from, bool merged, int64_t batch, int64_t heads, int64_t length,
                       int64_t size, int64_t first, int64_t total, double factor)
{
    for (int64_t b = 0; b < batch; b++)
        for (int64_t h = 0; h < heads; h++)
            for (int64_t i = 0; i < length; i++) {
                const REAL *row = from + (merged ? (b * length + i) * heads + h : (b * heads + h) * length + i) * size;
                REAL *out = to + ((b * heads + h) * total + first + i) * size;
                for (int64_t d = 0; d < size; d++)
                    out[d] = row[d] * (REAL)factor;
            }
}
