//! Folders of Stable Diffusion 1, 2 and XL against diffusers and transformers (see `scripts/fixtures/stable_diffusion.py`).

#[path = "stable_diffusion/folder.rs"]
mod folder;

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use tempfile::TempDir;
use vipaint_core::prior::{Condition, Context, Prior};
use vipaint_zoo::formats::Checkpoint;
use vipaint_zoo::{RandomWeights, Source, recognise};

const FAMILIES: [&str; 3] = ["sd1", "sd2", "sdxl"];
/// As in the script.
const PROMPT: &str = "a photo of a red cat in the snow";
const TIME: f64 = 321.0;

fn open(folder: &Path) -> Prior {
    recognise::load(folder, None).unwrap().prior
}

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
        let prior = open(folder.path());
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
        let prior = open(folder.path());
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
        let prior = open(folder.path());
        let decode = |z| prior.autoencoder.decode(z);
        let (value, vjp) = with_vjp(decode, expected.tensor("latent"), expected.tensor("v_x"));
        expected.near("decoded", &value, 1e-4);
        expected.near("vjp_decoded", &vjp, 1e-3);
        expected.near("encoded", &values(&prior.autoencoder.encode(expected.tensor("image"))), 1e-4);
    }
}

#[test]
fn the_hash_tells_weights_and_descriptions_apart() {
    let parent = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| parent.path().join(name).join("model"));
    folder::write("sd1", &one);
    folder::write("sd1", &two);
    let hash = |folder: &Path| open(folder).hash;
    assert_eq!(hash(&one), hash(&two));
    edit(&one, "scheduler/scheduler_config.json", "0.012", "0.013");
    assert_ne!(hash(&one), hash(&two));
    edit(&one, "scheduler/scheduler_config.json", "0.013", "0.012");
    let weights = one.join("unet/diffusion_pytorch_model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    std::fs::write(weights, bytes).unwrap();
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
        ("unet/config.json", r#""layers_per_block": 1"#, r#""layers_per_block": 2"#, "missing: "),
        ("vae/config.json", "UpDecoderBlock2D", "AttnUpDecoderBlock2D", "up_block_types"),
        ("vae/config.json", r#""act_fn": "silu""#, r#""act_fn": "relu""#, "act_fn"),
        ("scheduler/scheduler_config.json", "scaled_linear", "laplace", "beta_schedule: laplace"),
        ("scheduler/scheduler_config.json", r#""epsilon""#, r#""flow_prediction""#, "flow_prediction"),
        ("scheduler/scheduler_config.json", "{", r#"{"rescale_betas_zero_snr": true,"#, "rescale_betas_zero_snr"),
        ("scheduler/scheduler_config.json", r#""trained_betas": null"#, r#""trained_betas": []"#, "trained_betas"),
        ("unet/config.json", "    32,\n    64\n", "", "block_out_channels"),
        ("text_encoder/config.json", "quick_gelu", "swish", "hidden_act"),
        ("text_encoder/config.json", "clip_text_model", "t5", "model_type"),
        ("tokenizer/tokenizer_config.json", r#""pad_token": "<|endoftext|>""#, r#""pad_token": "?""#, "pad_token"),
        ("model_index.json", "StableDiffusionPipeline", "FluxPipeline", "FluxPipeline"),
        ("model_index.json", r#""AutoencoderKL""#, r#""AutoencoderTiny""#, "vae: is AutoencoderTiny"),
        ("model_index.json", r#""vae""#, r#""controlnet": ["diffusers", "ControlNetModel"], "vae""#, "controlnet"),
    ];
    let folder = made("sd1");
    for (file, from, to, part) in cases {
        let original = std::fs::read(folder.path().join(file)).unwrap();
        edit(folder.path(), file, from, to);
        let error = recognise::load(folder.path(), None).err().unwrap_or_else(|| panic!("{to} was read")).to_string();
        assert!(error.contains(part), "{error}");
        std::fs::write(folder.path().join(file), original).unwrap();
    }
    open(folder.path());
}

#[test]
fn a_schedule_that_ends_without_signal_is_read_for_v() {
    let folder = made("sd2");
    let [off, on] = ["false", "true"].map(|value| format!(r#""rescale_betas_zero_snr": {value}"#));
    edit(folder.path(), "scheduler/scheduler_config.json", &off, &on);
    let prior = open(folder.path());
    let (top, bottom) = (prior.schedule.top(), prior.schedule.bottom());
    assert!((top.alpha - 2f64.powi(-12)).abs() < 1e-9);
    // The first level is as before: beta_0 = 0.00085.
    assert!((bottom.alpha.powi(2) - (1.0 - 0.00085)).abs() < 1e-9);
}

#[test]
fn sides_and_tiles_can_be_stated_beside_a_folder() {
    let folder = made("sd1");
    let z = Tensor::<4>::from_data(TensorData::new(vec![0.5f32; 4 * 256], [1, 4, 16, 16]), &Device::flex());
    let decode = |toml: &str| {
        std::fs::write(folder.path().join("prior.toml"), toml).unwrap();
        let prior = open(folder.path());
        assert_eq!(prior.autoencoder.image_shape(prior.shape()), [3, 32, 32]);
        values(&prior.autoencoder.decode(z.clone()))
    };
    let whole = decode("[network]\nimage_size = 16\n");
    let tiled = decode("[network]\nimage_size = 16\n[autoencoder]\ntile = 8\n");
    assert_ne!(whole, tiled);
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
    let prior = open(folder.path());
    // Weights rounded to 11 bits; about 1e-3 after a dozen layers.
    expected.near("decoded", &values(&prior.autoencoder.decode(expected.tensor("latent"))), 5e-3);
}

/// A single file with the names of the original code, in small: a width of 64 makes one head.
#[test]
fn single_files_read_texts_with_their_own_encoders() {
    use vipaint_zoo::clip::{Activation, Config, Naming, Padding, Tokenizer, Weights, encode};
    let clip = Config {
        hidden_size: 64,
        intermediate_size: 128,
        num_hidden_layers: 2,
        num_attention_heads: 1,
        ..Config::clip_l()
    };
    let other = Config { hidden_act: Activation::Gelu, skip: 1, ..clip.clone() };
    let transformers = Naming::Transformers { root: "cond_stage_model.transformer.".into(), nested: true };
    let cases = [
        (clip, transformers, Padding::End, "a.safetensors"),
        (other, Naming::OpenClip { root: "cond_stage_model.model.".into() }, Padding::Zero, "b.safetensors"),
    ];
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("prior.toml"), TOML).unwrap();
    for (config, naming, padding, file) in cases {
        let path = folder.path().join(file);
        write_single(&path, matches!(naming, Naming::OpenClip { .. }));
        let prior = open(&path);
        let weights = Weights::new(std::sync::Arc::new(RandomWeights::default()), naming);
        let read_alone = |text: &str| {
            let tokens = Tokenizer::published(padding, 77).tokenize(text);
            encode(&config, &vipaint_zoo::Loader::new(&weights, &Device::flex()), &tokens).unwrap().tokens
        };
        assert_eq!(read(&prior, PROMPT).tokens, read_alone(PROMPT), "{file}");
        assert_eq!(read(&prior, "").tokens, read_alone(""), "{file}");
        let level = prior.schedule.level(TIME);
        let z = Expected::of("sd1").tensor("z");
        let x0_hat = |condition: Condition| values(&prior.denoiser.x0_hat(z.clone(), &[level], &condition).unwrap());
        let with = x0_hat(Condition::context(read(&prior, PROMPT)));
        assert_ne!(with, x0_hat(Condition::default()));
    }
}

const TOML: &str = r#"
head = "eps"
schedule = { kind = "vp", betas = "scaled-linear", start = 0.00085, end = 0.012, steps = 1000 }
[network]
image_size = 8
num_heads = 4
[autoencoder]
scale_factor = 0.18215
shift_factor = 0.0
"#;

/// U-Net, autoencoder and text encoder with random weights by their names.
fn write_single(path: &Path, open_clip: bool) {
    use vipaint_zoo::{autoencoder, openai};
    let transformer = openai::Transformer { context_dim: 64, ..Default::default() };
    let unet = openai::Config {
        image_size: 8,
        in_channels: 4,
        out_channels: 4,
        model_channels: 32,
        num_res_blocks: 1,
        channel_mult: vec![1.0, 2.0],
        attention_resolutions: vec![1],
        num_heads: 4,
        transformer: Some(transformer),
        ..Default::default()
    };
    let vae = autoencoder::Config { ch: 32, ch_mult: vec![1, 1], num_res_blocks: 1, ..Default::default() };
    let entries = unet.inventory().unwrap().entries.into_iter().chain(vae.inventory(8).unwrap().entries);
    let mut shapes: Vec<(String, Vec<usize>)> = entries.map(|entry| (entry.name, entry.shape)).collect();
    shapes.extend(if open_clip { open_clip_shapes() } else { clip_shapes() });
    let bytes: Vec<(String, Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let values = RandomWeights::default().tensor(&name, &shape).unwrap();
            (name, shape, values.iter().flat_map(|value| value.to_le_bytes()).collect())
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes);
        (name.as_str(), view.unwrap())
    });
    let file = safetensors::serialize(views, None::<std::collections::HashMap<String, String>>).unwrap();
    std::fs::write(path, file).unwrap();
}

type Shapes = Vec<(String, Vec<usize>)>;

/// A layer with weight and bias.
#[allow(clippy::needless_pass_by_value, reason = "names are made where it is called")]
fn both(name: String, shape: &[usize]) -> Shapes {
    vec![(format!("{name}.weight"), shape.to_vec()), (format!("{name}.bias"), shape[..1].to_vec())]
}

fn clip_shapes() -> Shapes {
    let root = "cond_stage_model.transformer.text_model.";
    let mut shapes = vec![
        (format!("{root}embeddings.token_embedding.weight"), vec![49408, 64]),
        (format!("{root}embeddings.position_embedding.weight"), vec![77, 64]),
    ];
    shapes.extend(both(format!("{root}final_layer_norm"), &[64]));
    for i in 0..2 {
        let at = format!("{root}encoder.layers.{i}.");
        for (name, shape) in
            [("layer_norm1", &[64][..]), ("layer_norm2", &[64]), ("mlp.fc1", &[128, 64]), ("mlp.fc2", &[64, 128])]
        {
            shapes.extend(both(format!("{at}{name}"), shape));
        }
        for name in ["q_proj", "k_proj", "v_proj", "out_proj"] {
            shapes.extend(both(format!("{at}self_attn.{name}"), &[64, 64]));
        }
    }
    shapes
}

fn open_clip_shapes() -> Shapes {
    let root = "cond_stage_model.model.";
    let mut shapes = vec![
        (format!("{root}token_embedding.weight"), vec![49408, 64]),
        (format!("{root}positional_embedding"), vec![77, 64]),
        (format!("{root}text_projection"), vec![64, 64]),
        (format!("{root}logit_scale"), vec![]),
    ];
    shapes.extend(both(format!("{root}ln_final"), &[64]));
    for i in 0..2 {
        let at = format!("{root}transformer.resblocks.{i}.");
        for (name, shape) in
            [("ln_1", &[64][..]), ("ln_2", &[64]), ("mlp.c_fc", &[128, 64]), ("mlp.c_proj", &[64, 128])]
        {
            shapes.extend(both(format!("{at}{name}"), shape));
        }
        shapes.extend(both(format!("{at}attn.out_proj"), &[64, 64]));
        shapes.push((format!("{at}attn.in_proj_weight"), vec![192, 64]));
        shapes.push((format!("{at}attn.in_proj_bias"), vec![192]));
    }
    shapes
}
