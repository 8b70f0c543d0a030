/* What elements say, as JSON. */
#ifndef FRAMEGATE_GST_WORDS_H
#define FRAMEGATE_GST_WORDS_H

#include <gst/gst.h>

/* Appends `{"element":…,"name":…,"fields":{…}}` for a message of an element. [any thread] */
void words_append_message(GString *json, GstMessage *message);

/* What an error or warning says: the element, the text, and where GStreamer found it. Freed with g_free. [any thread] */
gchar *words_of_trouble(GstMessage *message);

#endif
