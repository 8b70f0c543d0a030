# brightness a block must reach (0-255), and blocks in the smallest spot
threshold 200
smallest 4
