//! Parameters: what a processor's table may say, and what values reach it.

use framegate_wire::{FromEngine, NamedValue, ParamKind, ParamValue, RefusedValue, ToEngine};

use crate::support::{Engine, Folder, Level2, Nursery, chain, clip};

/// One parameter of each kind; 0.25 is a threshold that it refuses itself.
const TABLE: &str = r#"
    static double numbers[6]; static char text[30] = "unset";
    static const char *const modes[] = {"fast", "good"};
    static const fg_param table[] = {
        {"flip", "Flip", "View", "Turns the picture over.", 0, 0, 0, FG_PARAM_BOOL, 0, 0, 0, 1, 0},
        {"count", 0, 0, 0, "px", 0, 0, FG_PARAM_INT, 1, 9, 2, 3, 0},
        {"threshold", 0, 0, 0, 0, 0, 0, FG_PARAM_FLOAT, 0, 1, 0, 0.5, 0},
        {"mode", 0, 0, 0, 0, modes, 2, FG_PARAM_ENUM, 0, 0, 0, 1, 0},
        {"title", 0, 0, 0, 0, 0, 0, FG_PARAM_TEXT, 0, 20, 0, 0, "hi"},
        {"ink", 0, 0, 0, 0, 0, 0, FG_PARAM_COLOR, 0, 0, 0, 0xff8000, 0}};
    static int32_t set(fg_processor *p, uint32_t i, const fg_param_value *v) {
        (void)p;
        if (v->kind != table[i].kind || (i == 2 && v->number == 0.25)) return FG_ERROR_UNSUPPORTED;
        if (v->kind == FG_PARAM_TEXT) strcpy(text, v->text); else numbers[i] = v->number;
        return v->kind != FG_PARAM_TEXT && v->text ? FG_ERROR : FG_OK; }
    static const fg_params params = {sizeof params, 6, table, set};
"#;

const EACH_KIND: Level2<'_> = Level2 {
    globals: TABLE,
    extension: "if (!strcmp(id, FG_EXT_PARAMS)) return &params;",
    process: r#"return fg_data_printf(out, "[%g,%g,%g,%g,\"%s\",%g]",
        numbers[0], numbers[1], numbers[2], numbers[3], text, numbers[5]);"#,
    ..Level2::NOTHING
};

fn value(id: &str, json: &str) -> NamedValue {
    NamedValue { processor: 0, id: id.to_owned(), json: json.to_owned() }
}

/// Sets values and gives what is in force and what was refused.
fn set(engine: &mut Engine, values: &[NamedValue]) -> (Vec<NamedValue>, Vec<RefusedValue>) {
    engine.say(&ToEngine::SetParams { id: 9, values: values.to_vec() }, &[]);
    engine.until(|message| match message {
        FromEngine::Params { id: 9, values, refused } => Some((values, refused)),
        _ => None,
    })
}

#[test]
fn the_table_is_described_with_present_values() {
    let folder = Folder::new();
    let library = folder.compile("test", &EACH_KIND.source(), &[]);
    let mut nursery = Nursery::start_pipeline(&chain(&[(&library, &[("count", "7")])]), &[]);
    nursery.ready();
    let infos = nursery.described().unwrap();
    let params = &infos[0].params;
    let flip = &params[0];
    assert_eq!((flip.label.as_str(), flip.group.as_str(), flip.unit.as_str()), ("Flip", "View", ""));
    assert_eq!(flip.description, "Turns the picture over.");
    assert_eq!((params[1].label.as_str(), params[1].unit.as_str()), ("count", "px"));
    let kinds = params.iter().map(|param| param.kind.clone()).collect::<Vec<_>>();
    assert_eq!(
        kinds,
        [
            ParamKind::Bool,
            ParamKind::Int { range: Some((1, 9)), step: 2 },
            ParamKind::Float { range: Some((0.0, 1.0)), step: 0.0 },
            ParamKind::Choice(vec!["fast".into(), "good".into()]),
            ParamKind::Text { bytes_max: 20 },
            ParamKind::Color,
        ]
    );
    assert_eq!((&params[1].value, &params[1].default), (&ParamValue::Int(7), &ParamValue::Int(3)));
    assert_eq!(params[3].value, ParamValue::Text("good".into()));
    assert_eq!((&params[4].value, &params[5].value), (&ParamValue::Text("hi".into()), &ParamValue::Color(0xff_8000)));
    let mut engine = nursery.fork();
    let ready = engine.until(|message| if let FromEngine::Ready(infos) = message { Some(infos) } else { None });
    assert_eq!(ready, infos);
}

