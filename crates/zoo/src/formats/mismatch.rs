//! What is missing, unexpected or of another shape: all of it at once, by name.

use std::collections::BTreeMap;
use std::fmt;

/// How the tensors of a file differ from those a network needs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Mismatch {
    /// Tensors that the network has and the file lacks.
    pub missing: Vec<String>,
    /// Tensors that the file has and the network lacks.
    pub unexpected: Vec<String>,
    /// Tensors of another shape: name, the network's, the file's.
    pub misshaped: Vec<(String, Vec<usize>, Vec<usize>)>,
}

impl Mismatch {
    /// Compares names and shapes.
    pub fn between<'a, 'b>(
        expected: impl IntoIterator<Item = (&'a str, &'a [usize])>,
        got: impl IntoIterator<Item = (&'b str, &'b [usize])>,
    ) -> Self {
        let mut got: BTreeMap<&'b str, &'b [usize]> = got.into_iter().collect();
        let mut mismatch = Self::default();
        for (name, shape) in expected {
            match got.remove(name) {
                None => mismatch.missing.push(name.to_owned()),
                Some(other) if other != shape => {
                    mismatch.misshaped.push((name.to_owned(), shape.to_vec(), other.to_vec()));
                }
                Some(_) => {}
            }
        }
        mismatch.unexpected = got.into_keys().map(str::to_owned).collect();
        mismatch
    }

    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.misshaped.is_empty()
    }
}

/// Names that are shown of each list.
const SHOWN: usize = 8;

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shapes =
            self.misshaped.iter().map(|(name, expected, got)| format!("{name} {got:?} instead of {expected:?}"));
        let lists = [
            ("missing", self.missing.clone()),
            ("unexpected", self.unexpected.clone()),
            ("of another shape", shapes.collect()),
        ];
        let mut separator = "";
        for (what, names) in lists.iter().filter(|(_, names)| !names.is_empty()) {
            write!(f, "{separator}{} {what}: {}", names.len(), names[..names.len().min(SHOWN)].join(", "))?;
            if names.len() > SHOWN {
                write!(f, " and {} more", names.len() - SHOWN)?;
            }
            separator = "; ";
        }
        if separator.is_empty() { f.write_str("no difference") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_named_and_lists_are_capped() {
        let many: Vec<String> = (0..10).map(|i| format!("m{i}")).collect();
        let expected =
            many.iter().map(|name| (name.as_str(), &[1][..])).chain([("a", &[2, 3][..]), ("same", &[4][..])]);
        let mismatch = Mismatch::between(expected, [("a", &[3, 2][..]), ("extra", &[1][..]), ("same", &[4][..])]);
        assert_eq!(
            mismatch.to_string(),
            "10 missing: m0, m1, m2, m3, m4, m5, m6, m7 and 2 more; 1 unexpected: extra; \
             1 of another shape: a [3, 2] instead of [2, 3]"
        );
        assert!(Mismatch::between([("x", &[1][..])], [("x", &[1][..])]).is_empty());
    }
}
