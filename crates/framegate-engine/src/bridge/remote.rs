//! Hot path: a processor in another process, seen from its engine.

use std::rc::Rc;

use framegate_abi as abi;
use framegate_codec::{Image, Layout, Matrix, Range};
use framegate_wire::{
    Descriptor, ParamValue, PictureSize, ProcessorInfo, Status,
    limits::{AREA_MAX, LABEL_BYTES_MAX, PARAMS_MAX, RESULT_DATA_BYTES_MAX, SIDE_MAX, STATE_BYTES_MAX, TEXT_BYTES_MAX},
};
use serde::Deserialize;
use serde_json::json;

use super::{
    Answer, Bridge, Gone,
    description::pixel_format,
    link::PICTURE_BYTES_MAX,
    packet::{self, Ask, Drawn, FAILED, PICTURE_BT709, PICTURE_FULL, PICTURE_OFFSET, Tell},
};
use crate::{
    instance::{Refusal, Said, Setting, Wanted},
    native::report::Report,
    outbox::cut,
    params,
    pool::Slot,
};

/// Why a remote instance could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum RemoteError {
    /// The processor itself says so.
    #[error("{0}")]
    Refused(String),
    /// Its process went meanwhile.
    #[error("its process {0}")]
    Gone(String),
}

/// What is known of a processor before an instance of it is made.
#[derive(Debug)]
pub(crate) enum About {
    /// Everything.
    All(ProcessorInfo),
    /// What its library says; the rest comes with the instance.
    Library(Descriptor),
}

/// One instance.
#[derive(Debug)]
pub(crate) struct Remote {
    bridge: Rc<Bridge>,
    /// The other end's number of it.
    number: u32,
    info: ProcessorInfo,
    setting: Setting,
    report: Report,
    returns_image: bool,
    is_save_failing: bool,
}

/// What is refused, in the other end's words.
#[derive(Debug, Deserialize)]
struct Refused {
    code: String,
    text: String,
}

/// What came of a frame whose outcome is an error.
#[derive(Debug, Deserialize)]
struct Failed {
    #[serde(flatten)]
    refused: Refused,
    rows: Vec<Row>,
}

/// `[label, score, x, y, w, h, track, [[x, y, score], …], is_outline]`
pub(super) type Row = (String, f32, f32, f32, f32, f32, u64, Vec<[f32; 3]>, bool);

impl Remote {
    /// Makes the instance at the other end, as its processor `number`; its parameters have their defaults.
    pub(crate) fn create(bridge: Rc<Bridge>, number: u32, about: About, setting: Setting) -> Result<Self, RemoteError> {
        bridge.introduce(number as usize, setting.place, &setting.prefix);
        let body = json!({ "stream": setting.stream, "seed": setting.seed }).to_string();
        let gone = || RemoteError::Gone(bridge.end().unwrap_or_default());
        let request = packet::request(Ask::Create, number, body.as_bytes());
        let answer = bridge.ask(&request).map_err(|Gone| gone())?;
        if answer.reply.tell != Tell::Done {
            return Err(RemoteError::Refused(refusal(&answer).text));
        }
        let info = match about {
            About::All(info) => info,
            About::Library(descriptor) => described(descriptor, &answer.first)
                .ok_or_else(|| RemoteError::Refused("what it says of itself cannot be read".to_owned()))?,
        };
        let (report, returns_image) = (Report::default(), false);
        Ok(Self { bridge, number, info, setting, report, returns_image, is_save_failing: false })
    }

    /// Runs the author's own initialisation, now that the parameters are set.
    pub(crate) fn start(&mut self) -> Result<(), RemoteError> {
        self.done(Ask::Start, &[]).map_err(|text| self.error(text))
    }

    /// What the processor is like.
    pub(crate) fn info(&self) -> ProcessorInfo {
        self.info.clone()
    }

