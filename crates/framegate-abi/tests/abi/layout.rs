//! Every size, offset and constant of the header equals its Rust mirror.

use std::collections::BTreeMap;
use std::process::Command;

use crate::common::{include, root, run, scratch, strict};
use framegate_abi as abi;

/// One struct as Rust sees it.
struct Mirror {
    c_name: &'static str,
    size: usize,
    /// C name, offset and size of each field.
    fields: Vec<(&'static str, usize, usize)>,
}

fn size_of_field<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

/// The mirror of one struct. The pattern names every field, so one that is missing in this list does not compile.
macro_rules! mirror {
    ($c_name:literal, $rust:ident, $($field:ident $(as $c_field:literal)?),+ $(,)?) => {{
        let _ = |whole: &abi::$rust| { let abi::$rust { $($field: _),+ } = *whole; };
        Mirror {
            c_name: $c_name,
            size: size_of::<abi::$rust>(),
            fields: vec![$((
                [$($c_field,)? stringify!($field)][0],
                std::mem::offset_of!(abi::$rust, $field),
                size_of_field(|whole: &abi::$rust| &whole.$field),
            )),+],
        }
    }};
}

#[expect(clippy::too_many_lines, reason = "a list with a line for each field")]
fn mirrors() -> Vec<Mirror> {
    vec![
        mirror!("fg_plane", Plane, data, stride_bytes, width, height),
        mirror!(
            "fg_frame",
            Frame,
            struct_size,
            flags,
            seq,
            rtp_ts,
            dropped_before,
            capture_us,
            received_ns,
            deadline_ns,
            format,
            width,
            height,
            rotation,
            matrix,
            range,
            plane_count,
            reserved,
            planes,
        ),
        mirror!("fg_keypoint", Keypoint, x, y, score),
        mirror!(
            "fg_detection",
            Detection,
            struct_size,
            score,
            label,
            x,
            y,
            w,
            h,
            track,
            keypoints,
            keypoint_count,
            flags,
        ),
        mirror!("fg_out", Out, struct_size, reserved, context, detection, data, get_extension, error),
        mirror!("fg_config", Config, struct_size, format, width, height, source_width, source_height),
        mirror!("fg_host", Host, struct_size, abi_version, context, get_extension, log, folder, stream),
        mirror!(
            "fg_processor", Processor, struct_size, reserved, this as "self", configure, process, destroy,
            get_extension,
        ),
        mirror!("fg_descriptor", Descriptor, struct_size, level, name, version, description, language),
        mirror!("fg_entry", Entry, struct_size, abi_version, descriptor, create),
        mirror!("fg_want", Want, struct_size, flags, format, width, height, rate_millihertz),
        mirror!("fg_host_want", HostWant, struct_size, reserved, set),
        mirror!(
            "fg_param",
            Param,
            id,
            label,
            group,
            description,
            unit,
            choices,
            choice_count,
            kind,
            min,
            max,
            step,
            number,
            text,
        ),
        mirror!("fg_param_value", ParamValue, struct_size, kind, number, text),
        mirror!("fg_params", Params, struct_size, count, params, set),
        mirror!("fg_state", State, struct_size, version, save, load),
        mirror!("fg_message", Message, struct_size, reserved, receive),
        mirror!("fg_host_message", HostMessage, struct_size, reserved, send),
        mirror!("fg_picture", Picture, struct_size, format, width, height, plane_count, reserved, planes),
        mirror!("fg_out_image", OutImage, struct_size, reserved, is_wanted, submit, submit_frame),
        mirror!("fg_host_clock", HostClock, struct_size, reserved, now_ns),
        mirror!("fg_host_random", HostRandom, struct_size, reserved, fill),
    ]
}

fn constants() -> BTreeMap<&'static str, i64> {
    BTreeMap::from([
        ("FG_ABI_VERSION", abi::ABI_VERSION.into()),
        ("FG_OK", abi::OK.into()),
        ("FG_NO_RESULT", abi::NO_RESULT.into()),
        ("FG_ERROR", abi::ERROR.into()),
        ("FG_ERROR_ARGUMENT", abi::ERROR_ARGUMENT.into()),
        ("FG_ERROR_UNSUPPORTED", abi::ERROR_UNSUPPORTED.into()),
        ("FG_ERROR_LIMIT", abi::ERROR_LIMIT.into()),
        ("FG_ERROR_NOT_FINITE", abi::ERROR_NOT_FINITE.into()),
        ("FG_BGR24", abi::BGR24.into()),
        ("FG_RGB24", abi::RGB24.into()),
        ("FG_BGRA", abi::BGRA.into()),
        ("FG_GRAY8", abi::GRAY8.into()),
        ("FG_I420", abi::I420.into()),
        ("FG_NV12", abi::NV12.into()),
        ("FG_LOG_ERROR", abi::LOG_ERROR.into()),
        ("FG_LOG_WARN", abi::LOG_WARN.into()),
        ("FG_LOG_INFO", abi::LOG_INFO.into()),
        ("FG_LOG_DEBUG", abi::LOG_DEBUG.into()),
        ("FG_FRAME_WRITABLE", abi::FRAME_WRITABLE.into()),
        ("FG_FRAME_SIZE_CHANGED", abi::FRAME_SIZE_CHANGED.into()),
        ("FG_FRAME_RESUMED", abi::FRAME_RESUMED.into()),
        ("FG_CAPTURE_UNKNOWN", abi::CAPTURE_UNKNOWN),
        ("FG_MATRIX_BT601", abi::MATRIX_BT601.into()),
        ("FG_MATRIX_BT709", abi::MATRIX_BT709.into()),
        ("FG_RANGE_LIMITED", abi::RANGE_LIMITED.into()),
        ("FG_RANGE_FULL", abi::RANGE_FULL.into()),
        ("FG_WANT_WRITABLE", abi::WANT_WRITABLE.into()),
        ("FG_DETECTION_OUTLINE", abi::DETECTION_OUTLINE.into()),
        ("FG_PARAM_BOOL", abi::PARAM_BOOL.into()),
        ("FG_PARAM_INT", abi::PARAM_INT.into()),
        ("FG_PARAM_FLOAT", abi::PARAM_FLOAT.into()),
        ("FG_PARAM_ENUM", abi::PARAM_ENUM.into()),
        ("FG_PARAM_TEXT", abi::PARAM_TEXT.into()),
        ("FG_PARAM_COLOR", abi::PARAM_COLOR.into()),
    ])
}

