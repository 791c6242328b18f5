//! Names that mean no prior.

use std::path::Path;

use vipaint_zoo::presets::Preset;

use super::EMBEDDED;
use crate::error::Error;
use crate::names;

/// Whether a name is meant as a file's: it is below a folder, or ends as checkpoints do.
pub(crate) fn is_path(name: &str) -> bool {
    let ending = Path::new(name).extension().is_some_and(|ending| CHECKPOINTS.iter().any(|known| ending == *known));
    ending || name.contains(std::path::is_separator)
}

/// How names of checkpoints end.
const CHECKPOINTS: [&str; 5] = ["safetensors", "ckpt", "pt", "pth", "bin"];

/// What is wrong with a name that means no prior.
pub(super) fn unknown(text: &str) -> Error {
    let (name, rest) = text.find(',').map_or((text, ""), |comma| text.split_at(comma));
    let fail = |problem: String, remedy: String| Error::usage("--prior", problem, remedy);
    if EMBEDDED.iter().any(|prior| prior.name == name) {
        return fail(format!("the embedded prior {name} takes nothing after its name"), format!("leave out {rest:?}"));
    }
    if Preset::named(name).is_some() {
        let remedy = format!("give the file or folder of one; `vipaint prior bench {name} --random-weights` times it");
        return fail(format!("{name} is a kind of checkpoint, without weights"), remedy);
    }
    if is_path(name) {
        return fail(format!("there is no file or folder {name:?}"), "check the path".into());
    }
    let names = EMBEDDED.iter().map(|prior| prior.name);
    let remedy = format!("{} (or the path of a checkpoint, hf:ORG/REPO, exec:COMMAND)", names::remedy(name, names));
    fail(format!("there is no prior {name:?}, neither embedded nor as a file"), remedy)
}
