/* SplitMix64 (Steele, Lea, Flood 2014): any seed is good, and the n-th number can be had without those before it. */
#ifndef MITRAL_RUNTIME_SPLITMIX_H
#define MITRAL_RUNTIME_SPLITMIX_H

#include <stdint.h>

/* Number `index` (from 0) of the stream that starts at `stream`. */
static inline uint64_t splitmix_at(uint64_t stream, uint64_t index)
{
    uint64_t z = stream + (index + 1) * 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

#endif
