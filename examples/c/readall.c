/* Reads every byte of a full-size BGR24 picture and says their sum: the least a real algorithm does. For benchmarks. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3") /* at -O2 GCC leaves the sum scalar, and the benchmark would measure that */
#endif
#include <framegate.h>

static uint32_t row_sum(const uint8_t *row, uint32_t bytes) {
    uint32_t sum = 0;
    for (uint32_t i = 0; i < bytes; i++) sum += row[i];
    return sum;
}

static int32_t process(const fg_frame *frame, const fg_out *out) {
    const fg_plane *plane = &frame->planes[0];
    uint64_t sum = 0;
    for (uint32_t y = 0; y < plane->height; y++)
        sum += row_sum(plane->data + y * plane->stride_bytes, 3 * plane->width);
    return fg_data_printf(out, "{\"sum\":%llu}", (unsigned long long)sum);
}

FG_PROCESSOR("readall", "1.0.0", "Sums every byte of the picture.", process)
