/* From a scan to what a network expects, and back. Both ways are one affine map with the centres of the two grids on each
 * other; a slice is interpolated once in each direction. */
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>

#include "data/preprocess.h"
#include "runtime/context.h"

#define MAX_SIDE 16384

/* ---- description as text ------------------------------------------------------------------------------------------- */

static const char *const normalisation_names[] = {"zscore-volume", "zscore-slice", "none"};

static bool set_labels(mitral_preprocessing *out, const char *text)
{
    int32_t count = 0;
    for (const char *name = text;;) {
        size_t length = strcspn(name, ",");
        if (length == 0 || length >= sizeof out->labels[0] || count == MITRAL_MAX_CLASSES)
            return false;
        memcpy(out->labels[count], name, length);
        out->labels[count++][length] = 0;
        if (!name[length])
            break;
        name += length + 1;
    }
    out->class_count = count;
    return count >= 2;
}

void mitral_preprocessing_default(mitral_preprocessing *out)
{
    *out = (mitral_preprocessing){
        .spacing = {1.37, 1.37}, .normalisation = MITRAL_NORMALISE_ZSCORE_VOLUME, .height = 224, .width = 224};
    set_labels(out, "background,RV,myocardium,LV");
}

static bool parse_spacing(mitral_preprocessing *out, const char *text)
{
    char rest;
    double x, y;
    if (strcmp(text, "native") == 0) {
        out->spacing[0] = out->spacing[1] = 0;
        return true;
    }
    if (sscanf(text, "%lf,%lf%c", &x, &y, &rest) != 2 || !(x >= 0.01 && x <= 100) || !(y >= 0.01 && y <= 100))
        return false;
    out->spacing[0] = x;
    out->spacing[1] = y;
    return true;
}

static bool parse_size(mitral_preprocessing *out, const char *text)
{
    char rest;
    long long height, width;
    if (strlen(text) > 32 || sscanf(text, "%lld,%lld%c", &height, &width, &rest) != 2 || height < 1 || height > MAX_SIDE
        || width < 1 || width > MAX_SIDE)
        return false;
    out->height = height;
    out->width = width;
    return true;
}

static bool parse_normalisation(mitral_preprocessing *out, const char *text)
{
    for (int32_t i = 0; i < 3; i++) {
        if (strcmp(text, normalisation_names[i]) == 0) {
            out->normalisation = i;
            return true;
        }
    }
    return false;
}

static bool parse_output(mitral_preprocessing *out, const char *text)
{
    out->probabilities = strcmp(text, "probabilities") == 0;
    return out->probabilities || strcmp(text, "logits") == 0;
}

/* The order of mitral_preprocessing_property. */
static const struct {
    const char *key;
    bool (*parse)(mitral_preprocessing *out, const char *text);
    const char *expected;
} properties[] = {
    {"mitral.spacing", parse_spacing, "'native' or two numbers of mm from 0.01 to 100 with a comma"},
    {"mitral.normalisation", parse_normalisation, "zscore-volume, zscore-slice or none"},
    {"mitral.input_size", parse_size, "height,width from 1 to 16384"},
    {"mitral.labels", set_labels, "2 to 32 names of at most 31 bytes with commas"},
    {"mitral.output", parse_output, "logits or probabilities"},
};

mitral_status mitral_preprocessing_read(mitral_preprocessing *out, mitral_context *context, mitral_property_lookup lookup,
                                        void *user)
{
    mitral_preprocessing_default(out);
    for (size_t i = 0; i < sizeof properties / sizeof *properties; i++) {
        const char *text = lookup(user, properties[i].key);
        if (text && !properties[i].parse(out, text))
            return mitral_fail(context, MITRAL_INVALID, "metadata %s: expected %s, found '%.200s'", properties[i].key,
                               properties[i].expected, text);
    }
    return MITRAL_OK;
}

static void join_labels(const mitral_preprocessing *preprocessing, char *value, size_t size)
{
    size_t used = 0;
    value[0] = 0;
    for (int32_t i = 0; i < preprocessing->class_count && used < size; i++)
        used += (size_t)snprintf(value + used, size - used, "%s%s", i ? "," : "", preprocessing->labels[i]);
}

