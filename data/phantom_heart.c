/* Shape and motion of the heart. Two numbers of each ventricle are solved for, so that its volumes at end-diastole and
 * end-systole are those drawn for its group; the muscle keeps its volume, which is what makes a contracting wall thicken. */
#include <math.h>
#include <string.h>

#include "data/phantom.h"

#define PI 3.14159265358979323846
#define DEGREE (PI / 180.0)

static double square(double x)
{
    return x * x;
}

static double clamp(double x, double low, double high)
{
    return x < low ? low : x > high ? high : x;
}

static double smoothstep(double x)
{
    x = clamp(x, 0, 1);
    return x * x * (3 - 2 * x);
}

/* Difference of two angles in -pi … pi. */
static double turn_between(double a, double b)
{
    return remainder(a - b, 2 * PI);
}

/* ---- the wall at one direction and level --------------------------------------------------------------------------- */

static double infarct_at(const struct heart *heart, double angle, double level)
{
    if (heart->infarct_size <= 0)
        return 0;
    double across = square(turn_between(angle, heart->infarct_angle) / heart->infarct_width);
    double along = square((level - heart->infarct_level) / heart->infarct_depth);
    return heart->infarct_size * exp(-square(across) - square(along));
}

/* Inner radius at end-diastole, as a multiple of heart->radius. */
static double shape_at(const struct heart *heart, double angle, double level)
{
    double inner_level = level * heart->length / (heart->length - heart->apex_wall);
    if (inner_level >= 1)
        return 0;
    double profile = pow(1 - pow(inner_level, 2.3), 0.6) * (1 - 0.09 * square(square(1 - inner_level)));
    double septal = exp(-0.5 * square(turn_between(angle, heart->septum) / (48 * DEGREE)));
    double uneven =
        0.016 * sin(3 * angle + heart->ripple_phase[0] + 2 * level) + 0.011 * sin(4 * angle + heart->ripple_phase[1] - 3 * level);
    return profile
         * (1 + heart->ovality * cos(2 * (angle - heart->ovality_angle)) + uneven - heart->flattening * septal * (1 - 0.4 * level));
}

static double inner_at(const struct heart *heart, double angle, double level, double squeeze)
{
    /* An infarct does not contract, and bulges a little under pressure. */
    double contraction = heart->contraction * squeeze * (1 - 1.1 * infarct_at(heart, angle, level)) * (0.92 + 0.16 * level);
    /* The septum follows less where the right ventricle is overloaded: it is flat in diastole already. */
    return heart->radius * shape_at(heart, angle, level) * (1 - contraction);
}

static double wall_at(const struct heart *heart, double angle, double level)
{
    double septal = exp(-0.5 * square(turn_between(angle, heart->septum) / heart->septum_width));
    double wall = heart->wall * (1 - 0.22 * square(level)) + heart->septum_extra * septal * (1 - 0.5 * square(level));
    double uneven = 0.06 * sin(2 * angle + heart->ripple_phase[2] + 3 * level) + 0.05 * sin(5 * angle + heart->ripple_phase[3]);
    return wall * (1 + uneven) * (1 - 0.45 * infarct_at(heart, angle, level));
}

static double outer_at(const struct heart *heart, double angle, double level, double squeeze, double inner)
{
    double rest = heart->radius * shape_at(heart, angle, level), wall = wall_at(heart, angle, level);
    double end = 1 - heart->apex_wall / heart->length;
    if (level > end) /* the cap below the cavity */
        wall *= sqrt(fmax(0, 1 - square((level - end) / (1 - end))));
    double area = square(rest + wall) - square(rest);
    double stretch = heart->length / (heart->length - squeeze * heart->shortening);
    return sqrt(square(inner) + area * stretch);
}

static double right_depth_at(const struct heart *heart, double angle, double level, double depth)
{
    double reach = 0.94;
    if (level >= reach)
        return 0;
    double offset = turn_between(angle, heart->septum) / (heart->rv_span * (1 - 0.3 * level));
    if (fabs(offset) >= 1)
        return 0;
    /* Flat in front and below, with a corner between the two where the free wall meets the diaphragm. */
    double bump = pow(1 - pow(fabs(offset), 2.3), 0.95) * (1 + heart->rv_skew * offset)
                + 0.16 * exp(-square((offset + 0.42) / 0.22)) * (1 - square(offset));
    return depth * pow(1 - square(level / reach), 0.65) * bump;
}

