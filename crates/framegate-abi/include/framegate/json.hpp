// framegate/json.hpp: writes JSON that is always valid. Part of framegate.hpp.
//
//     fg::Json data;
//     data.set("count", 3).set("mean", 1.5).set("words", std::vector<std::string>{"a", "b"});
//     data.set("at", fg::Json::array().add(10).add(20));
//
// A number that is not finite is refused by std::invalid_argument, which names its key. Bytes that are no UTF-8 become
// U+FFFD. A key that is set again keeps its place and gets the new value.
#ifndef FRAMEGATE_JSON_HPP
#define FRAMEGATE_JSON_HPP

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace fg {

class Json {
  public:
    // An object without members.
    Json() = default;

    static Json object() { return Json(); }

    static Json array() {
        Json made;
        made.kind_ = Kind::array;
        return made;
    }

    // Any value: bool, a number, text, a std::vector of such, Json, or nullptr for null.
    template <class T> static Json value(const T &value) {
        Json made;
        made.kind_ = Kind::scalar;
        made.scalar_ = written(value);
        return made;
    }

    // Sets a member of an object.
    template <class T> Json &set(std::string_view key, const T &value) {
        if (kind_ != Kind::object) throw std::logic_error("fg::Json: set belongs to objects, add to arrays");
        std::string text;
        try {
            text = written(value);
        } catch (const std::invalid_argument &error) {
            throw std::invalid_argument("`" + std::string(key) + "`: " + error.what());
        }
        for (auto &member : members_)
            if (member.first == key) {
                member.second = std::move(text);
                return *this;
            }
        members_.emplace_back(std::string(key), std::move(text));
        return *this;
    }

    // Adds an element to an array.
    template <class T> Json &add(const T &value) {
        if (kind_ != Kind::array) throw std::logic_error("fg::Json: add belongs to arrays, set to objects");
        members_.emplace_back(std::string(), written(value));
        return *this;
    }

    // The text.
    std::string text() const {
        if (kind_ == Kind::scalar) return scalar_;
        std::string made(1, kind_ == Kind::object ? '{' : '[');
        for (const auto &member : members_) {
            if (made.size() > 1) made += ',';
            if (kind_ == Kind::object) made += quoted(member.first) + ':';
            made += member.second;
        }
        return made + (kind_ == Kind::object ? '}' : ']');
    }

    // A text as JSON writes it, with its quotes.
    static std::string quoted(std::string_view text) {
        std::string made = "\"";
        for (std::size_t at = 0; at < text.size();) {
            const std::size_t length = character(text.substr(at));
            const auto byte = static_cast<unsigned char>(text[at]);
            if (length == 0) {
                made += "\\ufffd";
            } else if (byte == '"' || byte == '\\') {
                made += '\\';
                made += text[at];
            } else if (byte < 0x20) {
                char escape[8];
                std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(byte));
                made += escape;
            } else {
                made.append(text.substr(at, length));
            }
            at += length == 0 ? 1 : length;
        }
        return made + '"';
    }

  private:
    enum class Kind { object, array, scalar };

    template <class T> struct is_list : std::false_type {};
    template <class T, class A> struct is_list<std::vector<T, A>> : std::true_type {};

    template <class T> static std::string written(const T &value) {
        if constexpr (std::is_same_v<T, Json>) {
            return value.text();
        } else if constexpr (std::is_same_v<T, bool>) {
            return value ? "true" : "false";
        } else if constexpr (std::is_same_v<T, std::nullptr_t>) {
            return "null";
        } else if constexpr (std::is_floating_point_v<T>) {
            return number(value);
        } else if constexpr (std::is_integral_v<T>) {
            return std::to_string(value);
        } else if constexpr (is_list<T>::value) {
            std::string made = "[";
            for (const auto &element : value) {
                if (made.size() > 1) made += ',';
                made += written<typename T::value_type>(element);
            }
            return made + ']';
        } else {
            static_assert(std::is_convertible_v<const T &, std::string_view>,
                          "fg::Json takes bool, numbers, text, std::vector of these, fg::Json and nullptr");
            return quoted(std::string_view(value));
        }
    }

    // The shortest of a few forms that reads back as the same number. By snprintf: std::to_chars of floating point is
    // missing in compilers that are otherwise good for C++17.
    template <class T> static std::string number(T value) {
        if (!std::isfinite(value))
            throw std::invalid_argument(std::isnan(value) ? "NaN is no JSON" : "an infinity is no JSON");
        char text[64];
        const int first = std::is_same_v<T, float> ? 6 : 15, last = std::is_same_v<T, float> ? 9 : 17;
        for (int digits = first; digits <= last; digits++) {
            std::snprintf(text, sizeof text, "%.*g", digits, static_cast<double>(value));
            if (static_cast<T>(std::strtod(text, nullptr)) == value) break;
        }
        for (char &byte : text) {
            if (byte == '\0') break;
            // A decimal comma of setlocale.
            if (byte == ',') byte = '.';
        }
        return text;
    }

    // Bytes of the well-formed UTF-8 character at the beginning; 0 if there is none.
    static std::size_t character(std::string_view text) {
        const auto byte = [&](std::size_t at) {
            return at < text.size() ? static_cast<unsigned>(static_cast<unsigned char>(text[at])) : 0u;
        };
        const auto follows = [&](std::size_t at) { return (byte(at) & 0xc0u) == 0x80u; };
        const unsigned lead = byte(0);
        if (lead < 0x80) return 1;
        if (lead >= 0xc2 && lead < 0xe0) return follows(1) ? 2 : 0;
        if (lead >= 0xe0 && lead < 0xf0) {
            const bool overlong = lead == 0xe0 && byte(1) < 0xa0, surrogate = lead == 0xed && byte(1) >= 0xa0;
            return follows(1) && follows(2) && !overlong && !surrogate ? 3 : 0;
        }
        if (lead >= 0xf0 && lead < 0xf5) {
            const bool overlong = lead == 0xf0 && byte(1) < 0x90, beyond = lead == 0xf4 && byte(1) >= 0x90;
            return follows(1) && follows(2) && follows(3) && !overlong && !beyond ? 4 : 0;
        }
        return 0;
    }

    Kind kind_ = Kind::object;
    std::string scalar_;
    std::vector<std::pair<std::string, std::string>> members_;
};

} // namespace fg

#endif // FRAMEGATE_JSON_HPP
