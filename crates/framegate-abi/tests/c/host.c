/* Plays synthetic frames to the processor it is linked with, and prints what comes back: one line per frame,
 * `seq status data detections`, then `boxes x y w h` for each detection, and at the end the time per frame.
 *
 *     host SCENE FRAMES [WIDTH HEIGHT]
 *
 * Scenes: `still` (noise only), `dim` (exposure falls by a third and comes back), `ball` (a disc crosses the picture),
 * `stop` (the disc crosses, then rests), `roll` (a disc to and fro), `drift` (a textured ellipse to and fro), `cut` (another scene from the middle on), `number` (the bar, frame i shows
 * i * 97), `torn` (the bar with one wrong bit), `dark` (all black). */
#define _GNU_SOURCE
#include <framegate.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern const fg_entry fg_entry_1;

static fg_want wanted;
static fg_detection found[256];
static uint32_t found_count;
static char data[49153];
static uint32_t noise_state = 1;

static int32_t want(const fg_host *host, const fg_want *asked) {
    (void)host;
    wanted = *asked;
    return FG_OK;
}

static const void *host_extension(const fg_host *host, const char *id) {
    static const fg_host_want wanting = {sizeof(fg_host_want), 0, want};
    (void)host;
    return strcmp(id, FG_EXT_WANT) == 0 ? &wanting : NULL;
}

static void say(const fg_host *host, int32_t level, const char *text) {
    (void)host;
    fprintf(stderr, "log %d %s\n", (int)level, text);
}

static int32_t add(const fg_out *out, const fg_detection *detection) {
    (void)out;
    if (found_count == 256) return FG_ERROR_LIMIT;
    found[found_count++] = *detection;
    return FG_OK;
}

static int32_t set_data(const fg_out *out, const char *json, uint64_t length) {
    (void)out;
    if (length >= sizeof data) return FG_ERROR_LIMIT;
    memcpy(data, json, length);
    data[length] = 0;
    return FG_OK;
}

static const void *no_extension(const fg_out *out, const char *id) {
    (void)out;
    (void)id;
    return NULL;
}

/* Roughly normal noise of about 3 grey levels, as a webcam has in a lit room. */
static int noise(void) {
    int sum = 0;
    for (int i = 0; i < 3; i++) {
        noise_state = noise_state * 1664525u + 1013904223u;
        sum += (int)(noise_state >> 24) % 7 - 3;
    }
    return sum;
}

static double lattice(int x, int y) {
    uint32_t bits = (uint32_t)x * 374761393u + (uint32_t)y * 668265263u;
    bits = (bits ^ bits >> 13) * 1274126177u;
    return (double)((bits ^ bits >> 16) & 0xffff) / 65535;
}

/* Smooth random levels, 0 to 1, that change over `wave`. */
static double texture(double x, double y, double wave) {
    const int left = (int)(x / wave), top = (int)(y / wave);
    const double right = x / wave - left, down = y / wave - top;
    return (lattice(left, top) * (1 - right) + lattice(left + 1, top) * right) * (1 - down) +
           (lattice(left, top + 1) * (1 - right) + lattice(left + 1, top + 1) * right) * down;
}

static int background(const char *scene, uint32_t x, uint32_t y, uint32_t index, uint32_t frames) {
    int value = 60 + (int)(x * 100 + y * 60) % 97 + ((x / 13 + y / 11) % 2 ? 35 : 0);
    if (strcmp(scene, "drift") == 0) value = 70 + (int)(70 * texture(x, y, 40) + 40 * texture(x, y, 12));
    if (strcmp(scene, "cut") == 0 && index >= frames / 2) value = 255 - value;
    if (strcmp(scene, "dim") == 0 && index > frames / 3 && index < 2 * frames / 3) value = value * 2 / 3;
    if (strcmp(scene, "dark") == 0) value = 0;
    return value;
}

/* Of the scenes whose thing goes to and fro, in a picture of 640 x 480: its level there, or -1. The disc has a diameter
 * of 80 and moves by 6, the ellipse is 120 x 90 and moves by 4, from 100 to 540. */
static int to_and_fro(const char *scene, const fg_frame *frame, uint32_t column, uint32_t row, uint32_t index) {
    const int roll = strcmp(scene, "roll") == 0;
    if (!roll && strcmp(scene, "drift") != 0) return -1;
    const uint32_t way = index * (roll ? 6 : 4) % 880;
    const double at = 100 + (way > 440 ? 880 - way : way), x = (column + 0.5) * 640 / frame->width;
    const double y = (row + 0.5) * 480 / frame->height, across = (x - at) / (roll ? 40 : 60);
    const double down = (y - 240) / (roll ? 40 : 45);
    if (across * across + down * down >= 1) return -1;
    return roll ? 220 : (int)(50 + 110 * texture(x - at + 640, y, 32) + 70 * texture(x - at + 640, y, 8));
}

