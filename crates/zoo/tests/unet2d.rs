//! diffusers' UNet2DModel and schedulers against the library (fixtures by `scripts/fixtures/unet2d.py`).

mod compare;

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use compare::{Fixture, any_json, changed, device, fixtures, path};
use proptest::prelude::*;
use serde_json::{Value, json};
use vipaint_core::Level;
use vipaint_core::prior::{Condition, Denoiser, Prior};
use vipaint_zoo::diffusers::scheduler::Scheduler;
use vipaint_zoo::diffusers::unet2d::Config;
use vipaint_zoo::formats::Checkpoint;
use vipaint_zoo::presets::PRESETS;
use vipaint_zoo::recognise;
use vipaint_zoo::{Family, Headed, Loaded, Loader, Network, RandomWeights, assemble};

/// The `unet` or `scheduler` of a fixture.
fn json_of(fixture: &Fixture, part: &str) -> Value {
    serde_json::from_str::<Value>(fixture.metadata("diffusers")).unwrap()[part].take()
}

fn network(fixture: &Fixture) -> vipaint_zoo::diffusers::unet2d::UNet {
    let config = Config::from_json(&json_of(fixture, "unet")).unwrap();
    config.build(&Loader::new(&RandomWeights::default(), &device())).unwrap()
}

#[test]
fn networks_are_those_of_the_library() {
    for fixture in fixtures("unet2d") {
        let (network, conditions) = (network(&fixture), fixture.conditions());
        network.check(&conditions).unwrap();
        let run = |x| network.forward(x, &fixture.numbers("time"), &conditions);
        let held = fixture.check("raw", run);
        network.recompute(true);
        assert!(held == fixture.check("raw", run), "{}: features that are computed again are others", fixture.name);
    }
}

#[test]
fn denoisers_are_those_of_the_librarys_schedulers() {
    for fixture in fixtures("unet2d") {
        let scheduler = Scheduler::from_json(&json_of(&fixture, "scheduler")).unwrap();
        let levels: Vec<Level> =
            fixture.numbers("timesteps").into_iter().map(|t| scheduler.schedule.level(t)).collect();
        let denoiser = Headed::new(network(&fixture), scheduler.head);
        let condition = &fixture.conditions()[0];
        fixture.check("denoised", |x| denoiser.x0_hat(x, &levels, condition).unwrap());
    }
}

/// `x0_hat` of a fixed picture.
fn x0_hat(prior: &Prior) -> Vec<f32> {
    let z = Tensor::from_data(TensorData::new(vec![0.3f32; 192], [1, 3, 8, 8]), &Device::flex());
    let y = prior.denoiser.x0_hat(z, &[prior.schedule.level(300.0)], &Condition::default()).unwrap();
    y.into_data().iter::<f32>().collect()
}

fn load(path: &Path) -> Loaded {
    recognise::load(path, None).unwrap()
}

#[test]
fn a_pipelines_folder_says_what_it_is() {
    let folder = path("unet2d", "tiny");
    let loaded = load(&folder);
    assert_eq!(loaded.header.name, "tiny");
    // Its weights are the random ones, so this is the same network.
    let random = assemble(loaded.header, &RandomWeights::default()).unwrap().prior;
    assert_eq!(x0_hat(&loaded.prior), x0_hat(&random));
    // The model's own folder, and the file in it, find the scheduler beside.
    for below in ["unet", "unet/diffusion_pytorch_model.safetensors"] {
        assert_eq!(x0_hat(&load(&folder.join(below)).prior), x0_hat(&random));
    }
}

