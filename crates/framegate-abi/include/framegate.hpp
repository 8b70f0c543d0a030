// framegate.hpp: framegate.h for C++17 and later. Header only; nothing of it crosses the C interface.
//
//     #include <framegate.hpp>
//
//     struct Bright : fg::Processor {
//         fg::Param<int> level{*this, "level", 128, fg::range(0, 255).label("Level")};
//
//         fg::Want want() override { return fg::Want().format(fg::Format::gray8).size(320, 0); }
//
//         void process(fg::Frame &frame, fg::Result &result) override {
//             int count = 0;
//             for (unsigned y = 0; y < frame.height(); y++)
//                 for (unsigned x = 0; x < frame.width(); x++) count += frame.row(y)[x] > level;
//             result.data(fg::Json().set("bright", count));
//         }
//     };
//     FRAMEGATE_PROCESSOR(Bright, "bright", "1.0.0", "Counts bright pixels.")
//
// - One object serves one stream. Its constructor takes `const fg::Host &` or nothing. Calls never overlap; the thread
//   may change between them.
// - An exception that leaves process makes the frame's result an error with its what(). One that leaves the constructor
//   or configure is the reason people are told. None ever reaches framegate.
// - Override save and load to survive a crash, receive to get messages of the page, changed to hear of parameters.
// - With OpenCV include <framegate/cv.hpp>: frame.mat() and the like.
#ifndef FRAMEGATE_HPP
#define FRAMEGATE_HPP

#if !defined(__cpp_exceptions)
#error "framegate.hpp needs exceptions; without them use framegate.h"
#endif
#if __cplusplus < 201703L
#error "framegate.hpp needs C++17: compile with -std=c++17"
#endif

#include <framegate.h>
#include <framegate/json.hpp>
#include <framegate/param.hpp>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <exception>
#include <fstream>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

// Named here and defined by framegate/cv.hpp with OpenCV, so that the order of includes does not matter.
namespace cv {
class Mat;
template <typename T> class Rect_;
template <typename T> class Point_;
} // namespace cv

namespace fg {

// framegate did not take a result: too many, too large, not a number.
class Refused : public std::runtime_error {
  public:
    using std::runtime_error::runtime_error;
};

enum class Format : std::uint32_t {
    bgr24 = FG_BGR24,
    rgb24 = FG_RGB24,
    bgra = FG_BGRA,
    gray8 = FG_GRAY8,
    i420 = FG_I420,
    nv12 = FG_NV12
};

enum class Level : std::int32_t { error = FG_LOG_ERROR, warn = FG_LOG_WARN, info = FG_LOG_INFO, debug = FG_LOG_DEBUG };

// A place in fractions of the picture, origin top-left.
struct Rect {
    float x, y, w, h;
};

// A place in pixels of the frame that was given.
struct PixelRect {
    double x, y, w, h;
};

// A point in fractions of the picture, as Result::keypoint makes them from pixels.
using Keypoint = fg_keypoint;

// What frames a processor wants; BGR24 as the camera sends them unless it says otherwise.
class Want {
  public:
    Want() { raw_.struct_size = sizeof raw_; }
    Want &format(Format format) { return raw_.format = static_cast<std::uint32_t>(format), *this; }
    // In pixels; one of them 0 keeps the aspect, both keep the size.
    Want &size(std::uint32_t width, std::uint32_t height) {
        return raw_.width = width, raw_.height = height, *this;
    }
    // At most so many frames a second.
    Want &rate(double hz) {
        if (!(hz > 0 && hz <= 1000)) throw std::invalid_argument("fg::Want::rate takes 0 to 1000 frames a second");
        return raw_.rate_millihertz = static_cast<std::uint32_t>(std::ceil(hz * 1000)), *this;
    }
    // Frames may be drawn into: Frame::row_mut, Frame::mat_mut.
    Want &writable() { return raw_.flags |= FG_WANT_WRITABLE, *this; }

    const fg_want &raw() const { return raw_; }

  private:
    fg_want raw_{};
};

// framegate's side; valid until the processor is destroyed. May be copied, and used from any thread.
class Host {
  public:
    explicit Host(const fg_host *raw) : raw_(raw) {}

