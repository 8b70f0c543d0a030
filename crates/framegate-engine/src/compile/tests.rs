//! With real compilers.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A folder with a source, and a cache of its own; both go away with the test.
struct Place {
    root: PathBuf,
    kit: Kit,
}

impl Place {
    fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let root = env::temp_dir().join(format!("framegate compile {} {number}", std::process::id()));
        fs::create_dir_all(root.join("src")).unwrap();
        let root = root.canonicalize().unwrap();
        let kit = Kit::unpack_into(&root.join("cache")).unwrap();
        Self { root, kit }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.root.join("src").join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn compile(&self, name: &str, text: &str) -> Result<PathBuf, CompileError> {
        compile(&self.write(name, text), &self.kit)
    }

    /// The error's text for a source that does not compile.
    fn error(&self, name: &str, text: &str) -> String {
        let text = self.compile(name, text).unwrap_err().to_string();
        assert!(text.len() <= framegate_wire::limits::TEXT_BYTES_MAX, "{text}");
        let left: Vec<_> = fs::read_dir(self.root.join("cache/processors")).map_or(Vec::new(), |all| all.collect());
        assert!(left.is_empty(), "{left:?}");
        text
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

const C: &str = "#include <framegate.h>\n#include \"level.h\"\n\
    static int32_t process(const fg_frame *f, const fg_out *o) { (void)f; return fg_data_printf(o, \"%d\", LEVEL); }\n\
    FG_PROCESSOR(\"test\", \"1.0.0\", \"A test.\", process)\n";

const CPP: &str = "#include <framegate.hpp>\nstruct T : fg::Processor { void process(fg::Frame &, fg::Result &) override {} };\n\
    FRAMEGATE_PROCESSOR(T, \"t\", \"1.0.0\", \"A test.\")\n";

#[test]
fn c_and_cpp_become_libraries() {
    let place = Place::new();
    place.write("level.h", "#define LEVEL 1\n");
    for (name, text) in [("a.c", C), ("a.cpp", CPP)] {
        let library = place.compile(name, text).unwrap();
        let bytes = fs::read(&library).unwrap();
        crate::symbols::Elf::parse(&bytes).unwrap();
        assert!(bytes.windows(10).any(|window| window == b"fg_entry_1"));
    }
}

#[test]
fn what_has_not_changed_is_not_compiled_again() {
    let place = Place::new();
    place.write("level.h", "#define LEVEL 1\n");
    let first = place.compile("a.c", C).unwrap();
    let made = fs::read(&first).unwrap();
    // A mark that a new compilation would wipe away.
    fs::write(&first, "kept").unwrap();
    assert_eq!(place.compile("a.c", C).unwrap(), first);
    assert_eq!(fs::read(&first).unwrap(), b"kept");

    place.write("level.h", "#define LEVEL 2\n");
    let second = place.compile("a.c", C).unwrap();
    assert_ne!(second, first, "an included file has changed");
    assert_ne!(fs::read(&second).unwrap(), made);
    place.write("level.h", "#define LEVEL 1\n");
    assert_eq!(place.compile("a.c", C).unwrap(), first, "as it was before");

    let third = place.compile("a.c", &format!("// framegate: flags=-O3\n{C}")).unwrap();
    assert_ne!(third, first, "the flags have changed");
    fs::remove_file(place.root.join("src/level.h")).unwrap();
    let error = place.compile("a.c", C).unwrap_err().to_string();
    assert!(error.contains("level.h"), "a file that has gone is missed: {error}");
}

#[test]
fn files_beside_the_source_are_linked() {
    let place = Place::new();
    let object = place.write("algo.c", "int answer(void) { return 42; }\n");
    let mut build = Command::new("cc");
    build.args(["-shared", "-fPIC", "-o"]).arg(object.with_file_name("libalgo.so")).arg(&object);
    assert!(build.status().unwrap().success());
    let text = C.replace("\"level.h\"", "<math.h>\nint answer(void);\n#define LEVEL answer() + (int)cos(f->width)");
    let library = place.compile("a.c", &format!("// framegate: link=./libalgo.so,m std=17\n{text}")).unwrap();
    assert!(fs::read(library).unwrap().windows(10).any(|window| window == b"libalgo.so"));
}

#[test]
fn packages_of_pkg_config_are_used() {
    let place = Place::new();
    let text = CPP
        .replace("<framegate.hpp>", "<framegate/cv.hpp>")
        .replace("override {}", "override { cv::Mat a(2, 2, CV_8U); }");
    place.compile("a.cpp", &format!("// framegate: pkg=opencv4 std=20 flags=-O0,-g0\n{text}")).unwrap();
}

#[test]
fn mistakes_name_cause_and_remedy() {
    let place = Place::new();
    let check = |name: &str, text: &str, expected: &[&str]| {
        let error = place.error(name, text);
        for part in expected {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
    };
    check("a.c", "int x = y;\n", &["a.c does not compile:\n  a.c:1:9: error: ", "y"]);
    check("a.cpp", "#include <opencv2/core.hpp>\n", &["a.cpp:1", "opencv2/core.hpp", "// framegate: pkg=opencv4"]);
    check("a.c", "#include <zbar_none.h>\n", &["`zbar_none.h`", "pkg=zbar"]);
    check("a.c", "#include <no/such.h>\n", &["apt-file search no/such.h"]);
    check(
        "a.c",
        "// framegate: pkg=opencv4,no-such-package\n",
        &["`no-such-package`", "apt-file search no-such-package.pc"],
    );
    check("a.c", "\n// framegate: package=x\n", &["a.c:2: `package=x` is none of pkg="]);
    check("a.c", "int f(void); int x(void) { return f(); }\n", &["undefined reference to", "link=NAME"]);
    check("a.cpp", "// framegate: std=17\nstatic_assert(false, \"no\");\n", &["a.cpp:2:", "no"]);
    let long = format!(
        "int a = {};\n",
        (0..99).map(|n| format!("unknown_name_{n}{}", "x".repeat(99))).collect::<Vec<_>>().join("+")
    );
    check("a.c", &long, &["more"]);
}

#[test]
fn missing_programs_are_named_with_their_packages() {
    let place = Place::new();
    let none = Tools { c: vec!["no-cc".into()], cpp: vec!["no-c++".into(), "-v".into()], pkg_config: "no-pkg".into() };
    let check = |name: &str, text: &str, tools: &Tools, expected: &str| {
        let error = compile_with(&place.write(name, text), &place.kit, tools).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    check("a.c", C, &none, "there is no C compiler `no-cc`: sudo apt install gcc, or name one in $CC");
    check("a.cpp", CPP, &none, "there is no C++ compiler `no-c++ -v`: sudo apt install g++, or name one in $CXX");
    let no_pkg = Tools { c: vec!["cc".into()], ..none };
    check("a.c", "// framegate: pkg=zbar\n", &no_pkg, "sudo apt install pkg-config");
    let gone = compile(Path::new("/no/such.c"), &place.kit).unwrap_err().to_string();
    assert_eq!(gone, "/no/such.c: No such file or directory (os error 2)");
}

#[test]
fn words_of_pkg_config_are_split() {
    assert_eq!(unescape("-I/a\\ b  -lc\n"), ["-I/a b", "-lc"]);
    assert_eq!(unescape(" \n"), Vec::<String>::new());
}