/* ---- volumes ------------------------------------------------------------------------------------------------------- */

#define VOLUME_LEVELS 32
#define VOLUME_ANGLES 48

double heart_left_volume(const struct heart *heart, double squeeze)
{
    double sum = 0;
    for (int i = 0; i < VOLUME_LEVELS; i++)
        for (int j = 0; j < VOLUME_ANGLES; j++)
            sum += square(inner_at(heart, 2 * PI * j / VOLUME_ANGLES, (i + 0.5) / VOLUME_LEVELS, squeeze));
    double length = heart->length - squeeze * heart->shortening;
    return sum * 0.5 * (2 * PI / VOLUME_ANGLES) * (length / VOLUME_LEVELS) * 1e-3;
}

double heart_right_volume(const struct heart *heart, double squeeze)
{
    double sum = 0, depth = heart->rv_depth_ed + (heart->rv_depth_es - heart->rv_depth_ed) * squeeze;
    for (int i = 0; i < VOLUME_LEVELS; i++) {
        double level = (i + 0.5) / VOLUME_LEVELS;
        for (int j = 0; j < VOLUME_ANGLES; j++) {
            double angle = 2 * PI * j / VOLUME_ANGLES;
            double outer = outer_at(heart, angle, level, squeeze, inner_at(heart, angle, level, squeeze));
            sum += square(outer + right_depth_at(heart, angle, level, depth)) - square(outer);
        }
    }
    double length = heart->length - squeeze * heart->shortening;
    return sum * 0.5 * (2 * PI / VOLUME_ANGLES) * (length / VOLUME_LEVELS) * 1e-3;
}

/* Bisection of *value so that the volume, which rises with it (or falls, for sign -1), is the target. */
static void solve(double *value, double low, double high, double sign, const struct heart *heart,
                  double (*volume)(const struct heart *, double), double squeeze, double target)
{
    for (int i = 0; i < 28; i++) {
        *value = 0.5 * (low + high);
        if (sign * (volume(heart, squeeze) - target) < 0)
            low = *value;
        else
            high = *value;
    }
}

/* ---- drawing a heart ----------------------------------------------------------------------------------------------- */

struct group_ranges {
    double lv_ed[2], lv_fraction[2], rv_ed[2], rv_fraction[2], wall[2], length[2];
};

/* Volumes in ml, ejection fractions in per cent, lengths in mm. */
static const struct group_ranges ranges[GROUP_COUNT] = {
    [GROUP_NOR] = {{108, 165}, {56, 68}, {118, 180}, {50, 62}, {7.6, 10.0}, {82, 98}},
    [GROUP_MINF] = {{140, 215}, {23, 38}, {115, 170}, {44, 58}, {8.0, 10.2}, {88, 102}},
    [GROUP_DCM] = {{215, 320}, {13, 33}, {140, 230}, {28, 48}, {5.8, 7.4}, {96, 110}},
    [GROUP_HCM] = {{92, 145}, {64, 76}, {105, 155}, {52, 66}, {9.6, 12.0}, {80, 94}},
    [GROUP_RV] = {{92, 140}, {54, 65}, {215, 310}, {20, 38}, {7.4, 9.4}, {82, 96}},
};

static double pick(struct random *random, const double range[2])
{
    return random_between(random, range[0], range[1]);
}

static void draw_infarct(struct heart *heart, struct random *random)
{
    /* The territories of the three coronary arteries: anterior and apical, lateral, inferior. */
    static const double angles[3] = {-115, -5, 95}, levels[3] = {0.65, 0.45, 0.4};
    uint32_t territory = random_index(random, 3);
    heart->infarct_size = random_between(random, 0.85, 1.0);
    heart->infarct_angle = (angles[territory] + random_between(random, -18, 18)) * DEGREE;
    heart->infarct_width = random_between(random, 48, 72) * DEGREE;
    heart->infarct_level = levels[territory] + random_between(random, -0.08, 0.08);
    heart->infarct_depth = random_between(random, 0.35, 0.5);
}

