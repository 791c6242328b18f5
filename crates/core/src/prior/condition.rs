//! What a picture is conditioned on besides the measurement.

use std::sync::Arc;

/// A condition; empty means unconditional.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Condition {
    /// Class index.
    pub class: Option<usize>,
    /// Embedded text.
    pub context: Option<Arc<Context>>,
}

/// A text as a network reads it: what its text encoder made of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Context {
    /// One embedding for each token, in `[length, width]` order.
    pub tokens: Vec<f32>,
    /// `[length, width]`.
    pub shape: [usize; 2],
    /// An embedding of the whole, for networks that add one to the time embedding; empty without.
    pub pooled: Vec<f32>,
}

impl Condition {
    /// A class.
    pub fn class(class: usize) -> Self {
        Self { class: Some(class), context: None }
    }

    /// A text.
    pub fn context(context: Context) -> Self {
        Self { class: None, context: Some(Arc::new(context)) }
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.class.is_none() && self.context.is_none()
    }
}

/// A condition with the strength it is asked for (classifier-free guidance, Ho and Salimans, 2022).
#[derive(Debug, Clone, PartialEq)]
pub struct Guidance {
    /// The condition.
    pub condition: Condition,
    /// What guidance leads away from: nothing in particular (the unconditional model), or a negative prompt.
    pub negative: Condition,
    /// 1 samples the conditional model itself, more exaggerates the condition.
    pub cfg_scale: f64,
}

impl Guidance {
    /// A condition, away from nothing in particular.
    pub fn new(condition: Condition, cfg_scale: f64) -> Self {
        Self { condition, negative: Condition::default(), cfg_scale }
    }
}

impl Default for Guidance {
    fn default() -> Self {
        Self::new(Condition::default(), 1.0)
    }
}
