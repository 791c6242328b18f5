//! Held-out portraits of the embedded prior `avatars`, what is declared and what can be read of their attributes, and the
//! questions that `vipaint bench avatars` asks.

use serde_json::{Map, Value};
use vipaint_eval::attributes::{Hole, Portrait, Portraits, Question, Reading, Task, World, named};
use vipaint_eval::reader::Reader;

use crate::error::{Error, Result};
use crate::held_out::idx;
use crate::picture::{Keep, Mask};

const ATTRIBUTES: &str = include_str!("../../../priors/avatars/attributes.toml");
const READER: &[u8] = include_bytes!("../../../priors/avatars/reader.safetensors");
const PIXELS: &[u8] = include_bytes!("../../../priors/avatars/held-out.idx.gz");
const DESCRIPTIONS: &str = include_str!("../../../priors/avatars/held-out.jsonl");

/// What each mask hides and what it leaves to be seen; of the rest something can be seen.
const HOLES: &[(&str, &[&str], &[&str])] = &[
    ("hair", &["hair", "hair colour"], &["facial hair", "glasses", "expression", "skin", "clothes", "background"]),
    ("eyes", &["glasses"], &["hair", "hair colour", "facial hair", "skin", "clothes", "background"]),
    ("mouth", &["facial hair"], &["hair", "hair colour", "glasses", "skin", "clothes", "background"]),
    ("face", &["hair", "hair colour", "clothes", "background"], &["glasses", "expression", "skin"]),
];

/// Masks under which distributions are looked at, with what is the same in all portraits.
const DISTRIBUTIONS: &[(&str, &[(&str, &str)])] = &[
    ("hair", &[("facial hair", "none"), ("glasses", "none")]),
    ("hair", &[("facial hair", "none"), ("glasses", "sunglasses")]),
    ("eyes", &[("hair", "bun")]),
    ("mouth", &[("hair colour", "red")]),
    ("face", &[("facial hair", "none"), ("glasses", "none")]),
];

/// The declared distribution of attributes.
///
/// # Errors
/// [`Error::Input`] when the embedded table is damaged.
pub fn world() -> Result<World> {
    World::parse(ATTRIBUTES).map_err(damaged)
}

/// What reads attributes off portraits.
///
/// # Errors
/// [`Error::Input`] when it is damaged, or reads other attributes than the world's.
pub fn reader(world: &World) -> Result<Reading> {
    Reading::new(Reader::from_bytes(READER).map_err(damaged)?, world).map_err(damaged)
}

/// The portraits: values in [-1, 1], with their attributes.
///
/// # Errors
/// [`Error::Input`] when the embedded set is damaged.
pub fn portraits(world: &World) -> Result<Vec<Portrait>> {
    let (sizes, pixels) = idx(PIXELS, 4)?;
    let length = sizes[1..].iter().product::<usize>();
    let described = DESCRIPTIONS.lines().map(|line| description(world, line)).collect::<Result<Vec<_>>>()?;
    if described.len() != sizes[0] || pixels.len() != sizes[0] * length {
        return Err(damaged("there is not one description for each portrait"));
    }
    let portrait = |(pixels, attributes): (&[u8], Vec<usize>)| Portrait {
        pixels: pixels.iter().map(|p| f32::from(*p) / 127.5 - 1.0).collect(),
        attributes,
    };
    Ok(pixels.chunks_exact(length).zip(described).map(portrait).collect())
}

fn description(world: &World, line: &str) -> Result<Vec<usize>> {
    let told: Map<String, Value> = serde_json::from_str(line).map_err(damaged)?;
    let value = |a: usize| {
        let name = told.get(world.name(a)).and_then(Value::as_str).unwrap_or_default();
        world.value(a, name).map_err(damaged)
    };
    (0..world.len()).map(value).collect()
}

/// How much is asked of each method.
#[derive(Debug, Clone, Copy)]
pub struct Amounts {
    /// Portraits left out, the first ones.
    pub skip: usize,
    /// Portraits for prompts under each mask.
    pub prompted: usize,
    /// Samples for each of them.
    pub prompt_samples: usize,
    /// Portraits for each distribution.
    pub portraits: usize,
    /// Samples for each of them.
    pub samples: usize,
}