bool mitral_preprocessing_property(const mitral_preprocessing *preprocessing, size_t index, const char **key, char *value,
                                   size_t value_size)
{
    if (index >= sizeof properties / sizeof *properties || value_size == 0)
        return false;
    *key = properties[index].key;
    switch (index) {
    case 0:
        if (preprocessing->spacing[0] > 0)
            snprintf(value, value_size, "%.9g,%.9g", preprocessing->spacing[0], preprocessing->spacing[1]);
        else
            snprintf(value, value_size, "native");
        break;
    case 1: snprintf(value, value_size, "%s", normalisation_names[preprocessing->normalisation]); break;
    case 2: snprintf(value, value_size, "%lld,%lld", (long long)preprocessing->height, (long long)preprocessing->width); break;
    case 3: join_labels(preprocessing, value, value_size); break;
    default: snprintf(value, value_size, "%s", preprocessing->probabilities ? "probabilities" : "logits"); break;
    }
    return true;
}

/* ---- the map between the grids ------------------------------------------------------------------------------------- */

mitral_status preprocessing_check_geometry(mitral_context *context, const mitral_preprocessing *preprocessing,
                                           const mitral_geometry *geometry)
{
    for (int i = 0; i < 2; i++)
        if (preprocessing->spacing[i] > 0 && !(geometry->spacing[i] > 0))
            return mitral_fail(context, MITRAL_INVALID, "scan: pixdim[%d]: expected a spacing in mm to resample from, found none",
                               i + 1);
    return MITRAL_OK;
}

/* How many native pixels one pixel of the network is along x (0) or y (1). */
static double step_of(const mitral_preprocessing *preprocessing, const mitral_geometry *geometry, int axis)
{
    return preprocessing->spacing[axis] > 0 ? preprocessing->spacing[axis] / geometry->spacing[axis] : 1.0;
}

static struct tap tap_at(double position, int64_t size)
{
    if (!(position >= -0.5 && position <= (double)size - 0.5))
        return (struct tap){-1, -1, 0};
    double clamped = position<0 ? 0 : position>(double)(size - 1) ? (double)(size - 1) : position;
    int64_t low = (int64_t)clamped;
    return (struct tap){low, low + 1 < size ? low + 1 : low, (float)(clamped - (double)low)};
}

/* For each of `count` pixels of one grid, where it lies on the other of `size` pixels: centres coincide, `step` pixels of the
 * other a pixel of this. */
static struct tap *make_taps(mitral_context *context, int64_t count, int64_t size, double step)
{
    struct tap *taps = mitral_allocate_raw(context, (size_t)count * sizeof *taps);
    for (int64_t i = 0; taps && i < count; i++)
        taps[i] = tap_at(((double)i - 0.5 * (double)(count - 1)) * step + 0.5 * (double)(size - 1), size);
    return taps;
}

static float sample(const float *image, int64_t width, struct tap x, struct tap y)
{
    const float *a = image + y.low * width, *b = image + y.high * width;
    float upper = a[x.low] + (a[x.high] - a[x.low]) * x.fraction;
    float lower = b[x.low] + (b[x.high] - b[x.low]) * x.fraction;
    return upper + (lower - upper) * y.fraction;
}

/* ---- images -------------------------------------------------------------------------------------------------------- */

struct moments {
    double count, sum, squares; /* squares about `origin` */
};

/* Two passes keep the variance exact enough for intensities far from zero. */
static void slice_moments(struct moments *out, const float *values, int64_t count, double origin)
{
    *out = (struct moments){0};
    for (int64_t i = 0; i < count; i++) {
        if (!isfinite(values[i]))
            continue;
        double value = (double)values[i] - origin;
        out->count++;
        out->sum += value;
        out->squares += value * value;
    }
}

static struct intensity_map zscore(const float *values, int64_t slice, int64_t slices)
{
    struct moments total = {0}, part;
    for (int64_t z = 0; z < slices; z++) {
        slice_moments(&part, values + z * slice, slice, 0);
        total.count += part.count;
        total.sum += part.sum;
    }
    double mean = total.count > 0 ? total.sum / total.count : 0;
    double squares = 0;
    for (int64_t z = 0; z < slices; z++) {
        slice_moments(&part, values + z * slice, slice, mean);
        squares += part.squares;
    }
    double deviation = total.count > 0 ? sqrt(squares / total.count) : 0;
    /* A constant image becomes zeros. */
    return (struct intensity_map){deviation > 1e-12 * fabs(mean) && deviation > 0 ? 1.0 / deviation : 0.0, mean};
}

static float or_mean(float value, double mean)
{
    return isfinite(value) ? value : (float)mean;
}

/* sample() where voxels that are not finite count as the mean; they must not spread to their neighbours. */
static float sample_around_holes(const float *image, int64_t width, struct tap x, struct tap y, double mean)
{
    const float *a = image + y.low * width, *b = image + y.high * width;
    float square[4] = {or_mean(a[x.low], mean), or_mean(a[x.high], mean), or_mean(b[x.low], mean), or_mean(b[x.high], mean)};
    return sample(square, 2, (struct tap){0, 1, x.fraction}, (struct tap){0, 1, y.fraction});
}

