/* Puts a NaN into a box; its other frames are good. */
#include "at.h"
#include <math.h>

static int32_t process(const fg_frame *frame, const fg_out *out) {
    return fg_detect(out, "nan", 0.5f, due(frame) ? NAN : 0.25f, 0.25f, 0.5f, 0.5f);
}

FG_PROCESSOR("nan", "1.0.0", "Gives a box that is not a number.", process)
