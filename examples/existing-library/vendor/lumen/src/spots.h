#ifndef LUMEN_SPOTS_H
#define LUMEN_SPOTS_H

#include "lumen/lumen.h"

#include <vector>

namespace lumen {

const int BLOCK = 8;  // pixels a side

struct Picture {
    const unsigned char *rgb;
    int width, height, rowBytes;

    int across() const { return width / BLOCK; }
    int down() const { return height / BLOCK; }
};

// Mean brightness of the blocks in one row of blocks.
void measureRow(const Picture &picture, int row, unsigned char *means);

// Connected groups of at least `smallest` blocks that reach `threshold`.
std::vector<Spot> groupBlocks(const Picture &picture, const std::vector<unsigned char> &means, int threshold,
                              int smallest);

}  // namespace lumen

#endif
