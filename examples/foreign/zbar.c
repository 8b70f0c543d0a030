// framegate: pkg=zbar std=11
/* Bar codes and QR codes with ZBar (libzbar-dev): box or outline of each code, its text in `data`.
 *
 * ZBar works on grey pictures whose rows follow each other without gaps, so the rows are copied together where the
 * width is no multiple of 64. Its decoders keep state from picture to picture: one scanner an instance. */
#include <framegate.h>
#include <stdlib.h>
#include <string.h>
#include <zbar.h>

enum {
    CODES_MAX = 32,         /* codes told per frame */
    JSON_BYTES_MAX = 24576, /* of a frame's `data`: half of what framegate takes */
    CORNERS = 4
};

enum { PARAM_KIND, PARAM_EVERY, PARAM_COUNT };

static const char *const KINDS[] = {"all", "bars", "qr"};
static const fg_param PARAMS[PARAM_COUNT] = {
    [PARAM_KIND] = {.id = "kind", .label = "Codes", .kind = FG_PARAM_ENUM, .choices = KINDS, .choice_count = 3},
    [PARAM_EVERY] = {.id = "every", .label = "Scan every", .unit = "px", .kind = FG_PARAM_INT, .min = 1, .max = 8,
                     .step = 1, .number = 1, .description = "Lines between two scans: more is faster and misses more."},
};

typedef struct scanner {
    fg_processor table;
    zbar_image_scanner_t *zbar;
    zbar_image_t *image;
    uint8_t *packed; /* the picture without gaps between rows */
    size_t packed_bytes;
    char json[JSON_BYTES_MAX];
} scanner;

static float smaller(float a, float b) { return a < b ? a : b; }
static float larger(float a, float b) { return a > b ? a : b; }

/* Adds one code to the result: four places are its corners, others lie anywhere on it. */
static int32_t tell(const zbar_symbol_t *symbol, const fg_frame *frame, const fg_out *out) {
    const char *label = zbar_get_symbol_name(zbar_symbol_get_type(symbol));
    const unsigned points = zbar_symbol_get_loc_size(symbol);
    float corners[2 * CORNERS], left = (float)frame->width, top = (float)frame->height, right = 0, bottom = 0;
    for (unsigned i = 0; i < points; i++) {
        const float x = (float)zbar_symbol_get_loc_x(symbol, i), y = (float)zbar_symbol_get_loc_y(symbol, i);
        left = smaller(left, x), right = larger(right, x);
        top = smaller(top, y), bottom = larger(bottom, y);
        if (i < CORNERS) corners[2 * i] = x, corners[2 * i + 1] = y;
    }
    if (points == CORNERS) return fg_outline_px(out, frame, label, 1, corners, CORNERS);
    if (points == 0) left = top = 0;
    return fg_detect_px(out, frame, label, 1, left, top, right - left, bottom - top);
}

/* Writes one code as JSON and returns its bytes; 0 if it has no room. */
static uint64_t write_code(const zbar_symbol_t *symbol, int is_first, char *to, uint64_t capacity) {
    const int head = snprintf(to, capacity, "%s{\"kind\":\"%s\",\"text\":", is_first ? "" : ",",
                              zbar_get_symbol_name(zbar_symbol_get_type(symbol)));
    if (head < 0 || (uint64_t)head >= capacity) return 0;
    const uint64_t text = fg_json_text(to + head, capacity - (uint64_t)head, zbar_symbol_get_data(symbol),
                                       zbar_symbol_get_data_length(symbol));
    if (text == 0) return 0;
    to[(uint64_t)head + text] = '}'; /* where the text's 0 was */
    return (uint64_t)head + text + 1;
}

