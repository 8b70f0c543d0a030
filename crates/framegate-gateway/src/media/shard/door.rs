//! How sessions come in and how mail is answered.

use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};

use framegate_core::admit::RETRY_AFTER_SECONDS;
use framegate_core::link::LinkConfig;
use framegate_core::offer::{OfferError, check_fragment};
use framegate_core::runner::RunnerConfig;
use framegate_core::session::{Session, SessionConfig};
use framegate_core::supervisor::Policy;
use framegate_wire::LogLevel;
use mio::net::UnixStream;
use serde_json::json;

use super::{Death, Duration, EngineSeat, FIRST_ENGINE, Interest, Mail, Now, Refused, Seat, Shard, Token, now};
use crate::media::meter::Place;
use crate::media::run_queue::RunQueue;
use crate::media::seat::Names;
use crate::media::{Accepted, Offer, PipelineReport, random};

/// Reads that empty a dead engine's socket, whatever its buffer held.
const ENGINE_READS_LAST: usize = 64;

/// Messages answered before everything else gets its turn.
const MAIL_PER_TURN: usize = 64;

impl Shard {
    pub(super) fn read_mail(&mut self) {
        for _ in 0..MAIL_PER_TURN {
            let Ok(mail) = self.inbox.try_recv() else { return };
            self.on_mail(now(), mail);
        }
        // More may wait: come back at once.
        self.mailbox.wake();
    }

    fn on_mail(&mut self, now: Now, mail: Mail) {
        match mail {
            // Whoever asked may have given up waiting; an answer to nobody is dropped.
            Mail::Offer { offer, pipeline, answer } => {
                let result = self.offer(now, offer, pipeline);
                let _ = answer.send(result);
            }
            Mail::Candidates { secret, fragment, answer } => {
                let _ = answer.send(self.candidates(&secret, &fragment));
            }
            Mail::Close { secret, answer } => match self.by_secret.get(&secret).copied() {
                Some(key) => self.with(now, key, |seat| seat.close(now, Some(answer))),
                None => {
                    let _ = answer.send(Err(Refused::UnknownSession));
                }
            },
            Mail::Report { answer } => {
                let _ = answer.send(self.seats.values().map(|seat| seat.report(now)).collect());
            }
            Mail::Snapshot { wish, answer } => {
                let found = self.seats.iter().find(|(_, seat)| seat.stream == wish.stream);
                match found.map(|(key, _)| *key) {
                    Some(key) => self.with(now, key, |seat| seat.want_snapshot(wish.view, answer)),
                    None => {
                        let _ = answer.send(Err(Refused::UnknownStream { stream: wish.stream }));
                    }
                }
            }
            Mail::EngineLaunched { session, engine, socket, pid, pidfd } => {
                self.engine_launched(now, session, engine, socket, pid, pidfd);
            }
            Mail::EngineEnded { session, engine, death } => self.engine_ended(now, session, engine, &death),
            Mail::EnginePrinted { session, line } => {
                self.with(now, session, |seat| seat.session.engine_printed(now, LogLevel::Info, &line));
            }
            Mail::Warm { pipeline } => self.parts.launcher.warm(pipeline),
            Mail::Stop => self.stop(now),
        }
    }

    fn offer(&mut self, now: Now, offer: Offer, pipeline: usize) -> Result<Accepted, Refused> {
        if self.stopping.is_some() {
            return Err(Refused::ShuttingDown);
        }
        let place = self
            .parts
            .meter
            .admit()
            .map_err(|full| Refused::Full { retry_after_s: RETRY_AFTER_SECONDS, text: full.to_string() })?;
        let stream = match &offer.stream {
            Some(stream) if self.parts.streams.take(stream, self.parts.index) => stream.clone(),
            Some(stream) => return Err(Refused::StreamTaken { stream: stream.clone() }),
            None => self.parts.streams.take_new(self.parts.index, || format!("s-{}", random::hex::<4>())),
        };
        let accepted = self.admit(now, &offer, pipeline, &stream, place);
        if accepted.is_err() {
            self.parts.streams.give_back(&stream);
        }
        accepted
    }

