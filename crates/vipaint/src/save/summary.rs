//! Mean and standard deviation of the samples' hidden values, one sample at a time (Welford, 1962).

#[derive(Debug, Default)]
pub(super) struct Summary {
    count: usize,
    mean: Vec<f32>,
    squares: Vec<f32>,
}

impl Summary {
    pub fn add(&mut self, values: Vec<f32>) {
        self.count += 1;
        if self.count == 1 {
            self.squares = vec![0.0; values.len()];
            self.mean = values;
            return;
        }
        let share = 1.0 / self.count as f32;
        for ((mean, square), value) in self.mean.iter_mut().zip(&mut self.squares).zip(values) {
            let gap = value - *mean;
            *mean += gap * share;
            *square += gap * (value - *mean);
        }
    }

    pub fn mean(&self) -> &[f32] {
        &self.mean
    }

    /// Of a sample from the distribution; 0 if there is but one.
    pub fn deviation(&self) -> Vec<f32> {
        let freedom = (self.count.max(2) - 1) as f32;
        self.squares.iter().map(|square| (square / freedom).max(0.0).sqrt()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_three_numbers() {
        let mut summary = Summary::default();
        for value in [1.0, 2.0, 6.0] {
            summary.add(vec![value]);
        }
        assert!((summary.mean()[0] - 3.0).abs() < 1e-6);
        assert!((summary.deviation()[0] - 7f32.sqrt()).abs() < 1e-6);
    }
}
