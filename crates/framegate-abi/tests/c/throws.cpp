// A level-1 processor that throws, and a program around it: the exception must arrive as FG_ERROR.
#include <framegate.h>
#include <stdexcept>

static int32_t process(const fg_frame *, const fg_out *) { throw std::runtime_error("no"); }

FG_PROCESSOR("throws", "1.0.0", "Throws.", process)

int main() {
    fg_processor *processor = nullptr;
    if (fg_entry_1.create(nullptr, &processor) != FG_OK) return 1;
    return processor->process(processor, nullptr, nullptr) == FG_ERROR ? 0 : 2;
}
