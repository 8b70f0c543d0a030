#include "spots.h"

#include <algorithm>

namespace lumen {

void measureRow(const Picture &picture, int row, unsigned char *means) {
    for (int column = 0; column < picture.across(); column++) {
        int sum = 0;
        for (int y = 0; y < BLOCK; y++) {
            const unsigned char *pixel =
                picture.rgb + static_cast<long>(row * BLOCK + y) * picture.rowBytes + column * BLOCK * 3;
            for (int x = 0; x < BLOCK; x++, pixel += 3) sum += 2 * pixel[0] + 5 * pixel[1] + pixel[2];
        }
        means[column] = static_cast<unsigned char>(sum / (8 * BLOCK * BLOCK));
    }
}

static Spot grow(int start, int across, int down, const std::vector<unsigned char> &means, int threshold,
                 std::vector<bool> &seen, int &size) {
    std::vector<int> todo(1, start);
    int left = across, top = down, right = 0, bottom = 0;
    double sum = 0;
    seen[start] = true;
    for (size = 0; !todo.empty(); size++) {
        const int block = todo.back();
        const int column = block % across, row = block / across;
        todo.pop_back();
        sum += means[block];
        left = std::min(left, column), right = std::max(right, column + 1);
        top = std::min(top, row), bottom = std::max(bottom, row + 1);
        const int neighbours[4] = {column > 0 ? block - 1 : -1, column + 1 < across ? block + 1 : -1,
                                   row > 0 ? block - across : -1, row + 1 < down ? block + across : -1};
        for (int next : neighbours) {
            if (next < 0 || seen[next] || means[next] < threshold) continue;
            seen[next] = true;
            todo.push_back(next);
        }
    }
    return {left * BLOCK, top * BLOCK, (right - left) * BLOCK, (bottom - top) * BLOCK, sum / size};
}

std::vector<Spot> groupBlocks(const Picture &picture, const std::vector<unsigned char> &means, int threshold,
                              int smallest) {
    std::vector<bool> seen(means.size());
    std::vector<Spot> spots;
    for (int block = 0; block < static_cast<int>(means.size()); block++) {
        if (seen[block] || means[block] < threshold) continue;
        int size = 0;
        const Spot spot = grow(block, picture.across(), picture.down(), means, threshold, seen, size);
        if (size >= smallest) spots.push_back(spot);
    }
    return spots;
}

}  // namespace lumen
