//! Files that are there whole or not at all.

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::NamedTempFile;

use crate::error::{Error, Result, plain};

/// An output folder that exists and can be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folder {
    path: PathBuf,
    /// Where this made it.
    made: Option<Arc<Made>>,
}

/// A folder that was not there before: it goes again if nothing comes into it.
#[derive(Debug, PartialEq, Eq)]
struct Made(PathBuf);

impl Drop for Made {
    fn drop(&mut self) {
        // Fails, as it should, if something is in it.
        let _ = std::fs::remove_dir(&self.0);
    }
}

impl Folder {
    /// Makes the folder, and checks that a file can be written there. A folder that this made and nothing came into is removed
    /// with the last copy of what is returned.
    ///
    /// # Errors
    /// [`Error::Usage`] when it cannot.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_for("-o", path)
    }

    /// As [`Self::open`], for another option that names it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_for(option: &str, path: &Path) -> Result<Self> {
        let made = !path.exists();
        let ready = std::fs::create_dir_all(path).and_then(|()| NamedTempFile::new_in(path));
        match ready {
            Ok(_) => {
                let path = path.to_owned();
                Ok(Self { made: made.then(|| Arc::new(Made(path.clone()))), path })
            }
            Err(error) => {
                let problem = format!("{} cannot be written to ({})", path.display(), plain(&error));
                Err(Error::usage(option, problem, "give a folder that can be made or written to"))
            }
        }
    }

    /// The path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a file in the folder and returns its path.
    ///
    /// # Errors
    /// As [`write_atomically`].
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let path = self.path.join(name);
        write_atomically(&path, bytes)?;
        Ok(path)
    }
}

/// Writes a file under a temporary name in the same folder, then renames it.
///
/// # Errors
/// [`Error::Resource`] when that fails: the disk is full, the folder is gone.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = temporary(folder).and_then(|mut file| {
        file.write_all(bytes)?;
        file.persist(path).map_err(|error| error.error)
    });
    written.map(drop).map_err(|error| Error::Resource {
        what: path.display().to_string(),
        problem: format!("cannot be written ({})", plain(&error)),
        remedy: match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room on the disk, or write elsewhere",
            _ => "check that the folder exists and can be written to",
        }
        .into(),
    })
}

/// Temporary files are for their owner only; results are for whom the user's mask lets read.
#[cfg(unix)]
fn temporary(folder: &Path) -> std::io::Result<NamedTempFile> {
    use std::os::unix::fs::PermissionsExt;
    tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o666)).tempfile_in(folder)
}

#[cfg(not(unix))]
fn temporary(folder: &Path) -> std::io::Result<NamedTempFile> {
    NamedTempFile::new_in(folder)
}
