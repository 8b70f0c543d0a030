//! Boxes, points and labels drawn into a picture, for videos that show what processors found.

mod font;

use crate::layout::Layout;
use crate::picture::Range;
use font::{GLYPH_HEIGHT, GLYPH_WIDTH, glyph};

/// One thing to draw. Coordinates are fractions of the picture, origin top-left.
#[derive(Debug, Clone, Copy)]
pub struct Mark<'a> {
    /// `[x, y, width, height]`.
    pub bbox: [f32; 4],
    /// What it says above the box; empty: nothing.
    pub label: &'a str,
    /// Points on it, with a confidence that is not drawn.
    pub points: &'a [[f32; 3]],
    /// The points are the corners of its outline, which is drawn instead of points and box.
    pub is_outline: bool,
    /// Chooses its colour: the same number is always the same colour.
    pub colour: u64,
}

/// Y, Cb and Cr of limited range, easily told apart on skin and walls.
const COLOURS: [[u8; 3]; 6] =
    [[173, 42, 26], [210, 16, 146], [106, 202, 222], [170, 166, 16], [145, 54, 174], [120, 90, 240]];

/// Longest label drawn, in letters: more would cover the picture.
const LABEL_LETTERS_MAX: usize = 32;

/// Rows of a picture for each row of a line: a box stays visible when the video is shown small.
const ROWS_PER_LINE: u32 = 240;

/// Draws `marks` into an I420 picture that lies in `bytes` as `layout` says. Parts outside the picture are left out.
///
/// # Panics
/// When `bytes` is shorter than the layout, or the layout is of another format.
pub fn draw_marks(bytes: &mut [u8], layout: &Layout, range: Range, marks: &[Mark<'_>]) {
    assert_eq!(layout.plane_count, 3, "marks are drawn into I420");
    assert!(bytes.len() >= layout.total_bytes, "the picture is whole");
    let mut canvas = Canvas { bytes, layout, range, pen: COLOURS[0] };
    let line = i64::from((layout.height / ROWS_PER_LINE).clamp(1, 8)) + 1;
    for mark in marks {
        #[expect(clippy::cast_possible_truncation, reason = "a remainder by the number of colours")]
        let colour = (mark.colour % COLOURS.len() as u64) as usize;
        canvas.pen = COLOURS[colour];
        let [x, y, width, height] = mark.bbox;
        let (left, top) = canvas.place(x, y);
        let points: Vec<_> = mark.points.iter().map(|&[x, y, _]| canvas.place(x, y)).collect();
        if mark.is_outline {
            canvas.outline(&points, line);
        }
        if width > 0.0 && height > 0.0 {
            let (right, bottom) = canvas.place(x + width, y + height);
            if !mark.is_outline {
                canvas.frame([left, top, right, bottom], line);
            }
            canvas.label(left, top, mark.label, (line / 2).max(1));
        }
        let dots = if mark.is_outline { &[] } else { &points[..] };
        for (x, y) in dots {
            canvas.fill([x - line, y - line, x + line, y + line]);
        }
    }
}

/// A picture, and the colour that is drawn with.
struct Canvas<'a> {
    bytes: &'a mut [u8],
    layout: &'a Layout,
    range: Range,
    pen: [u8; 3],
}

impl Canvas<'_> {
    /// The pixel at a fraction of the picture; far outside is just outside.
    fn place(&self, x: f32, y: f32) -> (i64, i64) {
        let pixel = |fraction: f32, side: u32| {
            #[expect(clippy::cast_possible_truncation, reason = "clamped to some thousands")]
            let pixel = (f64::from(fraction.clamp(-1.0, 2.0)) * f64::from(side)).round() as i64;
            pixel
        };
        (pixel(x, self.layout.width), pixel(y, self.layout.height))
    }

    /// The four sides of a box, `line` pixels thick, inside it.
    fn frame(&mut self, [left, top, right, bottom]: [i64; 4], line: i64) {
        self.fill([left, top, right, top + line]);
        self.fill([left, bottom - line, right, bottom]);
        self.fill([left, top, left + line, bottom]);
        self.fill([right - line, top, right, bottom]);
    }

    /// Lines from corner to corner and back to the first, `line` pixels thick, around the corners.
    fn outline(&mut self, corners: &[(i64, i64)], line: i64) {
        let before = line / 2;
        for (index, &(x, y)) in corners.iter().enumerate() {
            let (to_x, to_y) = corners[(index + 1) % corners.len()];
            let steps = (to_x - x).abs().max((to_y - y).abs()).max(1);
            for step in 0..=steps {
                let (x, y) = (x + (to_x - x) * step / steps - before, y + (to_y - y) * step / steps - before);
                self.fill([x, y, x + line, y + line]);
            }
        }
    }

    /// A text on a plate of the pen's colour, above the point or, where there is no room, below it.
    fn label(&mut self, left: i64, top: i64, text: &str, dot: i64) {
        let letters = text.chars().take(LABEL_LETTERS_MAX).count();
        if letters == 0 {
            return;
        }
        let signed = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        let (advance, height) = (signed(GLYPH_WIDTH + 1) * dot, signed(GLYPH_HEIGHT) * dot);
        let plate_height = height + 2 * dot;
        let top = if top >= plate_height { top - plate_height } else { top };
        self.fill([left, top, left + signed(letters) * advance + dot, top + plate_height]);
        let pen = std::mem::replace(&mut self.pen, [16, 128, 128]);
        for (index, letter) in text.chars().take(LABEL_LETTERS_MAX).enumerate() {
            let x = left + dot + signed(index) * advance;
            for (row, bits) in glyph(letter).into_iter().enumerate() {
                for column in (0..GLYPH_WIDTH).filter(|column| bits >> (GLYPH_WIDTH - 1 - column) & 1 == 1) {
                    let (x, y) = (x + signed(column) * dot, top + dot + signed(row) * dot);
                    self.fill([x, y, x + dot, y + dot]);
                }
            }
        }
        self.pen = pen;
    }

    /// Fills a rectangle, `[left, top, right, bottom]` without its right and bottom edges.
    fn fill(&mut self, [left, top, right, bottom]: [i64; 4]) {
        let within = |value: i64, side: u32| u32::try_from(value.max(0)).unwrap_or(u32::MAX).min(side) as usize;
        let (width, height) = (self.layout.width, self.layout.height);
        let (left, right) = (within(left, width), within(right, width));
        let (top, bottom) = (within(top, height), within(bottom, height));
        if left >= right || top >= bottom {
            return;
        }
        for (index, plane) in self.layout.planes[..3].iter().enumerate() {
            let code = match self.range {
                Range::Limited => self.pen[index],
                Range::Full => full_range(self.pen[index], index == 0),
            };
            let halved = usize::from(index > 0);
            let columns = left >> halved..(right + halved) >> halved;
            for y in top >> halved..(bottom + halved) >> halved {
                let row = plane.offset + y * plane.stride;
                self.bytes[row + columns.start..row + columns.end].fill(code);
            }
        }
    }
}

