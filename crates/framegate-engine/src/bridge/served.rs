//! The other end of a bridge, for libraries: the instances of one engine in a process that serves several.

use std::{collections::BTreeMap, os::fd::OwnedFd, rc::Rc, sync::Arc};

use framegate_codec::{Image, Matrix, Range};
use framegate_wire::{Detection, FaultStage, ProcessorInfo, Status, limits::TEXT_BYTES_MAX};
use rustix::{
    io::Errno,
    net::{RecvFlags, SendFlags, recv, send},
};
use serde::Serialize;
use serde_json::json;

use super::{
    link::{FarEnd, PICTURE_BYTES_MAX},
    packet::{
        Ask, Drawn, FAILED, INLINE_BYTES_MAX, PACKET_BYTES_MAX, PICTURE_BT709, PICTURE_FULL, PICTURE_OFFSET, Reply,
        Tell, want_body,
    },
    request::{self, Create, Set},
};
use crate::{
    clock::Clock,
    instance::{Refusal, Said, Setting, Wanted},
    library::Library,
    native::Instance,
    nursery::fault::enter,
    outbox::{Outbox, cut},
    params,
    pool::Slot,
};

/// The engine has gone, or asks what no engine of ours asks: nothing is left to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Parted;

/// One engine's instances.
#[derive(Debug)]
pub(crate) struct Session {
    socket: Arc<OwnedFd>,
    frames: Slot,
    area: Slot,
    members: BTreeMap<u32, Member>,
    packet: Box<[u8]>,
    is_done: bool,
}

#[derive(Debug)]
struct Member {
    instance: Instance,
    info: ProcessorInfo,
    /// What the engine knows that it wants.
    wanted: Wanted,
}

/// What is answered, but for the bodies.
#[derive(Debug)]
enum Outcome {
    Done(Vec<u8>),
    Refused(Refusal),
    Saved(Option<(u32, Vec<u8>)>),
    Result(Box<Said>),
}

/// A detection as [`super::remote::Row`] reads it.
type Row<'a> = (&'a str, f32, f32, f32, f32, f32, u64, &'a [[f32; 3]], bool);

/// What came of a frame whose outcome is an error.
#[derive(Debug, Serialize)]
struct Failed<'a> {
    code: &'a str,
    text: &'a str,
    rows: Vec<Row<'a>>,
}

impl Session {
    /// Maps an engine's memories.
    pub(crate) fn new(far: FarEnd) -> Result<Self, Errno> {
        let FarEnd { socket, frames, area } = far;
        let area_bytes = PICTURE_OFFSET + PICTURE_BYTES_MAX;
        let mut frames = Slot::shared(&frames, PICTURE_BYTES_MAX)?;
        let mut area = Slot::shared(&area, area_bytes)?;
        if !frames.fit(PICTURE_BYTES_MAX) || !area.fit(area_bytes) {
            return Err(Errno::NOMEM);
        }
        let packet = vec![0; PACKET_BYTES_MAX].into_boxed_slice();
        Ok(Self { socket: Arc::new(socket), frames, area, members: BTreeMap::new(), packet, is_done: false })
    }

    /// The socket, to wait for a request.
    pub(crate) fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// Whether the last instance was destroyed.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// Receives one request and answers it.
    pub(crate) fn step(&mut self, libraries: &[Rc<Library>]) -> Result<(), Parted> {
        let length = loop {
            match recv(&*self.socket, &mut self.packet[..], RecvFlags::empty()) {
                Ok((length @ 1.., _)) => break length,
                Err(Errno::INTR) => {}
                _ => return Err(Parted),
            }
        };
        let packet = self.packet.get(..length).ok_or(Parted)?.to_vec();
        let (ask, number, body) = request::parse(&packet).ok_or(Parted)?;
        enter(if ask == Ask::Create { FaultStage::Create } else { FaultStage::Process });
        let outcome = match ask {
            Ask::Create => self.create(libraries.get(number as usize).ok_or(Parted)?, number, body),
            Ask::Process => self.process(number, &packet),
            _ => self.manage(ask, number, body),
        };
        enter(FaultStage::Idle);
        self.tell_wants(number)?;
        self.answer(number, outcome.ok_or(Parted)?)
    }

    /// Ends the instances, the last first, as after the engine's end.
    pub(crate) fn close(mut self) {
        enter(FaultStage::Process);
        while let Some((_, member)) = self.members.pop_last() {
            member.instance.destroy();
        }
        enter(FaultStage::Idle);
    }

    fn create(&mut self, library: &Library, number: u32, body: &[u8]) -> Option<Outcome> {
        let Create { stream, seed } = serde_json::from_slice(body).ok()?;
        if self.members.contains_key(&number) {
            return None;
        }
        let outbox = Arc::new(Outbox::bridge(Arc::clone(&self.socket), number));
        // All processors of the pipeline are here, so that the number is the place. The engine writes the prefix.
        let (place, prefix, clock) = (number, String::new(), Clock::Live);
        let instance = match Instance::create(library, Setting { place, prefix, stream, seed, clock, outbox }) {
            Ok(instance) => instance,
            Err(error) => return Some(Outcome::Refused(Refusal::of_processor(error.to_string()))),
        };
        let (info, wanted) = (instance.info(), instance.wanted());
        let described = postcard::to_allocvec(&info).ok()?;
        self.members.insert(number, Member { instance, info, wanted });
        Some(Outcome::Done(described))
    }

