/* framegate.h: the interface between framegate and a processor, version 1.0.
 *
 * A processor is a shared library that exports one symbol, `fg_entry_1`. framegate loads it into a sandboxed child
 * process (an engine), makes one instance per stream and hands it decoded pictures.
 *
 * Ten lines are enough (level 1: one function, BGR24, read-only, in the size the camera sends):
 *
 *     #include <framegate.h>
 *
 *     static int32_t process(const fg_frame *frame, const fg_out *out) {
 *         return fg_data_printf(out, "{\"width\":%u}", frame->width);
 *     }
 *
 *     FG_PROCESSOR("width", "1.0.0", "Says how wide the picture is.", process)
 *
 *     cc -shared -fPIC -O2 -I include width.c -o width.so
 *
 * Level 2 is a table of functions with state (fg_processor), exported with FG_ENTRY. State belongs there: a level-1
 * function may be called for several streams at once when they share an engine.
 *
 * Rules that hold everywhere:
 * - A processor compiled with this header runs with every later framegate whose interface is 1.x, and one compiled
 *   with a later 1.x runs with this one. Nothing below is ever taken away or given another meaning in 1.x.
 * - `struct_size` comes first in every struct that may grow and is set by whoever fills it. New fields come behind the
 *   last one, and 0 in them means what was before. A reader uses FG_HAS(pointer, field) before a field that was added
 *   after 1.0. Larger structs than known are accepted. Fields named `reserved` are 0 and never get a meaning.
 * - What framegate passes is valid until the call returns; fg_host is valid until destroy returns. What a processor
 *   passes is copied before the call returns; its fg_processor must live until destroy, fg_entry and fg_descriptor for
 *   ever. Nobody frees the other's memory.
 * - [process] calls of one instance never overlap, but the thread may change between them. [any] may be called from
 *   any thread between create and destroy.
 * - No C++ exception may leave a call. FG_PROCESSOR makes error results of them, and so does framegate.hpp; a level-2
 *   processor of this header catches its own.
 * - Results are 0 or positive for success and negative for errors; unknown values keep that meaning.
 * - Text is UTF-8 and ends with 0, and is NULL only where a comment allows it. Sizes are in pixels; every other
 *   quantity has its unit in its name.
 * - Everything else is an extension with a text id and a version of its own ("fg.want/1"), asked for on either side
 *   with get_extension; NULL means "not offered" and is the answer to every id that a side does not know.
 * - Bits of `flags` that a side does not know mean nothing to it; only a want with such bits is refused. Formats and
 *   kinds that are added later are refused by a framegate that does not know them, and no processor is given one that
 *   it did not ask for.
 * - A frame may be as small as 1 x 1. A library that cannot take that needs a guard before it.
 */
