//! `vipaint bench`: one file each.

mod avatars;
mod dataset;
mod gmm;
mod keep;
mod masks;
mod operators;

use std::process::ExitCode;

use vipaint::Result;

use super::Session;
use crate::cli;

pub fn run(raw: cli::Bench, session: &Session) -> Result<ExitCode> {
    session.cpu_only("bench")?;
    match raw {
        cli::Bench::Masks(raw) => masks::run(&raw, session),
        cli::Bench::Gmm(raw) => gmm::run(&raw, session),
        cli::Bench::Avatars(raw) => avatars::run(&raw, session),
        cli::Bench::Dataset(raw) => dataset::run(&raw, session),
        cli::Bench::Operators(raw) => operators::run(&raw, session),
    }
}