/// The full-range code of a limited-range one.
fn full_range(code: u8, is_luma: bool) -> u8 {
    let code = i32::from(code);
    let scaled = if is_luma { (code - 16) * 255 / 219 } else { (code - 128) * 255 / 224 + 128 };
    u8::try_from(scaled.clamp(0, 255)).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use framegate_wire::PixelFormat;

    use super::*;

    fn drawn(width: u32, height: u32, marks: &[Mark<'_>]) -> (Layout, Vec<u8>) {
        let layout = Layout::new(PixelFormat::I420, width, height).unwrap();
        let mut bytes = vec![0; layout.total_bytes];
        draw_marks(&mut bytes, &layout, Range::Limited, marks);
        (layout, bytes)
    }

    fn mark(bbox: [f32; 4], label: &str) -> Mark<'_> {
        Mark { bbox, label, points: &[], is_outline: false, colour: 1 }
    }

    #[test]
    fn a_box_lies_where_it_says() {
        let (layout, bytes) = drawn(320, 240, &[mark([0.25, 0.25, 0.5, 0.5], "")]);
        let luma = |x: usize, y: usize| bytes[y * layout.planes[0].stride + x];
        for (x, y) in [(80, 60), (239, 60), (80, 179), (239, 179), (160, 60), (80, 120)] {
            assert_eq!(luma(x, y), COLOURS[1][0], "{x}, {y}");
        }
        for (x, y) in [(79, 60), (80, 59), (240, 120), (160, 180), (160, 120), (84, 64)] {
            assert_eq!(luma(x, y), 0, "{x}, {y}");
        }
    }

    #[test]
    fn an_outline_is_drawn_instead_of_the_box() {
        let corners = [[0.25, 0.25, 1.0], [0.75, 0.25, 1.0], [0.25, 0.75, 1.0]];
        let mark = Mark { points: &corners, is_outline: true, ..mark([0.25, 0.25, 0.5, 0.5], "") };
        let (layout, bytes) = drawn(320, 240, &[mark]);
        let luma = |x: usize, y: usize| bytes[y * layout.planes[0].stride + x];
        // Along both sides and in the middle of the third, which leads back to the first corner.
        for (x, y) in [(80, 60), (160, 60), (239, 60), (160, 120), (80, 179), (80, 120)] {
            assert_eq!(luma(x, y), COLOURS[1][0], "{x}, {y}");
        }
        for (x, y) in [(239, 120), (239, 179), (160, 179), (120, 100), (77, 60)] {
            assert_eq!(luma(x, y), 0, "{x}, {y}");
        }
        let (_, again) = drawn(320, 240, &[Mark { points: &[], ..mark }]);
        assert!(again.iter().all(|&sample| sample == 0), "an outline without corners");
    }

    #[test]
    fn nothing_is_drawn_outside_and_nothing_panics() {
        let points = [[-5.0, 0.5, 1.0], [f32::MAX, f32::MIN, 1.0], [1.0, 1.0, 1.0]];
        for (width, height) in [(1, 1), (1, 7), (3, 5), (2, 2), (641, 479)] {
            for bbox in [[-1.0, -1.0, 4.0, 4.0], [0.9, 0.9, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0], [3.0, 3.0, 1.0, 1.0]] {
                let label = "a long label, ÄÖÜ and more of it than fits";
                let mark = Mark { bbox, label, points: &points, is_outline: false, colour: 9 };
                let (layout, bytes) = drawn(width, height, &[mark, Mark { is_outline: true, ..mark }]);
                for plane in &layout.planes {
                    for row in bytes[plane.range()].chunks(plane.stride) {
                        assert!(row.iter().skip(plane.width as usize).all(|&padding| padding == 0));
                    }
                }
            }
        }
    }

    #[test]
    fn a_label_is_dark_on_its_plate() {
        let (layout, bytes) = drawn(320, 240, &[mark([0.25, 0.5, 0.5, 0.25], "I")]);
        let text = |x: usize, y: usize| bytes[y * layout.planes[0].stride + x] == 16;
        // The stem of the I: its third column, one dot inside the plate, which ends where the box begins.
        assert!((112..119).all(|y| text(83, y)), "the stem is drawn");
        assert!(!text(81, 114), "beside the stem is the plate");
    }
}
