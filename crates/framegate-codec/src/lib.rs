//! Encoded units in, pictures out: decoding, scaling, colour conversion, and encoding for test clips.
//!
//! A [`Decoder`] turns one encoded unit into at most one [`Picture`], whose planes stay in the decoder's memory until
//! its next unit. A [`Converter`] scales and converts that picture straight into bytes arranged by a [`Layout`], the only
//! copy on the way. Everything runs on the caller's thread: nothing here starts one. [`preload`] does what is expensive
//! once, before a process forks.
//!
//! [`Media`] reads clips and images of any kind, [`VideoFile`] writes a video file, and [`draw_marks`] draws boxes with
//! labels into a picture: what offline runs need.
//!
//! [`Encoder`], [`Scene`], [`ivf`], [`y4m`] and [`number_bar`] make and read test clips whose every frame carries its
//! number.

#![deny(unsafe_code)]

mod convert;
mod decode;
mod encode;
#[expect(unsafe_code, reason = "the one door to C libraries; see the house rules on unsafe code")]
mod ffi;
mod image;
pub mod ivf;
pub mod jpeg;
mod layout;
mod media;
mod mux;
pub mod number_bar;
mod overlay;
mod picture;
mod planar;
mod random;
#[doc(hidden)]
pub mod reference;
mod scene;
mod texture;
pub mod y4m;

pub use convert::{ConvertError, Converter};
pub use decode::{DecodeError, Decoder};
pub use encode::{EncodeError, EncodeFormat, Encoded, Encoder, EncoderSettings, Keyframe};
pub use image::Image;
pub use layout::{Layout, LayoutError, PlaneLayout};
pub use media::{MEDIA_RATE_HZ, Media, MediaError, MediaInfo, MediaStep};
pub use mux::{VideoError, VideoFile, VideoFormat};
pub use overlay::{Mark, draw_marks};
pub use picture::{I420Image, Matrix, Picture, PlaneRef, Range};
pub use planar::{copy_i420, i420_in, image_to_i420};
pub use scene::{Numbering, Scene, SceneKind};

/// Loads and initialises the codec libraries: call once in a nursery, so that forked engines share what it built.
///
/// Opens and closes a decoder, which resolves FFmpeg's symbols and builds its tables, and converts one tiny picture,
/// which probes the CPU. Silences FFmpeg's log. Starts no thread and decodes nothing.
///
/// # Errors
/// [`DecodeError::Unsupported`] when FFmpeg lacks the VP8 decoder, [`DecodeError::Memory`].
pub fn preload() -> Result<(), DecodeError> {
    drop(Decoder::new(framegate_wire::Codec::Vp8)?);
    convert::warm_up();
    Ok(())
}

/// Names and versions of the FFmpeg libraries in use, for people.
#[must_use]
pub fn versions() -> String {
    // A version is packed as major << 16 | minor << 8 | micro.
    let text = |version: u32| format!("{}.{}.{}", version >> 16, version >> 8 & 0xff, version & 0xff);
    let (codec, util) = (ffmpeg_the_third::codec::version(), ffmpeg_the_third::util::version());
    format!("FFmpeg's libavcodec {} and libavutil {}", text(codec), text(util))
}
