/* Boxes around what moves (level 2). Asks for small grey pictures, keeps a model of the still scene in a grid of cells
 * and follows up to eight moving things. Ignores sensor noise, changes of exposure and what has stopped. All memory is
 * in the instance; nothing is allocated per frame. */
#include <framegate.h>
#include <stdlib.h>
#include <string.h>

enum {
    WIDTH = 160, HEIGHT = 120,                     /* wanted picture, in pixels, whatever the camera's aspect */
    COLUMNS = WIDTH / 2, ROWS = HEIGHT / 2,        /* cells of 2 x 2 pixels */
    CELLS = COLUMNS * ROWS,
    REACH = 2,                                     /* moving cells this near to each other belong together */
    AREA_MIN = 8,                                  /* moving cells in the smallest thing */
    BOXES_MAX = 32,                                /* things looked at per frame */
    TRACKS_MAX = 8,                                /* things followed */
    SEEN_MIN = 3,                                  /* frames until a thing is reported: a flash is nothing */
    GRACE_MAX = 5                                  /* frames a thing may pause before it is forgotten */
};

/* Grey levels. A cell moves when it leaves both averages by more than LEVELS_MIN and NOISE_TIMES its usual noise. */
static const float LEVELS_MIN = 7.0f, LEVELS_MAX = 30.0f, NOISE_TIMES = 4.0f;
/* Seconds the averages look back: `still` holds the scene, `recent` lets go of what has stopped. */
static const float STILL_SECONDS = 4.0f, RECENT_SECONDS = 0.3f, LEARNING_SECONDS = 0.7f;
/* More of the picture than this changing at once is a new scene, not a thing. */
static const float SCENE_CUT = 0.6f;

typedef struct box { float left, top, right, bottom, strength; } box; /* in cells */

typedef struct track {
    box at;
    uint64_t id; /* 0: free */
    int seen, grace, matched;
} track;

typedef struct motion {
    fg_processor table;
    float still[CELLS], recent[CELLS], noise[CELLS], now[CELLS];
    uint8_t moving[CELLS], near[CELLS];
    uint16_t stack[CELLS];
    track tracks[TRACKS_MAX];
    uint64_t last_id;
    int64_t received_ns;
    float age_seconds; /* of the model */
} motion;

static float magnitude(float value) { return value < 0 ? -value : value; }
static float smaller(float a, float b) { return a < b ? a : b; }
static float larger(float a, float b) { return a > b ? a : b; }

/* Seconds since the previous frame, so that the model does not depend on the frame rate. */
static float elapsed(motion *self, const fg_frame *frame) {
    const float seconds = (float)(frame->received_ns - self->received_ns) * 1e-9f;
    self->received_ns = frame->received_ns;
    return seconds > 0.001f && seconds < 1.0f ? seconds : 1.0f / 30;
}

static void read_cells(motion *self, const fg_plane *plane) {
    for (int row = 0; row < ROWS; row++) {
        const uint8_t *upper = plane->data + 2 * row * plane->stride_bytes, *lower = upper + plane->stride_bytes;
        for (int column = 0; column < COLUMNS; column++) {
            const int x = 2 * column;
            self->now[row * COLUMNS + column] = (float)(upper[x] + upper[x + 1] + lower[x] + lower[x + 1]) * 0.25f;
        }
    }
}

/* How much brighter most cells became: the median difference, which a moving thing cannot pull along. */
static float exposure_shift(const float *now, const float *before) {
    int histogram[511] = {0}, count = 0, level = 0;
    for (int i = 0; i < CELLS; i++) histogram[(int)(now[i] - before[i] + 255.5f)]++;
    while ((count += histogram[level]) <= CELLS / 2) level++;
    return (float)(level - 255);
}

/* Marks the moving cells, lets the averages follow, and returns how many cells move. */
static int update_model(motion *self, float seconds) {
    const float still_shift = exposure_shift(self->now, self->still);
    const float recent_shift = exposure_shift(self->now, self->recent);
    /* A change of exposure is a gain: bright cells move further than the median. */
    const float allowance = LEVELS_MIN + magnitude(still_shift) * 0.6f + magnitude(recent_shift) * 0.6f;
    const float window = smaller(STILL_SECONDS, self->age_seconds);
    const float slow = seconds / (window + seconds), fast = seconds / (RECENT_SECONDS + seconds);
    const int learnt = self->age_seconds >= LEARNING_SECONDS;
    int count = 0;
    for (int i = 0; i < CELLS; i++) {
        const float threshold = smaller(allowance + NOISE_TIMES * self->noise[i], allowance + LEVELS_MAX);
        const float from_still = magnitude(self->now[i] - self->still[i] - still_shift);
        const float from_recent = magnitude(self->now[i] - self->recent[i] - recent_shift);
        const int moves = from_still > threshold && from_recent > threshold;
        self->moving[i] = (uint8_t)(moves ? smaller(255.0f, from_still) : 0.0f);
        count += moves;
        if (!moves) self->noise[i] += (from_recent - self->noise[i]) * slow;
        self->recent[i] += (self->now[i] - self->recent[i]) * fast;
        /* A passing thing must leave no trail in the scene; one that stays stops moving, and is then learnt. */
        self->still[i] += (self->now[i] - self->still[i]) * (moves && learnt ? slow * 0.1f : slow);
    }
    return count;
}

