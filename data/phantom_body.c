/* What surrounds the heart: chest wall with ribs, lungs with vessels, diaphragm, liver, stomach, spleen, aorta and spine. */
#include <math.h>

#include "data/phantom.h"

#define PI 3.14159265358979323846

static double square(double x)
{
    return x * x;
}

/* ---- textures ------------------------------------------------------------------------------------------------------ */

static double lattice(uint32_t seed, int32_t x, int32_t y)
{
    uint32_t h = seed ^ ((uint32_t)x * 0x9e3779b1u) ^ ((uint32_t)y * 0x85ebca77u);
    h = (h ^ (h >> 15)) * 0x2c1b3c6du;
    h = (h ^ (h >> 12)) * 0x297a2d39u;
    h ^= h >> 15;
    return h * (2.0 / 4294967295.0) - 1.0;
}

double texture_noise(uint32_t seed, double x, double y)
{
    double fx = floor(x), fy = floor(y);
    int32_t ix = (int32_t)fx, iy = (int32_t)fy;
    double u = x - fx, v = y - fy;
    u = u * u * (3 - 2 * u);
    v = v * v * (3 - 2 * v);
    double top = lattice(seed, ix, iy) * (1 - u) + lattice(seed, ix + 1, iy) * u;
    double bottom = lattice(seed, ix, iy + 1) * (1 - u) + lattice(seed, ix + 1, iy + 1) * u;
    return top * (1 - v) + bottom * v;
}

double texture_fractal(uint32_t seed, double x, double y)
{
    return 0.6 * texture_noise(seed, x, y) + 0.3 * texture_noise(seed + 1, 2.1 * x + 5.3, 2.1 * y - 3.1)
         + 0.15 * texture_noise(seed + 2, 4.3 * x - 7.7, 4.3 * y + 1.9);
}

/* ---- drawing a body ------------------------------------------------------------------------------------------------ */

static void draw_vessel(struct lung_vessel *vessel, struct random *random, double x, double y, double length, double radius)
{
    double angle = random_between(random, 0, 2 * PI);
    vessel->x0 = (float)x;
    vessel->y0 = (float)y;
    vessel->x1 = (float)(x + length * cos(angle));
    vessel->y1 = (float)(y + length * sin(angle));
    vessel->radius = (float)radius;
    vessel->z = (float)random_between(random, -20, 110);
    vessel->reach = (float)random_between(random, 6, 18);
    vessel->signal = (float)random_between(random, 35, 105);
}

void body_draw(struct body *body, struct random *random, const struct heart *heart)
{
    double below = heart->radius + heart->wall; /* where the heart rests on the diaphragm */
    *body = (struct body){.texture = random_bits(random)};
    body->half_width = random_between(random, 148, 176);
    body->half_height = random_between(random, 122, 146);
    body->turn = random_between(random, -0.42, -0.18);
    body->fat = random_between(random, 8, 24);
    body->wall = random_between(random, 17, 24);
    /* The heart lies against the front of the chest, up and to the left; a wide right ventricle pushes it to the right. */
    double front = heart->radius + heart->wall + random_between(random, 40, 52) + body->fat + body->wall;
    body->centre_x = random_between(random, 2, 18);
    body->centre_y = body->half_height - front;
    body->dome_x = random_between(random, -60, -36);
    body->dome_curve = random_between(random, 0.0018, 0.0032);
    body->dome_y = below + random_between(random, -7, 0) - body->dome_curve * square(body->dome_x + 8);
    body->dome_slope = random_between(random, -0.3, -0.14);
    body->stomach_x = random_between(random, 42, 62);
    body->stomach_y = body->dome_y + random_between(random, 34, 48);
    body->stomach_gas = random_between(random, -0.4, 0.5);
    body->aorta_x = below + random_between(random, 27, 40);
    body->aorta_y = random_between(random, 26, 44);
    body->aorta_radius = random_between(random, 9.5, 13);
    body->spine_x = body->aorta_x + random_between(random, 26, 34);
    body->spine_y = body->aorta_y + random_between(random, 16, 30);
    body->rib_phase = random_between(random, 0, 1);
    body->pad = random_between(random, 0.72, 1.12);
    const size_t count = sizeof body->vessels / sizeof *body->vessels;
    for (size_t i = 0; i < count; i++) {
        /* Few large ones near the hilum, many small ones all over. */
        double spread = 0.25 + 0.75 * (double)i / (double)count;
        double x = 58 + spread * random_between(random, -210, 95), y = -10 + spread * random_between(random, -110, 90);
        double radius = random_between(random, 0.5, 1.3) + 1.6 * square(1 - spread);
        double length = 14 * square(random_unit(random)) + 6 * (1 - spread);
        draw_vessel(&body->vessels[i], random, x, y, length, radius);
    }
    for (size_t i = 0; i < sizeof body->liver_vessels / sizeof *body->liver_vessels; i++) {
        draw_vessel(&body->liver_vessels[i], random, random_between(random, -120, 20),
                    body->dome_y + random_between(random, 12, 90), random_between(random, 4, 34), random_between(random, 1.2, 3.4));
        body->liver_vessels[i].signal = (float)random_between(random, 125, 175);
    }
}

