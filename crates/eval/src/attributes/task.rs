//! What is asked of a method: to complete some portraits under a mask, with a prompt or without.

use rand::RngExt;
use vipaint_core::noise::stream;

use super::{Portrait, World};
use crate::Result;

/// A mask with what it hides.
pub struct Hole {
    /// Its name.
    pub name: &'static str,
    /// 1 where known, `[c, h, w]`.
    pub known: Vec<f32>,
    /// Attributes that cannot be seen.
    pub hidden: Vec<usize>,
    /// Attributes that can be seen; some may be neither.
    pub visible: Vec<usize>,
}

/// What is to be found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Whether a prompt that tells every hidden attribute is obeyed.
    Prompt,
    /// How the hidden attributes are distributed where these visible ones, pairs of attribute and value, are the same.
    Distribution(Vec<(usize, usize)>),
}

/// Portraits under a mask.
pub struct Task {
    /// Its name, unique.
    pub name: String,
    /// The mask.
    pub hole: Hole,
    /// What is to be found out.
    pub question: Question,
    /// Indices of the portraits.
    pub portraits: Vec<usize>,
    /// Samples for each.
    pub samples: usize,
}

/// Which portraits are taken.
#[derive(Clone, Copy)]
pub struct Portraits<'a> {
    /// All there are.
    pub all: &'a [Portrait],
    /// The first that may be taken.
    pub skip: usize,
    /// How many at most.
    pub most: usize,
}

/// The random stream of prompts.
const PURPOSE_PROMPT: u64 = 0xa77;

impl Task {
    /// The first portraits that suit the question.
    pub fn new(hole: Hole, question: Question, of: Portraits<'_>, samples: usize, world: &World) -> Self {
        let suits = |portrait: &Portrait| match &question {
            Question::Prompt => true,
            Question::Distribution(same) => same.iter().all(|(a, v)| portrait.attributes[*a] == *v),
        };
        let suitable = of.all.iter().enumerate().skip(of.skip).filter(|(_, p)| suits(p));
        let chosen = suitable.map(|(i, _)| i).take(of.most).collect();
        let name = match &question {
            Question::Prompt => format!("{}, prompt", hole.name),
            Question::Distribution(same) => {
                let told: Vec<_> =
                    same.iter().map(|(a, v)| format!("{} {}", world.name(*a), world.value_name(*a, *v))).collect();
                format!("{}, {}", hole.name, told.join(", "))
            }
        };
        Self { name, hole, question, portraits: chosen, samples }
    }

    /// Whether it asks for a prompt to be obeyed.
    pub fn is_prompt(&self) -> bool {
        self.question == Question::Prompt
    }

    /// What the prompt for a portrait tells, drawn from what is possible beside the visible attributes, and unlike the portrait
    /// where that is possible; nothing without a prompt.
    pub fn told(&self, world: &World, attributes: &[usize], seed: u64) -> Vec<(usize, usize)> {
        if !self.is_prompt() {
            return Vec::new();
        }
        let mut rng = stream(seed, PURPOSE_PROMPT, 0);
        let mut known: Vec<Option<usize>> = vec![None; world.len()];
        for a in &self.hole.visible {
            known[*a] = Some(attributes[*a]);
        }
        let mut told = Vec::new();
        for a in &self.hole.hidden {
            let p = world.conditional(&known, &[*a]);
            let possible: Vec<usize> = (0..p.len()).filter(|v| p[*v] > 0.0).collect();
            let other: Vec<usize> = possible.iter().copied().filter(|v| *v != attributes[*a]).collect();
            let choice = if other.is_empty() { &possible } else { &other };
            // Something is always possible beside what was drawn before it.
            let value = choice[rng.random_range(0..choice.len())];
            known[*a] = Some(value);
            told.push((*a, value));
        }
        told
    }
}

/// As many descriptions as `count`, drawn from a distribution: its histogram.
pub(super) fn exact_draws(p: &[f64], count: usize, seed: u64) -> Vec<f64> {
    let mut rng = stream(seed, PURPOSE_PROMPT, 1);
    let mut histogram = vec![0.0; p.len()];
    for _ in 0..count {
        let mut left: f64 = rng.random();
        let drawn = p.iter().position(|p| {
            left -= p;
            left < 0.0
        });
        // Rounding may leave a last bit over.
        histogram[drawn.unwrap_or(p.len() - 1)] += 1.0 / count as f64;
    }
    histogram
}

/// Looks up names.
///
/// # Errors
/// [`crate::Error::World`] for one that is not known.
pub fn named(world: &World, pairs: &[(&str, &str)]) -> Result<Vec<(usize, usize)>> {
    let look = |(attribute, value): &(&str, &str)| {
        let attribute = world.attribute(attribute)?;
        Ok((attribute, world.value(attribute, value)?))
    };
    pairs.iter().map(look).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
        [[attribute]]
        name = "hair"
        p.any = [0.25, 0.75]
        values = [{ name = "long" }, { name = "none" }]
        [[attribute]]
        name = "colour"
        parent = "hair"
        p.any = [0.3, 0.3, 0.4, 0]
        p.none = [0, 0, 0, 1]
        values = [{ name = "red" }, { name = "grey" }, { name = "blue" }, { name = "hidden" }]
    "#;

    fn task(question: Question, skip: usize) -> Task {
        let world = World::parse(TABLE).unwrap();
        let hole = Hole { name: "all", known: vec![1.0, 0.0], hidden: vec![0, 1], visible: vec![] };
        let portrait = |hair, colour| Portrait { pixels: vec![0.0; 2], attributes: vec![hair, colour] };
        let portraits = [portrait(0, 0), portrait(1, 3), portrait(0, 2), portrait(0, 1)];
        Task::new(hole, question, Portraits { all: &portraits, skip, most: 2 }, 5, &world)
    }

    #[test]
    fn prompts_tell_what_is_possible_and_new() {
        let world = World::parse(TABLE).unwrap();
        let task = task(Question::Prompt, 0);
        assert_eq!((task.portraits.as_slice(), task.name.as_str()), (&[0, 1][..], "all, prompt"));
        for seed in 0..20 {
            // Not bald: the colour must be one, and another than the portrait's unless it has none.
            let told = task.told(&world, &[1, 3], seed);
            assert_eq!(told[0], (0, 0));
            assert!(told[1].0 == 1 && told[1].1 < 3, "{told:?}");
            // Bald, for which the only colour is hidden.
            assert_eq!(task.told(&world, &[0, 0], seed), [(0, 1), (1, 3)]);
        }
    }

    #[test]
    fn distributions_take_portraits_that_share_the_values() {
        let world = World::parse(TABLE).unwrap();
        let long = || Question::Distribution(named(&world, &[("hair", "long")]).unwrap());
        assert_eq!(task(long(), 1).portraits, [2, 3]);
        let task = task(long(), 0);
        assert_eq!((task.portraits.as_slice(), task.name.as_str()), (&[0, 2][..], "all, hair long"));
        assert!(task.told(&world, &[0, 0], 0).is_empty());
        assert!(named(&world, &[("hair", "short")]).is_err());
    }

    #[test]
    fn exact_draws_are_drawn_from_the_distribution() {
        let p = [0.5, 0.3, 0.0, 0.2];
        let drawn = exact_draws(&p, 10_000, 1);
        assert!((drawn.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        // Five standard errors.
        assert!(drawn.iter().zip(&p).all(|(d, p)| (d - p).abs() <= 5.0 * (p * (1.0 - p) / 1e4).sqrt()), "{drawn:?}");
        assert_ne!(drawn, exact_draws(&p, 10_000, 2));
    }
}
