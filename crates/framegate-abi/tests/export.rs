//! A host plays every call to a processor made by `export_processor!`.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on must panic")]

use std::cell::RefCell;
use std::ffi::{CStr, c_char, c_void};
use std::ptr;
use std::sync::Mutex;

use framegate_abi::export::{
    CStr as Name, Choice, Color, Config, Format, Frame, Host, Level, Out, Picture, Processor, SettingsTable, Want,
};
use framegate_abi::{self as abi, KEYPOINTS_MAX};

framegate_abi::settings! {
    struct Settings {
        mirror: bool = true;
        count: i32 = 3, range(0, 10), label("Count"), group("Numbers"), unit("px");
        large: i64 = 1 << 40;
        threshold: f64 = 0.5, range(0.0, 1.0), step(0.01), description("How sure.");
        part: f32 = 0.25;
        mode: Choice = Choice::of(&["fast", "exact"]);
        word: String = "hello".to_owned(), longest(16);
        ink: Color = Color(0x0010_2030);
    }
}

struct Kit {
    settings: Settings,
    host: Host,
    frames: u8,
}

impl Processor for Kit {
    const NAME: &'static Name = c"kit";
    const VERSION: &'static Name = c"1.0.0";
    const DESCRIPTION: &'static Name = c"Uses everything.";
    const STATE_VERSION: Option<u32> = Some(4);
    const TAKES_MESSAGES: bool = true;

    fn new(host: &Host) -> Result<Self, String> {
        match host.stream() {
            "refused" => {
                host.file("model.onnx")?;
            }
            "panics" => panic!("no {}", "model"),
            _ => host.info("made"),
        }
        Ok(Self { settings: Settings::default(), host: host.clone(), frames: 0 })
    }

    fn settings(&mut self) -> Option<&mut dyn SettingsTable> {
        Some(&mut self.settings)
    }

    fn want(&self) -> Want {
        Want::default().format(Format::Bgr24).size(8, 0).rate_millihertz(2500).writable()
    }

    fn configure(&mut self, config: &Config) -> Result<(), String> {
        if config.width > 1 { Ok(()) } else { Err("too small".to_owned()) }
    }

    fn process(&mut self, frame: &mut Frame<'_>, out: &mut Out<'_>) -> Result<(), String> {
        self.frames += 1;
        match frame.seq() {
            1 => {
                out.found("all", 1.0, [0.0, 0.0, 1.0, 1.0])?;
                out.outline("kite", 0.5, &[[4.0, 0.0], [6.0, 3.0], [2.0, 3.0]])?;
                assert_eq!(frame.rows().map(<[u8]>::len).collect::<Vec<_>>(), [24; 6]);
                assert_eq!((frame.capture_us(), frame.row(5)[23]), (None, 7));
                assert!(frame.plane(1).is_none() && frame.row_mut(6).is_none());
                let Settings { mirror, count, large, threshold, part, mode, word, ink } = &self.settings;
                let ink = ink.0;
                let mode = mode.text();
                Ok(out.data(&format!("[{mirror},{count},{large},{threshold},{part},\"{mode}\",\"{word}\",{ink}]"))?)
            }
            2 => Err("no face".to_owned()),
            3 => panic!("index {}", 9),
            4 => Ok(out.found("bad", f32::NAN, [0.0; 4])?),
            5 => {
                out.nothing();
                Ok(())
            }
            6 => {
                frame.row_mut(0).ok_or("read-only")?[0] = 9;
                Ok(())
            }
            7 => {
                assert!(out.image_wanted());
                let picture =
                    Picture { format: Format::Gray8, width: 2, height: 2, stride_bytes: 3, bytes: &[1, 2, 0, 3, 4] };
                out.image(&picture)?;
                assert!(out.image(&Picture { height: 3, ..picture }).is_err());
                assert!(out.image(&Picture { format: Format::I420, ..picture }).is_err());
                Ok(out.image_frame()?)
            }
            _ => {
                out.error("tired");
                Ok(())
            }
        }
    }

