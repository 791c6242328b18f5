//! The declared distribution of attributes (such as `priors/avatars/attributes.toml`), and what follows from it exactly.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{Error, Result};

/// Attributes, each after the one it depends on.
#[derive(Debug, Deserialize)]
pub struct World {
    #[serde(rename = "attribute")]
    attributes: Vec<Attribute>,
}

/// One attribute with its conditional distribution and its words.
#[derive(Debug, Deserialize)]
struct Attribute {
    name: String,
    parent: Option<String>,
    /// The attribute whose word stands for {of} in this one's phrases.
    colour: Option<String>,
    #[serde(default)]
    phrases: Vec<String>,
    /// Rows by the parent's value; `any` where it has none of its own.
    p: BTreeMap<String, Vec<f64>>,
    values: Vec<Value>,
}

#[derive(Debug, Deserialize)]
struct Value {
    name: String,
    #[serde(default)]
    phrases: Vec<String>,
    #[serde(default)]
    adjectives: Vec<String>,
    #[serde(default)]
    words: Vec<String>,
}

impl World {
    /// Reads and checks a table.
    ///
    /// # Errors
    /// [`Error::World`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        let world: Self = toml::from_str(text).map_err(|error| Error::World(error.to_string()))?;
        for (i, attribute) in world.attributes.iter().enumerate() {
            let fail = |problem: &str| Err(Error::World(format!("{}: {problem}", attribute.name)));
            let before = &world.attributes[..i];
            if attribute.parent.as_ref().is_some_and(|parent| !before.iter().any(|a| a.name == *parent)) {
                return fail("its parent does not come before it");
            }
            if !attribute.p.contains_key("any") {
                return fail("p.any is missing");
            }
            let distribution = |row: &Vec<f64>| {
                let total: f64 = row.iter().sum();
                row.len() == attribute.values.len() && (total - 1.0).abs() < 1e-6 && row.iter().all(|p| *p >= 0.0)
            };
            if !attribute.p.values().all(distribution) {
                return fail("a row of p is no distribution over its values");
            }
        }
        Ok(world)
    }

    /// The index of an attribute.
    ///
    /// # Errors
    /// [`Error::World`] when there is none of this name.
    pub fn attribute(&self, name: &str) -> Result<usize> {
        let found = self.attributes.iter().position(|a| a.name == name);
        found.ok_or_else(|| Error::World(format!("there is no attribute {name:?}")))
    }

    /// The index of an attribute's value.
    ///
    /// # Errors
    /// [`Error::World`] when there is none of this name.
    pub fn value(&self, attribute: usize, name: &str) -> Result<usize> {
        let found = self.attributes[attribute].values.iter().position(|v| v.name == name);
        found.ok_or_else(|| Error::World(format!("{} is never {name:?}", self.attributes[attribute].name)))
    }

    /// An attribute's name.
    pub fn name(&self, attribute: usize) -> &str {
        &self.attributes[attribute].name
    }

    /// The name of an attribute's value.
    pub fn value_name(&self, attribute: usize, value: usize) -> &str {
        &self.attributes[attribute].values[value].name
    }

    /// How many attributes there are.
    pub fn len(&self) -> usize {
        self.attributes.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.attributes.is_empty()
    }

    /// How many values an attribute has.
    pub fn values(&self, attribute: usize) -> usize {
        self.attributes[attribute].values.len()
    }

    /// The joint distribution of the attributes `of`, given those that are known, the others summed out; the last attribute's
    /// values run fastest.
    pub fn conditional(&self, known: &[Option<usize>], of: &[usize]) -> Vec<f64> {
        let mut joint = vec![0.0; of.iter().map(|a| self.values(*a)).product()];
        self.add(known, of, &self.needed(known, of), &mut Vec::new(), 1.0, &mut joint);
        let total: f64 = joint.iter().sum();
        joint.iter().map(|p| p / total).collect()
    }

    /// The place of a whole description in the joint distribution of `of`.
    pub fn place(&self, description: &[usize], of: &[usize]) -> usize {
        of.iter().fold(0, |place, a| place * self.values(*a) + description[*a])
    }

    /// Which attributes the distribution of `of` takes: these, the known ones, and what they depend on. The others sum to one.
    fn needed(&self, known: &[Option<usize>], of: &[usize]) -> Vec<bool> {
        let told = |a: usize| of.contains(&a) || known.get(a).copied().flatten().is_some();
        let mut needed: Vec<bool> = (0..self.len()).map(told).collect();
        // Parents come first.
        for at in (0..self.len()).rev() {
            if let (true, Some(parent)) = (needed[at], self.parent(at)) {
                needed[parent] = true;
            }
        }
        needed
    }

    fn add(
        &self,
        known: &[Option<usize>],
        of: &[usize],
        needed: &[bool],
        so_far: &mut Vec<usize>,
        p: f64,
        joint: &mut [f64],
    ) {
        let at = so_far.len();
        if at == self.attributes.len() {
            joint[self.place(so_far, of)] += p;
            return;
        }
        if !needed[at] {
            so_far.push(0); // nothing that is needed looks at it
            self.add(known, of, needed, so_far, p, joint);
            so_far.pop();
            return;
        }
        let row = self.row(at, so_far);
        for (value, q) in row.iter().enumerate() {
            if *q > 0.0 && known.get(at).copied().flatten().is_none_or(|k| k == value) {
                so_far.push(value);
                self.add(known, of, needed, so_far, p * q, joint);
                so_far.pop();
            }
        }
    }

    fn parent(&self, at: usize) -> Option<usize> {
        let name = self.attributes[at].parent.as_ref()?;
        self.attributes.iter().position(|a| a.name == *name)
    }

    /// The distribution of attribute `at` given those before it.
    fn row(&self, at: usize, before: &[usize]) -> &[f64] {
        let attribute = &self.attributes[at];
        let key = self.parent(at).map_or("any", |parent| &self.attributes[parent].values[before[parent]].name);
        // `parse` has seen that there is a row `any`.
        attribute.p.get(key).or_else(|| attribute.p.get("any")).map_or(&[], Vec::as_slice)
    }

    /// A prompt that tells these values (pairs of an attribute and its value) in the first words that the table has for them.
    pub fn prompt(&self, told: &[(usize, usize)]) -> String {
        let value_of = |attribute: &str| {
            let found = told.iter().find(|(a, _)| self.attributes[*a].name == attribute);
            found.map(|(a, v)| &self.attributes[*a].values[*v])
        };
        let (mut adjectives, mut phrases) = (String::new(), Vec::new());
        for (a, v) in told {
            let (attribute, value) = (&self.attributes[*a], &self.attributes[*a].values[*v]);
            let inside = self.attributes.iter().any(|other| {
                other.colour.as_ref() == Some(&attribute.name)
                    && value_of(&other.name).is_some_and(|v| v.phrases.iter().any(|p| p.contains("{of}")))
            });
            if inside {
                continue; // told in the other attribute's phrase
            }
            if let Some(adjective) = value.adjectives.first() {
                adjectives = format!("{adjectives}{adjective} ");
                continue;
            }
            let word = match &attribute.colour {
                Some(colour) => value_of(colour).and_then(|v| v.words.first()),
                None => value.words.first(),
            };
            let phrase = value.phrases.first().or_else(|| attribute.phrases.first().filter(|_| word.is_some()));
            let word = word.map_or("", String::as_str);
            phrases.extend(phrase.map(|p| p.replace("{of}", word).split_whitespace().collect::<Vec<_>>().join(" ")));
        }
        let with = if phrases.is_empty() { "" } else { " with " };
        format!("a {adjectives}person{with}{}", phrases.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = r#"
        [[attribute]]
        name = "hair"
        colour = "colour"
        p.any = [0.25, 0.75]
        values = [{ name = "long", phrases = ["long {of} hair"] }, { name = "none", phrases = ["a bald head"] }]
        [[attribute]]
        name = "colour"
        parent = "hair"
        p.any = [0.5, 0.5]
        p.none = [0.1, 0.9]
        values = [{ name = "red", words = ["red"] }, { name = "grey", words = ["grey"] }]
        [[attribute]]
        name = "mood"
        p.any = [1.0, 0]
        values = [{ name = "glad", adjectives = ["smiling"] }, { name = "sad" }]
    "#;

    #[test]
    fn conditionals_by_hand() {
        let world = World::parse(TABLE).unwrap();
        assert_eq!(world.conditional(&[], &[0]), [0.25, 0.75]);
        // red: 0.25 x 0.5 against 0.75 x 0.1.
        let given_red = world.conditional(&[None, Some(0), None], &[0]);
        assert!((given_red[0] - 0.125 / 0.2).abs() < 1e-12 && (given_red[1] - 0.075 / 0.2).abs() < 1e-12);
        let joint = world.conditional(&[], &[0, 1]);
        for (p, q) in joint.iter().zip([0.125, 0.125, 0.075, 0.675]) {
            assert!((p - q).abs() < 1e-12);
        }
        assert_eq!(world.place(&[1, 0, 0], &[0, 1]), 2);
        // An attribute alone whose parent is summed out, and one that depends on nothing.
        let colour = world.conditional(&[], &[1]);
        assert!((colour[0] - 0.2).abs() < 1e-12 && world.conditional(&[None, Some(1)], &[2]) == [1.0, 0.0]);
    }

    #[test]
    fn prompts_tell_the_values_and_wrong_tables_are_refused() {
        let world = World::parse(TABLE).unwrap();
        assert_eq!(world.prompt(&[(0, 0), (1, 1), (2, 0)]), "a smiling person with long grey hair");
        assert_eq!(world.prompt(&[(0, 0)]), "a person with long hair");
        assert_eq!(world.prompt(&[(2, 0)]), "a smiling person");
        for (from, to) in
            [("0.25, 0.75", "0.25, 0.7"), ("parent = \"hair\"", "parent = \"mood\""), ("p.any = [1.0, 0]", "")]
        {
            assert!(World::parse(&TABLE.replacen(from, to, 1)).is_err(), "{to}");
        }
        assert!(world.attribute("hat").is_err() && world.value(0, "blue").is_err());
    }
}
