// framegate.hpp: everything it puts between a class and the C interface.
#include <framegate.hpp>

struct Kit : fg::Processor {
    fg::Param<bool> on{*this, "on", true};
    fg::Param<int> count{*this, "count", 3, fg::range(0, 10).label("Count").group("First").unit("px")};
    fg::Param<double> part{*this, "part", 0.5, fg::range(0, 1, 0.25)};
    fg::Param<fg::Choice> mode{*this, "mode", {"fast", "exact"}, "exact", fg::label("Mode")};
    fg::Param<std::string> word{*this, "word", "hello", fg::label("Word").longest(16)};
    fg::Param<fg::Color> ink{*this, "ink", fg::Color{0x102030}};

    fg::Want want() override { return fg::Want().format(fg::Format::rgb24).size(0, 24).writable(); }

    void process(fg::Frame &frame, fg::Result &result) override {
        calls_++;
        if (frame.seq() == 2) throw std::runtime_error("tired");
        if (frame.seq() == 3) return result.nothing();
        for (unsigned y = 0; y < frame.height(); y++)
            for (unsigned x = 0; x < frame.width(); x++) paint(frame.row_mut(y) + 3 * x, ink.get());
        result.image_frame();
        result.box("tip", 0.5, fg::PixelRect{8, 6, 16, 12}, {result.keypoint(16, 12)}, 7);
        result.outline("kite", 1, {result.keypoint(16, 0), result.keypoint(24, 8), result.keypoint(8, 8)});
        fg::Json data;
        data.set("calls", static_cast<int>(calls_)).set("on", on.get()).set("count", count.get());
        data.set("part", part.get()).set("mode", mode.text()).set("word", word.get());
        data.set("width", static_cast<int>(frame.width())).set("height", static_cast<int>(frame.height()));
        data.set("helps", host().now_ns() > 0 && host().random() != 0);
        result.data(data);
    }

    void changed(const fg::Setting &setting) override {
        if (setting.id() == "count" && count == 7) throw std::invalid_argument("not 7");
    }

    fg::Bytes save() override { return fg::pack(calls_); }
    void load(std::uint32_t version, const fg::Bytes &bytes) override {
        if (version != state_version()) throw std::runtime_error("another version");
        calls_ = fg::unpack<std::uint32_t>(bytes);
    }
    std::uint32_t state_version() const override { return 3; }

    void receive(std::string_view json) override {
        if (!host().send(json)) throw std::runtime_error("not sent");
    }

  private:
    static void paint(std::uint8_t *rgb, fg::Color color) {
        rgb[0] = color.red();
        rgb[1] = color.green();
        rgb[2] = color.blue();
    }

    std::uint32_t calls_ = 0;
};

FRAMEGATE_PROCESSOR(Kit, "kit", "2.5", "Every extension.")
