/* A processor with state that uses every call: compiled as C and as C++. */
#include <framegate.h>
#include <stdlib.h>

typedef struct counter {
    fg_processor table;
    const fg_host *host;
    uint64_t frames;
} counter;

static int32_t configure(fg_processor *processor, const fg_config *config) {
    counter *self = (counter *)processor->self;
    if (!FG_HAS(config, source_height)) return FG_ERROR_UNSUPPORTED;
    self->host->log(self->host, FG_LOG_INFO, "configured");
    return config->format == FG_GRAY8 ? FG_OK : FG_ERROR_ARGUMENT;
}

static int32_t process(fg_processor *processor, const fg_frame *frame, const fg_out *out) {
    counter *self = (counter *)processor->self;
    const fg_keypoint tip = {0.5f, 0.5f, 1.0f};
    fg_detection found = {sizeof(fg_detection), 1.0f, "all", 0.0f, 0.0f, 1.0f, 1.0f, 7, &tip, 1, 0};
    self->frames++;
    if (frame->flags & FG_FRAME_RESUMED) return FG_NO_RESULT;
    if (out->get_extension(out, "none/1")) return FG_ERROR;
    if (out->detection(out, &found) < 0) return FG_ERROR;
    return fg_detect(out, "half", 0.5f, 0.0f, 0.0f, 0.5f, 1.0f);
}

static void destroy(fg_processor *processor) {
    free(processor->self);
}

static int32_t create(const fg_host *host, fg_processor **processor) {
    const fg_host_want *wanting = (const fg_host_want *)host->get_extension(host, FG_EXT_WANT);
    const fg_want want = {sizeof(fg_want), 0, FG_GRAY8, 160, 120, 10000};
    counter *self = (counter *)calloc(1, sizeof(counter));
    if (!self || !wanting || wanting->set(host, &want) < 0) {
        free(self);
        return FG_ERROR;
    }
    self->table.struct_size = sizeof(fg_processor);
    self->table.self = self;
    self->table.configure = configure;
    self->table.process = process;
    self->table.destroy = destroy;
    self->host = host;
    *processor = &self->table;
    return FG_OK;
}

FG_ENTRY("counter", "1.0.0", "Uses every call.", create)
