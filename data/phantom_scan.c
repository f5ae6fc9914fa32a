/* How the phantom is scanned: resolution, slices, breathing, coils, noise and, for the hard kind, artefacts. */
#include <math.h>
#include <string.h>

#include "data/phantom.h"
#include "runtime/context.h"

#define NOISE_SIDE 512
#define SUB_SLICES 3
#define PI 3.14159265358979323846

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static void draw_tissues(struct tissues *tissues, struct random *random, bool hard)
{
    double spread = hard ? 2.2 : 1;
    *tissues = (struct tissues){.blood = 205,
                                .muscle = 72,
                                .fat = -190,
                                .liver = 108,
                                .lung = 12,
                                .skeletal = 64,
                                .spleen = 108,
                                .marrow = 52,
                                .skin = 85,
                                .stomach = 75};
    tissues->blood *= 1 + spread * random_between(random, -0.1, 0.1);
    tissues->muscle *= 1 + spread * random_between(random, -0.16, 0.18);
    tissues->fat *= 1 + spread * random_between(random, -0.2, 0.15);
    tissues->liver *= 1 + spread * random_between(random, -0.2, 0.2);
    tissues->lung *= 1 + spread * random_between(random, -0.3, 0.3);
    tissues->stomach *= 1 + spread * random_between(random, -0.3, 0.3);
}

/* In-plane 0.7 to 1.9 mm, mostly near 1.4; the field of view shrinks where pixels are small, so that images stay small too. */
static void draw_grid(struct scanner *scanner, const struct heart *heart, struct random *random)
{
    static const double thicknesses[8] = {5, 6, 7, 8, 8, 9, 10, 10};
    double spacing = random_unit(random) < 0.25 ? random_between(random, 0.7, 1.9)
                                                : clamp(random_normal_within(random, 1.42, 0.17, 2.5), 0.7, 1.9);
    scanner->spacing = round(spacing * 1e4) * 1e-4;
    double shrink = clamp(0.72 + 0.2 * scanner->spacing, 0.86, 1);
    double width = shrink * random_between(random, 285, 345), height = shrink * random_between(random, 245, 305);
    scanner->width = 2 * (int64_t)round(0.5 * width / scanner->spacing);
    scanner->height = 2 * (int64_t)round(0.5 * height / scanner->spacing);
    scanner->origin_x = -0.5 * (double)(scanner->width - 1) * scanner->spacing + random_between(random, -18, 14);
    scanner->origin_y = -0.5 * (double)(scanner->height - 1) * scanner->spacing + random_between(random, -12, 18);
    scanner->thickness = thicknesses[random_index(random, 8)];
    scanner->first_z = scanner->thickness * random_between(random, -0.7, 0.35);
    double last = heart->length + scanner->thickness * random_between(random, -0.3, 0.7);
    scanner->slices = (int64_t)clamp(ceil((last - scanner->first_z) / scanner->thickness), 6, 18);
}

void scanner_draw(struct scanner *scanner, struct heart *heart, struct random *random, bool hard)
{
    *scanner = (struct scanner){0};
    draw_tissues(&scanner->tissues, random, hard);
    draw_grid(scanner, heart, random);
    scanner->frames = 25 + random_index(random, 11);
    scanner->ed = random_unit(random) < 0.85 ? 0 : random_index(random, (uint32_t)scanner->frames);
    int64_t systole = (int64_t)round(heart->systole * (double)scanner->frames);
    heart->systole = (double)systole / (double)scanner->frames;
    scanner->es = (scanner->ed + systole) % scanner->frames;
    double breathing = hard ? 2.6 : 1.1;
    for (int i = 0; i < 32; i++) {
        scanner->shift[i][0] = random_normal_within(random, 0, 0.6 * breathing, 2.2);
        scanner->shift[i][1] = random_normal_within(random, 0, breathing, 2.2);
        scanner->blur[i] = hard && random_unit(random) < 0.35 ? random_between(random, 2.5, 6.5) : 0;
    }
    scanner->noise = hard ? random_between(random, 11, 20) : random_between(random, 4.5, 9);
    scanner->gain = random_between(random, 0.75, 1.5);
    scanner->gamma = hard ? exp(random_between(random, -0.35, 0.35)) : 1;
    scanner->soft = random_between(random, 1.7, 2.3);
    const double places[3][2] = {{-62, -78}, {48, -70}, {30, 128}};
    for (int i = 0; i < 3; i++) {
        scanner->coil[i][0] = places[i][0] + random_between(random, -22, 22);
        scanner->coil[i][1] = places[i][1] + random_between(random, -18, 18);
        scanner->coil[i][2] = random_between(random, 85, 125) * (hard ? 0.75 : 1);
        scanner->coil[i][3] = random_between(random, 0.45, 0.95) * (i == 2 ? 1.1 : 1);
    }
    if (hard) {
        scanner->ghost = random_unit(random) < 0.6 ? random_between(random, 0.08, 0.22) : 0;
        scanner->ghost_shift = random_between(random, 0.22, 0.5);
        scanner->banding = random_unit(random) < 0.4 ? random_between(random, 0.4, 0.75) : 0;
        scanner->banding_phase = random_between(random, 40, 85);
        scanner->banding_angle = random_between(random, 0, 2 * PI);
    }
}