/* ---- the signal at a point ----------------------------------------------------------------------------------------- */

struct point {
    double x, y, z, soft;
};

/* A tissue laid over what is there; `distance` from its edge, negative inside. */
static double over(double signal, double tissue, double distance, double soft)
{
    double cover = 0.5 - distance / soft;
    return cover <= 0 ? signal : cover >= 1 ? tissue : signal + (tissue - signal) * cover;
}

static double ellipse_distance(double x, double y, double half_width, double half_height)
{
    double reach = sqrt(square(x / half_width) + square(y / half_height));
    return reach < 1e-9 ? -fmin(half_width, half_height) : sqrt(x * x + y * y) * (1 - 1 / reach);
}

/* From the outline, along the ray from the body's centre: a rounded box. */
static double outline_distance(const struct body *body, const struct point *p, double *around)
{
    double x = p->x - body->centre_x, y = p->y - body->centre_y;
    double c = cos(body->turn), s = sin(body->turn);
    double u = c * x + s * y, v = -s * x + c * y;
    *around = atan2(v, u);
    double a = square(square(u / body->half_width)), b = square(square(v / body->half_height));
    double reach = 0.5 * (pow(a + b, 0.25) + sqrt(square(u / body->half_width) + square(v / body->half_height)));
    double distance = sqrt(u * u + v * v);
    return reach < 1e-9 ? -body->half_height : distance * (1 - 1 / reach);
}

static double vessel_cover(const struct lung_vessel *vessels, size_t count, const struct point *p, double signal, double fade)
{
    for (size_t i = 0; i < count; i++) {
        const struct lung_vessel *vessel = &vessels[i];
        double dx = vessel->x1 - vessel->x0, dy = vessel->y1 - vessel->y0;
        double px = p->x - vessel->x0, py = p->y - vessel->y0;
        double margin = vessel->radius + p->soft, dz = fabs(p->z - vessel->z);
        if (dz > vessel->reach || px < fmin(0, dx) - margin || px > fmax(0, dx) + margin || py < fmin(0, dy) - margin
            || py > fmax(0, dy) + margin)
            continue;
        double length = dx * dx + dy * dy;
        double along = length > 0 ? (px * dx + py * dy) / length : 0;
        along = along < 0 ? 0 : along > 1 ? 1 : along;
        double distance = sqrt(square(px - along * dx) + square(py - along * dy)) - vessel->radius * (1 - 0.5 * along);
        double strength = vessel->signal * fade * (1 - 0.5 * dz / vessel->reach);
        signal = over(signal, fmax(signal, strength), distance, p->soft);
    }
    return signal;
}

