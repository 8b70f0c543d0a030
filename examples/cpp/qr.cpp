// framegate: pkg=opencv4,zbar std=17
// Reads QR codes: OpenCV finds each and says where its corners are, ZBar reads the picture of the code laid flat. (OpenCV
// could read it as well, but not as Debian and Ubuntu build it: without its reader.)
#include <framegate/cv.hpp>

#include <opencv2/imgproc.hpp>
#include <opencv2/objdetect.hpp>
#include <zbar.h>

struct Qr : fg::Processor {
    fg::Param<bool> unread{*this, "unread", false, fg::label("Unread codes too").description(
        "Tells of places that look like a code but cannot be read.")};

    static constexpr int FLAT = 320, MARGIN = 40; // pixels of a code laid flat, and white around it

    Qr() {
        cv::setNumThreads(1); // one engine a stream: parallel enough
        reader.set_config(zbar::ZBAR_NONE, zbar::ZBAR_CFG_ENABLE, 0);
        reader.set_config(zbar::ZBAR_QRCODE, zbar::ZBAR_CFG_ENABLE, 1);
    }

    fg::Want want() override { return fg::Want().format(fg::Format::gray8); }

    void process(fg::Frame &frame, fg::Result &result) override {
        const cv::Mat picture = frame.mat();
        std::vector<cv::Point2f> corners; // four for each code
        detector.detectMulti(picture, corners);
        fg::Json codes = fg::Json::array();
        for (std::size_t first = 0; first + 4 <= corners.size(); first += 4) {
            const std::vector<cv::Point2f> quad(corners.begin() + first, corners.begin() + first + 4);
            const std::string text = read(picture, quad);
            if (text.empty() && !unread) continue;
            result.outline("qr", text.empty() ? 0.5 : 1, quad);
            codes.add(fg::Json().set("text", text));
        }
        result.data(fg::Json().set("codes", codes));
    }

    // The text of the code in the quadrilateral; empty if it cannot be read.
    std::string read(const cv::Mat &picture, const std::vector<cv::Point2f> &quad) {
        const float near = MARGIN, far = FLAT - MARGIN;
        const std::vector<cv::Point2f> square = {{near, near}, {far, near}, {far, far}, {near, far}};
        cv::Mat flat;
        cv::warpPerspective(picture, flat, cv::getPerspectiveTransform(quad, square), cv::Size(FLAT, FLAT),
                            cv::INTER_LINEAR, cv::BORDER_REPLICATE);
        zbar::Image image(FLAT, FLAT, "Y800", flat.data, flat.total());
        return reader.scan(image) > 0 ? image.symbol_begin()->get_data() : "";
    }

    cv::QRCodeDetector detector;
    zbar::ImageScanner reader;
};

FRAMEGATE_PROCESSOR(Qr, "qr", "1.0.0", "Finds QR codes and reads their text.")
