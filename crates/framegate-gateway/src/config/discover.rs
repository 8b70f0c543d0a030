//! The processors that came with the program, for a start without any config.

use std::path::{Path, PathBuf};

use framegate_wire::Source;

use super::{Pipeline, pipeline_name};
use crate::limits::PIPELINES_MAX;

/// The pipeline that becomes the default one of those that came with the program.
const PREFERRED: &str = "motion";

/// The library behind `gst: ELEMENTS`: without elements it is no processor.
const GSTREAMER: &str = "framegate-gst.so";

/// Processors in `folder` if given, else in `processors` beside the program at `program` or one folder above it.
///
/// Sorted by name, but `motion` first; the folder they were found in comes along. A folder that cannot be read has none.
#[must_use]
pub fn installed_processors(folder: Option<&Path>, program: Option<&Path>) -> Option<(PathBuf, Vec<Pipeline>)> {
    let folders: Vec<PathBuf> = match folder {
        Some(folder) => vec![folder.to_owned()],
        None => program?.ancestors().skip(1).take(2).map(|parent| parent.join("processors")).collect(),
    };
    folders.into_iter().find_map(|folder| {
        let pipelines = processors_in(&folder);
        (!pipelines.is_empty()).then_some((folder, pipelines))
    })
}

fn processors_in(folder: &Path) -> Vec<Pipeline> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut pipelines: Vec<Pipeline> = entries
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "so") && path.is_file())
        .filter(|path| path.file_name().is_some_and(|name| name != GSTREAMER))
        .map(Source::Library)
        .filter_map(|source| Some(Pipeline::new(pipeline_name(&source)?, source)))
        .collect();
    pipelines.sort_by(|a, b| (a.name != PREFERRED, &a.name).cmp(&(b.name != PREFERRED, &b.name)));
    pipelines.dedup_by(|a, b| a.name == b.name);
    pipelines.truncate(PIPELINES_MAX);
    pipelines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn motion_comes_first_and_only_libraries_count() {
        let root = std::env::temp_dir().join(format!("framegate-discover-{}", std::process::id()));
        let folder = root.join("processors");
        std::fs::create_dir_all(&folder).unwrap();
        for file in ["edges.so", "libmotion.so", "notes.txt", "blur.so", GSTREAMER] {
            std::fs::write(folder.join(file), b"").unwrap();
        }
        let program = root.join("release").join("framegate");
        let (found, pipelines) = installed_processors(None, Some(&program)).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, folder);
        let names: Vec<_> = pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
        assert_eq!(names, ["motion", "blur", "edges"]);
        assert!(installed_processors(Some(&folder), None).is_none(), "the folder is gone");
    }
}
