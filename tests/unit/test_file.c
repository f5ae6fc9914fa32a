#include "support.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <dirent.h>
#include <unistd.h>

#include "runtime/context.h"
#include "runtime/file.h"

static char folder[64], target[96];
static mitral_context *context;

static int start(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/mitral_file_XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(target, sizeof target, "%s/target", folder);
    context = test_context();
    return 0;
}

static int stop(void **state)
{
    (void)state;
    char command[128];
    mitral_context_destroy(&context);
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static size_t count_files(void)
{
    size_t count = 0;
    DIR *open = opendir(folder);
    assert_non_null(open);
    for (struct dirent *entry = readdir(open); entry; entry = readdir(open))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(open);
    return count;
}

static void expect_content(const char *path, const char *want)
{
    struct file_mapping file;
    assert_ok(context, file_map(&file, context, path));
    assert_int_equal(file.size, strlen(want));
    assert_memory_equal(file.data, want, file.size);
    file_unmap(&file);
}

static void writes_whole_files(void **state)
{
    (void)state;
    assert_ok(context, file_write_bytes(context, target, "one", 3));
    expect_content(target, "one");
    assert_int_equal(chmod(target, 0640), 0);
    assert_ok(context, file_write_bytes(context, target, "two and more", 12));
    expect_content(target, "two and more");
    assert_ok(context, file_write_bytes(context, target, "", 0));
    expect_content(target, "");
    struct stat status;
    assert_int_equal(stat(target, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0640); /* those of the file that was there */
    assert_int_equal(count_files(), 1);
}

static mitral_status write_much(struct file_writer *writer, void *user)
{
    (void)user;
    static char block[100000];
    for (int i = 0; i < 40; i++) {
        memset(block, i, sizeof block);
        TRY(file_append(writer, block, (size_t)i * 2500));
    }
    TRY(file_append_zeros(writer, 10000));
    assert_int_equal(file_position(writer), 2500 * 780 + 10000);
    TRY(file_patch(writer, 3, "PATCH", 5));
    return file_patch(writer, file_position(writer) - 2, "!!", 2);
}

static void appends_and_patches(void **state)
{
    (void)state;
    assert_ok(context, file_write_whole(context, target, write_much, NULL));
    struct file_mapping file;
    assert_ok(context, file_map(&file, context, target));
    assert_int_equal(file.size, 2500 * 780 + 10000);
    const char *bytes = file.data;
    assert_memory_equal(bytes + 3, "PATCH", 5);
    assert_int_equal(bytes[2], 1);
    assert_int_equal(bytes[8], 1);
    size_t at = 0;
    for (int i = 0; i < 40; i++) {
        if (i > 1)
            assert_int_equal(bytes[at], i);
        at += (size_t)i * 2500;
    }
    assert_int_equal(bytes[at], 0);
    assert_memory_equal(bytes + file.size - 2, "!!", 2);
    file_unmap(&file);
}

static mitral_status write_and_fail(struct file_writer *writer, void *user)
{
    TRY(file_append(writer, "half", 4));
    return mitral_fail(user, MITRAL_CANCELLED, "enough");
}

static mitral_status patch_too_far(struct file_writer *writer, void *user)
{
    (void)user;
    TRY(file_append(writer, "half", 4));
    return file_patch(writer, 3, "xx", 2);
}

static void failures_leave_the_old_file(void **state)
{
    (void)state;
    assert_int_equal(file_write_whole(context, target, write_and_fail, context), MITRAL_CANCELLED);
    assert_int_equal(count_files(), 0);
    assert_ok(context, file_write_bytes(context, target, "old", 3));
    assert_int_equal(file_write_whole(context, target, write_and_fail, context), MITRAL_CANCELLED);
    assert_int_equal(file_write_whole(context, target, patch_too_far, NULL), MITRAL_INVALID);
    expect_content(target, "old");
    assert_int_equal(count_files(), 1);
}

/* The operating system refuses more than so many bytes, as a full disk does. */
static void a_full_disk_leaves_the_old_file(void **state)
{
    (void)state;
    assert_ok(context, file_write_bytes(context, target, "old", 3));
    struct rlimit before, limit;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    limit = (struct rlimit){100000, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    mitral_status status = file_write_whole(context, target, write_much, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, MITRAL_IO);
    assert_non_null(strstr(mitral_context_message(context), target));
    expect_content(target, "old");
    assert_int_equal(count_files(), 1);
    /* A device that is always full. */
    if (access("/dev/full", W_OK) == 0) {
        assert_int_equal(file_write_bytes(context, "/dev/full", "x", 1), MITRAL_IO);
        assert_non_null(strstr(mitral_context_message(context), "/dev/full"));
    }
}

static void devices_are_written_directly(void **state)
{
    (void)state;
    assert_ok(context, file_write_bytes(context, "/dev/null", "x", 1));
    struct stat status;
    assert_int_equal(stat("/dev/null", &status), 0);
    assert_true(S_ISCHR(status.st_mode));
}

static void links_are_followed(void **state)
{
    (void)state;
    char link[96];
    snprintf(link, sizeof link, "%s/link", folder);
    assert_ok(context, file_write_bytes(context, target, "old", 3));
    assert_int_equal(symlink("target", link), 0);
    assert_ok(context, file_write_bytes(context, link, "new", 3));
    struct stat status;
    assert_int_equal(lstat(link, &status), 0);
    assert_true(S_ISLNK(status.st_mode));
    expect_content(target, "new");
}

static void refuses_what_is_no_file(void **state)
{
    (void)state;
    struct file_mapping file;
    char path[128];
    assert_int_equal(file_map(&file, context, target), MITRAL_IO);
    assert_non_null(strstr(mitral_context_message(context), target));
    file_unmap(&file);
    assert_int_equal(file_map(&file, context, folder), MITRAL_IO);
    assert_int_equal(mkfifo(target, 0600), 0); /* must not wait for a writer */
    assert_int_equal(file_map(&file, context, target), MITRAL_IO);
    assert_int_equal(file_write_bytes(context, folder, "x", 1), MITRAL_IO);
    assert_int_equal(file_write_bytes(context, "", "x", 1), MITRAL_IO);
    snprintf(path, sizeof path, "%s/none/file", folder);
    assert_int_equal(file_write_bytes(context, path, "x", 1), MITRAL_IO);
    assert_non_null(strstr(mitral_context_message(context), path));
}

static void targets_are_checked_before(void **state)
{
    (void)state;
    char path[128];
    assert_ok(context, file_check_target(context, target));
    assert_int_equal(access(target, F_OK), -1);
    assert_ok(context, file_write_bytes(context, target, "x", 1));
    assert_ok(context, file_check_target(context, target));
    assert_ok(context, file_check_target(context, "/dev/null"));
    assert_int_equal(file_check_target(context, folder), MITRAL_IO);
    assert_int_equal(file_check_target(context, ""), MITRAL_IO);
    snprintf(path, sizeof path, "%s/none/file", folder);
    assert_int_equal(file_check_target(context, path), MITRAL_IO);
    assert_non_null(strstr(mitral_context_message(context), path));
    assert_int_equal(count_files(), 1);
}

static void files_are_told_apart(void **state)
{
    (void)state;
    char other[128], again[128];
    snprintf(other, sizeof other, "%s/other", folder);
    snprintf(again, sizeof again, "%s/./%s", folder, strrchr(target, '/') + 1);
    for (int there = 0; there < 2; there++) { /* as two names of what both would write, then of what is there */
        assert_ok(context, file_check_apart(context, target, other));
        assert_int_equal(file_check_apart(context, target, again), MITRAL_INVALID);
        assert_ok(context, file_write_bytes(context, target, "x", 1));
    }
    assert_ok(context, file_check_apart(context, "/dev/null", "/dev/null"));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        TEST(writes_whole_files), TEST(appends_and_patches), TEST(failures_leave_the_old_file), TEST(a_full_disk_leaves_the_old_file),
        TEST(devices_are_written_directly), TEST(links_are_followed), TEST(refuses_what_is_no_file),
        TEST(targets_are_checked_before), TEST(files_are_told_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