/// The questions.
///
/// # Errors
/// [`Error::Input`] when an embedded mask or the table is damaged.
pub fn tasks(world: &World, portraits: &[Portrait], amounts: Amounts) -> Result<Vec<Task>> {
    let mut tasks = Vec::new();
    for (name, _, _) in HOLES {
        let of = Portraits { all: portraits, skip: amounts.skip, most: amounts.prompted };
        tasks.push(Task::new(hole(world, name)?, Question::Prompt, of, amounts.prompt_samples, world));
    }
    for (name, same) in DISTRIBUTIONS {
        let question = Question::Distribution(named(world, same).map_err(damaged)?);
        let of = Portraits { all: portraits, skip: amounts.skip, most: amounts.portraits };
        tasks.push(Task::new(hole(world, name)?, question, of, amounts.samples, world));
    }
    tasks.retain(|task| task.samples > 0 && !task.portraits.is_empty());
    Ok(tasks)
}

fn hole(world: &World, wanted: &str) -> Result<Hole> {
    let found = HOLES.iter().find(|(name, _, _)| *name == wanted);
    let mask = vipaint_avatars::MASKS.iter().find(|(name, _)| *name == wanted);
    let (Some((name, hidden, visible)), Some((_, mask))) = (found, mask) else {
        return Err(damaged(format!("there is no mask {wanted:?}")));
    };
    let mask = Mask::decode(mask, name, Keep::White)?;
    let places = (0..mask.height()).flat_map(|y| (0..mask.width()).map(move |x| (x, y)));
    let plane: Vec<f32> = places.map(|(x, y)| f32::from(u8::from(mask.known(x, y)))).collect();
    let all =
        |names: &[&str]| names.iter().map(|name| world.attribute(name).map_err(damaged)).collect::<Result<Vec<_>>>();
    let (hidden, visible) = (all(hidden)?, all(visible)?);
    Ok(Hole { name, known: plane.repeat(3), hidden, visible })
}

fn damaged(problem: impl std::fmt::Display) -> Error {
    Error::input("held-out portraits", format!("the embedded set is damaged ({problem})"), "build the program again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reader_reads_the_held_out_portraits_and_every_question_has_portraits() {
        let world = world().unwrap();
        let portraits = portraits(&world).unwrap();
        let pixels: Vec<f32> = portraits.iter().flat_map(|p| p.pixels.clone()).collect();
        let read = reader(&world).unwrap().read(&pixels);
        let right = read.iter().zip(&portraits).filter(|(read, p)| **read == p.attributes).count();
        assert!(right * 100 >= portraits.len() * 97, "{right} of {}", portraits.len());
        let amounts = Amounts { skip: 0, prompted: 12, prompt_samples: 4, portraits: 8, samples: 64 };
        let tasks = tasks(&world, &portraits, amounts).unwrap();
        assert_eq!(tasks.len(), HOLES.len() + DISTRIBUTIONS.len());
        for task in &tasks {
            assert_eq!(task.portraits.len(), if task.question == Question::Prompt { 12 } else { 8 }, "{}", task.name);
        }
    }

    #[test]
    fn hidden_attributes_cannot_be_seen() {
        // A portrait's pixels follow from its attributes. Where a mask says known they must follow from those that it does not
        // hide: no two portraits that share these differ there.
        let world = world().unwrap();
        let portraits = portraits(&world).unwrap();
        let mut compared = 0;
        for (name, hidden, _) in HOLES {
            let hole = hole(&world, name).unwrap();
            let told = |p: &Portrait| {
                let open = (0..world.len()).filter(|a| !hidden.contains(&world.name(*a)));
                open.map(|a| p.attributes[a]).collect::<Vec<_>>()
            };
            let bearded = world.attribute("facial hair").unwrap();
            let none = world.value(bearded, "none").unwrap();
            for (i, a) in portraits.iter().enumerate() {
                // A beard tells the colour of the hair.
                for b in portraits[i + 1..].iter().filter(|b| told(a) == told(b) && a.attributes[bearded] == none) {
                    compared += 1;
                    let apart = a
                        .pixels
                        .iter()
                        .zip(&b.pixels)
                        .zip(&hole.known)
                        .filter(|((a, b), k)| (*a - *b).abs() * **k > 0.1);
                    assert_eq!(apart.count(), 0, "{name}");
                }
            }
        }
        assert!(compared > 10, "{compared}");
    }
}