static double chest_wall(const struct body *body, const struct tissues *t, const struct point *p, double depth, double around)
{
    /* Muscle in layers with fat between them. */
    double layer = texture_noise(body->texture + 11, 3.1 * around, 0.15 * depth)
                 + 0.3 * texture_noise(body->texture + 15, 0.07 * p->x, 0.07 * p->y);
    double signal = t->skeletal * (1.1 + 0.22 * texture_fractal(body->texture + 12, 0.15 * p->x, 0.15 * p->y));
    signal += (0.8 * t->fat - signal) * fmax(0, fmin(1, (layer - 0.3) * 4));
    /* Ribs: marrow within dark bone. */
    double pitch = 0.31, turns = (around + 0.005 * p->z) / pitch + body->rib_phase, number = round(turns);
    double unlike = texture_noise(body->texture + 13, 3.7 * number, 0.5),
           unlike2 = texture_noise(body->texture + 14, 3.7 * number, 0.5);
    double nearest = (turns - number + 0.2 * unlike) * pitch * 140;
    double rib = ellipse_distance(nearest, depth - (0.62 + 0.12 * unlike2) * body->wall, 8 + 5 * unlike2, 4.4 + 1.1 * unlike);
    signal = over(signal, 18, rib, 1.4 * p->soft);
    return over(signal, t->marrow, rib + 1.6, 1.4 * p->soft);
}

static double upper_surface(const struct body *body, double x, double z)
{
    double top = body->dome_y + body->dome_slope * (z - 40);
    double liver = top + body->dome_curve * square(x - body->dome_x);
    double stomach = top + 9 + body->dome_curve * 1.5 * square(x - body->stomach_x - 8);
    /* The lower of the two domes' heights, joined smoothly. */
    double sharp = 6, low = fmin(liver, stomach);
    return low - sharp * log(exp(-(liver - low) / sharp) + exp(-(stomach - low) / sharp));
}

static double abdomen(const struct body *body, const struct tissues *t, const struct point *p, double signal)
{
    double edge = upper_surface(body, p->x, p->z) - p->y;
    if (edge > p->soft)
        return signal;
    double slope = 1 / sqrt(1 + square(2 * body->dome_curve * (p->x - body->dome_x)));
    edge *= slope;
    double fine = texture_fractal(body->texture + 21, 0.11 * p->x, 0.11 * p->y);
    double inside = t->fat * (0.62 + 0.12 * fine);
    /* Loops of bowel in the fat. */
    double bowel = texture_fractal(body->texture + 22, 0.045 * p->x + 0.01 * p->z, 0.045 * p->y);
    inside += (t->stomach * (0.9 + 0.4 * fine) - inside) * fmax(0, fmin(1, (bowel - 0.05) * 4));

    double ragged = 9 * texture_fractal(body->texture + 23, 0.025 * p->x, 0.025 * p->y);
    double spleen = ellipse_distance(p->x - body->stomach_x - 50, p->y - body->stomach_y - 12, 26, 42) + 0.5 * ragged;
    inside = over(inside, t->spleen * (1 + 0.06 * fine), spleen, p->soft);

    double sx = p->x - body->stomach_x, sy = p->y - body->stomach_y - 2;
    double stomach = ellipse_distance(sx, sy, 36, 30) + 0.6 * ragged;
    double fill = sy / 27 < body->stomach_gas - 0.9 ? 6 : t->stomach * (1.25 + 0.5 * fine);
    inside = over(inside, t->skeletal * 1.1, stomach, p->soft);
    inside = over(inside, fill, stomach + 3.2, p->soft);

    double liver_right = p->x - 24 + 0.3 * (p->y - body->dome_y) + 2 * ragged;
    double liver = fmax(liver_right * 0.9, edge + 1.5);
    double tissue = t->liver * (1 + 0.05 * fine + 0.06 * texture_noise(body->texture + 24, 0.03 * p->x, 0.03 * p->y));
    if (liver < p->soft)
        tissue = vessel_cover(body->liver_vessels, sizeof body->liver_vessels / sizeof *body->liver_vessels, p, tissue, 1);
    inside = over(inside, tissue, liver, p->soft);

    signal = over(signal, t->skeletal, edge, p->soft); /* the diaphragm */
    return over(signal, inside, edge + 2.2, p->soft);
}

