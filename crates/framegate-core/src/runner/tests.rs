use framegate_wire::{Epoch, ExitKind, LogLevel, Timing};

use super::*;
use crate::supervisor::Policy;

const POLICY: Policy =
    Policy { hard_deadline: Duration::from_secs(1), first_frame_deadline: Duration::from_secs(30), crashes_max: 5 };

fn start() -> (Runner, Now) {
    let now = Now { instant: Instant::now(), ns: 1_000_000_000 };
    let mut runner = Runner::new(RunnerConfig {
        stream: "s-1".to_owned(),
        processor: "test".to_owned(),
        area_max: limits::AREA_MAX,
        late_ms: 200,
        policy: POLICY,
        seed: 7,
    });
    runner.start(now);
    assert_eq!(runner.poll_engine(now), Some(EngineAction::Launch(1)));
    (runner, now)
}

fn running() -> (Runner, Now) {
    let (mut runner, now) = start();
    say(&mut runner, now, &FromEngine::Ready(Vec::new())).expect("ready");
    (runner, now)
}

fn say(runner: &mut Runner, now: Now, message: &FromEngine) -> Result<(), EngineError> {
    let mut bytes = Vec::new();
    frame::write(&mut bytes, message, &[]).expect("framed");
    runner.from_engine(now, &bytes)
}

fn frame(runner: &mut Runner, now: Now, keyframe: bool) {
    let tag = u8::from(!keyframe);
    runner.frame(
        now,
        Incoming {
            epoch: Epoch(0),
            rtp_time: runner.received() * 3000,
            capture_us: None,
            received_ns: now.ns,
            codec: Codec::Vp8,
            keyframe,
            contiguous: true,
            data: vec![tag | 0x10, 2, 0, 0x9d, 1, 0x2a, 0x80, 2, 0xe0, 1].into(),
        },
    );
}

fn result(seq: u64) -> ResultHeader {
    ResultHeader {
        seq: Seq(seq),
        status: Status::Ok,
        width: 640,
        height: 480,
        dropped_before: 0,
        timing: Timing::default(),
        processors_us: Vec::new(),
        detections: Vec::new(),
    }
}

/// Lets engines die without progress until the circuit opens.
fn open_circuit(runner: &mut Runner, mut now: Now) -> Now {
    for engine in 1.. {
        assert!(engine < 20, "the circuit never opens");
        runner.engine_gone(now, engine);
        runner.engine_report(engine, &Death { kind: Some(ExitKind::Signal(11)), ..Death::default() });
        if runner.state_name() == "waiting" {
            let until = runner.deadline().expect("a pause");
            if until > now.instant + Duration::from_secs(59) {
                break;
            }
            now = now.after(until.saturating_duration_since(now.instant));
        }
        if runner.poll_engine(now).is_none() {
            break;
        }
    }
    now
}

#[test]
fn an_engine_may_claim_any_cpu_time() {
    let (mut runner, now) = running();
    let stats = EngineStats { cpu_us: u64::MAX, decoded: u64::MAX, processed: u64::MAX };
    say(&mut runner, now, &FromEngine::Stats(stats)).expect("stats");
    runner.engine_gone(now, 1);
    assert_eq!(runner.poll_engine(now), Some(EngineAction::Launch(2)));
    say(&mut runner, now, &FromEngine::Stats(stats)).expect("stats");
    assert_eq!(runner.engine_cpu_us(), u64::MAX);
    runner.engine_gone(now, 2);
    assert_eq!(runner.engine_cpu_us(), u64::MAX);
}

#[test]
fn no_keyframe_is_asked_for_while_there_is_no_engine() {
    let (mut runner, now) = start();
    let now = open_circuit(&mut runner, now);
    assert_eq!(runner.state_name(), "waiting");
    let mut asked = 0;
    for step in 0..100 {
        let now = now.after(Duration::from_millis(100 * step));
        frame(&mut runner, now, step % 10 == 0);
        asked += usize::from(runner.poll_keyframe_request(now));
    }
    assert_eq!(asked, 0);
    assert_eq!(runner.counts().total(), runner.received());
    // A new engine needs one at once.
    let later = now.after(Duration::from_secs(61));
    assert!(matches!(runner.poll_engine(later), Some(EngineAction::Launch(_))));
    assert!(runner.poll_keyframe_request(later));
}

