/* Level 1: one function. Says what its first frame is like. */
#include <framegate.h>

static int32_t process(const fg_frame *frame, const fg_out *out) {
    const fg_plane *plane = &frame->planes[0];
    const uint8_t *last = plane->data + (plane->height - 1) * plane->stride_bytes + 3 * (plane->width - 1);
    if (frame->seq == 2) return FG_NO_RESULT;
    if (frame->seq == 3) return FG_ERROR;
    fg_detect(out, "half", 0.5f, 0.25f, 0.5f, 0.5f, 0.25f);
    fg_detect_px(out, frame, 0, 1, 0, 0, (float)frame->width / 2, (float)frame->height);
    return fg_data_printf(out, "[%u,%u,%u,%u,%u,%d,%d]", frame->format, frame->width, frame->height,
                          frame->plane_count, frame->flags & FG_FRAME_WRITABLE, frame->capture_us == FG_CAPTURE_UNKNOWN,
                          last[0] < 8 && last[2] < 8);
}

FG_PROCESSOR("level1", "1.0.0", "One function.", process)
