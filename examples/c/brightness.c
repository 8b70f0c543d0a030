/* Mean brightness of the picture, 0 to 255: the shortest useful processor (level 1). */
#include <framegate.h>

static int32_t process(const fg_frame *frame, const fg_out *out) {
    const fg_plane *plane = &frame->planes[0];
    uint64_t sum = 0;
    for (uint32_t y = 0; y < plane->height; y++)
        for (uint32_t x = 0; x < 3 * plane->width; x++) sum += plane->data[y * plane->stride_bytes + x];
    return fg_data_printf(out, "{\"mean\":%.1f}", (double)sum / (3.0 * plane->width * plane->height));
}

FG_PROCESSOR("brightness", "1.0.0", "Mean brightness of the picture, 0 to 255.", process)
