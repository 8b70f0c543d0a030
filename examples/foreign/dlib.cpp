// framegate: pkg=dlib-1 std=17
// Finds faces with dlib's detector for faces that look at the camera (histograms of gradients, libdlib-dev). Slower than
// the Haar cascade of examples/cpp/faces.cpp and hardly ever wrong.
//
// dlib reads pixels through a type of its own: the frame gets one here, so that nothing is copied before dlib's pyramid.
#include <framegate.hpp>

#include <dlib/image_processing/frontal_face_detector.h>

// A grey frame as dlib wants to see pictures: see dlib/image_processing/generic_image.h.
struct Grey {
    const fg::Frame *frame;
};

namespace dlib {
template <> struct image_traits<Grey> {
    using pixel_type = unsigned char;
};
} // namespace dlib

inline long num_rows(const Grey &grey) { return static_cast<long>(grey.frame->height()); }
inline long num_columns(const Grey &grey) { return static_cast<long>(grey.frame->width()); }
inline long width_step(const Grey &grey) { return static_cast<long>(grey.frame->plane().stride_bytes); }
inline const void *image_data(const Grey &grey) { return grey.frame->plane().data; }

struct DlibFaces : fg::Processor {
    fg::Param<double> threshold{*this, "threshold", 0, fg::range(-1, 2, 0.1).label("Threshold").description(
        "Above 0: only surer faces. Below: more, and more wrong ones.")};

    // The detector's faces are at least 80 pixels: a sixth of this width.
    fg::Want want() override { return fg::Want().format(fg::Format::gray8).size(480, 0); }

    void process(fg::Frame &frame, fg::Result &result) override {
        std::vector<dlib::rect_detection> faces;
        detector(Grey{&frame}, faces, threshold);
        for (const dlib::rect_detection &face : faces) {
            const fg::PixelRect at = {double(face.rect.left()), double(face.rect.top()), double(face.rect.width()),
                                      double(face.rect.height())};
            // Confidences begin at the threshold and rarely exceed 3.
            result.box("face", (face.detection_confidence + 1) / 4, at);
        }
        result.data(fg::Json().set("faces", faces.size()));
    }

    dlib::frontal_face_detector detector = dlib::get_frontal_face_detector();
};

FRAMEGATE_PROCESSOR(DlibFaces, "faces-dlib", "1.0.0", "Finds faces that look at the camera, with dlib.")
