//! What the processors of pipelines are like, found out once and without sessions, for `framegate list`.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use framegate_wire::NurseryReply;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::children;
use super::control::{self, Received};
use super::nursery::{Kind, Nursery, NurseryProgram, load_timeout};
use super::registry::{PipelineEntry, Registry};
use crate::config::Config;
use crate::media::PipelineReport;

/// Time from loading to the end of the trial: twice what an engine has to be ready, since the nursery ends it before.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(60);

/// Time a nursery that has closed its socket has to end by itself, so that its status says why.
const END_TIMEOUT: Duration = Duration::from_secs(1);

/// Loads the processors of every pipeline in a process of its own, one after the other, and says what they are like.
///
/// Their code runs in those processes only. What cannot be loaded is in the reports as `failed`.
///
/// # Errors
/// When the system does not say where the engine program is.
pub fn describe(config: &Config) -> io::Result<Vec<PipelineReport>> {
    let program = NurseryProgram { program: config.engine_program()? };
    let registry = Registry::new(config);
    for (index, entry) in registry.entries().iter().enumerate() {
        if let Err(text) = try_out(&program, index, entry) {
            entry.set_failed(text);
        }
    }
    Ok(registry.entries().iter().map(PipelineReport::of).collect())
}

/// A nursery that ends with its owner.
struct Guarded(Nursery);

impl Drop for Guarded {
    fn drop(&mut self) {
        self.0.kill();
        // Nothing to tell anybody: what it had to say was heard.
        let _ = children::wait(&mut self.0.child);
    }
}

fn try_out(program: &NurseryProgram, index: usize, entry: &PipelineEntry) -> Result<(), String> {
    let nursery = Nursery::spawn(program, index, &entry.spec, Kind::Forking).map_err(|error| {
        let program: &PathBuf = &program.program;
        format!("the engine program {} cannot be started: {error}", program.display())
    })?;
    let mut nursery = Guarded(nursery);
    let mut deadline = Instant::now() + load_timeout(&entry.spec);
    let (mut fault, mut is_loaded) = (None, false);
    loop {
        wait(&nursery.0.control, deadline).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => "loading the processor and making an instance takes too long".to_owned(),
            _ => error.to_string(),
        })?;
        match control::receive(&nursery.0.control).map_err(|error| format!("its nursery speaks nonsense: {error}"))? {
            Received::Reply(NurseryReply::Ready(loaded), _) if !std::mem::replace(&mut is_loaded, true) => {
                // One that starts threads when it is loaded cannot be tried out.
                let is_tried = loaded.tasks <= 1;
                entry.set_loaded(loaded)?;
                if !is_tried {
                    return Ok(());
                }
                deadline = Instant::now() + TRIAL_TIMEOUT;
            }
            Received::Reply(NurseryReply::Described(infos), _) => return entry.set_described(infos),
            Received::Reply(NurseryReply::DescribeFailed { text } | NurseryReply::Fault { text }, _) => {
                fault = Some(text);
                // It may be about to end; whatever else it says does not change this.
                break;
            }
            Received::Reply(..) | Received::Empty => {}
            Received::End => break,
        }
    }
    if fault.is_none() && wait(&nursery.0.pidfd, Instant::now() + END_TIMEOUT).is_ok() {
        fault = children::wait(&mut nursery.0.child)
            .ok()
            .map(|status| format!("loading the processor ended with {status}"));
    }
    Err(fault.unwrap_or_else(|| "loading the processor failed".to_owned()))
}

/// Waits until something can be read, or has ended.
fn wait(descriptor: &OwnedFd, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
    let mut descriptors = [PollFd::new(descriptor, PollFlags::IN)];
    match poll(&mut descriptors, Some(&timeout)) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
