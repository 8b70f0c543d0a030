// Reads the number drawn as a bar of 36 cells: sync 1 0, 16 bits, the same bits inverted, sync 0 1; white is 1.
// As `framegate-codec`'s `number_bar`: a number is right or not read at all.
import { PNG } from 'pngjs';

export const CELLS = 36;
const BITS = 16;
const CONTRAST_MIN = 44;

/** The numbers in the middle of the given rows of a PNG of the given width; `null` where there is no whole bar. */
export function readBars(png, rows) {
  const picture = PNG.sync.read(png);
  return rows.map((row) => readBar(picture, row));
}

function readBar({ width, data }, row) {
  const levels = Array.from({ length: CELLS }, (_, cell) => {
    const x = Math.floor((cell + 0.5) * width / CELLS);
    return data[4 * (row * width + x) + 1]; // green is most of the brightness
  });
  const light = (levels[0] + levels[CELLS - 1]) / 2;
  const dark = (levels[1] + levels[CELLS - 2]) / 2;
  if (light < dark + CONTRAST_MIN) return null;
  const bits = levels.map((level) => (level > (light + dark) / 2 ? 1 : 0));
  if (bits[0] !== 1 || bits[1] !== 0 || bits[CELLS - 2] !== 0 || bits[CELLS - 1] !== 1) return null;
  let number = 0;
  for (let bit = 0; bit < BITS; bit++) {
    if (bits[2 + bit] === bits[2 + BITS + bit]) return null;
    number = number << 1 | bits[2 + bit];
  }
  return number;
}
