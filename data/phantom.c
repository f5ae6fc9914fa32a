/* Patients of the phantom as files in ACDC's layout. */
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "data/nifti_write.h"
#include "data/phantom.h"
#include "runtime/context.h"
#include "runtime/file.h"

#define MAX_PATIENTS 999
#define PATH_BYTES 4096
/* Noise does not compress: more effort only takes longer. */
#define COMPRESSION_LEVEL 1

static const char *const group_names[GROUP_COUNT] = {"NOR", "MINF", "DCM", "HCM", "RV"};

/* ---- geometry ------------------------------------------------------------------------------------------------------ */

/* Directions of columns, rows and slices of a short-axis scan in the patient: x left, y front, z head. */
static void draw_orientation(double axes[3][3], struct random *random)
{
    double k[3] = {0.66, 0.55, -0.51}, j[3] = {0.25, -0.82, -0.52}; /* towards the apex; down the picture */
    for (int i = 0; i < 3; i++) {
        k[i] += random_between(random, -0.08, 0.08);
        j[i] += random_between(random, -0.08, 0.08);
    }
    double length = sqrt(k[0] * k[0] + k[1] * k[1] + k[2] * k[2]);
    for (int i = 0; i < 3; i++)
        k[i] /= length;
    double along = j[0] * k[0] + j[1] * k[1] + j[2] * k[2];
    for (int i = 0; i < 3; i++)
        j[i] -= along * k[i];
    length = sqrt(j[0] * j[0] + j[1] * j[1] + j[2] * j[2]);
    for (int i = 0; i < 3; i++)
        j[i] /= length;
    const double across[3] = {j[1] * k[2] - j[2] * k[1], j[2] * k[0] - j[0] * k[2], j[0] * k[1] - j[1] * k[0]};
    for (int i = 0; i < 3; i++) {
        /* NIfTI's x axis points to the left as seen by the reader: the patient's right is negative. */
        double sign = i == 0 ? -1 : 1;
        axes[i][0] = sign * across[i];
        axes[i][1] = sign * j[i];
        axes[i][2] = sign * k[i];
    }
}

/* b, c and d of the unit quaternion of a rotation. */
static void quaternion_of(double out[3], double m[3][3])
{
    double a = 1 + m[0][0] + m[1][1] + m[2][2];
    if (a > 0.5) {
        a = 0.5 * sqrt(a);
        out[0] = 0.25 * (m[2][1] - m[1][2]) / a;
        out[1] = 0.25 * (m[0][2] - m[2][0]) / a;
        out[2] = 0.25 * (m[1][0] - m[0][1]) / a;
        return;
    }
    int i = m[0][0] > m[1][1] ? (m[0][0] > m[2][2] ? 0 : 2) : (m[1][1] > m[2][2] ? 1 : 2);
    int j = (i + 1) % 3, k = (i + 2) % 3;
    double large = 0.5 * sqrt(fmax(0, 1 + m[i][i] - m[j][j] - m[k][k]));
    double real = 0.25 * (m[k][j] - m[j][k]) / large;
    double sign = real < 0 ? -1 : 1; /* the reader takes the real part as positive */
    out[i] = sign * large;
    out[j] = sign * 0.25 * (m[i][j] + m[j][i]) / large;
    out[k] = sign * 0.25 * (m[i][k] + m[k][i]) / large;
}

static void make_geometry(mitral_geometry *out, const struct scanner *scanner, double cycle, struct random *random)
{
    *out = (mitral_geometry){.size = {scanner->width, scanner->height, scanner->slices, scanner->frames},
                             .spacing = {scanner->spacing, scanner->spacing, scanner->thickness, cycle / (double)scanner->frames},
                             .qform_code = 1,
                             .sform_code = 1,
                             .qfac = 1,
                             .units = 2 | 8};
    double axes[3][3];
    draw_orientation(axes, random);
    /* The picture is seen from the apex, which makes columns, rows and slices a left-handed system. */
    double determinant = axes[0][0] * (axes[1][1] * axes[2][2] - axes[1][2] * axes[2][1])
                       - axes[0][1] * (axes[1][0] * axes[2][2] - axes[1][2] * axes[2][0])
                       + axes[0][2] * (axes[1][0] * axes[2][1] - axes[1][1] * axes[2][0]);
    out->qfac = determinant < 0 ? -1 : 1;
    double rotation[3][3];
    const double corner[3] = {scanner->origin_x, scanner->origin_y, scanner->first_z};
    for (int i = 0; i < 3; i++) {
        double place = random_between(random, -25, 25);
        for (int j = 0; j < 3; j++) {
            rotation[i][j] = axes[i][j] * (j == 2 ? out->qfac : 1);
            out->sform[i][j] = axes[i][j] * out->spacing[j];
            place += axes[i][j] * corner[j];
        }
        out->sform[i][3] = out->offset[i] = place;
    }
    quaternion_of(out->quaternion, rotation);
}

