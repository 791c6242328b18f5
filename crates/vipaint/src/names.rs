//! Names that were not recognised, and the names that were probably meant.

/// The known name most like `wanted`, if one is like it at all.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&wanted, &name.to_lowercase());
    let (gap, name) = known.into_iter().map(|name| (distance(name), name)).min_by_key(|(gap, _)| *gap)?;
    (gap <= (wanted.chars().count() / 3).max(2)).then_some(name)
}

/// More names than a message can list.
const MANY: usize = 60;
/// Names that it suggests instead.
const FEW: usize = 5;

/// What to do about an unknown name: the nearest one, and all of them; of very many those that share a word with it.
pub fn remedy<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    if known.clone().into_iter().count() > MANY {
        let nearest = nearest(wanted, known.clone());
        let alike = nearest.into_iter().chain(known.into_iter().filter(|name| share_a_word(wanted, name)));
        let mut few: Vec<&str> = Vec::new();
        for name in alike {
            if few.len() < FEW && !few.contains(&name) {
                few.push(name);
            }
        }
        let list = few.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        return if few.is_empty() { "see their list".into() } else { format!("did you mean {list}?") };
    }
    let all = known.clone().into_iter().collect::<Vec<_>>().join(", ");
    match nearest(wanted, known) {
        Some(name) => format!("did you mean {name:?}? Known: {all}"),
        None => format!("known: {all}"),
    }
}

/// Whether a word of three letters or more is in both.
fn share_a_word(a: &str, b: &str) -> bool {
    let words = |text: &str| -> Vec<String> {
        let text = text.to_lowercase();
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| word.len() > 2).map(str::to_owned).collect()
    };
    let there = words(b);
    words(a).iter().any(|word| there.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_is_recognised_and_another_word_is_not() {
        assert_eq!(nearest("itertaions", ["iterations", "eta"]), Some("iterations"));
        assert_eq!(nearest("snekaer", ["Sneaker", "Bag"]), Some("Sneaker"));
        assert_eq!(nearest("temperature", ["iterations", "eta"]), None);
    }

    #[test]
    fn of_a_thousand_names_those_alike_are_shown() {
        let names: Vec<&str> = vipaint_zoo::imagenet::names().collect();
        let about = |wanted: &str| remedy(wanted, names.iter().copied());
        assert!(about("tabby cat").contains("\"tabby\""), "{}", about("tabby cat"));
        assert!(about("goldfihs").starts_with("did you mean \"goldfish\""), "{}", about("goldfihs"));
        assert!(about("tabby cat").len() < 200);
        assert_eq!(about("qqqqqqqqqq"), "see their list");
    }
}
