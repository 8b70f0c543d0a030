// Everything framegate has to do with lumen: one instance, a picture in, its spots out.
#include <framegate.hpp>
#include <lumen/lumen.h>

#include <mutex>

struct Spots : fg::Processor {
    fg::Param<int> threshold{*this, "threshold", 200, fg::range(1, 255, 1).label("Brightness of a spot")};

    explicit Spots(const fg::Host &host) {
        // In the constructor, not in a global object: threads must not exist before framegate has forked the engine.
        if (!lumen::start({host.folder() + "/profiles/indoor.profile", 2}))
            throw std::runtime_error(lumen::lastError());
        lumen::setCallback([](const lumen::Spot &spot, void *self) { static_cast<Spots *>(self)->add(spot); }, this);
    }
    ~Spots() override { lumen::stop(); }

    fg::Want want() override { return fg::Want().format(fg::Format::rgb24).size(640, 0); }

    void process(fg::Frame &frame, fg::Result &result) override {
        if (frame.width() < 8 || frame.height() < 8) return result.nothing(); // lumen would abort
        found.clear();
        lumen::setThreshold(threshold);
        lumen::submit(frame.row(0), int(frame.width()), int(frame.height()), int(frame.plane().stride_bytes));
        lumen::wait(); // its threads read the frame, which ends when process returns
        for (const lumen::Spot &spot : found)
            result.box("spot", spot.brightness / 255,
                       fg::PixelRect{double(spot.left), double(spot.top), double(spot.width), double(spot.height)});
    }

    void add(const lumen::Spot &spot) { // on one of lumen's threads
        const std::lock_guard<std::mutex> held(lock);
        found.push_back(spot);
    }

    std::mutex lock;
    std::vector<lumen::Spot> found;
};
FRAMEGATE_PROCESSOR(Spots, "spots", "1.0.0", "Finds bright spots with the library lumen.")
