//! Rows of a benchmark, kept as they come, so that an interrupted run goes on where it stopped.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::Folder;
use crate::error::{Error, Result, plain};

/// A file with a setting on its first line and a row on every other line, all JSON.
pub struct RowFile {
    path: PathBuf,
    file: File,
}

impl RowFile {
    /// Opens the file of benchmark `name` in a folder, with the rows that were kept there under the same setting; a file of
    /// another setting, or of none, is begun anew.
    ///
    /// # Errors
    /// [`Error::Resource`] when it cannot be written.
    pub fn open<R: DeserializeOwned + Serialize>(
        folder: &Folder,
        name: &str,
        setting: &Value,
    ) -> Result<(Self, Vec<R>)> {
        let path = place(folder, name);
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        let mut lines = before.lines();
        let same = lines.next().and_then(|line| serde_json::from_str::<Value>(line).ok()).as_ref() == Some(setting);
        // The last line may have been cut off; a row that cannot be read is measured again.
        let rows: Vec<R> =
            if same { lines.filter_map(|line| serde_json::from_str(line).ok()).collect() } else { Vec::new() };
        let file = File::create(&path).map_err(|error| failed(&path, &error))?;
        let mut rows_file = Self { path, file };
        rows_file.add(setting)?;
        for row in &rows {
            rows_file.add(row)?;
        }
        Ok((rows_file, rows))
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Error::Resource`] when it cannot be written.
    pub fn add(&mut self, row: &impl Serialize) -> Result<()> {
        let mut line = serde_json::to_vec(row).map_err(|error| failed(&self.path, &error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|error| failed(&self.path, &error))
    }

    /// Removes the file of benchmark `name`, whose results stand elsewhere now; if that fails it does no harm.
    pub fn remove(folder: &Folder, name: &str) {
        let _ = std::fs::remove_file(place(folder, name));
    }
}

fn place(folder: &Folder, name: &str) -> PathBuf {
    folder.path().join(format!("{name}.rows.jsonl"))
}

fn failed(path: &std::path::Path, error: &std::io::Error) -> Error {
    Error::Resource {
        what: path.display().to_string(),
        problem: format!("cannot be written ({})", plain(error)),
        remedy: "free some space, or give another folder".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_of_the_same_setting_come_back_without_a_torn_one() {
        let folder = tempfile::tempdir().expect("there is a temporary folder");
        let folder = Folder::open(folder.path()).expect("it can be written to");
        let open = |setting: &Value| RowFile::open::<Value>(&folder, "a", setting).expect("it can be written to");
        let (mut file, rows) = open(&json!([1]));
        assert!(rows.is_empty());
        file.add(&json!({"x": 1})).expect("there is space");
        file.file.write_all(b"{\"x\": 2").expect("there is space");
        assert_eq!(open(&json!([1])).1, [json!({"x": 1})]);
        assert_eq!(open(&json!([1])).1.len(), 1);
        assert!(open(&json!([2])).1.is_empty());
    }
}
