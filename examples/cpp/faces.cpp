// framegate: pkg=opencv4 std=17
// Finds faces that look at the camera, with a Haar cascade of OpenCV (Debian's package opencv-data). A cascade of your
// own, beside this file under the same name, is used instead.
#include <framegate/cv.hpp>

#include <fstream>
#include <opencv2/imgproc.hpp>
#include <opencv2/objdetect.hpp>

struct Faces : fg::Processor {
    fg::Param<double> scale{*this, "scale", 1.2, fg::range(1.05, 1.5, 0.05).label("Step from size to size").description(
        "Nearer to 1 finds more and takes longer.")};
    fg::Param<int> neighbours{*this, "neighbours", 5, fg::range(0, 20, 1).label("Neighbours").description(
        "Hits that must agree: more means fewer false faces.")};
    fg::Param<int> min_size{*this, "min_size", 15, fg::range(5, 100, 1).label("Smallest face").unit("% of the height")};

    explicit Faces(const fg::Host &host) {
        // Streams run side by side, one engine each: more threads in each would only be in each other's way.
        cv::setNumThreads(1);
        const std::string name = "haarcascade_frontalface_alt.xml";
        const std::string own = host.folder() + "/" + name, installed = "/usr/share/opencv4/haarcascades/" + name;
        if (!cascade.load(std::ifstream(own) ? own : installed))
            throw std::runtime_error("there is no " + name + "; on Debian and Ubuntu: apt-get install opencv-data");
    }

    // Grey needs no conversion of colours, and a face is found as well in a picture of this size.
    fg::Want want() override { return fg::Want().format(fg::Format::gray8).size(240, 0); }

    void process(fg::Frame &frame, fg::Result &result) override {
        cv::equalizeHist(frame.mat(), even);
        const int side = std::max(1, even.rows * min_size / 100);
        std::vector<cv::Rect> faces;
        std::vector<int> hits;
        cascade.detectMultiScale(even, faces, hits, scale, neighbours, 0, cv::Size(side, side));
        for (std::size_t i = 0; i < faces.size(); i++) result.box("face", hits[i] / (hits[i] + 5.0), faces[i]);
        result.data(fg::Json().set("faces", faces.size()));
    }

    cv::CascadeClassifier cascade;
    cv::Mat even; // the picture with its brightness spread evenly
};

FRAMEGATE_PROCESSOR(Faces, "faces", "1.0.0", "Finds faces that look at the camera.")
