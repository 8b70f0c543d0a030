//! Real nurseries and engines, with small processors compiled from C by the tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

// What is kept are programs of this one architecture.
#[cfg(target_arch = "x86_64")]
mod abi_1_0;
mod chains;
mod check;
mod compiled;
mod confinement;
mod crashes;
mod doctor;
mod foreign;
mod gst;
mod life;
mod loading;
mod messages;
mod offline;
mod params;
mod pictures;
mod python;
mod sandbox;
mod sharing;
mod states;
mod support;
mod trial;
