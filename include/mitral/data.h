/* Medical images for mitral's tools: NIfTI volumes, the ACDC folder layout, the phantom, preprocessing and its way back,
 * augmentation, metrics and pictures.
 *
 * Conventions are those of mitral.h: a fallible function returns a mitral_status and leaves a one-line message in the
 * context; outputs come first. Volumes are stored with x (columns) fastest, then y (rows), z (slices) and frames, which is
 * the order of a NIfTI file; one slice is therefore a row-major [height][width] image, as ONNX has it. Lengths are
 * millimetres, volumes millilitres, times seconds, angles degrees. Structures whose members are documented as owned are
 * released by their x_free, which is safe on a zeroed structure and zeroes it; on failure a function leaves its output
 * structure zeroed and owns nothing.
 *
 * Labels of ACDC: 0 background, 1 right ventricle (RV), 2 left-ventricular myocardium, 3 left ventricle (LV). */
#ifndef MITRAL_DATA_H
#define MITRAL_DATA_H

#include "mitral.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Writes a whole file: aside in the same folder, then renamed, so that it appears only when it is complete. */
MITRAL_API mitral_status mitral_file_write(mitral_context *context, const char *path, const void *bytes, size_t size);
/* MITRAL_OK where that could begin now, so that long work need not be done to find out; leaves nothing behind. */
MITRAL_API mitral_status mitral_file_check(mitral_context *context, const char *path);
/* An error where `path` is the very file `input` (by whatever name; it need not be there yet), which writing there would lose. */
MITRAL_API mitral_status mitral_file_check_apart(mitral_context *context, const char *path, const char *input);

/* ---- NIfTI --------------------------------------------------------------------------------------------------------- */

/* Voxels of one file (all frames) that a reader accepts when no other limit is given: 1 GiB as float. */
#define MITRAL_MAX_VOXELS ((int64_t)1 << 28)
/* Bytes between the header and the voxels (extensions) that a reader skips. */
#define MITRAL_MAX_VOXEL_OFFSET ((int64_t)1 << 24)

/* Where voxels lie. `size` and `spacing` are what the tools use; the rest is kept as read, to be written with a mask. */
typedef struct mitral_geometry {
    int64_t size[4];                /* columns (x), rows (y), slices (z), frames (dimensions 4 to 7 of the file together) */
    double spacing[4];              /* mm, mm, mm, s; 0 where the header states none (0, NaN): what measures then refuses */
    int32_t qform_code, sform_code; /* 0: absent */
    double qfac;                    /* -1 or 1 */
    double quaternion[3];           /* b, c, d */
    double offset[3];               /* qoffset, in the file's unit of length */
    double sform[3][4];             /* in the file's unit of length */
    int32_t units;                  /* xyzt_units of the header: 2 mm, 8 s */
} mitral_geometry;

typedef struct mitral_volume {
    mitral_geometry geometry;
    float *voxels; /* owned; size[0]·size[1]·size[2]·size[3]; scl_slope and scl_inter applied; NaN and infinities kept */
} mitral_volume;

typedef struct mitral_labels {
    mitral_geometry geometry;
    uint8_t *voxels; /* owned; the same order */
} mitral_labels;

/* Reads .nii, .nii.gz (told apart by content, not by name), NIfTI-1 and NIfTI-2, either byte order, every real element
 * type. MITRAL_INVALID: not NIfTI, contradictory or truncated. MITRAL_UNSUPPORTED: complex, RGB, 128-bit floats, or a
 * header whose voxels are in another file. MITRAL_LIMIT: more voxels than `max_voxels` (0: MITRAL_MAX_VOXELS) or an offset
 * past MITRAL_MAX_VOXEL_OFFSET; a compressed file is never expanded past what its header declares. */
MITRAL_API mitral_status mitral_volume_read(mitral_volume *out, mitral_context *context, const char *path, int64_t max_voxels);
MITRAL_API void mitral_volume_free(mitral_context *context, mitral_volume *volume);

/* The same for label maps; refuses values that are not whole numbers in 0 … class_count - 1 (class_count 1 … 256). */
MITRAL_API mitral_status mitral_labels_read(mitral_labels *out, mitral_context *context, const char *path, int32_t class_count,
                                            int64_t max_voxels);