#[test]
fn values_of_every_kind_are_set_between_frames() {
    let (mut nursery, _folder) = Nursery::of(&EACH_KIND.source());
    let mut engine = nursery.fork_with(1, &[value("ink", "\"#000102\"")], &[]);
    let units = clip(64, 64, 2);
    assert_eq!(engine.process(1, &units[0]).1, "[1,3,0.5,1,\"hi\",258]", "each was set once");
    let values =
        [("flip", "false"), ("count", "5"), ("threshold", "0.75"), ("mode", "\"fast\""), ("title", "\"gr\u{fc}n\"")];
    let values = values.map(|(id, json)| value(id, json));
    let (taken, refused) = set(&mut engine, &values);
    assert_eq!((taken.as_slice(), refused.as_slice()), (&values[..], &[][..]));
    assert_eq!(engine.process(2, &units[1]).1, "[0,5,0.75,0,\"gr\u{fc}n\",258]");
}

#[test]
fn wrong_values_never_reach_the_processor_and_the_old_ones_stay() {
    let (mut nursery, _folder) = Nursery::of(&EACH_KIND.source());
    let mut engine = nursery.fork_ready();
    set(&mut engine, &[value("threshold", "0.75")]);
    let elsewhere = NamedValue { processor: 4, ..value("flip", "true") };
    let (taken, refused) = set(
        &mut engine,
        &[value("threshold", "2.5"), value("threshold", "0.25"), value("count", "4"), value("nothing", "1"), elsewhere],
    );
    assert_eq!(taken, [value("threshold", "0.75"), value("count", "3")], "what is in force");
    let texts: Vec<_> = refused.iter().map(|refused| refused.text.as_str()).collect();
    assert_eq!(
        texts,
        [
            "`threshold` is 2.5; it takes 0 to 1",
            "`threshold` is 0.25; the processor refused it with FG_ERROR_UNSUPPORTED (-3)",
            "`count` is 4; it takes 1 to 9, whole, in steps of 2",
            "it has no parameter `nothing`; it has `flip`, `count`, `threshold`, `mode`, `title`, `ink`",
            "there is no processor number 4; the pipeline has 1",
        ]
    );
    assert_eq!(engine.process(1, &clip(64, 64, 1)[0]).1, "[1,3,0.75,1,\"hi\",1.67444e+07]");
}

#[test]
fn wrong_values_of_a_pipeline_are_a_fault_that_says_where() {
    let folder = Folder::new();
    let library = folder.compile("test", &EACH_KIND.source(), &[]);
    for (id, json, expected) in [
        ("threshold", "2.5", "pipeline `test`, processor `test`: `threshold` is 2.5; it takes 0 to 1"),
        (
            "threshold",
            "0.25",
            "pipeline `test`, processor `test`: `threshold` is 0.25; the processor refused it with FG_ERROR_",
        ),
        ("treshold", "1", "pipeline `test`, processor `test`: it has no parameter `treshold`; it has `flip`,"),
    ] {
        let mut nursery = Nursery::start_pipeline(&chain(&[(&library, &[(id, json)])]), &[]);
        nursery.ready();
        let text = nursery.described().unwrap_err();
        assert!(text.starts_with(expected), "{text}");
        assert!(nursery.fork().fault().starts_with(expected));
    }
}

#[test]
fn values_of_a_page_that_the_processor_refuses_later_are_left() {
    let (mut nursery, _folder) = Nursery::of(&EACH_KIND.source());
    let mut engine = nursery.fork_with(1, &[value("threshold", "0.25"), value("count", "9")], &[]);
    let refused = engine.until(|message| match message {
        FromEngine::Params { id: 0, values, refused } if values.is_empty() => Some(refused),
        _ => None,
    });
    assert_eq!((refused.len(), refused[0].id.as_str()), (1, "threshold"));
    assert_eq!(engine.process(1, &clip(64, 64, 1)[0]).1, "[1,9,0.5,1,\"hi\",1.67444e+07]");
}

#[test]
fn values_of_a_page_that_fit_the_processor_no_more_are_left() {
    let (mut nursery, _folder) = Nursery::of(&EACH_KIND.source());
    let values = [value("threshold", "7"), value("count", "9"), value("gone", "1")];
    let mut engine = nursery.fork_with(1, &values, &[]);
    let refused = engine.until(|message| match message {
        FromEngine::Params { id: 0, refused, .. } => Some(refused),
        _ => None,
    });
    let texts: Vec<_> = refused.iter().map(|refused| (refused.id.as_str(), refused.text.as_str())).collect();
    assert_eq!(texts[0], ("threshold", "`threshold` is 7; it takes 0 to 1"));
    assert!(texts[1].0 == "gone" && texts[1].1.starts_with("it has no parameter `gone`"), "{texts:?}");
    assert_eq!(engine.process(1, &clip(64, 64, 1)[0]).1, "[1,9,0.5,1,\"hi\",1.67444e+07]");
}

