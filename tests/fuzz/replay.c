/* Runs a fuzz target over the files of folders: the corpora as ordinary tests. */
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

static int run_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) != 0) {
        fprintf(stderr, "%s: expected a readable file\n", path);
        return 1;
    }
    long size = ftell(file);
    rewind(file);
    /* Exactly as large as the file: a read past the end is one past an allocation. */
    uint8_t *bytes = malloc(size > 0 ? (size_t)size : 1);
    int failed = !bytes || size < 0 || fread(bytes, 1, (size_t)size, file) != (size_t)size;
    fclose(file);
    if (!failed)
        (void)LLVMFuzzerTestOneInput(bytes, (size_t)size);
    free(bytes);
    return failed;
}

static int run_folder(const char *folder, size_t *count)
{
    DIR *open = opendir(folder);
    if (!open) {
        fprintf(stderr, "%s: expected a readable folder\n", folder);
        return 1;
    }
    int failed = 0;
    for (struct dirent *entry = readdir(open); entry; entry = readdir(open)) {
        char path[4096];
        struct stat status;
        int length = snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (length < 0 || (size_t)length >= sizeof path || stat(path, &status) != 0 || !S_ISREG(status.st_mode))
            continue;
        fprintf(stderr, "%s\n", path); /* the last line names the culprit when the target dies */
        failed |= run_file(path);
        ++*count;
    }
    closedir(open);
    return failed;
}

int main(int count, char **arguments)
{
    size_t files = 0;
    int failed = 0;
    for (int i = 1; i < count; i++)
        failed |= run_folder(arguments[i], &files);
    printf("%zu files\n", files);
    return failed || files == 0;
}