MITRAL_API void mitral_labels_free(mitral_context *context, mitral_labels *labels);

/* Writes NIfTI-1, gzip-compressed when the name ends in .gz; aside, then renamed; the same input gives the same bytes.
 * Labels are uint8; volumes int16 when every voxel is a whole number in its range, else float32. */
MITRAL_API mitral_status mitral_labels_write(mitral_context *context, const mitral_labels *labels, const char *path);
MITRAL_API mitral_status mitral_volume_write(mitral_context *context, const mitral_volume *volume, const char *path);

/* What the header says, without the voxels; the same refusals, but for damage within the voxels. */
MITRAL_API mitral_status mitral_geometry_read(mitral_geometry *out, mitral_context *context, const char *path);
/* size[0] · size[1] · size[2]; frame `f` begins at f times that. */
MITRAL_API int64_t mitral_geometry_frame_voxels(const mitral_geometry *geometry);
/* Same size (frames aside unless `frames`) and spacing within 0.1 %: what a label map must share with its image. */
MITRAL_API bool mitral_geometry_matches(const mitral_geometry *a, const mitral_geometry *b, bool frames);

/* ---- datasets ------------------------------------------------------------------------------------------------------ */

typedef enum mitral_phase { MITRAL_PHASE_ED = 0, MITRAL_PHASE_ES = 1, MITRAL_PHASE_OTHER = 2 } mitral_phase;

/* "ED", "ES", "other". */
MITRAL_API const char *mitral_phase_name(mitral_phase phase);

/* One labelled volume. Strings belong to the dataset. */
typedef struct mitral_case {
    const char *patient; /* "patient001" */
    const char *group;   /* "NOR", "MINF", "DCM", "HCM", "RV"; "" when not stated */
    mitral_phase phase;
    int32_t frame;               /* of the 4D file, counting from 1; 0 when not stated */
    int32_t frame_count;         /* 0 when not stated */
    double height_cm, weight_kg; /* 0 when not stated */
    const char *image;           /* path of the 3D image */
    const char *label;           /* path of its label map; NULL where the dataset has none */
} mitral_case;

typedef struct mitral_dataset {
    const char *name; /* "phantom …" where mitral_phantom_write made it */
    mitral_case *cases;
    size_t count;
    char **labels; /* names of the classes, background first */
    int32_t class_count;
    void *storage; /* owns all of the above */
} mitral_dataset;

/* `split`: "training" or "testing". Two layouts, told apart by dataset.json:
 *
 * ACDC: DIR/<split>/patientNNN/{Info.cfg, patientNNN_frameMM.nii.gz, patientNNN_frameMM_gt.nii.gz}, .nii accepted too.
 * Patients in ascending order, ED before ES; which frame is which comes from Info.cfg alone. Every image and label map must be
 * there, unless a patient has no label map at all. DIR/database/<split> is found too, as the published archive has it.
 *
 * Any NIfTI folder: DIR/dataset.json,
 *   {"name": "…", "labels": ["background", "RV", …],
 *    "training": [{"image": "a.nii.gz", "label": "a_gt.nii.gz", "patient": "a", "phase": "ED", "group": ""}, …], "testing": […]}
 * where paths are relative to DIR and stay inside it; patient defaults to the image's name and phase to "other". The forms of the
 * Medical Segmentation Decathlon ("labels": {"0": "background", …}, "test": ["image.nii.gz", …]) and {"background": 0, …} are read
 * too.
 *
 * Files are checked to exist here and read later. */
MITRAL_API mitral_status mitral_dataset_open(mitral_dataset *out, mitral_context *context, const char *folder, const char *split);
MITRAL_API void mitral_dataset_free(mitral_context *context, mitral_dataset *dataset);
/* Reads the image and, when `labels` is not NULL, the label map of a case, and refuses a pair whose geometry differs. */
MITRAL_API mitral_status mitral_case_read(mitral_volume *image, mitral_labels *labels, mitral_context *context,
                                          const mitral_dataset *dataset, size_t index);

/* ---- what a network expects ---------------------------------------------------------------------------------------- */

