/* Never returns. */
#include "at.h"

static int32_t process(const fg_frame *frame, const fg_out *out) {
    volatile int forever = due(frame);
    while (forever) {
    }
    return fg_data_printf(out, "{\"seq\":%llu}", (unsigned long long)frame->seq);
}

FG_PROCESSOR("hang", "1.0.0", "Loops for ever.", process)
