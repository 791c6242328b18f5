//! The names of ImageNet's 1000 classes, in the order in which networks number them: those of torchvision 0.29.2
//! (`torchvision/models/_meta.py`, BSD-3-Clause, see LICENSE beside this file).

/// Number of classes.
pub const COUNT: usize = 1000;

/// Their names, each one once.
pub fn names() -> impl Iterator<Item = &'static str> {
    include_str!("classes.txt").lines()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn each_class_has_a_name_of_its_own() {
        let names: Vec<_> = names().collect();
        assert_eq!((names.len(), names.iter().collect::<HashSet<_>>().len()), (COUNT, COUNT));
        // Known places: the tench is the first, tabby cats are 281.
        assert_eq!((names[0], names[281]), ("tench", "tabby"));
    }
}
