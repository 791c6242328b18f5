//! How far hidden attributes of samples are from their true conditional distribution.

use std::fmt::Write as _;

use rand::RngExt;
use vipaint_core::noise::stream;

use super::task::exact_draws;
use super::{Benchmark, Question, Row, World};

/// Sets of exact draws whose mean distance is the floor.
const FLOORS: u64 = 50;
/// Times that portraits are drawn again for the interval of a lead (Efron's bootstrap), and their random stream.
const AGAIN: u64 = 400;
const PURPOSE: u64 = 0xb007;

/// An attribute, or two that depend on each other, whose distribution is looked at.
pub(super) struct Look {
    pub of: Vec<usize>,
    pub exact: Vec<f64>,
    /// Whether its distribution is not that which it has without what is visible, or of attributes that depend on each other.
    pub dependent: bool,
}

/// What there is to look at among `hidden` attributes, given the known ones.
pub(super) fn looks_at(world: &World, known: &[Option<usize>], hidden: &[usize]) -> Vec<Look> {
    let pairs = hidden.iter().flat_map(|a| hidden.iter().filter(move |b| a < b).map(move |b| vec![*a, *b]));
    let look = |of: Vec<usize>| {
        let exact = world.conditional(known, &of);
        let without: Vec<f64> = match of[..] {
            [a, b] => {
                let (p, q) = (world.conditional(known, &[a]), world.conditional(known, &[b]));
                p.iter().flat_map(|p| q.iter().map(move |q| p * q)).collect()
            }
            _ => world.conditional(&[], &of),
        };
        let dependent = total_variation(&exact, &without) > 0.02;
        Look { of, exact, dependent }
    };
    let looks = hidden.iter().map(|a| vec![*a]).chain(pairs).map(look);
    looks.filter(|look| look.of.len() == 1 || look.dependent).collect()
}

/// Total variation.
pub(super) fn total_variation(p: &[f64], q: &[f64]) -> f64 {
    0.5 * p.iter().zip(q).map(|(p, q)| (p - q).abs()).sum::<f64>()
}

/// How often each place of the joint distribution of `of` was read.
pub(super) fn histogram(read: &[&Vec<usize>], of: &[usize], world: &World) -> Vec<f64> {
    let mut histogram = vec![0.0; of.iter().map(|a| world.values(*a)).product()];
    for one in read {
        histogram[world.place(one, of)] += 1.0 / read.len() as f64;
    }
    histogram
}

/// The mean distance of as many exact draws.
pub(super) fn floor(exact: &[f64], count: usize) -> f64 {
    let one = |seed| total_variation(&exact_draws(exact, count.max(1), seed), exact);
    (0..FLOORS).map(one).sum::<f64>() / FLOORS as f64
}

/// A line of a table: a look, with each method's histogram for each portrait.
struct Line {
    title: String,
    look: Look,
    samples: usize,
    /// Methods, then portraits, then places; each portrait's shares add up to 1.
    shares: Vec<Vec<Vec<f64>>>,
}

impl Line {
    /// The distance of a method's samples over these portraits (as often as they are named).
    fn distance(&self, method: usize, portraits: &[usize]) -> f64 {
        let shares = &self.shares[method];
        let mean = |place: usize| portraits.iter().map(|p| shares[*p][place]).sum::<f64>() / portraits.len() as f64;
        total_variation(&(0..self.look.exact.len()).map(mean).collect::<Vec<_>>(), &self.look.exact)
    }

    /// All portraits, once.
    fn once(&self) -> Vec<usize> {
        (0..self.shares[0].len()).collect()
    }

    /// As many portraits, drawn with replacement.
    fn again(&self, seed: u64) -> Vec<usize> {
        let (n, mut rng) = (self.shares[0].len(), stream(seed, PURPOSE, n_of(&self.title)));
        (0..n).map(|_| rng.random_range(0..n)).collect()
    }
}

/// A stream for each task: the same portraits for all that is looked at in it.
fn n_of(title: &str) -> u64 {
    let task = title.split(": ").next().unwrap_or(title);
    task.bytes().fold(0, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)))
}

fn lines(rows: &[Row], benchmark: &Benchmark) -> Vec<Line> {
    let world = benchmark.world;
    let mut lines = Vec::new();
    for task in benchmark.tasks {
        let Question::Distribution(same) = &task.question else { continue };
        let mut known = vec![None; world.len()];
        for (a, v) in same {
            known[*a] = Some(*v);
        }
        for look in looks_at(world, &known, &task.hole.hidden) {
            let shares = |method: &str, portrait: usize| {
                let row = rows.iter().find(|r| r.task == task.name && r.portrait == portrait && r.method == method)?;
                Some(histogram(&row.read.iter().collect::<Vec<_>>(), &look.of, world))
            };
            let all = (benchmark.contenders.iter())
                .map(|c| task.portraits.iter().map(|p| shares(&c.name, *p)).collect::<Option<Vec<_>>>());
            // Rows are complete but for those of a run that was stopped, which makes no page.
            let Some(shares) = all.collect::<Option<Vec<_>>>().filter(|s| !s.is_empty()) else { continue };
            let of: Vec<&str> = look.of.iter().map(|a| world.name(*a)).collect();
            let title = format!("{}: {}", task.name, of.join(" and "));
            lines.push(Line { title, look, samples: task.samples * task.portraits.len(), shares });
        }
    }
    lines
}

