// framegate: pkg=apriltag std=11 link=m
/* AprilTags of the family 36h11 with AprilTag 3 (libapriltag-dev): the outline of each tag, its number as label,
 * and where it stands in front of the camera, if the camera's angle of view is as the parameter says.
 *
 * A detector keeps its work areas from picture to picture: one an instance, on one thread. */
#include <apriltag/apriltag.h>
#include <apriltag/apriltag_pose.h>
#include <apriltag/tag36h11.h>
#include <framegate.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    TAGS_MAX = 64, /* tags told per frame */
    CORNERS = 4,
    SIDE_MIN = 32, /* pixels: a smaller picture cannot hold a tag, and AprilTag crashes on the smallest */
    HAMMING_MAX = 1 /* wrong bits mended: with two, noise now and then looks like a tag */
};

static const double HALF_DEGREE = 3.14159265358979324 / 360; /* in radians */

enum { PARAM_DECIMATE, PARAM_MARGIN, PARAM_SIDE, PARAM_VIEW, PARAM_COUNT };

static const fg_param PARAMS[PARAM_COUNT] = {
    [PARAM_DECIMATE] = {.id = "decimate", .label = "Coarseness", .kind = FG_PARAM_FLOAT, .min = 1, .max = 4,
                        .step = 0.5, .number = 2, .description = "Search in a picture this much smaller."},
    [PARAM_MARGIN] = {.id = "margin", .label = "Smallest margin", .kind = FG_PARAM_FLOAT, .min = 0, .max = 100,
                      .number = 20, .description = "Contrast of the bits: less accepts worse tags."},
    [PARAM_SIDE] = {.id = "side", .label = "Side of a tag", .group = "Pose", .unit = "m", .kind = FG_PARAM_FLOAT,
                    .min = 0.001, .max = 10, .number = 0.1},
    [PARAM_VIEW] = {.id = "view", .label = "Angle of view", .group = "Pose", .unit = "deg", .kind = FG_PARAM_FLOAT,
                    .min = 10, .max = 150, .number = 60, .description = "Of the camera, from left to right."},
};

typedef struct finder {
    fg_processor table;
    apriltag_detector_t *detector;
    apriltag_family_t *family;
    double values[PARAM_COUNT];
    char json[16384];
} finder;

static int32_t tell(const finder *self, const apriltag_detection_t *tag, const fg_frame *frame, const fg_out *out) {
    float corners[2 * CORNERS];
    char label[16];
    for (int i = 0; i < 2 * CORNERS; i++) corners[i] = (float)tag->p[i / 2][i % 2];
    snprintf(label, sizeof label, "%d", tag->id);
    return fg_outline_px(out, frame, label, 1 - (float)tag->hamming / (float)self->family->h, corners, CORNERS);
}

/* Where the tag's middle is: metres right of, below and in front of the camera. */
static void locate(const finder *self, apriltag_detection_t *tag, const fg_frame *frame, double metres[3]) {
    const double focal_px = frame->width / 2.0 / tan(self->values[PARAM_VIEW] * HALF_DEGREE);
    apriltag_detection_info_t info = {tag, self->values[PARAM_SIDE], focal_px, focal_px,
                                      frame->width / 2.0, frame->height / 2.0};
    apriltag_pose_t pose;
    estimate_tag_pose(&info, &pose);
    for (int i = 0; i < 3; i++) metres[i] = isfinite(MATD_EL(pose.t, i, 0)) ? MATD_EL(pose.t, i, 0) : 0;
    free(pose.R); /* is all that matd_destroy does, which Debian's library does not export */
    free(pose.t);
}

static int32_t process(fg_processor *processor, const fg_frame *frame, const fg_out *out) {
    finder *self = processor->self;
    if (frame->width < SIDE_MIN || frame->height < SIDE_MIN) return FG_NO_RESULT;
    const fg_plane *plane = &frame->planes[0];
    image_u8_t image = {(int32_t)frame->width, (int32_t)frame->height, (int32_t)plane->stride_bytes, plane->data};
    zarray_t *tags = apriltag_detector_detect(self->detector, &image);
    int32_t status = FG_OK;
    int length = snprintf(self->json, sizeof self->json, "["), told = 0;
    for (int i = 0; i < zarray_size(tags) && told < TAGS_MAX && status >= 0; i++) {
        apriltag_detection_t *tag;
        double metres[3];
        zarray_get(tags, i, &tag);
        if (tag->decision_margin < self->values[PARAM_MARGIN]) continue;
        locate(self, tag, frame, metres);
        status = tell(self, tag, frame, out);
        length += snprintf(self->json + length, sizeof self->json - (size_t)length,
                           "%s{\"tag\":%d,\"margin\":%.1f,\"at_m\":[%.3f,%.3f,%.3f]}", told++ ? "," : "", tag->id,
                           tag->decision_margin, metres[0], metres[1], metres[2]);
    }
    apriltag_detections_destroy(tags);
    self->json[length++] = ']'; /* 64 tags of at most 120 bytes leave room for it */
    return status < 0 ? status : out->data(out, self->json, (uint64_t)length);
}

static int32_t set(fg_processor *processor, uint32_t index, const fg_param_value *value) {
    finder *self = processor->self;
    self->values[index] = value->number;
    if (index == PARAM_DECIMATE) self->detector->quad_decimate = (float)value->number;
    return FG_OK;
}

static const void *get_extension(fg_processor *processor, const char *id) {
    static const fg_params params = {sizeof params, PARAM_COUNT, PARAMS, set};
    (void)processor;
    return strcmp(id, FG_EXT_PARAMS) == 0 ? &params : NULL;
}

static void destroy(fg_processor *processor) {
    finder *self = processor->self;
    if (self->detector) apriltag_detector_destroy(self->detector);
    if (self->family) tag36h11_destroy(self->family);
    free(self);
}

static int32_t create(const fg_host *host, fg_processor **made) {
    finder *self = calloc(1, sizeof *self);
    if (!self) return FG_ERROR;
    self->table = (fg_processor){.struct_size = sizeof self->table, .self = self, .process = process,
                                 .destroy = destroy, .get_extension = get_extension};
    self->detector = apriltag_detector_create();
    self->family = tag36h11_create();
    if (!self->detector || !self->family || fg_want_frames(host, FG_GRAY8, 0, 0) < 0) {
        destroy(&self->table);
        return fg_fail(host, "AprilTag has no memory, or grey pictures are not offered");
    }
    apriltag_detector_add_family_bits(self->detector, self->family, HAMMING_MAX);
    self->detector->nthreads = 1;
    *made = &self->table;
    return FG_OK;
}

FG_ENTRY("apriltag", "1.0.0", "Finds AprilTags of the family 36h11 and where they stand.", create)
