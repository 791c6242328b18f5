//! The `vipaint` command.

mod cli;
mod commands;
mod interrupt;
mod progress;
mod validate;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command, Machine};
use vipaint::Result;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(done) => done,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(Cli { machine, command }: Cli) -> Result<ExitCode> {
    validate::machine(&machine)?;
    let Machine { json, .. } = machine;
    match command {
        Command::Demo(raw) => commands::demo::run(raw, json),
        Command::Inpaint(raw) => commands::inpaint::run(raw, json),
        Command::Fit(raw) => commands::fit::run(raw, json),
        Command::Sample(raw) => commands::sample::run(raw, json),
        Command::Train(raw) => commands::train::run(raw, json),
        Command::Prior(raw) => commands::prior::run(raw, json),
    }
}
