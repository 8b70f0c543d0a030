// framegate: pkg=opencv4 std=17
// Optical flow: follows points from frame to frame (Lucas-Kanade), says how the picture moves as a whole, and draws
// arrows if somebody looks.
#include <framegate/cv.hpp>

#include <opencv2/imgproc.hpp>
#include <opencv2/video/tracking.hpp>

struct Flow : fg::Processor {
    fg::Param<int> points{*this, "points", 200, fg::range(10, 1000, 10).label("Points")};
    fg::Param<double> arrows{*this, "arrows", 3, fg::range(1, 20, 0.5).label("Length of the arrows")};
    fg::Param<fg::Color> color{*this, "color", fg::Color{0x00ff80}, fg::label("Colour of the arrows")};

    static constexpr int WIDTH = 320; // of the picture that is searched

    Flow() { cv::setNumThreads(1); } // one engine a stream: parallel enough

    void configure(const fg::Config &) override { before.release(); }

    void process(fg::Frame &frame, fg::Result &result) override {
        const cv::Mat picture = frame.mat();
        cv::Mat small, now;
        cv::resize(picture, small, cv::Size(WIDTH, std::max(1, picture.rows * WIDTH / picture.cols)), 0, 0,
                   cv::INTER_AREA);
        cv::cvtColor(small, now, cv::COLOR_BGR2GRAY);
        std::vector<cv::Point2f> from, to;
        if (!before.empty()) follow(before, now, from, to);
        before = now;

        // Pixels of the frame, between it and the one before that was processed.
        const double enlarged = double(picture.cols) / WIDTH;
        cv::Point2f mean(0, 0);
        for (std::size_t i = 0; i < from.size(); i++) mean += (to[i] - from[i]) * (enlarged / double(from.size()));
        fg::Json data;
        data.set("points", from.size()).set("mean_px", fg::Json::array().add(mean.x).add(mean.y));
        result.data(data.set("seen_frames", frame.dropped_before() + 1));
        if (result.image_wanted()) result.image(drawn(picture, from, to, enlarged));
    }

    // Fills `from` and `to` with the places of the points that were found again, here and back.
    void follow(const cv::Mat &first, const cv::Mat &second, std::vector<cv::Point2f> &from,
                std::vector<cv::Point2f> &to) {
        std::vector<cv::Point2f> start, there, back;
        std::vector<uchar> found, returned;
        std::vector<float> errors;
        cv::goodFeaturesToTrack(first, start, points, 0.01, 6);
        if (start.empty()) return;
        cv::calcOpticalFlowPyrLK(first, second, start, there, found, errors);
        cv::calcOpticalFlowPyrLK(second, first, there, back, returned, errors);
        for (std::size_t i = 0; i < start.size(); i++) {
            if (!found[i] || !returned[i] || cv::norm(back[i] - start[i]) > 0.5) continue;
            from.push_back(start[i]);
            to.push_back(there[i]);
        }
    }

    cv::Mat drawn(const cv::Mat &picture, const std::vector<cv::Point2f> &from, const std::vector<cv::Point2f> &to,
                  double enlarged) {
        cv::Mat canvas = picture.clone(); // the frame itself is read-only
        for (std::size_t i = 0; i < from.size(); i++) {
            const cv::Point2f tail = from[i] * enlarged, head = tail + (to[i] - from[i]) * (enlarged * arrows);
            cv::arrowedLine(canvas, tail, head, fg::bgr(color), 2, cv::LINE_AA, 0, 0.3);
        }
        return canvas;
    }

    cv::Mat before; // the searched picture of the previous frame
};

FRAMEGATE_PROCESSOR(Flow, "flow", "1.0.0", "Follows points and says how the picture moves.")
