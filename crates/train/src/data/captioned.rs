//! Pictures with attributes and captions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{DataSet, Images, idx};
use crate::{Error, Result};

/// Something that is known about every picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// What it can be, sorted.
    pub values: Vec<String>,
}

/// One line of the file of captions.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    attributes: BTreeMap<String, String>,
    captions: Vec<String>,
}

/// Each of `train` and `test` is a file of pictures and one of captions.
pub(super) fn load(train: [&PathBuf; 2], test: [&PathBuf; 2], shape: [usize; 3]) -> Result<DataSet> {
    let (mut train_images, train_lines) = read(train, shape)?;
    let (mut test_images, test_lines) = read(test, shape)?;
    let mut known: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in train_lines.iter().flat_map(|line| &line.attributes) {
        known.entry(name).or_default().insert(value);
    }
    let attributes: Vec<Attribute> = known
        .into_iter()
        .map(|(name, values)| Attribute {
            name: name.to_owned(),
            values: values.into_iter().map(str::to_owned).collect(),
        })
        .collect();
    for (images, lines, path) in [(&mut train_images, train_lines, train[1]), (&mut test_images, test_lines, test[1])] {
        for (number, line) in lines.into_iter().enumerate() {
            let fail = |what: &str| Error::data(path, format!("line {}: {what}", number + 1));
            let position = |a: &Attribute| a.values.iter().position(|v| line.attributes.get(&a.name) == Some(v));
            let values: Option<Vec<usize>> = attributes.iter().map(position).collect();
            let complete = values.filter(|values| values.len() == line.attributes.len());
            images
                .attributes
                .push(complete.ok_or_else(|| fail("its attributes are not those of the training pictures"))?);
            if line.captions.is_empty() {
                return Err(fail("has no caption"));
            }
            images.captions.push(line.captions);
        }
    }
    Ok(DataSet { train: train_images, test: test_images, classes: Vec::new(), attributes })
}

fn read([images, captions]: [&PathBuf; 2], shape: [usize; 3]) -> Result<(Images, Vec<Line>)> {
    let ([n, c, h, w], bytes) = idx::read_planes(images)?;
    if [c, h, w] != shape {
        let problem = format!("pictures are {:?}, the network's are {shape:?} (channels, height, width)", [c, h, w]);
        return Err(Error::data(images, problem));
    }
    let lines = lines(captions)?;
    if lines.len() != n {
        return Err(Error::data(captions, format!("has {} lines for {n} pictures", lines.len())));
    }
    Ok((Images { shape, bytes, labels: vec![0; n], ..Images::default() }, lines))
}

fn lines(path: &Path) -> Result<Vec<Line>> {
    let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
    let parse = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| Error::data(path, format!("line {}: {e}", number + 1)))
    };
    text.lines().enumerate().map(parse).collect()
}