/* ---- what does not move -------------------------------------------------------------------------------------------- */

/* Correlated as reconstruction by interpolation leaves it; unit variance. */
static void make_noise(float *noise, float *spare, struct random *random)
{
    const int mask = NOISE_SIDE - 1;
    for (int i = 0; i < NOISE_SIDE * NOISE_SIDE; i++)
        spare[i] = (float)random_normal(random);
    const float side = 0.45f;
    const float scale = 1.0f / (1.0f + 2.0f * side * side);
    for (int y = 0; y < NOISE_SIDE; y++) {
        const float *rows[3] = {spare + ((y - 1) & mask) * NOISE_SIDE, spare + y * NOISE_SIDE,
                                spare + ((y + 1) & mask) * NOISE_SIDE};
        for (int x = 0; x < NOISE_SIDE; x++) {
            int left = (x - 1) & mask, right = (x + 1) & mask;
            float sum = 0;
            for (int i = 0; i < 3; i++)
                sum += (rows[i][x] + side * (rows[i][left] + rows[i][right])) * (i == 1 ? 1.0f : side);
            noise[y * NOISE_SIDE + x] = sum * scale;
        }
    }
}

static double shading_at(const struct scanner *scanner, double x, double y)
{
    double sum = 0.6;
    for (int i = 0; i < 3; i++) {
        double dx = x - scanner->coil[i][0], dy = y - scanner->coil[i][1];
        sum += scanner->coil[i][3] * exp(-0.5 * (dx * dx + dy * dy) / (scanner->coil[i][2] * scanner->coil[i][2]));
    }
    if (scanner->banding > 0) {
        double along = x * cos(scanner->banding_angle) + y * sin(scanner->banding_angle);
        double phase = (along - scanner->banding_phase) / 9;
        sum *= 1 - scanner->banding * exp(-0.5 * phase * phase);
    }
    return sum;
}

static void draw_background(struct phantom_patient *patient)
{
    const struct scanner *scanner = &patient->scanner;
    int64_t width = scanner->width, height = scanner->height;
    double middle = shading_at(scanner, 0, 0);
    for (int64_t y = 0; y < height; y++) {
        for (int64_t x = 0; x < width; x++) {
            double px = scanner->origin_x + (double)x * scanner->spacing, py = scanner->origin_y + (double)y * scanner->spacing;
            patient->shading[y * width + x] = (float)(scanner->gain * shading_at(scanner, px, py) / middle);
            patient->textures[y * width + x] = (float)texture_fractal(patient->body.texture + 51, 0.13 * px, 0.13 * py);
        }
    }
    for (int64_t z = 0; z < scanner->slices; z++) {
        double level = scanner->first_z + (double)z * scanner->thickness;
        for (int64_t y = 0; y < height; y++) {
            for (int64_t x = 0; x < width; x++) {
                double px = scanner->origin_x + (double)x * scanner->spacing - scanner->shift[z][0];
                double py = scanner->origin_y + (double)y * scanner->spacing - scanner->shift[z][1];
                patient->background[(z * height + y) * width + x] =
                    (float)body_signal(&patient->body, &scanner->tissues, px, py, level, scanner->soft);
            }
        }
    }
}

