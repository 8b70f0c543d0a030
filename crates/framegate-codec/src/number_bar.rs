//! A frame's number drawn into its picture, to prove which frame a result belongs to.
//!
//! A bar over the full width at the top, a fifteenth of the height and at least [`BAR_ROWS_MIN`] rows, has
//! [`CELL_COUNT`] equal cells: the sync `1, 0`; the number's 16 bits, highest first; the same bits inverted; the sync
//! `0, 1`. A 1 is luma 235, a 0 luma 16, chroma is 128. The sync cells give the reader its levels and the inverted bits
//! reveal a damaged bar, so a number is either right or not read at all.

use framegate_wire::PictureSize;

use crate::picture::{I420Image, PlaneRef};

/// Cells of the bar.
pub const CELL_COUNT: u32 = 36;

/// Fewest rows of the bar, in pixels: half a macroblock, which compression leaves readable.
pub const BAR_ROWS_MIN: u32 = 8;

/// Least difference of luma between 1 and 0: a fifth of what is drawn.
const CONTRAST_MIN: u32 = 44;

const LIGHT: u8 = 235;
const DARK: u8 = 16;
const NEUTRAL: u8 = 128;

/// Rows of the bar in a picture of this height.
#[must_use]
pub const fn bar_rows(height: u32) -> u32 {
    let rows = (height.saturating_mul(2) + 15) / 30;
    let rows = if rows < BAR_ROWS_MIN { BAR_ROWS_MIN } else { rows };
    if rows < height { rows } else { height }
}

/// Draws `number` at the top of `image`.
pub fn draw(image: &mut I420Image, number: u16) {
    let PictureSize { width, height } = image.size();
    let rows = bar_rows(height);
    let cells = cells(number);
    for row in image.rows_mut(0).take(rows as usize) {
        for (x, sample) in (0..width).zip(row) {
            // The cell that the middle of the sample lies in.
            *sample =
                if cells >> (CELL_COUNT - 1 - (2 * x + 1) * CELL_COUNT / (2 * width)) & 1 == 1 { LIGHT } else { DARK };
        }
    }
    for index in 1..3 {
        image.rows_mut(index).take(rows.div_ceil(2) as usize).for_each(|row| row.fill(NEUTRAL));
    }
}

/// Reads the number from a luma plane; `None` when there is no whole bar.
#[must_use]
pub fn read(luma: &PlaneRef<'_>, size: PictureSize) -> Option<u16> {
    if !luma.holds(size.width, size.height) {
        return None;
    }
    read_with(size, |x, y| luma.data[y as usize * luma.stride + x as usize])
}

/// Reads the number from any picture of `size`, whose brightness at column x and row y the function tells.
#[must_use]
pub fn read_with(size: PictureSize, brightness: impl Fn(u32, u32) -> u8) -> Option<u16> {
    let PictureSize { width, height } = size;
    if width < CELL_COUNT || height == 0 {
        return None;
    }
    // The mean of a small square at the cell's centre, so that one wrong sample decides nothing.
    let reach = u32::from(width >= CELL_COUNT * 4);
    let centre_y = bar_rows(height) / 2;
    let level = |cell: u32| {
        let centre_x = (2 * cell + 1) * width / (2 * CELL_COUNT);
        let (mut sum, mut count) = (0, 0);
        for y in centre_y.saturating_sub(reach)..=(centre_y + reach).min(height - 1) {
            for x in centre_x - reach..=(centre_x + reach).min(width - 1) {
                sum += u32::from(brightness(x, y));
                count += 1;
            }
        }
        sum / count
    };
    let (light, dark) = (level(0).midpoint(level(CELL_COUNT - 1)), level(1).midpoint(level(CELL_COUNT - 2)));
    if light < dark + CONTRAST_MIN {
        return None;
    }
    let threshold = light.midpoint(dark);
    let found = (0..CELL_COUNT).fold(0, |found, cell| found << 1 | u64::from(level(cell) > threshold));
    let number = u16::try_from(found >> 18 & 0xffff).ok()?;
    (found == cells(number)).then_some(number)
}

/// All cells as bits, the leftmost highest.
const fn cells(number: u16) -> u64 {
    0b10 << 34 | (number as u64) << 18 | (!number as u64) << 2 | 0b01
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    fn drawn(width: u32, height: u32, number: u16) -> I420Image {
        let mut image = I420Image::new(PictureSize { width, height }).unwrap();
        (0..3).for_each(|index| image.rows_mut(index).for_each(|row| row.fill(NEUTRAL)));
        draw(&mut image, number);
        image
    }

    fn read_image(image: &I420Image) -> Option<u16> {
        read(&image.picture().planes[0], image.size())
    }

    #[test]
    fn the_bar_has_the_stated_height() {
        for (height, rows) in [(480, 32), (720, 48), (240, 16), (100, 8), (128, 9), (5, 5), (1, 1)] {
            assert_eq!(bar_rows(height), rows, "height {height}");
        }
    }

    #[test]
    fn cells_are_as_stated() {
        let image = drawn(360, 120, 0b1010_0000_0000_0001);
        let luma = image.picture().planes[0];
        let cell = |index: usize| u8::from(luma.row(4, 360)[index * 10 + 5] == LIGHT);
        let bits: Vec<u8> = (0..36).map(cell).collect();
        assert_eq!(bits[..2], [1, 0]);
        assert_eq!(bits[2..18], [1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert!(bits[2..18].iter().zip(&bits[18..34]).all(|(bit, inverted)| bit + inverted == 1));
        assert_eq!(bits[34..], [0, 1]);
        assert_eq!(luma.row(8, 360)[0], NEUTRAL);
    }

    #[test]
    fn every_number_is_read_at_every_size() {
        for (width, height) in [(36, 8), (37, 1), (160, 120), (320, 240), (641, 479), (1920, 1080)] {
            for number in [0, 1, 2, 0x00ff, 0x8000, 0xaaaa, 0x5555, u16::MAX] {
                assert_eq!(read_image(&drawn(width, height, number)), Some(number), "{width}x{height}");
            }
        }
        for number in 0..=u16::MAX {
            assert_eq!(read_image(&drawn(72, 8, number)), Some(number));
        }
    }

    #[test]
    fn a_picture_without_a_bar_has_no_number() {
        let mut random = Random::new(1);
        for (width, height) in [(35, 40), (320, 240), (640, 480)] {
            let mut image = drawn(width, height, 7);
            image.rows_mut(0).for_each(|row| row.fill(100));
            assert_eq!(read_image(&image), None);
            image.rows_mut(0).for_each(|row| row.fill_with(|| random.byte()));
            assert_eq!(read_image(&image), None);
        }
    }

    #[test]
    fn a_flipped_cell_is_noticed() {
        for cell in 0..CELL_COUNT as usize {
            let mut image = drawn(360, 120, 0x1234);
            image.rows_mut(0).take(8).for_each(|row| {
                row[cell * 10..cell * 10 + 10].iter_mut().for_each(|sample| *sample = LIGHT + DARK - *sample);
            });
            assert_eq!(read_image(&image), None, "cell {cell}");
        }
    }
}
