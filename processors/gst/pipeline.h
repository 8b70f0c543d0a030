/* One GStreamer pipeline between our source and our sink: a picture goes in, and its picture comes out. */
#ifndef FRAMEGATE_GST_PIPELINE_H
#define FRAMEGATE_GST_PIPELINE_H

#include <framegate.h>
#include <gst/gst.h>
#include <gst/video/video.h>

/* Pictures are BGR, as most processors of a chain want them. */
struct pipeline {
    const fg_host *host;
    GstElement *bin, *source, *sink;
    GstBufferPool *pool;
    GstVideoInfo info; /* of pictures that go in */
    GstClockTime last; /* presentation time of the last one that went in */
    int64_t begin_ns;  /* when the first one was received */

    GMutex lock; /* guards what follows: elements have threads of their own */
    GCond changed;
    GstClockTime wanted; /* presentation time of the picture waited for; GST_CLOCK_TIME_NONE: of none */
    GstSample *sample;
    gchar *trouble;  /* why the pipeline has ended, if it has */
    GString *said;   /* messages of elements, as items of a JSON array */
    guint left_out;  /* messages that found no room */
};

/* Makes the pipeline that `text` describes. On failure NULL, and `*reason` is for people; free it with g_free. */
struct pipeline *pipeline_parse(const fg_host *host, const gchar *text, gchar **reason);

/* Starts it for pictures of this size. On failure FALSE; pipeline_trouble says why. */
gboolean pipeline_start(struct pipeline *pipeline, uint32_t width, uint32_t height);

/* Passes one picture through. NULL when none came out in time; pipeline_trouble says why, or nothing. */
GstSample *pipeline_pass(struct pipeline *pipeline, const fg_frame *frame, gint64 wait_us);

/* Why it has ended, for people; NULL while it runs. Freed with g_free. */
gchar *pipeline_trouble(struct pipeline *pipeline);

/* What its elements have said since the last call, as JSON; NULL for nothing. Freed with g_free. */
gchar *pipeline_said(struct pipeline *pipeline);

/* Stops and frees it with its threads. NULL is allowed. */
void pipeline_free(struct pipeline *pipeline);

#endif
