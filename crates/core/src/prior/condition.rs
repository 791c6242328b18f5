//! What a picture is conditioned on besides the measurement.

/// A condition; empty means unconditional.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Condition {
    /// Class index.
    pub class: Option<usize>,
}

impl Condition {
    /// A class.
    pub fn class(class: usize) -> Self {
        Self { class: Some(class) }
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.class.is_none()
    }
}

/// A condition with the strength it is asked for (classifier-free guidance, Ho and Salimans, 2022).
#[derive(Debug, Clone, PartialEq)]
pub struct Guidance {
    /// The condition.
    pub condition: Condition,
    /// 1 samples the conditional model itself, more exaggerates the condition.
    pub cfg_scale: f64,
}

impl Default for Guidance {
    fn default() -> Self {
        Self { condition: Condition::default(), cfg_scale: 1.0 }
    }
}
