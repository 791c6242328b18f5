//! Methods at equal cost: each spends what its own options leave of a budget.

use serde_json::{Map, Value};
use vipaint_core::Error;
use vipaint_core::sampler::{
    Correction, Method, RePaint, RePaintOptions, RefineOptions, Resample, ResampleOptions, Sampler, method,
};

use crate::Result;

/// What a method may spend on one picture; a vector-Jacobian product costs two calls more than the forward call it needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Cost in forward calls.
    pub cost: u64,
    /// Samples to draw.
    pub samples: u64,
    /// Whether samples are drawn with a `cfg_scale` other than 1: a step costs two calls then, one of a fit does not.
    pub guided: bool,
}

/// A method with some of its options; the rule of its method sets what is left so that it spends the budget.
pub struct Contender {
    /// The text it was made from, a row's name.
    pub name: String,
    /// Its method.
    pub method: &'static Method,
    given: Vec<(String, String)>,
}

impl Budget {
    /// Forward calls that a step of a sample needs.
    fn calls(&self) -> u64 {
        if self.guided { 2 } else { 1 }
    }
}

impl Contender {
    /// From `METHOD [option=value ...]`, such as `vipaint k=2`; a list's items are joined by `+` (`keypoints=2+1`).
    ///
    /// # Errors
    /// An unknown method or option, or a value outside its domain.
    pub fn parse(text: &str) -> Result<Self> {
        let mut words = text.split_whitespace();
        let method = method(words.next().unwrap_or_default())?;
        let given = words
            .map(|word| {
                let (key, value) = word.split_once('=').ok_or_else(|| Error::Option {
                    name: "methods",
                    problem: format!("{word:?} in {text:?} is not option=value"),
                })?;
                let list = (method.defaults)().get(key).is_some_and(Value::is_array);
                Ok((key.to_owned(), if list { value.replace('+', ",") } else { value.to_owned() }))
            })
            .collect::<Result<Vec<_>>>()?;
        let contender = Self { name: text.split_whitespace().collect::<Vec<_>>().join(" "), method, given };
        contender.sampler(&Budget { cost: 1000, samples: 1, guided: false })?;
        Ok(contender)
    }

    /// The options within a budget.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn options(&self, budget: &Budget) -> Result<Map<String, Value>> {
        let mut options = (self.method.defaults)();
        self.set(&mut options)?;
        if let Some((_, spend)) = RULES.iter().find(|(name, _)| *name == self.method.name) {
            let ruled = spend(budget, &options, &|key| self.given.iter().any(|(given, _)| given == key));
            options.extend(ruled.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
            self.set(&mut options)?;
            options
                .extend(ruled.into_iter().filter(|(key, _)| CAPPED.contains(key)).map(|(key, v)| (key.to_owned(), v)));
        }
        Ok(options)
    }

    /// The sampler within a budget.
    ///
    /// # Errors
    /// An option outside its domain.
    pub fn sampler(&self, budget: &Budget) -> Result<Box<dyn Sampler>> {
        Ok((self.method.build)(self.options(budget)?)?)
    }

    fn set(&self, options: &mut Map<String, Value>) -> Result<()> {
        for (key, value) in &self.given {
            self.method.set(options, key, value)?;
        }
        Ok(())
    }
}

