/* Fourier transforms in one computing type: included with REAL and NAME(x) defined. Transforms are self-sorting: each
 * pass takes one factor and leaves its results in order, so none is reversed at the end. */

static void NAME(fill_roots)(REAL *roots, int64_t count, int64_t size)
{
    for (int64_t k = 0; k < count; k++) {
        const double angle = -2 * M_PI * (double)k / (double)size;
        roots[2 * k] = (REAL)cos(angle);
        roots[2 * k + 1] = (REAL)sin(angle);
    }
}

static void NAME(butterfly2)(const REAL *a, REAL *b)
{
    for (int part = 0; part < 2; part++) {
        b[part] = a[part] + a[2 + part];
        b[2 + part] = a[part] - a[2 + part];
    }
}

static void NAME(butterfly3)(const REAL *a, REAL *b)
{
    const REAL half = (REAL)-0.5, root = (REAL)-0.86602540378443864676;
    REAL sum[2], difference[2];
    for (int part = 0; part < 2; part++) {
        sum[part] = a[2 + part] + a[4 + part];
        difference[part] = a[2 + part] - a[4 + part];
        b[part] = a[part] + sum[part];
    }
    const REAL real = a[0] + half * sum[0], imaginary = a[1] + half * sum[1];
    const REAL across = -(root * difference[1]), along = root * difference[0];
    b[2] = real + across;
    b[3] = imaginary + along;
    b[4] = real - across;
    b[5] = imaginary - along;
}

static void NAME(butterfly4)(const REAL *a, REAL *b)
{
    REAL even[2], odd[2], even_difference[2], odd_difference[2];
    for (int part = 0; part < 2; part++) {
        even[part] = a[part] + a[4 + part];
        even_difference[part] = a[part] - a[4 + part];
        odd[part] = a[2 + part] + a[6 + part];
        odd_difference[part] = a[2 + part] - a[6 + part];
        b[part] = even[part] + odd[part];
        b[4 + part] = even[part] - odd[part];
    }
    b[2] = even_difference[0] + odd_difference[1];
    b[3] = even_difference[1] - odd_difference[0];
    b[6] = even_difference[0] - odd_difference[1];
    b[7] = even_difference[1] + odd_difference[0];
}

static void NAME(butterfly5)(const REAL *a, REAL *b)
{
    const REAL c1 = (REAL)0.30901699437494742410, c2 = (REAL)-0.80901699437494742410;
    const REAL s1 = (REAL)-0.95105651629515357212, s2 = (REAL)-0.58778525229247312917;
    REAL outer[2], inner[2], outer_difference[2], inner_difference[2];
    for (int part = 0; part < 2; part++) {
        outer[part] = a[2 + part] + a[8 + part];
        outer_difference[part] = a[2 + part] - a[8 + part];
        inner[part] = a[4 + part] + a[6 + part];
        inner_difference[part] = a[4 + part] - a[6 + part];
        b[part] = a[part] + outer[part] + inner[part];
    }
    for (int pair = 1; pair <= 2; pair++) {
        const REAL c = pair == 1 ? c1 : c2, d = pair == 1 ? c2 : c1, s = pair == 1 ? s1 : s2, t = pair == 1 ? s2 : -s1;
        const REAL real = a[0] + c * outer[0] + d * inner[0], imaginary = a[1] + c * outer[1] + d * inner[1];
        const REAL along = s * outer_difference[0] + t * inner_difference[0];
        const REAL across = -(s * outer_difference[1] + t * inner_difference[1]);
        b[2 * pair] = real + across;
        b[2 * pair + 1] = imaginary + along;
        b[2 * (5 - pair)] = real - across;
        b[2 * (5 - pair) + 1] = imaginary - along;
    }
}

/* By the definition; step is size / radix, so that roots[u · j · step] are the radix's own. */
static void NAME(butterfly_any)(const REAL *a, REAL *b, int64_t radix, const REAL *roots, int64_t step)
{
    for (int64_t u = 0; u < radix; u++) {
        REAL real = a[0], imaginary = a[1];
        for (int64_t j = 1; j < radix; j++) {
            const REAL *w = roots + 2 * (u * j % radix * step);
            real += a[2 * j] * w[0] - a[2 * j + 1] * w[1];
            imaginary += a[2 * j] * w[1] + a[2 * j + 1] * w[0];
        }
        b[2 * u] = real;
        b[2 * u + 1] = imaginary;
    }
}

