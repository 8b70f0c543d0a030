/* Prints 4 MiB a frame to stdout and stderr until a GiB is out. */
#include <framegate.h>
#include <string.h>
#include <unistd.h>

#ifndef TOTAL_MIB
#define TOTAL_MIB 1024
#endif

static int32_t process(const fg_frame *frame, const fg_out *out) {
    static uint64_t printed;
    char line[4096];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\n';
    for (int i = 0; i < 1024 && printed < TOTAL_MIB * UINT64_C(1048576); i++) {
        printed += sizeof line;
        /* What the pipe does not take is lost: that is not this processor's concern. */
        if (write(1 + i % 2, line, sizeof line) < 0) continue;
    }
    return fg_data_printf(out, "{\"seq\":%llu}", (unsigned long long)frame->seq);
}

FG_PROCESSOR("print", "1.0.0", "Prints a GiB.", process)
