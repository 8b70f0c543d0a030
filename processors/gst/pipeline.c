#include "pipeline.h"

#include <gst/app/app.h>
#include <string.h>

#include "words.h"

/* Pictures that wait in our source at most: one is on its way, one may have been given up. */
#define QUEUED_MAX 2

/* Longest list of messages beside one picture, in bytes: with its brackets it fits the data of a result. */
#define SAID_BYTES_MAX (40 << 10)

/* Least time from one picture to the next, in nanoseconds: rounding in an element (90 kHz, milliseconds) confuses no two. */
#define STEP_MIN_NS GST_MSECOND

/* What follows the words of GStreamer where an element is missing. */
#define PACKAGES                                                                                             \
    ". Debian has elements in gstreamer1.0-plugins-base, gstreamer1.0-plugins-good, gstreamer1.0-plugins-bad, " \
    "gstreamer1.0-plugins-ugly and gstreamer1.0-libav; `gst-inspect-1.0` lists what is installed"

/* Whether this is the picture of the one that was put in last: by its time in the stream, which elements keep, though
 * some of them (x264enc) move the stream itself. [thread of the pipeline] */
static gboolean is_wanted(const struct pipeline *pipeline, GstSample *sample) {
    GstBuffer *buffer = gst_sample_get_buffer(sample);
    if (!buffer || !GST_CLOCK_TIME_IS_VALID(pipeline->wanted) || pipeline->sample) return FALSE;
    guint64 time = gst_segment_to_running_time(gst_sample_get_segment(sample), GST_FORMAT_TIME, GST_BUFFER_PTS(buffer));
    if (!GST_CLOCK_TIME_IS_VALID(time)) return FALSE;
    return (time > pipeline->wanted ? time - pipeline->wanted : pipeline->wanted - time) < STEP_MIN_NS / 2;
}

/* [thread of the pipeline] */
static GstFlowReturn on_sample(GstAppSink *sink, gpointer context) {
    struct pipeline *pipeline = context;
    GstSample *sample = gst_app_sink_pull_sample(sink);
    if (!sample) return GST_FLOW_OK;
    g_mutex_lock(&pipeline->lock);
    if (is_wanted(pipeline, sample)) {
        pipeline->sample = sample;
        sample = NULL;
        g_cond_signal(&pipeline->changed);
    }
    g_mutex_unlock(&pipeline->lock);
    if (sample) gst_sample_unref(sample);
    return GST_FLOW_OK;
}

static void end(struct pipeline *pipeline, gchar *why) {
    /* The first error is the cause, later ones are its consequences. */
    if (pipeline->trouble)
        g_free(why);
    else
        pipeline->trouble = why;
    g_cond_signal(&pipeline->changed);
}

static void keep(struct pipeline *pipeline, GstMessage *message) {
    gsize before = pipeline->said->len;
    if (before) g_string_append_c(pipeline->said, ',');
    words_append_message(pipeline->said, message);
    if (pipeline->said->len <= SAID_BYTES_MAX) return;
    g_string_truncate(pipeline->said, before);
    pipeline->left_out++;
}

/* [thread of the pipeline] */
static GstBusSyncReply on_message(GstBus *bus, GstMessage *message, gpointer context) {
    struct pipeline *pipeline = context;
    (void)bus;
    g_mutex_lock(&pipeline->lock);
    switch (GST_MESSAGE_TYPE(message)) {
    case GST_MESSAGE_ERROR:
        end(pipeline, words_of_trouble(message));
        break;
    case GST_MESSAGE_EOS:
        end(pipeline, g_strdup("the pipeline has ended its stream: an element of it stops after some pictures"));
        break;
    case GST_MESSAGE_ELEMENT:
        keep(pipeline, message);
        break;
    default:
        break;
    }
    g_mutex_unlock(&pipeline->lock);
    if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_WARNING) {
        gchar *text = words_of_trouble(message);
        pipeline->host->log(pipeline->host, FG_LOG_WARN, text);
        g_free(text);
    }
    gst_message_unref(message);
    return GST_BUS_DROP;
}

static GstElement *parse(const gchar *text, gchar **reason) {
    gchar *whole = g_strdup_printf("appsrc name=framegate_source ! videoconvert ! %s ! videoconvert ! "
                                   "appsink name=framegate_sink",
                                   text);
    GError *error = NULL;
    GstElement *bin = gst_parse_launch_full(whole, NULL, GST_PARSE_FLAG_FATAL_ERRORS, &error);
    g_free(whole);
    if (bin && !error) return bin;
    gboolean is_missing = g_error_matches(error, GST_PARSE_ERROR, GST_PARSE_ERROR_NO_SUCH_ELEMENT);
    *reason = g_strdup_printf("GStreamer: %s%s", error ? error->message : "no pipeline", is_missing ? PACKAGES : "");
    g_clear_error(&error);
    if (bin) gst_object_unref(bin);
    return NULL;
}

