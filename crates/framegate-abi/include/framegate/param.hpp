// framegate/param.hpp: parameters, values that people change while a processor runs. Part of framegate.hpp.
#ifndef FRAMEGATE_PARAM_HPP
#define FRAMEGATE_PARAM_HPP

#include <framegate.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fg {

struct Color {
    std::uint32_t rgb; // 0xRRGGBB

    constexpr std::uint8_t red() const { return static_cast<std::uint8_t>(rgb >> 16 & 0xff); }
    constexpr std::uint8_t green() const { return static_cast<std::uint8_t>(rgb >> 8 & 0xff); }
    constexpr std::uint8_t blue() const { return static_cast<std::uint8_t>(rgb & 0xff); }
};

class Processor;

// How a parameter appears on the page, and what it takes. Made by range() or label(), then chained.
struct Form {
    double min = 0, max = 0, step = 0;
    std::string label_text, group_text, description_text, unit_text;

    Form &range(double least, double most, double distance = 0) {
        return min = least, max = most, step = distance, *this;
    }
    Form &label(std::string text) { return label_text = std::move(text), *this; }
    Form &group(std::string text) { return group_text = std::move(text), *this; }
    Form &description(std::string text) { return description_text = std::move(text), *this; }
    Form &unit(std::string text) { return unit_text = std::move(text), *this; }
    // Most bytes of a text.
    Form &longest(std::uint32_t bytes) { return max = bytes, *this; }
};

inline Form range(double min, double max, double step = 0) { return Form().range(min, max, step); }
inline Form label(std::string text) { return Form().label(std::move(text)); }

// A parameter of any kind.
class Setting {
  public:
    struct Value {
        double number = 0;
        std::string text;
    };

    Setting(const Setting &) = delete;
    Setting &operator=(const Setting &) = delete;
    virtual ~Setting() = default;

    const std::string &id() const { return id_; }
    virtual Value value() const = 0;
    virtual void assign(const Value &value) = 0;
    // As framegate reads it; points into this object.
    fg_param described() const {
        fg_param made{};
        made.id = id_.c_str();
        made.label = text(form_.label_text);
        made.group = text(form_.group_text);
        made.description = text(form_.description_text);
        made.unit = text(form_.unit_text);
        made.kind = kind_;
        made.min = form_.min;
        made.max = form_.max;
        made.step = form_.step;
        made.number = default_.number;
        made.text = text(default_.text);
        made.choices = choices_.empty() ? nullptr : choices_.data();
        made.choice_count = static_cast<std::uint32_t>(choices_.size());
        return made;
    }

  protected:
    Setting(Processor &owner, std::string id, std::uint32_t kind, Value initial, Form form);

    // Texts of a choice; they must live as long as this object.
    std::vector<const char *> choices_;

  private:
    static const char *text(const std::string &text) { return text.empty() ? nullptr : text.c_str(); }

    std::string id_;
    std::uint32_t kind_;
    Value default_;
    Form form_;
};

struct Choice {
    std::size_t index;
    std::string text;
};

// A value that people change while the processor runs. Read it like a T, from any thread. A member of the processor:
//
//     fg::Param<double> threshold{*this, "threshold", 0.5, fg::range(0, 1, 0.01).label("Threshold")};
//     fg::Param<fg::Choice> mode{*this, "mode", {"fast", "exact"}, "fast"};
//
// T is bool, int, std::int64_t, float, double, fg::Color, fg::Choice or std::string.
template <class T> class Param : public Setting {
    static constexpr bool is_color = std::is_same_v<T, Color>;
    static_assert(is_color || std::is_same_v<T, bool> || std::is_same_v<T, int> || std::is_same_v<T, std::int64_t> ||
                      std::is_floating_point_v<T>,
                  "fg::Param takes bool, int, std::int64_t, float, double, fg::Color, fg::Choice or std::string");

  public:
    Param(Processor &owner, std::string id, T initial, Form form = {})
        : Setting(owner, std::move(id), kind(), {number(initial), {}}, std::move(form)), value_(initial) {}

    T get() const { return value_.load(std::memory_order_relaxed); }
    operator T() const { return get(); }

    Value value() const override { return {number(get()), {}}; }
    void assign(const Value &value) override { value_.store(parsed(value.number), std::memory_order_relaxed); }

  private:
    static constexpr std::uint32_t kind() {
        if constexpr (is_color) return FG_PARAM_COLOR;
        else if constexpr (std::is_same_v<T, bool>) return FG_PARAM_BOOL;
        else if constexpr (std::is_floating_point_v<T>) return FG_PARAM_FLOAT;
        else return FG_PARAM_INT;
    }
    static double number(T value) {
        if constexpr (is_color) return value.rgb;
        else return static_cast<double>(value);
    }
    static T parsed(double number) {
        if constexpr (is_color) {
            return Color{static_cast<std::uint32_t>(number)};
        } else if constexpr (std::is_same_v<T, bool>) {
            return number != 0;
        } else if constexpr (std::is_floating_point_v<T>) {
            return static_cast<T>(number);
        } else {
            // 2^31 and 2^63 exactly, which a double can hold and T cannot.
            const double end = -static_cast<double>(std::numeric_limits<T>::min());
            if (!(number >= -end && number < end)) throw std::out_of_range("the number is too large");
            return static_cast<T>(number);
        }
    }

    std::atomic<T> value_;
};

template <> class Param<Choice> : public Setting {
  public:
    Param(Processor &owner, std::string id, std::vector<std::string> texts, std::string_view initial, Form form = {})
        : Setting(owner, std::move(id), FG_PARAM_ENUM, {static_cast<double>(place(texts, initial)), {}},
                  std::move(form)),
          texts_(std::move(texts)), value_(place(texts_, initial)) {
        for (const std::string &choice : texts_) choices_.push_back(choice.c_str());
    }

    std::size_t index() const { return value_.load(std::memory_order_relaxed); }
    const std::string &text() const { return texts_[index()]; }
    Choice get() const { return {index(), text()}; }
    operator Choice() const { return get(); }
    friend bool operator==(const Param &param, std::string_view text) { return param.text() == text; }
    friend bool operator!=(const Param &param, std::string_view text) { return param.text() != text; }

    Value value() const override { return {static_cast<double>(index()), {}}; }
    void assign(const Value &value) override {
        if (!(value.number >= 0 && value.number < static_cast<double>(texts_.size())))
            throw std::out_of_range("there is no such choice");
        value_.store(static_cast<std::size_t>(value.number), std::memory_order_relaxed);
    }

  private:
    static std::size_t place(const std::vector<std::string> &texts, std::string_view wanted) {
        for (std::size_t index = 0; index < texts.size(); index++)
            if (texts[index] == wanted) return index;
        throw std::invalid_argument("the default `" + std::string(wanted) + "` is none of the choices");
    }

    std::vector<std::string> texts_;
    std::atomic<std::size_t> value_;
};

template <> class Param<std::string> : public Setting {
  public:
    Param(Processor &owner, std::string id, std::string initial, Form form = {})
        : Setting(owner, std::move(id), FG_PARAM_TEXT, {0, initial}, std::move(form)), value_(std::move(initial)) {}

    std::string get() const {
        const std::lock_guard<std::mutex> held(lock_);
        return value_;
    }
    operator std::string() const { return get(); }

    Value value() const override { return {0, get()}; }
    void assign(const Value &value) override {
        const std::lock_guard<std::mutex> held(lock_);
        value_ = value.text;
    }

  private:
    mutable std::mutex lock_;
    std::string value_;
};

} // namespace fg

#endif // FRAMEGATE_PARAM_HPP