/* ---- one patient --------------------------------------------------------------------------------------------------- */

struct job {
    mitral_context *context; /* of the thread that does it */
    const char *folder;      /* …/training or …/testing */
    int number;              /* of the patient, from 1 */
    enum phantom_group group;
    uint64_t seed;
    bool hard, cine;
    struct phantom_patient patient;
    mitral_geometry geometry;
    int16_t *image; /* one frame */
    uint8_t *labels;
    char path[PATH_BYTES];
};

static mitral_status set_path(struct job *job, const char *suffix)
{
    int length = snprintf(job->path, sizeof job->path, "%s/patient%03d/%s", job->folder, job->number, suffix);
    return length < (int)sizeof job->path ? MITRAL_OK
                                          : mitral_fail(job->context, MITRAL_INVALID, "%s: expected a shorter path", job->folder);
}

static size_t frame_voxels(const struct job *job)
{
    return (size_t)mitral_geometry_frame_voxels(&job->geometry);
}

static mitral_status append_image(struct nifti_sink *sink, void *user)
{
    struct job *job = user;
    return nifti_append(sink, job->image, frame_voxels(job) * sizeof *job->image);
}

static mitral_status append_labels(struct nifti_sink *sink, void *user)
{
    struct job *job = user;
    return nifti_append(sink, job->labels, frame_voxels(job));
}

/* Writes the frame that is in job->image, and its labels. */
static mitral_status write_phase(struct job *job, int64_t frame)
{
    char name[64];
    mitral_geometry geometry = job->geometry;
    geometry.size[3] = 1;
    geometry.spacing[3] = 0;
    snprintf(name, sizeof name, "patient%03d_frame%02d.nii.gz", job->number, (int)frame + 1);
    TRY(set_path(job, name));
    TRY(nifti_write(job->context, job->path, &geometry, NIFTI_ELEMENT_INT16, COMPRESSION_LEVEL, append_image, job));
    phantom_label_frame(job->labels, &job->patient, frame);
    snprintf(name, sizeof name, "patient%03d_frame%02d_gt.nii.gz", job->number, (int)frame + 1);
    TRY(set_path(job, name));
    return nifti_write(job->context, job->path, &geometry, NIFTI_ELEMENT_UINT8, 6, append_labels, job);
}

/* Noise is drawn anew for each frame, so that a frame is the same in its own file and in the 4D file. */
static void render(struct job *job, int64_t frame)
{
    job->patient.noise_random = random_start(job->seed, (uint64_t)job->number * 4096 + 64 + (uint64_t)frame);
    phantom_render_frame(job->image, &job->patient, frame);
}

static mitral_status append_cine(struct nifti_sink *sink, void *user)
{
    struct job *job = user;
    for (int64_t frame = 0; frame < job->patient.scanner.frames; frame++) {
        render(job, frame);
        TRY(append_image(sink, job));
    }
    return MITRAL_OK;
}

static mitral_status write_info(struct job *job, double height, double weight)
{
    char text[256];
    const struct scanner *scanner = &job->patient.scanner;
    int length =
        snprintf(text, sizeof text, "ED: %d\nES: %d\nGroup: %s\nHeight: %.1f\nNbFrame: %d\nWeight: %.1f\n", (int)scanner->ed + 1,
                 (int)scanner->es + 1, group_names[job->group], height, (int)scanner->frames, weight);
    TRY(set_path(job, "Info.cfg"));
    return file_write_bytes(job->context, job->path, text, (size_t)length);
}

static mitral_status write_files(struct job *job, double height, double weight)
{
    const struct scanner *scanner = &job->patient.scanner;
    const int64_t frames[2] = {scanner->ed, scanner->es};
    for (int phase = 0; phase < 2; phase++) {
        render(job, frames[phase]);
        TRY(write_phase(job, frames[phase]));
    }
    if (job->cine) {
        char name[64];
        snprintf(name, sizeof name, "patient%03d_4d.nii.gz", job->number);
        TRY(set_path(job, name));
        TRY(nifti_write(job->context, job->path, &job->geometry, NIFTI_ELEMENT_INT16, COMPRESSION_LEVEL, append_cine, job));
    }
    return write_info(job, height, weight);
}

