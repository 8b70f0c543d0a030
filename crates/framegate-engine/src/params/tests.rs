use super::*;

fn param(kind: ParamKind) -> Param {
    Param {
        id: "threshold".to_owned(),
        label: String::new(),
        group: String::new(),
        description: String::new(),
        unit: String::new(),
        kind,
        value: ParamValue::Bool(false),
        default: ParamValue::Bool(false),
    }
}

fn check(kind: ParamKind, json: &str, expected: Result<ParamValue, &str>) {
    let found = parse(&param(kind), json);
    match expected {
        Ok(value) => {
            assert_eq!(found.as_ref(), Ok(&value), "{json}");
        }
        Err(text) => assert_eq!(found.as_ref().map_err(String::as_str), Err(text), "{json}"),
    }
}

#[test]
fn each_kind_takes_its_own() {
    let int = |range, step| ParamKind::Int { range, step };
    let float = |range, step| ParamKind::Float { range, step };
    let choice = || ParamKind::Choice(vec!["fast".to_owned(), "good".to_owned()]);
    check(ParamKind::Bool, "true", Ok(ParamValue::Bool(true)));
    check(int(None, 0), "-9007199254740992", Ok(ParamValue::Int(-WHOLE_MAX)));
    check(int(Some((1, 9)), 2), "7", Ok(ParamValue::Int(7)));
    check(int(Some((1, 9)), 2), "7.0", Ok(ParamValue::Int(7)));
    check(float(Some((0.0, 1.0)), 0.0), "1", Ok(ParamValue::Float(1.0)));
    check(float(Some((0.0, 1.0)), 0.1), "0.30000000000000004", Ok(ParamValue::Float(0.300_000_000_000_000_04)));
    check(choice(), "\"good\"", Ok(ParamValue::Text("good".to_owned())));
    check(ParamKind::Text { bytes_max: 5 }, "\"gr\\u00fcn\"", Ok(ParamValue::Text("grün".to_owned())));
    check(ParamKind::Color, "\"#Ff8000\"", Ok(ParamValue::Color(0xff_8000)));
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let float = ParamKind::Float { range: Some((0.0, 1.0)), step: 0.0 };
    check(float.clone(), "2.5", Err("`threshold` is 2.5; it takes 0 to 1"));
    for bad in ["\"1\"", "true", "null", "1e999", "NaN", "-0.1", "[0]", "", "0.5 1"] {
        check(float.clone(), bad, Err(&format!("`threshold` is {bad}; it takes 0 to 1")));
    }
    let stepped = ParamKind::Float { range: Some((0.0, 1.0)), step: 0.25 };
    check(stepped, "0.3", Err("`threshold` is 0.3; it takes 0 to 1, in steps of 0.25"));
    let int = ParamKind::Int { range: Some((1, 9)), step: 2 };
    for bad in ["2", "0", "11", "1.5", "1e30", "9223372036854775807"] {
        check(int.clone(), bad, Err(&format!("`threshold` is {bad}; it takes 1 to 9, whole, in steps of 2")));
    }
    check(ParamKind::Bool, "1", Err("`threshold` is 1; it takes true or false"));
    let choice = ParamKind::Choice(vec!["fast".to_owned(), "good".to_owned()]);
    check(choice, "\"best\"", Err("`threshold` is \"best\"; it takes one of \"fast\", \"good\""));
    let text = ParamKind::Text { bytes_max: 3 };
    check(
        text.clone(),
        "\"long\"",
        Err("`threshold` is \"long\"; it takes a text of at most 3 bytes without control characters"),
    );
    for control in ["\"a\\u0000\"", "\"\\u0001\"", "\"\\b\""] {
        assert!(parse(&param(text.clone()), control).is_err(), "{control}");
    }
    assert!(parse(&param(text), "\"\\n\\t\\r\"").is_ok());
    for bad in ["\"red\"", "\"#+ff800\"", "\"#ff80000\"", "\"ff8000\"", "16744448"] {
        check(ParamKind::Color, bad, Err(&format!("`threshold` is {bad}; it takes a colour such as \"#ff8000\"")));
    }
    let long = format!("\"{}\"", "x".repeat(5000));
    assert!(parse(&param(ParamKind::Bool), &long).unwrap_err().len() < 200, "a long value is cut");
}

#[test]
fn values_are_written_as_they_are_read() {
    let text = ParamKind::Text { bytes_max: 100 };
    for (kind, value) in [
        (ParamKind::Bool, ParamValue::Bool(true)),
        (ParamKind::Int { range: None, step: 0 }, ParamValue::Int(-5)),
        (ParamKind::Float { range: None, step: 0.0 }, ParamValue::Float(0.1)),
        (ParamKind::Float { range: None, step: 0.0 }, ParamValue::Float(-0.0)),
        (text, ParamValue::Text("a \"b\"\n\\ü".to_owned())),
        (ParamKind::Color, ParamValue::Color(0x00_00ff)),
    ] {
        assert_eq!(parse(&param(kind), &to_json(&value)), Ok(value));
    }
}
