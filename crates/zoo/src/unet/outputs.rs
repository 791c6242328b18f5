//! How much a call puts out, for estimates of memory.

use super::Config;

impl Config {
    /// Values that convolutions and linear maps put out in a forward call on one picture, and what else takes memory of that order in
    /// networks as small as these: features joined on the way up with their gradients, features enlarged, and the gradients that wait
    /// for the way down. Maps of a text's tokens are left out: they are small.
    pub fn outputs(&self) -> u64 {
        let cells = |level: usize| ((self.size / self.patch) >> level).pow(2);
        let residual = |a: usize, b: usize, cells: usize| cells * if a == b { 2 * b } else { 3 * b } + 2 * b;
        // Queries, keys, values and results; of a text, queries and results.
        let attention = |c: usize, cells: usize| 4 * c * cells;
        let reading = |c: usize, cells: usize| if self.context > 0 { 2 * c * cells } else { 0 };
        let stage = |a: usize, b: usize, level: usize| {
            let n = cells(level);
            let attends = self.attention.contains(&level);
            residual(a, b, n) + if attends { attention(b, n) + reading(b, n) } else { 0 }
        };
        let depth = self.channels * self.patch * self.patch;
        let (first, last) = (self.widths[0], self.widths.len() - 1);
        let mut total = 2 * self.embedding + (first + depth) * cells(0);
        let (mut c, mut skips) = (first, Vec::new());
        for (level, (&width, &blocks)) in self.widths.iter().zip(&self.blocks).enumerate() {
            total += if level > 0 { c * cells(level) } else { 0 };
            for _ in 0..blocks {
                total += stage(c, width, level);
                c = width;
                skips.push(c);
            }
        }
        total += 2 * residual(c, c, cells(last)) + attention(c, cells(last)) + reading(c, cells(last));
        for (level, (&width, &blocks)) in self.widths.iter().zip(&self.blocks).enumerate().rev() {
            total += if level < last { c * cells(level) } else { 0 };
            for _ in 0..blocks {
                let skip = skips.pop().unwrap_or(0);
                total += stage(c + skip, width, level) + (2 * (c + skip) + skip) * cells(level);
                c = width;
            }
        }
        total as u64
    }
}