    // Folder of the processor's file: readable, for its models.
    std::string folder() const { return raw_->folder ? raw_->folder : ""; }
    // Path of a file beside the processor's, such as a model; throws when it is not there.
    std::string file(const std::string &name) const {
        const std::string path = folder() + "/" + name;
        if (!std::ifstream(path)) throw std::runtime_error(path + " is missing or not readable; put it there");
        return path;
    }
    // Name of the stream.
    std::string stream() const { return raw_->stream ? raw_->stream : ""; }

    // One line to the log and the page, cut at 1 KiB.
    void log(Level level, const std::string &text) const {
        raw_->log(raw_, static_cast<std::int32_t>(level), text.c_str());
    }
    void error(const std::string &text) const { log(Level::error, text); }
    void warn(const std::string &text) const { log(Level::warn, text); }
    void info(const std::string &text) const { log(Level::info, text); }
    void debug(const std::string &text) const { log(Level::debug, text); }

    // Nanoseconds that never go back; in `framegate run` the time in the clip.
    std::int64_t now_ns() const {
        const auto *clock = static_cast<const fg_host_clock *>(raw_->get_extension(raw_, FG_EXT_CLOCK));
        if (!clock) throw Refused("this framegate offers no clock (fg.clock/1)");
        return clock->now_ns(raw_);
    }

    // Bytes that a repeated run repeats; not for secrets.
    void random(void *bytes, std::size_t length) const {
        const auto *random = static_cast<const fg_host_random *>(raw_->get_extension(raw_, FG_EXT_RANDOM));
        if (!random || random->fill(raw_, bytes, length) < 0)
            throw Refused("this framegate offers no randomness (fg.random/1)");
    }
    // A number, such as a seed of <random>.
    std::uint64_t random() const {
        std::uint64_t number = 0;
        random(&number, sizeof number);
        return number;
    }

    // Sends JSON to the page, at most 16 KiB; false when it came too fast (20 a second) or was too large.
    bool send(std::string_view json) const {
        const auto *message = static_cast<const fg_host_message *>(raw_->get_extension(raw_, FG_EXT_MESSAGE));
        return message && message->send(raw_, json.data(), json.size()) >= 0;
    }
    bool send(const Json &json) const { return send(std::string_view(json.text())); }

    // Replaces what frames are wanted; in force from the next configure.
    void want(const Want &want) const {
        const auto *wanting = static_cast<const fg_host_want *>(raw_->get_extension(raw_, FG_EXT_WANT));
        if (!wanting || wanting->set(raw_, &want.raw()) < 0)
            throw Refused("framegate does not give frames as want() asks for them; see the log");
    }

    const fg_host *raw() const { return raw_; }

  private:
    const fg_host *raw_;
};

// What frames will look like.
struct Config {
    Format format;
    std::uint32_t width, height;
    std::uint32_t source_width, source_height; // as the camera sends them
};

// One picture; valid until process returns.
class Frame {
  public:
    explicit Frame(const fg_frame *raw) : raw_(raw) {}

    std::uint64_t seq() const { return raw_->seq; }
    std::uint32_t rtp_ts() const { return raw_->rtp_ts; }
    std::uint32_t dropped_before() const { return raw_->dropped_before; }
    // Microseconds since 1970 on the sender's clock, once it is known.
    std::optional<std::int64_t> capture_us() const {
        if (raw_->capture_us == FG_CAPTURE_UNKNOWN) return std::nullopt;
        return raw_->capture_us;
    }
    std::int64_t received_ns() const { return raw_->received_ns; }
    std::int64_t deadline_ns() const { return raw_->deadline_ns; }
    Format format() const { return static_cast<Format>(raw_->format); }
    std::uint32_t width() const { return raw_->width; }
    std::uint32_t height() const { return raw_->height; }
    std::uint32_t rotation() const { return raw_->rotation; }
    bool is_writable() const { return (raw_->flags & FG_FRAME_WRITABLE) != 0; }
    bool is_size_changed() const { return (raw_->flags & FG_FRAME_SIZE_CHANGED) != 0; }
    bool is_resumed() const { return (raw_->flags & FG_FRAME_RESUMED) != 0; }

