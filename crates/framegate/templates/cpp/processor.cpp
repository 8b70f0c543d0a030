// @NAME@: a box around what moves.
//
// Compiled by framegate itself; a line such as the next one names packages of pkg-config, a standard and flags. With
// OpenCV: pkg=opencv4, and #include <framegate/cv.hpp> for frame.mat().
// framegate: std=17
#include <framegate.hpp>

#include <algorithm>
#include <cstdlib>
#include <vector>

struct Motion : fg::Processor {
    fg::Param<int> threshold{*this, "threshold", 15,
                             fg::range(1, 255).label("Threshold").unit("levels").description(
                                 "Least change of a pixel that counts.")};

    fg::Want want() override { return fg::Want().format(fg::Format::gray8).size(WIDTH, HEIGHT); }

    void process(fg::Frame &frame, fg::Result &result) override {
        int moving = 0, left = WIDTH, top = HEIGHT, right = 0, bottom = 0;
        for (int y = 0; !before_.empty() && y < HEIGHT; y += CELL)
            for (int x = 0; x < WIDTH; x += CELL) {
                if (!moves(frame, x, y)) continue;
                moving++;
                left = std::min(left, x);
                top = std::min(top, y);
                right = std::max(right, x + CELL);
                bottom = std::max(bottom, y + CELL);
            }
        before_.clear();
        for (unsigned y = 0; y < HEIGHT; y++) before_.insert(before_.end(), frame.row(y), frame.row(y) + WIDTH);
        if (moving > 0)
            result.box("motion", 1, fg::PixelRect{double(left), double(top), double(right - left), double(bottom - top)});
        result.data(fg::Json().set("moving", moving));
    }

  private:
    // Pictures that are wanted, and squares that move or do not.
    enum { WIDTH = 160, HEIGHT = 120, CELL = 8 };

    bool moves(const fg::Frame &frame, int left, int top) const {
        const int least = threshold;
        int count = 0;
        for (int y = top; y < top + CELL; y++) {
            const std::uint8_t *row = frame.row(static_cast<unsigned>(y));
            for (int x = left; x < left + CELL; x++)
                count += std::abs(row[x] - before_[static_cast<std::size_t>(y * WIDTH + x)]) >= least;
        }
        return count >= CELL * CELL / 4;
    }

    std::vector<std::uint8_t> before_; // the picture before
};

FRAMEGATE_PROCESSOR(Motion, "@NAME@", "0.1.0", "Draws a box around what moves.")
