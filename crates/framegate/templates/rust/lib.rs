//! @NAME@: a box around what moves.

#![forbid(unsafe_code)]

use framegate_abi::export::*;

/// Pictures that are wanted, and squares that move or do not, in pixels.
const WIDTH: usize = 160;
const HEIGHT: usize = 120;
const CELL: usize = 8;

framegate_abi::settings! {
    /// What people can change.
    struct Settings {
        threshold: i32 = 15, range(1, 255), label("Threshold"), unit("levels"),
            description("Least change of a pixel that counts.");
    }
}

struct Motion {
    settings: Settings,
    /// The picture before; empty at first.
    before: Vec<u8>,
}

impl Processor for Motion {
    const NAME: &'static CStr = c"@NAME@";
    const VERSION: &'static CStr = c"0.1.0";
    const DESCRIPTION: &'static CStr = c"Draws a box around what moves.";

    fn new(_: &Host) -> Result<Self, String> {
        Ok(Self { settings: Settings::default(), before: Vec::new() })
    }

    fn settings(&mut self) -> Option<&mut dyn SettingsTable> {
        Some(&mut self.settings)
    }

    fn want(&self) -> Want {
        Want::default().format(Format::Gray8).size(WIDTH as u32, HEIGHT as u32)
    }

    fn process(&mut self, frame: &mut Frame<'_>, out: &mut Out<'_>) -> Result<(), String> {
        let now = frame.rows().flatten().copied().collect();
        let before = std::mem::replace(&mut self.before, now);
        let mut moving = Vec::new();
        if !before.is_empty() {
            for y in (0..HEIGHT).step_by(CELL) {
                moving.extend((0..WIDTH).step_by(CELL).filter(|x| self.moves(&before, *x, y)).map(|x| (x, y)));
            }
        }
        let (xs, ys) = (|| moving.iter().map(|(x, _)| *x), || moving.iter().map(|(_, y)| *y));
        if let (Some(left), Some(top), Some(right), Some(bottom)) = (xs().min(), ys().min(), xs().max(), ys().max()) {
            let at = [left, top, right + CELL - left, bottom + CELL - top].map(|pixels| pixels as f32);
            out.found("motion", 1.0, out.fractions(at))?;
        }
        Ok(out.data(&format!("{{\"moving\":{}}}", moving.len()))?)
    }
}

impl Motion {
    /// Whether a quarter of a square has changed.
    fn moves(&self, before: &[u8], left: usize, top: usize) -> bool {
        let place = (top..top + CELL).flat_map(|y| (left..left + CELL).map(move |x| y * WIDTH + x));
        let is_changed = |at: &usize| i32::from(self.before[*at].abs_diff(before[*at])) >= self.settings.threshold;
        place.filter(is_changed).count() >= CELL * CELL / 4
    }
}

framegate_abi::export_processor!(Motion);