    /// What the processor wants.
    pub(crate) fn wanted(&self) -> Wanted {
        let first = Wanted { want: self.info.want, writable: self.info.writable };
        self.bridge.wanted(self.number as usize).unwrap_or(first)
    }

    /// Whether it has shown that it can give pictures of its own.
    pub(crate) fn returns_image(&self) -> bool {
        self.returns_image
    }

    /// How its process went, once it has.
    pub(crate) fn end(&self) -> Option<String> {
        self.bridge.end()
    }

    /// Sets parameter `index` to a value that was checked against it.
    pub(crate) fn set_param(&mut self, index: usize, value: &ParamValue) -> Result<(), String> {
        let body = format!("{{\"index\":{index},\"value\":{}}}", params::to_json(value));
        self.done(Ask::Set, body.as_bytes())
    }

    /// Gives it a state, through the memory of frames.
    pub(crate) fn load_state(&mut self, version: u32, bytes: &[u8], memory: &mut Slot) -> Result<(), String> {
        if bytes.len() > STATE_BYTES_MAX || !memory.fit(bytes.len().max(1)) {
            return Err(format!("a state of {} bytes, at most {STATE_BYTES_MAX}", bytes.len()));
        }
        let place = memory.bytes();
        place[..bytes.len()].copy_from_slice(bytes);
        let offset = (place.as_ptr() as usize).saturating_sub(self.bridge.base());
        self.done(Ask::Load, &packet::load_body(version, offset, bytes.len()))
    }

    /// Its state and the state's version; `None` when there is nothing to keep.
    pub(crate) fn save_state(&mut self) -> Option<(u32, Vec<u8>)> {
        if !self.info.has_state {
            return None;
        }
        let answer = self.ask(&packet::request(Ask::Save, self.number, &[])).ok()?;
        match answer.reply.tell {
            Tell::Saved if answer.first.is_empty() || answer.first.len() > STATE_BYTES_MAX => None,
            Tell::Saved => {
                self.is_save_failing = false;
                Some((answer.reply.extra, answer.first))
            }
            _ => {
                if !std::mem::replace(&mut self.is_save_failing, true) {
                    let text = format!("{}the state is not kept: {}", self.setting.prefix, refusal(&answer).text);
                    self.setting.outbox.log(framegate_wire::LogLevel::Warn, &text);
                }
                None
            }
        }
    }

    /// Hands it a message of the page.
    pub(crate) fn receive(&mut self, json: &[u8]) -> Result<(), String> {
        if !self.info.takes_messages {
            return Err("it takes no messages".to_owned());
        }
        self.done(Ask::Receive, json)
    }

    /// Announces frames of another size or format.
    pub(crate) fn configure(&mut self, config: &abi::Config) -> Result<(), Refusal> {
        let request = packet::request(Ask::Configure, self.number, &packet::configure_body(config));
        match self.ask(&request) {
            Ok(answer) if answer.reply.tell == Tell::Done => Ok(()),
            Ok(answer) => Err(refusal(&answer)),
            Err(Gone) => Err(self.gone()),
        }
    }

    /// Hands it one frame, which lies in the memory of the link.
    pub(crate) fn process(&mut self, frame: &abi::Frame, is_image_wanted: bool) -> Said {
        match self.try_process(frame, is_image_wanted) {
            Ok(said) => said,
            Err(refusal) => Said { status: refusal.into(), detections: Vec::new(), data: Vec::new(), image: None },
        }
    }

