// framegate/cv.hpp: framegate.hpp with OpenCV. cv::Mat over the frame, without a copy; compiled into the processor, so
// that no type of OpenCV's crosses the interface.
//
//     // framegate: pkg=opencv4
//     #include <framegate/cv.hpp>
//     …
//         void process(fg::Frame &frame, fg::Result &result) override {
//             const cv::Mat picture = frame.mat();     // CV_8UC3, BGR; read-only, valid until process returns
//             result.box("face", 0.9, cv::Rect(10, 20, 64, 64));
//         }
#ifndef FRAMEGATE_CV_HPP
#define FRAMEGATE_CV_HPP

#include <opencv2/core.hpp>

#include <framegate.hpp>

namespace fg {

// OpenCV's type of a plane.
inline int mat_type(const Frame &frame, std::uint32_t plane_index) {
    switch (frame.format()) {
    case Format::bgr24:
    case Format::rgb24: return CV_8UC3;
    case Format::bgra: return CV_8UC4;
    case Format::nv12: return plane_index == 0 ? CV_8UC1 : CV_8UC2;
    default: return CV_8UC1;
    }
}

inline const cv::Mat Frame::mat(std::uint32_t plane_index) const {
    const fg_plane &from = plane(plane_index);
    return cv::Mat(static_cast<int>(from.height), static_cast<int>(from.width), mat_type(*this, plane_index),
                   from.data, static_cast<std::size_t>(from.stride_bytes));
}

inline const cv::Mat Frame::mat() const {
    if (plane_count() != 1) throw std::logic_error("the frame has several planes: name one, as in frame.mat(0)");
    return mat(0);
}

inline cv::Mat Frame::mat_mut(std::uint32_t plane_index) { return check_writable(), mat(plane_index); }

inline cv::Mat Frame::mat_mut() { return check_writable(), mat(); }

template <typename T>
void Result::box(const std::string &label, double score, const cv::Rect_<T> &at,
                 const std::vector<Keypoint> &keypoints, std::uint64_t track) {
    box(label, score,
        PixelRect{static_cast<double>(at.x), static_cast<double>(at.y), static_cast<double>(at.width),
                  static_cast<double>(at.height)},
        keypoints, track);
}

template <typename T>
void Result::outline(const std::string &label, double score, const std::vector<cv::Point_<T>> &corners,
                     std::uint64_t track) {
    std::vector<Keypoint> keypoints;
    for (const cv::Point_<T> &corner : corners) keypoints.push_back(keypoint(corner));
    outline(label, score, keypoints, track);
}

template <typename T> Keypoint Result::keypoint(const cv::Point_<T> &at, double score) const {
    return keypoint(static_cast<double>(at.x), static_cast<double>(at.y), score);
}

inline void Result::image(const cv::Mat &picture) {
    if (picture.dims != 2 || picture.depth() != CV_8U || picture.channels() == 2 || picture.channels() > 4)
        throw std::invalid_argument("fg::Result::image takes CV_8UC1, CV_8UC3 and CV_8UC4");
    const Format format = picture.channels() == 1   ? Format::gray8
                          : picture.channels() == 3 ? Format::bgr24
                                                    : Format::bgra;
    image(format, static_cast<std::uint32_t>(picture.cols), static_cast<std::uint32_t>(picture.rows), picture.data,
          static_cast<std::int64_t>(picture.step[0]));
}

// A colour for drawing into BGR24 and BGRA.
inline cv::Scalar bgr(const Color &color) { return cv::Scalar(color.blue(), color.green(), color.red(), 255); }

} // namespace fg

#endif // FRAMEGATE_CV_HPP
