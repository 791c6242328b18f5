//! Checkpoints: the whole state of a run in one safetensors file.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::adam::State;
use crate::{Error, Recipe, Result};

/// A run at rest.
pub(crate) struct Checkpoint {
    pub recipe: Recipe,
    /// What the exported file says about the weights.
    pub header: String,
    pub state: State,
}

/// Writes `bytes` beside `path` and renames them, so that `path` is never half-written.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    };
    write().map_err(|source| {
        let _ = std::fs::remove_file(&temporary); // the first error is the one to tell
        Error::Io { path: path.to_path_buf(), source }
    })
}

impl Checkpoint {
    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let fail = |problem: String| Error::Checkpoint { path: path.to_path_buf(), problem };
        let recipe = toml::to_string(&self.recipe).map_err(|e| fail(e.to_string()))?;
        let metadata = HashMap::from([
            ("recipe".to_string(), recipe),
            ("header".to_string(), self.header.clone()),
            ("images".to_string(), self.state.images.to_string()),
            ("seconds".to_string(), self.state.seconds.to_string()),
        ]);
        let lists = [
            ("weights", &self.state.weights),
            ("ema", &self.state.ema),
            ("first", &self.state.first),
            ("second", &self.state.second),
        ];
        let bytes = lists.map(|(name, list)| (name, list.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()));
        let views = bytes
            .iter()
            .map(|(name, bytes)| Ok((*name, TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        let file = views.and_then(|views| safetensors::serialize(views, Some(metadata)));
        write_atomically(path, &file.map_err(|e| fail(e.to_string()))?)
    }

    pub(crate) fn load(path: &Path) -> Result<Self> {
        let fail = |problem: String| Error::Checkpoint { path: path.to_path_buf(), problem };
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| fail(e.to_string()))?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| fail(e.to_string()))?;
        let text = |key: &str| {
            let value = metadata.metadata().as_ref().and_then(|m| m.get(key)).cloned();
            value.ok_or_else(|| fail(format!("has no metadata `{key}`")))
        };
        let list = |name: &str| {
            let view = file.tensor(name).map_err(|e| fail(e.to_string()))?;
            if view.dtype() != Dtype::F32 {
                return Err(fail(format!("tensor {name} is not F32")));
            }
            let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            Ok(values.collect::<Vec<f32>>())
        };
        let state = State {
            weights: list("weights")?,
            ema: list("ema")?,
            first: list("first")?,
            second: list("second")?,
            images: text("images")?.parse().map_err(|_| fail("images: not a number".into()))?,
            seconds: text("seconds")?.parse().map_err(|_| fail("seconds: not a number".into()))?,
        };
        Ok(Self { recipe: Recipe::parse(&text("recipe")?)?, header: text("header")?, state })
    }

    /// Whether a run under `recipe`, with `weights` weights, can go on from here. How long it lasts, its learning rates
    /// and what it writes may change; the network, the data, the loss and the batch may not.
    pub(crate) fn check(&self, path: &Path, recipe: &Recipe, weights: usize) -> Result<()> {
        let old = &self.recipe;
        let same = [
            ("seed", old.seed == recipe.seed),
            ("init", old.init == recipe.init),
            ("network", old.network == recipe.network),
            ("data", old.data == recipe.data),
            ("objective", old.objective == recipe.objective),
            ("optimizer.batch", old.optimizer.batch == recipe.optimizer.batch),
        ];
        let fail = |problem: String| Err(Error::Checkpoint { path: path.to_path_buf(), problem });
        if let Some((key, _)) = same.iter().find(|(_, same)| !same) {
            return fail(format!("was made with another `{key}`; use its recipe, or another run folder"));
        }
        let s = &self.state;
        if [&s.weights, &s.ema, &s.first, &s.second].iter().any(|list| list.len() != weights) {
            return fail(format!("does not hold {weights} weights"));
        }
        Ok(())
    }
}