mitral_status phantom_patient_prepare(struct phantom_patient *patient, mitral_context *context)
{
    size_t pixels = (size_t)(patient->scanner.width * patient->scanner.height);
    patient->background = mitral_allocate_raw(context, pixels * (size_t)patient->scanner.slices * sizeof(float));
    patient->shading = mitral_allocate_raw(context, pixels * sizeof(float));
    patient->textures = mitral_allocate_raw(context, pixels * sizeof(float));
    patient->slice = mitral_allocate_raw(context, pixels * sizeof(float));
    size_t tile = NOISE_SIDE * NOISE_SIDE;
    patient->spare = mitral_allocate_raw(context, (pixels > tile ? pixels : tile) * sizeof(float));
    patient->noise = mitral_allocate_raw(context, NOISE_SIDE * NOISE_SIDE * sizeof(float));
    if (!patient->background || !patient->shading || !patient->textures || !patient->slice || !patient->spare || !patient->noise) {
        phantom_patient_release(patient, context);
        return MITRAL_NO_MEMORY;
    }
    make_noise(patient->noise, patient->spare, &patient->noise_random);
    draw_background(patient);
    return MITRAL_OK;
}

void phantom_patient_release(struct phantom_patient *patient, mitral_context *context)
{
    float **owned[] = {&patient->background, &patient->shading, &patient->textures,
                       &patient->slice,      &patient->spare,   &patient->noise};
    for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) {
        mitral_release(context, *owned[i]);
        *owned[i] = NULL;
    }
}

/* ---- the heart in a slice ------------------------------------------------------------------------------------------ */

static float radius_at(const float *radii, float turn)
{
    int i = (int)turn;
    return radii[i] + (radii[i + 1] - radii[i]) * (turn - (float)i);
}

/* atan2 in units of the tables' steps, 0 … HEART_ANGLES. */
static float turn_of(float x, float y)
{
    float turn = atan2f(y, x) * (float)(HEART_ANGLES / (2 * PI));
    turn = turn < 0 ? turn + HEART_ANGLES : turn;
    return turn < HEART_ANGLES ? turn : 0;
}

static float cover(float distance, float soft)
{
    float value = 0.5f - distance / soft;
    return value < 0 ? 0 : value > 1 ? 1 : value;
}

static float blend(float a, float b, float weight)
{
    return a + (b - a) * weight;
}

static float ellipse(float x, float y, float half_width, float half_height)
{
    float reach = sqrtf(x * x / (half_width * half_width) + y * y / (half_height * half_height));
    return reach < 1e-6f ? -half_height : sqrtf(x * x + y * y) * (1 - 1 / reach);
}

/* What one sub-slice needs besides its radii. */
struct section {
    struct heart_cut cut;
    float papillary_x[2], papillary_y[2], papillary_radius[2]; /* radius 0: none */
    float vessel_x[2], vessel_y[2];
    float base_radius;
};

static void prepare_section(struct section *section, const struct heart *heart, double z, double squeeze)
{
    struct heart_cut *cut = &section->cut;
    heart_cut_at(cut, heart, z, squeeze);
    for (int i = 0; i < 2; i++) {
        double angle = heart->papillary_angle[i], level = cut->level;
        double turn = remainder(angle, 2 * PI);
        float inner = radius_at(cut->inner, turn_of((float)cos(turn), (float)sin(turn)));
        double size = clamp((level - 0.26) / 0.08, 0, 1) * clamp((0.86 - level) / 0.08, 0, 1);
        double away = inner * (0.56 + 0.3 * clamp(level, 0, 1));
        section->papillary_radius[i] = (float)fmin(heart->papillary_radius[i] * (1 + 0.12 * squeeze) * size, 0.34 * inner);
        section->papillary_x[i] = (float)(away * cos(angle));
        section->papillary_y[i] = (float)(away * sin(angle));
        double groove = heart->septum + (i ? 1 : -1) * 0.97 * heart->rv_span * (1 - 0.3 * clamp(level, 0, 1));
        turn = remainder(groove, 2 * PI);
        double out = radius_at(cut->right_wall, turn_of((float)cos(turn), (float)sin(turn))) + 2.6;
        section->vessel_x[i] = (float)(out * cos(groove));
        section->vessel_y[i] = (float)(out * sin(groove));
    }
    section->base_radius = (float)(heart->radius * (1 - 0.12 * squeeze));
}