void heart_draw(struct heart *heart, enum phantom_group group, struct random *random)
{
    const struct group_ranges *range = &ranges[group];
    *heart = (struct heart){.group = group};
    heart->lv_ed = pick(random, range->lv_ed);
    heart->lv_es = heart->lv_ed * (1 - 0.01 * pick(random, range->lv_fraction));
    heart->rv_ed = pick(random, range->rv_ed);
    heart->rv_es = heart->rv_ed * (1 - 0.01 * pick(random, range->rv_fraction));
    heart->wall = pick(random, range->wall);
    heart->length = pick(random, range->length);
    double ejection = 1 - heart->lv_es / heart->lv_ed;
    heart->shortening = clamp(22 * ejection + random_between(random, -1.5, 1.5), 2, 16);
    heart->apex_wall = random_between(random, 5.5, 8);
    heart->septum = (195 + random_between(random, -20, 20)) * DEGREE;
    heart->septum_width = 45 * DEGREE;
    heart->septum_extra = random_between(random, 0.2, 1.2);
    heart->ovality = random_between(random, 0.01, 0.05);
    heart->ovality_angle = random_between(random, 0, PI);
    heart->flattening = random_between(random, 0, 0.03);
    heart->rv_span = random_between(random, 80, 90) * DEGREE;
    heart->rv_skew = random_between(random, -0.15, 0.3);
    heart->rv_wall = random_between(random, 2.2, 3.2);
    heart->fat = random_between(random, 3, 8);
    heart->drift_x = random_between(random, -2, 9);
    heart->drift_y = random_between(random, -3, 8);
    heart->ripple_amplitude = random_between(random, 0.8, 1.7);
    heart->papillary_angle[0] = (-38 + random_between(random, -12, 12)) * DEGREE;
    heart->papillary_angle[1] = (98 + random_between(random, -14, 14)) * DEGREE;
    for (int i = 0; i < 2; i++)
        heart->papillary_radius[i] = random_between(random, 3.4, 5.2);
    for (int i = 0; i < HEART_RIPPLES; i++) {
        heart->ripple_phase[i] = random_between(random, 0, 2 * PI);
        heart->ripple_drift[i] = random_between(random, -9, 9);
    }
    if (group == GROUP_MINF)
        draw_infarct(heart, random);
    if (group == GROUP_HCM) {
        heart->septum_extra = random_between(random, 5.5, 10.5);
        heart->septum_width = random_between(random, 45, 65) * DEGREE;
    }
    if (group == GROUP_RV) {
        heart->flattening = random_between(random, 0.1, 0.19);
        heart->rv_span = random_between(random, 92, 104) * DEGREE;
        heart->rv_wall = random_between(random, 2.8, 4.2);
    }
    solve(&heart->radius, 5, 60, 1, heart, heart_left_volume, 0, heart->lv_ed);
    solve(&heart->contraction, 0, 0.8, -1, heart, heart_left_volume, 1, heart->lv_es);
    solve(&heart->rv_depth_ed, 1, 120, 1, heart, heart_right_volume, 0, heart->rv_ed);
    solve(&heart->rv_depth_es, 1, 120, 1, heart, heart_right_volume, 1, heart->rv_es);
    heart->systole = random_between(random, 0.32, 0.4);
}

double heart_squeeze(const struct heart *heart, double time)
{
    if (time <= heart->systole)
        return 0.5 - 0.5 * cos(PI * time / heart->systole);
    /* Early filling, rest, and the last part by the atria. */
    return 1 - 0.8 * smoothstep((time - heart->systole - 0.02) / 0.24) - 0.2 * smoothstep((time - 0.84) / 0.15);
}

/* ---- one level at one moment --------------------------------------------------------------------------------------- */

/* The muscle's inner surface is rough; more so towards the apex. Always inwards. */
static double ripple_at(const struct heart *heart, double angle, double level, double phase)
{
    double sum = 0;
    for (int i = 0; i < HEART_RIPPLES; i++)
        sum += sin((5 + 2 * i) * angle + heart->ripple_phase[i] + phase + heart->ripple_drift[i] * level);
    return heart->ripple_amplitude * (0.5 + 0.9 * level) * clamp(0.5 * sum + 0.1, 0, 1.7);
}