#[test]
fn a_flood_of_messages_ends_the_engine() {
    let (mut runner, now) = running();
    let skipped = FromEngine::Skipped { seq: Seq(7), reason: SkipReason::Newer };
    let flood = (0..=ENGINE_MESSAGES_PER_SECOND_MAX).find_map(|_| say(&mut runner, now, &skipped).err());
    assert!(matches!(flood, Some(EngineError::Flood)));
}

#[test]
fn texts_of_an_engine_are_few() {
    let (mut runner, now) = running();
    let mut told = 0;
    for number in 0..10_u32 * ENGINE_TEXTS_PER_SECOND_MAX {
        let text = "x".to_owned();
        let message =
            if number % 2 == 0 { FromEngine::Log { level: LogLevel::Info, text } } else { FromEngine::Fault { text } };
        say(&mut runner, now, &message).expect("said");
        while runner.control().front().is_some() {
            runner.control().pop();
            told += 1;
        }
    }
    // With the notices of the start.
    assert!(told <= ENGINE_TEXTS_PER_SECOND_MAX + 2, "{told}");
}

#[test]
fn ready_is_told_once() {
    let (mut runner, now) = running();
    for _ in 0..10 {
        say(&mut runner, now, &FromEngine::Ready(Vec::new())).expect("said");
    }
    let mut told = 0;
    while let Some(text) = runner.control().front() {
        told += usize::from(text.contains("engine_ready"));
        runner.control().pop();
    }
    assert_eq!(told, 1);
}

#[test]
fn a_first_call_that_takes_long_is_no_hang() {
    let (mut runner, now) = running();
    frame(&mut runner, now, true);
    let kill_after = |runner: &mut Runner, now: Now, seconds: u64| {
        (0..seconds * 4).any(|quarter| {
            let now = now.after(Duration::from_millis(250 * quarter));
            matches!(runner.poll_engine(now), Some(EngineAction::SampleRunQueue(_)))
                && runner.engine_waited(now, Some(Duration::ZERO)).is_some()
        })
    };
    assert!(!kill_after(&mut runner, now, 20));
    let now = now.after(Duration::from_secs(20));
    say(&mut runner, now, &FromEngine::Result(result(1))).expect("a result");
    frame(&mut runner, now, false);
    assert!(kill_after(&mut runner, now, 3));
}

#[test]
fn numbers_no_host_lets_through_end_the_engine() {
    let (mut runner, now) = running();
    for bad in [f32::NAN, f32::INFINITY, f32::MAX, -1e20] {
        frame(&mut runner, now, true);
        let mut header = result(runner.received());
        header.detections.push(framegate_wire::Detection {
            label: String::new(),
            score: 0.5,
            bbox: [0.0, 0.0, bad, 0.0],
            track: 0,
            keypoints: Vec::new(),
            is_outline: false,
        });
        assert!(matches!(say(&mut runner, now, &FromEngine::Result(header)), Err(EngineError::Result(_))), "{bad}");
    }
}

#[test]
fn every_frame_has_one_outcome_whatever_the_engine_says() {
    let (mut runner, now) = running();
    for step in 0..300_u64 {
        frame(&mut runner, now, step % 50 == 0);
        for seq in [0, step, step + 1, step + 2, u64::MAX] {
            say(&mut runner, now, &FromEngine::Result(result(seq))).expect("ignored or taken");
            let reason = DropReason::EngineCrashed;
            say(&mut runner, now, &FromEngine::Dropped { seq: Seq(seq), reason }).expect("ignored or taken");
        }
    }
    runner.close(now);
    runner.engine_gone(now, 1);
    assert!(runner.is_closed());
    assert_eq!((runner.received(), runner.counts().total()), (300, 300));
}

mod page;
