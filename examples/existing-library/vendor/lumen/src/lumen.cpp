#include "lumen/lumen.h"

#include "pool.h"
#include "profile.h"
#include "spots.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

#define LUMEN_CHECK(condition)                                                          \
    do {                                                                                \
        if (!(condition)) {                                                             \
            std::fprintf(stderr, "lumen: %s:%d: %s\n", __FILE__, __LINE__, #condition); \
            std::abort();                                                               \
        }                                                                               \
    } while (0)

namespace lumen {

static Pool g_pool;
static Profile g_profile;
static std::string g_error;
static Callback g_callback = nullptr;
static void *g_user = nullptr;
static bool g_started = false;
static Picture g_picture;
static std::vector<unsigned char> g_means;
static std::atomic<int> g_rowsLeft;
static std::atomic<long> g_spotsTotal;

static void sayGoodbye() { std::printf("lumen: %ld spots in all\n", g_spotsTotal.load()); }

bool start(const Settings &settings) {
    LUMEN_CHECK(!g_started);
    LUMEN_CHECK(settings.workers > 0);
    g_profile = Profile();
    if (!readProfile(settings.profile, g_profile, g_error)) return false;
    std::atexit(sayGoodbye);
    g_pool.start(settings.workers);
    g_started = true;
    std::printf("lumen 2.3.1: %d workers, threshold %d\n", settings.workers, g_profile.threshold);
    std::fflush(stdout);
    return true;
}

void stop() {
    g_pool.stop();
    g_started = false;
}

const char *lastError() { return g_error.c_str(); }

void setCallback(Callback callback, void *user) {
    g_callback = callback;
    g_user = user;
}

void setThreshold(int threshold) { g_profile.threshold = threshold; }

static void finish() {
    for (const Spot &spot : groupBlocks(g_picture, g_means, g_profile.threshold, g_profile.smallest)) {
        g_spotsTotal++;
        if (g_callback) g_callback(spot, g_user);
    }
}

void submit(const unsigned char *rgb, int width, int height, int rowBytes) {
    LUMEN_CHECK(g_started);
    LUMEN_CHECK(width >= BLOCK && height >= BLOCK);
    LUMEN_CHECK(rowBytes >= 3 * width);
    g_picture = {rgb, width, height, rowBytes};
    g_means.assign(static_cast<std::size_t>(g_picture.across()) * g_picture.down(), 0);
    g_rowsLeft = g_picture.down();
    for (int row = 0; row < g_picture.down(); row++)
        g_pool.add([row] {
            measureRow(g_picture, row, &g_means[static_cast<std::size_t>(row) * g_picture.across()]);
            if (--g_rowsLeft == 0) finish();
        });
}

void wait() { g_pool.waitUntilIdle(); }

}  // namespace lumen