/* The picture as ZBar takes it: the frame's own bytes if its rows have no gaps, else a copy. NULL: no memory. */
static const uint8_t *packed(scanner *self, const fg_plane *plane) {
    const size_t bytes = (size_t)plane->width * plane->height;
    if (plane->stride_bytes == (int64_t)plane->width) return plane->data;
    if (bytes > self->packed_bytes) {
        uint8_t *larger_one = realloc(self->packed, bytes);
        if (!larger_one) return NULL;
        self->packed = larger_one;
        self->packed_bytes = bytes;
    }
    fg_pack(plane, 1, self->packed);
    return self->packed;
}

static int32_t process(fg_processor *processor, const fg_frame *frame, const fg_out *out) {
    scanner *self = processor->self;
    const uint8_t *bytes = packed(self, &frame->planes[0]);
    if (!bytes) return FG_ERROR;
    zbar_image_set_size(self->image, frame->width, frame->height);
    zbar_image_set_data(self->image, bytes, (unsigned long)frame->width * frame->height, NULL);
    if (zbar_scan_image(self->zbar, self->image) < 0) {
        out->error(out, "ZBar could not scan the picture");
        return FG_ERROR;
    }
    uint64_t length = 1;
    self->json[0] = '[';
    const zbar_symbol_t *symbol = zbar_image_first_symbol(self->image);
    for (int i = 0; symbol && i < CODES_MAX; i++, symbol = zbar_symbol_next(symbol)) {
        if (tell(symbol, frame, out) < 0) return FG_ERROR;
        /* One byte stays for the closing bracket. */
        length += write_code(symbol, length == 1, self->json + length, sizeof self->json - 1 - length);
    }
    self->json[length++] = ']';
    zbar_image_set_data(self->image, NULL, 0, NULL); /* the frame ends here, ZBar's image does not */
    return out->data(out, self->json, length);
}

static int enable(scanner *self, zbar_symbol_type_t type, int on) {
    return zbar_image_scanner_set_config(self->zbar, type, ZBAR_CFG_ENABLE, on);
}

static int32_t set(fg_processor *processor, uint32_t index, const fg_param_value *value) {
    scanner *self = processor->self;
    const int number = (int)value->number;
    int failed;
    if (index == PARAM_EVERY) {
        failed = zbar_image_scanner_set_config(self->zbar, ZBAR_NONE, ZBAR_CFG_X_DENSITY, number) |
                 zbar_image_scanner_set_config(self->zbar, ZBAR_NONE, ZBAR_CFG_Y_DENSITY, number);
    } else {
        /* ZBAR_NONE means every kind of code. */
        failed = enable(self, ZBAR_NONE, number != 2);
        if (number != 0) failed |= enable(self, ZBAR_QRCODE, number == 2);
    }
    return failed ? FG_ERROR : FG_OK;
}

static const void *get_extension(fg_processor *processor, const char *id) {
    static const fg_params params = {sizeof params, PARAM_COUNT, PARAMS, set};
    (void)processor;
    return strcmp(id, FG_EXT_PARAMS) == 0 ? &params : NULL;
}

static void destroy(fg_processor *processor) {
    scanner *self = processor->self;
    if (self->image) zbar_image_destroy(self->image);
    if (self->zbar) zbar_image_scanner_destroy(self->zbar);
    free(self->packed);
    free(self);
}

static int32_t create(const fg_host *host, fg_processor **made) {
    scanner *self = calloc(1, sizeof *self);
    if (!self) return FG_ERROR;
    self->zbar = zbar_image_scanner_create();
    self->image = zbar_image_create();
    self->table = (fg_processor){.struct_size = sizeof self->table, .self = self, .process = process,
                                 .destroy = destroy, .get_extension = get_extension};
    if (!self->zbar || !self->image || fg_want_frames(host, FG_GRAY8, 0, 0) < 0) {
        destroy(&self->table);
        return fg_fail(host, "ZBar has no memory, or grey pictures are not offered");
    }
    zbar_image_set_format(self->image, zbar_fourcc('Y', '8', '0', '0'));
    *made = &self->table;
    return FG_OK;
}

FG_ENTRY("zbar", "1.0.0", "Reads bar codes and QR codes.", create)