    /// Everything but making an instance and handing it a frame.
    fn manage(&mut self, ask: Ask, number: u32, body: &[u8]) -> Option<Outcome> {
        if ask == Ask::Destroy {
            self.members.remove(&number)?.instance.destroy();
            self.is_done = self.members.is_empty();
            return Some(Outcome::Done(Vec::new()));
        }
        let member = self.members.get_mut(&number)?;
        let done = match ask {
            Ask::Set => member.set(&serde_json::from_slice(body).ok()?),
            Ask::Load => {
                let (version, bytes) = request::state(body, self.frames.bytes())?;
                member.instance.load_state(version, bytes)
            }
            Ask::Receive => member.instance.receive(body),
            Ask::Configure => match member.instance.configure(&request::config(body)?) {
                Ok(()) => Ok(()),
                Err(refusal) => return Some(Outcome::Refused(refusal)),
            },
            Ask::Save => return Some(Outcome::Saved(member.instance.save_state())),
            // A library's instance is ready once its parameters are set.
            _ => Ok(()),
        };
        Some(match done {
            Ok(()) => Outcome::Done(Vec::new()),
            Err(text) => Outcome::Refused(Refusal::of_processor(text)),
        })
    }

    fn process(&mut self, number: u32, packet: &[u8]) -> Option<Outcome> {
        let member = self.members.get_mut(&number)?;
        let (frame, is_image_wanted) = request::frame(packet, self.frames.bytes())?;
        Some(Outcome::Result(Box::new(member.instance.process(&frame, is_image_wanted))))
    }

    /// Tells the engine what a processor wants from now on, before it gets its answer.
    fn tell_wants(&mut self, number: u32) -> Result<(), Parted> {
        let Some(member) = self.members.get_mut(&number) else { return Ok(()) };
        let wanted = member.instance.wanted();
        if std::mem::replace(&mut member.wanted, wanted) == wanted {
            return Ok(());
        }
        self.transmit(Reply::of(Tell::Want, number), &want_body(wanted), &[])
    }

    fn answer(&mut self, number: u32, outcome: Outcome) -> Result<(), Parted> {
        match outcome {
            Outcome::Done(body) => self.transmit(Reply::of(Tell::Done, number), &body, &[]),
            Outcome::Refused(Refusal { code, text }) => {
                let body = json!({ "code": code, "text": cut(&text, TEXT_BYTES_MAX) }).to_string();
                self.transmit(Reply::of(Tell::Refused, number), body.as_bytes(), &[])
            }
            Outcome::Saved(state) => {
                let (version, bytes) = state.unwrap_or_default();
                self.transmit(Reply { extra: version, ..Reply::of(Tell::Saved, number) }, &bytes, &[])
            }
            Outcome::Result(said) => self.answer_frame(number, *said),
        }
    }

    fn answer_frame(&mut self, number: u32, said: Said) -> Result<(), Parted> {
        let Said { status, detections, data, image } = said;
        let mut reply = Reply::of(Tell::Result, number);
        if let Some(image) = &image {
            self.draw(image, &mut reply);
        } else if self.members.get(&number).is_some_and(|member| member.instance.returns_image()) {
            reply.drawn = Drawn::Area { format: 0, width: 0, height: 0, stride_bytes: 0 };
        }
        let rows: Vec<_> = detections.iter().map(row).collect();
        let first = match &status {
            Status::Ok if rows.is_empty() => Vec::new(),
            Status::Ok => serde_json::to_vec(&rows).unwrap_or_default(),
            Status::Error { code, text } => {
                reply.extra |= FAILED;
                serde_json::to_vec(&Failed { code, text, rows }).unwrap_or_default()
            }
        };
        self.transmit(reply, &first, &data)?;
        if let Some(member) = self.members.get_mut(&number) {
            member.instance.reuse(data);
        }
        Ok(())
    }

    /// Puts a picture where the engine reads it.
    fn draw(&mut self, image: &Image, reply: &mut Reply) {
        let (layout, bytes) = (image.layout(), image.bytes());
        let Some(place) = self.area.bytes().get_mut(PICTURE_OFFSET..PICTURE_OFFSET + bytes.len()) else { return };
        place.copy_from_slice(bytes);
        let (format, width, height) = (layout.format as u32, layout.width, layout.height);
        reply.drawn = Drawn::Area { format, width, height, stride_bytes: 0 };
        reply.extra |= if image.matrix() == Matrix::Bt709 { PICTURE_BT709 } else { 0 };
        reply.extra |= if image.range() == Range::Full { PICTURE_FULL } else { 0 };
    }

    /// Sends a reply, whose bodies go into the area when they are too long for a packet.
    fn transmit(&mut self, reply: Reply, first: &[u8], second: &[u8]) -> Result<(), Parted> {
        let total = first.len() + second.len();
        let is_inline = total <= INLINE_BYTES_MAX;
        if total > PICTURE_OFFSET {
            return Err(Parted);
        }
        let reply = Reply { is_inline, first_bytes: first.len(), second_bytes: second.len(), ..reply };
        let mut packet = reply.to_bytes().to_vec();
        if is_inline {
            packet.extend_from_slice(first);
            packet.extend_from_slice(second);
        } else {
            let area = self.area.bytes();
            area[..first.len()].copy_from_slice(first);
            area[first.len()..total].copy_from_slice(second);
        }
        loop {
            match send(&*self.socket, &packet, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(_) => return Err(Parted),
            }
        }
    }
}

impl Member {
    fn set(&mut self, Set { index, value }: &Set) -> Result<(), String> {
        let param = self.info.params.get(*index).ok_or("it has no such parameter")?;
        let value = params::parse(param, &value.to_string())?;
        self.instance.set_param(*index, &value)
    }
}

fn row(detection: &Detection) -> Row<'_> {
    let Detection { label, score, bbox: [x, y, w, h], track, keypoints, is_outline } = detection;
    (label, *score, *x, *y, *w, *h, *track, keypoints, *is_outline)
}
