/* The phantom: an analytic beating heart in an analytic body, as a short-axis steady-state cine scan shows it.
 *
 * Coordinates of a slice are mm: x to the right, y down, the long axis of the left ventricle near the origin; z runs along it from
 * the valve plane at end-diastole (0) to the apex. The septum is on the left, the right ventricle beyond it. Angles
 * are atan2(y, x). Signals are signed: water is positive and fat negative, as steady-state imaging near 1.5 T has them, so that the
 * dark line between the two comes out by itself where they share a voxel. */
#ifndef MITRAL_DATA_PHANTOM_H
#define MITRAL_DATA_PHANTOM_H

#include "data/random.h"
#include "mitral/data.h"

enum phantom_group { GROUP_NOR, GROUP_MINF, GROUP_DCM, GROUP_HCM, GROUP_RV, GROUP_COUNT };

#define HEART_ANGLES 256
#define HEART_RIPPLES 6

/* What a patient's heart is; all lengths at end-diastole. */
struct heart {
    enum phantom_group group;
    double length;     /* valve plane to outer apex */
    double shortening; /* of the valve plane towards the apex at end-systole */
    double apex_wall;
    double radius;                           /* inner radius at the widest level; solved from the volume */
    double contraction;                      /* fraction by which the inner radius shrinks at end-systole; solved from the volume */
    double lv_ed, lv_es, rv_ed, rv_es;       /* target volumes, ml */
    double wall, septum_extra, septum_width; /* wall thickness, what the septum has more, and over what angle */
    double septum;                           /* direction */
    double ovality, ovality_angle, flattening;                                       /* of the cross-section; of the septum */
    double infarct_size, infarct_angle, infarct_width, infarct_level, infarct_depth; /* size 0: none */
    double rv_depth_ed, rv_depth_es; /* width of the right ventricle at its base; solved from the volumes */
    double rv_span, rv_skew, rv_wall;
    double fat;              /* beneath the pericardium */
    double drift_x, drift_y; /* of the long axis between base and apex */
    double papillary_angle[2], papillary_radius[2];
    double ripple_amplitude;
    double ripple_phase[HEART_RIPPLES], ripple_drift[HEART_RIPPLES];
    double systole; /* fraction of the cycle; set to a whole frame */
};

/* The heart cut at one level at one moment: radii in all directions from the centre. */
struct heart_cut {
    double level;   /* 0 valve plane … 1 apex; outside: atria, or below the apex */
    double squeeze; /* 0 end-diastole … 1 end-systole */
    double centre_x, centre_y;
    float inner[HEART_ANGLES + 1];        /* left ventricle, smooth: what is labelled */
    float trabeculated[HEART_ANGLES + 1]; /* left ventricle as seen */
    float outer[HEART_ANGLES + 1];        /* its muscle */
    float right[HEART_ANGLES + 1];        /* right ventricle, as labelled; equal to outer where there is none */
    float right_seen[HEART_ANGLES + 1];
    float right_wall[HEART_ANGLES + 1];
    float pericardium[HEART_ANGLES + 1];
    double reach; /* largest radius of all */
};

void heart_draw(struct heart *heart, enum phantom_group group, struct random *random);
/* How far the heart is contracted at a time of the cycle in [0, 1). */
double heart_squeeze(const struct heart *heart, double time);
void heart_cut_at(struct heart_cut *cut, const struct heart *heart, double z, double squeeze);
/* Volumes of the model at a degree of contraction, ml. */
double heart_left_volume(const struct heart *heart, double squeeze);
double heart_right_volume(const struct heart *heart, double squeeze);

/* Signals of tissues. */
struct tissues {
    double blood, muscle, fat, liver, lung, skeletal, spleen, marrow, skin, stomach;
};

struct body {
    double centre_x, centre_y, half_width, half_height, turn; /* outline */
    double fat, wall;                                         /* thickness of subcutaneous fat and of the chest wall */
    double dome_y, dome_x, dome_curve, dome_slope, stomach_x, stomach_y, stomach_gas;
    double aorta_x, aorta_y, aorta_radius, spine_x, spine_y;
    double rib_phase, pad; /* size of the fat pad in front of the heart */
    uint32_t texture;      /* seed of the textures */
    struct lung_vessel {
        float x0, y0, x1, y1, radius, z, reach, signal;
    } vessels[90];
    struct lung_vessel liver_vessels[24];
};

void body_draw(struct body *body, struct random *random, const struct heart *heart);
/* Signal at one point of one slice without the heart; `soft`: width of an edge in mm. */
double body_signal(const struct body *body, const struct tissues *tissues, double x, double y, double z, double soft);

/* Smooth noise in -1 … 1 whose features are about 1 wide. */
double texture_noise(uint32_t seed, double x, double y);
/* Three octaves of it. */
double texture_fractal(uint32_t seed, double x, double y);

/* How a patient was scanned. */
struct scanner {
    double spacing, thickness;
    int64_t width, height, slices, frames;
    int64_t ed, es;            /* frames from 0 */
    double first_z;            /* of the first slice */
    double origin_x, origin_y; /* of the first pixel, mm */
    double shift[32][2];       /* of each slice, by breathing */
    double blur[32];           /* of each slice in mm, by motion; 0: none */
    double noise, gain, gamma, soft;
    double coil[3][4]; /* x, y, width, weight */
    double ghost, ghost_shift;
    double banding, banding_phase, banding_angle;
    struct tissues tissues;
};

void scanner_draw(struct scanner *scanner, struct heart *heart, struct random *random, bool hard);

/* Draws one patient, frame by frame. */
struct phantom_patient {
    struct heart heart;
    struct body body;
    struct scanner scanner;
    struct random noise_random;
    float *background;    /* [slices][height][width], signed, without shading */
    float *shading;       /* [height][width], gain included */
    float *textures;      /* [height][width], about 0 */
    float *noise;         /* a tile of correlated unit noise */
    float *slice, *spare; /* [height][width] */
};

mitral_status phantom_patient_prepare(struct phantom_patient *patient, mitral_context *context);
void phantom_patient_release(struct phantom_patient *patient, mitral_context *context);
/* Frame `frame` from 0: out[slices][height][width]. */
void phantom_render_frame(int16_t *out, struct phantom_patient *patient, int64_t frame);
void phantom_label_frame(uint8_t *out, const struct phantom_patient *patient, int64_t frame);

#endif
