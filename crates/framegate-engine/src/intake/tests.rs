use framegate_wire::{Codec, Epoch};

use super::*;

const MS: u64 = 1_000_000;
/// Ticks between frames at 30 a second.
const FRAME_TICKS: u64 = 3000;

fn header(seq: u64, received_ms: u64, keyframe: bool) -> UnitHeader {
    UnitHeader {
        seq: Seq(seq),
        epoch: Epoch(0),
        rtp_time: seq * FRAME_TICKS,
        capture_us: None,
        received_ns: received_ms * MS,
        assembled_ns: received_ms * MS,
        codec: Codec::Vp8,
        keyframe,
    }
}

/// Gives a unit that decodes well, at once.
fn give(intake: &mut Intake, unit: &UnitHeader, now_ms: u64) -> Step {
    let step = intake.unit(unit, now_ms * MS);
    if step == Step::Decode {
        intake.decoded(unit.clone());
    }
    step
}

/// Calls the processor, if due, and says on which frame.
fn call(intake: &mut Intake) -> Option<Call> {
    let call = intake.call()?;
    intake.processed(Outcome::Ok);
    Some(call)
}

fn answers(intake: &mut Intake) -> Vec<FromEngine> {
    intake.answers().collect()
}

fn skipped(seq: u64, reason: SkipReason) -> FromEngine {
    FromEngine::Skipped { seq: Seq(seq), reason }
}

fn dropped(seq: u64, reason: DropReason) -> FromEngine {
    FromEngine::Dropped { seq: Seq(seq), reason }
}

#[test]
fn only_the_newest_of_a_batch_is_processed() {
    let mut intake = Intake::new(200);
    for seq in 1..=4 {
        assert_eq!(give(&mut intake, &header(seq, 0, seq == 1), 1), Step::Decode);
    }
    let due = call(&mut intake).unwrap();
    assert_eq!((due.header.seq, due.dropped_before, due.resumed), (Seq(4), 0, false));
    assert_eq!(answers(&mut intake), [1, 2, 3].map(|seq| skipped(seq, SkipReason::Newer)));
    assert!(call(&mut intake).is_none(), "one call a batch");
    assert_eq!(intake.counts().total(), 4);
}

#[test]
fn frames_never_seen_are_counted_also_when_the_gateway_lost_them() {
    let mut intake = Intake::new(200);
    give(&mut intake, &header(5, 0, true), 0);
    let first = call(&mut intake).unwrap();
    assert!(first.resumed);
    assert_eq!(first.dropped_before, 0);
    give(&mut intake, &header(9, 0, false), 0);
    let second = call(&mut intake).unwrap();
    assert!(!second.resumed);
    assert_eq!(second.dropped_before, 3);
}

#[test]
fn nothing_is_decoded_before_the_first_keyframe() {
    let mut intake = Intake::new(200);
    assert_eq!(give(&mut intake, &header(1, 0, false), 0), Step::Leave);
    assert_eq!(give(&mut intake, &header(2, 33, false), 33), Step::Leave);
    assert_eq!(
        answers(&mut intake),
        [
            skipped(1, SkipReason::NoKeyframe),
            FromEngine::KeyframeWanted(KeyframeReason::Loss),
            skipped(2, SkipReason::NoKeyframe),
        ]
    );
    assert_eq!(give(&mut intake, &header(3, 66, true), 66), Step::Decode);
    assert_eq!(give(&mut intake, &header(4, 99, false), 99), Step::Decode);
}

#[test]
fn a_missing_keyframe_is_asked_for_again_each_second() {
    let mut intake = Intake::new(200);
    let mut asked = Vec::new();
    for seq in 1..=100 {
        let now_ms = seq * 33;
        give(&mut intake, &header(seq, now_ms, false), now_ms);
        if intake.is_urgent() {
            asked.push(now_ms);
        }
        answers(&mut intake);
    }
    assert_eq!(asked.len(), 4, "at {asked:?} ms");
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= 1000));
}

#[test]
fn corrupt_unit_closes_the_gate_until_a_keyframe() {
    let mut intake = Intake::new(200);
    give(&mut intake, &header(1, 0, true), 0);
    assert_eq!(intake.unit(&header(2, 0, false), 0), Step::Decode);
    intake.corrupt(Seq(2), 0);
    assert!(call(&mut intake).is_none(), "the decoder's picture is gone");
    assert_eq!(give(&mut intake, &header(3, 0, false), 0), Step::Leave);
    assert_eq!(
        answers(&mut intake),
        [
            skipped(1, SkipReason::Newer),
            dropped(2, DropReason::Corrupt),
            FromEngine::KeyframeWanted(KeyframeReason::Loss),
            skipped(3, SkipReason::NoKeyframe),
        ]
    );
    assert_eq!(give(&mut intake, &header(4, 0, true), 0), Step::Decode);
    assert_eq!(call(&mut intake).unwrap().header.seq, Seq(4));
}