/// As the repositories of 2022 have it: all files in the folder itself, attention under other names, some options unset.
#[test]
fn an_old_folder_says_what_it_is() {
    let (new, old) = (path("unet2d", "tiny"), tempfile::tempdir().unwrap());
    let copy = |from: &str, to: &str, drop: &[&str]| {
        let mut value: Value = serde_json::from_slice(&std::fs::read(new.join(from)).unwrap()).unwrap();
        for key in drop {
            drop_key(&mut value, key);
        }
        std::fs::write(old.path().join(to), value.to_string()).unwrap();
    };
    copy("model_index.json", "model_index.json", &[]);
    let later = ["add_attention", "class_embed_type", "dropout", "num_train_timesteps", "resnet_time_scale_shift"];
    copy("unet/config.json", "config.json", &later);
    copy("scheduler/scheduler_config.json", "scheduler_config.json", &["prediction_type", "thresholding"]);
    let names = [("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")]
        .map(|(new, old)| (format!(".{new}."), format!(".{old}.")));
    let file = Checkpoint::open(&new.join("unet")).unwrap();
    let renamed = |name: &str| names.iter().fold(name.to_owned(), |name, (new, old)| name.replace(new, old));
    let tensors: Vec<(String, Vec<usize>, Vec<u8>)> =
        file.tensors().map(|t| (renamed(t.name()), t.shape().to_vec(), t.bytes().into_owned())).collect();
    let views = tensors.iter().map(|(name, shape, bytes)| {
        (name, safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap())
    });
    let bytes = safetensors::tensor::serialize(views, None).unwrap();
    std::fs::write(old.path().join("diffusion_pytorch_model.safetensors"), bytes).unwrap();
    assert!(tensors.iter().any(|(name, ..)| name == "mid_block.attentions.0.proj_attn.bias"));
    assert_eq!(x0_hat(&load(&new).prior), x0_hat(&load(old.path()).prior));
}

fn drop_key(value: &mut Value, key: &str) {
    assert!(value.as_object_mut().unwrap().remove(key).is_some(), "{key}");
}

#[test]
fn folders_that_lack_something_say_what() {
    let (new, folder) = (path("unet2d", "tiny"), tempfile::tempdir().unwrap());
    let error = || recognise::load(folder.path(), None).err().unwrap().to_string();
    let copy = |from: &str, to: &str| std::fs::copy(new.join(from), folder.path().join(to)).unwrap();
    copy("unet/diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.safetensors");
    assert!(error().contains("network.sample_size"), "{}", error());
    copy("unet/config.json", "config.json");
    assert!(error().contains("schedule") && error().contains("parameterization"), "{}", error());
    std::fs::write(folder.path().join("scheduler_config.json"), "{").unwrap();
    assert!(error().contains("scheduler_config.json"), "{}", error());
    copy("scheduler/scheduler_config.json", "scheduler_config.json");
    assert!(recognise::load(folder.path(), None).is_ok());
}

#[allow(clippy::needless_pass_by_value, reason = "changes are written where it is called")]
fn config_error(changes: Value) -> String {
    let text = std::fs::read_to_string(path("unet2d", "tiny").join("unet/config.json")).unwrap();
    let mut config: Value = serde_json::from_str(&text).unwrap();
    config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    match Config::from_json(&config) {
        Err(error) => error.to_string(),
        Ok(config) => Family::Unet2d(config).inventory().expect_err(&changes.to_string()).to_string(),
    }
}

