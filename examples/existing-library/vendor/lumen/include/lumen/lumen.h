// lumen 2.3: bright spots in RGB pictures. One process, one lumen: the state is global.
#ifndef LUMEN_LUMEN_H
#define LUMEN_LUMEN_H

#include <string>

namespace lumen {

struct Settings {
    std::string profile;  // path of the profile file
    int workers;          // threads to start
};

struct Spot {
    int left, top, width, height;  // pixels
    double brightness;             // mean, 0 to 255
};

// Called once for each spot of a picture, from one of lumen's threads.
typedef void (*Callback)(const Spot &spot, void *user);

// Starts the threads and reads the profile. False: see lastError().
bool start(const Settings &settings);
void stop();
const char *lastError();

void setCallback(Callback callback, void *user);
void setThreshold(int threshold);

// Begins with a picture, R G B, and returns at once. The bytes must stay until wait() has returned.
void submit(const unsigned char *rgb, int width, int height, int rowBytes);
// Returns when every callback for the picture has been made.
void wait();

}  // namespace lumen

#endif
