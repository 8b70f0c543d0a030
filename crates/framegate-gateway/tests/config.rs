//! What operators write and what becomes of it.

#![expect(clippy::unwrap_used, reason = "a failure here is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use framegate_gateway::config::{
    Admission, Config, ConfigError, EngineConfig, Limits, Loaded, MediaConfig, Options, Pipeline, Server, Step, Value,
    load, pipeline_name,
};
use framegate_wire::{Isolation, ProcessorSpec, SandboxMode, Source};

/// The reference of every option.
const REFERENCE: &str = include_str!("../../../framegate.toml");

/// A folder of its own for a test, gone afterwards.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("framegate-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load_text(folder: &Folder, text: &str, environment: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
    folder.write("framegate.toml", text);
    load(&Options::default(), variables(environment), &folder.0)
}

/// Loads a text that must be refused and returns the message without the folder.
fn refusal(text: &str, environment: &[(&str, &str)]) -> String {
    // The name must differ between tests running at once.
    let folder = Folder::new(&format!("refusal-{}", text.len() * 31 + environment.len()));
    let error = load_text(&folder, text, environment).unwrap_err();
    error.to_string().replace(&format!("{}/", folder.0.display()), "")
}

/// A config with every option set: a new option does not compile until it is here.
fn full() -> Config {
    Config {
        default_pipeline: Some("motion".to_owned()),
        server: Server {
            listen: "127.0.0.1:8080".parse().unwrap(),
            origins: vec!["https://app.example".to_owned()],
            hosts: vec!["video.example".to_owned()],
        },
        media: MediaConfig { addresses: vec!["192.0.2.1".parse().unwrap()], port: Some(8080), threads: 1 },
        engine: EngineConfig {
            program: Some("/usr/lib/framegate/framegate-engine".into()),
            late_ms: 80,
            hard_deadline_ms: 1000,
            first_frame_deadline_ms: 30_000,
            crashes_max: 5,
            area_max: 4096 * 2160,
            readable: vec!["/models".into()],
        },
        limits: Limits { sessions_max: 1000 },
        admission: Admission { cpu_max: 0.9 },
        pipelines: vec![full_pipeline()],
    }
}

/// With `processor` and `processors`, which no file may have together.
fn full_pipeline() -> Pipeline {
    let params: BTreeMap<_, _> = [("scale".to_owned(), Value::Float(1.2))].into();
    let least: BTreeMap<_, _> = [("min_size".to_owned(), Value::Float(0.4))].into();
    Pipeline {
        name: "faces".to_owned(),
        processor: Some(Source::Compiled("faces.cpp".into())),
        processors: vec![
            Step { processor: Source::Compiled("edges.cpp".into()), params: BTreeMap::new() },
            Step { processor: Source::Python { file: "faces.py".into(), processor: None }, params: least },
        ],
        params,
        isolation: Isolation::Process,
        readable: vec!["models".into()],
        python: Some("venv/bin/python".into()),
    }
}

/// All keys of a table, written `section.option`.
fn keys(table: &toml::Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (name, value) in table {
        match value {
            toml::Value::Table(inner) => found.extend(keys(inner).into_iter().map(|key| format!("{name}.{key}"))),
            toml::Value::Array(items) if items.iter().any(toml::Value::is_table) => {
                for inner in items.iter().filter_map(toml::Value::as_table) {
                    found.extend(keys(inner).into_iter().map(|key| format!("{name}.{key}")));
                }
            }
            _ => {
                found.insert(name.clone());
            }
        }
    }
    found
}

#[test]
fn reference_has_every_option_and_its_default() {
    let defaults: Config = toml::from_str(REFERENCE).unwrap();
    assert_eq!(defaults, Config::default(), "what is not commented out in framegate.toml is the default");

    let is_option = |line: &str| {
        line.starts_with("[[") || line.split_once(" = ").is_some_and(|(name, _)| !name.contains([' ', '`', '.']))
    };
    let uncommented: String = REFERENCE
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|rest| is_option(rest)).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let documented: toml::Table = toml::from_str(&uncommented).unwrap();
    let existing = toml::Table::try_from(full()).unwrap();
    assert_eq!(keys(&documented), keys(&existing));
    assert_eq!(documented["pipelines"].clone().try_into::<Vec<Pipeline>>().unwrap(), [full_pipeline()]);
}