/* x[size] is replaced by its transform; spare has the same size. */
static void NAME(transform_passes)(const struct fourier *f, REAL *x, REAL *spare)
{
    const REAL *roots = f->roots;
    REAL *from = x, *to = spare;
    int64_t done = 1;
    for (int32_t factor = 0; factor < f->factor_count; factor++) {
        const int64_t radix = f->factors[factor], left = f->size / done / radix;
        for (int64_t k = 0; k < done; k++)
            for (int64_t i = 0; i < left; i++) {
                REAL a[2 * FOURIER_RADIX], b[2 * FOURIER_RADIX];
                for (int64_t j = 0; j < radix; j++) {
                    a[2 * j] = from[2 * (i + left * (j + radix * k))];
                    a[2 * j + 1] = from[2 * (i + left * (j + radix * k)) + 1];
                }
                switch (radix) {
                case 2: NAME(butterfly2)(a, b); break;
                case 3: NAME(butterfly3)(a, b); break;
                case 4: NAME(butterfly4)(a, b); break;
                case 5: NAME(butterfly5)(a, b); break;
                default: NAME(butterfly_any)(a, b, radix, roots, f->size / radix);
                }
                for (int64_t u = 0; u < radix; u++) {
                    REAL *out = to + 2 * (i + left * (k + done * u));
                    const REAL *w = roots + 2 * (u * i * done);
                    if (u == 0 || i == 0) {
                        out[0] = b[2 * u];
                        out[1] = b[2 * u + 1];
                    } else {
                        out[0] = b[2 * u] * w[0] - b[2 * u + 1] * w[1];
                        out[1] = b[2 * u] * w[1] + b[2 * u + 1] * w[0];
                    }
                }
            }
        REAL *swap = from;
        from = to;
        to = swap;
        done *= radix;
    }
    if (from != x)
        memcpy(x, from, (size_t)(2 * f->size) * sizeof(REAL));
}

static void NAME(fill_tables)(const struct fourier *f)
{
    NAME(fill_roots)(f->roots, f->size, f->size);
    if (!f->chirp)
        return;
    REAL *chirp = f->chirp, *filter = f->filter;
    memset(filter, 0, (size_t)(2 * f->size) * sizeof(REAL));
    for (int64_t k = 0; k < f->length; k++) {
        /* k² modulo 2 · length keeps the angle exact. */
        const double angle = -M_PI * (double)(k * k % (2 * f->length)) / (double)f->length;
        const int64_t mirror = k ? f->size - k : 0;
        chirp[2 * k] = (REAL)cos(angle);
        chirp[2 * k + 1] = (REAL)sin(angle);
        filter[2 * k] = filter[2 * mirror] = chirp[2 * k];
        filter[2 * k + 1] = filter[2 * mirror + 1] = -chirp[2 * k + 1];
    }
    NAME(transform_passes)(f, filter, f->buffers);
}

static void NAME(multiply)(REAL *out, const REAL *a, const REAL *b)
{
    const REAL real = a[0] * b[0] - a[1] * b[1];
    out[1] = a[0] * b[1] + a[1] * b[0];
    out[0] = real;
}

static void NAME(transform)(const struct fourier *f, REAL *x)
{
    REAL *wide = x + 2 * f->length, *spare = f->chirp ? wide + 2 * f->size : wide;
    if (!f->chirp) {
        NAME(transform_passes)(f, x, spare);
        return;
    }
    const REAL *chirp = f->chirp, *filter = f->filter;
    memset(wide, 0, (size_t)(2 * f->size) * sizeof(REAL));
    for (int64_t k = 0; k < f->length; k++)
        NAME(multiply)(wide + 2 * k, x + 2 * k, chirp + 2 * k);
    NAME(transform_passes)(f, wide, spare);
    /* The inverse transform by the forward one: conjugate before and after. */
    for (int64_t k = 0; k < f->size; k++) {
        NAME(multiply)(wide + 2 * k, wide + 2 * k, filter + 2 * k);
        wide[2 * k + 1] = -wide[2 * k + 1];
    }
    NAME(transform_passes)(f, wide, spare);
    const REAL factor = (REAL)(1 / (double)f->size);
    for (int64_t k = 0; k < f->length; k++) {
        const REAL value[2] = {wide[2 * k] * factor, -(wide[2 * k + 1] * factor)};
        NAME(multiply)(x + 2 * k, value, chirp + 2 * k);
    }
}
