//! Folders of Stable Diffusion 1, 2 and XL against diffusers and transformers (see `scripts/fixtures/stable_diffusion.py`).

#[path = "stable_diffusion/folder.rs"]
mod folder;

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use tempfile::TempDir;
use vipaint_core::prior::{Condition, Context, Prior};
use vipaint_zoo::formats::Checkpoint;
use vipaint_zoo::stable_diffusion;

const FAMILIES: [&str; 3] = ["sd1", "sd2", "sdxl"];
/// As in the script.
const PROMPT: &str = "a photo of a red cat in the snow";
const TIME: f64 = 321.0;

fn made(name: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    folder::write(name, folder.path());
    folder
}

struct Expected(Checkpoint);

impl Expected {
    fn of(name: &str) -> Self {
        Self(Checkpoint::open(&folder::fixture(name).join("expected.safetensors")).unwrap())
    }

    fn has(&self, name: &str) -> bool {
        self.0.get(name).is_ok()
    }

    fn values(&self, name: &str) -> Vec<f32> {
        self.0.get(name).unwrap().to_f32().unwrap()
    }

    fn tensor(&self, name: &str) -> Tensor<4> {
        let shape: [usize; 4] = self.0.get(name).unwrap().shape().try_into().unwrap();
        Tensor::from_data(TensorData::new(self.values(name), shape), &Device::flex())
    }

    /// Checks that the largest difference is at most `most` parts of the largest magnitude.
    fn near(&self, name: &str, got: &[f32], most: f32) {
        let expected = self.values(name);
        assert_eq!(got.len(), expected.len(), "{name}");
        let scale = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
        let difference = got.iter().zip(&expected).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / scale;
        assert!(difference <= most, "{name}: {difference}");
    }
}

fn values(x: &Tensor<4>) -> Vec<f32> {
    x.to_data().iter::<f32>().collect()
}

/// `f(z)` and the gradient of `<v, f(z)>`.
fn with_vjp(f: impl Fn(Tensor<4>) -> Tensor<4>, z: Tensor<4>, v: Tensor<4>) -> (Vec<f32>, Vec<f32>) {
    let leaf = z.autodiff().require_grad();
    let out = f(leaf.clone());
    let plain = values(&out.clone().inner());
    let mut gradients = (out * v.autodiff()).sum().backward();
    (plain, values(&leaf.grad_remove(&mut gradients).unwrap()))
}

fn read(prior: &Prior, text: &str) -> Context {
    prior.text.as_ref().unwrap().read(text).unwrap().context
}

#[test]
fn texts_are_read_as_the_pipelines_read_them() {
    for name in FAMILIES {
        let (folder, expected) = (made(name), Expected::of(name));
        let prior = stable_diffusion::open(folder.path()).unwrap();
        let long = "a red fox and a cat ".repeat(6);
        for (case, text) in [("prompt", PROMPT), ("nothing", ""), ("long", long.as_str())] {
            let context = read(&prior, text);
            if context.tokens.iter().all(|x| *x == 0.0) {
                assert_eq!((name, case), ("sdxl", "nothing"));
                assert!(expected.values("context_nothing").iter().all(|x| *x == 0.0));
            } else {
                expected.near(&format!("context_{case}"), &context.tokens, 1e-4);
            }
            if expected.has(&format!("pooled_{case}")) {
                expected.near(&format!("pooled_{case}"), &context.pooled, 1e-4);
            } else {
                assert!(context.pooled.is_empty());
            }
        }
        let cut = prior.text.as_ref().unwrap().read(&long).unwrap().cut;
        assert_eq!(cut.is_empty(), name == "sd1", "{name} {cut:?}");
    }
}

#[test]
fn denoisers_agree_with_diffusers_in_values_and_gradients() {
    for name in FAMILIES {
        let (folder, expected) = (made(name), Expected::of(name));
        let prior = stable_diffusion::open(folder.path()).unwrap();
        let level = prior.schedule.level(TIME);
        for (case, condition) in [
            ("prompt", Condition::context(read(&prior, PROMPT))),
            ("nothing", Condition::context(read(&prior, ""))),
            // No condition is the empty text.
            ("nothing", Condition::default()),
        ] {
            let x0_hat = |z| prior.denoiser.x0_hat(z, &[level], &condition).unwrap();
            let (value, vjp) = with_vjp(x0_hat, expected.tensor("z"), expected.tensor("v_z"));
            expected.near(&format!("x0_hat_{case}"), &value, 1e-4);
            expected.near(&format!("vjp_{case}"), &vjp, 1e-3);
        }
    }
}

#[test]
fn autoencoders_agree_with_diffusers_in_values_and_gradients() {
    for name in FAMILIES {
        let (folder, expected) = (made(name), Expected::of(name));
        let prior = stable_diffusion::open(folder.path()).unwrap();
        let decode = |z| prior.autoencoder.decode(z);
        let (value, vjp) = with_vjp(decode, expected.tensor("latent"), expected.tensor("v_x"));
        expected.near("decoded", &value, 1e-4);
        expected.near("vjp_decoded", &vjp, 1e-3);
        expected.near("encoded", &values(&prior.autoencoder.encode(expected.tensor("image"))), 1e-4);
    }
}