#[test]
fn too_large_asks_for_no_keyframe() {
    let mut intake = Intake::new(200);
    assert_eq!(intake.unit(&header(1, 0, true), 0), Step::Decode);
    intake.too_large(Seq(1), 0);
    for seq in 2..100 {
        assert_eq!(give(&mut intake, &header(seq, seq * 33, false), seq * 33), Step::Leave);
    }
    assert!(!answers(&mut intake).iter().any(|answer| matches!(answer, FromEngine::KeyframeWanted(_))));
    assert_eq!(give(&mut intake, &header(100, 3300, true), 3300), Step::Decode);
}

#[test]
fn hidden_units_are_decoded_and_counted() {
    let mut intake = Intake::new(200);
    assert_eq!(intake.unit(&header(1, 0, true), 0), Step::Decode);
    intake.empty(Seq(1));
    assert!(call(&mut intake).is_none());
    assert_eq!(give(&mut intake, &header(2, 0, false), 0), Step::Decode);
    assert_eq!(intake.counts().total(), 1);
}

#[test]
fn lack_of_cpu_makes_a_unit_late() {
    let mut intake = Intake::new(200);
    give(&mut intake, &header(1, 0, true), 0);
    call(&mut intake).unwrap();
    assert_eq!(give(&mut intake, &header(2, 100, false), 300), Step::Decode, "exactly at the bound");
    call(&mut intake).unwrap();
    assert_eq!(give(&mut intake, &header(3, 100, false), 301), Step::Leave);
    assert_eq!(give(&mut intake, &header(4, 300, false), 302), Step::Leave);
    assert_eq!(
        answers(&mut intake),
        [
            skipped(3, SkipReason::Late),
            FromEngine::KeyframeWanted(KeyframeReason::Late),
            skipped(4, SkipReason::NoKeyframe),
        ]
    );
    assert_eq!(give(&mut intake, &header(5, 400, true), 410), Step::Decode);
}

#[test]
fn a_late_keyframe_is_not_decoded_either() {
    let mut intake = Intake::new(200);
    assert_eq!(give(&mut intake, &header(1, 0, true), 500), Step::Leave);
    assert_eq!(give(&mut intake, &header(2, 400, true), 501), Step::Decode);
}

#[test]
fn time_making_the_instance_makes_nothing_late() {
    let mut intake = Intake::new(200);
    intake.busy(10 * MS, 5_010 * MS);
    assert_eq!(give(&mut intake, &header(1, 0, true), 5_020), Step::Decode);
}

#[test]
fn only_time_since_arrival_is_forgiven() {
    let mut intake = Intake::new(200);
    intake.busy(0, 1_000 * MS);
    assert_eq!(give(&mut intake, &header(1, 990, true), 1_150), Step::Decode, "age 160 ms, 10 of them busy");
    assert_eq!(give(&mut intake, &header(2, 990, false), 1_201), Step::Leave, "age 211 ms, 10 of them busy");
}

/// Runs an engine in simulated time and says which frames were processed, and at what age each call began.
fn simulate(process_ms: u64, decode_us: u64, frames: u64) -> (Intake, Vec<(u64, u64)>) {
    let mut intake = Intake::new(200);
    let (mut now_us, mut next, mut calls) = (0_u64, 1_u64, Vec::new());
    while next <= frames {
        let arrival_us = |seq: u64| seq * 33_333;
        now_us = now_us.max(arrival_us(next));
        let arrived: Vec<u64> = (next..=frames).take_while(|&seq| arrival_us(seq) <= now_us).collect();
        for seq in arrived {
            let mut unit = header(seq, 0, seq == 1);
            unit.received_ns = arrival_us(seq) * 1000;
            if intake.unit(&unit, now_us * 1000) == Step::Decode {
                now_us += decode_us;
                intake.decoded(unit);
            }
            next = seq + 1;
        }
        if let Some(due) = intake.call() {
            calls.push((due.header.seq.0, now_us - arrival_us(due.header.seq.0)));
            let end_us = now_us + process_ms * 1000;
            intake.busy(now_us * 1000, end_us * 1000);
            now_us = end_us;
            intake.processed(Outcome::Ok);
        }
        intake.answers().for_each(drop);
    }
    (intake, calls)
}

