//! What the program says about the machine.

use std::process::Command;

#[test]
fn doctor_finds_codecs_and_sandbox() {
    let output = Command::new(env!("CARGO_BIN_EXE_framegate-engine")).args(["doctor", "--json"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = report["checks"].as_array().unwrap();
    let names: Vec<_> = checks.iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["codecs", "sandbox", "landlock", "seccomp"]);
    assert_eq!(report["seccomp"], true);
    let landlock = checks.iter().find(|check| check["name"] == "landlock").unwrap();
    assert_eq!(report["landlock"].is_u64(), landlock["level"] == "ok", "{report}");
    for check in checks {
        let level = check["level"].as_str().unwrap();
        // Landlock alone may be missing where engines run all the same.
        assert!(level == "ok" || check["name"] == "landlock" && level == "warn", "{check}");
        assert_eq!(level == "ok", check.get("remedy").is_none(), "{check}");
    }
    assert!(checks[0]["text"].as_str().unwrap().contains("libavcodec"), "{}", checks[0]);
}