/* Travels in ONNX metadata_props under these keys:
 *
 *   mitral.spacing         "1.37,1.37": in-plane spacing in mm, columns (x) then rows (y); "native": not resampled
 *   mitral.normalisation   "zscore-volume" (mean and SD of the 3D frame), "zscore-slice", "none"
 *   mitral.input_size      "224,224": height,width; a network whose input is of fixed size overrides it
 *   mitral.labels          "background,RV,myocardium,LV": names of the output channels; their count is the class count
 *   mitral.output          "logits" (soft-max is applied) or "probabilities"
 *
 * A missing key takes the default, which is the first value above. */
#define MITRAL_MAX_CLASSES 32

typedef enum mitral_normalisation {
    MITRAL_NORMALISE_ZSCORE_VOLUME = 0,
    MITRAL_NORMALISE_ZSCORE_SLICE = 1,
    MITRAL_NORMALISE_NONE = 2
} mitral_normalisation;

typedef struct mitral_preprocessing {
    double spacing[2]; /* mm, x and y; 0: native */
    int32_t normalisation;
    int64_t height, width;
    int32_t class_count;
    char labels[MITRAL_MAX_CLASSES][32];
    bool probabilities; /* the network's output is probabilities already */
} mitral_preprocessing;

/* Returns the value of a metadata key, or NULL. */
typedef const char *(*mitral_property_lookup)(void *user, const char *key);

MITRAL_API void mitral_preprocessing_default(mitral_preprocessing *out);
/* Defaults, then what `lookup` returns; MITRAL_INVALID names the key and the value that is none. */
MITRAL_API mitral_status mitral_preprocessing_read(mitral_preprocessing *out, mitral_context *context,
                                                   mitral_property_lookup lookup, void *user);
/* The index-th property as text, for whoever writes a model; false past the last. value[] holds 2048 bytes at most. */
MITRAL_API bool mitral_preprocessing_property(const mitral_preprocessing *preprocessing, size_t index, const char **key,
                                              char *value, size_t value_size);

/* One 3D frame as the network sees it: out[slices][height][width]. The centre of the image lies on the centre of the
 * network's input; resampled linearly; outside of the image is the mean (0 after z-score; 0 without). Voxels that are not finite
 * count as that too. Deterministic, for any number of threads (0: all). */
MITRAL_API mitral_status mitral_preprocess_frame(float *out, mitral_context *context, const mitral_preprocessing *preprocessing,
                                                 const mitral_volume *volume, int64_t frame, int threads);
/* Label maps on the same grid, nearest neighbour, background outside. */
MITRAL_API mitral_status mitral_preprocess_labels(uint8_t *out, mitral_context *context, const mitral_preprocessing *preprocessing,
                                                  const mitral_labels *labels, int64_t frame, int threads);
/* The way back, for one slice: scores[classes][height][width] on the network's grid (or a coarser or finer one that spans the same
 * field: output_height, output_width) become labels on the native grid, out[size y][size x]: soft-max where they are logits,
 * resampled linearly, argmax (the lower class wins a tie). Outside of the network's field is background. */
MITRAL_API mitral_status mitral_restore_slice(uint8_t *out, mitral_context *context, const mitral_preprocessing *preprocessing,
                                              const mitral_geometry *geometry, const float *scores, int64_t output_height,
                                              int64_t output_width);
/* Keeps the largest 6-connected component of every class but 0 of a 3D label map, in place; the rest becomes background. Of equally
 * large ones the first in storage order stays. */
MITRAL_API mitral_status mitral_keep_largest(mitral_context *context, uint8_t *labels, const int64_t size[3], int32_t class_count);

/* ---- a network on volumes ------------------------------------------------------------------------------------------ */

typedef struct mitral_predictor mitral_predictor;

typedef struct mitral_segment_options {
    bool keep_islands; /* false: mitral_keep_largest is applied */
} mitral_segment_options;

/* A session on `plan` with what its metadata says. Expects one float input [N,C,H,W] and a first output [N,classes,h,w], N being 1
 * or symbolic; H and W, where fixed, override mitral.input_size; the slice is repeated into every channel. The plan must outlive
 * the predictor. */
