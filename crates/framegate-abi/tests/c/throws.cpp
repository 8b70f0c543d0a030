// A level-1 processor that throws, and a program around it: the exception must arrive as FG_ERROR with its text.
#include <framegate.h>
#include <cstring>
#include <stdexcept>

static int32_t process(const fg_frame *frame, const fg_out *) {
    if (!frame) throw 7;
    throw std::runtime_error("no");
}

FG_PROCESSOR("throws", "1.0.0", "Throws.", process)

static const char *said;

static int32_t said_error(const fg_out *, const char *text) {
    static char copy[64];
    std::strncpy(copy, text, sizeof copy - 1);
    said = copy;
    return FG_OK;
}

int main() {
    fg_processor *processor = nullptr;
    if (fg_entry_1.create(nullptr, &processor) != FG_OK) return 1;
    const fg_out out = {sizeof out, 0, nullptr, nullptr, nullptr, nullptr, said_error};
    const fg_frame frame = {};
    if (processor->process(processor, &frame, &out) != FG_ERROR || std::strcmp(said, "no") != 0) return 2;
    if (processor->process(processor, nullptr, &out) != FG_ERROR) return 3;
    return std::strcmp(said, "an exception that is no std::exception") == 0 ? 0 : 4;
}
