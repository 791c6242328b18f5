//! Which files of a repository a prior needs: configuration, tokenizers, and one set of weights for each part.

use std::collections::BTreeSet;

use serde_json::Value;

/// The precision of weights to bring, where a repository has both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// As trained.
    Full,
    /// The variant `fp16`.
    Half,
}

/// What a prior needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Choice {
    /// Files, weights last: when the last one is there, all are.
    pub files: Vec<String>,
    /// What is handed on, relative to the snapshot: a file, a folder, or all of it (empty).
    pub target: String,
    /// Parts without the variant `fp16`, where that was asked for.
    pub full: Vec<String>,
}

/// Why there is no choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NoChoice {
    /// What is wrong.
    pub problem: String,
    /// Files of which one could be named.
    pub candidates: Vec<String>,
}

/// The file that makes a repository a pipeline.
pub(crate) const PIPELINE: &str = "model_index.json";
/// What describes a checkpoint that does not describe itself.
const DESCRIPTION: &str = "prior.toml";
/// Parts of a pipeline that make no pictures.
const UNUSED: [&str; 2] = ["safety_checker", "feature_extractor"];
const STEMS: [&str; 3] = ["diffusion_pytorch_model", "model", "pytorch_model"];
const SHARDED: &str = ".safetensors.index.json";
/// Ends of weights' names, the best first.
const FULL: [&str; 3] = [".safetensors", SHARDED, ".bin"];
const HALF: [&str; 3] = [".fp16.safetensors", ".fp16.safetensors.index.json", ".fp16.bin"];
/// A checkpoint in one file.
const SINGLE: [&str; 4] = [".safetensors", ".ckpt", ".pt", ".pth"];

/// Chooses among `names`; `pipeline` is the content of [`PIPELINE`], if there is one, and `wanted` a file or folder that a
/// user named.
pub(crate) fn choose(
    names: &BTreeSet<String>,
    pipeline: Option<&Value>,
    wanted: Option<&str>,
    precision: Precision,
) -> Result<Choice, NoChoice> {
    let repository = Repository { names, precision };
    match (wanted, pipeline) {
        (Some(file), _) if names.contains(file) => Ok(repository.single(file)?),
        (Some(folder), _) => repository.folder(folder),
        (None, Some(pipeline)) => repository.pipeline(pipeline),
        (None, None) if names.contains("config.json") && repository.weights("").is_some() => {
            repository.parts("", &[""], Vec::new())
        }
        (None, None) => repository.only_checkpoint(),
    }
}

struct Repository<'a> {
    names: &'a BTreeSet<String>,
    precision: Precision,
}

