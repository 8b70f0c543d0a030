//! Child processes of the gateway: those it starts, and strays.
//!
//! The gateway adopts whatever its nurseries leave behind (it is a *subreaper*): engines, Python processes, and what a
//! processor's code may have forked while it was loaded. None of them is of use without its nursery. So whoever is a
//! child and was not started by [`spawn`] is ended and reaped; otherwise each would keep its process id for ever.

use std::collections::BTreeSet;
use std::io;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, waitpid};

/// Process ids of what was started and not waited for.
static OWN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

fn own() -> MutexGuard<'static, BTreeSet<u32>> {
    // It is whole between any two statements.
    OWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts a program that is no stray. Every program must be started here once a launcher runs.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    // Nobody may look for strays before the new process is known.
    let mut own = own();
    let child = command.spawn()?;
    own.insert(child.id());
    Ok(child)
}

/// Waits for the end of what [`spawn`] has started.
pub(crate) fn wait(child: &mut Child) -> io::Result<ExitStatus> {
    let status = child.wait()?;
    own().remove(&child.id());
    Ok(status)
}

/// Ends and reaps strays; whether there were any. Those that they have started are strays only then: call again later.
/// Looks at every process of the machine.
pub(crate) fn end_strays() -> bool {
    let own = own();
    let Ok(processes) = std::fs::read_dir("/proc") else { return false };
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    let mut are_any = false;
    for stray in ids.filter(|id| !own.contains(id)).filter_map(child_of_ours) {
        are_any = true;
        // Nobody else waits for it, so that its number is still its own. It may have ended already.
        let _ = kill_process(stray, Signal::KILL);
        // One that takes its time is reaped by the next call.
        let _ = waitpid(Some(stray), WaitOptions::NOHANG);
    }
    are_any
}

/// The process of this number, if it is a child of this one.
fn child_of_ours(id: u32) -> Option<Pid> {
    let stat = std::fs::read(format!("/proc/{id}/stat")).ok()?;
    // `number (name) state parent …`, where the name may hold anything, also parentheses.
    let end_of_name = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = stat.get(end_of_name + 1..)?.split(|&byte| byte == b' ').skip(2);
    let parent: i32 = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let pid = Pid::from_raw(i32::try_from(id).ok()?)?;
    (parent == getpid().as_raw_nonzero().get()).then_some(pid)
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn strays_are_ended_and_own_children_are_not() {
        rustix::process::set_child_subreaper(Some(getpid())).expect("a subreaper");
        let mut own = spawn(Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null())).expect("started");
        // The shell leaves a process behind whose name is made to confuse.
        let script = "cp \"$(command -v sleep)\" \"$1/) Z 1 (\" && \"$1/) Z 1 (\" 1000 & echo $!; exit 0";
        let folder = std::env::temp_dir().join(format!("framegate-strays-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut shell = Command::new("sh");
        let said = shell.args(["-c", script, "sh"]).arg(&folder).stdout(Stdio::piped());
        let mut shell = spawn(said).expect("started");
        let mut text = String::new();
        // Only the first line: the stray keeps the pipe open.
        io::BufRead::read_line(&mut io::BufReader::new(shell.stdout.take().expect("a pipe")), &mut text).expect("read");
        assert!(wait(&mut shell).expect("ended").success());
        let stray: u32 = text.trim().parse().expect("a number");
        assert!(child_of_ours(stray).is_some(), "adopted");
        let end = Instant::now() + Duration::from_secs(60);
        while child_of_ours(stray).is_some() {
            end_strays();
            assert!(Instant::now() < end, "a stray is still there");
        }
        assert!(child_of_ours(own.id()).is_some());
        drop(own.stdin.take());
        assert!(wait(&mut own).expect("ended").success());
        let _ = std::fs::remove_dir_all(folder);
    }
}