static void resample_slice(float *out, const struct frame_view *view, const float *image, struct intensity_map map)
{
    const mitral_preprocessing *preprocessing = view->preprocessing;
    for (int64_t y = 0; y < preprocessing->height; y++) {
        float *row = out + y * preprocessing->width;
        struct tap down = view->rows[y];
        for (int64_t x = 0; x < preprocessing->width; x++) {
            struct tap across = view->columns[x];
            if (down.low < 0 || across.low < 0) {
                row[x] = 0;
                continue;
            }
            float value = view->holes ? sample_around_holes(image, view->width, across, down, map.offset)
                                      : sample(image, view->width, across, down);
            value = (float)((value - map.offset) * map.scale);
            row[x] = isfinite(value) ? value : 0.0f; /* differences of huge voxels overflow */
        }
    }
}

static int team(int threads)
{
    return threads > 0 ? threads : omp_get_max_threads();
}

mitral_status frame_view_create(struct frame_view *out, mitral_context *context, const mitral_preprocessing *preprocessing,
                                const mitral_volume *volume, int64_t frame)
{
    const mitral_geometry *geometry = &volume->geometry;
    *out = (struct frame_view){0};
    TRY(preprocessing_check_geometry(context, preprocessing, geometry));
    if (frame < 0 || frame >= geometry->size[3])
        return mitral_fail(context, MITRAL_INVALID, "scan: expected a frame below %lld, found %lld", (long long)geometry->size[3],
                           (long long)frame);
    out->preprocessing = preprocessing;
    out->width = geometry->size[0];
    out->slice = geometry->size[0] * geometry->size[1];
    out->voxels = volume->voxels + frame * out->slice * geometry->size[2];
    out->columns = make_taps(context, preprocessing->width, geometry->size[0], step_of(preprocessing, geometry, 0));
    out->rows = make_taps(context, preprocessing->height, geometry->size[1], step_of(preprocessing, geometry, 1));
    if (!out->columns || !out->rows) {
        frame_view_destroy(out, context);
        return MITRAL_NO_MEMORY;
    }
    out->whole = (struct intensity_map){1, 0};
    if (preprocessing->normalisation == MITRAL_NORMALISE_ZSCORE_VOLUME)
        out->whole = zscore(out->voxels, out->slice, geometry->size[2]);
    for (int64_t i = 0; i < out->slice * geometry->size[2] && !out->holes; i++)
        out->holes = !isfinite(out->voxels[i]);
    return MITRAL_OK;
}

void frame_view_destroy(struct frame_view *view, mitral_context *context)
{
    mitral_release(context, view->columns);
    mitral_release(context, view->rows);
    *view = (struct frame_view){0};
}

void frame_view_slice(float *out, const struct frame_view *view, int64_t z)
{
    const float *image = view->voxels + z * view->slice;
    struct intensity_map map = view->whole;
    if (view->preprocessing->normalisation == MITRAL_NORMALISE_ZSCORE_SLICE)
        map = zscore(image, view->slice, 1);
    resample_slice(out, view, image, map);
}

mitral_status mitral_preprocess_frame(float *out, mitral_context *context, const mitral_preprocessing *preprocessing,
                                      const mitral_volume *volume, int64_t frame, int threads)
{
    struct frame_view view;
    TRY(frame_view_create(&view, context, preprocessing, volume, frame));
    int64_t pixels = preprocessing->height * preprocessing->width;
#pragma omp parallel for num_threads(team(threads)) schedule(static)
    for (int64_t z = 0; z < volume->geometry.size[2]; z++)
        frame_view_slice(out + z * pixels, &view, z);
    frame_view_destroy(&view, context);
    return MITRAL_OK;
}