MITRAL_API mitral_status mitral_predictor_create(mitral_predictor **out, mitral_context *context, mitral_plan *plan,
                                                 const mitral_session_options *options);
MITRAL_API void mitral_predictor_destroy(mitral_predictor **predictor);
MITRAL_API const mitral_preprocessing *mitral_predictor_preprocessing(const mitral_predictor *predictor);
/* Labels of one frame, out[z][y][x], slice by slice. options may be NULL. `seconds` (may be NULL) receives the time spent in the
 * network. */
MITRAL_API mitral_status mitral_predictor_segment(uint8_t *out, mitral_predictor *predictor, const mitral_volume *volume,
                                                  int64_t frame, const mitral_segment_options *options, double *seconds);

/* ---- training slices ----------------------------------------------------------------------------------------------- */

/* Every slice of a dataset on the network's grid. */
typedef struct mitral_slices {
    int64_t count, height, width;
    float *images;      /* owned; [count][height][width] */
    uint8_t *labels;    /* owned; [count][height][width]; NULL where images alone were loaded */
    int32_t *cases;     /* owned; [count]: index into the dataset */
    int32_t *positions; /* owned; [count]: z of the slice */
} mitral_slices;

/* All cases must have label maps. Memory: 5 bytes a pixel. */
MITRAL_API mitral_status mitral_slices_load(mitral_slices *out, mitral_context *context, const mitral_dataset *dataset,
                                            const mitral_preprocessing *preprocessing, int threads);
/* The same without label maps, which need not exist. */
MITRAL_API mitral_status mitral_slices_load_images(mitral_slices *out, mitral_context *context, const mitral_dataset *dataset,
                                                   const mitral_preprocessing *preprocessing, int threads);
MITRAL_API void mitral_slices_free(mitral_context *context, mitral_slices *slices);

typedef struct mitral_augmentation {
    double flip_x, flip_y;       /* probability of mirroring columns, rows [0.5, 0.5] */
    double rotation;             /* degrees: uniform in ±rotation [20] */
    double scale_min, scale_max; /* uniform in the logarithm; above 1 the heart grows [0.7, 1.4] */
    double gamma_min, gamma_max; /* uniform in the logarithm [0.7, 1.5]; mean and SD of the slice are kept */
    double geometry_probability; /* of rotation and scaling [0.8] */
    double gamma_probability;    /* [0.5] */
} mitral_augmentation;

MITRAL_API void mitral_augmentation_default(mitral_augmentation *out);
/* out_image and out_label ([height][width]) must not overlap the inputs. Depends on (seed, sample) and the inputs alone, so any
 * thread may do any sample in any order. Images linear, labels nearest; outside: 0 and background. */
MITRAL_API void mitral_augment_slice(float *out_image, uint8_t *out_label, const float *image, const uint8_t *label, int64_t height,
                                     int64_t width, const mitral_augmentation *augmentation, uint64_t seed, uint64_t sample);

/* ---- phantom ------------------------------------------------------------------------------------------------------- */

typedef struct mitral_phantom_options {
    int32_t patients;  /* [30]; 1 … 999 */
    uint64_t seed;     /* [0] */
    bool hard;         /* shifted contrast, stronger noise and shading, ghosts, motion */
    bool without_cine; /* leaves the 4D files out */
    int threads;       /* 0: all cores; the bytes do not depend on it */
} mitral_phantom_options;

/* Writes the ACDC layout into `folder`, which is made where it is missing. Two thirds of the patients (rounded; one patient:
 * all) go to training. phantom.txt beside them says what they are; a folder that holds patients without it, or phantoms that this
 * call would not overwrite, is refused. options may be NULL. */
MITRAL_API mitral_status mitral_phantom_write(mitral_context *context, const char *folder, const mitral_phantom_options *options);

/* ---- metrics ------------------------------------------------------------------------------------------------------- */

/* One structure of one 3D volume pair. Dice and the distances are defined only where the structure is on both sides. */
typedef struct mitral_overlap {
    bool in_prediction, in_reference;
    double dice;                         /* 2|A∩B| / (|A|+|B|); NaN unless on both sides */
    double hausdorff_mm, hausdorff95_mm; /* NaN unless on both sides. Surface: voxels with a 6-neighbour outside of the
                                            structure or of the volume; distances of each surface's voxels to the other surface,
                                            between voxel centres; the maximum of both directions, and the 95th percentile (linear
                                            interpolation) of both directions' distances together: medpy's hd and hd95 */
    double prediction_ml, reference_ml;  /* volumes */
} mitral_overlap;