/// Options that follow from a budget and the other options; the function says which of them were given.
type Rule = fn(&Budget, &Map<String, Value>, &dyn Fn(&str) -> bool) -> Vec<(&'static str, Value)>;

/// Options whose given values are heeded by the rule, as the most that it may take.
const CAPPED: [&str; 1] = ["init_samples"];

/// The rule of each method.
const RULES: &[(&str, Rule)] = &[
    ("vipaint", vipaint),
    ("dps", |b, _, _| steps(b, 3)),
    ("repaint", repaint),
    ("pigdm", |b, _, _| steps(b, 3)),
    ("ddnm", |b, _, _| steps(b, 1)),
    ("reddiff", |b, _, _| steps(b, 1)),
    ("daps", |b, options, _| steps(b, count(options, "ode_steps"))),
    // One filter gives all samples.
    ("mcgdiff", |b, _, _| [steps(b, 1), vec![("particles", b.samples.into())]].concat()),
    ("blended", |b, _, _| steps(b, 1)),
    ("psld", |b, _, _| steps(b, 3)),
    ("resample", resample),
    ("unconditional", |b, _, _| steps(b, 1)),
];

fn count(options: &Map<String, Value>, key: &str) -> u64 {
    options.get(key).and_then(Value::as_u64).unwrap_or_default()
}

/// Not more than 45 % of the budget goes into drawing and 35 % into the start values, up to the default steps of both (or as many
/// steps of refinement as are given); the rest goes into iterations of the fit. Where their number is given, drawing takes what they
/// leave. Log-weights are left out: they do not change the samples.
fn vipaint(budget: &Budget, options: &Map<String, Value>, given: &dyn Fn(&str) -> bool) -> Vec<(&'static str, Value)> {
    let of = |key: &str| count(options, key);
    if of("particles") > 0 && !is(options, "proposal", "chain") {
        return particles(budget, options);
    }
    let listed = options.get("keypoints").and_then(Value::as_array).map_or(0, Vec::len) as u64;
    let k = if listed > 0 { listed } else { of("k").max(1) };
    let step = 3 * (of("mc_samples") * k + of("prior_steps") * of("prior_samples"));
    let start = 3 * of("init_steps").max(1);
    let init_samples = (budget.cost * 35 / 100 / start).max(1).min(of("init_samples"));
    let draws = budget.samples * budget.calls();
    let drawn = of_correction(options);
    let before = init_samples * start + draws * (k - 1);
    let refine = if given("refine_steps") {
        of("refine_steps")
    } else if given("iterations") {
        budget.cost.saturating_sub(before + of("iterations") * step) / (drawn * draws)
    } else {
        (budget.cost * 45 / 100 / (drawn * draws)).min(RefineOptions::default().refine_steps as u64)
    };
    let refine = refine.max(1);
    let iterations = budget.cost.saturating_sub(before + draws * drawn * refine) / step.max(1);
    vec![
        ("iterations", iterations.into()),
        ("refine_steps", refine.into()),
        ("init_samples", init_samples.into()),
        ("weights", false.into()),
    ]
}

/// What a step costs with its correction.
fn of_correction(options: &Map<String, Value>) -> u64 {
    let correction: Option<Correction> = options.get("correction").and_then(|c| serde_json::from_value(c.clone()).ok());
    correction.unwrap_or(Correction::Inside).cost(count(options, "refine_directions") as usize) as u64
}

fn is(options: &Map<String, Value>, key: &str, word: &str) -> bool {
    options.get(key).and_then(Value::as_str) == Some(word)
}

/// Particles whose paths need no fit: 75 % of a sample's budget go into its paths (60 % without the Jacobian), the rest into refinement.
/// The whole Jacobian's cost depends on the measurement: its steps are as given.
fn particles(budget: &Budget, options: &Map<String, Value>) -> Vec<(&'static str, Value)> {
    if is(options, "widen", "jacobian") {
        return Vec::new();
    }
    let (of, krylov) = (|key: &str| count(options, key), is(options, "widen", "krylov"));
    let (look, refinement) = if krylov {
        (1 + of("directions"), 2 + of("directions"))
    } else {
        (of_correction(options), of_correction(options))
    };
    // Members that others may be resampled from are worked out even if they are not asked for.
    let alone = of("paths") <= 1 && options.get("resample_below").and_then(Value::as_f64) == Some(0.0);
    let drawn = if alone { budget.samples } else { budget.samples.next_multiple_of(of("particles")) };
    let each = budget.cost / drawn / budget.calls();
    let step = of("paths").max(1) * if is(options, "proposal", "prior") { 1 } else { look };
    let share = if krylov { 75 } else { 60 };
    let path_steps = (each * share / 100 / step).max(2);
    let refine = each.saturating_sub(path_steps * step) / refinement;
    vec![("path_steps", path_steps.into()), ("refine_steps", refine.max(1).into())]
}

/// As many steps of this cost as the budget pays for each sample; a gradient costs three.
fn steps(budget: &Budget, cost: u64) -> Vec<(&'static str, Value)> {
    vec![("steps", (budget.cost / budget.samples / budget.calls() / cost.max(1)).max(1).into())]
}

/// A gradient in each step, and what looks ahead.
fn resample(budget: &Budget, options: &Map<String, Value>, _: &dyn Fn(&str) -> bool) -> Vec<(&'static str, Value)> {
    let each = (budget.cost / budget.samples / budget.calls()) as usize;
    let (interval, ahead) = (count(options, "interval") as usize, count(options, "ahead") as usize);
    let spent = |steps: usize| {
        let options = ResampleOptions { steps, interval, ahead, ..ResampleOptions::default() };
        3 * steps + Resample::new(options).map_or(0, |r| r.looks())
    };
    let steps = (1..=each / 3).rev().find(|steps| spent(*steps) <= each).unwrap_or(1);
    vec![("steps", steps.into())]
}

/// Unless given, the authors' jump length relative to the number of steps (10 of 250) and ten resamplings; the steps follow
/// from the cost.
fn repaint(budget: &Budget, options: &Map<String, Value>, given: &dyn Fn(&str) -> bool) -> Vec<(&'static str, Value)> {
    let calls = budget.cost / budget.samples / budget.calls();
    let of = |key: &str, rule: usize| if given(key) { count(options, key) as usize } else { rule };
    let options = |steps: usize| RePaintOptions {
        steps,
        jump_length: of("jump_length", (steps / 25).max(1)),
        resamplings: of("resamplings", 10),
    };
    let spent = |steps: usize| {
        let walk = RePaint::new(options(steps)).map(|r| r.walk()).unwrap_or_default();
        walk.windows(2).filter(|w| w[1] > w[0]).count() as u64 + 1
    };
    let steps = (1..=250).take_while(|steps| spent(*steps) <= calls).last().unwrap_or(1);
    let o = options(steps);
    vec![("steps", o.steps.into()), ("jump_length", o.jump_length.into()), ("resamplings", o.resamplings.into())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use vipaint_core::sampler::METHODS;

    #[test]
    fn texts_become_options_within_the_budget() {
        let budget = Budget { cost: 2700, samples: 8, guided: false };
        let contender = Contender::parse("vipaint  keypoints=2+1 lr_mu=0.2").expect("it is well written");
        let options = contender.options(&budget).expect("it is within its domain");
        assert_eq!(contender.name, "vipaint keypoints=2+1 lr_mu=0.2");
        assert_eq!(options["keypoints"], serde_json::json!([2, 1]));
        assert_eq!(options["lr_mu"], serde_json::json!(0.2));
        // 8 samples x (1 hop + 25 steps with gradients), 6 start samples x 12 steps with gradients, and iterations of
        // 5 paths over 2 keypoints and 4 samples above them, all with gradients.
        let iterations = (2700 - 8 * (1 + 75) - 6 * 36) / (3 * (5 * 2 + 4));
        assert_eq!(options["iterations"], serde_json::json!(iterations));
        // As many start samples as 35 % of the budget buy, of those asked for.
        for (asked, taken) in [(3, 3), (64, 2700 * 35 / 100 / 36)] {
            let many = Contender::parse(&format!("vipaint init_samples={asked}")).expect("it is well written");
            assert_eq!(
                many.options(&budget).expect("it is within its domain")["init_samples"],
                serde_json::json!(taken)
            );
        }
        // What iterations leave: one start sample of 9 calls, and 8 samples of a gradient a step.
        let drawn =
            Contender::parse("vipaint k=1 iterations=10 init_samples=1 init_steps=3").expect("it is well written");
        let refine = (2700 - 9 - 10 * 3 * (5 + 4)) / (8 * 3);
        assert_eq!(drawn.options(&budget).expect("it is within its domain")["refine_steps"], serde_json::json!(refine));
        let krylov = "vipaint k=1 iterations=10 init_samples=1 init_steps=3 correction=krylov";
        let krylov = Contender::parse(krylov).expect("it is well written");
        let refine = (2700 - 9 - 10 * 3 * (5 + 4)) / (8 * 2);
        assert_eq!(
            krylov.options(&budget).expect("it is within its domain")["refine_steps"],
            serde_json::json!(refine)
        );
        let fixed = Contender::parse("repaint steps=30").expect("it is well written");
        assert_eq!(fixed.options(&budget).expect("it is within its domain")["steps"], serde_json::json!(30));
        let rare = Contender::parse("repaint jump_length=1 resamplings=2").expect("it is well written");
        let options = rare.options(&budget).expect("it is within its domain");
        // 337 calls a sample: n steps, and one more for each of the n - 1 jumps back but the last.
        assert_eq!((&options["jump_length"], &options["resamplings"]), (&1.into(), &2.into()));
        assert!((165..=172).contains(&options["steps"].as_u64().unwrap_or_default()), "{}", options["steps"]);
    }

    #[test]
    fn particles_spend_the_budget() {
        let budget = Budget { cost: 2700, samples: 8, guided: false };
        let text = "vipaint particles=8 proposal=guided widen=krylov directions=3 paths=1";
        let options = Contender::parse(text).and_then(|c| c.options(&budget)).expect("it is well written");
        // 337 calls: 63 steps of 1 + 3, and 17 of 2 + 3.
        assert_eq!((&options["path_steps"], &options["refine_steps"]), (&63.into(), &17.into()));
        // Six samples of populations of four are eight, unless each is on its own: 400 / 8 = 50 or 400 / 6 = 66 calls for each.
        let budget = Budget { cost: 400, samples: 6, guided: false };
        for (more, each, step) in [
            ("", 50, 3),
            (" resample_below=0", 66, 3),
            (" resample_below=0 correction=krylov", 66, 2),
            (" correction=krylov refine_directions=4", 50, 5),
        ] {
            let contender = Contender::parse(&format!("vipaint particles=4{more}")).expect("it is well written");
            let options = contender.options(&budget).expect("it is within its domain");
            let steps = |key: &str| options[key].as_u64().unwrap_or_default();
            let path = each * 60 / 100 / step;
            assert_eq!((steps("path_steps"), steps("refine_steps")), (path, (each - step * path) / step), "{more}");
        }
    }

    #[test]
    fn wrong_texts_are_refused() {
        for wrong in ["", "nothing", "dps zeta", "dps zeal=1", "dps zeta=-1", "vipaint keypoints=a"] {
            assert!(Contender::parse(wrong).is_err(), "{wrong}");
        }
        assert!(RULES.iter().all(|(name, _)| METHODS.iter().any(|m| m.name == *name)));
    }
}