    fn try_process(&mut self, frame: &abi::Frame, is_image_wanted: bool) -> Result<Said, Refusal> {
        let now_ns = self.setting.clock.now_ns();
        let request = packet::process(self.number, frame, self.bridge.base(), now_ns, is_image_wanted)
            .ok_or_else(|| Refusal::of_processor("the frame does not lie in shared memory".to_owned()))?;
        let answer = self.ask(&request).map_err(|Gone| self.gone())?;
        if answer.reply.tell != Tell::Result {
            return Err(refusal(&answer));
        }
        self.report.begin(is_image_wanted);
        let failed = self.first_body(&answer);
        if answer.second.len() > RESULT_DATA_BYTES_MAX {
            self.report.refuse_large_data(answer.second.len() as u64);
        } else {
            self.report.set_data(&answer.second);
        }
        self.returns_image |= answer.reply.drawn != Drawn::Nothing;
        let image = match answer.reply.drawn {
            // Without a size it only says that it gives pictures.
            Drawn::Area { width: 0, .. } => None,
            Drawn::Area { format, width, height, stride_bytes: 0 } if is_image_wanted => {
                Some(self.laid_out(format, width, height, answer.reply.extra)?)
            }
            Drawn::Area { format, width, height, stride_bytes } if is_image_wanted => {
                Some(self.image(format, width, height, stride_bytes)?)
            }
            _ => None,
        };
        let status = match (self.report.refusal.take(), failed) {
            (Some((code, text)), _) => Status::Error { code: code.to_owned(), text },
            (None, Some(refusal)) => refusal.into(),
            (None, None) => Status::Ok,
        };
        let detections = std::mem::take(&mut self.report.detections);
        Ok(Said { status, detections, data: std::mem::take(&mut self.report.data), image })
    }

    /// Reads detections, and the error that a library's result may be.
    fn first_body(&mut self, answer: &Answer) -> Option<Refusal> {
        let body = match &*answer.first {
            [] => Ok((Vec::new(), None)),
            json if answer.reply.extra & FAILED != 0 => {
                serde_json::from_slice::<Failed>(json).map(|Failed { refused, rows }| (rows, Some(known(refused))))
            }
            json => serde_json::from_slice(json).map(|rows| (rows, None)),
        };
        match body {
            Ok((rows, failed)) => {
                self.detections(rows);
                failed
            }
            Err(error) => {
                self.report.refusal.get_or_insert(("bad_box", format!("its detections cannot be read: {error}")));
                None
            }
        }
    }

    /// Checks detections as those of any processor are.
    fn detections(&mut self, rows: Vec<Row>) {
        for (label, score, x, y, w, h, track, points, is_outline) in rows {
            let keypoints: Vec<_> = points.iter().map(|&[x, y, score]| abi::Keypoint { x, y, score }).collect();
            let raw = abi::Detection {
                struct_size: 0,
                score,
                label: std::ptr::null(),
                x,
                y,
                w,
                h,
                track,
                keypoints: std::ptr::null(),
                keypoint_count: u32::try_from(keypoints.len()).unwrap_or(u32::MAX),
                flags: if is_outline { abi::DETECTION_OUTLINE } else { 0 },
            };
            if self.report.add(&raw, Some(cut(&label, LABEL_BYTES_MAX).to_owned()), &keypoints) < 0 {
                return;
            }
        }
    }

    /// A copy of a picture of any format in the area, laid out as those of ours.
    fn laid_out(&self, format: u32, width: u32, height: u32, colors: u32) -> Result<Image, Refusal> {
        let layout = layout(format, width, height)?;
        let mut copy = vec![0; layout.total_bytes];
        let read = self.bridge.read_area(PICTURE_OFFSET, &mut copy);
        read.map_err(|error| bad_image(format!("its picture cannot be read: {error}")))?;
        let matrix = if colors & PICTURE_BT709 != 0 { Matrix::Bt709 } else { Matrix::Bt601 };
        let range = if colors & PICTURE_FULL != 0 { Range::Full } else { Range::Limited };
        Image::of_bytes(layout, &copy, matrix, range).ok_or_else(|| bad_image("its picture is cut short".to_owned()))
    }

