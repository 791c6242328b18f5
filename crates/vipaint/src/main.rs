//! The `vipaint` command.

mod cli;
mod commands;
mod device;
mod interrupt;
mod progress;
mod validate;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use commands::Session;
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
    let device = device::parse(&machine.device)?;
    validate::machine(&machine)?;
    let session = Session::start(&machine, device)?;
    device::guarded(device, || carry_out(command, &session))
}

fn carry_out(command: Command, session: &Session) -> Result<ExitCode> {
    match command {
        Command::Demo(raw) => commands::demo::run(raw, session),
        Command::Inpaint(raw) => commands::inpaint::run(raw, session),
        Command::Deblur(raw) => commands::deblur::run(raw, session),
        Command::Upscale(raw) => commands::upscale::run(raw, session),
        Command::Restore(raw) => commands::restore::run(raw, session),
        Command::Fit(raw) => commands::fit::run(raw, session),
        Command::Sample(raw) => commands::sample::run(&raw, session),
        Command::Train(raw) => commands::train::run(raw, session),
        Command::Prior(raw) => commands::prior::run(raw, session),
        Command::Bench(raw) => commands::bench::run(raw, session),
        Command::Eval(raw) => commands::eval::run(&raw, session),
        Command::Metrics(raw) => commands::metrics::run(&raw, session),
    }
}
