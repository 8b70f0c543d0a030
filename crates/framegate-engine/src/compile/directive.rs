//! The comment line of a source file that says how it is compiled: `// framegate: pkg=opencv4,zbar std=17`.

/// Lines in which it may stand.
const LINES_MAX: usize = 50;
/// Most values of one key.
const VALUES_MAX: usize = 32;
/// Longest value, in bytes.
const VALUE_BYTES_MAX: usize = 256;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    C,
    Cpp,
}

impl Language {
    /// Standards that `std=` takes.
    fn standards(self) -> &'static [&'static str] {
        match self {
            Self::C => &["11", "17", "23"],
            Self::Cpp => &["11", "14", "17", "20", "23", "26"],
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::C => "C",
            Self::Cpp => "C++",
        }
    }
}

/// What the comment lines say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Directive {
    /// Packages of pkg-config.
    pub(super) packages: Vec<String>,
    /// Two digits of the language's standard.
    pub(super) standard: Option<String>,
    /// More flags of the compiler.
    pub(super) flags: Vec<String>,
    /// Libraries by name, or files relative to the source's folder.
    pub(super) links: Vec<String>,
}

/// Whether a value can be taken.
type Check = fn(&str) -> Result<(), DirectiveError>;

/// What is wrong with a comment line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DirectiveError {
    /// No `key=value`.
    #[error("`{0}` is none of pkg=NAME,… std=NN flags=-O3,… link=NAME,…")]
    Unknown(String),
    /// A key without a value.
    #[error("`{0}=` needs a value")]
    Empty(&'static str),
    /// Too much.
    #[error("`{0}=` takes at most {VALUES_MAX} values of {VALUE_BYTES_MAX} bytes")]
    TooMuch(&'static str),
    /// No name of a package.
    #[error("`{0}` is no name of a pkg-config package")]
    Package(String),
    /// No known standard.
    #[error("std={found} is no standard of {language}; it takes {known}")]
    Standard {
        /// What was written.
        found: String,
        /// `C` or `C++`.
        language: &'static str,
        /// What can be written.
        known: String,
    },
    /// A flag that could do more than compile.
    #[error(
        "flag `{0}` is not taken: flags= takes -O… -g… -D… -U… -W… -f… -m… and -pthread, without plugins and files"
    )]
    Flag(String),
    /// No name and no file.
    #[error(
        "`{0}` cannot be linked: link= takes names (m, z) and files beside the source (./libalgo.a, lib/libalgo.so)"
    )]
    Link(String),
}

impl Directive {
    /// Reads the comment lines among the first lines of a text. The error comes with its line, from 1.
    pub(super) fn parse(text: &str, language: Language) -> Result<Self, (usize, DirectiveError)> {
        let mut found = Self::default();
        for (index, line) in text.lines().take(LINES_MAX).enumerate() {
            let line = line.trim();
            let Some(comment) = line.strip_prefix("//").or_else(|| line.strip_prefix("/*")) else { continue };
            let Some(words) = comment.trim().strip_prefix("framegate:") else { continue };
            for word in words.trim_end_matches("*/").split_whitespace() {
                found.add(word, language).map_err(|error| (index + 1, error))?;
            }
        }
        Ok(found)
    }

    fn add(&mut self, word: &str, language: Language) -> Result<(), DirectiveError> {
        let unknown = || DirectiveError::Unknown(short(word));
        let (key, values) = word.split_once('=').ok_or_else(unknown)?;
        let (key, list, check): (_, _, Check) = match key {
            "pkg" => ("pkg", &mut self.packages, package),
            "flags" => ("flags", &mut self.flags, flag),
            "link" => ("link", &mut self.links, link),
            "std" => {
                self.standard = Some(standard(values, language)?);
                return Ok(());
            }
            _ => return Err(unknown()),
        };
        for value in values.split(',') {
            if value.is_empty() {
                return Err(DirectiveError::Empty(key));
            }
            if value.len() > VALUE_BYTES_MAX || list.len() >= VALUES_MAX {
                return Err(DirectiveError::TooMuch(key));
            }
            check(value)?;
            list.push(value.to_owned());
        }
        Ok(())
    }
}

/// So much of a word as an error shows.
fn short(word: &str) -> String {
    word.chars().take(40).collect()
}

fn is_name(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.chars().all(|character| character.is_ascii_alphanumeric() || "+-._".contains(character))
}

fn package(value: &str) -> Result<(), DirectiveError> {
    if is_name(value) { Ok(()) } else { Err(DirectiveError::Package(short(value))) }
}

fn standard(value: &str, language: Language) -> Result<String, DirectiveError> {
    let known = language.standards();
    if known.contains(&value) {
        return Ok(value.to_owned());
    }
    Err(DirectiveError::Standard { found: short(value), language: language.name(), known: known.join(", ") })
}

