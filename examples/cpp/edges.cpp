// framegate: pkg=opencv4 std=17
// Draws the edges that Canny finds into the picture, for people to look at or for the next processor of a chain.
#include <framegate/cv.hpp>

#include <opencv2/imgproc.hpp>

struct Edges : fg::Processor {
    fg::Param<int> low{*this, "low", 60, fg::range(0, 500, 5).label("Weakest edge").group("Edges")};
    fg::Param<int> high{*this, "high", 150, fg::range(0, 500, 5).label("Strong edge").group("Edges").description(
        "Weak edges count where they continue a strong one.")};
    fg::Param<int> blur{*this, "blur", 2, fg::range(0, 10, 1).label("Blur before").unit("px").group("Edges")};
    fg::Param<fg::Color> color{*this, "color", fg::Color{0xffffff}, fg::label("Colour").group("Picture")};
    fg::Param<bool> over{*this, "over", false, fg::label("Over the picture").group("Picture").description(
        "Instead of on black.")};

    Edges() { cv::setNumThreads(1); } // one engine a stream: parallel enough

    fg::Want want() override { return fg::Want().writable(); }

    void process(fg::Frame &frame, fg::Result &result) override {
        cv::Mat picture = frame.mat_mut();
        cv::cvtColor(picture, grey, cv::COLOR_BGR2GRAY);
        if (blur > 0) cv::GaussianBlur(grey, grey, cv::Size(2 * blur + 1, 2 * blur + 1), 0);
        cv::Canny(grey, edges, low, high);
        if (!over) picture.setTo(cv::Scalar::all(0));
        picture.setTo(fg::bgr(color), edges);
        result.image_frame();
        result.data(fg::Json().set("share", double(cv::countNonZero(edges)) / double(edges.total())));
    }

    cv::Mat grey, edges;
};

FRAMEGATE_PROCESSOR(Edges, "edges", "1.0.0", "Draws the edges of the picture.")
