/* Takes its time: -DMS=200, or -DMIN_MS=20 -DMAX_MS=400 for seeded random times between the two. */
#include "rest.h"
#include <framegate.h>

static int32_t process(const fg_frame *frame, const fg_out *out) {
    const uint32_t ms = rest();
    return fg_data_printf(out, "{\"seq\":%llu,\"ms\":%u}", (unsigned long long)frame->seq, ms);
}

FG_PROCESSOR("slow", "1.0.0", "Sleeps in every frame.", process)
