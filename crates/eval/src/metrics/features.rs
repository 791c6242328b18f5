//! What a network sees in pictures: a row of numbers for each.

/// Rows of features, one for each picture.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features {
    width: usize,
    values: Vec<f32>,
}

impl Features {
    /// Rows of `width` values; `None` unless `values` is a whole number of rows.
    pub fn new(width: usize, values: Vec<f32>) -> Option<Self> {
        (width > 0 && values.len().is_multiple_of(width)).then_some(Self { width, values })
    }

    /// Adds the rows of another set, if they are of this width; a set without rows takes any.
    pub fn append(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
        } else if self.width == other.width {
            self.values.extend(other.values);
        }
    }

    /// Numbers in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The rows.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }
}