/* Above the valve plane: atria, the aortic root and the outflow of the right ventricle in the fat of the base. */
static float atria(const struct section *section, const struct heart *heart, const struct tissues *t, float x, float y, float soft,
                   float signal, float grain)
{
    float r = section->base_radius, blood = (float)t->blood * (1 + 0.04f * grain), wall = (float)t->muscle * 1.05f;
    float filling = (float)(0.12 * section->cut.squeeze);
    float depth = (float)(heart->rv_depth_ed * 0.5);
    const float parts[4][5] = {
        /* x, y, half width, half height, wall */
        {-r - depth * 0.9f, 0.45f * r, (0.75f + filling) * r, (0.95f + filling) * r, 1.6f}, /* right atrium */
        {-0.85f * r - 0.5f * depth, -1.0f * r - 5, 0.72f * r, 0.55f * r, 2.4f},             /* outflow */
        {0.30f * r, 0.32f * r, (0.98f + filling) * r, (0.80f + filling) * r, 1.9f},         /* left atrium */
        {-0.36f * r, -0.42f * r, 0.52f * r, 0.50f * r, 1.8f},                               /* aortic root */
    };
    /* Between them, near the valves, is more muscle and fibre than fat. */
    float r_here = sqrtf(x * x + y * y);
    signal = blend(signal, wall * 0.8f, cover(r_here - radius_at(section->cut.outer, turn_of(x, y)), 3 * soft));
    /* Each over the one before, wall and all, so that walls stand between them. */
    for (int i = 0; i < 4; i++) {
        float edge = ellipse(x - parts[i][0], y - parts[i][1], parts[i][2], parts[i][3]);
        signal = blend(signal, wall, cover(edge - parts[i][4], soft));
        signal = blend(signal, blood, cover(edge, soft));
    }
    return signal;
}

static float merge(float a, float b, float width)
{
    float overlap = fmaxf(width - fabsf(a - b), 0);
    return fminf(a, b) - 0.25f * overlap * overlap / width;
}

/* Heads of unequal size that run together, and a stem towards the wall. */
static float papillary_distance(const struct section *section, int i, float x, float y)
{
    float cx = section->papillary_x[i], cy = section->papillary_y[i], radius = section->papillary_radius[i];
    float out = hypotf(cx, cy), ux = cx / (out + 1e-6f), uy = cy / (out + 1e-6f), side = i ? -1.0f : 1.0f;
    float a = x - cx, b = y - cy;
    float along = a * ux + b * uy, across = side * (b * ux - a * uy);
    float first = hypotf(along, across - 0.4f * radius) - 0.78f * radius;
    float second = hypotf(along + 0.25f * radius, across + 0.55f * radius) - 0.5f * radius;
    float stem = hypotf(0.55f * (along - 1.1f * radius), across + 0.1f * radius) - 0.45f * radius;
    return merge(merge(first, second, 0.9f * radius), stem, 1.1f * radius);
}

static float heart_signal(const struct section *section, const struct heart *heart, const struct tissues *t, float x, float y,
                          float soft, float signal, float grain)
{
    const struct heart_cut *cut = &section->cut;
    x -= (float)cut->centre_x;
    y -= (float)cut->centre_y;
    float r = sqrtf(x * x + y * y);
    if (r > (float)cut->reach + soft)
        return signal;
    float turn = turn_of(x, y);
    float sac = r - radius_at(cut->pericardium, turn);
    if (sac > soft && cut->level >= 0)
        return signal;
    float fat = (float)t->fat * (0.8f + 0.1f * grain);
    signal = blend(signal, (float)t->skeletal * 0.5f, cover(sac, soft));
    signal = blend(signal, fat, cover(sac + 1.0f, soft));
    if (cut->level < 0)
        return atria(section, heart, t, x, y, soft, signal, grain);
    if (cut->level > 1)
        return signal;
    for (int i = 0; i < 2; i++) {
        float away = hypotf(x - section->vessel_x[i], y - section->vessel_y[i]);
        signal = blend(signal, (float)t->blood * 0.8f, cover(away - 1.5f, soft));
    }
    float muscle = (float)t->muscle * (1 + 0.07f * grain), blood = (float)t->blood * (1 + 0.045f * grain);
    float outer = r - radius_at(cut->outer, turn);
    signal = blend(signal, muscle, cover(r - radius_at(cut->right_wall, turn), soft));
    signal = blend(signal, blood, cover(r - radius_at(cut->right_seen, turn), soft));
    signal = blend(signal, muscle, cover(outer, soft));
    float inside = cover(r - radius_at(cut->trabeculated, turn), soft);
    for (int i = 0; i < 2; i++) {
        if (section->papillary_radius[i] <= 0)
            continue;
        inside = fminf(inside, 1 - 0.92f * cover(papillary_distance(section, i, x, y), soft));
    }
    return blend(signal, blood, inside);
}