/* A membrane spans the grooves between the ventricles; fat fills them. */
static void span_grooves(float *out, const float *radii)
{
    enum { REACH = 14 };
    float sum = 0;
    for (int i = -REACH; i <= REACH; i++)
        sum += radii[(i + HEART_ANGLES) % HEART_ANGLES];
    for (int i = 0; i < HEART_ANGLES; i++) {
        out[i] = fmaxf(radii[i], sum / (2 * REACH + 1));
        sum += radii[(i + REACH + 1) % HEART_ANGLES] - radii[(i - REACH + HEART_ANGLES) % HEART_ANGLES];
    }
}

static void add_pericardium(struct heart_cut *cut, const struct heart *heart)
{
    float spanned[HEART_ANGLES], smooth[HEART_ANGLES];
    span_grooves(spanned, cut->right_wall);
    span_grooves(smooth, spanned);
    double below = cut->level > 1 ? (cut->level - 1) * heart->length / 9 : 0; /* a cap of fat beneath the apex */
    for (int i = 0; i < HEART_ANGLES; i++) {
        double angle = 2 * PI * i / HEART_ANGLES;
        double near_right = 0.5 + 0.5 * cos(turn_between(angle, heart->septum));
        double margin = 1.2 + heart->fat * square(near_right) * (0.8 + 0.3 * sin(3 * angle + heart->ripple_phase[0]));
        cut->pericardium[i] = smooth[i] + (float)margin;
        if (cut->level > 1)
            cut->pericardium[i] = (float)((7 + 0.6 * margin) * sqrt(fmax(0, 1 - square(below))));
        cut->reach = fmax(cut->reach, cut->pericardium[i]);
    }
    cut->pericardium[HEART_ANGLES] = cut->pericardium[0];
}

void heart_cut_at(struct heart_cut *cut, const struct heart *heart, double z, double squeeze)
{
    double base = squeeze * heart->shortening;
    cut->level = (z - base) / (heart->length - base);
    cut->squeeze = squeeze;
    cut->reach = 0;
    double level = clamp(cut->level, 0, 1);
    if (cut->level < 0)
        squeeze = 0; /* the atria fill while the ventricles empty: the sac keeps its size */
    cut->centre_x = heart->drift_x * (cut->level - 0.4) - 1.2 * squeeze;
    cut->centre_y = heart->drift_y * (cut->level - 0.4) + 0.6 * squeeze;
    double depth = heart->rv_depth_ed + (heart->rv_depth_es - heart->rv_depth_ed) * squeeze;
    for (int i = 0; i < HEART_ANGLES; i++) {
        double angle = 2 * PI * i / HEART_ANGLES;
        double inner = inner_at(heart, angle, level, squeeze);
        double outer = outer_at(heart, angle, level, squeeze, inner);
        double right = right_depth_at(heart, angle, level, depth);
        double rough = ripple_at(heart, angle, level, 0), rough_right = 1.5 * ripple_at(heart, angle, level, 2);
        cut->inner[i] = (float)inner;
        cut->trabeculated[i] = (float)fmax(0.35 * inner, inner - rough);
        cut->outer[i] = (float)outer;
        cut->right[i] = (float)(outer + right);
        cut->right_seen[i] = (float)(outer + fmax(0.3 * right, right - rough_right));
        cut->right_wall[i] = (float)(outer + right + heart->rv_wall * (1 + 0.4 * squeeze) * clamp(right / 4, 0, 1));
    }
    cut->inner[HEART_ANGLES] = cut->inner[0];
    cut->trabeculated[HEART_ANGLES] = cut->trabeculated[0];
    cut->outer[HEART_ANGLES] = cut->outer[0];
    cut->right[HEART_ANGLES] = cut->right[0];
    cut->right_seen[HEART_ANGLES] = cut->right_seen[0];
    cut->right_wall[HEART_ANGLES] = cut->right_wall[0];
    add_pericardium(cut, heart);
    if (cut->level < 0)
        cut->reach += 20; /* atria bulge past it */
}