/// The page's section.
pub(super) fn section(text: &mut String, rows: &[Row], benchmark: &Benchmark) {
    let lines = lines(rows, benchmark);
    if lines.is_empty() {
        return;
    }
    let (dependent, other): (Vec<&Line>, Vec<&Line>) = lines.iter().partition(|line| line.look.dependent);
    let all: Vec<&Line> = lines.iter().collect();
    for (title, lines) in [
        ("Hidden attributes that nothing visible tells of", other),
        (
            "Hidden attributes that depend on visible ones, and pairs of hidden ones that depend on each other",
            dependent,
        ),
    ] {
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "## {title}\n\nTotal variation between the distribution of samples without a prompt, over all portraits of a task, and \
             the true conditional distribution; *exact* is the mean distance of as many exact draws.\n"
        );
        table(text, &lines, benchmark);
    }
    let _ = writeln!(
        text,
        "## Who leads\n\nOver all lines of both tables. The lead of `{}` is the other's mean distance minus its own; intervals are 95 %, \
         by drawing portraits again.\n",
        benchmark.contenders[0].name
    );
    leads(text, &all, benchmark);
}

fn table(text: &mut String, lines: &[&Line], benchmark: &Benchmark) {
    let names = benchmark.contenders.iter().map(|c| c.name.as_str()).collect::<Vec<_>>();
    let rule = " --- |".repeat(names.len());
    let _ = writeln!(text, "| task: hidden | samples | exact | {} |\n| --- | --- | --- |{rule}", names.join(" | "));
    let mut sums = vec![0.0; names.len() + 1];
    for line in lines {
        let found: Vec<f64> = (0..names.len()).map(|m| line.distance(m, &line.once())).collect();
        let floor = floor(&line.look.exact, line.samples);
        let best = found.iter().copied().fold(f64::INFINITY, f64::min);
        let cells: Vec<String> =
            found.iter().map(|d| if *d == best { format!("**{d:.3}**") } else { format!("{d:.3}") }).collect();
        let _ = writeln!(text, "| {} | {} | {floor:.3} | {} |", line.title, line.samples, cells.join(" | "));
        sums.iter_mut().zip([floor].into_iter().chain(found)).for_each(|(sum, d)| *sum += d / lines.len() as f64);
    }
    let means: Vec<String> = sums.iter().map(|mean| format!("{mean:.3}")).collect();
    let _ = writeln!(text, "| mean | | {} |\n", means.join(" | "));
}

fn leads(text: &mut String, lines: &[&Line], benchmark: &Benchmark) {
    let methods = benchmark.contenders.len();
    let mean = |method: usize, portraits: &dyn Fn(&Line) -> Vec<usize>| {
        lines.iter().map(|line| line.distance(method, &portraits(line))).sum::<f64>() / lines.len() as f64
    };
    text.push_str("| method | mean distance | best of | lead |\n| --- | --- | --- | --- |\n");
    for method in 0..methods {
        let best = |line: &&&Line| {
            let own = line.distance(method, &line.once());
            (0..methods).all(|other| own <= line.distance(other, &line.once()))
        };
        let lead = |portraits: &dyn Fn(&Line) -> Vec<usize>| mean(method, portraits) - mean(0, portraits);
        let again: Vec<f64> = (0..AGAIN).map(|seed| lead(&|line: &Line| line.again(seed))).collect();
        let centre = again.iter().sum::<f64>() / AGAIN as f64;
        let spread = (again.iter().map(|l| (l - centre).powi(2)).sum::<f64>() / (AGAIN - 1) as f64).sqrt();
        let lead = match method {
            0 => "-".into(),
            _ => format!("{:.3} ± {:.3}", lead(&Line::once), 1.96 * spread),
        };
        let _ = writeln!(
            text,
            "| {} | {:.3} | {} of {} | {lead} |",
            benchmark.contenders[method].name,
            mean(method, &Line::once),
            lines.iter().filter(best).count(),
            lines.len()
        );
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(shares: Vec<Vec<Vec<f64>>>) -> Line {
        let look = Look { of: vec![0], exact: vec![0.5, 0.5], dependent: false };
        Line { title: "task: what".into(), look, samples: 4, shares }
    }

    #[test]
    fn distances_by_hand() {
        assert!((total_variation(&[0.5, 0.5, 0.0], &[0.25, 0.25, 0.5]) - 0.5).abs() < 1e-12);
        // Two portraits that err to either side: together they are right, and one of them twice is not.
        let line = line(vec![vec![vec![1.0, 0.0], vec![0.0, 1.0]]]);
        assert!(line.distance(0, &line.once()) < 1e-12);
        assert!((line.distance(0, &[1, 1]) - 0.5).abs() < 1e-12);
        assert!((0..50).any(|seed| line.again(seed) != line.once()));
    }

    #[test]
    fn the_floor_falls_with_the_square_root_of_the_draws() {
        // E |share - 1/2| of n fair coins is 1 / sqrt(2 pi n); a fifth of it is five standard errors of 50 sets.
        for n in [100, 1600] {
            let expected = (2.0 * std::f64::consts::PI * f64::from(n)).sqrt().recip();
            assert!((floor(&[0.5, 0.5], n as usize) / expected - 1.0).abs() < 0.5, "{n}");
        }
    }
}