    fn setting_changed(&mut self, id: &str) -> Result<(), String> {
        if id == "count" && self.settings.count == 7 { Err("not 7".to_owned()) } else { Ok(()) }
    }

    fn save(&mut self) -> Result<Vec<u8>, String> {
        Ok(vec![self.frames; 3])
    }

    fn load(&mut self, version: u32, bytes: &[u8]) -> Result<(), String> {
        if version != 4 {
            return Err("another version".to_owned());
        }
        self.frames = *bytes.first().ok_or("no bytes")?;
        Ok(())
    }

    fn receive(&mut self, json: &str) -> Result<(), String> {
        if json == "null" {
            return Err("nothing".to_owned());
        }
        let mut random = [0; 2];
        assert!(self.host.random(&mut random));
        Ok(self.host.send(&format!("[{json},{},{random:?}]", self.host.now_ns().unwrap_or(0)))?)
    }
}

framegate_abi::export_processor!(Kit);

/// What the processor said, as the host heard it.
#[derive(Debug, Default)]
struct Heard {
    log: Vec<(i32, String)>,
    want: Option<(u32, u32)>,
    sent: String,
    data: String,
    error: String,
    labels: Vec<String>,
    outlines: Vec<(u32, [f32; 4])>,
    images: Vec<(u32, Vec<u8>)>,
    frame_images: u32,
}

thread_local! {
    static HEARD: RefCell<Heard> = RefCell::default();
}

fn heard<R>(use_it: impl FnOnce(&mut Heard) -> R) -> R {
    HEARD.with_borrow_mut(use_it)
}

unsafe fn text(pointer: *const c_char) -> String {
    // SAFETY: the processor passes texts that end with 0.
    unsafe { CStr::from_ptr(pointer) }.to_str().unwrap().to_owned()
}

unsafe fn bytes<'a>(pointer: *const u8, length: u64) -> &'a [u8] {
    // SAFETY: the processor passes so many bytes.
    unsafe { std::slice::from_raw_parts(pointer, usize::try_from(length).unwrap()) }
}

unsafe extern "C" fn log(_: *const abi::Host, level: i32, line: *const c_char) {
    // SAFETY: as `text` needs.
    heard(|heard| heard.log.push((level, unsafe { text(line) })));
}

unsafe extern "C" fn set_want(_: *const abi::Host, want: *const abi::Want) -> i32 {
    // SAFETY: the processor passes its want.
    heard(|heard| heard.want = Some(unsafe { ((*want).rate_millihertz, (*want).flags) }));
    abi::OK
}

unsafe extern "C" fn now_ns(_: *const abi::Host) -> i64 {
    1234
}

unsafe extern "C" fn fill(_: *const abi::Host, to: *mut c_void, length: u64) -> i32 {
    // SAFETY: the processor passes so many bytes to write.
    unsafe { ptr::write_bytes(to.cast::<u8>(), 5, usize::try_from(length).unwrap()) };
    abi::OK
}

unsafe extern "C" fn send(_: *const abi::Host, json: *const c_char, length: u64) -> i32 {
    // SAFETY: as `bytes` needs.
    heard(|heard| heard.sent = String::from_utf8(unsafe { bytes(json.cast(), length) }.to_vec()).unwrap());
    abi::OK
}

unsafe extern "C" fn host_extension(_: *const abi::Host, id: *const c_char) -> *const c_void {
    static WANT: abi::HostWant = abi::HostWant { struct_size: 16, reserved: 0, set: set_want };
    static CLOCK: abi::HostClock = abi::HostClock { struct_size: 16, reserved: 0, now_ns };
    static RANDOM: abi::HostRandom = abi::HostRandom { struct_size: 16, reserved: 0, fill };
    static MESSAGE: abi::HostMessage = abi::HostMessage { struct_size: 16, reserved: 0, send };
    // SAFETY: the processor passes a text that ends with 0.
    match unsafe { CStr::from_ptr(id) } {
        id if id == abi::EXT_WANT => (&raw const WANT).cast(),
        id if id == abi::EXT_CLOCK => (&raw const CLOCK).cast(),
        id if id == abi::EXT_RANDOM => (&raw const RANDOM).cast(),
        id if id == abi::EXT_MESSAGE => (&raw const MESSAGE).cast(),
        _ => ptr::null(),
    }
}

