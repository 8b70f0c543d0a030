/* Boxes around what moves (level 2). Asks for small grey pictures, keeps what each cell of the still scene looks like
 * and follows up to eight moving things. Ignores sensor noise, changes of exposure and what has stopped. All memory is
 * in the instance; nothing is allocated per frame. */
#include <framegate.h>
#include <stdlib.h>
#include <string.h>

enum {
    COLUMNS = 128, ROWS = 96,                      /* wanted picture, whatever the camera's aspect; a pixel is a cell */
    CELLS = COLUMNS * ROWS,
    ACROSS = COLUMNS / 2, DOWN = ROWS / 2,         /* blocks of 2 x 2 cells, in which things are put together */
    BLOCKS = ACROSS * DOWN,
    FULL_MIN = 1,                                  /* moving cells in a block that counts */
    NEIGHBOURS_MIN = 3,                            /* blocks that count around it, of 8 */
    AREA_MIN = 12,                                 /* moving cells in the smallest thing */
    BOXES_MAX = 32,                                /* things looked at per frame */
    TRACKS_MAX = 8,                                /* things followed */
    SEEN_MIN = 3,                                  /* frames until a thing is reported: a flash is nothing */
    GRACE_MAX = 4                                  /* frames a thing may pause before it is forgotten */
};

/* Grey levels: a cell differs by more than LEVELS_MIN and NOISE_TIMES its usual noise, NOISE_MAX at most. */
static const float LEVELS_MIN = 8.0f, NOISE_TIMES = 4.0f, NOISE_MAX = 14.0f;
/* Seconds over which the scene is averaged, what is recent, and until the first boxes. */
static const float STILL_SECONDS = 4.0f, RECENT_SECONDS = 0.3f, BEGIN_SECONDS = 0.5f;
/* Seconds until what stays belongs to the scene: fewer in the first LEARNING_SECONDS, when things hide it. */
static const float STAY_SECONDS = 0.8f, STAY_SECONDS_FIRST = 0.3f, LEARNING_SECONDS = 1.2f;
/* Seconds the scene behind what stays is remembered. */
static const float BEHIND_SECONDS = 20.0f;
/* More of the picture than this changing at once is a new scene, not a thing. */
static const float SCENE_CUT = 0.6f;
/* Part of a thing's cells that changed recently; with less it has stopped, or is where something was. */
static const float ACTIVE_MIN = 0.04f;

typedef struct box { float left, top, right, bottom, strength; } box; /* in cells */

typedef struct track {
    box at;
    float across, down; /* cells a frame */
    uint64_t id;        /* 0: free */
    int seen, grace, matched;
} track;

/* What a cell looked like: the scene, the scene before what stays in front of it, and a candidate; with seconds. */
typedef struct cell { float scene, behind, behind_left, candidate, stayed, recent, noise; } cell;

typedef struct motion {
    fg_processor table;
    cell cells[CELLS];
    uint8_t moving[CELLS], active[CELLS]; /* by how much it differs from the scene; whether it changed recently */
    uint8_t full[BLOCKS], near[BLOCKS];
    uint16_t stack[BLOCKS];
    track tracks[TRACKS_MAX];
    uint64_t last_id;
    int64_t received_ns;
    float usual_noise; /* of all cells: one that a thing hid since the start has no noise of its own yet */
    float age_seconds; /* of what is known of the scene */
} motion;

static float magnitude(float value) { return value < 0 ? -value : value; }
static float smaller(float a, float b) { return a < b ? a : b; }
static float larger(float a, float b) { return a > b ? a : b; }

/* Seconds since the previous frame, so that nothing depends on the frame rate. */
static float elapsed(motion *self, const fg_frame *frame) {
    const float seconds = (float)(frame->received_ns - self->received_ns) * 1e-9f;
    self->received_ns = frame->received_ns;
    return seconds > 0.001f && seconds < 1.0f ? seconds : 1.0f / 30;
}