    fn admit(
        &mut self,
        now: Now,
        offer: &Offer,
        pipeline: usize,
        stream: &str,
        place: Place,
    ) -> Result<Accepted, Refused> {
        // The thread's number leads both, so that either finds its thread without a shared table.
        let ufrag = format!("{:02x}{}", self.parts.index, random::hex::<10>());
        let secret = format!("{:02x}{}", self.parts.index, random::hex::<15>());
        let config = self.session_config(pipeline, stream, &offer.pipeline, &ufrag);
        // An offer that breaks the parser must not end the thread.
        let accepted = catch_unwind(AssertUnwindSafe(|| Session::accept(config, &offer.sdp, now)));
        let accepted = accepted.map_err(|_| Refused::Sdp("the offer cannot be read".to_owned()))?;
        let (session, answer) = accepted.map_err(|error| match error {
            OfferError::Unsupported(text) => Refused::Unsupported(text.to_owned()),
            other => Refused::Sdp(other.to_string()),
        })?;
        let key = self.next_key;
        self.next_key += 1;
        self.demux.register(ufrag.clone(), key);
        self.by_secret.insert(secret.clone(), key);
        let etag = ufrag.clone();
        let names = Names {
            secret: secret.clone(),
            ufrag,
            stream: stream.to_owned(),
            pipeline,
            pipeline_name: offer.pipeline.clone(),
        };
        self.seats.insert(key, Seat::new(session, names, place, self.parts.registry.clone(), now));
        // The processor is loaded while ICE and DTLS go back and forth.
        self.parts.launcher.warm(pipeline);
        self.with(now, key, |_| {});
        tracing::info!(stream, pipeline = %offer.pipeline, "session offered");
        Ok(Accepted { secret, etag, stream: stream.to_owned(), answer })
    }

    fn session_config(&self, pipeline: usize, stream: &str, pipeline_name: &str, ufrag: &str) -> SessionConfig {
        let engine = &self.parts.config.engine;
        let entry = self.parts.registry.entries().get(pipeline);
        let report = entry.map(PipelineReport::of);
        let known = report.iter().flat_map(|report| &report.processors);
        let names: Vec<&str> = known.clone().map(|processor| processor.name.as_str()).collect();
        let processor = if names.is_empty() { pipeline_name.to_owned() } else { names.join("+") };
        let processors: Vec<_> = known
            .map(|of| {
                json!({ "name": of.name, "version": of.version, "description": of.description, "language": of.language })
            })
            .collect();
        let hello = json!({
            "stream": stream, "pipeline": pipeline_name, "server": env!("CARGO_PKG_VERSION"), "processors": processors,
        });
        let link = LinkConfig {
            addresses: self.parts.sockets.iter().map(|socket| socket.address).collect(),
            ufrag: ufrag.to_owned(),
            password: random::hex::<16>(),
            identity: self.parts.identity.clone(),
        };
        let policy = Policy {
            hard_deadline: Duration::from_millis(engine.hard_deadline_ms.into()),
            first_frame_deadline: Duration::from_millis(engine.first_frame_deadline_ms.into()),
            crashes_max: engine.crashes_max,
        };
        let runner = RunnerConfig {
            stream: stream.to_owned(),
            processor,
            area_max: engine.area_max,
            late_ms: engine.late_ms,
            policy,
            seed: random::number(),
        };
        SessionConfig { link, runner, hello }
    }

    fn candidates(&self, secret: &str, fragment: &str) -> Result<(), Refused> {
        if !self.by_secret.contains_key(secret) {
            return Err(Refused::UnknownSession);
        }
        check_fragment(fragment).map_err(|error| Refused::Sdp(error.to_string()))
    }

    fn engine_launched(&mut self, now: Now, key: u64, number: u64, socket: OwnedFd, pid: u32, pidfd: OwnedFd) {
        let token = usize::try_from(key).ok().and_then(|key| key.checked_add(FIRST_ENGINE));
        let mut socket = UnixStream::from_std(socket.into());
        let wanted = self.seats.get(&key).is_some_and(|seat| seat.session.wants_engine(number));
        let registered = wanted
            && token.is_some_and(|token| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut socket, Token(token), interest).is_ok()
            });
        if !registered {
            // Its session ended meanwhile: without a socket it would only wait to be killed.
            let _ = rustix::process::pidfd_send_signal(pidfd.as_fd(), rustix::process::Signal::KILL);
            return;
        }
        let engine = EngineSeat { number, socket, pid, pidfd, run_queue: RunQueue::default() };
        self.with(now, key, |seat| {
            seat.engine = Some(engine);
            seat.session.engine_launched(now);
        });
    }

    fn engine_ended(&mut self, now: Now, key: u64, number: u64, death: &Death) {
        let current = self.seats.get(&key).and_then(|seat| seat.engine.as_ref()).map(|engine| engine.number);
        if current == Some(number) {
            // What it wrote before it died still counts.
            self.read_engine(now, key, ENGINE_READS_LAST);
            self.engine_gone(now, key);
        } else {
            self.with(now, key, |seat| seat.session.engine_gone(now, number));
        }
        self.with(now, key, |seat| {
            if seat.session.is_live() {
                tracing::warn!(stream = %seat.stream, pipeline = %seat.pipeline_name, "an engine ended: {}", death.text());
            }
            seat.session.engine_report(now, number, death);
        });
    }

    fn stop(&mut self, now: Now) {
        self.stopping = Some(now.instant);
        let keys: Vec<u64> = self.seats.keys().copied().collect();
        for key in keys {
            self.with(now, key, |seat| seat.close(now, None));
        }
    }
}
