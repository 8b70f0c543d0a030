/* A processor made of GStreamer elements: `gst: videoflip method=horizontal-flip ! edgetv`.
 *
 * Each frame goes through the pipeline and its picture comes back, into the frame: processors that follow in a chain see
 * it. What elements say (bar codes, levels, faces) becomes the data of the result, and regions that they attach to
 * pictures become its detections. */
#define FG_LANGUAGE "gstreamer"
#include <framegate.h>
#include <locale.h>
#include <string.h>

#include "pipeline.h"

/* Longest wait for a picture, in microseconds: half of what an engine may take for a frame before it counts as hung. */
#define WAIT_US G_GINT64_CONSTANT(500000)

/* The same for the first picture of an instance: plugins are loaded, models read. */
#define FIRST_WAIT_US G_GINT64_CONSTANT(5000000)

/* Longest pipeline text, in bytes. */
#define TEXT_BYTES_MAX 4096

/* Largest side of a picture that comes out, in pixels: that of frames. */
#define SIDE_MAX 8192

typedef struct state {
    fg_processor table;
    const fg_host *host;
    gchar *text;
    struct pipeline *pipeline; /* NULL: must be made, of `text` */
    uint32_t width, height;    /* 0: not configured yet */
    gboolean is_warm;          /* a picture has gone through this or an earlier pipeline */
    gboolean has_returned;     /* framegate knows that there are pictures to show */
    gboolean has_other_size;   /* that pictures come out in another size has been said */
} state;

static int32_t fail(const state *self, const gchar *text) {
    self->host->log(self->host, FG_LOG_ERROR, text);
    return FG_ERROR;
}

static gboolean prepare(state *self, gchar **reason) {
    if (self->pipeline) return TRUE;
    if (!self->text) {
        *reason = g_strdup("no pipeline is given: set `pipeline`, or name the processor as `gst: ELEMENTS`");
        return FALSE;
    }
    self->pipeline = pipeline_parse(self->host, self->text, reason);
    return self->pipeline != NULL;
}

static void discard(state *self) {
    pipeline_free(self->pipeline);
    self->pipeline = NULL;
}

/* Makes and starts the pipeline. */
static gboolean start(state *self, gchar **reason) {
    if (!prepare(self, reason)) return FALSE;
    if (self->pipeline->pool || pipeline_start(self->pipeline, self->width, self->height)) return TRUE;
    *reason = pipeline_trouble(self->pipeline);
    discard(self);
    return FALSE;
}

/* The pipeline itself starts with the first frame, whose result can say why it does not. */
static int32_t configure(fg_processor *processor, const fg_config *config) {
    state *self = processor->self;
    if (config->format != FG_BGR24)
        return fail(self, "GStreamer is given BGR24: the first processor of the chain must want that format too");
    if (self->pipeline && self->pipeline->pool) discard(self); /* it runs, with the size before */
    self->width = config->width;
    self->height = config->height;
    return FG_OK;
}

/* The values an element gave a region: the highest confidence counts. */
static float confidence(const GstVideoRegionOfInterestMeta *region) {
    gdouble best = -1;
    for (const GList *item = region->params; item; item = item->next) {
        gdouble value;
        if (gst_structure_get_double(item->data, "confidence", &value) && value > best) best = value;
    }
    return best < 0 ? 1 : (float)(best > 1 ? 1 : best);
}

static void detect(GstBuffer *buffer, const GstVideoInfo *info, const fg_out *out) {
    float width = (float)GST_VIDEO_INFO_WIDTH(info), height = (float)GST_VIDEO_INFO_HEIGHT(info);
    gpointer place = NULL;
    for (;;) {
        const GstVideoRegionOfInterestMeta *region = (const GstVideoRegionOfInterestMeta *)gst_buffer_iterate_meta_filtered(
            buffer, &place, GST_VIDEO_REGION_OF_INTEREST_META_API_TYPE);
        if (!region) return;
        const gchar *label = region->roi_type ? g_quark_to_string(region->roi_type) : NULL;
        if (fg_detect(out, label, confidence(region), (float)region->x / width, (float)region->y / height,
                      (float)region->w / width, (float)region->h / height) < 0)
            return;
    }
}

static void write_back(const fg_frame *frame, const GstVideoFrame *picture) {
    const uint8_t *from = GST_VIDEO_FRAME_PLANE_DATA(picture, 0);
    uint8_t *to = frame->planes[0].data;
    for (uint32_t row = 0; row < frame->height; row++) {
        memcpy(to, from, (size_t)frame->width * 3);
        from += GST_VIDEO_FRAME_PLANE_STRIDE(picture, 0);
        to += frame->planes[0].stride_bytes;
    }
}

static void submit(state *self, const fg_out *out, const GstVideoFrame *picture) {
    const fg_out_image *images = out->get_extension(out, FG_EXT_IMAGE);
    /* The first one always: framegate learns from it that there are pictures to show. */
    if (!images || (self->has_returned && images->is_wanted(out) <= 0)) return;
    fg_picture given = {.struct_size = sizeof given,
                        .format = FG_BGR24,
                        .width = (uint32_t)GST_VIDEO_FRAME_WIDTH(picture),
                        .height = (uint32_t)GST_VIDEO_FRAME_HEIGHT(picture),
                        .plane_count = 1};
    given.planes[0].data = GST_VIDEO_FRAME_PLANE_DATA(picture, 0);
    given.planes[0].stride_bytes = GST_VIDEO_FRAME_PLANE_STRIDE(picture, 0);
    given.planes[0].width = given.width;
    given.planes[0].height = given.height;
    self->has_returned = images->submit(out, &given) >= 0;
}

