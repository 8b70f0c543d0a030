/* The smallest processor: compiled as C and as C++. */
#include <framegate.h>

static int32_t process(const fg_frame *frame, const fg_out *out) {
    return fg_data_printf(out, "{\"width\":%u}", frame->width);
}

FG_PROCESSOR("width", "1.0.0", "Says how wide the picture is.", process)