#[test]
fn each_option_in_the_reference_has_a_comment() {
    let lines: Vec<_> = REFERENCE.lines().collect();
    for pair in lines.windows(2) {
        let option = pair[1].split_once(" = ").is_some_and(|(name, _)| !name.contains([' ', '#']));
        assert!(!option || pair[0].starts_with("# "), "{}", pair[1]);
    }
}

#[test]
fn nothing_given_means_defaults() {
    let folder = Folder::new("nothing");
    let loaded = load(&Options::default(), variables(&[("FRAMEGATE_LOG", "debug")]), &folder.0).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert_eq!(loaded.path, None);
}

#[test]
fn mistakes_name_file_line_and_column() {
    let check = |text, expected| assert_eq!(refusal(text, &[]), expected);
    check(
        "[server]\nlistne = \"127.0.0.1:1\"\n",
        "framegate.toml:2:1: unknown field `listne`, expected one of `listen`, `origins`, `hosts`; did you mean `listen`?",
    );
    check("[media]\n\n  threads = 0\n", "framegate.toml:3:3: must be 1 to 64");
    check(
        "[admission]\ncpu_max = 0.01\n",
        "framegate.toml:2:1: must be 0.05 to 100, a fraction of all cores; above 1 overload is let in",
    );
    check(
        "[server]\norigins = [\"*\"]\n",
        "framegate.toml:2:1: `*` is no origin; write scheme, host and port only, such as https://app.example",
    );
    check("default_pipeline = \"x\"\n", "framegate.toml:1:1: there is no pipeline `x`; there are: ");
    let text = refusal("[engine]\nlate_ms = \"soon\"\n", &[]);
    assert!(text.starts_with("framegate.toml:2:11: invalid type: string \"soon\""), "{text}");
    let text = refusal("[[pipelines]]\nname = \"a\"\nprocessor = \"missing.so\"\n", &[]);
    assert!(text.starts_with("framegate.toml:3:1: missing.so: No such file"), "{text}");
    let text = refusal("[server]\nlisten = \"0.0.0.0:8080\"\n", &[]);
    assert!(text.starts_with("framegate.toml:2:1: 0.0.0.0 is not a loopback address"), "{text}");
}

#[test]
fn environment_overrides_the_file() {
    let folder = Folder::new("environment");
    let environment = [
        ("FRAMEGATE_SERVER__LISTEN", "127.0.0.1:9000"),
        ("FRAMEGATE_SERVER__HOSTS", "a.example, b.example"),
        ("FRAMEGATE_ENGINE__LATE_MS", "250"),
        ("FRAMEGATE_ENGINE__PROGRAM", "bin/engine"),
        ("FRAMEGATE_ADMISSION__CPU_MAX", "0.5"),
        ("OTHER__THING", "1"),
    ];
    let text = "[engine]\nlate_ms = 100\nreadable = [\"models\"]\n";
    let config = load_text(&folder, text, &environment).unwrap().config;
    assert_eq!(config.server.listen, "127.0.0.1:9000".parse().unwrap());
    assert_eq!(config.server.hosts, ["a.example", "b.example"]);
    assert_eq!(config.engine.late_ms, 250);
    assert_eq!(config.engine.program, Some(folder.0.join("bin/engine")));
    assert_eq!(config.engine.readable, [folder.0.join("models")]);
    assert!((config.admission.cpu_max - 0.5).abs() < f64::EPSILON);
}

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    let check = |name, value, expected| {
        assert_eq!(refusal("", &[(name, value)]), format!("environment variable {name}: {expected}"));
    };
    check("FRAMEGATE_LIMITS__SESSIONS_MAX", "0", "must be 1 to 10000");
    check(
        "FRAMEGATE_ENGINE__LATE_M",
        "1",
        "unknown field `late_m`, expected one of `program`, `late_ms`, `hard_deadline_ms`, `first_frame_deadline_ms`, \
         `crashes_max`, `area_max`, `readable`; did you mean `late_ms`?",
    );
}