    /// A copy of the picture in the area, which the other end may write at any time.
    fn image(&self, format: u32, width: u32, height: u32, stride_bytes: u32) -> Result<Image, Refusal> {
        let bad = bad_image;
        let layout = layout(format, width, height)?;
        let stride = stride_bytes as usize;
        let mut image = Image::new(layout, Matrix::Bt601, Range::Full);
        let bytes = stride.saturating_mul(height as usize);
        let is_packed = layout.plane_count == 1 && image.rows(0).next().is_some_and(|row| row.len() <= stride);
        if !is_packed || bytes > PICTURE_BYTES_MAX {
            return Err(bad(format!("its picture of {width}x{height} has rows of {stride} bytes")));
        }
        let mut copy = vec![0; bytes];
        let read = self.bridge.read_area(PICTURE_OFFSET, &mut copy);
        read.map_err(|error| bad(format!("its picture cannot be read: {error}")))?;
        for (row, from) in image.rows_mut(0).zip(copy.chunks_exact(stride)) {
            row.copy_from_slice(&from[..row.len()]);
        }
        Ok(image)
    }

    /// Gives back the memory of earlier data.
    pub(crate) fn reuse(&mut self, data: Vec<u8>) {
        self.report.data = data;
    }

    /// The last call.
    pub(crate) fn destroy(self) {
        // One that is gone needs no goodbye.
        let _ = self.ask(&packet::request(Ask::Destroy, self.number, &[]));
    }

    fn ask(&self, request: &[u8]) -> Result<Answer, Gone> {
        self.bridge.ask(request)
    }

    /// Asks for something that is done or refused.
    fn done(&self, ask: Ask, body: &[u8]) -> Result<(), String> {
        match self.ask(&packet::request(ask, self.number, body)) {
            Ok(answer) if answer.reply.tell == Tell::Done => Ok(()),
            Ok(answer) => Err(refusal(&answer).text),
            Err(Gone) => Err(self.gone().text),
        }
    }

    fn error(&self, text: String) -> RemoteError {
        match self.bridge.end() {
            Some(how) => RemoteError::Gone(how),
            None => RemoteError::Refused(text),
        }
    }

    /// What becomes of a frame whose processor is gone; the engine ends with it.
    fn gone(&self) -> Refusal {
        Refusal::of_processor(format!("its process {}", self.bridge.end().unwrap_or_default()))
    }
}

/// What a library's instance says of itself; its descriptor is known already.
fn described(descriptor: Descriptor, bytes: &[u8]) -> Option<ProcessorInfo> {
    let info: ProcessorInfo = postcard::from_bytes(bytes).ok()?;
    let fits = info.params.len() <= PARAMS_MAX && info.want.width <= SIDE_MAX && info.want.height <= SIDE_MAX;
    fits.then_some(ProcessorInfo { descriptor, ..info })
}

/// Where the bytes of a picture of the other end's lie.
fn layout(format: u32, width: u32, height: u32) -> Result<Layout, Refusal> {
    let unknown = || bad_image(format!("its picture has the unknown format {format}"));
    let layout = Layout::new(pixel_format(format).ok_or_else(unknown)?, width, height);
    PictureSize { width, height }.check(AREA_MAX).map_err(|error| bad_image(error.to_string()))?;
    layout.map_err(|error| bad_image(error.to_string()))
}

fn bad_image(text: String) -> Refusal {
    Refusal { code: "bad_image".to_owned(), text }
}

/// A refusal as the other end put it.
fn refusal(answer: &Answer) -> Refusal {
    match serde_json::from_slice(&answer.first) {
        Ok(refused) => known(refused),
        Err(_) => Refusal::of_processor("it refused, without a reason that can be read".to_owned()),
    }
}

/// A refusal whose code is one of ours.
fn known(Refused { code, text }: Refused) -> Refusal {
    const CODES: [&str; 9] = [
        "exception",
        "not_finite",
        "bad_json",
        "too_large",
        "too_many",
        "bad_text",
        "bad_box",
        "bad_image",
        "processor",
    ];
    let code = if CODES.contains(&code.as_str()) { code } else { "processor".to_owned() };
    Refusal { code, text: cut(&text, TEXT_BYTES_MAX).to_owned() }
}
