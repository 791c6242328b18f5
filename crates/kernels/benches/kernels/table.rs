//! Measuring and printing.

use crate::machine::Machine;
use std::time::{Duration, Instant};

/// What a pass over the data is counted in.
#[derive(Clone, Copy)]
pub enum Work {
    /// As direct summation does them.
    MultiplyAdds(usize),
    /// Values that must be read and written.
    Values(usize),
}

/// A line for each kernel and shape.
pub struct Table {
    machine: Machine,
    words: Vec<String>,
    group: &'static str,
}

impl Table {
    pub fn new(machine: Machine, words: Vec<String>) -> Self {
        Self { machine, words, group: "" }
    }

    /// Measures the two passes of a kernel; without a group's name in `words`, or one in theirs, nothing.
    pub fn row(
        &mut self,
        group: &'static str,
        shape: &str,
        forward: (Work, &mut dyn FnMut()),
        vjp: (Work, &mut dyn FnMut()),
    ) {
        let wanted = |word: &String| group.contains(word.as_str()) || shape.contains(word.as_str());
        if !self.words.is_empty() && !self.words.iter().any(wanted) {
            return;
        }
        if self.group != group {
            self.group = group;
            println!("{group:40}{:>32}{:>32}", "forward", "vector-Jacobian product");
        }
        println!("  {shape:38}{}{}", self.cell(forward), self.cell(vjp));
    }

    fn cell(&self, (work, pass): (Work, &mut dyn FnMut())) -> String {
        let time = best(pass).as_secs_f64();
        let (rate, unit, most) = match work {
            Work::MultiplyAdds(count) => (count as f64 / time, "G/s", self.machine.multiply_adds),
            Work::Values(count) => (4.0 * count as f64 / time, "GB/s", self.machine.bytes),
        };
        format!("{:9.3} ms {:7.1} {unit:<4} {:4.0} %", 1e3 * time, rate / 1e9, 100.0 * rate / most)
    }
}

/// The least of several runs: other work on the machine only adds time.
pub fn best(f: &mut dyn FnMut()) -> Duration {
    let start = Instant::now();
    let mut best = Duration::MAX;
    for run in 0.. {
        let begin = Instant::now();
        f();
        best = best.min(begin.elapsed());
        if run > 3 && start.elapsed() > Duration::from_millis(200) {
            break;
        }
    }
    best
}

/// Zero-mean values from a small generator.
pub fn noise(len: usize) -> Vec<f32> {
    let mut state = 1u32;
    let mut next = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}