#[test]
fn options_that_are_not_supported_are_named() {
    let cases = [
        (json!({"_class_name": "UNet2DConditionModel"}), "UNet2DConditionModel"),
        (json!({"cross_attention_dim": 768}), "cross_attention_dim"),
        (json!({"time_embedding_type": "fourier"}), "time_embedding_type"),
        (json!({"act_fn": "gelu"}), "act_fn"),
        (json!({"class_embed_type": "timestep"}), "class_embed_type"),
        (json!({"down_block_types": ["DownBlock2D", "SkipDownBlock2D"]}), "SkipDownBlock2D"),
        (json!({"up_block_types": ["UpBlock2D", "SkipUpBlock2D"]}), "SkipUpBlock2D"),
        (json!({"up_block_types": ["UpBlock2D"]}), "up_block_types"),
        (json!({"mid_block_type": "UNetMidBlock2DCrossAttn"}), "UNetMidBlock2DCrossAttn"),
        (json!({"downsample_type": "fir"}), "fir"),
        (json!({"resnet_time_scale_shift": "spatial"}), "spatial"),
        (json!({"sample_size": null}), "null"),
        (json!({"sample_size": 7}), "sample_size"),
        (json!({"sample_size": [8, 16]}), "sample_size"),
        (json!({"sample_size": 100000}), "sample_size"),
        (json!({"block_out_channels": []}), "block_out_channels"),
        (json!({"block_out_channels": [3, 8]}), "block_out_channels"),
        (json!({"block_out_channels": [4, 1000000]}), "block_out_channels"),
        (json!({"norm_num_groups": 3}), "groups"),
        (json!({"norm_num_groups": 0}), "norm_num_groups"),
        (json!({"attention_head_dim": 3}), "attention_head_dim"),
        (json!({"attention_head_dim": 0}), "attention_head_dim"),
        (json!({"freq_shift": 2}), "freq_shift"),
        (json!({"downsample_padding": 2}), "downsample_padding"),
        (json!({"out_channels": 4}), "out_channels"),
        (json!({"mid_block_scale_factor": 0}), "mid_block_scale_factor"),
        (json!({"norm_eps": -1}), "norm_eps"),
    ];
    for (changes, part) in cases {
        let error = config_error(changes.clone());
        assert!(error.contains(part), "{changes}: {error}");
    }
    // Unknown, but unset.
    assert!(Config::from_json(&json!({"sample_size": 32, "cross_attention_dim": null})).is_ok());
}

#[test]
fn schedulers_that_are_not_supported_are_named() {
    let cases = [
        (json!({"_class_name": "ScoreSdeVeScheduler"}), "ScoreSdeVeScheduler"),
        (json!({"sampling_eps": 1e-3}), "sampling_eps"),
        (json!({"beta_schedule": "laplace"}), "laplace"),
        (json!({"prediction_type": "flow"}), "prediction_type"),
        (json!({"rescale_betas_zero_snr": true}), "rescale_betas_zero_snr"),
        (json!({"num_train_timesteps": 1}), "num_train_timesteps"),
        (json!({"num_train_timesteps": 100_000_000}), "num_train_timesteps"),
        (json!({"beta_start": -1}), "beta_start"),
        (json!({"trained_betas": []}), "trained_betas"),
        (json!({"beta_end": "much"}), "much"),
        (json!([]), "object"),
    ];
    for (config, part) in cases {
        let error = Scheduler::from_json(&config).expect_err(&config.to_string()).to_string();
        assert!(error.contains(part), "{config}: {error}");
    }
}

/// Numbers of parameters, as the library makes them.
#[test]
fn published_networks_have_the_size_of_the_original() {
    for (name, parameters) in [("ddpm-cifar10-32", 35_746_307), ("ddpm-celebahq-256", 113_673_219)] {
        let preset = PRESETS.iter().find(|preset| preset.name == name).unwrap();
        assert_eq!(preset.header().network.inventory().unwrap().parameters(), parameters, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn damaged_configurations_are_errors_or_networks(changes in prop::collection::vec((0.0..1.0, any_json()), 1..5)) {
        let mut config = serde_json::to_value(Config { sample_size: 8, norm_num_groups: 4, ..Config::default() }).unwrap();
        config["block_out_channels"] = json!([8, 16, 8, 8]);
        if let Ok(config) = Config::from_json(&changed(config, &changes)) {
            let _ = Family::Unet2d(config).inventory();
        }
        let scheduler = json!({
            "num_train_timesteps": 10, "beta_start": 0.1, "beta_end": 0.2, "beta_schedule": "sigmoid", "trained_betas": null,
            "prediction_type": "epsilon", "rescale_betas_zero_snr": false,
        });
        let _ = Scheduler::from_json(&changed(scheduler, &changes));
    }
}
