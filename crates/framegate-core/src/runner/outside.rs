//! What others than the engine ask of a runner and get out of it.

use framegate_wire::{Counts, ProcessorInfo, View};

use super::{ParamsRequest, Runner, Snapshot};
use crate::Now;
use crate::control::ControlQueue;
use crate::deliver::Pending;
use crate::report;

impl Runner {
    /// Changes parameters as a page asks; every wish is answered by a `params` message.
    pub fn set_params(&mut self, now: Now, request: ParamsRequest) {
        self.page.set(now.instant, request, &mut self.control, &mut self.backlog);
    }

    /// Passes a page's message to a processor: the named one, else the first that takes any. `json` is JSON.
    pub fn tell_processor(&mut self, now: Now, processor: Option<&str>, json: &str) {
        self.page.tell(now.instant, processor, json, &mut self.control, &mut self.backlog);
    }

    /// Asks for a picture of the next frame; it comes out of [`take_snapshot`](Self::take_snapshot), or never.
    pub fn want_snapshot(&mut self, view: View) {
        self.snapshots.want(view, self.page.is_ready().then_some(&mut self.backlog));
    }

    /// A picture that has come.
    pub fn take_snapshot(&mut self) -> Option<Snapshot> {
        self.snapshots.take()
    }

    /// Takes the times of processors since the last call: place in the pipeline and microseconds.
    pub fn take_times(&mut self) -> std::vec::Drain<'_, (usize, u32)> {
        self.times.drain(..)
    }

    /// What the processors of an engine that has become ready are like, as the pipeline made them: nothing once a page
    /// has changed them.
    pub fn take_infos(&mut self) -> Option<Vec<ProcessorInfo>> {
        self.page.take_fresh_infos()
    }

    /// Whether the pipeline gives pictures of its own.
    #[must_use]
    pub fn returns_image(&self) -> bool {
        self.page.returns_image()
    }

    /// A page's changes of parameters and messages that were refused so far.
    #[must_use]
    pub fn page_refusals(&self) -> u64 {
        self.page.refused()
    }

    /// Takes the oldest result, complete, as text for the data channel.
    pub fn take_result(&mut self, now: Now) -> Option<String> {
        let Pending { mut body, received_ns } = self.delivery.pop()?;
        let total_us = now.ns.saturating_sub(received_ns) / 1000;
        let missed = self.ledger.take_missed();
        let undelivered = self.delivery.undelivered();
        report::finish_result(&mut body, total_us, self.ledger.received(), self.ledger.counts(), undelivered, &missed);
        Some(body)
    }

    /// Counts and missed frames as JSON, for a time without results.
    pub fn take_counts(&mut self) -> String {
        let missed = self.ledger.take_missed();
        report::counts_data(self.ledger.received(), self.ledger.counts(), self.delivery.undelivered(), &missed)
    }

    /// `{"counts":…}` as JSON.
    #[must_use]
    pub fn summary(&self) -> String {
        report::summary_data(self.ledger.received(), self.ledger.counts(), self.delivery.undelivered())
    }

    /// Whether a result waits.
    #[must_use]
    pub fn has_result(&self) -> bool {
        !self.delivery.is_empty()
    }

    /// Whether frames without results wait to be told.
    #[must_use]
    pub fn has_missed(&self) -> bool {
        self.ledger.has_missed()
    }

    /// Counts a result that was taken from here and that the channel did not take.
    pub fn result_lost(&mut self) {
        self.delivery.lost();
    }

    /// Gives up all waiting results: nobody can take them.
    pub fn abandon_results(&mut self) {
        self.delivery.abandon();
    }

    /// Messages for the control channel.
    pub fn control(&mut self) -> &mut ControlQueue {
        &mut self.control
    }

    /// Outcomes so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        self.ledger.counts()
    }

    /// What the engine itself counted, after an orderly close.
    #[must_use]
    pub fn engine_totals(&self) -> Option<&Counts> {
        self.totals.as_ref()
    }

    /// Frames assembled so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.ledger.received()
    }

    /// CPU time of all engines of this stream as they reported it, in microseconds.
    #[must_use]
    pub fn engine_cpu_us(&self) -> u64 {
        self.cpu_us_of_dead.saturating_add(self.stats.cpu_us)
    }

    /// The engine's state in one word.
    #[must_use]
    pub fn state_name(&self) -> &'static str {
        self.supervisor.state_name()
    }

    /// Engines started in place of a dead one.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.supervisor.restarts()
    }

    /// Engines killed because they made no progress.
    #[must_use]
    pub fn hangs(&self) -> u64 {
        self.hangs
    }
}
