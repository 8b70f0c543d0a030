//! Names of functions as their authors wrote them. The compiler's names come out of foreign files: what is read and what
//! is written has a limit. Pure.

use std::fmt::{self, Write};

use cpp_demangle::{DemangleOptions, ParseOptions, Symbol};

/// Longest name that is taken apart, in bytes: those of heavily templated code. Longer ones stay as they are.
const MANGLED_BYTES_MAX: usize = 4096;

/// Longest result, in bytes: one that people still read.
const READABLE_BYTES_MAX: usize = 200;

/// How deep the parts of a name may lie in each other.
const DEPTH_MAX: u32 = 96;

/// The name as it was written in C++ or Rust, without parameters; any other name as it is. Long ones end in `…`.
pub(crate) fn demangle(name: &str) -> String {
    let mut text = Limited::default();
    if name.len() <= MANGLED_BYTES_MAX {
        // Rust's older names are valid in C++, too, but end in a hash there.
        if let Ok(rust) = rustc_demangle::try_demangle(name) {
            // A text that is too long is cut, and that is all that can go wrong.
            let _ = write!(text, "{rust:#}");
        } else if name.starts_with("_Z") {
            let parsing = ParseOptions::default().recursion_limit(DEPTH_MAX);
            if let Ok(symbol) = Symbol::new_with_options(name, &parsing) {
                let writing = DemangleOptions::new().no_params().no_return_type().recursion_limit(DEPTH_MAX);
                // What could not be written to its end is no name, unless it was too long.
                if symbol.structured_demangle(&mut text, &writing).is_err() && !text.is_cut {
                    text.text.clear();
                }
            }
        }
    }
    if text.text.is_empty() {
        text = Limited::default();
        // As above.
        let _ = text.write_str(name);
    }
    if text.is_cut { text.text + "…" } else { text.text }
}

/// A text that refuses to grow beyond [`READABLE_BYTES_MAX`].
#[derive(Debug, Default)]
struct Limited {
    text: String,
    is_cut: bool,
}

impl Write for Limited {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let left = READABLE_BYTES_MAX.saturating_sub(self.text.len());
        let end = (0..=left.min(more.len())).rev().find(|&end| more.is_char_boundary(end)).unwrap_or(0);
        self.text.push_str(&more[..end]);
        self.is_cut |= end < more.len();
        if self.is_cut { Err(fmt::Error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_their_authors_wrote_them() {
        for (name, expected) in [
            ("blur_row", "blur_row"),
            ("_ZL8blur_rowPKhi", "blur_row"),
            ("_ZN5faces6Finder7processERN2fg5FrameERNS1_6ResultE", "faces::Finder::process"),
            ("_ZN12_GLOBAL__N_13sumIiEET_S1_", "(anonymous namespace)::sum<int>"),
            ("_ZZN5faces4findEvENKUliE_clEi", "faces::find()::{lambda(int)#1}::operator() const"),
            ("_ZN5edges4find17h0123456789abcdefE", "edges::find"),
            ("_RNvCs1234_7mycrate3foo", "mycrate::foo"),
            ("_Zx", "_Zx"),
            ("", ""),
        ] {
            assert_eq!(demangle(name), expected);
        }
    }

    #[test]
    fn no_name_makes_a_long_text() {
        // Each part repeats the one before it twice, so that all of it would fill the memory.
        let mut bomb = "_Z1fI1AIiiE".to_owned();
        for at in 0..34 {
            let part = char::from_digit(at, 36).unwrap().to_ascii_uppercase();
            bomb.push_str(&format!("1BIS{part}_S{part}_E"));
        }
        for name in [bomb + "EvT_", "ü".repeat(400), format!("_ZN{}E", "1a".repeat(1000)), "_Z1fPPPP".repeat(4000)] {
            let text = demangle(&name);
            assert!(text.len() <= READABLE_BYTES_MAX + "…".len() && text.ends_with('…'), "{text}");
        }
    }
}