    std::uint32_t plane_count() const { return raw_->plane_count; }
    const fg_plane &plane(std::uint32_t index = 0) const {
        if (index >= raw_->plane_count || index >= 4) throw std::out_of_range("the frame has no such plane");
        return raw_->planes[index];
    }
    // First byte of a row.
    const std::uint8_t *row(std::uint32_t y, std::uint32_t plane_index = 0) const {
        const fg_plane &from = plane(plane_index);
        if (y >= from.height) throw std::out_of_range("the frame has no such row");
        return from.data + static_cast<std::int64_t>(y) * from.stride_bytes;
    }
    std::uint8_t *row_mut(std::uint32_t y, std::uint32_t plane_index = 0) {
        return check_writable(), const_cast<std::uint8_t *>(row(y, plane_index));
    }

    // The picture as OpenCV sees it, without a copy: CV_8UC3, CV_8UC4 or CV_8UC1 by the format. Not to be written. Of
    // planar formats one plane. Needs framegate/cv.hpp.
    const cv::Mat mat() const;
    const cv::Mat mat(std::uint32_t plane_index) const;
    // The same to draw into; only of processors whose want is writable().
    cv::Mat mat_mut();
    cv::Mat mat_mut(std::uint32_t plane_index);

    const fg_frame &raw() const { return *raw_; }

  private:
    void check_writable() const {
        if (!is_writable())
            throw std::logic_error("the frame is read-only: return fg::Want().writable() from want() to write into it");
    }

    const fg_frame *raw_;
};

// What process says about a frame; valid until it returns. A refused call throws fg::Refused.
class Result {
  public:
    Result(const fg_out *raw, const Frame &frame) : raw_(raw), width_(frame.width()), height_(frame.height()) {}
    Result(const Result &) = delete;
    Result &operator=(const Result &) = delete;

    // Adds something found, at most 256 a frame.
    void box(const std::string &label, double score, const Rect &at, const std::vector<Keypoint> &keypoints = {},
             std::uint64_t track = 0) {
        add(label, score, at, keypoints, track, 0);
    }
    void box(const std::string &label, double score, const PixelRect &at, const std::vector<Keypoint> &keypoints = {},
             std::uint64_t track = 0) {
        box(label, score, fractions(at), keypoints, track);
    }
    // The same for cv::Rect and cv::Rect2f, in pixels. Needs framegate/cv.hpp.
    template <typename T>
    void box(const std::string &label, double score, const cv::Rect_<T> &at,
             const std::vector<Keypoint> &keypoints = {}, std::uint64_t track = 0);

    // Adds something found by the corners of its outline, 3 to 64, made by keypoint(); its box is the smallest around
    // them.
    void outline(const std::string &label, double score, const std::vector<Keypoint> &corners,
                 std::uint64_t track = 0) {
        if (corners.size() < 3) throw Refused("outline `" + label + "`: it has fewer than 3 corners");
        float left = corners[0].x, top = corners[0].y, right = left, bottom = top;
        for (const Keypoint &corner : corners) {
            left = corner.x < left ? corner.x : left;
            top = corner.y < top ? corner.y : top;
            right = corner.x > right ? corner.x : right;
            bottom = corner.y > bottom ? corner.y : bottom;
        }
        add(label, score, {left, top, right - left, bottom - top}, corners, track, FG_DETECTION_OUTLINE);
    }
    // The same for cv::Point and cv::Point2f, in pixels. Needs framegate/cv.hpp.
    template <typename T>
    void outline(const std::string &label, double score, const std::vector<cv::Point_<T>> &corners,
                 std::uint64_t track = 0);

    // Pixels of the frame as fractions.
    Rect fractions(const PixelRect &at) const {
        return {static_cast<float>(at.x / width_), static_cast<float>(at.y / height_),
                static_cast<float>(at.w / width_), static_cast<float>(at.h / height_)};
    }
    // A point in pixels of the frame, for box.
    Keypoint keypoint(double x, double y, double score = 1) const {
        return {static_cast<float>(x / width_), static_cast<float>(y / height_), static_cast<float>(score)};
    }
    template <typename T> Keypoint keypoint(const cv::Point_<T> &at, double score = 1) const;