static void learn_anew(motion *self) {
    memcpy(self->still, self->now, sizeof self->still);
    memcpy(self->recent, self->now, sizeof self->recent);
    memset(self->noise, 0, sizeof self->noise);
    memset(self->tracks, 0, sizeof self->tracks);
    self->age_seconds = 0;
}

/* Removes moving cells with fewer than two moving neighbours, then marks everything within REACH of the others. */
static void clean(motion *self) {
    memset(self->near, 0, sizeof self->near);
    for (int row = 1; row < ROWS - 1; row++)
        for (int column = 1; column < COLUMNS - 1; column++) {
            const uint8_t *cell = &self->moving[row * COLUMNS + column];
            if (!*cell) continue;
            const int neighbours = !!cell[-1] + !!cell[1] + !!cell[-COLUMNS] + !!cell[COLUMNS] + !!cell[-COLUMNS - 1] +
                                   !!cell[-COLUMNS + 1] + !!cell[COLUMNS - 1] + !!cell[COLUMNS + 1];
            if (neighbours < 2) continue;
            const int top = row < REACH ? 0 : row - REACH, bottom = row + REACH < ROWS ? row + REACH : ROWS - 1;
            const int left = column < REACH ? 0 : column - REACH;
            const int right = column + REACH < COLUMNS ? column + REACH : COLUMNS - 1;
            for (int y = top; y <= bottom; y++) memset(&self->near[y * COLUMNS + left], 1, (size_t)(right - left + 1));
        }
}

/* Walks one connected patch of `near`, clearing it, and returns its number of moving cells and their box. */
static int walk(motion *self, int start, box *found) {
    int depth = 0, area = 0;
    float strength = 0;
    *found = (box){COLUMNS, ROWS, 0, 0, 0};
    self->stack[depth++] = (uint16_t)start;
    self->near[start] = 0;
    while (depth > 0) {
        const int cell = self->stack[--depth], row = cell / COLUMNS, column = cell % COLUMNS;
        if (self->moving[cell]) {
            area++;
            strength += self->moving[cell];
            found->left = smaller(found->left, (float)column);
            found->right = larger(found->right, (float)(column + 1));
            found->top = smaller(found->top, (float)row);
            found->bottom = larger(found->bottom, (float)(row + 1));
        }
        const int next[4] = {column > 0 ? cell - 1 : cell, column < COLUMNS - 1 ? cell + 1 : cell,
                             row > 0 ? cell - COLUMNS : cell, row < ROWS - 1 ? cell + COLUMNS : cell};
        for (int i = 0; i < 4; i++)
            if (self->near[next[i]]) {
                self->near[next[i]] = 0;
                self->stack[depth++] = (uint16_t)next[i];
            }
    }
    found->strength = area ? strength / (float)area : 0;
    return area;
}

static float area(const box *b) { return (b->right - b->left) * (b->bottom - b->top); }

/* Whether two boxes overlap or come within `gap` cells. */
static int touch(const box *a, const box *b, float gap) {
    return a->left < b->right + gap && b->left < a->right + gap && a->top < b->bottom + gap && b->top < a->bottom + gap;
}

static void join(box *into, const box *other) {
    const float a = area(into), b = area(other);
    into->strength = (into->strength * a + other->strength * b) / (a + b);
    into->left = smaller(into->left, other->left);
    into->top = smaller(into->top, other->top);
    into->right = larger(into->right, other->right);
    into->bottom = larger(into->bottom, other->bottom);
}

/* Moving things of this frame, joined where they touch. */
static int find_boxes(motion *self, box *boxes) {
    int count = 0;
    clean(self);
    for (int cell = 0; cell < CELLS && count < BOXES_MAX; cell++)
        if (self->near[cell] && walk(self, cell, &boxes[count]) >= AREA_MIN) count++;
    for (int i = 0; i < count; i++)
        for (int j = i + 1; j < count; j++)
            if (touch(&boxes[i], &boxes[j], REACH)) {
                join(&boxes[i], &boxes[j]);
                boxes[j] = boxes[--count];
                j = i; /* the larger box may touch those passed already */
            }
    return count;
}

