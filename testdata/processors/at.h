/* When a faulty processor does its worst. `-DAT=30`: at its 30th call; `-DAT=0`: at every call; `-DONCE`: only in an
 * engine that saw the stream begin, so that the next engine goes on without a fault. */
#ifndef AT_H
#define AT_H

#include <framegate.h>

#ifndef AT
#define AT 30
#endif

static int due(const fg_frame *frame) {
    static uint64_t calls;
#ifdef ONCE
    static int resumed;
    resumed |= (frame->flags & FG_FRAME_RESUMED) != 0;
    if (resumed) return 0;
#else
    (void)frame;
#endif
    return ++calls == AT || AT == 0;
}

#endif
