//! The results page: prompts obeyed, visible attributes kept, distances from true distributions, and pictures to look at.

use std::fmt::Write as _;

use super::{Benchmark, Row, Task, alone, distances};
use crate::sheet::{Grid, Page, sheet};
use crate::stats::Mean;

/// Completions of each method that the page shows.
pub(super) const SHOWN: usize = 8;

/// The page. `command` is what regenerates it.
pub fn markdown(rows: &[Row], benchmark: &Benchmark, command: &str) -> Page {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "# Completions of portraits whose truth is known, prior `{}`\n\nMade by `{command}`.\n\n\
         Held-out portraits whose attributes are known, drawn from a distribution that is declared; attributes of completions, with \
         known pixels put back, are read off by a classifier. Every method may spend about {} forward calls a sample, the fit's \
         share included, twice as many with a prompt, where guidance calls the network twice; a vector-Jacobian product counts as \
         two more; seed {}, sigma_y {}, cfg_scale {} with a prompt and \
         1 without, for every method. Intervals are 95 % over portraits.\n",
        benchmark.prior.name, benchmark.cost, benchmark.seed, benchmark.sigma_y, benchmark.cfg_scale
    );
    alone::section(&mut text, rows, benchmark);
    prompts(&mut text, rows, benchmark);
    kept(&mut text, rows, benchmark);
    distances::section(&mut text, rows, benchmark);
    cost(&mut text, rows, benchmark);
    let pictures = pictures(&mut text, rows, benchmark);
    Page { text, pictures }
}

/// Sheets of the first portrait of each task: the portrait, what is known of it, and completions, a line for each method.
fn pictures(text: &mut String, rows: &[Row], benchmark: &Benchmark) -> Vec<Grid> {
    let names = benchmark.contenders.iter().map(|c| format!("`{}`", c.name)).collect::<Vec<_>>().join(", ");
    let _ = writeln!(
        text,
        "\n## Pictures\n\nThe first portrait of each task as it is, what is known of it, and the first {SHOWN} completions; from above: \
         {names}.\n"
    );
    let mut sheets = Vec::new();
    for (prompted, file, title) in
        [(false, "avatars-plain.png", "Without a prompt"), (true, "avatars-prompts.png", "With a prompt")]
    {
        let tasks: Vec<&Task> = benchmark.tasks.iter().filter(|task| task.is_prompt() == prompted).collect();
        let given: Vec<_> = tasks.iter().filter_map(|task| benchmark.given(task)).collect();
        let groups: Vec<Vec<Vec<&[u8]>>> =
            tasks.iter().zip(&given).map(|(task, given)| group(rows, benchmark, task, given)).collect();
        if groups.is_empty() {
            continue;
        }
        let told: Vec<String> = tasks.iter().map(|task| asked(rows, task)).collect();
        let _ = writeln!(text, "{title}: {}.\n\n![{title}]({file})\n", told.join("; "));
        sheets.push(sheet(file.into(), benchmark.prior.autoencoder.image_shape(benchmark.prior.shape()), &groups));
    }
    sheets
}

fn group<'a>(rows: &'a [Row], benchmark: &Benchmark, task: &Task, given: &'a [Vec<u8>; 2]) -> Vec<Vec<&'a [u8]>> {
    let line = |name: &str| {
        let row = rows.iter().find(|r| r.task == task.name && r.method == name && !r.images.is_empty());
        let images = row.into_iter().flat_map(|row| row.images.chunks_exact(given[0].len()));
        given.iter().map(Vec::as_slice).chain(images).collect()
    };
    benchmark.contenders.iter().map(|contender| line(&contender.name)).collect()
}

/// A task's name, and its prompt for the portrait that is shown.
fn asked(rows: &[Row], task: &Task) -> String {
    let prompt = rows.iter().find(|r| r.task == task.name && !r.images.is_empty()).and_then(|r| r.prompt.as_ref());
    prompt.map_or_else(|| task.name.clone(), |prompt| format!("{} “{prompt}”", task.name))
}

fn header(text: &mut String, first: &str, benchmark: &Benchmark) {
    let names = benchmark.contenders.iter().map(|c| c.name.as_str()).collect::<Vec<_>>();
    let _ = writeln!(text, "| {first} | {} |\n| --- |{}", names.join(" | "), " --- |".repeat(names.len()));
}

/// A line with a cell for each method: a mean over the rows of a task.
fn line(
    text: &mut String,
    title: &str,
    (rows, benchmark): (&[Row], &Benchmark),
    of: &dyn Fn(&Row) -> Option<f64>,
    show: &dyn Fn(Mean) -> String,
) {
    let _ = write!(text, "| {title} |");
    for contender in benchmark.contenders {
        let values: Vec<f64> = rows.iter().filter(|r| r.method == contender.name).filter_map(of).collect();
        let _ = write!(text, " {} |", if values.is_empty() { "-".into() } else { show(Mean::of(&values)) });
    }
    text.push('\n');
}

