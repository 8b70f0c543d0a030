//! Scaling and conversion in plain arithmetic, as the standards write them: the measure of the fast path in tests.

use framegate_wire::PixelFormat;

use crate::picture::{Matrix, Picture, PlaneRef, Range};

/// Colour of one pixel, as red, green, blue from 0 to 255, by the matrix of ITU-R BT.601 or BT.709.
///
/// Luma below black counts as black, as any hardware does: codes 0 to 15 are foot-room for filters, not light.
#[must_use]
pub fn to_rgb(sample: [u8; 3], matrix: Matrix, range: Range) -> [u8; 3] {
    let (red_weight, blue_weight) = match matrix {
        Matrix::Bt601 => (0.299, 0.114),
        Matrix::Bt709 => (0.2126, 0.0722),
    };
    let green_weight = 1.0 - red_weight - blue_weight;
    let (black, luma_span, chroma_span) = match range {
        Range::Limited => (16.0, 219.0, 224.0),
        Range::Full => (0.0, 255.0, 255.0),
    };
    let luma = (f64::from(sample[0]) - black).max(0.0) / luma_span;
    let blue_difference = (f64::from(sample[1]) - 128.0) / chroma_span;
    let red_difference = (f64::from(sample[2]) - 128.0) / chroma_span;
    let red = luma + 2.0 * (1.0 - red_weight) * red_difference;
    let blue = luma + 2.0 * (1.0 - blue_weight) * blue_difference;
    let green = (luma - red_weight * red - blue_weight * blue) / green_weight;
    [red, green, blue].map(|part| round(part * 255.0))
}

/// Luma from 0 to 255.
#[must_use]
pub fn to_gray(luma: u8, range: Range) -> u8 {
    match range {
        Range::Limited => round((f64::from(luma) - 16.0) * 255.0 / 219.0),
        Range::Full => luma,
    }
}

/// The planes of `picture` in `format`, each without padding between its rows.
///
/// # Panics
/// When a plane is smaller than the picture's size says.
#[must_use]
pub fn convert(picture: &Picture<'_>, format: PixelFormat) -> Vec<Vec<u8>> {
    let (width, height) = (picture.size.width as usize, picture.size.height as usize);
    let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
    let sample = |index: usize, x: usize, y: usize| picture.planes[index].data[y * picture.planes[index].stride + x];
    let each = |width: usize, height: usize| (0..height).flat_map(move |y| (0..width).map(move |x| (x, y)));
    let plane = |index: usize, width: usize, height: usize| -> Vec<u8> {
        each(width, height).map(|(x, y)| sample(index, x, y)).collect()
    };
    let rgb = |(x, y): (usize, usize)| {
        to_rgb([sample(0, x, y), sample(1, x / 2, y / 2), sample(2, x / 2, y / 2)], picture.matrix, picture.range)
    };
    match format {
        PixelFormat::Rgb24 => vec![each(width, height).flat_map(rgb).collect()],
        PixelFormat::Bgr24 => {
            vec![each(width, height).map(rgb).flat_map(|[red, green, blue]| [blue, green, red]).collect()]
        }
        PixelFormat::Bgra => {
            vec![each(width, height).map(rgb).flat_map(|[red, green, blue]| [blue, green, red, 255]).collect()]
        }
        PixelFormat::Gray8 => {
            vec![each(width, height).map(|(x, y)| to_gray(sample(0, x, y), picture.range)).collect()]
        }
        PixelFormat::I420 => {
            vec![plane(0, width, height), plane(1, half_width, half_height), plane(2, half_width, half_height)]
        }
        PixelFormat::Nv12 => {
            let pair = |(x, y)| [sample(1, x, y), sample(2, x, y)];
            vec![plane(0, width, height), each(half_width, half_height).flat_map(pair).collect()]
        }
    }
}

/// `plane` of `from` samples scaled to `to` samples (width, height), each the mean of the area it covers.
///
/// # Panics
/// When the plane is smaller than `from`.
#[must_use]
pub fn box_scale(plane: &PlaneRef<'_>, from: (u32, u32), to: (u32, u32)) -> Vec<u8> {
    let across = shares(from.0, to.0);
    let down = shares(from.1, to.1);
    let mut scaled = Vec::with_capacity(across.len() * down.len());
    for rows in &down {
        for columns in &across {
            let mut sum = 0.0;
            for &(y, row_share) in rows {
                for &(x, share) in columns {
                    sum += f64::from(plane.data[y * plane.stride + x]) * share * row_share;
                }
            }
            scaled.push(round(sum));
        }
    }
    scaled
}

/// For each target sample the source samples it covers, with their shares of it.
fn shares(from: u32, to: u32) -> Vec<Vec<(usize, f64)>> {
    // In units of 1/to of a source sample, so that all edges are whole numbers.
    let (from, to) = (from as usize, to as usize);
    let share_of = |target: usize, source: usize| {
        let (start, end) = ((target * from).max(source * to), ((target + 1) * from).min((source + 1) * to));
        end.saturating_sub(start) as f64 / from as f64
    };
    let covered = |target: usize| (target * from / to)..((target + 1) * from).div_ceil(to);
    (0..to).map(|target| covered(target).map(|source| (source, share_of(target, source))).collect()).collect()
}

fn round(value: f64) -> u8 {
    // A cast from floating point saturates.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range of a byte")]
    let byte = value.round().clamp(0.0, 255.0) as u8;
    byte
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_colours() {
        let limited = |sample| to_rgb(sample, Matrix::Bt601, Range::Limited);
        assert_eq!(limited([16, 128, 128]), [0, 0, 0]);
        assert_eq!(limited([235, 128, 128]), [255, 255, 255]);
        // 75 % bars of BT.601, whose codes are rounded: yellow, blue.
        let near = |found: [u8; 3], expected: [u8; 3]| found.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 1);
        assert!(near(limited([162, 44, 142]), [191, 191, 0]));
        assert!(near(limited([35, 212, 114]), [0, 0, 191]));
        assert_eq!(to_rgb([0, 128, 128], Matrix::Bt709, Range::Full), [0, 0, 0]);
        assert_eq!(to_rgb([54, 99, 255], Matrix::Bt709, Range::Full), [254, 0, 0]);
        assert_eq!(to_gray(126, Range::Limited), 128);
    }

    #[test]
    fn means_of_areas() {
        let data = [0, 10, 20, 30, 40, 50];
        let plane = PlaneRef { data: &data, stride: 3 };
        assert_eq!(box_scale(&plane, (3, 2), (1, 1)), [25]);
        assert_eq!(box_scale(&plane, (3, 2), (3, 1)), [15, 25, 35]);
        assert_eq!(box_scale(&plane, (3, 2), (2, 2)), [3, 17, 33, 47]);
        assert_eq!(box_scale(&plane, (3, 2), (6, 2))[..6], [0, 0, 10, 10, 20, 20]);
    }
}
