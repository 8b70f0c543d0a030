/* Writes through a null pointer: SIGSEGV in a function with a name (exported, so that the dynamic linker knows it). */
#include "at.h"

__attribute__((noinline)) void write_to_nowhere(void);
void write_to_nowhere(void) {
    volatile int *nowhere = 0;
    *nowhere = 1;
}

static int32_t process(const fg_frame *frame, const fg_out *out) {
    if (due(frame)) write_to_nowhere();
    return fg_data_printf(out, "{\"seq\":%llu}", (unsigned long long)frame->seq);
}

FG_PROCESSOR("crash", "1.0.0", "Crashes with SIGSEGV.", process)