impl Repository<'_> {
    /// A pipeline: its parts' folders.
    fn pipeline(&self, index: &Value) -> Result<Choice, NoChoice> {
        let rows = index.as_object().into_iter().flatten();
        let named = rows.filter(|(_, row)| row.get(1).is_some_and(Value::is_string));
        let parts = named.map(|(name, _)| name.as_str()).filter(|name| !UNUSED.contains(name));
        self.parts("", &parts.map(|name| format!("{name}/")).collect::<Vec<_>>(), vec![PIPELINE.into()])
    }

    /// A folder that was named.
    fn folder(&self, folder: &str) -> Result<Choice, NoChoice> {
        let prefix = format!("{}/", folder.trim_end_matches('/'));
        if !self.names.iter().any(|name| name.starts_with(&prefix)) {
            return Err(NoChoice { problem: format!("has no file {folder}"), candidates: self.checkpoints() });
        }
        self.parts(folder, &[prefix], Vec::new())
    }

    /// Folders, each with its configuration and one set of weights if it is a network.
    fn parts(&self, target: &str, prefixes: &[impl AsRef<str>], mut files: Vec<String>) -> Result<Choice, NoChoice> {
        let (mut weights, mut full) = (Vec::new(), Vec::new());
        for prefix in prefixes.iter().map(AsRef::as_ref) {
            let name = prefix.trim_end_matches('/');
            let nothing = |what: &str| NoChoice { problem: format!("has {what} of {name:?}"), candidates: Vec::new() };
            let small: Vec<_> =
                self.inside(prefix).filter(|name| is_small(name)).map(|n| format!("{prefix}{n}")).collect();
            if small.is_empty() {
                return Err(nothing("no folder"));
            }
            files.extend(small);
            // Schedulers and tokenizers have configurations of other names, and no weights.
            if self.names.contains(&format!("{prefix}config.json")) {
                let (found, half) = self.weights(prefix).ok_or_else(|| nothing("no .safetensors or .bin weights"))?;
                weights.extend(found);
                if self.precision == Precision::Half && !half {
                    full.push(name.to_owned());
                }
            }
        }
        if weights.is_empty() {
            return Err(NoChoice { problem: "has no weights".into(), candidates: Vec::new() });
        }
        files.extend(weights);
        Ok(Choice { files, target: target.to_owned(), full })
    }

    /// The weights in a folder, and whether they are of half precision.
    fn weights(&self, prefix: &str) -> Option<(Vec<String>, bool)> {
        let (first, then) = if self.precision == Precision::Half { (HALF, FULL) } else { (FULL, HALF) };
        let ends = first.into_iter().chain(then);
        let names = ends.flat_map(|end| STEMS.map(|stem| (format!("{prefix}{stem}{end}"), HALF.contains(&end))));
        let mut sets = names.filter_map(|(name, half)| Some((self.with_shards(&name)?, half)));
        sets.next()
    }

    /// A file, and if it is an index the files it names; none unless all are there.
    fn with_shards(&self, name: &str) -> Option<Vec<String>> {
        if !self.names.contains(name) {
            return None;
        }
        let Some(stem) = name.strip_suffix(SHARDED) else { return Some(vec![name.to_owned()]) };
        let numbers = |file: &String| {
            let of = file.strip_prefix(stem)?.strip_prefix('-')?.strip_suffix(".safetensors")?;
            let (number, all) = of.split_once("-of-")?;
            Some((number.parse::<usize>().ok()?, all.parse::<usize>().ok()?))
        };
        let shards: Vec<_> = self.names.iter().filter(|file| numbers(file).is_some()).cloned().collect();
        let all = shards.first().and_then(numbers)?.1;
        let complete = shards.len() == all && shards.iter().zip(1..).all(|(shard, i)| numbers(shard) == Some((i, all)));
        complete.then(|| std::iter::once(name.to_owned()).chain(shards).collect())
    }

    /// A checkpoint and its description.
    fn single(&self, file: &str) -> Result<Choice, NoChoice> {
        let missing = || NoChoice { problem: format!("lacks shards of {file}"), candidates: Vec::new() };
        let folder = file.rfind('/').map_or("", |end| &file[..=end]);
        let description = format!("{folder}{DESCRIPTION}");
        let mut files: Vec<_> = self.names.get(&description).into_iter().cloned().collect();
        files.extend(self.with_shards(file).ok_or_else(missing)?);
        Ok(Choice { files, target: file.to_owned(), full: Vec::new() })
    }

    /// The one checkpoint at the root.
    fn only_checkpoint(&self) -> Result<Choice, NoChoice> {
        let candidates = self.checkpoints();
        let at_root: Vec<_> = candidates.iter().filter(|name| !name.contains('/')).collect();
        let safe: Vec<_> = at_root.iter().filter(|name| name.ends_with(SINGLE[0])).collect();
        match (safe[..].as_ref(), at_root[..].as_ref()) {
            ([only], _) => self.single(only),
            ([], [only]) => self.single(only),
            _ if candidates.is_empty() => Err(NoChoice { problem: "holds no checkpoint".into(), candidates }),
            _ => Err(NoChoice { problem: "holds several checkpoints".into(), candidates }),
        }
    }

    fn checkpoints(&self) -> Vec<String> {
        self.names.iter().filter(|name| SINGLE.iter().any(|end| name.ends_with(end))).cloned().collect()
    }

    /// The names directly inside a folder.
    fn inside<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.names.iter().filter_map(move |name| name.strip_prefix(prefix)).filter(|name| !name.contains('/'))
    }
}

