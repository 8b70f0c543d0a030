//! Libraries that nobody here wrote, inside the whole sandbox: what they need of it, they have.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use framegate_wire::{ExitKind, PipelineSpec, Status};

use crate::support::{Folder, Nursery, clip, pipeline};

/// Compiles a C++ processor with the libraries that `pkg-config` knows by these names.
pub(crate) fn compile_cpp(folder: &Folder, source: &str, modules: &[&str]) -> PathBuf {
    let (file, library) = (folder.0.join("test.cpp"), folder.0.join("test.so"));
    std::fs::write(&file, source).unwrap();
    let flags = if modules.is_empty() { String::new() } else { pkg_config(modules) };
    let header = concat!(env!("CARGO_MANIFEST_DIR"), "/../framegate-abi/include");
    let done = Command::new("c++")
        .args(["-shared", "-fPIC", "-O1", "-std=c++17", "-I", header, "-o"])
        .arg(&library)
        .arg(&file)
        .args(flags.split_whitespace())
        .output()
        .unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    library
}

fn pkg_config(modules: &[&str]) -> String {
    let flags = Command::new("pkg-config").args(["--cflags", "--libs"]).args(modules).output().unwrap();
    assert!(flags.status.success(), "{modules:?} are missing: scripts/setup.sh test");
    String::from_utf8(flags.stdout).unwrap()
}

/// Three frames through a processor; each must be `ok` with `expected` as its data.
fn works(library: &Path, readable: Vec<PathBuf>, expected: &str) {
    let mut nursery = Nursery::start_pipeline(&PipelineSpec { readable, ..pipeline(library) }, &[]);
    nursery.ready();
    let mut engine = nursery.fork_ready();
    for (seq, unit) in (1..).zip(clip(320, 240, 3)) {
        let (result, data) = engine.process(seq, &unit);
        assert_eq!((result.status, data.as_str()), (Status::Ok, expected), "frame {seq}");
    }
    engine.close();
    assert_eq!(nursery.exited(&engine).0, ExitKind::Code(0));
}

#[test]
fn opencv_loads_models_reads_files_and_starts_threads() {
    let source = r#"
        #include <framegate.h>
        #include <atomic>
        #include <opencv2/opencv.hpp>
        static cv::CascadeClassifier faces;
        static cv::Mat before;
        static int32_t process(const fg_frame *frame, const fg_out *out) {
            const fg_plane &p = frame->planes[0];
            const cv::Mat bgr(int(p.height), int(p.width), CV_8UC3, p.data, size_t(p.stride_bytes));
            if (faces.empty() && !faces.load("/usr/share/opencv4/haarcascades/haarcascade_frontalface_default.xml")) return -10;
            const cv::Mat given = cv::imread("GRANTED/picture.png");
            if (given.cols != 8) return -11;
            cv::Mat grey;
            cv::cvtColor(bgr, grey, cv::COLOR_BGR2GRAY);
            std::vector<cv::Rect> found;
            faces.detectMultiScale(grey, found);
            if (!before.empty()) {
                std::vector<cv::Point2f> from{{10, 10}, {50, 50}}, to;
                std::vector<unsigned char> status;
                std::vector<float> error;
                cv::calcOpticalFlowPyrLK(before, grey, from, to, status, error);
                cv::Mat flow;
                cv::calcOpticalFlowFarneback(before, grey, flow, 0.5, 3, 15, 3, 5, 1.2, 0);
            }
            before = grey.clone();
            cv::setNumThreads(4);
            std::atomic<int> rows{0};
            cv::parallel_for_(cv::Range(0, 240), [&](const cv::Range &range) { rows += range.size(); }, 8);
            std::vector<unsigned char> png;
            cv::imencode(".png", grey, png);
            return fg_data_printf(out, "[%d,%d]", int(found.size()), int(rows));
        }
        FG_PROCESSOR("opencv", "1", "Uses OpenCV.", process)
    "#;
    let (folder, granted) = (Folder::new(), Folder::new());
    // An 8x1 grey picture with the checksums a strict reader wants.
    std::fs::write(granted.0.join("picture.png"), png_8x1()).unwrap();
    let source = source.replace("GRANTED", granted.0.to_str().unwrap());
    let library = compile_cpp(&folder, &source, &["opencv4"]);
    works(&library, vec![granted.0.clone()], "[0,240]");
}

/// A grey PNG of 8 x 1 pixels, all black.
fn png_8x1() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8], data: &[u8]| {
        let body = [kind, data].concat();
        png.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        png.extend(&body);
        png.extend(crc(&body).to_be_bytes());
    };
    chunk(b"IHDR", &[0, 0, 0, 8, 0, 0, 0, 1, 8, 0, 0, 0, 0]);
    // One stored deflate block of 9 zero bytes (filter and pixels), and its Adler-32.
    chunk(b"IDAT", &[0x78, 0x01, 1, 9, 0, 0xf6, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 1]);
    chunk(b"IEND", b"");
    png
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    })
}

#[test]
fn zbar_scans() {
    let source = r#"
        #include <framegate.h>
        #include <vector>
        #include <zbar.h>
        static int32_t process(const fg_frame *frame, const fg_out *out) {
            zbar::ImageScanner scanner;
            std::vector<unsigned char> grey(frame->width * frame->height, 128);
            zbar::Image image(frame->width, frame->height, "Y800", grey.data(), grey.size());
            return fg_data_printf(out, "%d", scanner.scan(image));
        }
        FG_PROCESSOR("zbar", "1", "Uses zbar.", process)
    "#;
    let folder = Folder::new();
    works(&compile_cpp(&folder, source, &["zbar"]), Vec::new(), "0");
}

#[test]
fn exceptions_and_threads_of_the_cpp_library_work() {
    let source = r#"
        #include <framegate.h>
        #include <chrono>
        #include <filesystem>
        #include <fstream>
        #include <future>
        #include <random>
        #include <thread>
        static int32_t process(const fg_frame *frame, const fg_out *out) {
            (void)frame;
            auto answer = std::async(std::launch::async, [] { std::this_thread::sleep_for(std::chrono::milliseconds(1)); return 42; });
            int caught = 0;
            try { std::filesystem::exists("/nowhere/x/y"); throw std::runtime_error("x"); } catch (const std::exception &) { caught++; }
            try { std::ofstream file("/tmp/framegate-test"); file.exceptions(std::ios::failbit); file << 1; } catch (const std::exception &) { caught++; }
            std::random_device seed;
            std::mt19937 twister(seed());
            return fg_data_printf(out, "[%d,%d,%d]", answer.get(), caught, int(twister() != seed()));
        }
        FG_PROCESSOR("cpp", "1", "Uses the C++ library.", process)
    "#;
    let folder = Folder::new();
    works(&compile_cpp(&folder, source, &[]), Vec::new(), "[42,2,1]");
}
