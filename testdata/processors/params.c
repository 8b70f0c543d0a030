/* Every kind of parameter: each result's data holds the values in force, and a square in the picture has the colour.
 * Refuses the title "forbidden" itself. Echoes messages of the page. */
#include <framegate.h>
#include <stdlib.h>
#include <string.h>

enum { INVERT, COUNT, THRESHOLD, SHAPE, TITLE, COLOUR, GAIN, PARAM_COUNT };
enum { TITLE_BYTES_MAX = 32 };

static const char *const shapes[] = {"square", "stripes", "nothing"};
static const fg_param params[PARAM_COUNT] = {
    {"invert", "Invert", "Picture", "Swaps light and dark around the shape.", NULL, NULL, 0, FG_PARAM_BOOL, 0, 0, 0, 0, NULL},
    {"count", "Count", "Picture", NULL, NULL, NULL, 0, FG_PARAM_INT, 1, 10, 1, 3, NULL},
    {"threshold", "Threshold", NULL, "From nothing to everything.", NULL, NULL, 0, FG_PARAM_FLOAT, 0, 1, 0.05, 0.5, NULL},
    {"shape", "Shape", "Picture", "What is drawn.", NULL, shapes, 3, FG_PARAM_ENUM, 0, 0, 0, 0, NULL},
    {"title", "Title", "Words", "Anything but \"forbidden\".", NULL, NULL, 0, FG_PARAM_TEXT, 0, TITLE_BYTES_MAX, 0, 0, "hello"},
    {"colour", "Colour", "Picture", NULL, NULL, NULL, 0, FG_PARAM_COLOR, 0, 0, 0, 0xff8800, NULL},
    {"gain", "Gain", NULL, NULL, "dB", NULL, 0, FG_PARAM_FLOAT, 0, 0, 0, 1.5, NULL},
};

typedef struct {
    fg_processor table;
    const fg_host *host;
    double numbers[PARAM_COUNT];
    char title[TITLE_BYTES_MAX + 1];
} state;

static int is_plain(const char *text) {
    for (; *text; text++) {
        if (*text < ' ' || *text > '~' || *text == '"' || *text == '\\') return 0;
    }
    return 1;
}

static int32_t set(fg_processor *processor, uint32_t index, const fg_param_value *value) {
    state *self = processor->self;
    char line[128];
    if (index >= PARAM_COUNT) return FG_ERROR_ARGUMENT;
    if (index == TITLE) {
        if (strlen(value->text) > TITLE_BYTES_MAX || !is_plain(value->text) || !strcmp(value->text, "forbidden")) {
            self->host->log(self->host, FG_LOG_WARN, "this title is not taken");
            return FG_ERROR_ARGUMENT;
        }
        strcpy(self->title, value->text);
        snprintf(line, sizeof line, "title is now %s", value->text);
    } else {
        self->numbers[index] = value->number;
        snprintf(line, sizeof line, "%s is now %.9g", params[index].id, value->number);
    }
    self->host->log(self->host, FG_LOG_INFO, line);
    return FG_OK;
}

/* The middle of the picture, half as wide and high, in the colour of the parameter; BGR. */
static void draw(const state *self, const fg_plane *plane) {
    const uint32_t rgb = (uint32_t)self->numbers[COLOUR];
    const int is_striped = self->numbers[SHAPE] == 1;
    for (uint32_t y = plane->height / 4; y < plane->height * 3 / 4; y++) {
        if (is_striped && y / 8 % 2) continue;
        uint8_t *row = plane->data + y * plane->stride_bytes;
        for (uint32_t x = plane->width / 4; x < plane->width * 3 / 4; x++) {
            row[3 * x] = (uint8_t)rgb;
            row[3 * x + 1] = (uint8_t)(rgb >> 8);
            row[3 * x + 2] = (uint8_t)(rgb >> 16);
        }
    }
}

static void invert(const fg_plane *plane) {
    for (uint32_t y = 0; y < plane->height; y++) {
        uint8_t *row = plane->data + y * plane->stride_bytes;
        for (uint32_t x = 0; x < 3 * plane->width; x++) row[x] = (uint8_t)(255 - row[x]);
    }
}

static int32_t process(fg_processor *processor, const fg_frame *frame, const fg_out *out) {
    const state *self = processor->self;
    const fg_out_image *image = out->get_extension(out, FG_EXT_IMAGE);
    if (!image) return FG_ERROR_UNSUPPORTED;
    if (image->is_wanted(out)) {
        if (self->numbers[INVERT] != 0) invert(&frame->planes[0]);
        if (self->numbers[SHAPE] != 2) draw(self, &frame->planes[0]);
        const int32_t status = image->submit_frame(out);
        if (status < 0) return status;
    }
    return fg_data_printf(out,
                          "{\"invert\":%s,\"count\":%d,\"threshold\":%.9g,\"shape\":\"%s\",\"title\":\"%s\","
                          "\"colour\":\"#%06x\",\"gain\":%.9g}",
                          self->numbers[INVERT] != 0 ? "true" : "false", (int)self->numbers[COUNT],
                          self->numbers[THRESHOLD], shapes[(int)self->numbers[SHAPE]], self->title,
                          (unsigned)self->numbers[COLOUR], self->numbers[GAIN]);
}

static int32_t receive(fg_processor *processor, const char *json, uint64_t length) {
    const fg_host *host = ((state *)processor->self)->host;
    const fg_host_message *messages = host->get_extension(host, FG_EXT_MESSAGE);
    return messages ? messages->send(host, json, length) : FG_ERROR_UNSUPPORTED;
}

static const void *get_extension(fg_processor *processor, const char *id) {
    static const fg_params table = {sizeof(fg_params), PARAM_COUNT, params, set};
    static const fg_message message = {sizeof(fg_message), 0, receive};
    (void)processor;
    if (!strcmp(id, FG_EXT_PARAMS)) return &table;
    if (!strcmp(id, FG_EXT_MESSAGE)) return &message;
    return NULL;
}

static void destroy(fg_processor *processor) { free(processor->self); }

static int32_t create(const fg_host *host, fg_processor **processor) {
    const fg_host_want *wanting = host->get_extension(host, FG_EXT_WANT);
    const fg_want want = {sizeof(fg_want), FG_WANT_WRITABLE, FG_BGR24, 0, 0, 0};
    if (!wanting || wanting->set(host, &want) < 0) return FG_ERROR_UNSUPPORTED;
    state *self = calloc(1, sizeof *self);
    if (!self) return FG_ERROR;
    self->table = (fg_processor){sizeof(fg_processor), 0, self, NULL, process, destroy, get_extension};
    self->host = host;
    for (int i = 0; i < PARAM_COUNT; i++) self->numbers[i] = params[i].number;
    strcpy(self->title, params[TITLE].text);
    host->log(host, FG_LOG_INFO, "params is made");
    *processor = &self->table;
    return FG_OK;
}

FG_ENTRY("params", "1.2.0", "Has one parameter of each kind and draws with them.", create)
