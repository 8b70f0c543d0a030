//! Real nurseries and engines, with small processors compiled from C by the tests.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod check;
mod confinement;
mod crashes;
mod doctor;
mod life;
mod loading;
mod offline;
mod support;
