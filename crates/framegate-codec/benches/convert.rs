//! What each pixel format costs: `Converter` against the bare library call on the same planes, in one run.
//!
//! `cargo bench -p framegate-codec` prints JSON: microseconds of this thread per picture, the median of the rounds with
//! the smallest and largest, and their ratio. Packed formats are held against the `yuv` crate called directly, planar
//! ones against copying as many bytes, which no conversion can beat.

#![forbid(unsafe_code)]

use std::hint::black_box;
use std::time::Instant;

use framegate_codec::{Converter, I420Image, Layout, Picture};
use framegate_wire::{PictureSize, PixelFormat};
use yuv::{YuvPlanarImage, YuvRange, YuvStandardMatrix};

/// Rounds of each measurement, taken in turns so that a busy moment meets all.
const ROUNDS: usize = 15;

/// Pictures of one round.
const PICTURES: u32 = 200;

/// What browsers send most.
const SIZES: [(u32, u32); 2] = [(640, 480), (1280, 720)];

const FORMATS: [(PixelFormat, &str); 6] = [
    (PixelFormat::Bgr24, "bgr24"),
    (PixelFormat::Rgb24, "rgb24"),
    (PixelFormat::Bgra, "bgra"),
    (PixelFormat::Gray8, "gray8"),
    (PixelFormat::I420, "i420"),
    (PixelFormat::Nv12, "nv12"),
];

fn main() {
    let mut rows = Vec::new();
    for (width, height) in SIZES {
        let mut image = I420Image::new(PictureSize { width, height }).expect("an ordinary size");
        fill(&mut image);
        let picture = image.picture();
        for (format, name) in FORMATS {
            let layout = Layout::new(format, width, height).expect("an ordinary size");
            rows.push(row(&picture, &layout, name));
        }
    }
    say(&format!("[\n  {}\n]\n", rows.join(",\n  ")));
}

#[expect(clippy::print_stdout, reason = "a benchmark's output is what it prints")]
fn say(text: &str) {
    print!("{text}");
}

fn row(picture: &Picture<'_>, layout: &Layout, name: &str) -> String {
    let mut out = vec![0_u8; layout.total_bytes];
    let source: Vec<u8> = (0..layout.total_bytes).map(|index| index.to_le_bytes()[0]).collect();
    let mut converter = Converter::new();
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(each(|| converter.convert(black_box(picture), layout, &mut out).expect("converted")));
        bare.push(each(|| bare_call(black_box(picture), layout, &source, &mut out)));
    }
    let (width, height) = (layout.width, layout.height);
    let (ours, bare) = (spread(ours), spread(bare));
    let ratio = ours[1] / bare[1];
    format!(
        "{{\"size\": [{width}, {height}], \"format\": \"{name}\", \"us\": {ours:.1?}, \"library_us\": {bare:.1?}, \
         \"ratio\": {ratio:.2}}}"
    )
}

/// Microseconds of one picture, over a round.
fn each(mut convert: impl FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..PICTURES {
        convert();
    }
    start.elapsed().as_secs_f64() * 1e6 / f64::from(PICTURES)
}

/// Smallest, median and largest.
fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [values[0], values[values.len() / 2], values[values.len() - 1]]
}

fn bare_call(picture: &Picture<'_>, layout: &Layout, source: &[u8], out: &mut [u8]) {
    let convert = match layout.format {
        PixelFormat::Bgr24 => yuv::yuv420_to_bgr,
        PixelFormat::Rgb24 => yuv::yuv420_to_rgb,
        PixelFormat::Bgra => yuv::yuv420_to_bgra,
        PixelFormat::Gray8 | PixelFormat::I420 | PixelFormat::Nv12 => {
            out.copy_from_slice(source);
            black_box(out);
            return;
        }
    };
    let [y, u, v] = picture.planes;
    let stride = |bytes: usize| u32::try_from(bytes).expect("an ordinary size");
    let image = YuvPlanarImage {
        y_plane: y.data,
        y_stride: stride(y.stride),
        u_plane: u.data,
        u_stride: stride(u.stride),
        v_plane: v.data,
        v_stride: stride(v.stride),
        width: layout.width,
        height: layout.height,
    };
    let out_stride = stride(layout.planes[0].stride);
    convert(&image, out, out_stride, YuvRange::Limited, YuvStandardMatrix::Bt601).expect("converted");
}

fn fill(image: &mut I420Image) {
    for plane in 0..3 {
        for (y, row) in image.rows_mut(plane).enumerate() {
            row.iter_mut().enumerate().for_each(|(x, byte)| *byte = (x * 7 + y).to_le_bytes()[0]);
        }
    }
}
