//! From a pipeline's text to loaded processors: [`resolve`] before the sandbox is on, [`load`] inside it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
};

use framegate_wire::{Descriptor, PipelineSpec, Source, limits::PROCESSORS_MAX};

use crate::{
    compile::{CompileError, compile},
    kit::Kit,
    library::{Image, Library, LoadError},
};

/// Why a pipeline's processors cannot be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ResolveError {
    /// None at all, or too many.
    #[error("pipeline `{pipeline}` has {count} processors; it takes 1 to {PROCESSORS_MAX}")]
    Count { pipeline: String, count: usize },
    /// Nothing here runs it.
    #[error("{0}: this framegate-engine cannot run it; shared libraries (.so) and C and C++ files it can")]
    Unsupported(Source),
    /// A library cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A source does not become a library.
    #[error(transparent)]
    Compile(#[from] CompileError),
}

/// A processor that is found but not loaded.
#[derive(Debug)]
pub(crate) struct Prepared {
    program: PreparedProgram,
    /// Files and folders it may read, beside the pipeline's.
    pub(crate) readable: Vec<PathBuf>,
    /// Values of its parameters by id, as JSON.
    params: BTreeMap<String, String>,
}

/// What a processor is made of, before it is loaded.
#[derive(Debug)]
enum PreparedProgram {
    /// A shared library: the same copy for every processor that names the same file.
    Library(Rc<Image>),
}

/// The processors of a pipeline, loaded.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The pipeline's name.
    pub(crate) pipeline: String,
    /// In the pipeline's order.
    pub(crate) processors: Vec<LoadedProcessor>,
}

/// One loaded processor.
#[derive(Debug)]
pub(crate) struct LoadedProcessor {
    pub(crate) program: Program,
    /// Values of its parameters by id, as JSON.
    pub(crate) params: BTreeMap<String, String>,
}

/// What makes instances of a processor.
#[derive(Debug)]
pub(crate) enum Program {
    /// A shared library in this process.
    Native(Rc<Library>),
}

impl Program {
    /// What it says of itself.
    pub(crate) fn descriptor(&self) -> &Descriptor {
        match self {
            Self::Native(library) => library.descriptor(),
        }
    }
}

impl Loaded {
    /// What the processors say of themselves.
    pub(crate) fn descriptors(&self) -> Vec<Descriptor> {
        self.processors.iter().map(|processor| processor.program.descriptor().clone()).collect()
    }

    /// The shared libraries among the processors.
    pub(crate) fn libraries(&self) -> impl Iterator<Item = &Library> {
        self.processors.iter().map(|processor| match &processor.program {
            Program::Native(library) => &**library,
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
    let mut images: Vec<Rc<Image>> = Vec::new();
    let mut kit = None;
    let mut prepared = Vec::with_capacity(count);
    for processor in &pipeline.processors {
        let params = processor.params.clone();
        let path = match &processor.source {
            Source::Library(path) | Source::Compiled(path) => path,
            source @ (Source::Python { .. } | Source::GStreamer(_)) => {
                return Err(ResolveError::Unsupported(source.clone()));
            }
        };
        let image = match images.iter().find(|image| image.path() == path) {
            Some(image) => Rc::clone(image),
            None => {
                let image = Rc::new(match &processor.source {
                    Source::Compiled(path) => compiled(path, &mut kit)?,
                    _ => Image::copy(path)?,
                });
                images.push(Rc::clone(&image));
                image
            }
        };
        // The folder holds its models and the libraries beside it.
        let readable = path.parent().map(PathBuf::from).into_iter().collect();
        prepared.push(Prepared { program: PreparedProgram::Library(image), readable, params });
    }
    Ok(prepared)
}

/// A processor from its source. The kit is unpacked for the first one.
fn compiled(source: &Path, kit: &mut Option<Kit>) -> Result<Image, ResolveError> {
    let kit = match kit {
        Some(kit) => kit,
        None => kit.insert(Kit::unpack().map_err(CompileError::from)?),
    };
    Ok(Image::copy_as(&compile(source, kit)?, source)?)
}

/// Loads the processors, which runs their code for the first time.
pub(crate) fn load(pipeline: &str, prepared: Vec<Prepared>) -> Result<Loaded, ResolveError> {
    let mut libraries: Vec<(Rc<Image>, Rc<Library>)> = Vec::new();
    let mut processors = Vec::with_capacity(prepared.len());
    for Prepared { program, params, .. } in prepared {
        let program = match program {
            PreparedProgram::Library(image) => {
                let known = libraries.iter().find(|(of, _)| Rc::ptr_eq(of, &image)).map(|(_, library)| library);
                let library = match known {
                    Some(library) => Rc::clone(library),
                    None => Rc::new(Library::load(Rc::clone(&image))?),
                };
                libraries.push((image, Rc::clone(&library)));
                Program::Native(library)
            }
        };
        processors.push(LoadedProcessor { program, params });
    }
    Ok(Loaded { pipeline: pipeline.to_owned(), processors })
}
