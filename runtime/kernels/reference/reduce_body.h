/* Reduction in one accumulator type: included with ACCUMULATOR, ACCUMULATOR_DTYPE, PLUS(a, b), TIMES(a, b),
 * IS_NAN(x), NAME(x) and DIRECT (whether floats are taken as they are, by TAKE_FLOATS and TAKE_FLOATS_IN_LANES) defined. */

/* `count` elements at distance `stride`, mapped, as accumulators. `shift` is per element (or one, with step 0). */
static void NAME(load)(const struct reduction *r, int64_t offset, ptrdiff_t stride, enum map map,
                       const ACCUMULATOR *shift, size_t shift_step, ACCUMULATOR *to, size_t count)
{
    const char *from = (const char *)r->input->data + (size_t)offset * r->element_size;
    const struct conversion conversion = {.from = r->input->dtype, .to = ACCUMULATOR_DTYPE};
    if (stride == 1) {
        convert(&conversion, from, to, count);
    } else {
        for (size_t i = 0; i < count; i++)
            convert(&conversion, from + (ptrdiff_t)i * stride * (ptrdiff_t)r->element_size, to + i, 1);
    }
    switch (map) {
    case MAP_NONE: break;
    case MAP_SQUARE:
        for (size_t i = 0; i < count; i++)
            to[i] = TIMES(to[i], to[i]);
        break;
    case MAP_ABSOLUTE:
        for (size_t i = 0; i < count; i++)
            to[i] = to[i] > 0 ? to[i] : TIMES(to[i], (ACCUMULATOR)-1);
        break;
    case MAP_EXPONENTIAL:
        for (size_t i = 0; i < count; i++)
            to[i] = (ACCUMULATOR)exp((double)(to[i] - shift[i * shift_step]));
        break;
    }
}

__attribute__((always_inline)) static inline void NAME(combine_each)(enum combine combine, ACCUMULATOR *restrict into,
                                                                     const ACCUMULATOR *restrict with, size_t count)
{
    switch (combine) {
    case COMBINE_SUM:
        for (size_t i = 0; i < count; i++)
            into[i] = PLUS(into[i], with[i]);
        break;
    case COMBINE_PRODUCT:
        for (size_t i = 0; i < count; i++)
            into[i] = TIMES(into[i], with[i]);
        break;
    case COMBINE_MAX: /* NaN stays */
        for (size_t i = 0; i < count; i++)
            into[i] = into[i] > with[i] || IS_NAN(into[i]) ? into[i] : with[i];
        break;
    case COMBINE_MIN:
        for (size_t i = 0; i < count; i++)
            into[i] = into[i] < with[i] || IS_NAN(into[i]) ? into[i] : with[i];
        break;
    }
}

VECTORISED static void NAME(combine)(enum combine combine, ACCUMULATOR *into, const ACCUMULATOR *with, size_t count)
{
    NAME(combine_each)(combine, into, with, count);
}

VECTORISED static void NAME(combine_in_lanes)(enum combine combine, ACCUMULATOR *lanes, const ACCUMULATOR *with, size_t count)
{
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        NAME(combine_each)(combine, lanes, with + i, LANES);
    NAME(combine_each)(combine, lanes, with + i, count - i);
}

/* `count` outputs whose reduced elements are `count` neighbours in the last kept dimension. */
static void NAME(across)(const struct reduction *r, int64_t offset, ptrdiff_t stride, enum map map,
                         enum combine combine, const ACCUMULATOR *shift, ACCUMULATOR *result, size_t count)
{
    ACCUMULATOR row[BLOCK];
    int64_t index[MITRAL_MAX_RANK] = {0};
    for (int64_t i = 0; i < r->reduced_count; i++) {
        if (DIRECT) {
            TAKE_FLOATS(r->reducer, result, (const float *)r->input->data + offset, count);
        } else {
            NAME(load)(r, offset, stride, map, shift, 1, row, count);
            NAME(combine)(combine, result, row, count);
        }
        advance(&r->reduced, r->reduced.rank - 1, index, &offset);
    }
}

/* One output: the reduced elements lie in rows of the last reduced dimension; LANES independent partial results. */
static void NAME(along)(const struct reduction *r, int64_t offset, enum map map, enum combine combine,
                        const ACCUMULATOR *shift, ACCUMULATOR initial, ACCUMULATOR *result)
{
    ACCUMULATOR lanes[LANES], row[BLOCK];
    int last = r->reduced.rank - 1;
    int64_t length = r->reduced.dims[last], index[MITRAL_MAX_RANK] = {0};
    for (int i = 0; i < LANES; i++)
        lanes[i] = initial;
    for (int64_t done = 0; done < r->reduced_count; done += length) {
        if (DIRECT)
            TAKE_FLOATS_IN_LANES(r->reducer, lanes, (const float *)r->input->data + offset, (size_t)length);
        for (int64_t start = 0; !DIRECT && start < length; start += BLOCK) {
            const size_t count = (size_t)(length - start < BLOCK ? length - start : BLOCK);
            NAME(load)(r, offset + start * r->reduced.strides[last], r->reduced.strides[last], map, shift, 0, row,
                       count);
            NAME(combine_in_lanes)(combine, lanes, row, count);
        }
        advance(&r->reduced, last - 1, index, &offset);
    }
    for (size_t half = LANES / 2; half; half /= 2)
        NAME(combine)(combine, lanes, lanes + half, half);
    *result = lanes[0];
}

static void NAME(reduce)(const struct reduction *r, int64_t task)
{
    ACCUMULATOR result[BLOCK], shift[BLOCK], initial = (ACCUMULATOR)NAME(initial)(r);
    size_t count = 1;
    int64_t at = task, offset = 0;
    if (r->across) {
        int last = r->kept.rank - 1;
        int64_t blocks = (r->kept.dims[last] + BLOCK - 1) / BLOCK, start = task % blocks * BLOCK, row = task / blocks;
        int64_t rest = r->kept.dims[last] - start;
        count = (size_t)(rest < BLOCK ? rest : BLOCK);
        at = row * r->kept.dims[last] + start;
        offset = start * r->kept.strides[last] + offset_of(&r->kept, last - 1, row);
    } else {
        offset = offset_of(&r->kept, r->kept.rank - 1, task);
    }
    const struct reducer *reducer = r->reducer;
    memset(shift, 0, count * sizeof(*shift));
    for (int pass = reducer->map == MAP_EXPONENTIAL ? 0 : 1; pass < 2; pass++) {
        enum combine combine = pass == 0 ? COMBINE_MAX : reducer->combine;
        enum map map = pass == 0 ? MAP_NONE : reducer->map;
        ACCUMULATOR first = pass == 0 ? (ACCUMULATOR)-INFINITY : initial;
        ACCUMULATOR *target = pass == 0 ? shift : result;
        for (size_t i = 0; i < count; i++)
            target[i] = first;
        if (r->across)
            NAME(across)(r, offset, r->kept.strides[r->kept.rank - 1], map, combine, shift, target, count);
        else if (r->reduced_count)
            NAME(along)(r, offset, map, combine, shift, first, target);
        for (size_t i = 0; pass == 0 && i < count; i++)
            shift[i] = isfinite((double)shift[i]) ? shift[i] : 0;
    }
    for (size_t i = 0; i < count; i++)
        result[i] = (ACCUMULATOR)NAME(finish)(r, result[i], shift[i]);
    const struct conversion conversion = {.from = ACCUMULATOR_DTYPE, .to = r->output->dtype, .saturate = true};
    convert(&conversion, result, (char *)r->output->data + (size_t)at * r->element_size, count);
}
