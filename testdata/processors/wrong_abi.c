/* Compiled for another major version of the interface. */
#include <framegate.h>

static int32_t create(const fg_host *host, fg_processor **processor) {
    (void)host;
    (void)processor;
    return FG_ERROR;
}

static const fg_descriptor descriptor = {sizeof(fg_descriptor), 2, "wrong-abi", "1.0.0", "Of another age.", "c"};
FG_EXPORT const fg_entry fg_entry_1;
FG_EXPORT const fg_entry fg_entry_1 = {sizeof(fg_entry), UINT32_C(0x00630001), &descriptor, create};
