//! A processor in Rust: where things have moved lately, as a picture and as boxes around the hottest places.
//!
//!     cargo build --release
//!     framegate serve -p target/release/libmotion_heatmap.so

#![forbid(unsafe_code)]

mod heat;

use framegate_abi::export::*;
use heat::HeatMap;

framegate_abi::settings! {
    /// What people can change.
    struct Settings {
        half_life: f64 = 1.0, range(0.1, 10.0), step(0.1), label("Half-life"), unit("s"),
            description("Time after which half of the heat is gone.");
        difference: i32 = 20, range(1, 255), label("Difference"), unit("levels"),
            description("Least change of a pixel that counts; above the camera's noise.");
        boxes: i32 = 3, range(0, 32), label("Boxes"), group("Output");
        strength: f64 = 0.7, range(0.0, 1.0), step(0.05), label("Strength of the colours"), group("Output");
    }
}

struct MotionHeatmap {
    settings: Settings,
    map: HeatMap,
    /// Arrival of the frame before, in nanoseconds.
    before_ns: Option<i64>,
}

/// Cells colder than this are not shown as boxes.
const WARM: f32 = 0.2;

impl Processor for MotionHeatmap {
    const NAME: &'static CStr = c"motion-heatmap";
    const VERSION: &'static CStr = c"1.0.0";
    const DESCRIPTION: &'static CStr = c"Shows where things have moved lately.";

    fn new(_: &Host) -> Result<Self, String> {
        Ok(Self { settings: Settings::default(), map: HeatMap::default(), before_ns: None })
    }

    fn settings(&mut self) -> Option<&mut dyn SettingsTable> {
        Some(&mut self.settings)
    }

    fn want(&self) -> Want {
        Want::default().format(Format::Gray8).size(320, 0)
    }

    fn configure(&mut self, config: &Config) -> Result<(), String> {
        self.map = HeatMap::new(config.width as usize, config.height as usize);
        Ok(())
    }

    fn process(&mut self, frame: &mut Frame<'_>, out: &mut Out<'_>) -> Result<(), String> {
        let kept = self.kept_after(frame.received_ns());
        self.map.add(frame.rows(), kept, u8::try_from(self.settings.difference).unwrap_or(u8::MAX));
        for (place, heat) in self.map.hottest(WARM, usize::try_from(self.settings.boxes).unwrap_or(0)) {
            out.found("hot", heat, place)?;
        }
        out.data(&format!("{{\"mean\":{:.4}}}", self.map.mean()))?;
        if out.image_wanted() {
            let bytes = self.map.draw(self.settings.strength as f32);
            let (width, height) = (frame.width(), frame.height());
            out.image(&Picture {
                format: Format::Bgr24,
                width: width as u32,
                height: height as u32,
                stride_bytes: width * 3,
                bytes: &bytes,
            })?;
        }
        Ok(())
    }
}

impl MotionHeatmap {
    /// Part of the heat that is left, by the time since the frame before: nothing depends on the frame rate.
    fn kept_after(&mut self, now_ns: i64) -> f32 {
        let seconds = self.before_ns.map_or(0.0, |before| (now_ns - before).max(0) as f64 * 1e-9);
        self.before_ns = Some(now_ns);
        0.5_f64.powf(seconds / self.settings.half_life) as f32
    }
}

framegate_abi::export_processor!(MotionHeatmap);