/* ---- a frame ------------------------------------------------------------------------------------------------------- */

static double squeeze_of(const struct phantom_patient *patient, int64_t frame)
{
    const struct scanner *scanner = &patient->scanner;
    int64_t since = (frame - scanner->ed + scanner->frames) % scanner->frames;
    return heart_squeeze(&patient->heart, (double)since / (double)scanner->frames);
}

struct box {
    int64_t left, right, top, bottom; /* half-open */
};

static struct box box_around(const struct scanner *scanner, int64_t z, const struct section *sections, int count)
{
    double left = 1e9, right = -1e9, top = 1e9, bottom = -1e9;
    for (int i = 0; i < count; i++) {
        const struct heart_cut *cut = &sections[i].cut;
        double x = cut->centre_x + scanner->shift[z][0], y = cut->centre_y + scanner->shift[z][1],
               reach = cut->reach + scanner->soft;
        left = fmin(left, x - reach);
        right = fmax(right, x + reach);
        top = fmin(top, y - reach);
        bottom = fmax(bottom, y + reach);
    }
    struct box box;
    box.left = (int64_t)clamp(floor((left - scanner->origin_x) / scanner->spacing), 0, (double)scanner->width);
    box.right = (int64_t)clamp(ceil((right - scanner->origin_x) / scanner->spacing) + 1, 0, (double)scanner->width);
    box.top = (int64_t)clamp(floor((top - scanner->origin_y) / scanner->spacing), 0, (double)scanner->height);
    box.bottom = (int64_t)clamp(ceil((bottom - scanner->origin_y) / scanner->spacing) + 1, 0, (double)scanner->height);
    return box;
}

static void draw_heart(struct phantom_patient *patient, int64_t z, double squeeze, int64_t frame)
{
    const struct scanner *scanner = &patient->scanner;
    int64_t width = scanner->width;
    struct section sections[SUB_SLICES];
    double level = scanner->first_z + (double)z * scanner->thickness;
    for (int i = 0; i < SUB_SLICES; i++)
        prepare_section(&sections[i], &patient->heart, level + scanner->thickness * (i - 1) / 3.0, squeeze);
    const float *background = patient->background + z * width * scanner->height;
    struct box box = box_around(scanner, z, sections, SUB_SLICES);
    float soft = (float)scanner->soft;
    for (int64_t y = box.top; y < box.bottom; y++) {
        float py = (float)(scanner->origin_y + (double)y * scanner->spacing - scanner->shift[z][1]);
        /* Grain that differs from slice to slice, and drifts with the blood from frame to frame. */
        const float *grain = patient->textures + ((y + 7 * z) % scanner->height) * width;
        for (int64_t x = box.left; x < box.right; x++) {
            float px = (float)(scanner->origin_x + (double)x * scanner->spacing - scanner->shift[z][0]);
            float sum = 0, here = grain[(x + 11 * z + frame) % width];
            for (int i = 0; i < SUB_SLICES; i++)
                sum +=
                    heart_signal(&sections[i], &patient->heart, &scanner->tissues, px, py, soft, background[y * width + x], here);
            patient->slice[y * width + x] = sum / SUB_SLICES;
        }
    }
    if (scanner->ghost <= 0)
        return;
    /* The heart's movement comes back along the phase-encoding direction. */
    int64_t away = (int64_t)round(scanner->ghost_shift * (double)scanner->height);
    memcpy(patient->spare, patient->slice, (size_t)(width * scanner->height) * sizeof(float));
    for (int64_t y = box.top; y < box.bottom; y++) {
        for (int side = -1; side <= 1; side += 2) {
            float *row = patient->slice + ((y + side * away + scanner->height) % scanner->height) * width;
            for (int64_t x = box.left; x < box.right; x++)
                row[x] += (float)(scanner->ghost * side) * (patient->spare[y * width + x] - background[y * width + x]);
        }
    }
}