struct pipeline *pipeline_parse(const fg_host *host, const gchar *text, gchar **reason) {
    GstElement *bin = parse(text, reason);
    if (!bin) return NULL;
    struct pipeline *pipeline = g_new0(struct pipeline, 1);
    pipeline->host = host;
    pipeline->bin = bin;
    pipeline->wanted = GST_CLOCK_TIME_NONE;
    pipeline->last = GST_CLOCK_TIME_NONE;
    pipeline->said = g_string_new(NULL);
    g_mutex_init(&pipeline->lock);
    g_cond_init(&pipeline->changed);
    pipeline->source = gst_bin_get_by_name(GST_BIN(bin), "framegate_source");
    pipeline->sink = gst_bin_get_by_name(GST_BIN(bin), "framegate_sink");
    if (!GST_IS_APP_SRC(pipeline->source) || !GST_IS_APP_SINK(pipeline->sink)) {
        *reason = g_strdup("the names framegate_source and framegate_sink are taken: call your elements otherwise");
        pipeline_free(pipeline);
        return NULL;
    }
    /* A picture that is given up must not wait before the next one. */
    g_object_set(pipeline->source, "format", GST_FORMAT_TIME, "max-buffers", (guint64)QUEUED_MAX, "max-bytes",
                 (guint64)0, "leaky-type", GST_APP_LEAKY_TYPE_DOWNSTREAM, NULL);
    g_object_set(pipeline->sink, "sync", FALSE, "async", FALSE, "qos", FALSE, "enable-last-sample", FALSE, NULL);
    GstAppSinkCallbacks callbacks = {.new_sample = on_sample};
    gst_app_sink_set_callbacks(GST_APP_SINK(pipeline->sink), &callbacks, pipeline, NULL);
    GstBus *bus = gst_element_get_bus(bin);
    gst_bus_set_sync_handler(bus, on_message, pipeline, NULL);
    gst_object_unref(bus);
    return pipeline;
}

static GstBufferPool *make_pool(GstCaps *caps, guint size) {
    GstBufferPool *pool = gst_video_buffer_pool_new();
    GstStructure *config = gst_buffer_pool_get_config(pool);
    gst_buffer_pool_config_set_params(config, caps, size, QUEUED_MAX, 0);
    if (gst_buffer_pool_set_config(pool, config) && gst_buffer_pool_set_active(pool, TRUE)) return pool;
    gst_object_unref(pool);
    return NULL;
}

gboolean pipeline_start(struct pipeline *pipeline, uint32_t width, uint32_t height) {
    gst_video_info_set_format(&pipeline->info, GST_VIDEO_FORMAT_BGR, width, height);
    /* Pictures come as they come, but some elements refuse a stream that names no rate. */
    GST_VIDEO_INFO_FPS_N(&pipeline->info) = 30;
    GST_VIDEO_INFO_FPS_D(&pipeline->info) = 1;
    GstCaps *caps = gst_video_info_to_caps(&pipeline->info);
    gst_app_src_set_caps(GST_APP_SRC(pipeline->source), caps);
    pipeline->pool = make_pool(caps, (guint)GST_VIDEO_INFO_SIZE(&pipeline->info));
    gst_caps_unref(caps);
    caps = gst_caps_new_simple("video/x-raw", "format", G_TYPE_STRING, "BGR", NULL);
    gst_app_sink_set_caps(GST_APP_SINK(pipeline->sink), caps);
    gst_caps_unref(caps);
    if (pipeline->pool && gst_element_set_state(pipeline->bin, GST_STATE_PLAYING) != GST_STATE_CHANGE_FAILURE)
        return TRUE;
    g_mutex_lock(&pipeline->lock);
    end(pipeline, g_strdup(pipeline->pool ? "the pipeline does not start" : "no memory for pictures"));
    g_mutex_unlock(&pipeline->lock);
    return FALSE;
}