/// Flags that make code. Those that run programs, read options from files or write elsewhere would let a source do
/// outside the sandbox what its processor may not do inside.
fn flag(value: &str) -> Result<(), DirectiveError> {
    let can_only_compile = |name: &str| {
        let does_more = [
            "plugin",
            "dump",
            "profile",
            "opt-info",
            "save",
            "stack-usage",
            "callgraph",
            "use-ld",
            // Compiles a second time, with any options.
            "compare-debug",
            // Asks a program, or writes compiled modules.
            "module",
            "test-coverage",
            // Diagnostics into files, and what clang writes beside its output.
            "-file",
            "add-output",
            "time-trace",
            "proc-stat",
            "crash-diagnostics",
            "/",
            "|",
        ];
        name.strip_prefix('f').is_some_and(|rest| !does_more.iter().any(|word| rest.contains(word)))
    };
    let allowed = match value.strip_prefix('-') {
        Some("pthread") => true,
        Some(name) if name.starts_with("mllvm") => false,
        Some(name) if name.starts_with('W') => {
            name[1..].chars().all(|c| c.is_ascii_alphanumeric() || "-=+".contains(c))
                && !["Wl", "Wa", "Wp"].contains(&name)
        }
        Some(name) => name.starts_with(['O', 'g', 'D', 'U', 'm']) || can_only_compile(name),
        None => false,
    };
    if allowed { Ok(()) } else { Err(DirectiveError::Flag(short(value))) }
}

fn link(value: &str) -> Result<(), DirectiveError> {
    let is_file = !value.starts_with(['-', '@', '/']) && is_linked_file(value) && !value.contains("..");
    if is_name(value) || is_file { Ok(()) } else { Err(DirectiveError::Link(short(value))) }
}

/// Whether a value of `link=` names a file and not a library of the system.
pub(super) fn is_linked_file(value: &str) -> bool {
    [".a", ".o", ".so"].iter().any(|ending| value.ends_with(ending)) || value.contains(".so.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comment_lines_are_read() {
        let text = "// My processor.\n// framegate: pkg=opencv4,zbar std=17\nint x;\n/* framegate: flags=-O3,-mavx2 link=m,./liba.a */\n";
        let strings = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let expected = Directive {
            packages: strings(&["opencv4", "zbar"]),
            standard: Some("17".to_owned()),
            flags: strings(&["-O3", "-mavx2"]),
            links: strings(&["m", "./liba.a"]),
        };
        assert_eq!(Directive::parse(text, Language::Cpp), Ok(expected));
    }

    #[test]
    fn only_comments_at_the_top_count() {
        let late = format!("{}// framegate: nonsense", "\n".repeat(50));
        for text in ["", "framegate: x", "int a; // framegate: x", "# framegate: x", " * framegate: x", late.as_str()] {
            assert_eq!(Directive::parse(text, Language::C), Ok(Directive::default()), "{text}");
        }
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let check = |words: &str, expected: &str| {
            let (line, error) = Directive::parse(&format!("\n//framegate:{words}"), Language::Cpp).unwrap_err();
            assert_eq!(line, 2);
            assert!(error.to_string().contains(expected), "{words}: {error}");
        };
        check(" pkgs=a", "`pkgs=a` is none of pkg=NAME,… std=NN flags=-O3,… link=NAME,…");
        check(" opencv4", "`opencv4` is none of");
        check(" pkg=", "`pkg=` needs a value");
        check(" pkg=a,,b", "`pkg=` needs a value");
        check(" pkg=--version", "no name of a pkg-config package");
        check(" pkg=$(id)", "no name of a pkg-config package");
        check(" std=03", "std=03 is no standard of C++; it takes 11, 14, 17, 20, 23, 26");
        check(&format!(" pkg={}", "a,".repeat(40)), "at most 32 values");
        check(&format!(" pkg={}", "a".repeat(300)), "of 256 bytes");
        for bad in [
            "-fplugin=x.so",
            "-B/x",
            "-o",
            "-specs=x",
            "@file",
            "-Wl",
            "-wrapper",
            "-I/x",
            "-fdump-tree-all",
            "-fuse-ld=/x",
            "-mllvm",
            "-fcompare-debug=-B.",
            "-fmodule-mapper=|sh",
            "-ftest-coverage",
            "-fdiagnostics-format=sarif-file",
            "-ftime-trace=x",
        ] {
            check(&format!(" flags={bad}"), "is not taken");
        }
        for bad in ["/x/liba.a", "../liba.a", "-lm", "@x.a", "x;y"] {
            check(&format!(" link={bad}"), "cannot be linked");
        }
    }

    #[test]
    fn usual_flags_are_taken() {
        for good in
            ["-O3", "-march=native", "-DX=1", "-fopenmp", "-ffast-math", "-pthread", "-Wall", "-Wno-error=x", "-g0"]
        {
            assert!(Directive::parse(&format!("// framegate: flags={good}"), Language::C).is_ok(), "{good}");
        }
    }
}
