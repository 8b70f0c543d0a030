/* Reads the frame number drawn as a bar of 36 cells over the top of framegate's test clips, and so proves which frame a
 * result belongs to. Cells: sync 1 0, 16 bits of the number (most significant first), the same bits inverted, sync 0 1;
 * white is 1. The bar is a fifteenth of the height, at least 8 pixels. */
#include <framegate.h>

enum { CELLS = 36, BITS = 16, CONTRAST_MIN = 40 };

/* Mean green of the middle half of a cell, 0 to 255: far enough from its edges to survive compression. */
static uint32_t cell(const fg_frame *frame, uint32_t bar_height, uint32_t index) {
    const fg_plane *plane = &frame->planes[0];
    const uint32_t left = (4 * index + 1) * plane->width / (4 * CELLS);
    const uint32_t right = (4 * index + 3) * plane->width / (4 * CELLS);
    uint32_t sum = 0, count = 0;
    for (uint32_t y = bar_height / 4; y < bar_height - bar_height / 4; y++)
        for (uint32_t x = left; x < right || x == left; x++, count++)
            sum += plane->data[y * plane->stride_bytes + 3 * x + 1];
    return sum / count;
}

/* The number, or -1 if there is no valid bar. */
static int32_t read_bar(const fg_frame *frame) {
    uint32_t bar_height = (frame->height + 7) / 15;
    uint32_t value[CELLS];
    if (bar_height < 8) bar_height = 8;
    if (frame->height < bar_height || frame->width < CELLS) return -1;
    for (uint32_t i = 0; i < CELLS; i++) value[i] = cell(frame, bar_height, i);

    const uint32_t white = (value[0] + value[CELLS - 1]) / 2;
    const uint32_t black = (value[1] + value[CELLS - 2]) / 2;
    if (white < black + CONTRAST_MIN) return -1;
    const uint32_t middle = (white + black) / 2;
    if (value[0] <= middle || value[CELLS - 1] <= middle || value[1] > middle || value[CELLS - 2] > middle) return -1;

    int32_t number = 0;
    for (uint32_t i = 0; i < BITS; i++) {
        const int32_t bit = value[2 + i] > middle;
        const int32_t inverse = value[2 + BITS + i] > middle;
        if (bit == inverse) return -1;
        number = number << 1 | bit;
    }
    return number;
}

static int32_t process(const fg_frame *frame, const fg_out *out) {
    const int32_t number = read_bar(frame);
    if (number < 0) return fg_data_printf(out, "{\"number\":null}");
    char label[12];
    snprintf(label, sizeof label, "%d", (int)number);
    fg_detect(out, label, 1.0f, 0.25f, 0.4f, 0.5f, 0.2f);
    return fg_data_printf(out, "{\"number\":%d}", (int)number);
}

FG_PROCESSOR("framecode", "1.0.0", "Reads the frame number drawn over the top of test clips.", process)
