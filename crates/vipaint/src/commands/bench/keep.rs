//! Rows of a benchmark as they come: counted, shown, kept, and an end when asked.

use std::ops::ControlFlow;
use std::sync::Mutex;

use serde::Serialize;
use vipaint::save::RowFile;
use vipaint::{Error, Result};

use crate::commands::Session;

/// Hears of every finished row, and says whether to go on.
pub type Done<'a, R> = dyn Fn(&R) -> ControlFlow<()> + Sync + 'a;
/// Says at every step whether to go on.
pub type Tick<'a> = dyn Fn() -> ControlFlow<()> + Sync + 'a;

/// Rows of a benchmark that is `name`d in errors, of which `earlier` exist and there will be `all`.
pub struct Keep<'a> {
    pub name: &'a str,
    pub file: RowFile,
    pub earlier: usize,
    pub all: usize,
}

impl Keep<'_> {
    /// Runs a benchmark, keeping every row as it comes; `say` is what is shown of it.
    pub fn run<R: Serialize>(
        self,
        session: &Session,
        say: impl Fn(&R) -> String + Sync,
        run: impl FnOnce(&Done<'_, R>, &Tick<'_>) -> vipaint_eval::Result<Vec<R>>,
    ) -> Result<Vec<R>> {
        let Self { name, file, earlier, all } = self;
        if earlier > 0 {
            eprintln!("going on after {earlier} of {all} rows");
        }
        let state = Mutex::new((file, earlier, None));
        let done = |row: &R| {
            // A poisoned lock means that another thread's panic is on its way out already.
            let Ok(mut state) = state.lock() else { return ControlFlow::Break(()) };
            state.1 += 1;
            eprintln!("{}/{all} {}", state.1, say(row));
            match state.0.add(row) {
                Ok(()) => session.interrupt.flow(),
                Err(error) => {
                    state.2 = Some(error);
                    ControlFlow::Break(())
                }
            }
        };
        let rows = run(&done, &|| session.interrupt.flow());
        if let Ok((_, _, Some(error))) = state.into_inner() {
            return Err(error);
        }
        rows.map_err(|error| match error {
            vipaint_eval::Error::Core(vipaint_core::Error::Interrupted) => {
                Error::Interrupted("finished rows are kept; the same command goes on".into())
            }
            vipaint_eval::Error::Core(error) => error.into(),
            error => Error::input(name, error.to_string(), "check the prior and the options"),
        })
    }
}
