//! Where the frames of a chain lie: the one that all share, and those of processors that want another size or format.

use framegate_codec::{Converter, Image, Layout, Picture, i420_in, image_to_i420};
use framegate_wire::{PictureSize, PixelFormat, Want};

use super::{Member, StageError};
use crate::pool::Slot;

/// The frames of a chain for pictures of one size.
#[derive(Debug)]
pub(super) struct Plan {
    source: PictureSize,
    /// The frame that all share; it lies last, so that the wall is close behind it.
    pub(super) shared: Frame,
    /// One for each processor that has a frame of its own; empty when none has.
    own: Vec<Option<Frame>>,
    /// Bytes of all frames.
    pub(super) total_bytes: usize,
}

/// One frame within the chain's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) layout: Layout,
    pub(super) offset: usize,
    /// Whether a processor before may have changed the shared frame, of which this one is made then.
    is_after_changes: bool,
}

impl Plan {
    /// # Errors
    /// [`StageError::Want`] when a size is impossible.
    pub(super) fn new(shared: &Want, members: &[Member], source: PictureSize) -> Result<Self, StageError> {
        let layout = |want: &Want, name: &str| {
            Layout::for_want(source, want)
                .map_err(|error| StageError::Want(format!("the size that `{name}` wants is impossible: {error}")))
        };
        let (mut own, mut offset, mut is_after_changes) = (Vec::new(), 0, false);
        for (place, member) in members.iter().enumerate() {
            let wants_other = !same_frames(shared, &member.wanted.want);
            if wants_other {
                own.resize(members.len(), None);
                let layout = layout(&member.wanted.want, &member.name)?;
                own[place] = Some(Frame { layout, offset, is_after_changes });
                offset += layout.total_bytes;
            }
            is_after_changes |= member.wanted.writable && !wants_other;
        }
        let first = members.first().map_or("", |member| member.name.as_str());
        let layout = layout(shared, first)?;
        let total_bytes = offset + layout.total_bytes;
        Ok(Self { source, shared: Frame { layout, offset, is_after_changes: false }, own, total_bytes })
    }

    /// Whether it is for pictures of this size.
    pub(super) fn fits(&self, source: PictureSize) -> bool {
        self.source == source
    }

    /// The frame of the processor at `place`.
    pub(super) fn frame(&self, place: usize) -> Frame {
        self.own.get(place).copied().flatten().unwrap_or(self.shared)
    }

    /// Makes the frames that nobody changes before they are looked at.
    pub(super) fn convert(
        &self,
        picture: &Picture<'_>,
        converter: &mut Converter,
        slot: &mut Slot,
    ) -> Result<(), StageError> {
        let own = self.own.iter().flatten().filter(|frame| !frame.is_after_changes);
        for Frame { layout, offset, .. } in own.chain([&self.shared]) {
            converter.convert(picture, layout, &mut slot.bytes()[*offset..]).map_err(|_| StageError::Convert)?;
        }
        Ok(())
    }

    /// Makes the frame of the processor at `place` of the shared one as it is now, if it is one of those.
    pub(super) fn convert_changed(
        &self,
        place: usize,
        picture: &Picture<'_>,
        converter: &mut Converter,
        slot: &mut Slot,
    ) -> Result<(), StageError> {
        let Some(Frame { layout, offset, is_after_changes: true }) = self.own.get(place).copied().flatten() else {
            return Ok(());
        };
        let Frame { layout: shared, offset: at, .. } = self.shared;
        let changed = Image::of_bytes(shared, &slot.bytes()[at..], picture.matrix, picture.range);
        let planar = Layout::new(PixelFormat::I420, shared.width, shared.height).map_err(|_| StageError::Convert)?;
        let mut bytes = vec![0; planar.total_bytes];
        let made = changed.and_then(|changed| image_to_i420(&changed, &mut bytes)).ok_or(StageError::Convert)?;
        let source = i420_in(&bytes, &made.0, made.1, made.2).ok_or(StageError::Convert)?;
        converter.convert(&source, &layout, &mut slot.bytes()[offset..]).map_err(|_| StageError::Convert)
    }
}

/// Whether a processor with this want can be given the shared frames. One that names no size takes any.
pub(super) fn same_frames(shared: &Want, want: &Want) -> bool {
    let same = |own: u32, given: u32| own == 0 || own == given;
    want.format == shared.format && same(want.width, shared.width) && same(want.height, shared.height)
}