unsafe extern "C" fn detection(_: *const abi::Out, found: *const abi::Detection) -> i32 {
    // SAFETY: the processor passes its detection.
    let found = unsafe { *found };
    if found.score.is_nan() {
        return abi::ERROR_NOT_FINITE;
    }
    assert!(found.keypoint_count <= KEYPOINTS_MAX);
    // SAFETY: as `text` needs.
    heard(|heard| heard.labels.push(unsafe { text(found.label) }));
    heard(|heard| heard.outlines.push((found.flags, [found.x, found.y, found.w, found.h])));
    abi::OK
}

unsafe extern "C" fn data(_: *const abi::Out, json: *const c_char, length: u64) -> i32 {
    // SAFETY: as `bytes` needs.
    heard(|heard| heard.data = String::from_utf8(unsafe { bytes(json.cast(), length) }.to_vec()).unwrap());
    abi::OK
}

unsafe extern "C" fn error(_: *const abi::Out, line: *const c_char) -> i32 {
    // SAFETY: as `text` needs.
    heard(|heard| heard.error = unsafe { text(line) });
    abi::OK
}

unsafe extern "C" fn is_wanted(_: *const abi::Out) -> i32 {
    1
}

unsafe extern "C" fn submit(_: *const abi::Out, picture: *const abi::Picture) -> i32 {
    // SAFETY: the processor passes its picture, of two rows of two bytes.
    let (format, plane) = unsafe { ((*picture).format, (*picture).planes[0]) };
    // SAFETY: as above.
    heard(|heard| heard.images.push((format, unsafe { bytes(plane.data, 5) }.to_vec())));
    abi::OK
}

unsafe extern "C" fn submit_frame(_: *const abi::Out) -> i32 {
    heard(|heard| heard.frame_images += 1);
    abi::OK
}

unsafe extern "C" fn out_extension(_: *const abi::Out, _: *const c_char) -> *const c_void {
    static IMAGE: abi::OutImage = abi::OutImage { struct_size: 32, reserved: 0, is_wanted, submit, submit_frame };
    (&raw const IMAGE).cast()
}

fn host(stream: &'static CStr) -> abi::Host {
    abi::Host {
        struct_size: 48,
        abi_version: abi::ABI_VERSION,
        context: ptr::null_mut(),
        get_extension: host_extension,
        log,
        folder: c"/models".as_ptr(),
        stream: stream.as_ptr(),
    }
}

fn create(host: &abi::Host) -> Result<*mut abi::Processor, i32> {
    // SAFETY: the entry is transparent over the struct of the header.
    let entry = unsafe { &*(&raw const fg_entry_1).cast::<abi::Entry>() };
    let mut made = ptr::null_mut();
    // SAFETY: the host lives through the test.
    match unsafe { entry.create.unwrap()(host, &raw mut made) } {
        abi::OK => Ok(made),
        code => Err(code),
    }
}

fn play(kit: *mut abi::Processor, seq: u64, flags: u32) -> i32 {
    let mut pixels = [7_u8; 5 * 64 + 24];
    let none = abi::Plane { data: ptr::null_mut(), stride_bytes: 0, width: 0, height: 0 };
    let plane = abi::Plane { data: pixels.as_mut_ptr(), stride_bytes: 64, width: 8, height: 6 };
    let frame = abi::Frame {
        struct_size: 216,
        flags,
        seq,
        rtp_ts: 0,
        dropped_before: 0,
        capture_us: abi::CAPTURE_UNKNOWN,
        received_ns: 0,
        deadline_ns: 0,
        format: abi::BGR24,
        width: 8,
        height: 6,
        rotation: 0,
        matrix: abi::MATRIX_BT601,
        range: abi::RANGE_LIMITED,
        plane_count: 1,
        reserved: 0,
        planes: [plane, none, none, none],
    };
    let out = abi::Out {
        struct_size: 48,
        reserved: 0,
        context: ptr::null_mut(),
        detection,
        data,
        get_extension: out_extension,
        error,
    };
    heard(|heard| heard.error.clear());
    // SAFETY: the processor is not destroyed yet; frame and out live through the call.
    unsafe { (*kit).process.unwrap()(kit, &raw const frame, &raw const out) }
}