/* The track a box continues: the one it overlaps most, else a free one, else none. */
static track *track_for(motion *self, const box *found) {
    track *best = NULL, *free_one = NULL;
    float best_overlap = 0;
    for (int i = 0; i < TRACKS_MAX; i++) {
        track *t = &self->tracks[i];
        if (!t->id) free_one = free_one ? free_one : t;
        if (!t->id || t->matched || !touch(&t->at, found, REACH)) continue;
        box both = t->at;
        join(&both, found);
        const float overlap = (area(&t->at) + area(found)) / area(&both);
        if (overlap > best_overlap) best = t, best_overlap = overlap;
    }
    if (best) return best;
    if (free_one) *free_one = (track){*found, ++self->last_id, 0, 0, 0};
    return free_one;
}

static void follow(motion *self, const box *boxes, int count) {
    for (int i = 0; i < TRACKS_MAX; i++) self->tracks[i].matched = 0;
    for (int i = 0; i < count; i++) {
        track *t = track_for(self, &boxes[i]);
        if (!t) continue;
        /* Half way to the new place each frame: steady, yet never more than a frame or two behind. */
        t->at.left += (boxes[i].left - t->at.left) * 0.5f;
        t->at.top += (boxes[i].top - t->at.top) * 0.5f;
        t->at.right += (boxes[i].right - t->at.right) * 0.5f;
        t->at.bottom += (boxes[i].bottom - t->at.bottom) * 0.5f;
        t->at.strength += (boxes[i].strength - t->at.strength) * 0.2f;
        t->matched = 1;
        t->grace = GRACE_MAX;
        t->seen++;
    }
    for (int i = 0; i < TRACKS_MAX; i++) {
        track *t = &self->tracks[i];
        if (t->id && !t->matched && (t->seen < SEEN_MIN || --t->grace < 0)) t->id = 0;
    }
}

static int32_t report(const motion *self, const fg_out *out, int moving) {
    for (int i = 0; i < TRACKS_MAX; i++) {
        const track *t = &self->tracks[i];
        if (!t->id || t->seen < SEEN_MIN) continue;
        fg_detection found = {0};
        found.struct_size = sizeof found;
        found.label = "motion";
        found.score = smaller(1.0f, 0.4f + t->at.strength / 80);
        found.x = t->at.left / COLUMNS;
        found.y = t->at.top / ROWS;
        found.w = (t->at.right - t->at.left) / COLUMNS;
        found.h = (t->at.bottom - t->at.top) / ROWS;
        found.track = t->id;
        const int32_t status = out->detection(out, &found);
        if (status < 0) return status;
    }
    return fg_data_printf(out, "{\"moving\":%.3f}", (double)moving / CELLS);
}

static int32_t process(fg_processor *processor, const fg_frame *frame, const fg_out *out) {
    motion *self = processor->self;
    box boxes[BOXES_MAX];
    if (frame->format != FG_GRAY8 || frame->width != WIDTH || frame->height != HEIGHT) return FG_ERROR_UNSUPPORTED;
    const float seconds = elapsed(self, frame);
    read_cells(self, &frame->planes[0]);
    if (self->age_seconds == 0) learn_anew(self);
    const int moving = update_model(self, seconds);
    self->age_seconds += seconds;
    /* The first pictures of a call sharpen as its bit rate grows, which is no motion. */
    if (self->age_seconds < LEARNING_SECONDS) return report(self, out, 0);
    if ((float)moving > SCENE_CUT * CELLS) {
        learn_anew(self);
        return report(self, out, moving);
    }
    follow(self, boxes, find_boxes(self, boxes));
    return report(self, out, moving);
}

static void destroy(fg_processor *processor) { free(processor->self); }

static int32_t create(const fg_host *host, fg_processor **processor) {
    const fg_host_want *wanting = host->get_extension(host, FG_EXT_WANT);
    const fg_want want = {sizeof(fg_want), 0, FG_GRAY8, WIDTH, HEIGHT, 0};
    if (!wanting || wanting->set(host, &want) < 0) return FG_ERROR_UNSUPPORTED;
    motion *self = calloc(1, sizeof *self);
    if (!self) return FG_ERROR;
    self->table = (fg_processor){sizeof(fg_processor), 0, self, NULL, process, destroy, NULL};
    *processor = &self->table;
    return FG_OK;
}

FG_ENTRY("motion", "1.0.0", "Boxes around what moves.", create)
