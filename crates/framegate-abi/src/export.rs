//! Processors in Rust, without `unsafe`.
//!
//! ```
//! use framegate_abi::export::*;
//!
//! framegate_abi::settings! {
//!     /// What people can change.
//!     pub struct Settings {
//!         level: i64 = 128, range(0, 255), label("Level");
//!     }
//! }
//!
//! struct Bright {
//!     settings: Settings,
//! }
//!
//! impl Processor for Bright {
//!     const NAME: &'static CStr = c"bright";
//!     const VERSION: &'static CStr = c"1.0.0";
//!     const DESCRIPTION: &'static CStr = c"Counts bright pixels.";
//!
//!     fn new(_: &Host) -> Result<Self, String> {
//!         Ok(Self { settings: Settings::default() })
//!     }
//!
//!     fn settings(&mut self) -> Option<&mut dyn SettingsTable> {
//!         Some(&mut self.settings)
//!     }
//!
//!     fn want(&self) -> Want {
//!         Want::default().format(Format::Gray8).size(320, 0)
//!     }
//!
//!     fn process(&mut self, frame: &mut Frame<'_>, out: &mut Out<'_>) -> Result<(), String> {
//!         let is_bright = |pixel: &&u8| i64::from(**pixel) > self.settings.level;
//!         let count: usize = frame.rows().map(|row| row.iter().filter(is_bright).count()).sum();
//!         Ok(out.data(&format!("{{\"bright\":{count}}}"))?)
//!     }
//! }
//!
//! framegate_abi::export_processor!(Bright);
//! # fn main() {}
//! ```
//!
//! The crate's `Cargo.toml` says `crate-type = ["cdylib"]`. Calls of one processor never overlap, but the thread may
//! change between them. An `Err` of [`Processor::process`], or a panic, makes the frame's result an error; one of
//! [`Processor::new`] or [`Processor::configure`] is the reason people are told.

mod frame;
mod glue;
mod host;
mod out;
mod settings;

pub use core::ffi::CStr;

pub use frame::{Frame, Plane};
pub use glue::{StaticEntry, entry};
pub use host::{Host, Level};
pub use out::{Detection, Keypoint, Out, Picture, Refused};
pub use settings::{Choice, Color, Field, Param, Setting, SettingsTable, Value};

use crate::raw;

/// Pixel formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum Format {
    /// Packed B, G, R; OpenCV's order.
    #[default]
    Bgr24 = raw::BGR24,
    /// Packed R, G, B.
    Rgb24 = raw::RGB24,
    /// Packed B, G, R, 255.
    Bgra = raw::BGRA,
    /// Luma, 0 black to 255 white.
    Gray8 = raw::GRAY8,
    /// Planes Y, U, V as decoded.
    I420 = raw::I420,
    /// Planes Y and interleaved U, V.
    Nv12 = raw::NV12,
}

impl Format {
    fn of(number: u32) -> Option<Self> {
        [Self::Bgr24, Self::Rgb24, Self::Bgra, Self::Gray8, Self::I420, Self::Nv12]
            .into_iter()
            .find(|format| *format as u32 == number)
    }

    /// Bytes of one sample of a plane.
    fn sample_bytes(self, plane: usize) -> usize {
        match self {
            Self::Bgr24 | Self::Rgb24 => 3,
            Self::Bgra => 4,
            Self::Nv12 if plane > 0 => 2,
            Self::Gray8 | Self::I420 | Self::Nv12 => 1,
        }
    }
}

/// What frames a processor wants; BGR24 as the camera sends them unless it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Want {
    format: Format,
    width: u32,
    height: u32,
    rate_millihertz: u32,
    is_writable: bool,
}

impl Want {
    /// In this format.
    #[must_use]
    pub fn format(self, format: Format) -> Self {
        Self { format, ..self }
    }

    /// In this size, in pixels; one of them 0 keeps the aspect, both keep the size.
    #[must_use]
    pub fn size(self, width: u32, height: u32) -> Self {
        Self { width, height, ..self }
    }

    /// At most so many frames in 1000 seconds: 10 000 is 10 a second.
    #[must_use]
    pub fn rate_millihertz(self, rate_millihertz: u32) -> Self {
        Self { rate_millihertz, ..self }
    }