/// Names the header defines as plain values: macros with arguments, attributes and texts are left out.
fn defined_values(header: &str) -> Vec<&str> {
    header
        .lines()
        .filter_map(|line| line.strip_prefix("#define FG_").map(|rest| (line, rest)))
        .filter_map(|(line, rest)| rest.split_once(' ').map(|(name, value)| (&line[8..11 + name.len()], value)))
        .filter(|(name, value)| !name.contains('(') && (value.starts_with("UINT32_C") || value.starts_with("INT")))
        .map(|(name, _)| name)
        .collect()
}

/// Compiles and runs a C program that prints `name value` lines.
fn ask_c(test: &str, compiler: &str, body: &str) -> BTreeMap<String, i64> {
    let folder = scratch(&format!("{test}-{compiler}"));
    let source = folder.join("ask.c");
    let includes = "#include <framegate.h>\n#include <stddef.h>\n#include <string.h>\n";
    std::fs::write(&source, format!("{includes}int main(void) {{\n{body}return 0;\n}}\n")).unwrap();
    let program = folder.join("ask");
    run(strict(compiler).arg(&source).arg("-o").arg(&program));
    let output = String::from_utf8(run(&mut Command::new(program)).stdout).unwrap();
    output
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap()))
        .collect()
}

fn print(name: &str, expression: &str) -> String {
    format!("printf(\"{name} %lld\\n\", (long long)({expression}));\n")
}

#[test]
fn sizes_and_offsets_equal_the_c_compilers() {
    let mut body = String::new();
    let mut expected = BTreeMap::new();
    for mirror in mirrors() {
        let c_name = mirror.c_name;
        body += &print(c_name, &format!("sizeof({c_name})"));
        expected.insert(c_name.to_owned(), mirror.size as i64);
        for (field, offset, size) in mirror.fields {
            body += &print(&format!("{c_name}.{field}"), &format!("offsetof({c_name}, {field})"));
            body += &print(&format!("{c_name}.{field}:size"), &format!("sizeof((({c_name} *)0)->{field})"));
            expected.insert(format!("{c_name}.{field}"), offset as i64);
            expected.insert(format!("{c_name}.{field}:size"), size as i64);
        }
    }
    for compiler in ["gcc", "clang"] {
        assert_eq!(ask_c("layout", compiler, &body), expected, "{compiler}");
    }
}

