/* Writes GStreamer's list of plugins to the file that GST_REGISTRY names, if what is installed has changed since.
 *
 * Run before an engine is confined: the engine may then read that file, and need not look at every plugin itself. */
#include <gst/gst.h>
#include <stdio.h>

int main(void) {
    GError *error = NULL;
    if (gst_init_check(NULL, NULL, &error)) return 0;
    fprintf(stderr, "%s\n", error ? error->message : "GStreamer does not start");
    g_clear_error(&error);
    return 1;
}