static const uint8_t *row_of(const fg_plane *plane, int row) { return plane->data + row * plane->stride_bytes; }

/* How much brighter most cells became: the median difference, which a moving thing cannot pull along. */
static float exposure_shift(const motion *self, const fg_plane *plane) {
    int histogram[511] = {0}, count = 0, level = 0;
    for (int row = 0; row < ROWS; row += 2)
        for (int column = row / 2 % 2; column < COLUMNS; column += 2)
            histogram[(int)((float)row_of(plane, row)[column] - self->cells[row * COLUMNS + column].scene + 255.5f)]++;
    while ((count += histogram[level]) <= CELLS / 8) level++;
    return (float)(level - 255);
}

static void learn_anew(motion *self, const fg_plane *plane) {
    for (int i = 0; i < CELLS; i++) {
        const float now = row_of(plane, i / COLUMNS)[i % COLUMNS];
        self->cells[i] = (cell){now, now, 0, now, 0, now, 0};
    }
    memset(self->tracks, 0, sizeof self->tracks);
    self->age_seconds = 0;
}

/* Lets a candidate that has stayed become the scene; what was the scene before is remembered. */
static void consider(cell *c, float now, float threshold, float seconds, int learning) {
    if (magnitude(now - c->candidate) <= threshold * 0.6f) {
        c->candidate += (now - c->candidate) * larger(0.05f, seconds / (c->stayed + 2 * seconds));
        c->stayed += seconds;
        if (c->stayed < (learning ? STAY_SECONDS_FIRST : STAY_SECONDS)) return;
        c->behind = c->scene;
        c->behind_left = learning ? LEARNING_SECONDS : BEHIND_SECONDS;
        c->scene = c->candidate;
        c->stayed = 0;
    } else if ((c->stayed -= 2 * seconds) <= 0) {
        c->candidate = now;
        c->stayed = 0;
    }
}

/* Marks the moving cells, lets the scene follow, and returns how many cells move. */
static int update_scene(motion *self, const fg_plane *plane, float seconds) {
    const float shift = exposure_shift(self, plane);
    /* A change of exposure is a gain: bright cells move further than the median. */
    const float allowance = LEVELS_MIN + magnitude(shift) * 0.6f;
    const float slow = seconds / (smaller(STILL_SECONDS, self->age_seconds) + seconds);
    const float fast = seconds / (RECENT_SECONDS + seconds);
    const int learning = self->age_seconds < LEARNING_SECONDS;
    float noise = 0;
    int count = 0;
    for (int i = 0; i < CELLS; i++) {
        cell *c = &self->cells[i];
        const float now = row_of(plane, i / COLUMNS)[i % COLUMNS];
        const float threshold = allowance + smaller(NOISE_TIMES * larger(c->noise, self->usual_noise), NOISE_MAX);
        const float from_scene = magnitude(now - c->scene - shift), from_recent = magnitude(now - c->recent);
        const int behind = c->behind_left > 0 && magnitude(now - c->behind - shift) <= threshold;
        const int moves = from_scene > threshold && !behind;
        self->moving[i] = (uint8_t)(moves ? smaller(255.0f, from_scene) : 0.0f);
        self->active[i] = from_recent > threshold;
        count += moves;
        noise += c->noise;
        c->recent += (now - c->recent) * fast;
        c->behind_left -= seconds;
        if (moves) {
            consider(c, now, threshold, seconds, learning);
            continue;
        }
        if (from_scene > threshold) { /* what stayed in front of the scene has gone */
            c->scene = c->behind;
            c->behind_left = 0;
        }
        c->stayed = larger(0, c->stayed - 0.5f * seconds);
        c->noise += (magnitude(now - c->scene - shift) - c->noise) * slow;
        c->scene += (now - c->scene) * slow;
    }
    self->usual_noise = noise / CELLS;
    return count;
}

