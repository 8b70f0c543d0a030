// Uses everything of framegate.hpp: compiled with and without OpenCV, and played by kit_host.cpp.
#ifdef WITH_OPENCV
#include <framegate/cv.hpp>
#else
#include <framegate.hpp>
#endif

struct Kit : fg::Processor {
    fg::Param<bool> mirror{*this, "mirror", true};
    fg::Param<int> count{*this, "count", 3, fg::range(0, 10).label("Count").group("Numbers").unit("px")};
    fg::Param<double> threshold{*this, "threshold", 0.5, fg::range(0, 1, 0.01).description("How sure.")};
    fg::Param<fg::Choice> mode{*this, "mode", {"fast", "exact"}, "exact", fg::label("Mode")};
    fg::Param<std::string> word{*this, "word", "hello", fg::label("Word").longest(16)};
    fg::Param<fg::Color> ink{*this, "ink", fg::Color{0x102030}};

    explicit Kit(const fg::Host &host) : stream_(host.stream()) {
        if (stream_ == "refused") host.file("model.onnx");
        if (stream_ == "odd") throw 7;
        host.info("made");
    }

    fg::Want want() override { return fg::Want().format(fg::Format::bgr24).size(8, 0).rate(2.5).writable(); }

    void configure(const fg::Config &config) override {
        if (config.width == 1) throw std::runtime_error("too small");
    }

    void process(fg::Frame &frame, fg::Result &result) override {
        frames_++;
        switch (frame.seq()) {
        case 1: says(frame, result); break;
        case 2: throw std::runtime_error("no face");
        case 3: throw 7;
        case 4: result.box("bad", std::nan(""), fg::Rect{0, 0, 1, 1}); break;
        case 5: result.nothing(); break;
        case 6: result.data(fg::Json().set("mean", std::nan(""))); break;
        case 7: frame.row_mut(0)[0] = 9; break;
        case 8: picture(frame, result); break;
        case 9: result.error("tired"); break;
        default: frame.row(frame.height()); break;
        }
    }

    void changed(const fg::Setting &setting) override {
        if (setting.id() == "count" && count == 7) throw std::invalid_argument("not 7");
    }

    fg::Bytes save() override { return fg::pack(frames_); }
    void load(std::uint32_t version, const fg::Bytes &bytes) override {
        if (version != state_version()) throw std::runtime_error("another version");
        frames_ = fg::unpack<int>(bytes);
    }
    std::uint32_t state_version() const override { return 4; }

    void receive(std::string_view json) override {
        if (json == "null") throw std::runtime_error("nothing");
        host().send(fg::Json().set("echo", json).set("now", host().now_ns()).set("random", host().random()));
    }

  private:
    void says(fg::Frame &frame, fg::Result &result) const {
        result.box("all", 1, fg::Rect{0, 0, 1, 1});
        result.box("tip", 0.5, fg::PixelRect{2, 1, 4, 3}, {result.keypoint(4, 3)}, 7);
        result.outline("kite", 1, {result.keypoint(4, 0), result.keypoint(6, 3), result.keypoint(2, 3)});
        fg::Json data;
        data.set("mirror", mirror.get()).set("count", count.get()).set("threshold", threshold.get());
        data.set("mode", mode.text()).set("word", word.get()).set("ink", ink.get().green());
        data.set("known", frame.capture_us().has_value()).set("exact", mode == "exact").set("frames", frames_);
        result.data(data);
    }

    void picture(fg::Frame &frame, fg::Result &result) const {
        if (!result.image_wanted()) return;
#ifdef WITH_OPENCV
        const cv::Mat seen = frame.mat();
        if (seen.data != frame.plane().data || seen.type() != CV_8UC3) throw std::runtime_error("a copy");
        if (static_cast<std::int64_t>(seen.step[0]) != frame.plane().stride_bytes) throw std::runtime_error("stride");
        frame.mat_mut().at<cv::Vec3b>(0, 0)[0] = 42;
        if (frame.row(0)[0] != 42) throw std::runtime_error("another picture");
        result.box("cv", 1, cv::Rect(2, 1, 4, 3), {result.keypoint(cv::Point2f(4, 3))});
        result.outline("cv", 1, std::vector<cv::Point>{{2, 1}, {6, 1}, {4, 4}});
        result.image(cv::Mat(2, 3, CV_8UC1, cv::Scalar(5)));
        result.image(frame.mat());
#else
        result.image(frame.format(), frame.width(), frame.height(), frame.row(0), frame.plane().stride_bytes);
#endif
        result.image_frame();
    }

    std::string stream_;
    int frames_ = 0;
};

// Functions of the same names that are not framegate's.
#pragma GCC diagnostic ignored "-Woverloaded-virtual"
struct Namesake : fg::Processor {
    void process(fg::Frame &, fg::Result &) override {}
    int save(int where) { return where; }

  private:
    void changed() {}
    void receive(int) {}
};
static_assert(fg::detail::Instance<Kit>::has_state && fg::detail::Instance<Kit>::has_messages);
static_assert(!fg::detail::Instance<Namesake>::has_state && !fg::detail::Instance<Namesake>::has_messages);
template struct fg::detail::Instance<Namesake>;

FRAMEGATE_PROCESSOR(Kit, "kit", "1.0.0", "Uses everything.")
