//! The fast path against the plain-Rust reference, on random pictures of even and odd sizes, within guarded memory.

#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test fails by panicking")]

use framegate_codec::{ConvertError, Converter, Layout, Matrix, Picture, PlaneRef, Range, reference};
use framegate_wire::{PictureSize, PixelFormat};

const FORMATS: [PixelFormat; 6] = [
    PixelFormat::Bgr24,
    PixelFormat::Rgb24,
    PixelFormat::Bgra,
    PixelFormat::Gray8,
    PixelFormat::I420,
    PixelFormat::Nv12,
];

const SIZES: [(u32, u32); 14] = [
    (1, 1),
    (2, 1),
    (1, 2),
    (3, 5),
    (7, 2),
    (16, 16),
    (31, 9),
    (33, 10),
    (64, 3),
    (65, 4),
    (127, 6),
    (320, 240),
    (641, 479),
    (640, 480),
];

const COLOURS: [(Matrix, Range); 4] = [
    (Matrix::Bt601, Range::Limited),
    (Matrix::Bt601, Range::Full),
    (Matrix::Bt709, Range::Limited),
    (Matrix::Bt709, Range::Full),
];

/// Fills what nobody may write.
const GUARD: u8 = 0xa5;

/// Bytes watched before and behind the output.
const GUARD_BYTES: usize = 256;

struct Source {
    planes: [Vec<u8>; 3],
    strides: [usize; 3],
    size: PictureSize,
}

impl Source {
    /// Random samples; each plane ends with its last sample, so that a read beyond it is a read beyond the allocation.
    fn random(width: u32, height: u32, seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut byte = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[5]
        };
        let sides = [(width, height), (width.div_ceil(2), height.div_ceil(2)), (width.div_ceil(2), height.div_ceil(2))];
        let strides = sides.map(|(width, _)| width as usize + seed as usize % 3 * 5);
        let mut index = 0;
        let planes = sides.map(|(width, height)| {
            let length = strides[index] * (height as usize - 1) + width as usize;
            index += 1;
            (0..length).map(|_| byte()).collect()
        });
        Self { planes, strides, size: PictureSize { width, height } }
    }

    /// Slow gradients, whose scaled values hardly depend on the filter.
    fn smooth(width: u32, height: u32) -> Self {
        let mut source = Self::random(width, height, 3);
        for (plane, stride) in source.planes.iter_mut().zip(source.strides) {
            for (at, sample) in plane.iter_mut().enumerate() {
                let (x, y) = ((at % stride) as u32, (at / stride) as u32);
                *sample = (20 + x * 100 / width + y * 100 / height).min(255) as u8;
            }
        }
        source
    }

    fn picture(&self, matrix: Matrix, range: Range) -> Picture<'_> {
        let plane = |index: usize| PlaneRef { data: &self.planes[index], stride: self.strides[index] };
        Picture { size: self.size, planes: [plane(0), plane(1), plane(2)], matrix, range }
    }
}

fn sample_bytes(format: PixelFormat, plane: usize) -> usize {
    match (format, plane) {
        (PixelFormat::Bgr24 | PixelFormat::Rgb24, _) => 3,
        (PixelFormat::Bgra, _) => 4,
        (PixelFormat::Nv12, 1) => 2,
        _ => 1,
    }
}

/// Converts into guarded memory, checks the guards, and gives back the planes without padding.
fn convert(converter: &mut Converter, picture: &Picture<'_>, layout: &Layout) -> Vec<Vec<u8>> {
    let mut memory = vec![GUARD; layout.total_bytes + 2 * GUARD_BYTES];
    let end = GUARD_BYTES + layout.total_bytes;
    converter.convert(picture, layout, &mut memory[GUARD_BYTES..end]).unwrap();
    let mut planes = Vec::new();
    for (index, plane) in layout.planes[..layout.plane_count].iter().enumerate() {
        let row_bytes = plane.width as usize * sample_bytes(layout.format, index);
        let mut rows = Vec::new();
        for y in 0..plane.height as usize {
            let row = &mut memory[GUARD_BYTES + plane.offset + y * plane.stride..][..row_bytes];
            rows.extend_from_slice(row);
            row.fill(GUARD);
        }
        planes.push(rows);
    }
    assert!(memory.iter().all(|byte| *byte == GUARD), "{:?} {}x{}", layout.format, layout.width, layout.height);
    planes
}

/// Largest and mean difference.
fn difference(found: &[Vec<u8>], expected: &[Vec<u8>]) -> (u8, f64) {
    assert_eq!(found.iter().map(Vec::len).collect::<Vec<_>>(), expected.iter().map(Vec::len).collect::<Vec<_>>());
    let pairs = || found.iter().flatten().zip(expected.iter().flatten());
    let sum: u64 = pairs().map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    (pairs().map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0), sum as f64 / pairs().count().max(1) as f64)
}

#[test]
fn every_format_size_and_colour_agrees_with_the_reference() {
    let mut converter = Converter::new();
    for (seed, (width, height)) in SIZES.into_iter().enumerate() {
        let source = Source::random(width, height, seed as u64 + 1);
        for (matrix, range) in COLOURS {
            let picture = source.picture(matrix, range);
            for format in FORMATS {
                let layout = Layout::new(format, width, height).unwrap();
                let found = convert(&mut converter, &picture, &layout);
                let (max, mean) = difference(&found, &reference::convert(&picture, format));
                // 13-bit coefficients and one rounding: one code, and in the middle of two, never more.
                let allowed =
                    if matches!(format, PixelFormat::Gray8 | PixelFormat::I420 | PixelFormat::Nv12) { 0 } else { 2 };
                assert!(max <= allowed, "{format:?} {width}x{height} {matrix:?} {range:?}: max {max}, mean {mean:.3}");
            }
        }
    }
}