#[test]
fn the_hash_tells_weights_and_descriptions_apart() {
    let (one, two) = (made("sd1"), made("sd1"));
    let hash = |folder: &TempDir| stable_diffusion::open(folder.path()).unwrap().hash;
    // The name is that of the folder and is part of the description.
    let again = tempfile::tempdir().unwrap().path().join("model");
    folder::write("sd1", &again);
    let same = stable_diffusion::open(&again).unwrap().hash;
    assert_eq!(same, stable_diffusion::open(&again).unwrap().hash);
    edit(&again, "scheduler/scheduler_config.json", "0.012", "0.013");
    assert_ne!(same, stable_diffusion::open(&again).unwrap().hash);
    assert_ne!(hash(&one), hash(&two));
}

fn edit(folder: &Path, file: &str, from: &str, to: &str) {
    let path = folder.join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    std::fs::write(path, text.replacen(from, to, 1)).unwrap();
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let cases = [
        ("unet/config.json", r#""in_channels": 4"#, r#""in_channels": 9"#, "trained to inpaint"),
        ("unet/config.json", r#""act_fn": "silu""#, r#""act_fn": "gelu""#, "act_fn: \"gelu\" is not supported"),
        ("unet/config.json", r#""dropout""#, r#""novelty": 3, "dropout""#, "novelty: 3 is an option that is not"),
        ("unet/config.json", r#""time_cond_proj_dim": null"#, r#""time_cond_proj_dim": 256"#, "time_cond_proj_dim"),
        ("unet/config.json", r#""layers_per_block": 1"#, r#""layers_per_block": 2"#, "not those of its config.json"),
        ("vae/config.json", "UpDecoderBlock2D", "AttnUpDecoderBlock2D", "up_block_types"),
        ("vae/config.json", r#""act_fn": "silu""#, r#""act_fn": "relu""#, "act_fn"),
        ("scheduler/scheduler_config.json", "scaled_linear", "laplace", "beta_schedule: laplace"),
        ("scheduler/scheduler_config.json", r#""epsilon""#, r#""flow_prediction""#, "flow_prediction"),
        ("scheduler/scheduler_config.json", "{", r#"{"rescale_betas_zero_snr": true,"#, "rescale_betas_zero_snr"),
        ("text_encoder/config.json", "quick_gelu", "swish", "hidden_act"),
        ("text_encoder/config.json", "clip_text_model", "t5", "model_type"),
        ("tokenizer/tokenizer_config.json", r#""pad_token": "<|endoftext|>""#, r#""pad_token": "?""#, "pad_token"),
        ("model_index.json", "StableDiffusionPipeline", "FluxPipeline", "FluxPipeline"),
        ("model_index.json", r#""AutoencoderKL""#, r#""AutoencoderTiny""#, "vae: is a AutoencoderTiny"),
        ("model_index.json", r#""vae""#, r#""controlnet": ["diffusers", "ControlNetModel"], "vae""#, "controlnet"),
    ];
    let folder = made("sd1");
    for (file, from, to, part) in cases {
        let original = std::fs::read(folder.path().join(file)).unwrap();
        edit(folder.path(), file, from, to);
        let error = stable_diffusion::open(folder.path()).err().unwrap_or_else(|| panic!("{to} was read")).to_string();
        assert!(error.contains(part), "{error}");
        std::fs::write(folder.path().join(file), original).unwrap();
    }
    stable_diffusion::open(folder.path()).unwrap();
}

#[test]
fn a_schedule_that_ends_without_signal_is_read_for_v() {
    let folder = made("sd2");
    edit(folder.path(), "scheduler/scheduler_config.json", "{", r#"{"rescale_betas_zero_snr": true,"#);
    let prior = stable_diffusion::open(folder.path()).unwrap();
    let (top, bottom) = (prior.schedule.top(), prior.schedule.bottom());
    assert!((top.alpha - 2f64.powi(-12)).abs() < 1e-9);
    // The first level is as before: beta_0 = 0.00085.
    assert!((bottom.alpha.powi(2) - (1.0 - 0.00085)).abs() < 1e-9);
}

#[test]
fn half_precision_files_and_old_attention_names_are_read() {
    let (folder, expected) = (made("sd1"), Expected::of("sd1"));
    let vae = folder.path().join("vae/diffusion_pytorch_model.safetensors");
    let bytes = std::fs::read(&vae).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let old = |name: &str| {
        let pairs = [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")];
        pairs.iter().fold(name.to_owned(), |name, (new, old)| name.replace(new, old))
    };
    let halves: Vec<(String, Vec<usize>, Vec<u8>)> = file
        .tensors()
        .into_iter()
        .map(|(name, view)| {
            let floats = view.data().chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            let bytes = floats.flat_map(|x| half::f16::from_f32(x).to_le_bytes()).collect();
            (old(&name), view.shape().to_vec(), bytes)
        })
        .collect();
    let views = halves.iter().map(|(name, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F16, shape.clone(), bytes);
        (name.as_str(), view.unwrap())
    });
    let half = safetensors::serialize(views, None::<std::collections::HashMap<String, String>>).unwrap();
    std::fs::write(folder.path().join("vae/diffusion_pytorch_model.fp16.safetensors"), half).unwrap();
    std::fs::remove_file(vae).unwrap();
    let prior = stable_diffusion::open(folder.path()).unwrap();
    // Weights rounded to 11 bits; about 1e-3 after a dozen layers.
    expected.near("decoded", &values(&prior.autoencoder.decode(expected.tensor("latent"))), 5e-3);
}
