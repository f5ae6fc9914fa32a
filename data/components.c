/* Largest connected component of each class, by union-find over the 6-neighbourhood. */
#include <string.h>

#include "mitral/data.h"
#include "runtime/context.h"

/* The root of a component is its first voxel in storage order, because unions keep the smaller index. */
static uint32_t find_root(uint32_t *parents, uint32_t voxel)
{
    while (parents[voxel] != voxel) {
        parents[voxel] = parents[parents[voxel]];
        voxel = parents[voxel];
    }
    return voxel;
}

static void unite(uint32_t *parents, uint32_t a, uint32_t b)
{
    a = find_root(parents, a);
    b = find_root(parents, b);
    if (a < b)
        parents[b] = a;
    else
        parents[a] = b;
}

static void unite_neighbours(uint32_t *parents, const uint8_t *labels, const int64_t size[3])
{
    uint32_t voxel = 0;
    uint32_t row = (uint32_t)size[0], plane = (uint32_t)(size[0] * size[1]);
    for (int64_t z = 0; z < size[2]; z++) {
        for (int64_t y = 0; y < size[1]; y++) {
            for (int64_t x = 0; x < size[0]; x++, voxel++) {
                parents[voxel] = voxel;
                if (!labels[voxel])
                    continue;
                if (x > 0 && labels[voxel - 1] == labels[voxel])
                    unite(parents, voxel, voxel - 1);
                if (y > 0 && labels[voxel - row] == labels[voxel])
                    unite(parents, voxel, voxel - row);
                if (z > 0 && labels[voxel - plane] == labels[voxel])
                    unite(parents, voxel, voxel - plane);
            }
        }
    }
}

mitral_status mitral_keep_largest(mitral_context *context, uint8_t *labels, const int64_t size[3], int32_t class_count)
{
    for (int i = 0; i < 3; i++)
        if (size[i] < 1 || size[i] > UINT32_MAX)
            return mitral_fail(context, MITRAL_INVALID, "components: expected sizes from 1, found %lld", (long long)size[i]);
    if (size[1] > UINT32_MAX / size[0] || size[2] > UINT32_MAX / (size[0] * size[1]))
        return mitral_fail(context, MITRAL_LIMIT, "components: expected at most 2^32 - 1 voxels, found more");
    size_t count = (size_t)(size[0] * size[1] * size[2]);
    uint32_t *parents = mitral_allocate_raw(context, count * sizeof *parents);
    uint32_t *sizes = parents ? mitral_allocate(context, count * sizeof *sizes) : NULL;
    if (!sizes) {
        mitral_release(context, parents);
        return MITRAL_NO_MEMORY;
    }
    unite_neighbours(parents, labels, size);
    for (size_t i = 0; i < count; i++)
        if (labels[i])
            sizes[parents[i] = find_root(parents, (uint32_t)i)]++;
    uint32_t best[256], most[256] = {0};
    memset(best, 0xff, sizeof best);
    for (size_t i = 0; i < count; i++) {
        if (labels[i] && sizes[i] > most[labels[i]]) {
            most[labels[i]] = sizes[i];
            best[labels[i]] = (uint32_t)i;
        }
    }
    for (size_t i = 0; i < count; i++)
        if (labels[i] && labels[i] < class_count && parents[i] != best[labels[i]])
            labels[i] = 0;
    mitral_release(context, parents);
    mitral_release(context, sizes);
    return MITRAL_OK;
}