static mitral_status make_folder(mitral_context *context, const char *path)
{
    char text[PATH_BYTES];
    size_t length = strlen(path);
    if (length == 0 || length >= sizeof text)
        return mitral_fail(context, MITRAL_INVALID, "folder: expected a name of 1 to %d bytes, found %zu", PATH_BYTES - 1, length);
    memcpy(text, path, length + 1);
    for (size_t i = 1; i <= length; i++) {
        if (text[i] != '/' && text[i] != 0)
            continue;
        char kept = text[i];
        text[i] = 0;
        struct stat facts;
        int error = mkdir(text, 0777) == 0 ? 0 : errno;
        if (error && !(stat(text, &facts) == 0 && S_ISDIR(facts.st_mode)))
            return mitral_fail(context, MITRAL_IO, "%s: expected to make a folder, found: %s", text, strerror(error));
        text[i] = kept;
    }
    return MITRAL_OK;
}

/* Everything that is random about a patient is drawn here, in a fixed order. */
static mitral_status make_patient(struct job *job)
{
    struct random random = random_start(job->seed, (uint64_t)job->number * 4096);
    struct phantom_patient *patient = &job->patient;
    heart_draw(&patient->heart, job->group, &random);
    scanner_draw(&patient->scanner, &patient->heart, &random, job->hard);
    body_draw(&patient->body, &random, &patient->heart);
    make_geometry(&job->geometry, &patient->scanner, random_between(&random, 0.75, 1.1), &random);
    double height = random_normal_within(&random, 171, 9, 2.5);
    double weight = random_normal_within(&random, 26, 3.5, 2) * height * height * 1e-4;
    patient->noise_random = random_start(job->seed, (uint64_t)job->number * 4096 + 1);
    TRY(set_path(job, ""));
    TRY(make_folder(job->context, job->path));
    TRY(phantom_patient_prepare(patient, job->context));
    job->image = mitral_allocate_raw(job->context, frame_voxels(job) * sizeof *job->image);
    job->labels = mitral_allocate_raw(job->context, frame_voxels(job));
    mitral_status status = job->image && job->labels ? write_files(job, height, weight) : MITRAL_NO_MEMORY;
    mitral_release(job->context, job->image);
    mitral_release(job->context, job->labels);
    phantom_patient_release(patient, job->context);
    return status;
}

/* ---- all patients -------------------------------------------------------------------------------------------------- */

/* Two thirds, rounded; of one patient, all. The groups take turns in each part. */
static int training_count(int patients)
{
    return (2 * patients + 1) / 3;
}

struct work {
    const mitral_phantom_options *options;
    const char *folders[2]; /* training, testing */
    struct job *jobs;       /* one a thread */
};

static mitral_status run_job(struct work *work, int thread, int index)
{
    int training = training_count(work->options->patients);
    struct job *job = &work->jobs[thread];
    bool test = index >= training;
    job->folder = work->folders[test];
    job->number = index + 1;
    job->group = (enum phantom_group)((test ? index - training : index) % GROUP_COUNT);
    job->seed = work->options->seed;
    job->hard = work->options->hard;
    job->cine = !work->options->without_cine;
    return make_patient(job);
}

/* Patients go in rounds of one a thread, so that the caller's callbacks are called from the caller's thread. */
static mitral_status run_all(struct work *work, mitral_context *context, int threads)
{
    int patients = work->options->patients;
    for (int done = 0; done < patients; done += threads) {
        int count = patients - done < threads ? patients - done : threads;
        mitral_status first = MITRAL_OK;
        int failed = -1;
#pragma omp parallel for num_threads(threads) schedule(static, 1)
        for (int i = 0; i < count; i++) {
            mitral_status status = run_job(work, i, done + i);
#pragma omp critical(phantom_status)
            if (status != MITRAL_OK && (failed < 0 || i < failed)) {
                failed = i;
                first = status;
            }
        }
        if (first != MITRAL_OK)
            return mitral_fail(context, first, "%s", mitral_context_message(work->jobs[failed].context));
        if (mitral_cancelled(context))
            return mitral_fail(context, MITRAL_CANCELLED, "phantom: cancelled after %d of %d patients", done + count, patients);
        if (context && context->options.progress) {
            char line[80];
            snprintf(line, sizeof line, "phantom: %d of %d patients", done + count, patients);
            context->options.progress(context->options.user, line);
        }
    }
    return MITRAL_OK;
}