/// An interface of the processor's.
fn extension<E: Copy>(kit: *mut abi::Processor, id: &CStr) -> E {
    // SAFETY: the processor is not destroyed yet, and its interfaces are of these types.
    unsafe { *(*kit).get_extension.unwrap()(kit, id.as_ptr()).cast::<E>() }
}

/// Panics of processors print through the hook; here they would only confuse.
static QUIET: Mutex<()> = Mutex::new(());

fn quietly<R>(act: impl FnOnce() -> R) -> R {
    let _one = QUIET.lock();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let done = act();
    std::panic::set_hook(hook);
    done
}

#[test]
fn a_processor_is_made_or_says_why_not() {
    let (refused, panics, good) = (host(c"refused"), host(c"panics"), host(c"front"));
    assert_eq!(create(&refused), Err(abi::ERROR));
    assert_eq!(quietly(|| create(&panics)), Err(abi::ERROR));
    let kit = create(&good).unwrap();
    let expected = [
        (abi::LOG_ERROR, "/models/model.onnx is missing; put it there"),
        (abi::LOG_ERROR, "panic: no model"),
        (abi::LOG_INFO, "made"),
    ];
    assert_eq!(heard(|heard| heard.log.clone()), expected.map(|(level, text)| (level, text.to_owned())));
    assert_eq!(heard(|heard| heard.want), Some((2500, abi::WANT_WRITABLE)));
    let small = abi::Config { struct_size: 24, format: 1, width: 1, height: 1, source_width: 1, source_height: 1 };
    // SAFETY: the processor is not destroyed yet.
    unsafe {
        assert_eq!((*kit).configure.unwrap()(kit, &raw const small), abi::ERROR);
        assert_eq!((*kit).configure.unwrap()(kit, &abi::Config { width: 2, ..small }), abi::OK);
        (*kit).destroy.unwrap()(kit);
    }
    assert_eq!(heard(|heard| heard.log.last().cloned()), Some((Level::Error as i32, "too small".to_owned())));
}

#[test]
fn parameters_are_described_set_and_refused() {
    let host = host(c"front");
    let kit = create(&host).unwrap();
    let params: abi::Params = extension(kit, abi::EXT_PARAMS);
    // SAFETY: the table has `count` entries.
    let all = unsafe { std::slice::from_raw_parts(params.params, params.count as usize) };
    let kinds: Vec<_> = all.iter().map(|param| (param.kind, param.number)).collect();
    let expected =
        [(1, 1.0), (2, 3.0), (2, 1_099_511_627_776.0), (3, 0.5), (3, 0.25), (4, 0.0), (5, 0.0), (6, 1_056_816.0)];
    assert_eq!(kinds, expected);
    // SAFETY: texts that end with 0.
    unsafe {
        assert_eq!((text(all[1].id), text(all[1].unit), all[1].max), ("count".into(), "px".into(), 10.0));
        assert_eq!((text(all[6].text), all[6].max), ("hello".into(), 16.0));
        assert_eq!((text(*all[5].choices.add(1)), all[5].choice_count), ("exact".into(), 2));
        assert!(all[0].label.is_null());
    }
    let set = |index: u32, number: f64, text: Option<&CStr>| {
        let text = text.map_or(ptr::null(), CStr::as_ptr);
        let value = abi::ParamValue { struct_size: 0, kind: 0, number, text };
        // SAFETY: the processor is not destroyed yet.
        unsafe { params.set.unwrap()(kit, index, &raw const value) }
    };
    let new = [0.0, 4.0, -5.0, 0.75, 0.5, 1.0, 0.0, 255.0];
    for (index, number) in (0..).zip(new) {
        assert_eq!(set(index, number, (index == 6).then_some(c"bye")), abi::OK, "{index}");
    }
    for (index, number) in [(1, 7.0), (1, 1e10), (1, 1.5), (2, 1e300), (5, 2.0), (6, 1.0), (7, -1.0), (8, 0.0)] {
        assert_eq!(set(index, number, None), abi::ERROR, "{index} {number}");
    }
    assert_eq!(play(kit, 1, 0), abi::OK);
    assert_eq!(heard(|heard| heard.data.clone()), "[false,4,-5,0.75,0.5,\"exact\",\"bye\",255]");
    assert_eq!(heard(|heard| heard.labels.clone()), ["all", "kite"]);
    assert_eq!(heard(|heard| heard.outlines[1]), (abi::DETECTION_OUTLINE, [0.25, 0.0, 0.5, 0.5]));
    // SAFETY: the last call.
    unsafe { (*kit).destroy.unwrap()(kit) };
}