/// Configuration, vocabularies.
fn is_small(name: &str) -> bool {
    let end = name.rsplit('.').next();
    (end == Some("json") && !name.contains(".index.")) || end == Some("txt") || name == "spiece.model"
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn names(list: &[&str]) -> BTreeSet<String> {
        list.iter().map(|&name| name.to_owned()).collect()
    }

    /// What such repositories hold besides what is needed.
    fn stable_diffusion() -> BTreeSet<String> {
        let mut all = names(&[
            "README.md",
            "model_index.json",
            "v1-5-pruned.ckpt",
            "v1-5-pruned.safetensors",
            "v1-inference.yaml",
            "safety_checker/config.json",
            "safety_checker/model.safetensors",
            "feature_extractor/preprocessor_config.json",
            "scheduler/scheduler_config.json",
            "tokenizer/merges.txt",
            "tokenizer/vocab.json",
            "tokenizer/tokenizer_config.json",
            "text_encoder/config.json",
            "text_encoder/model.safetensors",
            "text_encoder/model.fp16.safetensors",
            "text_encoder/pytorch_model.bin",
            "unet/config.json",
            "unet/diffusion_pytorch_model.bin",
            "unet/diffusion_pytorch_model.non_ema.safetensors",
            "unet/diffusion_flax_model.msgpack",
            "vae/config.json",
            "vae/diffusion_pytorch_model.bin",
            "vae/diffusion_pytorch_model.fp16.safetensors",
        ]);
        all.extend(names(&["unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.bin"]));
        all
    }

    fn index() -> Value {
        json!({
            "_class_name": "StableDiffusionPipeline", "requires_safety_checker": true, "image_encoder": [null, null],
            "safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"],
            "feature_extractor": ["transformers", "CLIPImageProcessor"],
            "scheduler": ["diffusers", "PNDMScheduler"], "tokenizer": ["transformers", "CLIPTokenizer"],
            "text_encoder": ["transformers", "CLIPTextModel"], "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
        })
    }

    const SMALL: [&str; 8] = [
        "model_index.json",
        "scheduler/scheduler_config.json",
        "tokenizer/merges.txt",
        "tokenizer/tokenizer_config.json",
        "tokenizer/vocab.json",
        "text_encoder/config.json",
        "unet/config.json",
        "vae/config.json",
    ];

    #[test]
    fn a_pipeline_needs_its_parts_and_one_set_of_weights_each() {
        for (precision, weights) in [
            (
                Precision::Full,
                [
                    "text_encoder/model.safetensors",
                    "unet/diffusion_pytorch_model.safetensors",
                    "vae/diffusion_pytorch_model.bin",
                ],
            ),
            (
                Precision::Half,
                [
                    "text_encoder/model.fp16.safetensors",
                    "unet/diffusion_pytorch_model.fp16.bin",
                    "vae/diffusion_pytorch_model.fp16.safetensors",
                ],
            ),
        ] {
            let chosen = choose(&stable_diffusion(), Some(&index()), None, precision).unwrap();
            let got: BTreeSet<_> = chosen.files.iter().map(String::as_str).collect();
            assert_eq!(got, SMALL.into_iter().chain(weights).collect(), "{precision:?}");
            assert_eq!((&chosen.files[SMALL.len()..], chosen.target.as_str()), (&weights.map(str::to_owned)[..], ""));
            assert!(chosen.full.is_empty());
        }
        let mut lacks = stable_diffusion();
        lacks.retain(|name| !name.starts_with("vae/diff"));
        assert!(choose(&lacks, Some(&index()), None, Precision::Full).unwrap_err().problem.contains("\"vae\""));
        lacks.retain(|name| !name.starts_with("tokenizer/"));
        assert!(choose(&lacks, Some(&index()), None, Precision::Full).unwrap_err().problem.contains("\"tokenizer\""));
    }

    #[test]
    fn what_has_no_half_precision_is_told() {
        let mut some = stable_diffusion();
        some.remove("unet/diffusion_pytorch_model.fp16.bin");
        assert_eq!(choose(&some, Some(&index()), None, Precision::Half).unwrap().full, ["unet"]);
    }

    #[test]
    fn all_shards_or_none() {
        let mut all = names(&[
            "config.json",
            "diffusion_pytorch_model.safetensors.index.json",
            "diffusion_pytorch_model.bin",
            "diffusion_pytorch_model-00001-of-00002.safetensors",
            "diffusion_pytorch_model-00002-of-00002.safetensors",
        ]);
        let chosen = choose(&all, None, None, Precision::Full).unwrap();
        assert_eq!(
            (chosen.files.len(), chosen.files[1].as_str()),
            (4, "diffusion_pytorch_model.safetensors.index.json")
        );
        all.remove("diffusion_pytorch_model-00001-of-00002.safetensors");
        let chosen = choose(&all, None, None, Precision::Full).unwrap();
        assert_eq!(chosen.files, ["config.json", "diffusion_pytorch_model.bin"]);
    }

    #[test]
    fn a_single_checkpoint_or_the_one_that_is_named() {
        let files =
            names(&["README.md", "a.ckpt", "sub/b.pt", "sub/prior.toml", "unet/config.json", "unet/model.safetensors"]);
        let choose = |wanted| choose(&files, None, wanted, Precision::Full);
        assert_eq!(choose(None).unwrap().files, ["a.ckpt"]);
        assert_eq!(choose(Some("sub/b.pt")).unwrap().files, ["sub/prior.toml", "sub/b.pt"]);
        let folder = choose(Some("unet")).unwrap();
        assert_eq!(
            (folder.files, folder.target.as_str()),
            (vec!["unet/config.json".into(), "unet/model.safetensors".into()], "unet")
        );
        assert_eq!(choose(Some("c.ckpt")).unwrap_err().candidates, ["a.ckpt", "sub/b.pt", "unet/model.safetensors"]);
        let two = names(&["a.ckpt", "b.ckpt"]);
        assert_eq!(super::choose(&two, None, None, Precision::Full).unwrap_err().candidates.len(), 2);
        let better = names(&["a.ckpt", "a.safetensors"]);
        assert_eq!(super::choose(&better, None, None, Precision::Full).unwrap().target, "a.safetensors");
        assert!(super::choose(&names(&["README.md"]), None, None, Precision::Full).is_err());
    }
}
