/* Aborts, as a failed assertion or an uncaught exception does. */
#include "at.h"
#include <stdlib.h>

static int32_t process(const fg_frame *frame, const fg_out *out) {
    if (due(frame)) abort();
    return fg_data_printf(out, "{\"seq\":%llu}", (unsigned long long)frame->seq);
}

FG_PROCESSOR("abort", "1.0.0", "Calls abort.", process)
