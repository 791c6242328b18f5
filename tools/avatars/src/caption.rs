//! Captions in varied plain English.

use anyhow::Result;
use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;

use crate::table::Table;

/// A caption that tells some of the attributes of a portrait.
pub fn caption(table: &Table, drawn: &[usize], rng: &mut ChaCha8Rng) -> Result<String> {
    // From nearly nothing to nearly everything, so that short prompts and long ones are understood.
    let share = *[0.25, 0.5, 0.75, 1.0].choose(rng).unwrap_or(&1.0);
    let told: Vec<bool> = drawn.iter().map(|_| rng.random_bool(share)).collect();
    let list = rng.random_bool(0.3);
    let pick = |list: &[String], rng: &mut ChaCha8Rng| list.choose(rng).cloned().unwrap_or_default();

    let (mut adjectives, mut phrases, mut background) = (Vec::new(), Vec::new(), None);
    let mut colour_told = vec![false; drawn.len()];
    for (i, attribute) in table.attributes.iter().enumerate() {
        let value = &attribute.values[drawn[i]];
        if !told[i] || colour_told[i] {
            continue;
        }
        let phrase = if attribute.phrases.is_empty() {
            let mut colour = String::new();
            if let Some(of) = &attribute.colour {
                let of = table.index(of)?;
                if told[of] {
                    colour = pick(&table.attributes[of].values[drawn[of]].words, rng);
                }
                let phrase = pick(&value.phrases, rng);
                colour_told[of] = phrase.contains("{of}");
                fill(&phrase, &colour)
            } else {
                pick(&value.phrases, rng)
            }
        } else if value.words.is_empty() {
            continue; // a colour that cannot be seen
        } else {
            fill(&pick(&attribute.phrases, rng), &pick(&value.words, rng))
        };
        match attribute.name.as_str() {
            "background" => background = Some(phrase),
            _ if !value.adjectives.is_empty() && rng.random_bool(0.6) => adjectives.push(pick(&value.adjectives, rng)),
            _ => phrases.push(phrase),
        }
    }
    adjectives.shuffle(rng);
    phrases.shuffle(rng);
    if list {
        let mut parts = [adjectives, phrases].concat();
        parts.extend(background);
        parts.shuffle(rng);
        if !parts.is_empty() {
            return Ok(parts.join(", "));
        }
        return Ok("a portrait".to_owned());
    }
    let beardless =
        table.attributes[table.index("facial hair")?].values[drawn[table.index("facial hair")?]].name == "none";
    let nouns: &[&str] = if beardless {
        &["person", "person", "man", "woman", "woman", "character"]
    } else {
        &["person", "person", "man", "man", "character"]
    };
    let noun = nouns.choose(rng).copied().unwrap_or("person");
    let subject = [adjectives.join(" "), noun.to_owned()].join(" ").trim().to_owned();
    let article = if subject.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let opening = *["", "", "portrait of ", "a portrait of "].choose(rng).unwrap_or(&"");
    let mut text = format!("{opening}{article} {subject}");
    if !phrases.is_empty() {
        let with = *["with", "with", "with", "who has"].choose(rng).unwrap_or(&"with");
        let last = phrases.pop().unwrap_or_default();
        let listed = if phrases.is_empty() { last } else { format!("{} and {last}", phrases.join(", ")) };
        text = format!("{text} {with} {listed}");
    }
    if let Some(background) = background {
        let before = *["on", "in front of", "and"].choose(rng).unwrap_or(&"on");
        text = format!("{text} {before} {background}");
    }
    Ok(text)
}

/// The phrase with {of} replaced, and no double spaces where nothing replaces it. (No word in the table starts with a vowel, so
/// "a {of} bob" stays right.)
fn fill(phrase: &str, of: &str) -> String {
    let words = phrase.split(' ').map(|word| if word == "{of}" { of } else { word });
    words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
}
