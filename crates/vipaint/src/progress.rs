//! How far it is: bars on a terminal, plain lines elsewhere, on stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};
use vipaint::Event;
use vipaint::hub::Step;

/// Time between plain lines.
const QUIET: Duration = Duration::from_secs(3);

/// One stage of the work at a time.
pub struct Progress {
    terminal: bool,
    stage: Option<Stage>,
}

struct Stage {
    name: &'static str,
    bar: ProgressBar,
    start: Instant,
    told: Instant,
}

impl Progress {
    pub fn new() -> Self {
        Self { terminal: std::io::stderr().is_terminal(), stage: None }
    }

    pub fn on(&mut self, event: &Event) {
        let (name, done, all, message) = match event {
            Event::Fit { iteration, iterations, terms, calls } => {
                ("fit", *iteration, *iterations, format!("bound {:.1} nats, {} calls", terms.total(), calls.denoiser))
            }
            Event::Start { step, steps, calls } => ("start", *step, *steps, format!("{} calls", calls.denoiser)),
            Event::Step { step, steps, calls } => ("sample", *step, *steps, format!("{} calls", calls.denoiser)),
        };
        self.tell(name, done as u64, all as u64, message);
    }

    /// Shows how much of a prior has arrived, in MiB.
    pub fn on_fetch(&mut self, step: &Step) {
        match step {
            Step::Bytes { all: 0, .. } => {} // Nothing is known yet.
            Step::Bytes { file, done, all } => {
                const MIB: u64 = 1 << 20;
                // Only the last byte completes the last MiB.
                let whole = if done == all { all.div_ceil(MIB) } else { (all - 1).min(*done) / MIB };
                self.tell("fetch", whole, all.div_ceil(MIB), format!("MiB, {file}"));
            }
            Step::Told(line) => self.note(line),
        }
    }

    /// Shows that `done` of `all` steps of a stage are done.
    pub fn tell(&mut self, name: &'static str, done: u64, all: u64, message: String) {
        if self.stage.as_ref().is_none_or(|stage| stage.name != name) {
            self.finish();
            self.stage = Some(Stage::new(name, self.terminal));
        }
        let Some(stage) = &mut self.stage else { return };
        stage.bar.set_length(all);
        if self.terminal {
            stage.bar.set_message(message);
            stage.bar.set_position(done);
        } else if stage.told.elapsed() >= QUIET || done == all {
            stage.told = Instant::now();
            let left = stage.start.elapsed().mul_f64((all.saturating_sub(done)) as f64 / done.max(1) as f64);
            eprintln!("{name} {done}/{all}, {message}, {} left", HumanDuration(left));
        }
    }

    /// Prints a line beside the bar.
    pub fn note(&self, line: &str) {
        match &self.stage {
            Some(stage) if self.terminal => stage.bar.println(line),
            _ => eprintln!("{line}"),
        }
    }

    /// Ends the stage; its last line stays.
    pub fn finish(&mut self) {
        if let Some(stage) = self.stage.take() {
            stage.bar.abandon();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl Stage {
    fn new(name: &'static str, terminal: bool) -> Self {
        let bar = if terminal { ProgressBar::new(1) } else { ProgressBar::hidden() };
        let style = "{prefix:>6} {bar:30.cyan/dim} {pos}/{len}  {msg}  {eta} left";
        bar.set_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_prefix(name);
        let now = Instant::now();
        Self { name, bar, start: now, told: now }
    }
}