/* Marks the blocks where enough cells move that have company, and all blocks around those. */
static void mark_blocks(motion *self) {
    for (int block = 0; block < BLOCKS; block++) {
        const uint8_t *at = &self->moving[block / ACROSS * 2 * COLUMNS + block % ACROSS * 2];
        self->full[block] = !!at[0] + !!at[1] + !!at[COLUMNS] + !!at[COLUMNS + 1] >= FULL_MIN;
    }
    memset(self->near, 0, sizeof self->near);
    for (int row = 0; row < DOWN; row++)
        for (int column = 0; column < ACROSS; column++) {
            if (!self->full[row * ACROSS + column]) continue;
            const int top = row ? row - 1 : 0, bottom = row < DOWN - 1 ? row + 1 : row;
            const int left = column ? column - 1 : 0, right = column < ACROSS - 1 ? column + 1 : column;
            int full = -1;
            for (int y = top; y <= bottom; y++)
                for (int x = left; x <= right; x++) full += self->full[y * ACROSS + x];
            if (full < NEIGHBOURS_MIN) continue;
            for (int y = top; y <= bottom; y++)
                for (int x = left; x <= right; x++) self->near[y * ACROSS + x] = 1;
        }
}

/* Adds the moving cells of a block to a box, their number to `area`, and those that changed recently to `active`. */
static void add_block(const motion *self, int block, box *found, int *area, int *active) {
    for (int i = 0; i < 4; i++) {
        const int row = block / ACROSS * 2 + i / 2, column = block % ACROSS * 2 + i % 2;
        const uint8_t moving = self->moving[row * COLUMNS + column];
        if (!moving) continue;
        ++*area;
        *active += self->active[row * COLUMNS + column];
        found->strength += moving;
        found->left = smaller(found->left, (float)column);
        found->right = larger(found->right, (float)(column + 1));
        found->top = smaller(found->top, (float)row);
        found->bottom = larger(found->bottom, (float)(row + 1));
    }
}