static mitral_status run_in_threads(struct work *work, mitral_context *context, int threads)
{
    work->jobs = mitral_allocate(context, (size_t)threads * sizeof *work->jobs);
    mitral_status status = work->jobs ? MITRAL_OK : MITRAL_NO_MEMORY;
    /* A context belongs to one thread, and its allocator may be one that does not lock: each thread has a plain one. */
    for (int i = 0; i < threads && status == MITRAL_OK; i++)
        if (mitral_context_create(&work->jobs[i].context, NULL) != MITRAL_OK)
            status = mitral_fail(context, MITRAL_NO_MEMORY, "phantom: expected memory for %d threads, found too little", threads);
    if (status == MITRAL_OK)
        status = run_all(work, context, threads);
    for (int i = 0; work->jobs && i < threads; i++)
        mitral_context_destroy(&work->jobs[i].context);
    mitral_release(context, work->jobs);
    return status;
}

/* Whoever reads the folder can tell that nobody in it is real. */
static mitral_status write_note(mitral_context *context, const char *folder, const mitral_phantom_options *options)
{
    char path[PATH_BYTES], text[256];
    snprintf(path, sizeof path, "%s/phantom.txt", folder);
    int length = snprintf(text, sizeof text,
                          "Made by mitral phantom: no real patient is in this folder.\npatients: %d\nseed: %llu\nhard: %s\n",
                          (int)options->patients, (unsigned long long)options->seed, options->hard ? "yes" : "no");
    return file_write_bytes(context, path, text, (size_t)length);
}

/* Real patients are never overwritten, and phantoms of an earlier run not mixed with these. */
static mitral_status check_others(mitral_context *context, const char *folder, const char *split, int first, int last)
{
    char note[PATH_BYTES];
    struct stat facts;
    snprintf(note, sizeof note, "%s/phantom.txt", folder);
    bool ours = stat(note, &facts) == 0;
    DIR *stream = opendir(split);
    mitral_status status = MITRAL_OK;
    for (struct dirent *entry; stream && status == MITRAL_OK && (entry = readdir(stream)) != NULL;) {
        int number, length = 0;
        if (sscanf(entry->d_name, "patient%d%n", &number, &length) != 1 || entry->d_name[length])
            continue;
        if (!ours)
            status = mitral_fail(context, MITRAL_INVALID,
                                 "%s: expected a folder without patients, or one that mitral phantom made, found %s", split,
                                 entry->d_name);
        else if (number < first || number > last)
            status =
                mitral_fail(context, MITRAL_INVALID, "%s: expected no patients of an earlier run but those to be written, found %s",
                            split, entry->d_name);
    }
    if (stream)
        closedir(stream);
    return status;
}

mitral_status mitral_phantom_write(mitral_context *context, const char *folder, const mitral_phantom_options *options)
{
    mitral_phantom_options chosen = options ? *options : (mitral_phantom_options){0};
    if (chosen.patients == 0)
        chosen.patients = 30;
    if (chosen.patients < 1 || chosen.patients > MAX_PATIENTS)
        return mitral_fail(context, MITRAL_INVALID, "patients: expected 1 to %d, found %d", MAX_PATIENTS, (int)chosen.patients);
    char training[PATH_BYTES], testing[PATH_BYTES];
    if (strlen(folder) > PATH_BYTES - 64)
        return mitral_fail(context, MITRAL_INVALID, "folder: expected at most %d bytes, found %zu", PATH_BYTES - 64,
                           strlen(folder));
    snprintf(training, sizeof training, "%s/training", folder);
    snprintf(testing, sizeof testing, "%s/testing", folder);
    int trained = training_count(chosen.patients);
    TRY(check_others(context, folder, training, 1, trained));
    TRY(check_others(context, folder, testing, trained + 1, chosen.patients));
    TRY(make_folder(context, training));
    TRY(write_note(context, folder, &chosen));
    if (trained < chosen.patients)
        TRY(make_folder(context, testing));
    struct work work = {.options = &chosen, .folders = {training, testing}};
    int threads = chosen.threads > 0 ? chosen.threads : omp_get_num_procs();
    return run_in_threads(&work, context, threads < chosen.patients ? threads : chosen.patients);
}
