/* @NAME@: a box around what moves.
 *
 * Level 2 of framegate.h: a table of functions with state, here the picture before. Compiled by framegate itself; a line
 * such as the next one names packages of pkg-config, a standard and flags.
 */
// framegate: std=11 flags=-O2
#include <framegate.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH = 160, HEIGHT = 120, CELL = 8 }; /* pictures that are wanted, and squares that move or do not */

typedef struct motion {
    fg_processor table; /* first: what framegate calls */
    int threshold;      /* least change of a pixel, in grey levels */
    int has_before;
    uint8_t before[HEIGHT][WIDTH];
} motion;

static const fg_param params[] = {{
    .id = "threshold", .label = "Threshold", .unit = "levels", .description = "Least change of a pixel that counts.",
    .kind = FG_PARAM_INT, .min = 1, .max = 255, .number = 15,
}};

static int32_t set(fg_processor *processor, uint32_t index, const fg_param_value *value) {
    (void)index; /* there is only one */
    ((motion *)processor->self)->threshold = (int)value->number;
    return FG_OK;
}

static int moves(const motion *self, const fg_plane *picture, int left, int top) {
    int count = 0;
    for (int y = top; y < top + CELL; y++)
        for (int x = left; x < left + CELL; x++)
            count += abs(picture->data[y * picture->stride_bytes + x] - self->before[y][x]) >= self->threshold;
    return count >= CELL * CELL / 4;
}

static int32_t process(fg_processor *processor, const fg_frame *frame, const fg_out *out) {
    motion *self = (motion *)processor->self;
    const fg_plane *picture = &frame->planes[0];
    int moving = 0, left = WIDTH, top = HEIGHT, right = 0, bottom = 0;
    for (int y = 0; self->has_before && y < HEIGHT; y += CELL)
        for (int x = 0; x < WIDTH; x += CELL) {
            if (!moves(self, picture, x, y)) continue;
            moving++;
            if (x < left) left = x;
            if (y < top) top = y;
            if (x + CELL > right) right = x + CELL;
            if (y + CELL > bottom) bottom = y + CELL;
        }
    for (int y = 0; y < HEIGHT; y++) memcpy(self->before[y], picture->data + y * picture->stride_bytes, WIDTH);
    self->has_before = 1;
    if (moving)
        fg_detect_px(out, frame, "motion", 1.0f, (float)left, (float)top, (float)(right - left), (float)(bottom - top));
    return fg_data_printf(out, "{\"moving\":%d}", moving);
}

static void destroy(fg_processor *processor) { free(processor->self); }

static const void *get_extension(fg_processor *processor, const char *id) {
    static const fg_params offered = {sizeof offered, 1, params, set};
    (void)processor;
    return strcmp(id, FG_EXT_PARAMS) == 0 ? &offered : NULL;
}

static int32_t create(const fg_host *host, fg_processor **processor) {
    motion *self = (motion *)calloc(1, sizeof *self);
    if (!self) return fg_fail(host, "out of memory");
    self->threshold = (int)params[0].number;
    self->table = (fg_processor){sizeof(fg_processor), 0, self, NULL, process, destroy, get_extension};
    *processor = &self->table;
    return fg_want_frames(host, FG_GRAY8, WIDTH, HEIGHT);
}

FG_ENTRY("@NAME@", "0.1.0", "Draws a box around what moves.", create)