#ifndef FRAMEGATE_H
#define FRAMEGATE_H

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
#include <exception>
extern "C" {
#define FG_EXPORT extern "C" __attribute__((visibility("default")))
#else
#define FG_EXPORT __attribute__((visibility("default")))
#endif

/* Sizes and offsets are those of 64-bit machines; others were never tried. */
#if UINTPTR_MAX != UINT64_MAX
#error "the interface of framegate is for 64-bit machines"
#endif

/* Major in the upper 16 bits, minor in the lower. Every minor runs with every other of the same major. What a processor
 * needs of a later minor it asks for first: FG_HAS, get_extension, fg_host.abi_version. */
#define FG_ABI_VERSION UINT32_C(0x00010000)

/* Whether the struct behind `pointer` is new enough to hold `field`. */
#define FG_HAS(pointer, field)                                                                         \
    ((pointer)->struct_size >= (uint32_t)((const char *)&(pointer)->field - (const char *)(pointer)) + \
                                   sizeof((pointer)->field))

/* Status codes. */
#define FG_OK INT32_C(0)
#define FG_NO_RESULT INT32_C(1)            /* from process: nothing to say about this frame */
#define FG_ERROR INT32_C(-1)               /* from a processor: this call failed; the instance goes on */
#define FG_ERROR_ARGUMENT INT32_C(-2)      /* a pointer, size or text is not acceptable */
#define FG_ERROR_UNSUPPORTED INT32_C(-3)   /* not offered by this side */
#define FG_ERROR_LIMIT INT32_C(-4)         /* too many or too large */
#define FG_ERROR_NOT_FINITE INT32_C(-5)    /* NaN or infinity where a number is needed */

/* Pixel formats. */
#define FG_BGR24 UINT32_C(1)  /* packed B, G, R; OpenCV's order */
#define FG_RGB24 UINT32_C(2)  /* packed R, G, B */
#define FG_BGRA UINT32_C(3)   /* packed B, G, R, 255 */
#define FG_GRAY8 UINT32_C(4)  /* luma, 0 black to 255 white */
#define FG_I420 UINT32_C(5)   /* planes Y, U, V as decoded; chroma halved both ways, rounded up */
#define FG_NV12 UINT32_C(6)   /* planes Y and interleaved U, V */

/* Log levels. */
#define FG_LOG_ERROR INT32_C(1)
#define FG_LOG_WARN INT32_C(2)
#define FG_LOG_INFO INT32_C(3)
#define FG_LOG_DEBUG INT32_C(4)

/* One plane of a picture. Frozen: never grows, for it lies in arrays. */
typedef struct fg_plane {
    uint8_t *data;         /* first byte, aligned to 64 bytes; writable only if FG_FRAME_WRITABLE is set */
    int64_t stride_bytes;  /* from one row to the next; a multiple of 64, at least the row's bytes */
    uint32_t width;        /* samples across (NV12 UV: pairs) */
    uint32_t height;       /* rows */
} fg_plane;

#define FG_FRAME_WRITABLE UINT32_C(1)     /* the planes may be written */
#define FG_FRAME_SIZE_CHANGED UINT32_C(2) /* first frame after configure was called again */
#define FG_FRAME_RESUMED UINT32_C(4)      /* first frame of a new engine in a running stream */

/* Value of fg_frame.capture_us until the sender has said what time it is. */
#define FG_CAPTURE_UNKNOWN INT64_MIN

/* Colour of planar formats (packed formats are full-range already). */
#define FG_MATRIX_BT601 UINT32_C(1)
#define FG_MATRIX_BT709 UINT32_C(2)
#define FG_RANGE_LIMITED UINT32_C(1)
#define FG_RANGE_FULL UINT32_C(2)

/* One picture. Valid until process returns. */
typedef struct fg_frame {
    uint32_t struct_size;
    uint32_t flags;           /* FG_FRAME_… */
    uint64_t seq;             /* number of the frame in its stream, from 1, counting those never seen */
    uint32_t rtp_ts;          /* RTP timestamp, 90 000 Hz; with seq the identity of the result */
    uint32_t dropped_before;  /* frames between the previous call and this one that were not given */
    int64_t capture_us;       /* capture time on the sender's clock, Unix epoch; or FG_CAPTURE_UNKNOWN */
    int64_t received_ns;      /* when its last packet arrived, CLOCK_MONOTONIC */
    int64_t deadline_ns;      /* a result after this is of little use, CLOCK_MONOTONIC */
    uint32_t format;          /* FG_BGR24 … */
    uint32_t width, height;   /* of planes[0] in pixels */
    uint32_t rotation;        /* clockwise degrees still to apply: 0, 90, 180 or 270; 0 for browsers */
    uint32_t matrix, range;   /* FG_MATRIX_…, FG_RANGE_… of the decoded stream: matters to I420 and NV12 only */
    uint32_t plane_count;     /* 1 to 3 */
    uint32_t reserved;
    fg_plane planes[4];
} fg_frame;

/* A point on something found. Frozen, as fg_plane is. */
typedef struct fg_keypoint {
    float x, y;   /* fractions of the picture, origin top-left */
    float score;  /* 0 to 1 */
} fg_keypoint;

#define FG_DETECTION_OUTLINE UINT32_C(1) /* the keypoints, in their order, are the corners of its outline */

/* Something found at a place. */
typedef struct fg_detection {
    uint32_t struct_size;
    float score;         /* confidence, 0 to 1 */
    const char *label;   /* what it is, cut at 64 bytes; NULL: none */
    float x, y, w, h;    /* box: fractions of the picture, origin top-left, w and h >= 0; clipped to the picture */
    uint64_t track;      /* identity over time, below 2^53 to be exact in a page; 0 for none */
    const fg_keypoint *keypoints;
    uint32_t keypoint_count; /* at most 64 */
    uint32_t flags;          /* FG_DETECTION_… */
} fg_detection;

/* Where process puts what it found. Valid until process returns. A refused call leaves the result as it was, makes the
 * frame's outcome `error`, whatever process returns, and returns a negative code. */
typedef struct fg_out fg_out;
struct fg_out {
    uint32_t struct_size;
    uint32_t reserved;
    void *context;
    /* [process] Adds one detection; at most 256 a frame. */
    int32_t (*detection)(const fg_out *out, const fg_detection *detection);
    /* [process] Sets the result's `data` to `length` bytes of JSON, any value, at most 48 KiB; the last call counts. */
    int32_t (*data)(const fg_out *out, const char *json, uint64_t length);
    /* [process] Interface of an extension to the result, such as fg_out_image; valid until process returns. */
    const void *(*get_extension)(const fg_out *out, const char *id);
    /* [process] Makes the frame's outcome `error` with this text, cut at 1 KiB; the last call counts. */
    int32_t (*error)(const fg_out *out, const char *text);
};

/* What frames will look like. */
typedef struct fg_config {
    uint32_t struct_size;
    uint32_t format;                      /* FG_BGR24 … */
    uint32_t width, height;               /* of the frames process will get */
    uint32_t source_width, source_height; /* as decoded */
} fg_config;

/* framegate's side. Valid from create to destroy. */
typedef struct fg_host fg_host;
struct fg_host {
    uint32_t struct_size;
    uint32_t abi_version;  /* FG_ABI_VERSION of the host */
    void *context;
    /* [any] Interface of an extension; valid until destroy returns. */
    const void *(*get_extension)(const fg_host *host, const char *id);
    /* [any] One line to framegate's log and the page; cut at 1 KiB. When create fails, the last line of level
     * FG_LOG_ERROR is the reason people are told. */
    void (*log)(const fg_host *host, int32_t level, const char *text);
    const char *folder;    /* absolute path of the folder the processor's file lies in: readable, for its models */
    const char *stream;    /* public name of the stream, [a-z0-9_-]{1,64} */
};

/* One instance, serving one stream. Made by create, owned by the processor; framegate reads it until destroy. */
typedef struct fg_processor fg_processor;
struct fg_processor {
    uint32_t struct_size;
    uint32_t reserved;
    void *self;  /* the processor's own */
    /* [process] Before the first frame and whenever size or format changes. May be NULL. */
    int32_t (*configure)(fg_processor *processor, const fg_config *config);
    /* [process] One frame. FG_OK or FG_NO_RESULT; a negative code makes the frame's outcome `error`. */
    int32_t (*process)(fg_processor *processor, const fg_frame *frame, const fg_out *out);
    /* [process] Last call: frees the instance. */
    void (*destroy)(fg_processor *processor);
    /* [any] Interface of an extension the processor offers; NULL for every other id. May be NULL. */
    const void *(*get_extension)(fg_processor *processor, const char *id);
};

/* What a processor is, readable without running its code. Static. */
typedef struct fg_descriptor {
    uint32_t struct_size;
    uint32_t level;           /* 1 or 2 */
    const char *name;         /* [a-z0-9_-]{1,64} */
    const char *version;      /* at most 64 bytes */
    const char *description;  /* one sentence, at most 256 bytes */
    const char *language;     /* "c", "c++", "rust" …, at most 16 bytes, for people; NULL: not said */
} fg_descriptor;

/* The exported symbol: `const fg_entry fg_entry_1`. Static. */
typedef struct fg_entry {
    uint32_t struct_size;
    uint32_t abi_version;  /* FG_ABI_VERSION it was compiled with */
    const fg_descriptor *descriptor;
    /* [process] Makes an instance. The sandbox is already in force: files are readable only where the
     * configuration allows it. Threads may be started from here on, not in constructors of global objects. */
    int32_t (*create)(const fg_host *host, fg_processor **processor);
} fg_entry;

/* Extension "fg.want/1", offered by the host: what frames the processor wants. */
#define FG_EXT_WANT "fg.want/1"
#define FG_WANT_WRITABLE UINT32_C(1) /* process writes into its frames */

typedef struct fg_want {
    uint32_t struct_size;
    uint32_t flags;            /* FG_WANT_…; others: FG_ERROR_UNSUPPORTED */
    uint32_t format;           /* FG_BGR24 …; 0: BGR24 */
    uint32_t width, height;    /* 0, 0: as the camera sends; one of them 0: keeps the aspect, within 1 to 8192 */
    uint32_t rate_millihertz;  /* frames per 1000 s: 10 000 is 10 a second; 0: as they come */
} fg_want;

typedef struct fg_host_want {
    uint32_t struct_size;
    uint32_t reserved;
    /* [process] Replaces the previous want; in force from the next configure. In create, process or configure. */
    int32_t (*set)(const fg_host *host, const fg_want *want);
} fg_host_want;

/* Extension "fg.params/1", offered by the processor: values that people change while it runs. The page makes a form of
 * them; the configuration and the command line set them by their ids. */
#define FG_EXT_PARAMS "fg.params/1"
#define FG_PARAM_BOOL UINT32_C(1)  /* number: 0 or 1 */
#define FG_PARAM_INT UINT32_C(2)   /* number: whole, within min and max */
#define FG_PARAM_FLOAT UINT32_C(3) /* number: finite, within min and max */
#define FG_PARAM_ENUM UINT32_C(4)  /* number: index of one of the choices */
#define FG_PARAM_TEXT UINT32_C(5)  /* text */
#define FG_PARAM_COLOR UINT32_C(6) /* number: 0xRRGGBB */

/* One parameter. Frozen, for they lie in an array: what it lacks will come in fg_params, beside it. Unchanged from
 * create until destroy. */
typedef struct fg_param {
    const char *id;              /* [a-z][a-z0-9_]{0,63}, unique within the processor */
    const char *label;           /* for people; NULL: the id */
    const char *group;           /* heading it stands under; NULL: none */
    const char *description;     /* one sentence; NULL: none */
    const char *unit;            /* "px", "ms" …; NULL: none */
    const char *const *choices;  /* ENUM: their texts, unique; else NULL */
    uint32_t choice_count;       /* ENUM: 1 to 64; else 0 */
    uint32_t kind;               /* FG_PARAM_… */
    double min, max;             /* INT, FLOAT: range; equal: none. TEXT: max is the most bytes, 0: 256 */
    double step;                 /* INT, FLOAT: values are min plus multiples of it; 0: any */
    double number;               /* default, except of TEXT */
    const char *text;            /* default of TEXT; NULL: empty */
} fg_param;

/* A value for one parameter. */
typedef struct fg_param_value {
    uint32_t struct_size;
    uint32_t kind;     /* FG_PARAM_… of its parameter */
    double number;     /* all kinds but TEXT */
    const char *text;  /* TEXT: UTF-8; else NULL */
} fg_param_value;

typedef struct fg_params {
    uint32_t struct_size;
    uint32_t count;  /* at most 64 */
    const fg_param *params;
    /* [process] A value, already checked against the parameter: of each parameter once, in their order, between create
     * and the first configure, be it the default or another; then between frames, whenever somebody changes one.
     * Negative: refused, and the value before stays. */
    int32_t (*set)(fg_processor *processor, uint32_t index, const fg_param_value *value);
} fg_params;

/* Extension "fg.state/1", offered by the processor: what a new engine needs to go on where one that died stopped. */
#define FG_EXT_STATE "fg.state/1"

typedef struct fg_state {
    uint32_t struct_size;
    uint32_t version;  /* of the format that save writes */
    /* [process] Between frames, about once a second. Writes at most `capacity` bytes (256 KiB are offered) and returns
     * how many; 0: nothing to keep; more than `capacity`: what it would have needed, and nothing is kept; negative:
     * failed. */
    int64_t (*save)(fg_processor *processor, void *bytes, uint64_t capacity);
    /* [process] Once, after the parameters and before the first configure, with what save of format `version` wrote.
     * Negative: not usable; the instance goes on as new. */
    int32_t (*load)(fg_processor *processor, uint32_t version, const void *bytes, uint64_t length);
} fg_state;

/* Extension "fg.message/1", on both sides: JSON between the page and the processor, apart from frames. */
#define FG_EXT_MESSAGE "fg.message/1"

/* Offered by the processor. */
typedef struct fg_message {
    uint32_t struct_size;
    uint32_t reserved;
    /* [process] Between frames: a message of the page, any JSON value of at most 16 KiB. Negative: the page is told
     * that it was refused. */
    int32_t (*receive)(fg_processor *processor, const char *json, uint64_t length);
} fg_message;

/* Offered by the host. */
typedef struct fg_host_message {
    uint32_t struct_size;
    uint32_t reserved;
    /* [any] Sends any JSON value of at most 16 KiB to the page; FG_ERROR_LIMIT above 20 a second. */
    int32_t (*send)(const fg_host *host, const char *json, uint64_t length);
} fg_host_message;

/* Extension "fg.image/1", offered by fg_out: a picture to show instead of the camera's. */
#define FG_EXT_IMAGE "fg.image/1"

/* A picture of the processor's own: as fg_frame describes one, in any format, full-range BT.601 where planar. */
typedef struct fg_picture {
    uint32_t struct_size;
    uint32_t format;
    uint32_t width, height;
    uint32_t plane_count;
    uint32_t reserved;
    fg_plane planes[4];  /* any alignment and stride of at least the row's bytes; not written */
} fg_picture;

typedef struct fg_out_image {
    uint32_t struct_size;
    uint32_t reserved;
    /* [process] 1 if somebody looks at this frame's picture, 0 if drawing would be for nobody. */
    int32_t (*is_wanted)(const fg_out *out);
    /* [process] The frame's picture; copied. The last call counts. */
    int32_t (*submit)(const fg_out *out, const fg_picture *picture);
    /* [process] The frame as process leaves it is its picture. For processors that write into their frames. */
    int32_t (*submit_frame)(const fg_out *out);
} fg_out_image;

/* Extension "fg.clock/1", offered by the host: time that a repeated run repeats. */
#define FG_EXT_CLOCK "fg.clock/1"

typedef struct fg_host_clock {
    uint32_t struct_size;
    uint32_t reserved;
    /* [any] Nanoseconds that never go back: CLOCK_MONOTONIC on live video; in `framegate run` the time in the clip. */
    int64_t (*now_ns)(const fg_host *host);
} fg_host_clock;

/* Extension "fg.random/1", offered by the host: randomness that a repeated run repeats. */
#define FG_EXT_RANDOM "fg.random/1"

typedef struct fg_host_random {
    uint32_t struct_size;
    uint32_t reserved;
    /* [any] Fills `bytes`; not for secrets. Seeded by the stream, or by `framegate run --seed`. */
    int32_t (*fill)(const fg_host *host, void *bytes, uint64_t length);
} fg_host_random;

/* Shorthand: adds a detection of `label` at x, y, w, h (fractions of the picture). */
static inline int32_t fg_detect(const fg_out *out, const char *label, float score, float x, float y, float w, float h) {
    fg_detection detection = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    detection.struct_size = sizeof detection;
    detection.label = label;
    detection.score = score;
    detection.x = x;
    detection.y = y;
    detection.w = w;
    detection.h = h;
    return out->detection(out, &detection);
}

/* Shorthand: the same with the box in pixels of `frame`. */
static inline int32_t fg_detect_px(const fg_out *out, const fg_frame *frame, const char *label, float score, float x,
                                   float y, float w, float h) {
    const float width = (float)frame->width, height = (float)frame->height;
    return fg_detect(out, label, score, x / width, y / height, w / width, h / height);
}

/* Shorthand: adds a detection whose outline has `count` corners, 3 to 64: pairs x, y in pixels of `frame`. Its box is the
 * smallest around them. */
static inline int32_t fg_outline_px(const fg_out *out, const fg_frame *frame, const char *label, float score,
                                    const float *corners, uint32_t count) {
    fg_detection detection = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    fg_keypoint points[64];
    float right = 0, bottom = 0;
    uint32_t i;
    if (!corners || count < 3 || count > 64) return FG_ERROR_ARGUMENT;
    for (i = 0; i < count; i++) {
        const float x = corners[2 * i] / (float)frame->width, y = corners[2 * i + 1] / (float)frame->height;
        points[i].x = x;
        points[i].y = y;
        points[i].score = 1.0f;
        if (i == 0 || x < detection.x) detection.x = x;
        if (i == 0 || y < detection.y) detection.y = y;
        if (i == 0 || x > right) right = x;
        if (i == 0 || y > bottom) bottom = y;
    }
    detection.struct_size = sizeof detection;
    detection.label = label;
    detection.score = score;
    detection.w = right - detection.x;
    detection.h = bottom - detection.y;
    detection.keypoints = points;
    detection.keypoint_count = count;
    detection.flags = FG_DETECTION_OUTLINE;
    return out->detection(out, &detection);
}

/* Shorthand: writes `length` bytes of UTF-8 as a JSON text, with its quotes and a 0 behind them, and returns how many
 * bytes it wrote without the 0; 0 when `capacity` is too small. 6 * length + 10 is always enough. */
static inline uint64_t fg_json_text(char *to, uint64_t capacity, const char *text, uint64_t length) {
    static const char digits[] = "0123456789abcdef";
    uint64_t at = 0, i;
    if (capacity < 3) return 0;
    to[at++] = '"';
    for (i = 0; i < length; i++) {
        const unsigned char c = (unsigned char)text[i];
        if (at + 8 > capacity) return 0;
        if (c == '"' || c == '\\') {
            to[at++] = '\\';
            to[at++] = (char)c;
        } else if (c < 0x20) {
            to[at++] = '\\';
            to[at++] = 'u';
            to[at++] = '0';
            to[at++] = '0';
            to[at++] = digits[c >> 4];
            to[at++] = digits[c & 15];
        } else {
            to[at++] = (char)c;
        }
    }
    to[at++] = '"';
    to[at] = 0;
    return at;
}

/* Shorthand: copies a plane whose samples have `sample_bytes` to `to`, without what lies between its rows: for libraries
 * that take width * height bytes. */
static inline void fg_pack(const fg_plane *plane, uint32_t sample_bytes, uint8_t *to) {
    const uint64_t row_bytes = (uint64_t)plane->width * sample_bytes;
    uint32_t y;
    uint64_t x;
    for (y = 0; y < plane->height; y++) {
        const uint8_t *row = plane->data + (int64_t)y * plane->stride_bytes;
        for (x = 0; x < row_bytes; x++) *to++ = row[x];
    }
}

/* Shorthand for create and configure: wants frames of this format and size (0: as the camera sends). */
static inline int32_t fg_want_frames(const fg_host *host, uint32_t format, uint32_t width, uint32_t height) {
    const fg_host_want *wants = (const fg_host_want *)host->get_extension(host, FG_EXT_WANT);
    fg_want want = {0, 0, 0, 0, 0, 0};
    want.struct_size = sizeof want;
    want.format = format;
    want.width = width;
    want.height = height;
    return wants ? wants->set(host, &want) : FG_ERROR_UNSUPPORTED;
}

/* Shorthand for create: says why it failed and returns FG_ERROR. */
static inline int32_t fg_fail(const fg_host *host, const char *text) {
    host->log(host, FG_LOG_ERROR, text);
    return FG_ERROR;
}

/* Shorthand: sets the result's `data` from a printf format that makes JSON, at most 4095 bytes. A NaN or an infinity
 * printed by %f is no JSON, and neither is the decimal comma of a setlocale. */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3), unused))
