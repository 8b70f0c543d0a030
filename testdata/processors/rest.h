/* Sleeps: -DMS=200, or -DMIN_MS=20 -DMAX_MS=400 for seeded random times between the two. */
#ifndef REST_H
#define REST_H

#include <errno.h>
#include <stdint.h>
#include <time.h>

#ifndef MS
#define MS 200
#endif
#ifndef MIN_MS
#define MIN_MS MS
#endif
#ifndef MAX_MS
#define MAX_MS MIN_MS
#endif
#ifndef SEED
#define SEED 1
#endif

/* Returns for how many milliseconds it slept. */
static uint32_t rest(void) {
    static uint32_t state = SEED;
    state = state * 1664525u + 1013904223u;
    const uint32_t ms = MIN_MS + (state >> 8) % (MAX_MS - MIN_MS + 1);
    struct timespec left = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
    return ms;
}

#endif
