//! Safe wrappers of the C libraries.

pub(crate) mod avcodec;
pub(crate) mod libyuv;
