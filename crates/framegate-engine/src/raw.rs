//! `framegate-engine raw`: what decoding, converting and reading a clip costs one thread and nothing else.
//!
//! The limit that everything around it is measured against. Nothing waits, nothing is sent, no process is crossed.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use framegate_codec::{Converter, Decoder, Layout, PlaneLayout, ivf};
use framegate_wire::limits::{AREA_MAX, SIDE_MAX};
use framegate_wire::{Codec, PixelFormat};
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// Options of `raw`.
#[derive(Debug, clap::Args)]
pub(crate) struct RawArgs {
    /// An IVF file of VP8
    clip: PathBuf,
    /// Print JSON instead of text
    #[arg(long)]
    json: bool,
    /// Times to play the clip
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// Play again until this many seconds have passed
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=86_400))]
    seconds: u64,
}

/// Units decoded before the measurement, so that it leaves out the first touch of memory and of the caches.
const WARM_UP_UNITS: usize = 30;

/// Largest clip, in bytes: it is held in memory.
const CLIP_BYTES_MAX: u64 = 1 << 30;

/// The answer. CPU times are of this thread alone; their parts leave out reading the clock and stepping the file.
#[derive(Debug, Serialize)]
struct Report {
    frames: u64,
    cpu_us_per_frame: f64,
    decode_us_per_frame: f64,
    convert_us_per_frame: f64,
    read_us_per_frame: f64,
    wall_us_per_frame: f64,
    width: u32,
    height: u32,
    /// Ticks that a hypervisor gave to others meanwhile, on all processors of this machine.
    steal_ticks: u64,
}

/// Measures the clip and prints the report.
pub(crate) fn run(arguments: &RawArgs) -> Result<()> {
    let path = &arguments.clip;
    let name = || format!("reading {}", path.display());
    if std::fs::metadata(path).with_context(name)?.len() > CLIP_BYTES_MAX {
        bail!("{} is larger than {CLIP_BYTES_MAX} bytes", path.display());
    }
    let bytes = std::fs::read(path).with_context(name)?;
    let units: Vec<&[u8]> =
        ivf::Reader::parse(&bytes).and_then(|reader| reader.map(|unit| Ok(unit?.data)).collect()).with_context(name)?;
    if units.is_empty() {
        bail!("{} has no units", path.display());
    }
    let report = measure(&units, arguments)?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        let Report { frames, width, height, .. } = report;
        writeln!(out, "{frames} pictures of {width}x{height}, µs each:")?;
        writeln!(out, "  cpu {:8.1}  (wall {:.1})", report.cpu_us_per_frame, report.wall_us_per_frame)?;
        writeln!(out, "  decode {:5.1}", report.decode_us_per_frame)?;
        writeln!(out, "  convert {:4.1}", report.convert_us_per_frame)?;
        writeln!(out, "  read {:7.1}", report.read_us_per_frame)?;
        writeln!(out, "  stolen ticks {}", report.steal_ticks)?;
    }
    Ok(())
}

fn measure(units: &[&[u8]], arguments: &RawArgs) -> Result<Report> {
    let mut chain = Chain::new()?;
    for unit in units.iter().take(WARM_UP_UNITS) {
        chain.step(unit)?;
    }
    chain.spent = Spent::default();
    let (steal, cpu, wall) = (steal_ticks(), thread_cpu(), Instant::now());
    let mut rounds = 0;
    while rounds < arguments.repeat || wall.elapsed() < Duration::from_secs(arguments.seconds) {
        for unit in units {
            chain.step(unit)?;
        }
        rounds += 1;
    }
    let (wall, cpu) = (wall.elapsed(), thread_cpu().saturating_sub(cpu));
    let steal_ticks = steal_ticks().saturating_sub(steal);
    let Spent { frames, decode, convert, read } = chain.spent;
    let Some(layout) = chain.layout else { bail!("the clip shows no picture") };
    let each = |time: Duration| (time.as_secs_f64() * 1e7 / frames.max(1) as f64).round() / 10.0;
    Ok(Report {
        frames,
        cpu_us_per_frame: each(cpu),
        decode_us_per_frame: each(decode),
        convert_us_per_frame: each(convert),
        read_us_per_frame: each(read),
        wall_us_per_frame: each(wall),
        width: layout.width,
        height: layout.height,
        steal_ticks,
    })
}

/// Decoder, converter, and the bytes they work on.
struct Chain {
    decoder: Decoder,
    converter: Converter,
    layout: Option<Layout>,
    picture: Vec<u8>,
    row_sums: Vec<u32>,
    spent: Spent,
}

/// CPU time by stage.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    frames: u64,
    decode: Duration,
    convert: Duration,
    read: Duration,
}

impl Chain {
    fn new() -> Result<Self> {
        let decoder = Decoder::new(Codec::Vp8)?;
        let (picture, row_sums) = (Vec::new(), vec![0; SIDE_MAX as usize]);
        Ok(Self { decoder, converter: Converter::new(), layout: None, picture, row_sums, spent: Spent::default() })
    }

    fn step(&mut self, unit: &[u8]) -> Result<()> {
        let start = thread_cpu();
        let Some(picture) = self.decoder.decode(unit, AREA_MAX)? else {
            self.spent.decode += thread_cpu().saturating_sub(start);
            return Ok(());
        };
        let decoded = thread_cpu();
        let layout = Layout::new(PixelFormat::Bgr24, picture.size.width, picture.size.height)?;
        if self.picture.len() < layout.total_bytes {
            self.picture.resize(layout.total_bytes, 0);
        }
        self.converter.convert(&picture, &layout, &mut self.picture)?;
        let converted = thread_cpu();
        sum_rows(&self.picture, &layout.planes[0], &mut self.row_sums);
        std::hint::black_box(&self.row_sums);
        self.layout = Some(layout);
        self.spent.frames += 1;
        self.spent.decode += decoded.saturating_sub(start);
        self.spent.convert += converted.saturating_sub(decoded);
        self.spent.read += thread_cpu().saturating_sub(converted);
        Ok(())
    }
}

/// Sums the bytes of each row: the least that any algorithm does with a picture.
fn sum_rows(picture: &[u8], plane: &PlaneLayout, sums: &mut [u32]) {
    let rows = picture.chunks_exact(plane.stride).take(plane.height as usize);
    for (sum, row) in sums.iter_mut().zip(rows) {
        *sum = row[..plane.width as usize * 3].iter().map(|byte| u32::from(*byte)).sum();
    }
}

/// CPU time of this thread since it began.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanoseconds) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or(0), nanoseconds.unwrap_or(0))
}

/// The kernel's count of stolen ticks; 0 where it does not tell.
fn steal_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    // "cpu user nice system idle iowait irq softirq steal …"
    stat.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse().ok()).unwrap_or(0)
}