/* Walks one connected patch of blocks, clearing it, and finds its box. Says whether that is a moving thing. */
static int walk(motion *self, int start, box *found) {
    int depth = 0, area = 0, active = 0;
    *found = (box){COLUMNS, ROWS, 0, 0, 0};
    self->stack[depth++] = (uint16_t)start;
    self->near[start] = 0;
    while (depth > 0) {
        const int block = self->stack[--depth], row = block / ACROSS, column = block % ACROSS;
        if (self->full[block]) add_block(self, block, found, &area, &active);
        const int next[4] = {column > 0 ? block - 1 : block, column < ACROSS - 1 ? block + 1 : block,
                             row > 0 ? block - ACROSS : block, row < DOWN - 1 ? block + ACROSS : block};
        for (int i = 0; i < 4; i++)
            if (self->near[next[i]]) {
                self->near[next[i]] = 0;
                self->stack[depth++] = (uint16_t)next[i];
            }
    }
    found->strength /= (float)(area ? area : 1);
    return area >= AREA_MIN && (float)active >= ACTIVE_MIN * (float)area;
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

/* Moving things of this frame, joined where they overlap, the largest first. */
static int find_boxes(motion *self, box *boxes) {
    int count = 0;
    mark_blocks(self);
    for (int block = 0; block < BLOCKS && count < BOXES_MAX; block++)
        if (self->near[block] && walk(self, block, &boxes[count])) count++;
    for (int i = 0; i < count; i++)
        for (int j = i + 1; j < count; j++)
            if (touch(&boxes[i], &boxes[j], 1)) {
                join(&boxes[i], &boxes[j]);
                boxes[j] = boxes[--count];
                i = -1; /* the larger box may touch those passed already */
                break;
            }
    for (int i = 1; i < count; i++)
        for (int j = i; j > 0 && area(&boxes[j]) > area(&boxes[j - 1]); j--) {
            const box larger_one = boxes[j];
            boxes[j] = boxes[j - 1], boxes[j - 1] = larger_one;
        }
    return count;
}

static void move(box *b, float across, float down) {
    b->left += across, b->right += across, b->top += down, b->bottom += down;
}

/* The track a box continues: the one it overlaps best, else a free one, else none. */
static track *track_for(motion *self, const box *found) {
    track *best = NULL, *free_one = NULL;
    float best_overlap = 0;
    for (int i = 0; i < TRACKS_MAX; i++) {
        track *t = &self->tracks[i];
        if (!t->id) free_one = t;
        if (!t->id || t->matched || !touch(&t->at, found, 2)) continue;
        box both = t->at;
        join(&both, found);
        const float overlap = (area(&t->at) + area(found)) / area(&both);
        if (overlap > best_overlap) best = t, best_overlap = overlap;
    }
    if (best) return best;
    if (free_one) *free_one = (track){*found, 0, 0, ++self->last_id, 0, 0, 0};
    return free_one;
}

/* Puts a track where its thing is now: the place at once, so that the box never trails; only the size is smoothed. */
static void place(track *t, const box *found) {
    const float width = t->at.right - t->at.left, height = t->at.bottom - t->at.top;
    const float x = (found->left + found->right) / 2, y = (found->top + found->bottom) / 2;
    const float moved_x = x - (t->at.left + t->at.right) / 2, moved_y = y - (t->at.top + t->at.bottom) / 2;
    const float half_width = (width + (found->right - found->left - width) * 0.5f) / 2;
    const float half_height = (height + (found->bottom - found->top - height) * 0.5f) / 2;
    const float strength = t->at.strength + (found->strength - t->at.strength) * 0.2f;
    t->at = (box){x - half_width, y - half_height, x + half_width, y + half_height, strength};
    t->across += moved_x * 0.5f; /* the track was moved ahead already: what is left is the error of the speed */
    t->down += moved_y * 0.5f;
    t->matched = 1;
    t->grace = GRACE_MAX;
    t->seen++;
}

static void follow(motion *self, const box *boxes, int count) {
    for (int i = 0; i < TRACKS_MAX; i++) {
        self->tracks[i].matched = 0;
        move(&self->tracks[i].at, self->tracks[i].across, self->tracks[i].down);
    }
    for (int i = 0; i < count; i++) {
        track *t = track_for(self, &boxes[i]);
        if (t) place(t, &boxes[i]);
    }
    for (int i = 0; i < TRACKS_MAX; i++) {
        track *t = &self->tracks[i];
        if (!t->id || t->matched) continue;
        t->across *= 0.5f, t->down *= 0.5f;
        if (t->seen < SEEN_MIN || --t->grace < 0) t->id = 0;
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
    const fg_plane *plane = &frame->planes[0];
    box boxes[BOXES_MAX];
    if (frame->format != FG_GRAY8 || frame->width != COLUMNS || frame->height != ROWS) return FG_ERROR_UNSUPPORTED;
    const float seconds = elapsed(self, frame);
    if (self->age_seconds == 0) learn_anew(self, plane);
    const int moving = update_scene(self, plane, seconds);
    self->age_seconds += seconds;
    if ((float)moving > SCENE_CUT * CELLS) {
        learn_anew(self, plane);
        return report(self, out, moving);
    }
    /* The first pictures of a call sharpen as its bit rate grows, which is no motion. */
    if (self->age_seconds < BEGIN_SECONDS) return report(self, out, 0);
    follow(self, boxes, find_boxes(self, boxes));
    return report(self, out, moving);
}

static void destroy(fg_processor *processor) { free(processor->self); }

static int32_t create(const fg_host *host, fg_processor **processor) {
    if (fg_want_frames(host, FG_GRAY8, COLUMNS, ROWS) < 0) return FG_ERROR_UNSUPPORTED;
    motion *self = calloc(1, sizeof *self);
    if (!self) return FG_ERROR;
    self->table = (fg_processor){sizeof(fg_processor), 0, self, NULL, process, destroy, NULL};
    *processor = &self->table;
    return FG_OK;
}

FG_ENTRY("motion", "1.0.0", "Boxes around what moves.", create)
