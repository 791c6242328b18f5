//! Names that were not recognised, and the names that were probably meant.

/// The known name most like `wanted`, if one is like it at all.
pub fn nearest<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&wanted, &name.to_lowercase());
    let (gap, name) = known.into_iter().map(|name| (distance(name), name)).min_by_key(|(gap, _)| *gap)?;
    (gap <= (wanted.chars().count() / 3).max(2)).then_some(name)
}

/// What to do about an unknown name: the nearest one, and all of them.
pub fn remedy<'a>(wanted: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let all = known.clone().into_iter().collect::<Vec<_>>().join(", ");
    match nearest(wanted, known) {
        Some(name) => format!("did you mean {name:?}? Known: {all}"),
        None => format!("known: {all}"),
    }
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
}