fn percent(mean: Mean) -> String {
    format!("{:.1} ± {:.1} %", 100.0 * mean.mean, 100.0 * mean.ci)
}

/// Whether a prompt with a task's row was obeyed: the share of samples in which all that it tells is read.
fn obeyed(row: &Row) -> Option<f64> {
    let all = |read: &&Vec<usize>| row.told.iter().all(|(a, v)| read[*a] == *v);
    (!row.told.is_empty()).then(|| row.read.iter().filter(all).count() as f64 / row.read.len() as f64)
}

fn prompts(text: &mut String, rows: &[Row], benchmark: &Benchmark) {
    text.push_str(
        "## Prompts obeyed\n\nA prompt tells another value of every hidden attribute; share of samples in which all of them are \
         read.\n\n",
    );
    header(text, "hidden", benchmark);
    for task in benchmark.tasks.iter().filter(|task| task.is_prompt()) {
        let told = |r: &Row| if r.task == task.name { obeyed(r) } else { None };
        line(text, task.hole.name, (rows, benchmark), &told, &percent);
    }
    line(text, "all", (rows, benchmark), &obeyed, &percent);
    let each = |row: &Row| {
        let right = row.read.iter().flat_map(|read| row.told.iter().filter(|(a, v)| read[*a] == *v)).count();
        (!row.told.is_empty()).then(|| right as f64 / (row.read.len() * row.told.len()) as f64)
    };
    line(text, "attribute by attribute", (rows, benchmark), &each, &percent);
    text.push('\n');
}

fn kept(text: &mut String, rows: &[Row], benchmark: &Benchmark) {
    text.push_str(
        "## Visible attributes kept\n\nShare of visible attributes that are read as they are in the portrait, with prompts and \
         without; and the PSNR (median of samples) of the known part as the decoder made it, before known pixels are put back.\n\n",
    );
    header(text, "task", benchmark);
    let share = |r: &Row| {
        let task = benchmark.tasks.iter().find(|task| task.name == r.task)?;
        let truth = &benchmark.portraits[r.portrait].attributes;
        let visible = &task.hole.visible;
        let right = r.read.iter().flat_map(|read| visible.iter().filter(move |a| read[**a] == truth[**a])).count();
        Some(right as f64 / (r.read.len() * visible.len()) as f64)
    };
    for task in benchmark.tasks {
        let of = |r: &Row| if r.task == task.name { share(r) } else { None };
        line(text, &task.name, (rows, benchmark), &of, &percent);
    }
    line(text, "all", (rows, benchmark), &share, &percent);
    let median = |r: &Row| {
        let mut psnr = r.known_psnr.clone();
        psnr.sort_by(f64::total_cmp);
        psnr.get(psnr.len() / 2).copied()
    };
    line(text, "known part, dB", (rows, benchmark), &median, &|mean| format!("{mean:.1}"));
    text.push('\n');
}

/// What is shown of a row.
type Measure = fn(&Row) -> f64;

fn cost(text: &mut String, rows: &[Row], benchmark: &Benchmark) {
    text.push_str("## Cost of a sample\n\nSeconds are for one portrait with all threads busy on others.\n\n");
    header(text, "", benchmark);
    let measures: [(&str, Measure); 4] = [
        ("forward calls", |r| r.calls as f64),
        ("vector-Jacobian products", |r| r.vjps as f64),
        ("cost in forward calls", |r| (r.calls + 2 * r.vjps) as f64),
        ("seconds", |r| r.seconds),
    ];
    for (title, measure) in measures {
        let each = |r: &Row| Some(measure(r) / r.read.len() as f64);
        line(text, title, (rows, benchmark), &each, &|mean| format!("{:.2}", mean.mean));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn obedience_by_hand() {
        let row = |told: Vec<(usize, usize)>| Row {
            task: "t".into(),
            portrait: 0,
            method: "m".into(),
            prompt: None,
            told,
            read: vec![vec![1, 2], vec![1, 0], vec![0, 2], vec![1, 2]],
            known_psnr: vec![],
            calls: 0,
            vjps: 0,
            seconds: 0.0,
            images: vec![],
        };
        assert_eq!(obeyed(&row(vec![(0, 1), (1, 2)])), Some(0.5));
        assert_eq!(obeyed(&row(vec![(1, 2)])), Some(0.75));
        assert_eq!(obeyed(&row(vec![])), None);
    }
}
