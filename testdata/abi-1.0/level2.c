/* Level 2 with every extension of 1.0: wants, parameters of each kind, state, messages both ways, image, clock, random. */
#include <framegate.h>
#include <stdlib.h>
#include <string.h>

enum { ON, COUNT, PART, MODE, WORD, INK, PARAM_COUNT };

static const char *const modes[] = {"fast", "exact"};
static const fg_param params[PARAM_COUNT] = {
    {"on", "On", "First", "Yes or no.", 0, 0, 0, FG_PARAM_BOOL, 0, 0, 0, 1, 0},
    {"count", "Count", "First", 0, "px", 0, 0, FG_PARAM_INT, 1, 9, 2, 3, 0},
    {"part", 0, 0, 0, 0, 0, 0, FG_PARAM_FLOAT, 0, 1, 0.25, 0.5, 0},
    {"mode", "Mode", 0, 0, 0, modes, 2, FG_PARAM_ENUM, 0, 0, 0, 1, 0},
    {"word", "Word", 0, 0, 0, 0, 0, FG_PARAM_TEXT, 0, 16, 0, 0, "hello"},
    {"ink", "Ink", 0, 0, 0, 0, 0, FG_PARAM_COLOR, 0, 0, 0, 0x102030, 0},
};

typedef struct {
    fg_processor table;
    const fg_host *host;
    double numbers[PARAM_COUNT];
    char word[17];
    int sets_before_configure, configured;
    uint32_t calls;
    int64_t now_ns;
    uint32_t width, height;
} instance;

static int32_t set(fg_processor *processor, uint32_t index, const fg_param_value *value) {
    instance *self = processor->self;
    if (index >= PARAM_COUNT || !FG_HAS(value, text) || value->kind != params[index].kind) return FG_ERROR_ARGUMENT;
    if (index == COUNT && value->number == 7) {
        self->host->log(self->host, FG_LOG_WARN, "not 7");
        return FG_ERROR_UNSUPPORTED;
    }
    if (index == WORD) strncpy(self->word, value->text, sizeof self->word - 1);
    else self->numbers[index] = value->number;
    self->sets_before_configure += !self->configured;
    return FG_OK;
}

static int64_t save(fg_processor *processor, void *bytes, uint64_t capacity) {
    instance *self = processor->self;
    if (capacity < sizeof self->calls) return (int64_t)sizeof self->calls;
    memcpy(bytes, &self->calls, sizeof self->calls);
    return (int64_t)sizeof self->calls;
}

static int32_t load(fg_processor *processor, uint32_t version, const void *bytes, uint64_t length) {
    instance *self = processor->self;
    if (version != 3 || length != sizeof self->calls || self->configured) return FG_ERROR_UNSUPPORTED;
    memcpy(&self->calls, bytes, sizeof self->calls);
    return FG_OK;
}

static int32_t receive(fg_processor *processor, const char *json, uint64_t length) {
    const fg_host *host = ((instance *)processor->self)->host;
    const fg_host_message *page = host->get_extension(host, FG_EXT_MESSAGE);
    return page ? page->send(host, json, length) : FG_ERROR_UNSUPPORTED;
}

static int32_t configure(fg_processor *processor, const fg_config *config) {
    instance *self = processor->self;
    self->configured = 1;
    self->width = config->source_width;
    self->height = config->source_height;
    return config->format == FG_GRAY8 && config->width == 32 ? FG_OK : FG_ERROR_UNSUPPORTED;
}

/* A picture of one colour, when somebody looks. */
static int32_t draw(const instance *self, const fg_out *out) {
    static uint8_t pixels[16][50];
    const fg_out_image *image = out->get_extension(out, FG_EXT_IMAGE);
    fg_picture picture = {sizeof picture, FG_RGB24, 16, 16, 1, 0, {{0, 0, 0, 0}}};
    uint32_t i, rgb = (uint32_t)self->numbers[INK];
    if (!image) return FG_ERROR_UNSUPPORTED;
    if (!image->is_wanted(out)) return FG_OK;
    for (i = 0; i < 16 * 16; i++) {
        pixels[i / 16][i % 16 * 3] = (uint8_t)(rgb >> 16);
        pixels[i / 16][i % 16 * 3 + 1] = (uint8_t)(rgb >> 8);
        pixels[i / 16][i % 16 * 3 + 2] = (uint8_t)rgb;
    }
    picture.planes[0].data = &pixels[0][0];
    picture.planes[0].stride_bytes = 50;
    picture.planes[0].width = picture.planes[0].height = 16;
    if (image->submit_frame(out) < 0) return FG_ERROR;
    return image->submit(out, &picture);
}

