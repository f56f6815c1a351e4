/* The clock, and latencies in buckets 1/64 wide: exact enough, and bounded. */

#include <string.h>
#include <time.h>

#include "load.h"

uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * NS_PER_S + (uint64_t)t.tv_nsec;
}

void stats_reset(struct stats *stats)
{
    memset(stats, 0, sizeof *stats);
}

/* Values below 64 have a bucket each; above, each power of two has 64. */
static uint32_t bucket_of(uint64_t value)
{
    if (value < 64)
        return (uint32_t)value;
    uint32_t shift = 63 - (uint32_t)__builtin_clzll(value) - 6;
    return (shift + 1) * 64 + (uint32_t)((value >> shift) & 63);
}

static double middle_of(uint32_t bucket)
{
    if (bucket < 64)
        return bucket;
    uint32_t shift = bucket / 64 - 1;
    return (double)(64 + bucket % 64) * (double)(1ull << shift) + (double)(1ull << shift) / 2;
}

void stats_add(struct stats *stats, uint64_t latency_ns)
{
    stats->buckets[bucket_of(latency_ns)]++;
    stats->count++;
    stats->sum_ns += (double)latency_ns;
    if (latency_ns > stats->max_ns)
        stats->max_ns = latency_ns;
}

double stats_quantile_ms(const struct stats *stats, double quantile)
{
    uint64_t wanted = (uint64_t)(quantile * (double)stats->count);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < sizeof stats->buckets / sizeof stats->buckets[0]; i++) {
        seen += stats->buckets[i];
        if (seen > wanted)
            return middle_of(i) / (double)NS_PER_MS;
    }
    return (double)stats->max_ns / (double)NS_PER_MS;
}

void stats_print(const struct stats *stats, const char *prefix)
{
    printf("\"%sp50_ms\":%.3f,\"%sp99_ms\":%.3f,\"%smax_ms\":%.3f", prefix,
           stats_quantile_ms(stats, 0.50), prefix, stats_quantile_ms(stats, 0.99), prefix,
           (double)stats->max_ns / (double)NS_PER_MS);
}