static int in_disc(const char *scene, const fg_frame *frame, uint32_t x, uint32_t y, uint32_t index) {
    double at = -1;
    if (strcmp(scene, "ball") == 0) at = (double)(index % 90) / 90;
    if (strcmp(scene, "stop") == 0) at = index < 60 ? (double)index / 90 : 60.0 / 90;
    const double dx = (double)x - at * frame->width, dy = (double)y - 0.5 * frame->height, r = 0.1 * frame->height;
    return at >= 0 && dx * dx + dy * dy < r * r;
}

static int bar(const char *scene, const fg_frame *frame, uint32_t x, uint32_t y, uint32_t index) {
    uint32_t height = (frame->height + 7) / 15;
    const uint32_t cell = x * 36 / frame->width, number = (index * 97) & 0xffff;
    if (height < 8) height = 8;
    if (y >= height || (strcmp(scene, "number") != 0 && strcmp(scene, "torn") != 0)) return -1;
    if (cell < 2) return cell == 0 ? 235 : 16;
    if (cell >= 34) return cell == 35 ? 235 : 16;
    uint32_t bit = cell < 18 ? number >> (17 - cell) & 1 : !(number >> (33 - cell) & 1);
    if (strcmp(scene, "torn") == 0 && cell == 9) bit = !bit;
    return bit ? 235 : 16;
}

static void draw(const char *scene, fg_frame *frame, uint32_t bytes, uint32_t index, uint32_t frames) {
    for (uint32_t y = 0; y < frame->height; y++)
        for (uint32_t x = 0; x < frame->width; x++) {
            int value = in_disc(scene, frame, x, y, index) ? 220 : background(scene, x, y, index, frames);
            const int thing = to_and_fro(scene, frame, x, y, index);
            if (thing >= 0) value = thing;
            const int cell = bar(scene, frame, x, y, index);
            if (cell >= 0) value = cell;
            value += noise();
            value = value < 0 ? 0 : value > 255 ? 255 : value;
            memset(frame->planes[0].data + y * frame->planes[0].stride_bytes + (size_t)x * bytes, value, bytes);
        }
}

static int32_t fail(const fg_out *out, const char *text) {
    (void)out;
    fprintf(stderr, "%s\n", text);
    return FG_OK;
}

static int64_t now_ns(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

int main(int argc, char **argv) {
    if (argc != 3 && argc != 5) return 2;
    const char *scene = argv[1];
    const uint32_t frames = (uint32_t)atoi(argv[2]);
    const fg_host host = {sizeof host, FG_ABI_VERSION, NULL, host_extension, say, "/", "test"};
    const fg_out out = {sizeof out, 0, NULL, add, set_data, no_extension, fail};
    fg_processor *processor = NULL;
    if (fg_entry_1.create(&host, &processor) != FG_OK) return 3;

    const uint32_t bytes = wanted.format == FG_GRAY8 ? 1 : 3;
    fg_frame frame;
    memset(&frame, 0, sizeof frame);
    frame.struct_size = sizeof frame;
    frame.capture_us = FG_CAPTURE_UNKNOWN;
    frame.format = bytes == 1 ? FG_GRAY8 : FG_BGR24;
    frame.width = wanted.width ? wanted.width : argc == 5 ? (uint32_t)atoi(argv[3]) : 640;
    frame.height = wanted.height ? wanted.height : argc == 5 ? (uint32_t)atoi(argv[4]) : 480;
    frame.plane_count = 1;
    const uint32_t stride = (frame.width * bytes + 63) / 64 * 64;
    /* Exactly the promised bytes: the last row ends the allocation, so that a sanitizer sees any read behind it. */
    uint8_t *memory = aligned_alloc(64, (size_t)stride * frame.height);
    frame.planes[0] = (fg_plane){memory, stride, frame.width, frame.height};
    const fg_config config = {sizeof config, frame.format, frame.width, frame.height, 640, 480};
    if (processor->configure && processor->configure(processor, &config) < 0) return 4;

    int64_t spent = 0;
    for (uint32_t i = 0; i < frames; i++) {
        draw(scene, &frame, bytes, i, frames);
        frame.seq = i + 1;
        frame.received_ns = (int64_t)i * 33333333;
        found_count = 0;
        strcpy(data, "null");
        const int64_t begin = now_ns();
        const int32_t status = processor->process(processor, &frame, &out);
        spent += now_ns() - begin;
        printf("%u %d %s %u", i + 1, (int)status, data, found_count);
        for (uint32_t d = 0; d < found_count; d++)
            printf(" %.3f,%.3f,%.3f,%.3f,%.2f,%llu", (double)found[d].x, (double)found[d].y, (double)found[d].w,
                   (double)found[d].h, (double)found[d].score, (unsigned long long)found[d].track);
        printf("\n");
    }
    processor->destroy(processor);
    free(memory);
    fprintf(stderr, "us_per_frame %.1f\n", (double)spent / 1000 / (frames ? frames : 1));
    return 0;
}
