//! `export_processor!`: everything it puts between a type and the C interface.

use framegate_abi::export::*;

framegate_abi::settings! {
    struct Settings {
        on: bool = true;
        count: i32 = 3, range(0, 10), label("Count"), group("First"), unit("px");
        part: f64 = 0.5, range(0.0, 1.0), step(0.25);
        mode: Choice = Choice::of(&["exact", "fast"]);
        word: String = "hello".to_owned(), longest(16);
        ink: Color = Color(0x0010_2030);
    }
}

struct Every {
    settings: Settings,
    host: Host,
    calls: u8,
}

impl Processor for Every {
    const NAME: &'static CStr = c"rust";
    const VERSION: &'static CStr = c"2.5";
    const DESCRIPTION: &'static CStr = c"Every extension.";
    const STATE_VERSION: Option<u32> = Some(3);
    const TAKES_MESSAGES: bool = true;

    fn new(host: &Host) -> Result<Self, String> {
        Ok(Self { settings: Settings::default(), host: host.clone(), calls: 0 })
    }

    fn settings(&mut self) -> Option<&mut dyn SettingsTable> {
        Some(&mut self.settings)
    }

    fn want(&self) -> Want {
        Want::default().format(Format::Rgb24).size(0, 24).writable()
    }

    fn process(&mut self, frame: &mut Frame<'_>, out: &mut Out<'_>) -> Result<(), String> {
        self.calls += 1;
        if frame.seq() == 2 {
            return Err("tired".to_owned());
        }
        if frame.seq() == 3 {
            out.nothing();
            return Ok(());
        }
        let Settings { on, count, part, mode, word, ink } = &self.settings;
        let [_, rgb @ ..] = ink.0.to_be_bytes();
        for y in 0..frame.height() {
            let row = frame.row_mut(y).ok_or("read-only")?;
            row.chunks_exact_mut(3).for_each(|pixel| pixel.copy_from_slice(&rgb));
        }
        out.image_frame()?;
        out.found("tip", 0.5, [0.25, 0.25, 0.5, 0.5])?;
        out.outline("kite", 1.0, &[[16.0, 0.0], [24.0, 8.0], [8.0, 8.0]])?;
        let mut random = [0; 16];
        let helps = self.host.random(&mut random) && random != [0; 16] && self.host.now_ns().is_some();
        let (calls, mode, width, height) = (self.calls, mode.text(), frame.width(), frame.height());
        Ok(out.data(&format!("[{calls},{on},{count},{part},\"{mode}\",{word:?},{width},{height},{helps}]"))?)
    }

    fn setting_changed(&mut self, id: &str) -> Result<(), String> {
        if id == "count" && self.settings.count == 7 { Err("not 7".to_owned()) } else { Ok(()) }
    }

    fn save(&mut self) -> Result<Vec<u8>, String> {
        Ok(vec![self.calls, 0, 0, 0])
    }

    fn load(&mut self, version: u32, bytes: &[u8]) -> Result<(), String> {
        if version != 3 {
            return Err("another version".to_owned());
        }
        self.calls = *bytes.first().ok_or("no bytes")?;
        Ok(())
    }

    fn receive(&mut self, json: &str) -> Result<(), String> {
        Ok(self.host.send(json)?)
    }
}

framegate_abi::export_processor!(Every);