static double back(const struct body *body, const struct tissues *t, const struct point *p, double signal)
{
    double x = p->x - body->spine_x, y = p->y - body->spine_y;
    double vertebra = ellipse_distance(x, y, 21, 18);
    double around = ellipse_distance(x - 22, y - 10, 44, 40);
    double fine = texture_fractal(body->texture + 31, 0.16 * p->x, 0.16 * p->y);
    signal = over(signal, t->skeletal * (1 + 0.25 * fine), around, 2 * p->soft);
    signal = over(signal, 18, vertebra, p->soft);
    signal = over(signal, 84 + 26 * fine, vertebra + 1.8, 1.5 * p->soft);
    double canal = ellipse_distance(x - 26, y - 14, 7.5, 6.5);
    signal = over(signal, t->blood * 1.1, canal, p->soft);
    signal = over(signal, t->skeletal, ellipse_distance(x - 26, y - 14, 3.6, 3.2), p->soft);
    double aorta = sqrt(square(p->x - body->aorta_x) + square(p->y - body->aorta_y)) - body->aorta_radius;
    signal = over(signal, t->fat * 0.7, aorta - 3.5, p->soft);
    signal = over(signal, t->muscle * 0.8, aorta - 1.4, p->soft);
    return over(signal, t->blood * (0.95 + 0.1 * fine), aorta, p->soft);
}

/* Fat between the heart and the front of the chest, with strands of tissue. */
static double mediastinum(const struct body *body, const struct tissues *t, const struct point *p, double signal)
{
    double rough = 11 * texture_fractal(body->texture + 41, 0.03 * p->x, 0.03 * p->y);
    double region = ellipse_distance(p->x + 50 - 0.2 * p->z, p->y + 38, 66 * body->pad, 44 * body->pad) + rough;
    if (region > 3 * p->soft)
        return signal;
    double fine = texture_fractal(body->texture + 42, 0.1 * p->x, 0.1 * p->y);
    double strands = texture_fractal(body->texture + 43, 0.09 * p->x, 0.16 * p->y);
    double tissue = t->fat * (0.72 + 0.12 * fine - 0.45 * fmax(0, fmin(1, strands * 2)));
    return over(signal, tissue, region, 3 * p->soft);
}

double body_signal(const struct body *body, const struct tissues *t, double x, double y, double z, double soft)
{
    struct point p = {x, y, z, soft};
    double around;
    double outline = outline_distance(body, &p, &around);
    if (outline > soft)
        return 0;
    /* Fat is thicker in front than at the back. */
    double fat = body->fat * (0.75 - 0.35 * sin(around));
    double fine = texture_fractal(body->texture + 1, 0.07 * x, 0.07 * y);
    double signal = over(0, t->skin, outline, soft);
    signal = over(signal, t->fat * (1 + 0.1 * fine), outline + 1.8, soft);
    double wall = outline + fat;
    if (wall < soft)
        signal = over(signal, chest_wall(body, t, &p, -wall, around), wall, soft);
    double cavity = wall + body->wall + 3 * texture_noise(body->texture + 2, 2.5 * around, 0.01 * z);
    if (cavity > soft)
        return signal;
    double inside = t->lung * (1 + 0.5 * texture_fractal(body->texture + 3, 0.1 * x, 0.1 * y));
    inside = vessel_cover(body->vessels, sizeof body->vessels / sizeof *body->vessels, &p, inside, 1);
    inside = mediastinum(body, t, &p, inside);
    inside = abdomen(body, t, &p, inside);
    inside = back(body, t, &p, inside);
    return over(signal, inside, cavity, soft);
}
