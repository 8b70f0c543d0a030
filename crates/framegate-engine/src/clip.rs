//! `framegate-engine clip`: test clips drawn from a seed, each picture with its number.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;
use framegate_codec::ivf::{self, IvfHeader, IvfUnit};
use framegate_codec::{EncodeFormat, Encoder, EncoderSettings, Keyframe, Numbering, Range, Scene, SceneKind, y4m};
use framegate_wire::PictureSize;

/// Options of `clip`.
#[derive(Debug, clap::Args)]
pub(crate) struct ClipArgs {
    /// File to write
    #[arg(long)]
    output: PathBuf,
    /// Container; by default what the file's name ends with
    #[arg(long)]
    format: Option<ClipFormat>,
    /// Picture size
    #[arg(long, default_value = "640x480", value_parser = parse_size)]
    size: PictureSize,
    /// Pictures per second
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rate: u32,
    /// Pictures in all
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..))]
    frames: u32,
    /// Bit rate of VP8, in kilobits per second
    #[arg(long, default_value_t = 1000)]
    kbit: u32,
    /// Most pictures from one VP8 keyframe to the next
    #[arg(long, default_value_t = 75)]
    key_interval: u32,
    /// Chooses the pictures; the same seed draws the same ones
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What to show
    #[arg(long, default_value = "room")]
    scene: ClipScene,
    /// Leave out the bar with the picture's number
    #[arg(long)]
    no_numbers: bool,
}

/// Containers of a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClipFormat {
    /// VP8 by libvpx
    Ivf,
    /// Uncompressed I420
    Y4m,
    /// JPEG after JPEG, for Chromium's fake camera: limited-range codes, which it takes as they are
    Mjpeg,
}

/// Scenes of a clip.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ClipScene {
    /// Like a webcam: textures, a few moving things, sensor noise
    Room,
    /// Colour bars, easy to compress
    Bars,
    /// A fast pan, hard to compress
    Motion,
}

/// Makes the clip.
pub(crate) fn run(arguments: &ClipArgs) -> Result<()> {
    let path = &arguments.output;
    let format = match arguments.format {
        Some(format) => format,
        None => format_of(path)?,
    };
    let numbering = if arguments.no_numbers { Numbering::Absent } else { Numbering::Drawn };
    let scene = Scene::new(arguments.scene.into(), arguments.size, arguments.seed, numbering)?;
    let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    let mut sink = BufWriter::new(file);
    match format {
        ClipFormat::Y4m => write_y4m(scene, arguments, &mut sink),
        ClipFormat::Ivf => write_encoded(scene, arguments, EncodeFormat::Vp8, &mut sink),
        ClipFormat::Mjpeg => write_encoded(scene, arguments, EncodeFormat::Mjpeg, &mut sink),
    }
    .and_then(|()| Ok(sink.flush()?))
    .with_context(|| format!("writing {}", path.display()))
}

fn write_y4m(mut scene: Scene, arguments: &ClipArgs, sink: &mut BufWriter<File>) -> Result<()> {
    sink.write_all(y4m::header(arguments.size, arguments.rate).as_bytes())?;
    let mut bytes = Vec::new();
    for index in 0..arguments.frames {
        bytes.clear();
        y4m::write_picture(&mut bytes, &scene.draw(index));
        sink.write_all(&bytes)?;
    }
    Ok(())
}

fn write_encoded(
    mut scene: Scene,
    arguments: &ClipArgs,
    format: EncodeFormat,
    sink: &mut BufWriter<File>,
) -> Result<()> {
    let ClipArgs { size, rate, frames, kbit, key_interval, .. } = *arguments;
    let settings = EncoderSettings { format, size, range: Range::Limited, rate_hz: rate, kbit, key_interval };
    let mut encoder = Encoder::new(&settings)?;
    if format == EncodeFormat::Vp8 {
        sink.write_all(&IvfHeader { size, rate_hz: rate, unit_count: frames }.to_bytes())?;
    }
    let mut bytes = Vec::new();
    for index in 0..frames {
        let Some(unit) = encoder.encode(&scene.draw(index), Keyframe::WhenDue)? else {
            bail!("the encoder left out picture {index}");
        };
        if format == EncodeFormat::Vp8 {
            bytes.clear();
            ivf::write_unit(&mut bytes, &IvfUnit { pts: index.into(), data: unit.data })?;
            sink.write_all(&bytes)?;
        } else {
            sink.write_all(unit.data)?;
        }
    }
    Ok(())
}

fn format_of(path: &Path) -> Result<ClipFormat> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    let Ok(format) = ClipFormat::from_str(extension, true) else {
        bail!("{} ends with none of .ivf, .y4m, .mjpeg; say which with --format", path.display());
    };
    Ok(format)
}

fn parse_size(text: &str) -> Result<PictureSize, String> {
    let side = |text: &str| text.parse().ok().filter(|side| (1..=framegate_wire::limits::SIDE_MAX).contains(side));
    text.split_once('x')
        .and_then(|(width, height)| Some(PictureSize { width: side(width)?, height: side(height)? }))
        .ok_or_else(|| format!("expected WIDTHxHEIGHT, each 1 to {}", framegate_wire::limits::SIDE_MAX))
}

impl From<ClipScene> for SceneKind {
    fn from(scene: ClipScene) -> Self {
        match scene {
            ClipScene::Room => Self::Room,
            ClipScene::Bars => Self::Bars,
            ClipScene::Motion => Self::Motion,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        assert_eq!(parse_size("640x480"), Ok(PictureSize { width: 640, height: 480 }));
        for wrong in ["", "640", "x", "640x", "0x480", "640x480x3", "8193x1", "-1x1", "640 x480"] {
            assert!(parse_size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_name_tells_the_format() {
        assert_eq!(format_of(Path::new("a/b.IVF")).unwrap(), ClipFormat::Ivf);
        assert_eq!(format_of(Path::new("b.mjpeg")).unwrap(), ClipFormat::Mjpeg);
        assert!(format_of(Path::new("b.webm")).is_err());
        assert!(format_of(Path::new("b")).is_err());
    }
}
