//! From a pipeline's text to loaded processors: [`resolve`] before the sandbox is on, [`load`] inside it.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    rc::Rc,
};

use framegate_wire::{
    Descriptor, Isolation, PipelineSpec, ProcessorInfo, ProcessorSpec, Source, limits::PROCESSORS_MAX,
};

use crate::{
    bridge::link::Link,
    compile::{CompileError, compile},
    gst::{self, Gst, GstError},
    interpreter::{Interpreter, InterpreterError},
    kit::{Kit, KitError},
    library::{Image, Library, LoadError},
};

/// Why a pipeline's processors cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ResolveError {
    /// None at all, or too many.
    #[error("pipeline `{pipeline}` has {count} processors; it takes 1 to {PROCESSORS_MAX}")]
    Count { pipeline: String, count: usize },
    /// A library cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// GStreamer cannot be used.
    #[error(transparent)]
    Gst(#[from] GstError),
    /// A pipeline of GStreamer's has parameters that are not its own.
    #[error("{0}: its parameter `pipeline` is its text already; give one of them")]
    GstTwice(Source),
    /// Two processes would be shared.
    #[error(
        "pipeline `{0}`: isolation = \"shared\" puts all processors into one process, and a process of Python takes no \
         libraries; make two pipelines of it, or leave the line out"
    )]
    Mixed(String),
    /// Nothing runs Python.
    #[error(transparent)]
    Interpreter(#[from] InterpreterError),
    /// The Python host did not describe all of its processors.
    #[error("the Python process described fewer processors than the pipeline has")]
    Undescribed,
    /// A source does not become a library.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The kit, which holds the code that runs Python processors, is not there.
    #[error(transparent)]
    Kit(#[from] KitError),
}

/// A processor that is found but not loaded.
#[derive(Debug)]
pub(crate) struct Prepared {
    program: PreparedProgram,
    /// Files and folders it may read, beside the pipeline's.
    pub(crate) readable: Vec<PathBuf>,
    /// What must be in the environment before it is loaded.
    pub(crate) environment: Vec<(&'static str, OsString)>,
    /// Values of its parameters by id, as JSON.
    params: BTreeMap<String, String>,
}

/// What a processor is made of, before it is loaded.
#[derive(Debug)]
enum PreparedProgram {
    /// A shared library: the same copy for every processor that names the same file.
    Library(Rc<Image>),
    /// A Python file, and which of its processors.
    Python { file: PathBuf, processor: Option<String>, interpreter: Rc<Interpreter>, package: PathBuf },
}

/// What a pipeline's Python processors need.
#[derive(Debug)]
pub(crate) struct PythonPlan {
    /// What runs them.
    pub(crate) interpreter: Rc<Interpreter>,
    /// Folder of the package with the host's code.
    pub(crate) package: PathBuf,
    /// Files, and which of their processors, in the pipeline's order.
    pub(crate) processors: Vec<(PathBuf, Option<String>)>,
}

/// The Python processors among these, if any.
pub(crate) fn python(prepared: &[Prepared]) -> Option<PythonPlan> {
    let mut plan: Option<PythonPlan> = None;
    for Prepared { program, .. } in prepared {
        if let PreparedProgram::Python { file, processor, interpreter, package } = program {
            let (interpreter, package) = (Rc::clone(interpreter), package.clone());
            let plan = plan.get_or_insert(PythonPlan { interpreter, package, processors: Vec::new() });
            plan.processors.push((file.clone(), processor.clone()));
        }
    }
    plan
}

/// The processors of a pipeline, loaded.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The pipeline's name.
    pub(crate) pipeline: String,
    /// In the pipeline's order.
    pub(crate) processors: Vec<LoadedProcessor>,
    /// What ties the next engine to the process of its remote processors.
    pub(crate) link: RefCell<Option<Link>>,
}

/// One loaded processor.
#[derive(Debug)]
pub(crate) struct LoadedProcessor {
    pub(crate) program: Program,
    /// Values of its parameters by id, as JSON.
    pub(crate) params: BTreeMap<String, String>,
}

/// Where instances of libraries are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LibrariesIn {
    /// In each engine its own.
    Engine,
    /// In one process that serves all engines.
    Host,
}

/// What makes instances of a processor.
#[derive(Debug)]
pub(crate) enum Program {
    /// A shared library in this process.
    Native(Rc<Library>),
    /// A shared library in this process, whose instances are made in the one process that serves all engines.
    Shared { library: Rc<Library>, number: u32 },
    /// Another process, in which it has this number.
    Remote { info: Box<ProcessorInfo>, number: u32 },
}

impl Program {
    /// What it says of itself.
    pub(crate) fn descriptor(&self) -> &Descriptor {
        match self {
            Self::Native(library) | Self::Shared { library, .. } => library.descriptor(),
            Self::Remote { info, .. } => &info.descriptor,
        }
    }
}

impl Loaded {
    /// What the processors say of themselves.
    pub(crate) fn descriptors(&self) -> Vec<Descriptor> {
        self.processors.iter().map(|processor| processor.program.descriptor().clone()).collect()
    }

    /// The libraries whose instances are made in the one process that serves all engines, by their number there.
    pub(crate) fn shared(&self) -> Vec<Rc<Library>> {
        let shared = |processor: &LoadedProcessor| match &processor.program {
            Program::Shared { library, .. } => Some(Rc::clone(library)),
            Program::Native(_) | Program::Remote { .. } => None,
        };
        self.processors.iter().filter_map(shared).collect()
    }