/* Time that does not go back, and bytes that are not all the same. */
static int helps(instance *self) {
    const fg_host *host = self->host;
    const fg_host_clock *clock = host->get_extension(host, FG_EXT_CLOCK);
    const fg_host_random *random = host->get_extension(host, FG_EXT_RANDOM);
    unsigned char bytes[16] = {0}, any = 0, i;
    const int64_t before = self->now_ns;
    if (!clock || !random || random->fill(host, bytes, sizeof bytes) < 0) return 0;
    for (i = 0; i < sizeof bytes; i++) any |= bytes[i];
    self->now_ns = clock->now_ns(host);
    return any != 0 && self->now_ns >= before && before >= 0;
}

static int32_t process(fg_processor *processor, const fg_frame *frame, const fg_out *out) {
    static const float corners[] = {16, 0, 24, 8, 8, 8};
    instance *self = processor->self;
    const fg_keypoint tip = {0.5f, 0.25f, 0.75f};
    fg_detection found = {sizeof found, 0.5f, "tip", 0.25f, 0.25f, 0.5f, 0.5f, 7, &tip, 1, 0};
    char word[128], text[1];
    self->calls++;
    if (frame->seq == 2) return out->error(out, "tired"), FG_ERROR;
    if (frame->seq == 3) return out->data(out, "nan", 3);
    frame->planes[0].data[0] = 1;
    if (draw(self, out) < 0 || out->detection(out, &found) < 0) return FG_ERROR;
    if (fg_outline_px(out, frame, "kite", 1, corners, 3) < 0) return FG_ERROR;
    if (fg_json_text(text, sizeof text, "", 0) || !fg_json_text(word, sizeof word, self->word, strlen(self->word)))
        return FG_ERROR;
    return fg_data_printf(
        out, "{\"calls\":%u,\"sets\":%d,\"frame\":[%u,%u,%u,%u],\"source\":[%u,%u],\"values\":[%d,%d,%.2f,%d,%s,%d],"
        "\"helps\":%d}", self->calls, self->sets_before_configure, frame->format, frame->width, frame->height,
        frame->flags & FG_FRAME_WRITABLE, self->width, self->height, (int)self->numbers[ON], (int)self->numbers[COUNT],
        self->numbers[PART], (int)self->numbers[MODE], word, (int)self->numbers[INK], helps(self));
}

static const void *get_extension(fg_processor *processor, const char *id) {
    static const fg_params offered = {sizeof offered, PARAM_COUNT, params, set};
    static const fg_state state = {sizeof state, 3, save, load};
    static const fg_message message = {sizeof message, 0, receive};
    (void)processor;
    if (!strcmp(id, FG_EXT_PARAMS)) return &offered;
    if (!strcmp(id, FG_EXT_STATE)) return &state;
    if (!strcmp(id, FG_EXT_MESSAGE)) return &message;
    return 0;
}

static void destroy(fg_processor *processor) { free(processor->self); }

static int32_t create(const fg_host *host, fg_processor **made) {
    const fg_host_want *wants = host->get_extension(host, FG_EXT_WANT);
    fg_want want = {sizeof want, FG_WANT_WRITABLE, FG_GRAY8, 32, 0, 0};
    instance *self;
    if (host->abi_version >> 16 != 1 || !FG_HAS(host, stream) || host->get_extension(host, "fg.nothing/1"))
        return fg_fail(host, "another framegate");
    want.format = 99;
    if (!wants || wants->set(host, &want) != FG_ERROR_UNSUPPORTED) return fg_fail(host, "an unknown format is taken");
    want.format = FG_GRAY8;
    want.flags = UINT32_C(1) << 31;
    if (wants->set(host, &want) != FG_ERROR_UNSUPPORTED) return fg_fail(host, "an unknown flag is taken");
    want.flags = FG_WANT_WRITABLE;
    if (wants->set(host, &want) < 0) return fg_fail(host, "grey frames are not offered");
    self = calloc(1, sizeof *self);
    if (!self) return FG_ERROR;
    self->table = (fg_processor){sizeof self->table, 0, self, configure, process, destroy, get_extension};
    self->host = host;
    host->log(host, FG_LOG_INFO, strcmp(host->stream, "test") || host->folder[0] != '/' ? "elsewhere" : "made");
    *made = &self->table;
    return FG_OK;
}

FG_ENTRY("level2", "2.5", "Every extension.", create)
