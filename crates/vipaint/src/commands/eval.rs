//! `vipaint eval`

use std::process::ExitCode;

use serde_json::json;
use vipaint::evaluation::{Ask, Report, evaluate};
use vipaint::picture::Mask;
use vipaint::save::write_atomically;
use vipaint::{Error, Result};

use super::Session;
use crate::progress::Progress;
use crate::{cli, validate};

pub fn run(raw: &cli::Eval, session: &Session) -> Result<ExitCode> {
    session.cpu_only("eval")?;
    if !(raw.level > 0.0 && raw.level < 1.0) {
        return Err(Error::usage(
            "--level",
            format!("must be between 0 and 1, not {}", raw.level),
            "0.9 is the default",
        ));
    }
    let _folder = raw.output.as_ref().map(|output| validate::writable("-o", output)).transpose()?;
    let mask = raw.mask.as_ref().map(|path| Mask::open(path, validate::keep(raw.mask_keep))).transpose()?;
    for warning in mask.iter().flat_map(Mask::warnings) {
        eprintln!("warning: {warning}");
    }
    let name = raw.mask.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let ask = Ask {
        results: &raw.results,
        against: &raw.against,
        mask: mask.as_ref().map(|mask| (mask, name.as_str())),
        lpips_weights: raw.lpips_weights.as_deref(),
        level: raw.level,
    };
    let mut progress = Progress::new();
    let report = evaluate(&ask, &mut |done, all| {
        progress.tell("eval", done as u64, all as u64, "pictures".into());
        session.interrupt.flow()
    })?;
    progress.finish();
    let value = json!(report);
    if let Some(output) = &raw.output {
        // A value always serialises.
        write_atomically(output, &serde_json::to_vec_pretty(&value).unwrap_or_default())?;
    }
    if session.json {
        super::print_json(&value);
    } else {
        print(&report);
    }
    Ok(ExitCode::SUCCESS)
}

fn print(report: &Report) {
    super::say(&format!("{:20} {:>10} {:>10} {:>6}  better", "metric", "value", "95% ±", "over"));
    for row in &report.rows {
        let ci = row.ci.map_or_else(String::new, |ci| format!("{ci:.4}"));
        super::say(&format!("{:20} {:>10.4} {ci:>10} {:>6}  {}", row.metric, row.value, row.count, row.better));
    }
    for note in &report.notes {
        eprintln!("note: {note}");
    }
}