    // The result's data: any JSON of at most 48 KiB; the last call counts.
    void data(std::string_view json) { taken(raw_->data(raw_, json.data(), json.size()), "data"); }
    void data(const Json &json) { data(std::string_view(json.text())); }

    // Makes the result an error.
    void error(const std::string &text) { raw_->error(raw_, text.c_str()); }
    // There is nothing to say about this frame.
    void nothing() { status_ = FG_NO_RESULT; }

    // Whether somebody looks at this frame's picture.
    bool image_wanted() const {
        const fg_out_image *image = images();
        return image && image->is_wanted(raw_) > 0;
    }
    // The frame as process leaves it is what people see. For processors that draw into it.
    void image_frame() {
        if (const fg_out_image *image = images()) taken(image->submit_frame(raw_), "image");
    }
    // What people see instead of the frame; copied. Of packed formats and GRAY8.
    void image(Format format, std::uint32_t width, std::uint32_t height, const std::uint8_t *data,
               std::int64_t stride_bytes) {
        fg_picture picture{};
        picture.format = static_cast<std::uint32_t>(format);
        picture.width = width;
        picture.height = height;
        picture.plane_count = 1;
        // The interface has one struct for both; pictures are not written.
        picture.planes[0] = {const_cast<std::uint8_t *>(data), stride_bytes, width, height};
        image(picture);
    }
    void image(fg_picture picture) {
        picture.struct_size = sizeof picture;
        if (const fg_out_image *image = images()) taken(image->submit(raw_, &picture), "image");
    }
    // CV_8UC1, CV_8UC3 (BGR) or CV_8UC4 (BGRA). Needs framegate/cv.hpp.
    void image(const cv::Mat &picture);

    std::int32_t status() const { return status_; }
    const fg_out *raw() const { return raw_; }

  private:
    void add(const std::string &label, double score, const Rect &at, const std::vector<Keypoint> &keypoints,
             std::uint64_t track, std::uint32_t flags) {
        fg_detection found{};
        found.struct_size = sizeof found;
        found.score = static_cast<float>(score);
        found.label = label.empty() ? nullptr : label.c_str();
        found.x = at.x;
        found.y = at.y;
        found.w = at.w;
        found.h = at.h;
        found.track = track;
        found.keypoints = keypoints.empty() ? nullptr : keypoints.data();
        found.keypoint_count = static_cast<std::uint32_t>(keypoints.size());
        found.flags = flags;
        taken(raw_->detection(raw_, &found), "detection `" + label + "`");
    }
    const fg_out_image *images() const {
        return static_cast<const fg_out_image *>(raw_->get_extension(raw_, FG_EXT_IMAGE));
    }
    static void taken(std::int32_t code, const std::string &what) {
        if (code >= 0) return;
        const char *why = code == FG_ERROR_LIMIT        ? "too many or too large"
                          : code == FG_ERROR_NOT_FINITE ? "not a finite number"
                          : code == FG_ERROR_ARGUMENT   ? "not acceptable"
                                                        : "not taken";
        throw Refused(what + ": " + why);
    }