    /// The shared libraries among the processors.
    pub(crate) fn libraries(&self) -> impl Iterator<Item = &Library> {
        self.processors.iter().filter_map(|processor| match &processor.program {
            Program::Native(library) | Program::Shared { library, .. } => Some(&**library),
            Program::Remote { .. } => None,
        })
    }
}

/// Finds, and where need be makes, what the processors are loaded from. The one place where a pipeline's sources are
/// told apart: what a source needs from outside the sandbox, such as a compiler or another program, is done here.
pub(crate) fn resolve(pipeline: &PipelineSpec) -> Result<Vec<Prepared>, ResolveError> {
    let count = pipeline.processors.len();
    if !(1..=PROCESSORS_MAX).contains(&count) {
        return Err(ResolveError::Count { pipeline: pipeline.name.clone(), count });
    }
    let is_python = |processor: &ProcessorSpec| matches!(processor.source, Source::Python { .. });
    let of_python = pipeline.processors.iter().filter(|processor| is_python(processor)).count();
    if pipeline.isolation == Isolation::Shared && (1..count).contains(&of_python) {
        return Err(ResolveError::Mixed(pipeline.name.clone()));
    }
    let mut images: Vec<Rc<Image>> = Vec::new();
    let mut interpreter: Option<Rc<Interpreter>> = None;
    let mut kit = None;
    let mut prepared = Vec::with_capacity(count);
    for processor in &pipeline.processors {
        let mut params = processor.params.clone();
        let (mut readable, mut environment) = (Vec::new(), Vec::new());
        let path = match &processor.source {
            Source::Library(path) | Source::Compiled(path) => path.clone(),
            Source::GStreamer(elements) => {
                let text = serde_json::Value::from(elements.as_str()).to_string();
                if params.insert(gst::PARAM.to_owned(), text).is_some() {
                    return Err(ResolveError::GstTwice(processor.source.clone()));
                }
                let gst = Gst::prepare()?;
                environment.extend(gst.environment());
                readable.push(gst.registry);
                gst.library
            }
            Source::Python { file, processor: name } => {
                let interpreter = match &interpreter {
                    Some(found) => Rc::clone(found),
                    None => {
                        Rc::clone(interpreter.insert(Rc::new(Interpreter::find(pipeline.python.as_deref(), file)?)))
                    }
                };
                let package = unpacked(&mut kit)?.python();
                let own = file.parent().map(PathBuf::from).into_iter().chain([package.clone()]);
                let readable = own.chain(interpreter.readable.iter().cloned()).collect();
                let (file, processor) = (file.clone(), name.clone());
                let program = PreparedProgram::Python { file, processor, interpreter, package };
                prepared.push(Prepared { program, readable, environment, params });
                continue;
            }
        };
        let image = match images.iter().find(|image| image.path() == &*path) {
            Some(image) => Rc::clone(image),
            None => {
                let image = Rc::new(match &processor.source {
                    Source::Compiled(path) => compiled(path, &mut kit)?,
                    _ => Image::copy(&path)?,
                });
                images.push(Rc::clone(&image));
                image
            }
        };
        // The folder holds its models and the libraries beside it.
        readable.extend(path.parent().map(PathBuf::from));
        prepared.push(Prepared { program: PreparedProgram::Library(image), readable, environment, params });
    }
    Ok(prepared)
}

/// A processor from its source. The kit is unpacked for the first one.
fn compiled(source: &Path, kit: &mut Option<Kit>) -> Result<Image, ResolveError> {
    let kit = unpacked(kit)?;
    Ok(Image::copy_as(&compile(source, kit)?, source)?)
}

fn unpacked(kit: &mut Option<Kit>) -> Result<&Kit, ResolveError> {
    Ok(match kit {
        Some(kit) => kit,
        None => kit.insert(Kit::unpack()?),
    })
}

/// Loads the processors, which runs their code for the first time. `described` are those of Python, in their order.
/// Instances of libraries are made where `libraries_in` says.
pub(crate) fn load(
    pipeline: &str,
    prepared: Vec<Prepared>,
    described: Vec<ProcessorInfo>,
    libraries_in: LibrariesIn,
) -> Result<Loaded, ResolveError> {
    let mut described = (0..).zip(described);
    let mut libraries: Vec<(Rc<Image>, Rc<Library>)> = Vec::new();
    let mut processors = Vec::with_capacity(prepared.len());
    for (place, Prepared { program, params, .. }) in (0..).zip(prepared) {
        let program = match program {
            PreparedProgram::Library(image) => {
                let known = libraries.iter().find(|(of, _)| Rc::ptr_eq(of, &image)).map(|(_, library)| library);
                let library = match known {
                    Some(library) => Rc::clone(library),
                    None => Rc::new(Library::load(Rc::clone(&image))?),
                };
                libraries.push((image, Rc::clone(&library)));
                match libraries_in {
                    LibrariesIn::Engine => Program::Native(library),
                    LibrariesIn::Host => Program::Shared { library, number: place },
                }
            }
            PreparedProgram::Python { .. } => {
                let (number, info) = described.next().ok_or(ResolveError::Undescribed)?;
                Program::Remote { info: Box::new(info), number }
            }
        };
        processors.push(LoadedProcessor { program, params });
    }
    Ok(Loaded { pipeline: pipeline.to_owned(), processors, link: RefCell::default() })
}
