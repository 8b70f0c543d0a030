//! Processors that run in another process: Python's, and those that all streams of a pipeline share.
//!
//! The engine is the one that asks; the other end answers each request and may send log lines and messages for the page
//! at any time. Words go over a socket, pixels lie in shared memory: [`link`] makes both, [`packet`] says what the words
//! are, [`remote`] is a processor seen from its engine. The other end is Python's, or for libraries [`served`].

pub(crate) mod description;
pub(crate) mod link;
pub(crate) mod packet;
pub(crate) mod remote;
mod request;
pub(crate) mod served;

use std::{
    cell::{Cell, RefCell},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use framegate_wire::{LogLevel, limits::TEXT_BYTES_MAX, signal_name};
use rustix::{
    io::{Errno, pread},
    net::{RecvFlags, SendFlags, recv, send},
};
use serde::{Deserialize, Serialize};

use crate::{
    instance::Wanted,
    outbox::{Outbox, cut},
};
use link::Link;
use packet::{PACKET_BYTES_MAX, REPLY_BYTES, Reply, Tell};

/// The other end is gone; [`Bridge::end`] says how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Gone;

/// A reply and its bodies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) reply: Reply,
    pub(crate) first: Vec<u8>,
    pub(crate) second: Vec<u8>,
}

/// The engine's end, used by all its remote processors in turn.
#[derive(Debug)]
pub(crate) struct Bridge {
    socket: OwnedFd,
    area: OwnedFd,
    /// Address where the frames' memory is mapped here.
    base: usize,
    outbox: Arc<Outbox>,
    packet: RefCell<Box<[u8]>>,
    /// By the other end's number: place in the pipeline, and what log lines begin with.
    members: RefCell<Vec<Member>>,
    /// The first way it was found to be gone.
    end: RefCell<Option<String>>,
    /// Whether the last look found nothing.
    is_drained: Cell<bool>,
    /// Whether the socket has said that its other end left something unread.
    is_reset: Cell<bool>,
}

/// A processor of the other end.
#[derive(Debug, Default)]
struct Member {
    /// Its place in the pipeline.
    place: u32,
    /// What its log lines begin with.
    prefix: String,
    /// What it wants, once it has said that it wants something else.
    wanted: Option<Wanted>,
}

/// What the watcher of the other end says of its death.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Death {
    pub(crate) signal: Option<i32>,
    pub(crate) code: Option<i32>,
    /// The function it died in, for people, with what comes before it in a sentence.
    #[serde(default)]
    pub(crate) place: String,
}

impl Bridge {
    /// Keeps the engine's end, but for the memory itself.
    pub(crate) fn new(link: Link, outbox: Arc<Outbox>) -> (Self, crate::pool::Slot) {
        let Link { socket, frames, area } = link;
        let bridge = Self {
            socket,
            area,
            base: frames.memory_address(),
            outbox,
            packet: RefCell::new(vec![0; PACKET_BYTES_MAX].into_boxed_slice()),
            members: RefCell::default(),
            end: RefCell::default(),
            is_drained: Cell::default(),
            is_reset: Cell::default(),
        };
        (bridge, frames)
    }

    /// Address where the frames' memory is mapped here.
    pub(crate) fn base(&self) -> usize {
        self.base
    }

    /// The socket, to wait for what comes unasked.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// How the other end went, once it has.
    pub(crate) fn end(&self) -> Option<String> {
        self.end.borrow().clone()
    }

    /// Says who the other end's processor `number` is.
    fn introduce(&self, number: usize, place: u32, prefix: &str) {
        let mut members = self.members.borrow_mut();
        if members.len() <= number {
            members.resize_with(number + 1, Member::default);
        }
        members[number] = Member { place, prefix: prefix.to_owned(), wanted: None };
    }

    /// What the other end's processor `number` wants now, if it is no longer what it wanted first.
    fn wanted(&self, number: usize) -> Option<Wanted> {
        self.members.borrow().get(number)?.wanted
    }