#endif
static int32_t fg_data_printf(const fg_out *out, const char *format, ...) {
    char text[4096];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length < 0 || (unsigned)length >= sizeof text) return FG_ERROR_LIMIT;
    return out->data(out, text, (uint64_t)length);
}

#ifdef __cplusplus
}
#endif

#ifndef FG_LANGUAGE
#ifdef __cplusplus
#define FG_LANGUAGE "c++"
#else
#define FG_LANGUAGE "c"
#endif
#endif

/* Exports a level-2 processor. Use once, at file scope, without a semicolon. */
#define FG_ENTRY(NAME, VERSION, DESCRIPTION, CREATE) FG_ENTRY_AT_LEVEL(2, NAME, VERSION, DESCRIPTION, CREATE)

#define FG_ENTRY_AT_LEVEL(LEVEL, NAME, VERSION, DESCRIPTION, CREATE)                                             \
    static const fg_descriptor fg_descriptor_1 = {sizeof(fg_descriptor), LEVEL,       NAME,                       \
                                                  VERSION,               DESCRIPTION, FG_LANGUAGE};               \
    FG_EXPORT const fg_entry fg_entry_1;                                                                         \
    FG_EXPORT const fg_entry fg_entry_1 = {sizeof(fg_entry), FG_ABI_VERSION, &fg_descriptor_1, CREATE};

