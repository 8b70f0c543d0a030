//! GStreamer: where the processor that runs its elements lies, and the list of plugins that engines read.
//!
//! GStreamer looks at every plugin on the machine and writes down what it found, its *registry*. An engine may do neither;
//! so a helper does it before the nursery confines itself, and engines are told to take the file as it is.

use std::{
    ffi::OsString,
    fs::File,
    io::{Read as _, Seek as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, memfd_create},
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::{
    kit::{self, KitError},
    limits::GST_REGISTRY_SECONDS_MAX,
    nursery::fork::end_with_us,
};

/// The processor.
const LIBRARY: &str = "framegate-gst.so";

/// The helper beside it.
const HELPER: &str = "framegate-gst-registry";

/// The parameter of the processor that takes the elements.
pub(crate) const PARAM: &str = "pipeline";

/// Most of what a helper that failed says that is passed on, in bytes.
const COMPLAINT_BYTES_MAX: u64 = 512;

/// Why GStreamer's elements cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum GstError {
    /// The processor is not there.
    #[error(
        "`gst:` pipelines need {LIBRARY}, which is neither beside framegate-engine nor in the folder `processors` there. \
         Install libgstreamer1.0-dev, libgstreamer-plugins-base1.0-dev and gstreamer1.0-plugins-good, then build again: \
         make processors"
    )]
    Missing,
    /// There is no place for the registry.
    #[error("GStreamer's list of plugins cannot be kept: {0}")]
    Cache(#[from] KitError),
    /// It was written and is not there.
    #[error("GStreamer's list of plugins cannot be read: {}: {source}", path.display())]
    Lost {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The helper could not be run.
    #[error("running {}: {source}", path.display())]
    Helper {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The helper ran and failed.
    #[error("GStreamer cannot list its plugins ({status}): {text}")]
    Registry { status: ExitStatus, text: String },
    /// The helper does not end.
    #[error(
        "GStreamer did not list its plugins within {GST_REGISTRY_SECONDS_MAX} s. `gst-inspect-1.0` shows which plugin hangs"
    )]
    Slow,
}

/// What an engine with GStreamer's elements needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Gst {
    /// The processor.
    pub(crate) library: PathBuf,
    /// The registry, which engines read.
    pub(crate) registry: PathBuf,
}

impl Gst {
    /// Finds the processor, and has the registry written into the user's cache unless it is as new as the plugins.
    ///
    /// Call before confinement; waits for a helper, some 30 ms if nothing has changed.
    pub(crate) fn prepare() -> Result<Self, GstError> {
        let library =
            folders().map(|folder| folder.join(LIBRARY)).find(|path| path.is_file()).ok_or(GstError::Missing)?;
        let registry = kit::cached("gstreamer")?.join("registry.bin");
        write_registry(&library.with_file_name(HELPER), &registry)?;
        match File::open(&registry) {
            Ok(_) => Ok(Self { library, registry }),
            Err(source) => Err(GstError::Lost { path: registry, source }),
        }
    }

    /// What GStreamer must find in its environment.
    pub(crate) fn environment(&self) -> [(&'static str, OsString); 3] {
        [
            ("GST_REGISTRY", self.registry.clone().into_os_string()),
            ("GST_REGISTRY_UPDATE", "no".into()),
            // It would start a program to look at plugins.
            ("GST_REGISTRY_FORK", "no".into()),
        ]
    }
}

/// Where the processor may lie: what `FRAMEGATE_PROCESSORS` names, the program's folder, and `processors` there or above.
fn folders() -> impl Iterator<Item = PathBuf> {
    let named = std::env::var_os("FRAMEGATE_PROCESSORS").map(PathBuf::from);
    let program = std::env::current_exe().unwrap_or_default();
    let beside = program.parent().map(Path::to_owned);
    let near: Vec<PathBuf> = program.ancestors().skip(1).take(2).map(|parent| parent.join("processors")).collect();
    named.into_iter().chain(beside).chain(near).flat_map(|folder| [folder.join("gst"), folder])
}

fn write_registry(helper: &Path, registry: &Path) -> Result<(), GstError> {
    let failed = |source| GstError::Helper { path: helper.to_owned(), source };
    let complaints =
        memfd_create("framegate-gst-registry", MemfdFlags::CLOEXEC).map_err(|error| failed(error.into()))?;
    let mut complaints = File::from(complaints);
    let mut command = Command::new(helper);
    end_with_us(&mut command, Duration::from_secs(GST_REGISTRY_SECONDS_MAX.unsigned_abs()));
    let mut child = command
        .env("GST_REGISTRY", registry)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(complaints.try_clone().map_err(failed)?)
        .spawn()
        .map_err(failed)?;
    let Some(status) = wait(&mut child).map_err(failed)? else {
        // It cannot have been reaped meanwhile.
        child.kill().and_then(|()| child.wait()).map_err(failed)?;
        return Err(GstError::Slow);
    };
    if status.success() {
        return Ok(());
    }
    let mut text = Vec::new();
    complaints.rewind().and_then(|()| complaints.take(COMPLAINT_BYTES_MAX).read_to_end(&mut text)).map_err(failed)?;
    Err(GstError::Registry { status, text: String::from_utf8_lossy(&text).trim_end().to_owned() })
}

/// How it ended; `None` if it has not in time.
fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let pid = Pid::from_child(child);
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let patience = Timespec { tv_sec: GST_REGISTRY_SECONDS_MAX, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience))?;
    if ready == 0 { Ok(None) } else { child.wait().map(Some) }
}
