/* Gives data that is no JSON: a number C prints and JSON does not know. */
#include "at.h"

static int32_t process(const fg_frame *frame, const fg_out *out) {
    if (due(frame)) return fg_data_printf(out, "{\"ratio\":nan}");
    return fg_data_printf(out, "{\"ratio\":1}");
}

FG_PROCESSOR("badjson", "1.0.0", "Gives data that is no JSON.", process)
