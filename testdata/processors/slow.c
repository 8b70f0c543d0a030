/* Takes its time: -DMS=200, or -DMIN_MS=20 -DMAX_MS=400 for seeded random times between the two. */
#include <framegate.h>
#include <errno.h>
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

static uint32_t next_ms(void) {
    static uint32_t state = SEED;
    state = state * 1664525u + 1013904223u;
    return MIN_MS + (state >> 8) % (MAX_MS - MIN_MS + 1);
}

static int32_t process(const fg_frame *frame, const fg_out *out) {
    const uint32_t ms = next_ms();
    struct timespec rest = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    while (nanosleep(&rest, &rest) != 0 && errno == EINTR) {
    }
    return fg_data_printf(out, "{\"seq\":%llu,\"ms\":%u}", (unsigned long long)frame->seq, ms);
}

FG_PROCESSOR("slow", "1.0.0", "Sleeps in every frame.", process)