/* out[class_count]; out[0] is the background and has volumes only. Refuses geometry without spacing. */
MITRAL_API mitral_status mitral_measure_overlap(mitral_overlap *out, mitral_context *context, const uint8_t *prediction,
                                                const uint8_t *reference, const mitral_geometry *geometry, int32_t class_count);
/* (end_diastolic - end_systolic) / end_diastolic · 100; NaN when end_diastolic is not above 0. */
MITRAL_API double mitral_ejection_fraction(double end_diastolic_ml, double end_systolic_ml);

/* Mean and sample standard deviation of the values that are numbers; NaN are left out. */
typedef struct mitral_summary {
    size_t count;
    double mean, deviation, minimum, maximum; /* NaN when count is 0; deviation 0 when it is 1 */
} mitral_summary;
MITRAL_API mitral_summary mitral_summarise(const double *values, size_t count);

/* Bland and Altman: prediction - reference. Pairs with a NaN are left out. */
typedef struct mitral_agreement {
    size_t count;
    double bias, lower, upper; /* mean difference and bias ± 1.96 SD of the differences, which one pair does not have: NaN */
    double correlation;        /* Pearson; NaN below 3 pairs (two always lie on a line) or without variance */
} mitral_agreement;
MITRAL_API mitral_agreement mitral_agree(const double *prediction, const double *reference, size_t count);

/* ---- pictures ------------------------------------------------------------------------------------------------------ */

typedef struct mitral_picture {
    int64_t width, height;
    uint8_t *pixels; /* owned; RGB, row-major */
} mitral_picture;

typedef struct mitral_overlay_options {
    const uint8_t *reference; /* a second label map, drawn as dashed contours; NULL: none */
    const char *title;        /* printable ASCII; NULL: none */
    const char *const *names; /* of the classes, for the legend; NULL: ACDC's */
    int32_t class_count;      /* 0: 4 */
    bool fill;                /* tints the structures besides their contours */
    bool crop;                /* shows the structures with a margin instead of the whole slices */
    int64_t first, count;     /* slices to show; count 0: all from `first` on. More than 64 are thinned out evenly */
    int64_t columns;          /* of the mosaic; 0: chosen */
    int64_t tile;             /* longer side of a slice in the picture in pixels, 32 … 2048; 0: 256 */
} mitral_overlay_options;

/* Slices of one frame as a mosaic with contours of `labels` ([z][y][x]; NULL: none) and a legend. Pixels are drawn with the
 * aspect that the spacing gives. options may be NULL. */
MITRAL_API mitral_status mitral_picture_overlay(mitral_picture *out, mitral_context *context, const mitral_volume *volume,
                                                int64_t frame, const uint8_t *labels, const mitral_overlay_options *options);
/* An empty picture, and things to draw on it, for plots; what lies outside is left out. Colours are 0xRRGGBB. */
MITRAL_API mitral_status mitral_picture_create(mitral_picture *out, mitral_context *context, int64_t width, int64_t height,
                                               uint32_t colour);
MITRAL_API void mitral_picture_rectangle(mitral_picture *picture, int64_t x, int64_t y, int64_t width, int64_t height,
                                         uint32_t colour);
MITRAL_API void mitral_picture_line(mitral_picture *picture, double x0, double y0, double x1, double y1, double thickness,
                                    uint32_t colour);
/* Top left corner at x, y; a character is 6·scale wide and 7·scale high, the space after it included. */
MITRAL_API void mitral_picture_text(mitral_picture *picture, int64_t x, int64_t y, int scale, uint32_t colour, const char *text);
/* PNG, written aside, then renamed. */
MITRAL_API mitral_status mitral_picture_write(mitral_context *context, const mitral_picture *picture, const char *path);
MITRAL_API void mitral_picture_free(mitral_context *context, mitral_picture *picture);

#ifdef __cplusplus
}
#endif
#endif