#[test]
fn errors_and_panics_become_error_results() {
    let host = host(c"front");
    let kit = create(&host).unwrap();
    let said = |seq, flags| (play(kit, seq, flags), heard(|heard| heard.error.clone()));
    assert_eq!(said(2, 0), (abi::ERROR, "no face".into()));
    assert_eq!(quietly(|| said(3, 0)), (abi::ERROR, "panic: index 9".into()));
    assert_eq!(said(4, 0), (abi::ERROR, "detection: not a finite number".into()));
    assert_eq!(said(5, 0), (abi::NO_RESULT, String::new()));
    assert_eq!(said(6, 0), (abi::ERROR, "read-only".into()));
    assert_eq!(said(6, abi::FRAME_WRITABLE), (abi::OK, String::new()));
    assert_eq!(said(7, 0), (abi::OK, String::new()));
    assert_eq!(heard(|heard| (heard.images.clone(), heard.frame_images)), (vec![(abi::GRAY8, vec![1, 2, 0, 3, 4])], 1));
    assert_eq!(said(8, 0), (abi::OK, "tired".into()));
    // SAFETY: the last call.
    unsafe { (*kit).destroy.unwrap()(kit) };
}

#[test]
fn state_and_messages_go_both_ways() {
    let host = host(c"front");
    let kit = create(&host).unwrap();
    play(kit, 2, 0);
    let state: abi::State = extension(kit, abi::EXT_STATE);
    assert_eq!(state.version, 4);
    let mut bytes = [0_u8; 4];
    // SAFETY: the processor is not destroyed yet; the bytes are as many as are said.
    unsafe {
        let (save, load) = (state.save.unwrap(), state.load.unwrap());
        assert_eq!(save(kit, bytes.as_mut_ptr().cast(), 2), 3);
        assert_eq!(bytes, [0; 4], "what does not fit is not written");
        assert_eq!(save(kit, bytes.as_mut_ptr().cast(), 4), 3);
        assert_eq!(bytes, [1, 1, 1, 0]);
        assert_eq!(load(kit, 3, bytes.as_ptr().cast(), 3), abi::ERROR);
        assert_eq!(load(kit, 4, ptr::null(), 0), abi::ERROR);
        assert_eq!(load(kit, 4, bytes.as_ptr().cast(), 3), abi::OK);
        let receive = extension::<abi::Message>(kit, abi::EXT_MESSAGE).receive.unwrap();
        assert_eq!(receive(kit, c"[1]".as_ptr(), 3), abi::OK);
        assert_eq!(receive(kit, c"null".as_ptr(), 4), abi::ERROR);
        assert_eq!(receive(kit, c"\xff".as_ptr(), 1), abi::ERROR);
        assert!((*kit).get_extension.unwrap()(kit, c"none/1".as_ptr()).is_null());
        (*kit).destroy.unwrap()(kit);
    }
    assert_eq!(heard(|heard| heard.sent.clone()), "[[1],1234,[5, 5]]");
}
