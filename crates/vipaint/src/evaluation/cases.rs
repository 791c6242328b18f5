//! Which results belong to which true picture.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::{pictures_in, shown};
use crate::error::{Error, Result};

/// A true picture and the results for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// The true picture.
    pub truth: PathBuf,
    /// One or more results.
    pub samples: Vec<PathBuf>,
}

/// Pairs results with true pictures.
///
/// * `against` is a file: the pictures in the folder `results` are samples of this one picture.
/// * `results` has folders: each holds the samples for the picture of its name in `against`.
/// * Otherwise each picture in `results` belongs to the one of its name in `against`, whatever the endings.
///
/// In a folder that a command of this program wrote (there is a `sample-000.png`) only the samples count.
///
/// # Errors
/// [`Error`] names what has no counterpart.
pub fn cases(results: &Path, against: &Path) -> Result<Vec<Case>> {
    if against.is_file() {
        let samples = samples(results)?;
        if samples.is_empty() {
            return Err(Error::usage(
                "DIR",
                format!("{} holds no pictures", shown(results)),
                "give a folder of results",
            ));
        }
        return Ok(vec![Case { name: stem(against), truth: against.to_owned(), samples }]);
    }
    let truths = by_name(pictures_in(against)?, "--against")?;
    let folders = folders(results)?;
    let groups: Vec<(String, Vec<PathBuf>)> = if folders.is_empty() {
        by_name(pictures_in(results)?, "DIR")?.into_iter().map(|(name, path)| (name, vec![path])).collect()
    } else {
        let group = |folder: PathBuf| Ok((name(&folder), samples(&folder)?));
        folders.into_iter().map(group).collect::<Result<_>>()?
    };
    let groups = groups.into_iter().filter(|(_, samples)| !samples.is_empty());
    let case = |(name, samples): (String, Vec<PathBuf>)| {
        if let Some(truth) = truths.get(&name) {
            return Ok(Case { name, truth: truth.clone(), samples });
        }
        let problem = format!("{} has no picture named {name:?}", shown(against));
        let remedy = format!("results are paired with true pictures by name; {} has one", shown(results));
        Err(Error::usage("--against", problem, remedy))
    };
    let cases: Vec<Case> = groups.map(case).collect::<Result<_>>()?;
    if cases.is_empty() {
        return Err(Error::usage("DIR", format!("{} holds no pictures", shown(results)), "give a folder of results"));
    }
    Ok(cases)
}

/// The samples in a folder, or else all its pictures.
fn samples(folder: &Path) -> Result<Vec<PathBuf>> {
    let all = pictures_in(folder)?;
    let samples: Vec<PathBuf> = all.iter().filter(|path| name(path).starts_with("sample-")).cloned().collect();
    Ok(if samples.is_empty() { all } else { samples })
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|error| Error::unreadable(folder, &error))?;
    let mut folders: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).filter(|path| path.is_dir()).collect();
    folders.sort();
    Ok(folders)
}

fn by_name(paths: Vec<PathBuf>, option: &str) -> Result<BTreeMap<String, PathBuf>> {
    let mut named = BTreeMap::new();
    for path in paths {
        if let Some(other) = named.insert(stem(&path), path.clone()) {
            let problem = format!("{} and {} have one name", shown(&other), shown(&path));
            return Err(Error::usage(option, problem, "leave one of them out"));
        }
    }
    Ok(named)
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