    /// Asks, and waits for the answer. Whoever waits for too long is ended by the gateway.
    fn ask(&self, request: &[u8]) -> Result<Answer, Gone> {
        if self.end.borrow().is_some() {
            return Err(Gone);
        }
        loop {
            match send(&self.socket, request, SendFlags::NOSIGNAL) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                // What it said before it went is still to be read.
                Err(_) => return self.hear_out(),
            }
        }
        self.hear()
    }

    /// Waits for an answer, and passes on what comes before it.
    fn hear(&self) -> Result<Answer, Gone> {
        loop {
            if let Some(answer) = self.receive(RecvFlags::empty())? {
                return Ok(answer);
            }
        }
    }

    /// Passes on what has come unasked. The socket is readable whenever there is something.
    pub(crate) fn attend(&self) {
        while self.end.borrow().is_none() {
            match self.receive(RecvFlags::DONTWAIT) {
                Ok(Some(_)) => drop(self.gone(Some("answered what nobody had asked".to_owned()))),
                Ok(None) if !self.is_drained.get() => {}
                _ => return,
            }
        }
    }

    /// Receives one packet; `None` when it was no answer, or when there is none and it shall not wait.
    fn receive(&self, flags: RecvFlags) -> Result<Option<Answer>, Gone> {
        let mut packet = self.packet.borrow_mut();
        self.is_drained.set(false);
        let length = match recv(&self.socket, &mut packet[..], flags) {
            Ok((0, _)) => return Err(self.gone(None)),
            Ok((length, _)) => length,
            Err(Errno::INTR) => return Ok(None),
            Err(Errno::AGAIN) => {
                self.is_drained.set(true);
                return Ok(None);
            }
            // It had not read all that was asked: this is said once, and then what it said before.
            Err(Errno::CONNRESET) if !self.is_reset.replace(true) => return Ok(None),
            Err(_) => return Err(self.gone(None)),
        };
        let Some(reply) = Reply::parse(&packet[..length]) else {
            return Err(self.gone(Some("sent what is no answer".to_owned())));
        };
        let Ok((first, second)) = self.bodies(&reply, &packet[REPLY_BYTES..length]) else {
            return Err(self.gone(Some("left the area of its answers unreadable".to_owned())));
        };
        match reply.tell {
            Tell::Log => self.log(&reply, &first),
            Tell::Send => self.send(&reply, &first),
            Tell::Want => {
                if let Some(member) = self.members.borrow_mut().get_mut(reply.processor as usize) {
                    member.wanted = packet::parse_want(&first).or(member.wanted);
                }
            }
            Tell::Died => return Err(self.gone(serde_json::from_slice::<Death>(&first).ok().map(describe))),
            _ => return Ok(Some(Answer { reply, first, second })),
        }
        Ok(None)
    }

    /// After a failed request: reads on to the end.
    fn hear_out(&self) -> Result<Answer, Gone> {
        while self.hear().is_ok() {}
        Err(Gone)
    }

    /// Copies of both bodies: the other end may write its area at any time.
    fn bodies(&self, reply: &Reply, inline: &[u8]) -> Result<(Vec<u8>, Vec<u8>), Errno> {
        if reply.is_inline {
            let (first, second) = inline.split_at(reply.first_bytes);
            return Ok((first.to_vec(), second.to_vec()));
        }
        let mut first = vec![0; reply.first_bytes];
        self.read_area(0, &mut first)?;
        let mut second = vec![0; reply.second_bytes];
        self.read_area(reply.first_bytes, &mut second)?;
        Ok((first, second))
    }

    /// Copies bytes of the area.
    fn read_area(&self, offset: usize, mut bytes: &mut [u8]) -> Result<(), Errno> {
        let mut at = offset as u64;
        while !bytes.is_empty() {
            match pread(&self.area, &mut *bytes, at) {
                Ok(0) => return Err(Errno::INVAL),
                Ok(count) => {
                    bytes = &mut bytes[count..];
                    at += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn log(&self, reply: &Reply, text: &[u8]) {
        let level = match reply.extra {
            1 => LogLevel::Error,
            2 => LogLevel::Warn,
            4 => LogLevel::Debug,
            _ => LogLevel::Info,
        };
        let text = String::from_utf8_lossy(text);
        let members = self.members.borrow();
        let prefix = members.get(reply.processor as usize).map_or("", |member| member.prefix.as_str());
        self.outbox.log(level, cut(&format!("{prefix}{}", text.trim_end()), TEXT_BYTES_MAX));
    }

    fn send(&self, reply: &Reply, json: &[u8]) {
        let is_json = serde_json::from_slice::<serde::de::IgnoredAny>(json).is_ok();
        let member = self.members.borrow().get(reply.processor as usize).map(|member| member.place);
        if let Some(place) = member.filter(|_| is_json && json.len() <= framegate_wire::limits::MESSAGE_BYTES_MAX) {
            // Too many are left out, as the interface says.
            let _ = self.outbox.message(place, json);
        }
    }

    fn gone(&self, how: Option<String>) -> Gone {
        let how = how.unwrap_or_else(|| "is gone".to_owned());
        self.end.borrow_mut().get_or_insert(how);
        Gone
    }
}

fn describe(death: Death) -> String {
    match death {
        Death { signal: Some(signal), place, .. } => {
            format!("was ended by {}{}", signal_name(signal), cut(&place, TEXT_BYTES_MAX))
        }
        Death { code: Some(code), .. } => format!("ended itself with status {code}"),
        Death { .. } => "is gone".to_owned(),
    }
}