/// The header's constants and fields, a line each: `NAME VALUE` and `STRUCT.FIELD OFFSET SIZE`.
fn lines_of_the_header() -> Vec<String> {
    let constants = constants().into_iter().filter(|(name, _)| *name != "FG_ABI_VERSION");
    let mut lines: Vec<_> = constants.map(|(name, value)| format!("{name} {value}")).collect();
    for Mirror { c_name, fields, .. } in mirrors() {
        lines.extend(fields.iter().map(|(field, offset, size)| format!("{c_name}.{field} {offset} {size}")));
    }
    lines
}

#[test]
fn nothing_of_1_0_has_moved() {
    const FROZEN: [&str; 3] = ["fg_plane", "fg_keypoint", "fg_param"];
    let kept = std::fs::read_to_string(root().join("testdata/abi-1.0/layout.txt")).unwrap();
    let kept: Vec<_> = kept.lines().collect();
    let now = lines_of_the_header();
    for line in &kept {
        assert!(now.iter().any(|found| found == line), "1.0 had `{line}`, and every processor of it relies on it");
    }
    for line in now.iter().filter(|line| !kept.contains(&line.as_str())) {
        let name = line.split('.').next().unwrap_or_default();
        assert!(!FROZEN.contains(&name), "`{line}` is new, but {name} lies in arrays and must not grow");
    }
    assert_eq!(abi::ABI_VERSION >> 16, 1);
}

#[test]
fn structs_have_no_hidden_padding() {
    for mirror in mirrors() {
        let mut end = 0;
        for (field, offset, size) in mirror.fields {
            assert_eq!(offset, end, "padding before {}.{field}", mirror.c_name);
            end = offset + size;
        }
        assert_eq!(mirror.size, end, "padding at the end of {}", mirror.c_name);
    }
}

#[test]
fn every_struct_of_the_header_is_mirrored() {
    let header = std::fs::read_to_string(include().join("framegate.h")).unwrap();
    let defined: Vec<_> = header
        .lines()
        .filter_map(|line| line.trim_start_matches("typedef ").strip_prefix("struct ")?.strip_suffix(" {"))
        .collect();
    assert_eq!(defined, mirrors().iter().map(|mirror| mirror.c_name).collect::<Vec<_>>());
}

#[test]
fn constants_equal_the_headers() {
    let header = std::fs::read_to_string(include().join("framegate.h")).unwrap();
    let mut names = defined_values(&header);
    names.sort_unstable();
    let expected = constants();
    assert_eq!(names, expected.keys().copied().collect::<Vec<_>>(), "every constant of the header has a mirror");
    let mut body = String::new();
    for name in names {
        body += &print(name, name);
    }
    let mut expected: BTreeMap<_, _> = expected.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let want = abi::EXT_WANT.to_str().unwrap();
    body += &print("FG_EXT_WANT", &format!("strcmp(FG_EXT_WANT, \"{want}\")"));
    expected.insert("FG_EXT_WANT".into(), 0);
    for compiler in ["gcc", "clang"] {
        assert_eq!(ask_c("constants", compiler, &body), expected, "{compiler}");
    }
}

#[test]
fn formats_and_limits_are_those_of_the_wire() {
    use framegate_wire::{PixelFormat, limits};
    let formats = [
        (PixelFormat::Bgr24, abi::BGR24),
        (PixelFormat::Rgb24, abi::RGB24),
        (PixelFormat::Bgra, abi::BGRA),
        (PixelFormat::Gray8, abi::GRAY8),
        (PixelFormat::I420, abi::I420),
        (PixelFormat::Nv12, abi::NV12),
    ];
    for (wire, c) in formats {
        assert_eq!(wire as u32, c, "{wire:?}");
    }
    let header = std::fs::read_to_string(include().join("framegate.h")).unwrap();
    for told in [
        format!("at most {} a frame", limits::DETECTIONS_MAX),
        format!("at most {} KiB; the last call counts", limits::RESULT_DATA_BYTES_MAX / 1024),
        format!("what it is, cut at {} bytes", limits::LABEL_BYTES_MAX),
        format!("cut at {} KiB", limits::TEXT_BYTES_MAX / 1024),
        format!("at most {}", abi::KEYPOINTS_MAX),
    ] {
        assert!(header.contains(&told), "the header must say: {told}");
    }
}