#[test]
fn slow_processors_get_the_newest_and_never_make_a_unit_late() {
    for process_ms in [0, 5, 33, 150, 250, 900] {
        let (intake, calls) = simulate(process_ms, 1_500, 300);
        let counts = intake.counts();
        assert_eq!(counts.total(), 300, "{process_ms} ms");
        assert_eq!(counts.skipped[SkipReason::Late as usize], 0, "{process_ms} ms");
        assert_eq!(counts.skipped[SkipReason::NoKeyframe as usize], 0, "{process_ms} ms");
        // The very last frame may wait for a whole call, because no newer one replaces it.
        let ages: Vec<u64> = calls.iter().filter(|(seq, _)| *seq < 300).map(|&(_, age)| age).collect();
        assert!(ages.iter().all(|&age| age < 90_000), "{process_ms} ms: ages {ages:?} us");
        assert!(calls.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order");
    }
}

#[test]
fn decoding_slower_than_the_camera_ends_in_the_late_rule_not_in_latency() {
    let (intake, calls) = simulate(1, 40_000, 300);
    let counts = intake.counts();
    assert_eq!(counts.total(), 300);
    assert_eq!(counts.skipped[SkipReason::Late as usize], 1);
    assert!(calls.iter().all(|&(_, age)| age <= 300_000), "{calls:?}");
}

#[test]
fn rate_is_kept_on_average_and_skips_are_decoded() {
    for (camera_ticks, rate_millihertz, expected) in
        [(3000, 30_000, 300), (3000, 20_000, 200), (3000, 10_000, 100), (3000, 1_000, 10), (6000, 30_000, 300)]
    {
        let mut intake = Intake::new(200);
        intake.set_rate(rate_millihertz);
        let mut calls = 0;
        for seq in 1..=300 {
            let mut unit = header(seq, seq * 33, seq == 1);
            // A webcam's clock jitters by about a millisecond.
            unit.rtp_time = seq * camera_ticks + (seq * 7919) % 180;
            assert_eq!(give(&mut intake, &unit, seq * 33), Step::Decode);
            calls += u32::from(call(&mut intake).is_some());
        }
        assert!(calls.abs_diff(expected) <= expected / 20 + 1, "{calls} instead of {expected}");
        let skips = intake.counts().skipped[SkipReason::Rate as usize];
        assert_eq!(u64::from(calls) + skips, 300);
    }
}

#[test]
fn rate_does_not_burst_after_a_pause_nor_stall_after_a_clock_change() {
    let mut intake = Intake::new(200);
    intake.set_rate(10_000);
    let mut admitted = Vec::new();
    for (seq, rtp_time, epoch) in
        [(1, 900_000, 0), (2, 1_800_000, 0), (3, 1_803_000, 0), (4, 1_809_000, 0), (5, 100, 1), (6, 3_100, 1)]
    {
        let mut unit = header(seq, 0, seq == 1);
        unit.rtp_time = rtp_time;
        unit.epoch = Epoch(epoch);
        give(&mut intake, &unit, 0);
        if call(&mut intake).is_some() {
            admitted.push(seq);
        }
    }
    assert_eq!(admitted, [1, 2, 4, 5]);
}

#[test]
fn every_unit_has_exactly_one_outcome_whatever_happens() {
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut roll = |sides: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % sides
    };
    for _ in 0..200 {
        let mut intake = Intake::new(200);
        intake.set_rate(u32::try_from(roll(3) * 10_000).unwrap());
        let (mut now_ms, mut answered) = (0, vec![0_u8; 301]);
        for seq in 1..=300 {
            now_ms += roll(60);
            let unit = header(seq, now_ms.saturating_sub(roll(220)), roll(20) == 0);
            if intake.unit(&unit, now_ms * MS) == Step::Decode {
                match roll(12) {
                    0 => intake.corrupt(Seq(seq), now_ms * MS),
                    1 => intake.too_large(Seq(seq), now_ms * MS),
                    2 => intake.empty(Seq(seq)),
                    _ => intake.decoded(unit),
                }
            }
            if (roll(3) == 0 || seq == 300)
                && let Some(due) = intake.call()
            {
                intake.processed(if roll(2) == 0 { Outcome::Ok } else { Outcome::Error });
                answered[usize::try_from(due.header.seq.0).unwrap()] += 1;
            }
            for answer in answers(&mut intake) {
                if let FromEngine::Skipped { seq, .. } | FromEngine::Dropped { seq, .. } = answer {
                    answered[usize::try_from(seq.0).unwrap()] += 1;
                }
            }
        }
        assert!(answered[1..].iter().all(|&times| times == 1), "{answered:?}");
        assert_eq!(intake.counts().total(), 300);
    }
}