    /// To be drawn into: [`Frame::row_mut`].
    #[must_use]
    pub fn writable(self) -> Self {
        Self { is_writable: true, ..self }
    }

    fn raw(self) -> raw::Want {
        raw::Want {
            struct_size: struct_size::<raw::Want>(),
            flags: if self.is_writable { raw::WANT_WRITABLE } else { 0 },
            format: self.format as u32,
            width: self.width,
            height: self.height,
            rate_millihertz: self.rate_millihertz,
        }
    }
}

/// What frames will look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Their format.
    pub format: Format,
    /// Width of frames, in pixels.
    pub width: u32,
    /// Height of frames, in pixels.
    pub height: u32,
    /// Width as the camera sends them.
    pub source_width: u32,
    /// Height as the camera sends them.
    pub source_height: u32,
}

/// What an author implements. One value serves one stream.
pub trait Processor: Send + Sized + 'static {
    /// Short name, `[a-z0-9_-]{1,64}`.
    const NAME: &'static CStr;
    /// Version, at most 64 bytes.
    const VERSION: &'static CStr;
    /// One sentence for people, at most 256 bytes.
    const DESCRIPTION: &'static CStr;
    /// Version of the format that [`Self::save`] writes; `None`: nothing is kept.
    const STATE_VERSION: Option<u32> = None;
    /// Whether [`Self::receive`] is for messages of the page.
    const TAKES_MESSAGES: bool = false;

    /// Makes one for a stream. The sandbox is in force: files are readable only where the configuration allows it.
    ///
    /// # Errors
    /// A text for people: the stream goes on without this processor.
    fn new(host: &Host) -> Result<Self, String>;

    /// Its parameters, usually a struct made by [`settings!`](crate::settings).
    fn settings(&mut self) -> Option<&mut dyn SettingsTable> {
        None
    }

    /// What frames it wants; asked once, after [`Self::new`].
    fn want(&self) -> Want {
        Want::default()
    }

    /// Called before the first frame and whenever size or format changes.
    ///
    /// # Errors
    /// A text for people.
    fn configure(&mut self, config: &Config) -> Result<(), String> {
        let _ = config;
        Ok(())
    }

    /// One frame.
    ///
    /// # Errors
    /// A text for people: the frame's result is an error, and the next frame comes.
    fn process(&mut self, frame: &mut Frame<'_>, out: &mut Out<'_>) -> Result<(), String>;

    /// Called after a parameter got a new value.
    ///
    /// # Errors
    /// A text for people: the value is refused, and the one before put back.
    fn setting_changed(&mut self, id: &str) -> Result<(), String> {
        let _ = id;
        Ok(())
    }

    /// What a new process needs to go on where one that died stopped, at most 256 KiB; asked about once a second.
    ///
    /// # Errors
    /// A text for the log.
    fn save(&mut self) -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }

    /// Takes what [`Self::save`] of a format's version gave.
    ///
    /// # Errors
    /// A text for the log: the instance goes on as new.
    fn load(&mut self, version: u32, bytes: &[u8]) -> Result<(), String> {
        let _ = (version, bytes);
        Ok(())
    }

    /// A message of the page, any JSON value of at most 16 KiB.
    ///
    /// # Errors
    /// A text for the log; the page is told that it was refused.
    fn receive(&mut self, json: &str) -> Result<(), String> {
        let _ = json;
        Ok(())
    }
}

/// Exports a [`Processor`] as the one of this library. Use once, in the crate of type `cdylib`.
#[macro_export]
macro_rules! export_processor {
    ($processor:ty) => {
        #[allow(non_upper_case_globals, reason = "the name that framegate looks for")]
        #[unsafe(no_mangle)]
        #[doc(hidden)]
        pub static fg_entry_1: $crate::export::StaticEntry = $crate::export::entry::<$processor>();
    };
}

/// Size of a struct of the interface, which is far below 4 GiB.
const fn struct_size<T>() -> u32 {
    assert!(size_of::<T>() < 4096);
    #[expect(clippy::cast_possible_truncation, reason = "checked above")]
    let size = size_of::<T>() as u32;
    size
}