#[test]
fn tables_that_are_not_as_the_header_says_are_refused() {
    let many = r#"static fg_param table[65]; static char names[65][4];"#;
    let fill =
        r#"for (int i = 0; i < 65; i++) { sprintf(names[i], "p%d", i); table[i].id = names[i]; table[i].kind = 1; }"#;
    let row = |row: &str| {
        format!("static const char *const two[] = {{\"x\", \"x\"}}; static const fg_param table[] = {{{row}}};")
    };
    for (globals, create, count, expected) in [
        (many.to_owned(), fill, 65, "there are 65, at most 64"),
        ("static fg_param *table = 0;".to_owned(), "", 2, "fg_params.params is NULL"),
        (row("{\"a\", 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 0.0 / 0.0, 0}"), "", 1, "`a`: its default is not a finite number"),
        (row("{\"a\", 0, 0, 0, 0, 0, 0, 3, 0, 1 / 0.0, 0, 0, 0}"), "", 1, "`a`: its max is not a finite number"),
        (row("{\"a\", 0, 0, 0, 0, 0, 0, 2, 9, 1, 0, 5, 0}"), "", 1, "`a`: its min is above its max"),
        (row("{\"a\", 0, 0, 0, 0, 0, 0, 2, 1, 9, 0, 10, 0}"), "", 1, "`a`: its default lies outside"),
        (row("{\"a\", 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0.5, 0}"), "", 1, "`a`: its default must be a whole number"),
        (row("{\"a\", 0, 0, 0, 0, 0, 0, 3, 0, 1, -1, 0, 0}"), "", 1, "`a`: its step is negative"),
        (row("{\"a\", 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0}"), "", 1, "`a`: its default lies outside"),
        (row("{\"a\", 0, 0, 0, 0, two, 2, 4, 0, 0, 0, 0, 0}"), "", 1, "`a`: one of its choices comes twice"),
        (row("{\"a\", 0, 0, 0, 0, two, 1, 4, 0, 0, 0, 1, 0}"), "", 1, "`a`: its default lies outside"),
        (row("{\"a\", 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0}"), "", 1, "`a`: it needs 1 to 64 choices"),
        (
            row("{\"a\", 0, 0, 0, 0, 0, 0, 5, 0, 2, 0, 0, \"long\"}"),
            "",
            1,
            "`a`: its default must be UTF-8 of at most 2",
        ),
        (row("{\"a\", 0, 0, 0, 0, 0, 0, 5, 0, 1e9, 0, 0, 0}"), "", 1, "`a`: its max must be at most 4096 bytes"),
        (row("{\"a\", 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0x1000000, 0}"), "", 1, "`a`: its default lies outside"),
        (row("{\"a\", 0, 0, 0, 0, 0, 0, 77, 0, 0, 0, 0, 0}"), "", 1, "`a`: its kind 77 is none"),
        (row("{\"a\", \"\\xff\", 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}"), "", 1, "`a`: its label must be UTF-8"),
        (row("{\"A\", 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}"), "", 1, "the id of number 0"),
        (row("{0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}"), "", 1, "the id of number 0"),
        (
            row("{\"a\", 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}, {\"a\", 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}"),
            "",
            2,
            "the id `a` comes twice",
        ),
    ] {
        let globals = format!(
            "{globals}\nstatic int32_t set(fg_processor *p, uint32_t i, const fg_param_value *v) {{ (void)p; (void)i; (void)v; return 0; }}\n\
             static fg_params params;"
        );
        let create = format!(
            "params.struct_size = sizeof params; params.count = {count}; params.params = table; params.set = set; {create}"
        );
        let source = Level2 { globals: &globals, create: &create, ..EACH_KIND_EXTENSION }.source();
        let (mut nursery, _folder) = Nursery::of(&source);
        let text = nursery.described().unwrap_err();
        assert!(text.starts_with("`test` cannot be made: its parameters: ") && text.contains(expected), "{text}");
    }
}

const EACH_KIND_EXTENSION: Level2<'_> =
    Level2 { extension: "if (!strcmp(id, FG_EXT_PARAMS)) return &params;", ..Level2::NOTHING };

#[test]
fn tables_too_large_to_describe_are_refused() {
    let globals = r#"static fg_param table[64]; static char names[64][4];
        static int32_t set(fg_processor *p, uint32_t i, const fg_param_value *v) { (void)p; (void)i; (void)v; return 0; }
        static fg_params params = {sizeof params, 64, table, set};"#;
    let create = r#"for (int i = 0; i < 64; i++) {
        sprintf(names[i], "p%d", i); table[i].id = names[i]; table[i].kind = FG_PARAM_TEXT; table[i].max = 4096; }"#;
    let (mut nursery, _folder) = Nursery::of(&Level2 { globals, create, ..EACH_KIND_EXTENSION }.source());
    let text = nursery.described().unwrap_err();
    assert!(text.contains("have") && text.contains("bytes, at most 97280"), "{text}");
}

#[test]
fn a_table_without_set_and_a_short_struct_are_refused() {
    let no_set = TABLE.replace("6, table, set}", "6, table, 0}");
    let short = TABLE.replace("{sizeof params, 6", "{8, 6");
    for globals in [no_set, short] {
        let (mut nursery, _folder) = Nursery::of(&Level2 { globals: &globals, ..EACH_KIND }.source());
        let text = nursery.described().unwrap_err();
        assert!(text.contains("its extension fg.params/1 has a struct_size that is too small or a function"), "{text}");
    }
}