/* When it was received, and later than the one before. */
static GstClockTime time_of(struct pipeline *pipeline, const fg_frame *frame) {
    gboolean is_first = !GST_CLOCK_TIME_IS_VALID(pipeline->last);
    if (is_first) pipeline->begin_ns = frame->received_ns;
    GstClockTime least = is_first ? 0 : pipeline->last + STEP_MIN_NS;
    int64_t since_ns = frame->received_ns - pipeline->begin_ns;
    return since_ns > 0 && (GstClockTime)since_ns > least ? (GstClockTime)since_ns : least;
}

/* A copy: elements may keep what they are given, and the frame is gone when `process` returns. */
static GstBuffer *copy(struct pipeline *pipeline, const fg_frame *frame) {
    GstBuffer *buffer = NULL;
    GstVideoFrame into;
    if (gst_buffer_pool_acquire_buffer(pipeline->pool, &buffer, NULL) != GST_FLOW_OK) return NULL;
    if (!gst_video_frame_map(&into, &pipeline->info, buffer, GST_MAP_WRITE)) {
        gst_buffer_unref(buffer);
        return NULL;
    }
    const uint8_t *from = frame->planes[0].data;
    uint8_t *to = GST_VIDEO_FRAME_PLANE_DATA(&into, 0);
    for (uint32_t row = 0; row < frame->height; row++) {
        memcpy(to, from, (size_t)frame->width * 3);
        from += frame->planes[0].stride_bytes;
        to += GST_VIDEO_FRAME_PLANE_STRIDE(&into, 0);
    }
    gst_video_frame_unmap(&into);
    return buffer;
}

GstSample *pipeline_pass(struct pipeline *pipeline, const fg_frame *frame, gint64 wait_us) {
    GstBuffer *buffer = copy(pipeline, frame);
    if (!buffer) {
        g_mutex_lock(&pipeline->lock);
        end(pipeline, g_strdup("no memory for another picture: elements of the pipeline keep those they are given"));
        g_mutex_unlock(&pipeline->lock);
        return NULL;
    }
    pipeline->last = GST_BUFFER_PTS(buffer) = time_of(pipeline, frame);
    GST_BUFFER_OFFSET(buffer) = frame->seq;
    g_mutex_lock(&pipeline->lock);
    pipeline->wanted = pipeline->last;
    g_mutex_unlock(&pipeline->lock);
    gst_app_src_push_buffer(GST_APP_SRC(pipeline->source), buffer);

    gint64 until_us = g_get_monotonic_time() + wait_us;
    g_mutex_lock(&pipeline->lock);
    while (!pipeline->sample && !pipeline->trouble)
        if (!g_cond_wait_until(&pipeline->changed, &pipeline->lock, until_us)) break;
    GstSample *sample = pipeline->sample;
    pipeline->sample = NULL;
    pipeline->wanted = GST_CLOCK_TIME_NONE;
    g_mutex_unlock(&pipeline->lock);
    return sample;
}

gchar *pipeline_trouble(struct pipeline *pipeline) {
    g_mutex_lock(&pipeline->lock);
    gchar *text = g_strdup(pipeline->trouble);
    g_mutex_unlock(&pipeline->lock);
    return text;
}

gchar *pipeline_said(struct pipeline *pipeline) {
    gchar *text = NULL;
    g_mutex_lock(&pipeline->lock);
    if (pipeline->said->len || pipeline->left_out) {
        gchar *left_out = pipeline->left_out ? g_strdup_printf(",\"left_out\":%u", pipeline->left_out) : NULL;
        text = g_strdup_printf("{\"messages\":[%s]%s}", pipeline->said->str, left_out ? left_out : "");
        g_free(left_out);
        g_string_truncate(pipeline->said, 0);
        pipeline->left_out = 0;
    }
    g_mutex_unlock(&pipeline->lock);
    return text;
}

void pipeline_free(struct pipeline *pipeline) {
    if (!pipeline) return;
    gst_element_set_state(pipeline->bin, GST_STATE_NULL);
    GstBus *bus = gst_element_get_bus(pipeline->bin);
    gst_bus_set_sync_handler(bus, NULL, NULL, NULL);
    gst_object_unref(bus);
    gst_clear_object(&pipeline->source);
    gst_clear_object(&pipeline->sink);
    gst_object_unref(pipeline->bin);
    if (pipeline->pool) {
        gst_buffer_pool_set_active(pipeline->pool, FALSE);
        gst_object_unref(pipeline->pool);
    }
    if (pipeline->sample) gst_sample_unref(pipeline->sample);
    g_free(pipeline->trouble);
    g_string_free(pipeline->said, TRUE);
    g_mutex_clear(&pipeline->lock);
    g_cond_clear(&pipeline->changed);
    g_free(pipeline);
}