/* Gives back what came out. */
static int32_t answer(state *self, GstSample *sample, const fg_frame *frame, const fg_out *out) {
    GstVideoInfo info;
    GstVideoFrame picture;
    GstBuffer *buffer = gst_sample_get_buffer(sample);
    if (!buffer || !gst_video_info_from_caps(&info, gst_sample_get_caps(sample)) ||
        GST_VIDEO_INFO_WIDTH(&info) > SIDE_MAX || GST_VIDEO_INFO_HEIGHT(&info) > SIDE_MAX ||
        !gst_video_frame_map(&picture, &info, buffer, GST_MAP_READ))
        return out->error(out, "what came out of the pipeline is no picture of at most 8192 pixels a side"), FG_ERROR;
    detect(buffer, &info, out);
    gboolean is_same_size = GST_VIDEO_INFO_WIDTH(&info) == (gint)frame->width &&
                            GST_VIDEO_INFO_HEIGHT(&info) == (gint)frame->height;
    if (is_same_size && frame->flags & FG_FRAME_WRITABLE) write_back(frame, &picture);
    if (!is_same_size && !self->has_other_size) {
        self->has_other_size = TRUE;
        self->host->log(self->host, FG_LOG_WARN,
                        "the pipeline changes the size of pictures: they are shown, but processors that follow in the "
                        "chain see the frames as they went in. End it with `! videoscale` and the size to mend that");
    }
    submit(self, out, &picture);
    gst_video_frame_unmap(&picture);
    return FG_OK;
}

static int32_t process(fg_processor *processor, const fg_frame *frame, const fg_out *out) {
    state *self = processor->self;
    gchar *reason = NULL;
    if (!start(self, &reason)) {
        out->error(out, reason);
        g_free(reason);
        return FG_ERROR;
    }
    gint64 wait_us = self->is_warm ? WAIT_US : FIRST_WAIT_US;
    self->is_warm = TRUE; /* also a pipeline that gives nothing must not count as hung */
    GstSample *sample = pipeline_pass(self->pipeline, frame, wait_us);
    gchar *said = pipeline_said(self->pipeline);
    if (said) out->data(out, said, strlen(said));
    g_free(said);
    if (sample) {
        int32_t status = answer(self, sample, frame, out);
        gst_sample_unref(sample);
        return status;
    }
    reason = pipeline_trouble(self->pipeline);
    if (reason)
        discard(self); /* the next frame starts it afresh */
    else
        reason = g_strdup_printf("the pipeline gave no picture for this frame within %d ms: elements that hold frames "
                                 "back, drop them or give them another time (decoders with several threads, encoders with "
                                 "B-frames, videorate, valve) do not fit here",
                                 (int)(wait_us / 1000));
    out->error(out, reason);
    g_free(reason);
    return FG_ERROR;
}

static void destroy(fg_processor *processor) {
    state *self = processor->self;
    discard(self);
    g_free(self->text);
    g_free(self);
}

/* Once only: what a pipeline is made of is for whoever runs framegate to say, not for those who look at a page. */
static int32_t set(fg_processor *processor, uint32_t index, const fg_param_value *value) {
    state *self = processor->self;
    if (index != 0 || value->kind != FG_PARAM_TEXT || !value->text) return FG_ERROR_ARGUMENT;
    if (self->text && strcmp(self->text, value->text) == 0) return FG_OK;
    if (self->text) return fail(self, "the pipeline is set already; it is changed in the configuration");
    self->text = g_strdup(value->text);
    gchar *reason = NULL;
    if (prepare(self, &reason)) return FG_OK;
    int32_t status = fail(self, reason);
    g_free(reason);
    g_clear_pointer(&self->text, g_free);
    return status;
}

static const void *get_extension(fg_processor *processor, const char *id) {
    static const fg_param PIPELINE = {.id = "pipeline",
                                      .label = "GStreamer pipeline",
                                      .description = "Elements as gst-launch-1.0 takes them. Set once, before frames.",
                                      .kind = FG_PARAM_TEXT,
                                      .max = TEXT_BYTES_MAX};
    static const fg_params PARAMS = {.struct_size = sizeof PARAMS, .count = 1, .params = &PIPELINE, .set = set};
    (void)processor;
    return strcmp(id, FG_EXT_PARAMS) == 0 ? &PARAMS : NULL;
}

/* GStreamer takes the user's locale for the whole process, and with it a decimal comma; other processors print JSON. */
static gboolean initialise(GError **error) {
    gchar *locale = g_strdup(setlocale(LC_ALL, NULL));
    gboolean is_ready = gst_init_check(NULL, NULL, error);
    setlocale(LC_ALL, locale);
    g_free(locale);
    return is_ready;
}

/* Its threads begin here at the earliest: in an engine of one stream. */
static int32_t create(const fg_host *host, fg_processor **made) {
    GError *error = NULL;
    state *self = g_new0(state, 1);
    self->host = host;
    if (!initialise(&error)) {
        int32_t status = fail(self, error ? error->message : "GStreamer does not start");
        g_clear_error(&error);
        g_free(self);
        return status;
    }
    const fg_host_want *wants = host->get_extension(host, FG_EXT_WANT);
    const fg_want want = {.struct_size = sizeof want, .flags = FG_WANT_WRITABLE, .format = FG_BGR24};
    if (!wants || wants->set(host, &want) < 0) {
        int32_t status = fail(self, "writable frames are not offered");
        g_free(self);
        return status;
    }
    self->table = (fg_processor){sizeof self->table, 0, self, configure, process, destroy, get_extension};
    *made = &self->table;
    return FG_OK;
}

FG_ENTRY("gstreamer", "1.0.0", "Any GStreamer elements, each frame through them and back.", create)
