//! IVF, the plain container of VP8: a header of 32 bytes, then each unit behind 12 bytes of length and time.

use framegate_wire::PictureSize;
use framegate_wire::limits::UNIT_BYTES_MAX;

const HEADER_BYTES_FIELD: u16 = 32;
const HEADER_BYTES: usize = HEADER_BYTES_FIELD as usize;
const UNIT_HEADER_BYTES: usize = 12;

/// Why a file is not readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IvfError {
    /// It does not begin as an IVF file of VP8.
    #[error("not an IVF file of VP8")]
    Header,
    /// It ends within a unit.
    #[error("the file ends within the unit at byte {offset}")]
    Truncated {
        /// Where the unit's header begins.
        offset: usize,
    },
    /// A unit is empty or above [`UNIT_BYTES_MAX`].
    #[error("the unit at byte {offset} has {size} bytes")]
    Unit {
        /// Where the unit's header begins.
        offset: usize,
        /// Bytes it claims.
        size: usize,
    },
}

/// What an IVF file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IvfHeader {
    /// Size of the pictures. Sides above 65 535 are cut by the format.
    pub size: PictureSize,
    /// Ticks per second of the units' times.
    pub rate_hz: u32,
    /// Units in the file; some writers leave 0.
    pub unit_count: u32,
}

/// One unit of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IvfUnit<'a> {
    /// When it is shown, in ticks of the header's rate.
    pub pts: u64,
    /// The codec's bytes.
    pub data: &'a [u8],
}

/// Reads a file held in memory; iterate for its units.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    header: IvfHeader,
    bytes: &'a [u8],
    offset: usize,
}

impl IvfHeader {
    /// The first bytes of a file.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        let side = |side: u32| u16::try_from(side).unwrap_or(u16::MAX).to_le_bytes();
        put(0, b"DKIF");
        put(6, &HEADER_BYTES_FIELD.to_le_bytes());
        put(8, b"VP80");
        put(12, &side(self.size.width));
        put(14, &side(self.size.height));
        put(16, &self.rate_hz.to_le_bytes());
        put(20, &1_u32.to_le_bytes());
        put(24, &self.unit_count.to_le_bytes());
        bytes
    }
}

/// Appends one unit to `out`.
///
/// # Errors
/// [`IvfError::Unit`] when it is empty or above [`UNIT_BYTES_MAX`].
pub fn write_unit(out: &mut Vec<u8>, unit: &IvfUnit<'_>) -> Result<(), IvfError> {
    let size = unit.data.len();
    let refused = IvfError::Unit { offset: out.len(), size };
    if size == 0 || size > UNIT_BYTES_MAX {
        return Err(refused);
    }
    out.extend_from_slice(&u32::try_from(size).map_err(|_| refused)?.to_le_bytes());
    out.extend_from_slice(&unit.pts.to_le_bytes());
    out.extend_from_slice(unit.data);
    Ok(())
}

impl<'a> Reader<'a> {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// [`IvfError::Header`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, IvfError> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk().ok_or(IvfError::Header)?;
        let short = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
        let long = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let offset = usize::from(short(6));
        // The rate is a fraction; ours are whole, others' are rounded.
        let rate_hz = long(16).checked_div(long(20)).ok_or(IvfError::Header)?;
        if &header[..4] != b"DKIF" || &header[8..12] != b"VP80" || offset < HEADER_BYTES || offset > bytes.len() {
            return Err(IvfError::Header);
        }
        let size = PictureSize { width: short(12).into(), height: short(14).into() };
        Ok(Self { header: IvfHeader { size, rate_hz, unit_count: long(24) }, bytes, offset })
    }

    /// What the file says of itself.
    #[must_use]
    pub const fn header(&self) -> IvfHeader {
        self.header
    }

    fn unit(&self) -> Result<(IvfUnit<'a>, usize), IvfError> {
        let offset = self.offset;
        let truncated = IvfError::Truncated { offset };
        let rest = &self.bytes[offset..];
        let head: &[u8; UNIT_HEADER_BYTES] = rest.first_chunk().ok_or(truncated)?;
        let size = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
        if size == 0 || size > UNIT_BYTES_MAX {
            return Err(IvfError::Unit { offset, size });
        }
        let pts = u64::from_le_bytes([head[4], head[5], head[6], head[7], head[8], head[9], head[10], head[11]]);
        let data = rest.get(UNIT_HEADER_BYTES..UNIT_HEADER_BYTES + size).ok_or(truncated)?;
        Ok((IvfUnit { pts, data }, offset + UNIT_HEADER_BYTES + size))
    }
}

impl<'a> Iterator for Reader<'a> {
    type Item = Result<IvfUnit<'a>, IvfError>;

    /// The next unit; after an error, nothing more.
    fn next(&mut self) -> Option<Self::Item> {
        if self.offset == self.bytes.len() {
            return None;
        }
        let unit = self.unit();
        self.offset = unit.map_or(self.bytes.len(), |(_, next)| next);
        Some(unit.map(|(unit, _)| unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: IvfHeader = IvfHeader { size: PictureSize { width: 640, height: 480 }, rate_hz: 30, unit_count: 2 };

    fn file() -> Vec<u8> {
        let mut bytes = HEADER.to_bytes().to_vec();
        write_unit(&mut bytes, &IvfUnit { pts: 0, data: b"first" }).unwrap();
        write_unit(&mut bytes, &IvfUnit { pts: 1, data: b"second" }).unwrap();
        bytes
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = file();
        let mut reader = Reader::parse(&bytes).unwrap();
        assert_eq!(reader.header(), HEADER);
        assert_eq!(reader.next(), Some(Ok(IvfUnit { pts: 0, data: b"first" })));
        assert_eq!(reader.next(), Some(Ok(IvfUnit { pts: 1, data: b"second" })));
        assert_eq!(reader.next(), None);
    }

    #[test]
    fn a_cut_file_ends_in_one_error() {
        let bytes = file();
        for length in 0..bytes.len() {
            let Ok(reader) = Reader::parse(&bytes[..length]) else {
                assert!(length < HEADER_BYTES);
                continue;
            };
            let units: Vec<_> = reader.collect();
            let whole = units.iter().filter(|unit| unit.is_ok()).count();
            let failed = units.len() - whole;
            let at_boundary = length == HEADER_BYTES || length == HEADER_BYTES + UNIT_HEADER_BYTES + 5;
            assert_eq!(failed, usize::from(!at_boundary), "at {length}");
        }
    }

    #[test]
    fn wrong_headers_and_units_are_refused() {
        for (at, value) in [(0, b'X'), (8, b'X'), (6, 31), (7, 255), (20, 0)] {
            let mut bytes = file();
            bytes[at] = value;
            assert_eq!(Reader::parse(&bytes).err(), Some(IvfError::Header), "byte {at}");
        }
        let mut bytes = file();
        bytes[HEADER_BYTES..HEADER_BYTES + 4].fill(0xff);
        let refused = IvfError::Unit { offset: HEADER_BYTES, size: 0xffff_ffff };
        assert_eq!(Reader::parse(&bytes).unwrap().collect::<Vec<_>>(), [Err(refused)]);
        assert!(write_unit(&mut bytes, &IvfUnit { pts: 0, data: &[] }).is_err());
    }
}