#[test]
fn gray_is_exact_for_every_code() {
    let codes: Vec<u8> = (0..=255).collect();
    let chroma = [128; 128];
    let chroma = PlaneRef { data: &chroma, stride: 128 };
    let planes = [PlaneRef { data: &codes, stride: 256 }, chroma, chroma];
    for range in [Range::Limited, Range::Full] {
        let picture = Picture { size: PictureSize { width: 256, height: 1 }, planes, matrix: Matrix::Bt601, range };
        let layout = Layout::new(PixelFormat::Gray8, 256, 1).unwrap();
        let found = convert(&mut Converter::new(), &picture, &layout);
        assert_eq!(found, reference::convert(&picture, PixelFormat::Gray8));
    }
}

const SCALED: [(u32, u32); 9] =
    [(1, 1), (3, 5), (8, 300), (31, 17), (64, 48), (161, 119), (320, 240), (700, 33), (1281, 719)];

#[test]
fn scaled_pictures_stay_inside_their_memory() {
    let mut converter = Converter::new();
    for (width, height) in SIZES {
        let source = Source::random(width, height, u64::from(width));
        let picture = source.picture(Matrix::Bt601, Range::Limited);
        for (to_width, to_height) in SCALED {
            for format in FORMATS {
                let _ = convert(&mut converter, &picture, &Layout::new(format, to_width, to_height).unwrap());
            }
        }
    }
}

#[test]
fn shrunk_pictures_are_near_the_reference() {
    let mut converter = Converter::new();
    for (width, height) in [(320, 240), (641, 479), (1280, 720), (8192, 33), (17, 4000)] {
        let source = Source::smooth(width, height);
        let picture = source.picture(Matrix::Bt601, Range::Full);
        for (to_width, to_height) in SCALED {
            if to_width > width || to_height > height {
                continue;
            }
            let layout = Layout::new(PixelFormat::Gray8, to_width, to_height).unwrap();
            let found = convert(&mut converter, &picture, &layout);
            let expected = reference::box_scale(&picture.planes[0], (width, height), (to_width, to_height));
            let (max, mean) = difference(&found, &[expected]);
            // Rounding of each step, and boxes that begin up to one sample of the source too early.
            let allowed = 3 + 100 / width + 100 / height;
            assert!(
                u32::from(max) <= allowed && mean < 4.0,
                "{width}x{height} -> {to_width}x{to_height}: max {max}, mean {mean:.2}"
            );
        }
    }
}

#[test]
fn halves_and_quarters_are_exact_means() {
    for (to_width, to_height) in [(8, 8), (64, 6), (65, 25), (320, 240)] {
        for divisor in [2, 4] {
            let (width, height) = (to_width * divisor, to_height * divisor);
            let source = Source::random(width, height, 5);
            let picture = source.picture(Matrix::Bt601, Range::Full);
            let layout = Layout::new(PixelFormat::Gray8, to_width, to_height).unwrap();
            let found = convert(&mut Converter::new(), &picture, &layout);
            let expected = reference::box_scale(&picture.planes[0], (width, height), (to_width, to_height));
            assert_eq!(found, [expected], "{width}x{height} / {divisor}");
        }
    }
}

#[test]
fn flat_pictures_stay_flat_at_any_scale() {
    let mut converter = Converter::new();
    for (width, height) in SIZES.into_iter().chain([(8192, 1), (1, 8192), (4096, 2160)]) {
        let mut source = Source::random(width, height, 2);
        source.planes.iter_mut().zip([235, 60, 200]).for_each(|(plane, code)| plane.fill(code));
        let picture = source.picture(Matrix::Bt601, Range::Limited);
        for (to_width, to_height) in SCALED {
            let layout = Layout::new(PixelFormat::I420, to_width, to_height).unwrap();
            for (plane, code) in convert(&mut converter, &picture, &layout).iter().zip([235_u8, 60, 200]) {
                let error = plane.iter().map(|sample| sample.abs_diff(code)).max().unwrap();
                // libyuv rounds each box down, at most once a step.
                assert!(error <= 2, "{width}x{height} -> {to_width}x{to_height}: {error}");
            }
        }
    }
}

#[test]
fn wrong_arguments_are_refused() {
    let source = Source::random(32, 32, 1);
    let whole = source.picture(Matrix::Bt601, Range::Limited);
    let layout = Layout::new(PixelFormat::Bgr24, 32, 32).unwrap();
    let mut out = vec![0; layout.total_bytes];
    let mut converter = Converter::new();
    let mut check = |picture: &Picture<'_>, layout: &Layout, length: usize, expected: ConvertError| {
        assert_eq!(converter.convert(picture, layout, &mut out[..length]), Err(expected));
    };
    let total = layout.total_bytes;
    check(&whole, &layout, total - 1, ConvertError::Output { size: total - 1, needed: total });
    let mut short = whole;
    short.planes[2].data = &short.planes[2].data[1..];
    check(&short, &layout, total, ConvertError::Source);
    let mut narrow = whole;
    narrow.planes[0].stride = 31;
    check(&narrow, &layout, total, ConvertError::Source);
    let mut forged = layout;
    forged.planes[0].stride = 1 << 20;
    check(&whole, &forged, total, ConvertError::Layout);
}