mitral_status mitral_preprocess_labels(uint8_t *out, mitral_context *context, const mitral_preprocessing *preprocessing,
                                       const mitral_labels *labels, int64_t frame, int threads)
{
    const mitral_geometry *geometry = &labels->geometry;
    TRY(preprocessing_check_geometry(context, preprocessing, geometry));
    if (frame < 0 || frame >= geometry->size[3])
        return mitral_fail(context, MITRAL_INVALID, "labels: expected a frame below %lld, found %lld", (long long)geometry->size[3],
                           (long long)frame);
    int64_t width = geometry->size[0], height = geometry->size[1], slices = geometry->size[2], slice = width * height;
    const uint8_t *voxels = labels->voxels + frame * slice * slices;
    struct tap *columns = make_taps(context, preprocessing->width, width, step_of(preprocessing, geometry, 0));
    struct tap *rows = make_taps(context, preprocessing->height, height, step_of(preprocessing, geometry, 1));
    bool enough = columns && rows;
    int64_t out_width = preprocessing->width, out_height = preprocessing->height;
    if (enough) {
#pragma omp parallel for num_threads(team(threads)) schedule(static)
        for (int64_t z = 0; z < slices; z++) {
            for (int64_t y = 0; y < out_height; y++) {
                uint8_t *row = out + (z * out_height + y) * out_width;
                int64_t from = rows[y].fraction < 0.5f ? rows[y].low : rows[y].high;
                for (int64_t x = 0; x < out_width; x++) {
                    int64_t column = columns[x].fraction < 0.5f ? columns[x].low : columns[x].high;
                    row[x] = from < 0 || column < 0 ? 0 : voxels[z * slice + from * width + column];
                }
            }
        }
    }
    mitral_release(context, columns);
    mitral_release(context, rows);
    return enough ? MITRAL_OK : MITRAL_NO_MEMORY;
}

/* ---- the way back -------------------------------------------------------------------------------------------------- */

/* out[classes][count]. Returns whether every score was a finite number. */
static bool probabilities_of(float *out, const mitral_preprocessing *preprocessing, const float *scores, int64_t count)
{
    int32_t classes = preprocessing->class_count;
    bool finite = true;
    for (int64_t i = 0; i < count; i++) {
        float largest = -INFINITY, sum = 0;
        for (int32_t c = 0; c < classes; c++) {
            float score = scores[c * count + i];
            finite &= isfinite(score) != 0;
            largest = score > largest ? score : largest;
        }
        for (int32_t c = 0; c < classes; c++) {
            float score = scores[c * count + i];
            out[c * count + i] = preprocessing->probabilities ? score : expf(score - largest);
            sum += out[c * count + i];
        }
        for (int32_t c = 0; c < classes && !preprocessing->probabilities; c++)
            out[c * count + i] /= sum;
    }
    return finite;
}

static void argmax_slice(uint8_t *out, const mitral_preprocessing *preprocessing, const mitral_geometry *geometry,
                         const float *probabilities, int64_t output_height, int64_t output_width, const struct tap *columns,
                         const struct tap *rows)
{
    int64_t width = geometry->size[0], height = geometry->size[1], plane = output_height * output_width;
    for (int64_t y = 0; y < height; y++) {
        for (int64_t x = 0; x < width; x++) {
            uint8_t best = 0;
            float most = -INFINITY;
            for (int32_t c = 0; c < preprocessing->class_count && rows[y].low >= 0 && columns[x].low >= 0; c++) {
                float value = sample(probabilities + c * plane, output_width, columns[x], rows[y]);
                if (value > most) {
                    most = value;
                    best = (uint8_t)c;
                }
            }
            out[y * width + x] = best;
        }
    }
}

mitral_status mitral_restore_slice(uint8_t *out, mitral_context *context, const mitral_preprocessing *preprocessing,
                                   const mitral_geometry *geometry, const float *scores, int64_t output_height,
                                   int64_t output_width)
{
    TRY(preprocessing_check_geometry(context, preprocessing, geometry));
    if (output_height < 1 || output_width < 1 || output_height > MAX_SIDE || output_width > MAX_SIDE)
        return mitral_fail(context, MITRAL_INVALID, "network output: expected sides from 1 to %d, found %lldx%lld", MAX_SIDE,
                           (long long)output_height, (long long)output_width);
    int64_t count = output_height * output_width;
    float *probabilities = mitral_allocate_raw(context, (size_t)(count * preprocessing->class_count) * sizeof(float));
    /* A coarser or finer output spans the same field, so that its pixel is so many of the network's. */
    double across = (double)output_width / (double)preprocessing->width;
    double down = (double)output_height / (double)preprocessing->height;
    struct tap *columns = make_taps(context, geometry->size[0], output_width, across / step_of(preprocessing, geometry, 0));
    struct tap *rows = make_taps(context, geometry->size[1], output_height, down / step_of(preprocessing, geometry, 1));
    mitral_status status = MITRAL_NO_MEMORY;
    if (probabilities && columns && rows) {
        status = MITRAL_OK;
        if (probabilities_of(probabilities, preprocessing, scores, count))
            argmax_slice(out, preprocessing, geometry, probabilities, output_height, output_width, columns, rows);
        else
            status = mitral_fail(context, MITRAL_INVALID, "network output: expected finite scores, found NaN or infinity");
    }
    mitral_release(context, probabilities);
    mitral_release(context, columns);
    mitral_release(context, rows);
    return status;
}
