//! Safe wrappers of the C libraries.

pub(crate) mod avcodec;
mod avio;
pub(crate) mod demux;
pub(crate) mod libyuv;
pub(crate) mod mux;
pub(crate) mod swscale;