#[test]
fn processors_on_the_command_line_become_pipelines() {
    let folder = Folder::new("options");
    folder.write("own.so", "");
    folder.write("libFace Blur.so.1", "");
    folder.write("framegate.toml", "[[pipelines]]\nname = \"own\"\nprocessor = \"own.so\"\n");
    let options = |processors: &[&str]| Options {
        processors: processors.iter().map(ToString::to_string).collect(),
        listen: Some("[::1]:1234".parse().unwrap()),
        ..Options::default()
    };
    let config = load(&options(&["libFace Blur.so.1"]), [], &folder.0).unwrap().config;
    assert_eq!(config.default_pipeline.as_deref(), Some("face-blur"));
    let library = Source::Library(folder.0.join("libFace Blur.so.1"));
    assert_eq!(config.pipeline("face-blur").unwrap().processor, Some(library));
    assert!(config.pipeline("own").is_some());
    assert_eq!(config.media_port(), 1234);

    let refused = |processors: &[&str]| load(&options(processors), [], &folder.0).unwrap_err().to_string();
    assert!(refused(&["missing.so"]).starts_with("-p 'missing.so': "));
    assert!(refused(&["own.txt"]).starts_with("-p 'own.txt': own.txt is none of .so, .c, "));
    assert!(refused(&["own.so | "]).starts_with("-p 'own.so | ': "));
}

#[test]
fn chains_and_elements_on_the_command_line_get_names() {
    let folder = Folder::new("chains");
    for file in ["edges.cpp", "faces.py", "own.so"] {
        folder.write(file, "");
    }
    let specs = [
        "edges.cpp | faces.py:big",
        "own.so",
        "own.so",
        "./own.so",
        "gst: videoflip method=horizontal-flip ! edgetv",
        "faces.py | gst: agingtv",
    ];
    let options = Options { processors: specs.map(str::to_owned).to_vec(), ..Options::default() };
    let config = load(&options, [], &folder.0).unwrap().config;
    let names: Vec<_> = config.pipelines.iter().map(|pipeline| pipeline.name.as_str()).collect();
    assert_eq!(names, ["edges-big", "own", "own-2", "own-3", "edgetv", "faces-agingtv"]);
    let spec = config.pipelines[0].spec(&config);
    let faces = Source::Python { file: folder.0.join("faces.py"), processor: Some("big".to_owned()) };
    assert_eq!(spec.processors[1], ProcessorSpec { source: faces, params: BTreeMap::new() });
    assert_eq!(spec.sandbox, SandboxMode::Enforce);
    let gst = Source::GStreamer("videoflip method=horizontal-flip ! edgetv".to_owned());
    assert_eq!(config.pipelines[4].spec(&config).processors[0].source, gst);
}

#[test]
fn pipelines_have_parameters_and_places() {
    let folder = Folder::new("pipelines");
    for file in ["a.cpp", "b.py", "python"] {
        folder.write(file, "");
    }
    let text = r##"
        [engine]
        readable = ["all"]
        [[pipelines]]
        name = "one"
        processor = "a.cpp"
        params = { on = true, count = -3, scale = 1.5, colour = "#ff0000" }
        isolation = "shared"
        readable = ["models", "/m"]
        python = "python"
        [[pipelines]]
        name = "two"
        processors = ["a.cpp", { processor = "b.py", params = { least = 0.4 } }, "gst: edgetv"]
    "##;
    let config = load_text(&folder, text, &[]).unwrap().config;
    let spec = config.pipelines[0].spec(&config);
    let params = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(id, json)| ((*id).to_owned(), (*json).to_owned())).collect()
    };
    let expected = params(&[("on", "true"), ("count", "-3"), ("scale", "1.5"), ("colour", "\"#ff0000\"")]);
    assert_eq!(spec.processors, [ProcessorSpec { source: Source::Compiled(folder.0.join("a.cpp")), params: expected }]);
    assert_eq!(spec.isolation, Isolation::Shared);
    assert_eq!(spec.readable, [folder.0.join("all"), folder.0.join("models"), "/m".into()]);
    assert_eq!(spec.python, Some(folder.0.join("python")));
    let spec = config.pipelines[1].spec(&config);
    assert_eq!(spec.processors.len(), 3);
    assert_eq!(spec.processors[1].params, params(&[("least", "0.4")]));
}

