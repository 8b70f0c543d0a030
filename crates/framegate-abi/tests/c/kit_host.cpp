// Plays a host to kit.cpp, which is compiled into the same program, and checks everything that comes back.
#include <framegate/json.hpp>

#include <framegate.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

extern "C" const fg_entry fg_entry_1;

namespace {

#define CHECK(CONDITION)                                                       \
    do {                                                                       \
        if (!(CONDITION)) {                                                    \
            std::fprintf(stderr, "line %d: %s\n", __LINE__, #CONDITION);       \
            std::fprintf(stderr, "log: %s\ndata: %s\nerror: %s\n", log_text.c_str(), data.c_str(), error.c_str()); \
            std::exit(1);                                                      \
        }                                                                      \
    } while (false)

std::string log_text, data, error, sent;
int log_level, images, frame_images;
std::vector<std::string> labels;
fg_detection boxed, last;
fg_keypoint last_keypoint;
fg_want wanted;

std::int32_t set_want(const fg_host *, const fg_want *want) { return wanted = *want, FG_OK; }
std::int64_t now(const fg_host *) { return 1234; }
std::int32_t fill(const fg_host *, void *bytes, std::uint64_t length) {
    return std::memset(bytes, 1, static_cast<std::size_t>(length)), FG_OK;
}
std::int32_t send(const fg_host *, const char *json, std::uint64_t length) {
    return sent.assign(json, static_cast<std::size_t>(length)), FG_OK;
}

const void *host_extension(const fg_host *, const char *id) {
    static const fg_host_want want = {sizeof want, 0, set_want};
    static const fg_host_clock clock = {sizeof clock, 0, now};
    static const fg_host_random random = {sizeof random, 0, fill};
    static const fg_host_message message = {sizeof message, 0, send};
    if (std::strcmp(id, FG_EXT_WANT) == 0) return &want;
    if (std::strcmp(id, FG_EXT_CLOCK) == 0) return &clock;
    if (std::strcmp(id, FG_EXT_RANDOM) == 0) return &random;
    return std::strcmp(id, FG_EXT_MESSAGE) == 0 ? &message : nullptr;
}

void say(const fg_host *, std::int32_t level, const char *text) { log_level = level, log_text = text; }

std::int32_t add(const fg_out *, const fg_detection *found) {
    if (!(found->score == found->score)) return FG_ERROR_NOT_FINITE;
    boxed = last;
    last = *found;
    if (found->keypoint_count > 0) last_keypoint = found->keypoints[0];
    return labels.emplace_back(found->label), FG_OK;
}
std::int32_t set_data(const fg_out *, const char *json, std::uint64_t length) {
    return data.assign(json, static_cast<std::size_t>(length)), FG_OK;
}
std::int32_t set_error(const fg_out *, const char *text) { return error = text, FG_OK; }

std::int32_t is_wanted(const fg_out *) { return 1; }
std::int32_t submit(const fg_out *, const fg_picture *picture) {
    return images += picture->struct_size == sizeof(fg_picture) && picture->plane_count == 1, FG_OK;
}
std::int32_t submit_frame(const fg_out *) { return frame_images++, FG_OK; }
const void *out_extension(const fg_out *, const char *id) {
    static const fg_out_image image = {sizeof image, 0, is_wanted, submit, submit_frame};
    return std::strcmp(id, FG_EXT_IMAGE) == 0 ? &image : nullptr;
}

fg_host host_of(const char *stream) {
    return {sizeof(fg_host), FG_ABI_VERSION, nullptr, host_extension, say, "/models", stream};
}

std::int32_t play(fg_processor *kit, std::uint64_t seq, bool writable) {
    static const fg_out out = {sizeof out, 0, nullptr, add, set_data, out_extension, set_error};
    alignas(64) static std::uint8_t pixels[6 * 64];
    fg_frame frame{};
    frame.struct_size = sizeof frame;
    frame.flags = writable ? FG_FRAME_WRITABLE : 0;
    frame.seq = seq;
    frame.capture_us = FG_CAPTURE_UNKNOWN;
    frame.format = FG_BGR24;
    frame.width = 8;
    frame.height = 6;
    frame.plane_count = 1;
    frame.planes[0] = {pixels, 64, 8, 6};
    data.clear(), error.clear(), labels.clear();
    return kit->process(kit, &frame, &out);
}

void json_is_valid() {
    CHECK(fg::Json().text() == "{}");
    CHECK(fg::Json().set("a", 1).set("b", 2.5).set("a", true).text() == "{\"a\":true,\"b\":2.5}");
    CHECK(fg::Json::array().add(0.1).add(0.1f).add(-3).add(nullptr).text() == "[0.1,0.1,-3,null]");
    CHECK(fg::Json::array().add(1e300).add(0.1 + 0.2).text() == "[1e+300,0.30000000000000004]");
    CHECK(fg::Json().set("l", std::vector<bool>{true, false}).text() == "{\"l\":[true,false]}");
    CHECK(fg::Json::value(std::vector<std::vector<int>>{{1}, {}}).text() == "[[1],[]]");
    CHECK(fg::Json::quoted("a\"\\\n\x7f\xc3\xa9") == "\"a\\\"\\\\\\u000a\x7f\xc3\xa9\"");
    for (const char *bad : {"\x80", "\xc0\xaf", "\xed\xa0\x80", "\xf5", "\xe2\x82", "\xf4\x90\x80\x80"})
        CHECK(fg::Json::quoted(bad).compare(0, 7, "\"\\ufffd") == 0);
    CHECK(fg::Json::quoted("\xf0\x9f\x98\x80") == "\"\xf0\x9f\x98\x80\"");
    bool refused = false;
    try {
        fg::Json().set("mean", std::numeric_limits<float>::infinity());
    } catch (const std::invalid_argument &caught) {
        refused = std::strcmp(caught.what(), "`mean`: an infinity is no JSON") == 0;
    }
    CHECK(refused);
}

void params_are_set(fg_processor *kit) {
    const auto *params = static_cast<const fg_params *>(kit->get_extension(kit, FG_EXT_PARAMS));
    CHECK(params && params->count == 6);
    const fg_param *all = params->params;
    CHECK(all[0].kind == FG_PARAM_BOOL && all[0].number == 1 && all[0].label == nullptr);
    CHECK(all[1].kind == FG_PARAM_INT && all[1].max == 10 && std::strcmp(all[1].unit, "px") == 0);
    CHECK(all[2].kind == FG_PARAM_FLOAT && all[2].step == 0.01 && std::strcmp(all[2].id, "threshold") == 0);
    CHECK(all[3].kind == FG_PARAM_ENUM && all[3].choice_count == 2 && all[3].number == 1);
    CHECK(std::strcmp(all[3].choices[0], "fast") == 0);
    CHECK(all[4].kind == FG_PARAM_TEXT && std::strcmp(all[4].text, "hello") == 0 && all[4].max == 16);
    CHECK(all[5].kind == FG_PARAM_COLOR && all[5].number == 0x102030);
    const auto set = [&](std::uint32_t index, double number, const char *text) {
        const fg_param_value value = {sizeof(fg_param_value), all[index].kind, number, text};
        return params->set(kit, index, &value);
    };
    CHECK(set(0, 0, nullptr) == FG_OK && set(1, 4, nullptr) == FG_OK && set(2, 0.25, nullptr) == FG_OK);
    CHECK(set(3, 0, nullptr) == FG_OK && set(4, 0, "bye") == FG_OK && set(5, 0xa0b0c0, nullptr) == FG_OK);
    CHECK(set(1, 7, nullptr) == FG_ERROR && log_text == "not 7" && log_level == FG_LOG_WARN);
    CHECK(set(1, 3e9, nullptr) == FG_ERROR && set(3, 2, nullptr) == FG_ERROR);
    CHECK(play(kit, 1, true) == FG_OK);
    CHECK(data == "{\"mirror\":false,\"count\":4,\"threshold\":0.25,\"mode\":\"fast\",\"word\":\"bye\",\"ink\":176,"
                  "\"known\":false,\"exact\":false,\"frames\":1}");
    CHECK(labels.size() == 3 && boxed.track == 7 && boxed.x == 0.25f && boxed.w == 0.5f && boxed.flags == 0);
    CHECK(last.flags == FG_DETECTION_OUTLINE && last.keypoint_count == 3 && last_keypoint.x == 0.5f);
    CHECK(last.x == 0.25f && last.y == 0 && last.w == 0.5f && last.h == 0.5f);
}

void exceptions_become_errors(fg_processor *kit) {
    CHECK(play(kit, 2, true) == FG_ERROR && error == "no face");
    CHECK(play(kit, 3, true) == FG_ERROR && error == "an exception that is no std::exception");
    CHECK(play(kit, 4, true) == FG_ERROR && error == "detection `bad`: not a finite number");
    CHECK(play(kit, 5, true) == FG_NO_RESULT && error.empty());
    CHECK(play(kit, 6, true) == FG_ERROR && error == "`mean`: NaN is no JSON");
    CHECK(play(kit, 7, true) == FG_OK && play(kit, 7, false) == FG_ERROR);
    CHECK(error.find("writable()") != std::string::npos);
    CHECK(play(kit, 8, true) == FG_OK && error.empty() && images >= 1 && frame_images == 1);
    CHECK(play(kit, 9, true) == FG_OK && error == "tired");
    CHECK(play(kit, 10, true) == FG_ERROR && error == "the frame has no such row");
    const fg_config small = {sizeof small, FG_BGR24, 1, 1, 1, 1};
    CHECK(kit->configure(kit, &small) == FG_ERROR && log_text == "too small" && log_level == FG_LOG_ERROR);
}

void state_and_messages_work(fg_processor *kit) {
    const auto *state = static_cast<const fg_state *>(kit->get_extension(kit, FG_EXT_STATE));
    CHECK(state && state->version == 4);
    int frames = 0;
    CHECK(state->save(kit, &frames, 2) == 4 && frames == 0);
    CHECK(state->save(kit, &frames, sizeof frames) == 4 && frames == 11);
    CHECK(state->load(kit, 3, &frames, sizeof frames) == FG_ERROR && log_text == "another version");
    CHECK(state->load(kit, 4, &frames, 3) == FG_ERROR && state->load(kit, 4, &frames, 4) == FG_OK);
    const auto *message = static_cast<const fg_message *>(kit->get_extension(kit, FG_EXT_MESSAGE));
    CHECK(message && message->receive(kit, "[1]", 3) == FG_OK);
    CHECK(sent == "{\"echo\":\"[1]\",\"now\":1234,\"random\":72340172838076673}");
    CHECK(message->receive(kit, "null", 4) == FG_ERROR && log_text == "nothing");
    CHECK(kit->get_extension(kit, "none/1") == nullptr);
}

} // namespace

int main() {
    json_is_valid();
    fg_processor *kit = nullptr;
    const fg_host refusing = host_of("refused"), odd = host_of("odd"), host = host_of("front");
    CHECK(fg_entry_1.create(&refusing, &kit) == FG_ERROR && log_level == FG_LOG_ERROR);
    CHECK(log_text == "/models/model.onnx is missing or not readable; put it there");
    CHECK(fg_entry_1.create(&odd, &kit) == FG_ERROR && log_text == "an exception that is no std::exception");
    CHECK(fg_entry_1.create(&host, &kit) == FG_OK && log_text == "made");
    CHECK(wanted.width == 8 && wanted.rate_millihertz == 2500 && wanted.flags == FG_WANT_WRITABLE);
    params_are_set(kit);
    exceptions_become_errors(kit);
    state_and_messages_work(kit);
    kit->destroy(kit);
    return 0;
}
