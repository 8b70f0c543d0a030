//! Names of functions, and wanted libraries, read from a 64-bit little-endian ELF file. Plain and bounds-checked: the
//! file comes from outside.

/// Section types (System V ABI, chapter 4).
const SHT_SYMTAB: u32 = 2;
const SHT_DYNAMIC: u32 = 6;
const SHT_DYNSYM: u32 = 11;
/// Dynamic tags (System V ABI, chapter 5).
const DT_NEEDED: u64 = 1;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;
/// Low half of a symbol's `st_info`: a function.
const STT_FUNC: u8 = 2;
/// `e_type` of a shared object.
const ET_DYN: u16 = 3;
/// Shared object flagged as an executable (`DT_FLAGS_1`, `DF_1_PIE`).
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_PIE: u64 = 0x0800_0000;

#[cfg(target_arch = "x86_64")]
const MACHINE: u16 = 62;
#[cfg(target_arch = "aarch64")]
const MACHINE: u16 = 183;

/// Why a file is not a shared library for this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ElfError {
    /// Not ELF at all.
    #[error("it is not an ELF file")]
    NotElf,
    /// For another machine.
    #[error("it was compiled for another kind of CPU")]
    Machine,
    /// An object file, a core dump or an executable.
    #[error("it is an executable or object file")]
    NotShared,
}

/// A shared library's file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Elf<'a> {
    bytes: &'a [u8],
}

#[derive(Debug, Clone, Copy)]
struct Section<'a> {
    kind: u32,
    link: u32,
    data: &'a [u8],
}

impl<'a> Elf<'a> {
    /// Checks that `bytes` are a shared library for this machine.
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, ElfError> {
        if bytes.len() < 64 || !bytes.starts_with(b"\x7fELF") {
            return Err(ElfError::NotElf);
        }
        let half = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let is_64_bit_little_endian = bytes[4] == 2 && bytes[5] == 1;
        if !is_64_bit_little_endian || half(18) != MACHINE {
            return Err(ElfError::Machine);
        }
        let elf = Self { bytes };
        let is_executable = elf.dynamic().any(|(tag, value)| tag == DT_FLAGS_1 && value & DF_1_PIE != 0);
        if half(16) != ET_DYN || is_executable { Err(ElfError::NotShared) } else { Ok(elf) }
    }

    /// Name of the function that holds `address` (relative to where the library is loaded).
    pub(crate) fn function_at(&self, address: u64) -> Option<&'a str> {
        [SHT_SYMTAB, SHT_DYNSYM].into_iter().find_map(|kind| self.function_in(kind, address))
    }

    /// Names of the libraries it needs.
    pub(crate) fn needed(&self) -> impl Iterator<Item = &'a str> {
        self.dynamic_texts(&[DT_NEEDED])
    }

    /// Where it says they are, `$ORIGIN` unexpanded.
    pub(crate) fn run_paths(&self) -> impl Iterator<Item = &'a str> {
        self.dynamic_texts(&[DT_RPATH, DT_RUNPATH]).flat_map(|paths| paths.split(':'))
    }

    fn function_in(&self, kind: u32, address: u64) -> Option<&'a str> {
        let table = self.sections().find(|section| section.kind == kind)?;
        let names = self.section(table.link)?.data;
        table.data.chunks_exact(24).find_map(|symbol| {
            let (start, size) = (u64_at(symbol, 8)?, u64_at(symbol, 16)?);
            let holds = symbol[4] & 0xf == STT_FUNC && address.checked_sub(start).is_some_and(|offset| offset < size);
            if holds { text_at(names, u32_at(symbol, 0)?.into()) } else { None }
        })
    }

    fn dynamic_texts(&self, tags: &'static [u64]) -> impl Iterator<Item = &'a str> {
        let names = self.sections().find(|section| section.kind == SHT_DYNAMIC).and_then(|s| self.section(s.link));
        let names = names.map_or(&[][..], |section| section.data);
        self.dynamic().filter(move |(tag, _)| tags.contains(tag)).filter_map(move |(_, value)| text_at(names, value))
    }

    fn dynamic(&self) -> impl Iterator<Item = (u64, u64)> + use<'a> {
        let section = self.sections().find(|section| section.kind == SHT_DYNAMIC);
        let data = section.map_or(&[][..], |section| section.data);
        data.chunks_exact(16).filter_map(|entry| Some((u64_at(entry, 0)?, u64_at(entry, 8)?)))
    }

    fn sections(&self) -> impl Iterator<Item = Section<'a>> + use<'a> {
        let elf = *self;
        let count = elf.bytes.get(60..62).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]));
        (0..u32::from(count)).filter_map(move |index| elf.section(index))
    }

    fn section(&self, index: u32) -> Option<Section<'a>> {
        let table = usize::try_from(u64_at(self.bytes, 40)?).ok()?;
        let header = self.bytes.get(table.checked_add(index as usize * 64)?..)?.get(..64)?;
        let (offset, size) = (usize::try_from(u64_at(header, 24)?).ok()?, usize::try_from(u64_at(header, 32)?).ok()?);
        let data = self.bytes.get(offset..offset.checked_add(size)?).unwrap_or(&[]);
        Some(Section { kind: u32_at(header, 4)?, link: u32_at(header, 40)?, data })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn text_at(names: &[u8], at: u64) -> Option<&str> {
    let rest = names.get(usize::try_from(at).ok()?..)?;
    let end = rest.iter().position(|&byte| byte == 0)?;
    std::str::from_utf8(&rest[..end]).ok().filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn this_program() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    #[test]
    fn an_executable_is_not_a_library() {
        assert_eq!(Elf::parse(&this_program()).err(), Some(ElfError::NotShared));
        assert_eq!(Elf::parse(b"int main() {}").err(), Some(ElfError::NotElf));
        assert_eq!(Elf::parse(b"").err(), Some(ElfError::NotElf));
    }

    #[test]
    fn functions_and_needed_libraries_are_found() {
        let bytes = this_program();
        let elf = Elf { bytes: &bytes };
        assert!(elf.needed().any(|name| name.starts_with("libc.so")));
        let names = elf.sections().find(|section| section.kind == SHT_SYMTAB).unwrap();
        let symbol = names.data.chunks_exact(24).find(|symbol| symbol[4] & 0xf == STT_FUNC && symbol[16] > 1).unwrap();
        let start = u64_at(symbol, 8).unwrap();
        assert!(elf.function_at(start).is_some());
        assert_eq!(elf.function_at(start + 1), elf.function_at(start));
        assert_eq!(elf.function_at(u64::MAX), None);
    }

    #[test]
    fn damaged_files_are_no_panic() {
        let mut bytes = this_program();
        bytes.truncate(bytes.len() / 2);
        let elf = Elf { bytes: &bytes };
        assert!(elf.needed().count() < 1000 && elf.run_paths().count() < 1000);
        assert_eq!(elf.function_at(1), None);
        for at in 16..64 {
            let mut bytes = this_program();
            bytes[at] ^= 0xff;
            let _ = Elf::parse(&bytes).map(|elf| elf.needed().count());
        }
    }
}
