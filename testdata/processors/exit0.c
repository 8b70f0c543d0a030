/* Ends its process as if all were well. */
#include "at.h"
#include <stdlib.h>

static int32_t process(const fg_frame *frame, const fg_out *out) {
    if (due(frame)) exit(0);
    return fg_data_printf(out, "{\"seq\":%llu}", (unsigned long long)frame->seq);
}

FG_PROCESSOR("exit0", "1.0.0", "Calls exit(0).", process)
