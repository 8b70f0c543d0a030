//! Real nurseries and engines, with small processors compiled from C by the tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod compiled;
mod confinement;
mod crashes;
mod doctor;
mod foreign;
mod life;
mod loading;
mod sandbox;
mod support;
