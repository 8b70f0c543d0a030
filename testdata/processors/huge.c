/* Answers with 10 MB of valid JSON, far above the limit. */
#include "at.h"
#include <string.h>

static char text[10 * 1000 * 1000];

static int32_t process(const fg_frame *frame, const fg_out *out) {
    if (!due(frame)) return out->data(out, "\"small\"", 7);
    memset(text, 'a', sizeof text);
    text[0] = text[sizeof text - 1] = '"';
    return out->data(out, text, sizeof text);
}

FG_PROCESSOR("huge", "1.0.0", "Answers with 10 MB.", process)
