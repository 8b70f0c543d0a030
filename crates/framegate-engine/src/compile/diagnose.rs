//! What a compiler's complaints mean for the author: the first errors with their lines, and the remedy where one is known.

use std::path::Path;

/// Error lines shown.
const ERRORS_SHOWN_MAX: usize = 4;
/// Bytes of one error line shown.
const LINE_BYTES_MAX: usize = 180;

/// Headers by how their names begin, the pkg-config package they come with, and its Debian package.
const KNOWN: [(&str, &str, &str); 8] = [
    ("opencv2/", "opencv4", "libopencv-dev"),
    ("zbar", "zbar", "libzbar-dev"),
    ("apriltag", "apriltag", "libapriltag-dev"),
    ("dlib/", "dlib-1", "libdlib-dev libblas-dev liblapack-dev"),
    ("gst/", "gstreamer-1.0", "libgstreamer1.0-dev"),
    ("Eigen/", "eigen3", "libeigen3-dev"),
    ("glib", "glib-2.0", "libglib2.0-dev"),
    ("libavcodec/", "libavcodec", "libavcodec-dev"),
];

/// Packages by pkg-config names that no header above begins with.
const KNOWN_PACKAGES: [(&str, &str); 3] = [
    ("gstreamer-app-1.0", "libgstreamer-plugins-base1.0-dev"),
    ("gstreamer-video-1.0", "libgstreamer-plugins-base1.0-dev"),
    ("framegate", "none: leave it out, its headers are always there"),
];

/// How to get a package of pkg-config.
pub(super) fn package_remedy(package: &str) -> String {
    let known = KNOWN.iter().map(|(_, package, debian)| (*package, *debian)).chain(KNOWN_PACKAGES);
    match known.into_iter().find(|(name, _)| *name == package) {
        Some((_, debian)) if debian.starts_with("none") => debian.to_owned(),
        Some((_, debian)) => format!("sudo apt install {debian}"),
        None => format!("`apt-file search {package}.pc` names the Debian package it is in"),
    }
}

/// The header that a line of a compiler says is missing.
pub(super) fn missing_header(line: &str) -> Option<&str> {
    let (_, said) = line.split_once("fatal error: ")?;
    // gcc: `x.h: No such file or directory`; clang: `'x.h' file not found`.
    said.strip_suffix(": No such file or directory")
        .or_else(|| said.strip_prefix('\'')?.strip_suffix("' file not found"))
}

/// How to get a header, for a source that names these packages.
pub(super) fn header_remedy(header: &str, packages: &[String]) -> String {
    match KNOWN.iter().find(|(begin, ..)| header.starts_with(begin)) {
        Some((_, package, debian)) if !packages.iter().any(|named| named == package) => {
            format!("add the line `// framegate: pkg={package}` at the top (and sudo apt install {debian})")
        }
        Some((.., debian)) => format!("sudo apt install {debian}"),
        None => format!(
            "put it beside the source, or name its pkg-config package in a line `// framegate: pkg=NAME` at the top; \
             `apt-file search {header}` names the Debian package it is in"
        ),
    }
}

/// The first errors among what a compiler said, with paths relative to the source's folder; everything it said if it
/// marks no line as an error.
pub(super) fn first_errors(said: &str, folder: &Path) -> String {
    let is_error = |line: &&str| {
        [" error: ", "fatal error:", "undefined reference to", "multiple definition of", "cannot find"]
            .iter()
            .any(|mark| line.contains(mark))
    };
    let prefix = format!("{}/", folder.display());
    let marked: Vec<_> = said.lines().filter(is_error).collect();
    let all = if marked.is_empty() { said.lines().collect() } else { marked };
    let mut shown = String::new();
    for line in all.iter().take(ERRORS_SHOWN_MAX) {
        let line = line.replace(&prefix, "");
        shown.push_str("\n  ");
        shown.push_str(crate::outbox::cut(line.trim(), LINE_BYTES_MAX));
    }
    if all.len() > ERRORS_SHOWN_MAX {
        shown.push_str(&format!("\n  … and {} more", all.len() - ERRORS_SHOWN_MAX));
    }
    if shown.is_empty() {
        shown.push_str(" it says nothing");
    } else if said.contains("undefined reference to") {
        shown.push_str("\n  define it, or name its library: `// framegate: link=NAME` or `pkg=NAME`");
    } else if let Some(library) = missing_library(said) {
        shown.push_str(&format!("\n  `apt-file search {library}` names the Debian package it is in"));
    }
    shown
}

/// The library that a linker does not find: `cannot find -lx: …` or `cannot find /usr/lib/libx.so: …`.
fn missing_library(said: &str) -> Option<String> {
    let (_, named) = said.split_once("cannot find ")?;
    let name = named.split([':', '\n']).next()?.trim();
    Some(match name.strip_prefix("-l") {
        Some(library) => format!("lib{library}.so"),
        None => name.rsplit('/').next()?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_headers_have_remedies() {
        let check = |line: &str, packages: &[&str], expected: &str| {
            let packages: Vec<_> = packages.iter().map(|name| (*name).to_owned()).collect();
            let header = missing_header(line).unwrap();
            assert!(header_remedy(header, &packages).contains(expected), "{line}");
        };
        let gcc = "a.cpp:1:10: fatal error: opencv2/core.hpp: No such file or directory";
        check(gcc, &[], "`// framegate: pkg=opencv4`");
        check(gcc, &["opencv4"], "sudo apt install libopencv-dev");
        check("a.cpp:1:10: fatal error: 'zbar.h' file not found", &[], "pkg=zbar");
        check("a.cpp:1:10: fatal error: x/y.h: No such file or directory", &[], "`apt-file search x/y.h`");
        assert_eq!(missing_header("a.cpp:1:1: error: x"), None);
    }

    #[test]
    fn packages_have_remedies() {
        assert_eq!(package_remedy("opencv4"), "sudo apt install libopencv-dev");
        assert_eq!(package_remedy("gstreamer-1.0"), "sudo apt install libgstreamer1.0-dev");
        assert!(package_remedy("nonsense").contains("apt-file search nonsense.pc"));
    }

    #[test]
    fn errors_are_few_and_short() {
        let said: String =
            (0..10).map(|n| format!("/x/a.cpp:{n}:1: error: {}\n  note\n", "long ".repeat(99))).collect();
        let shown = first_errors(&said, Path::new("/x"));
        assert!(shown.starts_with("\n  a.cpp:0:1: error: long"), "{shown}");
        assert!(shown.ends_with("… and 6 more") && shown.len() < 900, "{shown}");
        let said = "/usr/bin/ld: cannot find /usr/lib/libblas.so: No such file or directory\n";
        assert!(
            first_errors(said, Path::new("/x"))
                .ends_with("`apt-file search libblas.so` names the Debian package it is in")
        );
        assert_eq!(missing_library("ld: cannot find -lnone: No such file"), Some("libnone.so".to_owned()));
        assert_eq!(first_errors("odd\n", Path::new("/x")), "\n  odd");
        assert_eq!(first_errors("", Path::new("/x")), " it says nothing");
    }
}