    const fg_out *raw_;
    double width_, height_;
    std::int32_t status_ = FG_OK;
};

using Bytes = std::vector<std::uint8_t>;

// Bytes of a plain struct, for save.
template <class T> Bytes pack(const T &value) {
    static_assert(std::is_trivially_copyable_v<T>, "fg::pack takes plain structs and numbers");
    Bytes bytes(sizeof value);
    std::memcpy(bytes.data(), &value, sizeof value);
    return bytes;
}

// The struct that pack made the bytes of, for load.
template <class T> T unpack(const Bytes &bytes) {
    static_assert(std::is_trivially_copyable_v<T>, "fg::unpack makes plain structs and numbers");
    T value;
    if (bytes.size() != sizeof value) throw std::invalid_argument("the saved state has another size");
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

namespace detail {
template <class T> struct Instance;
}

// What an author derives from.
class Processor {
  public:
    Processor() = default;
    Processor(const Processor &) = delete;
    Processor &operator=(const Processor &) = delete;
    virtual ~Processor() = default;

    // What frames it wants; asked once, after the constructor.
    virtual Want want() { return {}; }
    // Before the first frame and whenever size or format changes.
    virtual void configure(const Config &config) { static_cast<void>(config); }
    // One frame.
    virtual void process(Frame &frame, Result &result) = 0;
    // A parameter has a new value; what it throws refuses the value, and the one before stays.
    virtual void changed(const Setting &setting) { static_cast<void>(setting); }

    // Override both, in public, to let a new process go on where one that died stopped. save is called about once a second, for at
    // most 256 KiB; empty: nothing to keep. load gets what save of format `version` wrote; what it throws refuses it.
    virtual Bytes save() { return {}; }
    virtual void load(std::uint32_t version, const Bytes &bytes) {
        static_cast<void>(version);
        static_cast<void>(bytes);
    }
    // Of the format that save writes.
    virtual std::uint32_t state_version() const { return 1; }

    // Override, in public, to get messages of the page, JSON of at most 16 KiB; what it throws refuses the message.
    virtual void receive(std::string_view json) { static_cast<void>(json); }

    // framegate's side; not yet in the constructor, which may take it as its argument.
    const Host &host() const {
        if (!host_) throw std::logic_error("host() is not there yet: let the constructor take `const fg::Host &host`");
        return *host_;
    }

  private:
    template <class T> friend struct detail::Instance;
    friend class Setting;

    std::optional<Host> host_;
    std::vector<Setting *> settings_;
};

inline Setting::Setting(Processor &owner, std::string id, std::uint32_t kind, Value initial, Form form)
    : id_(std::move(id)), kind_(kind), default_(std::move(initial)), form_(std::move(form)) {
    owner.settings_.push_back(this);
}

namespace detail {

// Runs a call of framegate's; whatever it throws goes to `tell` as text and becomes FG_ERROR.
template <class Call, class Tell> std::int32_t guarded(Call &&call, Tell &&tell) noexcept {
    try {
        return call();
    } catch (const std::exception &error) {
        tell(error.what());
    } catch (...) {
        tell("an exception that is no std::exception");
    }
    return FG_ERROR;
}

// Whether a class, or one between it and Processor, overrides save and receive. A function that only has the name does
// not count.
template <class C> constexpr bool overrides(Bytes (C::*)()) { return !std::is_same_v<C, Processor>; }
template <class C> constexpr bool overrides(void (C::*)(std::string_view)) { return !std::is_same_v<C, Processor>; }
template <class T> constexpr auto saves(std::nullptr_t) -> decltype(overrides(&T::save)) { return overrides(&T::save); }
template <class T> constexpr bool saves(const void *) { return false; }
template <class T> constexpr auto receives(std::nullptr_t) -> decltype(overrides(&T::receive)) {
    return overrides(&T::receive);
}
template <class T> constexpr bool receives(const void *) { return false; }

// One object of the author's class behind the C interface.
template <class T> struct Instance {
    static_assert(std::is_base_of_v<Processor, T>, "FRAMEGATE_PROCESSOR takes a class derived from fg::Processor");
    static_assert(!std::is_abstract_v<T>,
                  "the processor is abstract: it needs `void process(fg::Frame &, fg::Result &) override`");

    static constexpr bool has_state = saves<T>(nullptr);
    static constexpr bool has_messages = receives<T>(nullptr);

    fg_processor table{};
    fg_params params{};
    fg_state state{};
    fg_message message{};
    std::vector<fg_param> described;
    // By its base: functions of the author's that only have the same names are not meant.
    std::unique_ptr<Processor> processor;
    Host host;
    Bytes saved;

    explicit Instance(const fg_host *raw) : processor(make(Host(raw))), host(raw) {
        processor->host_ = host;
        host.want(processor->want());
        for (const Setting *setting : processor->settings_) described.push_back(setting->described());
        table.struct_size = sizeof table;
        table.self = this;
        table.configure = configure;
        table.process = process;
        table.destroy = destroy;
        table.get_extension = get_extension;
        params.struct_size = sizeof params;
        params.count = static_cast<std::uint32_t>(described.size());
        params.params = described.data();
        params.set = set;
        state.struct_size = sizeof state;
        state.version = processor->state_version();
        state.save = save;
        state.load = load;
        message.struct_size = sizeof message;
        message.receive = receive;
    }

    static std::unique_ptr<Processor> make(const Host &host) {
        if constexpr (std::is_constructible_v<T, const Host &>) return std::make_unique<T>(host);
        else return std::make_unique<T>();
    }

    static std::int32_t create(const fg_host *host, fg_processor **made) noexcept {
        return guarded(
            [&] {
                auto instance = std::make_unique<Instance>(host);
                *made = &instance->table;
                static_cast<void>(instance.release());
                return FG_OK;
            },
            [&](const char *text) { host->log(host, FG_LOG_ERROR, text); });
    }

  private:
    static Instance &of(fg_processor *table) { return *static_cast<Instance *>(table->self); }

    void tell(std::int32_t level, const char *text) const { host.raw()->log(host.raw(), level, text); }

    static std::int32_t configure(fg_processor *table, const fg_config *config) noexcept {
        Instance &self = of(table);
        return guarded(
            [&] {
                self.processor->configure({static_cast<Format>(config->format), config->width, config->height,
                                           config->source_width, config->source_height});
                return FG_OK;
            },
            [&](const char *text) { self.tell(FG_LOG_ERROR, text); });
    }

    static std::int32_t process(fg_processor *table, const fg_frame *raw, const fg_out *out) noexcept {
        return guarded(
            [&] {
                Frame frame(raw);
                Result result(out, frame);
                of(table).processor->process(frame, result);
                return result.status();
            },
            [&](const char *text) { out->error(out, text); });
    }

    static void destroy(fg_processor *table) noexcept { delete &of(table); }

    static const void *get_extension(fg_processor *table, const char *id) noexcept {
        Instance &self = of(table);
        if (std::strcmp(id, FG_EXT_PARAMS) == 0 && !self.described.empty()) return &self.params;
        if (std::strcmp(id, FG_EXT_STATE) == 0 && has_state) return &self.state;
        if (std::strcmp(id, FG_EXT_MESSAGE) == 0 && has_messages) return &self.message;
        return nullptr;
    }

    static std::int32_t set(fg_processor *table, std::uint32_t index, const fg_param_value *value) noexcept {
        Instance &self = of(table);
        return guarded(
            [&] {
                Setting &setting = *self.processor->settings_.at(index);
                const Setting::Value before = setting.value();
                setting.assign({value->number, value->text ? value->text : ""});
                try {
                    self.processor->changed(setting);
                } catch (...) {
                    setting.assign(before);
                    throw;
                }
                return FG_OK;
            },
            [&](const char *text) { self.tell(FG_LOG_WARN, text); });
    }

    static std::int64_t save(fg_processor *table, void *bytes, std::uint64_t capacity) noexcept {
        Instance &self = of(table);
        const std::int32_t done = guarded([&] { return self.saved = self.processor->save(), FG_OK; },
                                          [&](const char *text) { self.tell(FG_LOG_WARN, text); });
        if (done < 0) return done;
        if (!self.saved.empty() && self.saved.size() <= capacity)
            std::memcpy(bytes, self.saved.data(), self.saved.size());
        return static_cast<std::int64_t>(self.saved.size());
    }

    static std::int32_t load(fg_processor *table, std::uint32_t version, const void *bytes,
                             std::uint64_t length) noexcept {
        Instance &self = of(table);
        return guarded(
            [&] {
                const auto *first = static_cast<const std::uint8_t *>(bytes);
                self.processor->load(version, length ? Bytes(first, first + length) : Bytes());
                return FG_OK;
            },
            [&](const char *text) { self.tell(FG_LOG_WARN, text); });
    }

    static std::int32_t receive(fg_processor *table, const char *json, std::uint64_t length) noexcept {
        Instance &self = of(table);
        return guarded([&] { return self.processor->receive(std::string_view(json, length)), FG_OK; },
                       [&](const char *text) { self.tell(FG_LOG_WARN, text); });
    }
};

} // namespace detail
} // namespace fg

// Exports a class as the processor. Use once, at file scope, without a semicolon.
#define FRAMEGATE_PROCESSOR(TYPE, NAME, VERSION, DESCRIPTION) \
    FG_ENTRY(NAME, VERSION, DESCRIPTION, fg::detail::Instance<TYPE>::create)

#endif // FRAMEGATE_HPP
