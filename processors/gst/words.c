/* `level` and others still use GValueArray. */
#define GLIB_DISABLE_DEPRECATION_WARNINGS
#include "words.h"

#include <math.h>

/* Structures inside structures that are followed: a message of detections needs three. */
#define DEPTH_MAX 8

/* Longest text of one field, in bytes: the content of the largest bar code fits. */
#define TEXT_BYTES_MAX 8192

static void append_value(GString *json, const GValue *value, int depth);

static void append_text(GString *json, const gchar *text) {
    gchar *valid = g_utf8_make_valid(text ? text : "", text ? (gssize)strnlen(text, TEXT_BYTES_MAX) : 0);
    g_string_append_c(json, '"');
    for (const guchar *byte = (const guchar *)valid; *byte; byte++) {
        if (*byte == '"' || *byte == '\\') g_string_append_c(json, '\\');
        if (*byte < 0x20)
            g_string_append_printf(json, "\\u%04x", *byte);
        else
            g_string_append_c(json, (gchar)*byte);
    }
    g_string_append_c(json, '"');
    g_free(valid);
}

/* The decimal point is a point whatever locale a library has set. JSON knows no infinities. */
static void append_number(GString *json, gdouble number) {
    gchar text[G_ASCII_DTOSTR_BUF_SIZE];
    g_string_append(json, isfinite(number) ? g_ascii_dtostr(text, sizeof text, number) : "null");
}

struct fields {
    GString *json;
    int depth;
    gboolean has_some;
};

static gboolean append_field(GQuark name, const GValue *value, gpointer context) {
    struct fields *fields = context;
    /* Pictures and sounds of the pipeline are no words. */
    if (G_VALUE_HOLDS(value, GST_TYPE_BUFFER) || G_VALUE_HOLDS(value, GST_TYPE_SAMPLE)) return TRUE;
    if (fields->has_some) g_string_append_c(fields->json, ',');
    fields->has_some = TRUE;
    append_text(fields->json, g_quark_to_string(name));
    g_string_append_c(fields->json, ':');
    append_value(fields->json, value, fields->depth + 1);
    return TRUE;
}

static void append_structure(GString *json, const GstStructure *structure, int depth) {
    struct fields fields = {json, depth, FALSE};
    g_string_append_c(json, '{');
    if (structure) gst_structure_foreach(structure, append_field, &fields);
    g_string_append_c(json, '}');
}

static guint array_length(const GValue *value, const GValueArray **old) {
    *old = NULL;
    if (GST_VALUE_HOLDS_LIST(value)) return gst_value_list_get_size(value);
    if (GST_VALUE_HOLDS_ARRAY(value)) return gst_value_array_get_size(value);
    *old = g_value_get_boxed(value);
    return *old ? (*old)->n_values : 0;
}

static void append_array(GString *json, const GValue *value, int depth) {
    const GValueArray *old;
    guint length = array_length(value, &old);
    g_string_append_c(json, '[');
    for (guint index = 0; index < length; index++) {
        const GValue *item = old                          ? &old->values[index]
                             : GST_VALUE_HOLDS_LIST(value) ? gst_value_list_get_value(value, index)
                                                           : gst_value_array_get_value(value, index);
        if (index) g_string_append_c(json, ',');
        append_value(json, item, depth + 1);
    }
    g_string_append_c(json, ']');
}

static gboolean is_array(const GValue *value) {
    return GST_VALUE_HOLDS_LIST(value) || GST_VALUE_HOLDS_ARRAY(value) || G_VALUE_HOLDS(value, G_TYPE_VALUE_ARRAY);
}

static void append_value(GString *json, const GValue *value, int depth) {
    GValue number = G_VALUE_INIT;
    if (depth > DEPTH_MAX) {
        g_string_append(json, "null");
    } else if (GST_VALUE_HOLDS_STRUCTURE(value)) {
        append_structure(json, gst_value_get_structure(value), depth);
    } else if (is_array(value)) {
        append_array(json, value, depth);
    } else if (G_VALUE_HOLDS_STRING(value)) {
        append_text(json, g_value_get_string(value));
    } else if (G_VALUE_HOLDS_BOOLEAN(value)) {
        g_string_append(json, g_value_get_boolean(value) ? "true" : "false");
    } else if (G_VALUE_HOLDS_UINT64(value) && g_value_get_uint64(value) == GST_CLOCK_TIME_NONE) {
        g_string_append(json, "null");
    } else if (G_VALUE_HOLDS_UINT64(value)) {
        g_string_append_printf(json, "%" G_GUINT64_FORMAT, g_value_get_uint64(value));
    } else if (G_VALUE_HOLDS_INT64(value)) {
        g_string_append_printf(json, "%" G_GINT64_FORMAT, g_value_get_int64(value));
    } else if (GST_VALUE_HOLDS_FRACTION(value)) {
        append_number(json, (gdouble)gst_value_get_fraction_numerator(value) /
                                gst_value_get_fraction_denominator(value));
    } else if (!G_VALUE_HOLDS_ENUM(value) && !G_VALUE_HOLDS_FLAGS(value) &&
               g_value_type_transformable(G_VALUE_TYPE(value), G_TYPE_DOUBLE)) {
        g_value_init(&number, G_TYPE_DOUBLE);
        if (g_value_transform(value, &number))
            append_number(json, g_value_get_double(&number));
        else
            g_string_append(json, "null");
        g_value_unset(&number);
    } else {
        gchar *text = gst_value_serialize(value);
        append_text(json, text);
        g_free(text);
    }
}

void words_append_message(GString *json, GstMessage *message) {
    const GstStructure *structure = gst_message_get_structure(message);
    g_string_append(json, "{\"element\":");
    append_text(json, GST_MESSAGE_SRC_NAME(message));
    g_string_append(json, ",\"name\":");
    append_text(json, structure ? gst_structure_get_name(structure) : "");
    g_string_append(json, ",\"fields\":");
    append_structure(json, structure, 0);
    g_string_append_c(json, '}');
}

gchar *words_of_trouble(GstMessage *message) {
    GError *error = NULL;
    gchar *debug = NULL;
    if (GST_MESSAGE_TYPE(message) == GST_MESSAGE_ERROR)
        gst_message_parse_error(message, &error, &debug);
    else
        gst_message_parse_warning(message, &error, &debug);
    gchar *text = g_strdup_printf("%s: %s%s%s%s", GST_MESSAGE_SRC_NAME(message), error ? error->message : "",
                                  debug ? " (" : "", debug ? debug : "", debug ? ")" : "");
    g_clear_error(&error);
    g_free(debug);
    return text;
}
