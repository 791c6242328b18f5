//! The results page: prompts obeyed, visible attributes kept, and distances from true distributions.

use std::fmt::Write as _;

use super::task::exact_draws;
use super::{Benchmark, Question, Row, Task};
use crate::stats::Mean;

/// Sets of exact draws whose mean distance is the floor.
const FLOORS: u64 = 50;

/// The page. `command` is what regenerates it.
pub fn markdown(rows: &[Row], benchmark: &Benchmark, command: &str) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        "# Completions of portraits whose truth is known, prior `{}`\n\nMade by `{command}`.\n\n\
         Held-out portraits whose attributes are known, drawn from a distribution that is declared; attributes of completions, with \
         known pixels put back, are read off by a classifier. Every method may spend about {} forward calls a sample, the fit's \
         share included, and a vector-Jacobian product counts as two more; seed {}, sigma_y {}, cfg_scale {} with a prompt and \
         1 without, for every method. Intervals are 95 % over portraits.\n",
        benchmark.prior.name, benchmark.cost, benchmark.seed, benchmark.sigma_y, benchmark.cfg_scale
    );
    prompts(&mut text, rows, benchmark);
    kept(&mut text, rows, benchmark);
    distances(&mut text, rows, benchmark);
    cost(&mut text, rows, benchmark);
    text
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
    let asked = |task: &&Task| task.question == Question::Prompt;
    for task in benchmark.tasks.iter().filter(asked) {
        let told = |r: &Row| if r.task == task.name { obeyed(r) } else { None };
        line(text, task.hole.name, (rows, benchmark), &told, &percent);
    }
    line(text, "all", (rows, benchmark), &obeyed, &percent);
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

/// An attribute, or two that depend on each other, whose distribution in a task is looked at.
struct Look<'a> {
    task: &'a Task,
    of: Vec<usize>,
    exact: Vec<f64>,
    /// Whether its distribution is not that which it has without what is visible, or of attributes that depend on each other.
    dependent: bool,
}

fn looks<'a>(benchmark: &'a Benchmark) -> Vec<Look<'a>> {
    let world = benchmark.world;
    let mut looks = Vec::new();
    for task in benchmark.tasks {
        let Question::Distribution(same) = &task.question else { continue };
        let mut known = vec![None; world.len()];
        for (a, v) in same {
            known[*a] = Some(*v);
        }
        let hidden = &task.hole.hidden;
        let pairs = hidden.iter().flat_map(|a| hidden.iter().filter(move |b| a < b).map(move |b| vec![*a, *b]));
        for of in hidden.iter().map(|a| vec![*a]).chain(pairs) {
            let exact = world.conditional(&known, &of);
            let without: Vec<f64> = match of[..] {
                [a, b] => {
                    let (p, q) = (world.conditional(&known, &[a]), world.conditional(&known, &[b]));
                    p.iter().flat_map(|p| q.iter().map(move |q| p * q)).collect()
                }
                _ => world.conditional(&[], &of),
            };
            let dependent = distance(&exact, &without) > 0.02;
            if of.len() == 1 || dependent {
                looks.push(Look { task, of, exact, dependent });
            }
        }
    }
    looks
}

/// Total variation.
fn distance(p: &[f64], q: &[f64]) -> f64 {
    0.5 * p.iter().zip(q).map(|(p, q)| (p - q).abs()).sum::<f64>()
}

/// The distance of a method's samples, over all portraits of the task, and how many there are.
fn distance_of(look: &Look, rows: &[Row], method: &str, benchmark: &Benchmark) -> Option<(f64, usize)> {
    let rows = rows.iter().filter(|r| r.task == look.task.name && r.method == method);
    let read: Vec<&Vec<usize>> = rows.flat_map(|r| &r.read).collect();
    let mut histogram = vec![0.0; look.exact.len()];
    for one in &read {
        histogram[benchmark.world.place(one, &look.of)] += 1.0 / read.len() as f64;
    }
    (!read.is_empty()).then(|| (distance(&histogram, &look.exact), read.len()))
}

fn distances(text: &mut String, rows: &[Row], benchmark: &Benchmark) {
    let looks = looks(benchmark);
    for (dependent, title) in [
        (false, "Hidden attributes that nothing visible tells of"),
        (true, "Hidden attributes that depend on visible ones, and pairs of hidden ones that depend on each other"),
    ] {
        let _ = writeln!(
            text,
            "## {title}\n\nTotal variation between the distribution of samples without a prompt, over all portraits of a task, and \
             the true conditional distribution; *exact* is the mean distance of as many exact draws.\n"
        );
        let names = benchmark.contenders.iter().map(|c| c.name.as_str()).collect::<Vec<_>>();
        let _ = writeln!(
            text,
            "| task: hidden | samples | exact | {} |\n| --- | --- | --- |{}",
            names.join(" | "),
            " --- |".repeat(names.len())
        );
        let mut sums = vec![(0.0, 0usize); names.len() + 1];
        for look in looks.iter().filter(|look| look.dependent == dependent) {
            let of: Vec<&str> = look.of.iter().map(|a| benchmark.world.name(*a)).collect();
            let found: Vec<_> = names.iter().map(|name| distance_of(look, rows, name, benchmark)).collect();
            let count = found.iter().flatten().map(|(_, n)| *n).max().unwrap_or(0);
            let floor = (0..FLOORS)
                .map(|seed| distance(&exact_draws(&look.exact, count.max(1), seed), &look.exact))
                .sum::<f64>()
                / FLOORS as f64;
            let _ = write!(text, "| {}: {} | {count} | {floor:.3} |", look.task.name, of.join(" and "));
            let best = found.iter().flatten().map(|(d, _)| *d).fold(f64::INFINITY, f64::min);
            sums[0] = (sums[0].0 + floor, sums[0].1 + 1);
            for (found, sum) in found.iter().zip(&mut sums[1..]) {
                let cell = match found {
                    None => "-".into(),
                    Some((d, _)) => {
                        *sum = (sum.0 + d, sum.1 + 1);
                        if *d == best { format!("**{d:.3}**") } else { format!("{d:.3}") }
                    }
                };
                let _ = write!(text, " {cell} |");
            }
            text.push('\n');
        }
        let means: Vec<String> =
            sums.iter().map(|(sum, n)| if *n == 0 { "-".into() } else { format!("{:.3}", sum / *n as f64) }).collect();
        let _ = writeln!(text, "| mean | | {} |\n", means.join(" | "));
    }
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
    fn distance_and_obedience_by_hand() {
        assert!((distance(&[0.5, 0.5, 0.0], &[0.25, 0.25, 0.5]) - 0.5).abs() < 1e-12);
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
        };
        assert_eq!(obeyed(&row(vec![(0, 1), (1, 2)])), Some(0.5));
        assert_eq!(obeyed(&row(vec![(1, 2)])), Some(0.75));
        assert_eq!(obeyed(&row(vec![])), None);
    }
}