#if defined(__cpp_exceptions)
#define FG_GUARD(OUT, CALL)                                             \
    try {                                                               \
        return CALL;                                                    \
    } catch (const std::exception &fg_caught) {                         \
        (OUT)->error((OUT), fg_caught.what());                          \
    } catch (...) {                                                     \
        (OUT)->error((OUT), "an exception that is no std::exception");  \
    }                                                                   \
    return FG_ERROR;
#else
#define FG_GUARD(OUT, CALL) return CALL;
#endif

/* Exports one function `int32_t FUNCTION(const fg_frame *, const fg_out *)` as a whole processor (level 1). Use once,
 * at file scope, without a semicolon. */
#define FG_PROCESSOR(NAME, VERSION, DESCRIPTION, FUNCTION)                                                       \
    static int32_t fg_simple_process(fg_processor *self, const fg_frame *frame, const fg_out *out) {             \
        (void)self;                                                                                              \
        FG_GUARD(out, FUNCTION(frame, out))                                                                      \
    }                                                                                                            \
    static void fg_simple_destroy(fg_processor *self) { (void)self; }                                            \
    static int32_t fg_simple_create(const fg_host *host, fg_processor **made) {                                  \
        static fg_processor one = {sizeof(fg_processor), 0, 0, 0, fg_simple_process, fg_simple_destroy, 0};      \
        (void)host;                                                                                              \
        *made = &one;                                                                                            \
        return FG_OK;                                                                                            \
    }                                                                                                            \
    FG_ENTRY_AT_LEVEL(1, NAME, VERSION, DESCRIPTION, fg_simple_create)

#endif /* FRAMEGATE_H */