/* A slice during which the patient moved is the mean of several places. */
static void blur_rows(struct phantom_patient *patient, double length)
{
    const struct scanner *scanner = &patient->scanner;
    int64_t width = scanner->width, height = scanner->height, reach = (int64_t)round(0.5 * length / scanner->spacing);
    if (reach < 1)
        return;
    memcpy(patient->spare, patient->slice, (size_t)(width * height) * sizeof(float));
    for (int64_t y = 0; y < height; y++) {
        int64_t above = y - reach < 0 ? 0 : y - reach, below = y + reach >= height ? height - 1 : y + reach;
        for (int64_t x = 0; x < width; x++)
            patient->slice[y * width + x] = 0.5f * patient->spare[y * width + x]
                                          + 0.25f * (patient->spare[above * width + x] + patient->spare[below * width + x]);
    }
}

/* Shading, noise in both channels, magnitude. */
static void acquire(int16_t *out, struct phantom_patient *patient)
{
    const struct scanner *scanner = &patient->scanner;
    int64_t width = scanner->width;
    float noise = (float)(scanner->noise * scanner->gain), gamma = (float)scanner->gamma, white = (float)(260 * scanner->gain);
    uint32_t places[4];
    for (int i = 0; i < 4; i++)
        places[i] = random_index(&patient->noise_random, NOISE_SIDE);
    for (int64_t y = 0; y < scanner->height; y++) {
        const float *real = patient->noise + ((y + places[0]) % NOISE_SIDE) * NOISE_SIDE;
        const float *imaginary = patient->noise + ((y + places[1]) % NOISE_SIDE) * NOISE_SIDE;
        for (int64_t x = 0; x < width; x++) {
            float a = patient->slice[y * width + x] * patient->shading[y * width + x] + noise * real[(x + places[2]) % NOISE_SIDE];
            float b = noise * imaginary[(x + places[3]) % NOISE_SIDE];
            float value = sqrtf(a * a + b * b);
            if (gamma != 1)
                value = white * powf(value / white, gamma);
            out[y * width + x] = (int16_t)(value < 32000 ? value + 0.5f : 32000);
        }
    }
}

void phantom_render_frame(int16_t *out, struct phantom_patient *patient, int64_t frame)
{
    const struct scanner *scanner = &patient->scanner;
    int64_t pixels = scanner->width * scanner->height;
    double squeeze = squeeze_of(patient, frame);
    for (int64_t z = 0; z < scanner->slices; z++) {
        memcpy(patient->slice, patient->background + z * pixels, (size_t)pixels * sizeof(float));
        draw_heart(patient, z, squeeze, frame);
        if (scanner->blur[z] > 0)
            blur_rows(patient, scanner->blur[z]);
        acquire(out + z * pixels, patient);
    }
}

void phantom_label_frame(uint8_t *out, const struct phantom_patient *patient, int64_t frame)
{
    const struct scanner *scanner = &patient->scanner;
    double squeeze = squeeze_of(patient, frame);
    for (int64_t z = 0; z < scanner->slices; z++) {
        struct heart_cut cut;
        heart_cut_at(&cut, &patient->heart, scanner->first_z + (double)z * scanner->thickness, squeeze);
        bool there = cut.level >= 0 && cut.level <= 1;
        for (int64_t y = 0; y < scanner->height; y++) {
            for (int64_t x = 0; x < scanner->width; x++) {
                double px = scanner->origin_x + (double)x * scanner->spacing - scanner->shift[z][0] - cut.centre_x;
                double py = scanner->origin_y + (double)y * scanner->spacing - scanner->shift[z][1] - cut.centre_y;
                float r = (float)sqrt(px * px + py * py);
                uint8_t label = 0;
                if (there && r < (float)cut.reach) {
                    float turn = turn_of((float)px, (float)py);
                    label = r < radius_at(cut.inner, turn) ? 3
                          : r < radius_at(cut.outer, turn) ? 2
                                                           : r < radius_at(cut.right, turn);
                }
                *out++ = label;
            }
        }
    }
}
