//! CPU time and memory of the gateway's processes, from `/proc`.

use std::collections::HashMap;

use serde::Serialize;

/// `USER_HZ`, the unit of `/proc/PID/stat`, in ticks per second: 100 on every architecture of Linux but Alpha and IA-64.
const TICKS_PER_S: f64 = 100.0;

/// CPU time used so far, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuSample {
    /// The gateway's own threads.
    pub(crate) gateway_s: f64,
    /// Nurseries and engines, the dead ones included.
    pub(crate) engines_s: f64,
    /// This program's.
    pub(crate) client_s: f64,
    machine_ticks: u64,
    steal_ticks: u64,
    busy_ticks: u64,
}

/// CPU time between two samples.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct CpuUse {
    pub(crate) gateway_s: f64,
    pub(crate) engines_s: f64,
    pub(crate) client_s: f64,
    /// Share of all cores that some process used, in percent.
    pub(crate) machine_busy_percent: f64,
    /// Share of all cores that the hypervisor gave to others, in percent.
    pub(crate) steal_percent: f64,
}

/// Memory of the gateway's processes, in kibibytes.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct Memory {
    pub(crate) gateway_rss: u64,
    pub(crate) gateway_threads: u64,
    pub(crate) nurseries: usize,
    pub(crate) engines: usize,
    /// Mean over engines of what belongs to one alone.
    pub(crate) engine_private_mean: u64,
    pub(crate) engine_private_max: u64,
    /// Mean over engines, shared pages divided among their users.
    pub(crate) engine_pss_mean: u64,
}

#[derive(Debug, Clone, Copy)]
struct Stat {
    parent: u32,
    own_ticks: u64,
    reaped_ticks: u64,
}

impl CpuSample {
    /// Reads the clocks; without `gateway`, its part is 0.
    pub(crate) fn take(gateway: Option<u32>) -> Self {
        let seconds = |ticks: u64| ticks as f64 / TICKS_PER_S;
        let own = stat(std::process::id()).map_or(0, |stat| stat.own_ticks);
        let mut sample = Self { client_s: seconds(own), ..Self::default() };
        if let Some((gateway, stat)) = gateway.and_then(|pid| Some((pid, stat(pid)?))) {
            let tree = descendants(gateway);
            let engines: u64 = tree.iter().map(|(_, stat)| stat.own_ticks + stat.reaped_ticks).sum();
            sample.gateway_s = seconds(stat.own_ticks);
            sample.engines_s = seconds(engines + stat.reaped_ticks);
        }
        let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
        let fields: Vec<u64> = text
            .lines()
            .next()
            .unwrap_or_default()
            .split_whitespace()
            .skip(1)
            // user nice system idle iowait irq softirq steal; what follows is contained in user and nice.
            .take(8)
            .filter_map(|word| word.parse().ok())
            .collect();
        sample.machine_ticks = fields.iter().sum();
        sample.steal_ticks = fields.get(7).copied().unwrap_or(0);
        let idle: u64 = fields.iter().skip(3).take(2).sum();
        sample.busy_ticks = sample.machine_ticks - idle - sample.steal_ticks;
        sample
    }

    pub(crate) fn until(&self, later: &Self) -> CpuUse {
        let all = (later.machine_ticks.saturating_sub(self.machine_ticks)).max(1) as f64;
        let percent = |from: u64, to: u64| 100.0 * to.saturating_sub(from) as f64 / all;
        CpuUse {
            gateway_s: later.gateway_s - self.gateway_s,
            engines_s: (later.engines_s - self.engines_s).max(0.0),
            client_s: later.client_s - self.client_s,
            machine_busy_percent: percent(self.busy_ticks, later.busy_ticks),
            steal_percent: percent(self.steal_ticks, later.steal_ticks),
        }
    }
}

impl Memory {
    /// Measures the gateway and what it started; `None` when it cannot be read.
    pub(crate) fn take(gateway: u32) -> Option<Self> {
        let status = std::fs::read_to_string(format!("/proc/{gateway}/status")).ok()?;
        let tree = descendants(gateway);
        let mut memory = Self {
            gateway_rss: field(&status, "VmRSS:")?,
            gateway_threads: field(&status, "Threads:")?,
            ..Self::default()
        };
        let (mut private_sum, mut pss_sum) = (0, 0);
        for (pid, _) in &tree {
            // A nursery forks; an engine never does.
            if tree.iter().any(|(_, stat)| stat.parent == *pid) {
                memory.nurseries += 1;
                continue;
            }
            let Ok(rollup) = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else { continue };
            let read = |name| field(&rollup, name).unwrap_or(0);
            let private = read("Private_Clean:") + read("Private_Dirty:");
            memory.engines += 1;
            memory.engine_private_max = memory.engine_private_max.max(private);
            private_sum += private;
            pss_sum += read("Pss:");
        }
        let engines = memory.engines.max(1) as u64;
        memory.engine_private_mean = private_sum / engines;
        memory.engine_pss_mean = pss_sum / engines;
        Some(memory)
    }
}

/// Whether `pid` is a process that can be read here.
pub(crate) fn exists(pid: u32) -> bool {
    stat(pid).is_some()
}

/// Processors of this machine, and their name.
pub(crate) fn machine() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let value = |line: &str| line.split_once(':').map(|(_, value)| value.trim().to_owned());
    let model = text.lines().find(|line| line.starts_with("model name")).and_then(value);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{cores} × {}, Linux {}", model.unwrap_or_else(|| "unknown".into()), kernel.trim())
}

fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

fn stat(pid: u32) -> Option<Stat> {
    parse_stat(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name is in parentheses and may itself hold spaces and parentheses.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        parent: fields.get(1)?.parse().ok()?,
        own_ticks: ticks(11)? + ticks(12)?,
        reaped_ticks: ticks(13)? + ticks(14)?,
    })
}

/// Every process below `root`, itself left out.
fn descendants(root: u32) -> Vec<(u32, Stat)> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let all: HashMap<u32, Stat> = entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(pid)?)))
        .collect();
    let mut found: Vec<(u32, Stat)> = Vec::new();
    let mut parents = vec![root];
    // Ends: a process has one parent, so none is found twice.
    while let Some(parent) = parents.pop() {
        for (pid, stat) in all.iter().filter(|(_, stat)| stat.parent == parent) {
            found.push((*pid, *stat));
            parents.push(*pid);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_behind_the_name() {
        let line = "7 (a) b (c)) S 3 7 7 0 -1 0 0 0 0 0 11 12 13 14 20 0 1 0 5";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.parent, stat.own_ticks, stat.reaped_ticks), (3, 23, 27));
        assert!(parse_stat("7 (x) S 3").is_none() && parse_stat("").is_none());
    }

    #[test]
    fn this_process_and_its_child_are_found() {
        let own = std::process::id();
        assert!(exists(own));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let memory = Memory::take(own).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(memory.gateway_rss > 0 && memory.engines >= 1);
        let sample = CpuSample::take(Some(own));
        let used = sample.until(&CpuSample::take(Some(own)));
        assert!((0.0..=100.0).contains(&used.steal_percent) && used.client_s >= 0.0);
    }
}