#[test]
fn mistakes_in_a_pipeline_name_their_line() {
    let check = |text: &str, expected: &str| {
        let text = format!("[[pipelines]]\nname = \"a\"\n{text}\n");
        let refusal = refusal(&text, &[]);
        assert!(refusal.starts_with(&format!("framegate.toml:{expected}")), "{refusal}");
    };
    check("", "2:1: a pipeline has `processor` or `processors`; this one has neither");
    check("processors = []", "2:1: a pipeline has `processor` or `processors`; this one has neither");
    check("procesor = \"/a.so\"", "3:1: unknown field `procesor`");
    check("processor = \"a.txt\"", "3:13: a.txt is none of .so, .c, .cc");
    check("processor = \"a.rs\"", "3:13: a.rs is source; build it as a `cdylib`");
    check("processor = \"gst:\"", "3:13: a processor is missing");
    check("processor = \"gst: x\"\nisolation = \"proces\"", "4:13: unknown variant `proces`");
    check("processor = \"gst: x\"\nprocessors = [\"gst: y\"]", "4:1: a pipeline has `processor` or `processors`, not");
    check("processors = [\"gst: y\"]\nparams = { a = 1 }", "4:1: with `processors`, each has its own");
    check("processor = \"gst: x\"\nparams = { a = [1] }", "4:16: invalid type: sequence, expected true, false");
    check("processor = \"gst: x\"\nparams = { A = 1 }", "4:1: `A` is no id of a parameter");
    check("processor = \"gst: x\"\nparams = { a = nan }", "4:1: `a` is no finite number");
    check("processors = [{ processor = \"gst: x\", parms = {} }]", "3:");
    check("processors = [\"gst: x\", \"nothing.so\"]", "3:1: nothing.so: No such file");
    check("processor = \"gst: x\"\npython = \"nothing\"", "4:1: nothing: No such file");
    let many = ["\"gst: x\""; 9].join(", ");
    check(&format!("processors = [{many}]"), "3:1: there are 9, at most 8 are possible");
    let refusal = refusal("[[pipelines]]\nname = \"a\"\nprocessor = \"gst: x\"\nisolation = \"share\"\n", &[]);
    assert!(refusal.ends_with("did you mean `shared`?"), "{refusal}");
}

#[test]
fn first_pipeline_is_the_default_one() {
    let folder = Folder::new("first");
    folder.write("a.so", "");
    let text = "[[pipelines]]\nname = \"z\"\nprocessor = \"a.so\"\n[[pipelines]]\nname = \"b\"\nprocessor = \"a.so\"\n";
    let config = load_text(&folder, text, &[]).unwrap().config;
    assert_eq!(config.default_pipeline.as_deref(), Some("z"));
    let text = format!("default_pipeline = \"b\"\n{text}");
    assert_eq!(load_text(&folder, &text, &[]).unwrap().config.default_pipeline.as_deref(), Some("b"));
}

#[test]
fn pipeline_names_fit_urls() {
    let check = |text: &str, expected: Option<&str>| {
        let source = Source::parse(text, Path::new("")).unwrap();
        assert_eq!(pipeline_name(&source).as_deref(), expected, "{text}");
    };
    check("target/processors/motion.so", Some("motion"));
    check("libedges.so.2.1", Some("edges"));
    check("lib.so", Some("lib"));
    check("library.cpp", Some("library"));
    check("x/algo.py:faces", Some("faces"));
    check("x/algo.py", Some("algo"));
    check("gst: videoflip method=horizontal-flip ! edgetv", Some("edgetv"));
    check("gst: a ! ", None);
    check("../ÄÖ x.so", Some("x"));
    check("???.so", None);
    check(&format!("{}.so", "a".repeat(200)), Some(&"a".repeat(64)));
}

#[test]
fn config_file_that_was_named_must_exist() {
    let folder = Folder::new("named");
    let options = Options { config: Some("other.toml".into()), ..Options::default() };
    assert!(matches!(load(&options, [], &folder.0), Err(ConfigError::Read { .. })));
    folder.write("other.toml", &"#\n".repeat(600_000));
    assert!(matches!(load(&options, [], &folder.0), Err(ConfigError::TooLarge { .. })));
}
