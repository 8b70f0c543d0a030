// framegate: pkg=zbar std=11
/* Bar codes and QR codes with ZBar (libzbar-dev): one box a code, its text in `data`.
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
    double values[PARAM_COUNT];
    char json[JSON_BYTES_MAX];
} scanner;

/* JSON being written into a buffer of fixed size. */
typedef struct writer { char *text; size_t length, capacity; int full; } writer;

static void put(writer *w, const char *text, size_t length) {
    if (w->full || length > w->capacity - w->length) {
        w->full = 1;
        return;
    }
    memcpy(w->text + w->length, text, length);
    w->length += length;
}

static void put_text(writer *w, const char *text, size_t length) {
    put(w, "\"", 1);
    for (size_t i = 0; i < length; i++) {
        const unsigned char byte = (unsigned char)text[i];
        char escape[8];
        if (byte >= 0x20 && byte != '"' && byte != '\\') put(w, &text[i], 1);
        else put(w, escape, (size_t)snprintf(escape, sizeof escape, "\\u%04x", byte));
    }
    put(w, "\"", 1);
}

static float smaller(float a, float b) { return a < b ? a : b; }
static float larger(float a, float b) { return a > b ? a : b; }

/* Adds one code to the result and to the JSON; without its text if that has no room. */
static int32_t tell(const zbar_symbol_t *symbol, const fg_frame *frame, const fg_out *out, writer *json) {
    const unsigned points = zbar_symbol_get_loc_size(symbol);
    const float width = (float)frame->width, height = (float)frame->height;
    fg_keypoint corners[CORNERS];
    float left = width, top = height, right = 0, bottom = 0;
    for (unsigned i = 0; i < points; i++) {
        const float x = (float)zbar_symbol_get_loc_x(symbol, i), y = (float)zbar_symbol_get_loc_y(symbol, i);
        left = smaller(left, x), right = larger(right, x);
        top = smaller(top, y), bottom = larger(bottom, y);
        if (points == CORNERS) corners[i] = (fg_keypoint){x / width, y / height, 1};
    }
    if (points == 0) left = top = 0;
    const char *label = zbar_get_symbol_name(zbar_symbol_get_type(symbol));
    const fg_detection detection = {
        .struct_size = sizeof detection, .score = 1, .label = label,
        .x = left / width, .y = top / height, .w = (right - left) / width, .h = (bottom - top) / height,
        .keypoints = corners, .keypoint_count = points == CORNERS ? CORNERS : 0,
    };
    const writer before = *json;
    put(json, json->length > 1 ? "," : "", json->length > 1);
    put(json, "{\"kind\":", 8);
    put_text(json, label, strlen(label));
    put(json, ",\"text\":", 8);
    put_text(json, zbar_symbol_get_data(symbol), zbar_symbol_get_data_length(symbol));
    put(json, "}", 1);
    if (json->full) *json = before;
    return out->detection(out, &detection);
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
    for (uint32_t row = 0; row < plane->height; row++)
        memcpy(self->packed + (size_t)row * plane->width, plane->data + row * plane->stride_bytes, plane->width);
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
    writer json = {self->json, 0, sizeof self->json - 1, 0}; /* one byte stays for the closing bracket */
    put(&json, "[", 1);
    const zbar_symbol_t *symbol = zbar_image_first_symbol(self->image);
    for (int i = 0; symbol && i < CODES_MAX; i++, symbol = zbar_symbol_next(symbol))
        if (tell(symbol, frame, out, &json) < 0) return FG_ERROR;
    self->json[json.length++] = ']';
    zbar_image_set_data(self->image, NULL, 0, NULL); /* the frame ends here, ZBar's image does not */
    return out->data(out, self->json, json.length);
}

static int enable(scanner *self, zbar_symbol_type_t type, int on) {
    return zbar_image_scanner_set_config(self->zbar, type, ZBAR_CFG_ENABLE, on);
}

static int32_t set(fg_processor *processor, uint32_t index, const fg_param_value *value) {
    scanner *self = processor->self;
    self->values[index] = value->number;
    const int kind = (int)self->values[PARAM_KIND], every = (int)self->values[PARAM_EVERY];
    /* ZBAR_NONE means every kind of code. */
    int failed = enable(self, ZBAR_NONE, kind != 2);
    if (kind != 0) failed |= enable(self, ZBAR_QRCODE, kind == 2);
    failed |= zbar_image_scanner_set_config(self->zbar, ZBAR_NONE, ZBAR_CFG_X_DENSITY, every);
    failed |= zbar_image_scanner_set_config(self->zbar, ZBAR_NONE, ZBAR_CFG_Y_DENSITY, every);
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
    const fg_host_want *wanting = host->get_extension(host, FG_EXT_WANT);
    const fg_want want = {.struct_size = sizeof want, .format = FG_GRAY8};
    scanner *self = calloc(1, sizeof *self);
    if (!self) return FG_ERROR;
    self->zbar = zbar_image_scanner_create();
    self->image = zbar_image_create();
    self->table = (fg_processor){.struct_size = sizeof self->table, .self = self, .process = process,
                                 .destroy = destroy, .get_extension = get_extension};
    if (!self->zbar || !self->image || !wanting || wanting->set(host, &want) < 0) {
        host->log(host, FG_LOG_ERROR, "ZBar has no memory, or grey pictures are not offered");
        destroy(&self->table);
        return FG_ERROR;
    }
    zbar_image_set_format(self->image, zbar_fourcc('Y', '8', '0', '0'));
    for (int i = 0; i < PARAM_COUNT; i++) self->values[i] = PARAMS[i].number;
    *made = &self->table;
    return FG_OK;
}

FG_ENTRY("zbar", "1.0.0", "Reads bar codes and QR codes.", create)
