/* Reads the frame number as examples/c/framecode.c does, and takes its time as slow.c does: a result that belongs to
 * another frame than the one it is shown on cannot hide behind being quick. */
#include "rest.h"
#include <framegate.h>

/* The example without its own entry. */
#pragma push_macro("FG_PROCESSOR")
#undef FG_PROCESSOR
#define FG_PROCESSOR(...) struct no_entry
#define process read_number
#include "../../examples/c/framecode.c"
;
#undef process
#pragma pop_macro("FG_PROCESSOR")

static int32_t process(const fg_frame *frame, const fg_out *out) {
    rest();
    return read_number(frame, out);
}

FG_PROCESSOR("framecode_slow", "1.0.0", "Reads the frame number after a while.", process)
