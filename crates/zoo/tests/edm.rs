//! EDM's networks and preconditionings against the original code (fixtures by `scripts/fixtures/edm.py`).

mod compare;

use burn::tensor::{Device, Tensor, TensorData};
use compare::{any_json, changed, device, fixtures, path};
use proptest::prelude::*;
use serde_json::json;
use vipaint_core::Level;
use vipaint_core::prior::{Condition, Prior};
use vipaint_zoo::edm::{Config, METADATA_KEY, header};
use vipaint_zoo::presets::{PRESETS, Preset};
use vipaint_zoo::recognise::{self, Opened};
use vipaint_zoo::{Family, Loader, Network, Preconditioning, RandomWeights, assemble, assemble_from};

#[test]
fn networks_are_those_of_the_original_code() {
    for fixture in fixtures("edm") {
        let header = header(&fixture.name, fixture.metadata(METADATA_KEY)).unwrap();
        let device = device();
        let network = header.network.build(&Loader::new(&RandomWeights::default(), &device)).unwrap();
        let conditions = fixture.conditions();
        network.check(&conditions).unwrap();
        let run = |x| network.forward(x, &fixture.numbers("time"), &conditions);
        let held = fixture.check("raw", run);
        network.recompute(true);
        assert!(held == fixture.check("raw", run), "{}: features that are computed again are others", fixture.name);
    }
}

#[test]
fn denoisers_are_those_of_the_original_code() {
    for fixture in fixtures("edm") {
        let header = header(&fixture.name, fixture.metadata(METADATA_KEY)).unwrap();
        let prior = assemble_from(header, &Loader::new(&RandomWeights::default(), &device())).unwrap().prior;
        let condition = &fixture.conditions()[0];
        let levels: Vec<Level> =
            fixture.numbers("sigma").into_iter().map(|sigma| Level { t: sigma, alpha: 1.0, sigma }).collect();
        fixture.check("denoised", |x| prior.denoiser.x0_hat(x, &levels, condition).unwrap());
    }
}

#[test]
fn noise_levels_are_those_of_the_networks_time() {
    let smooth = [
        Preconditioning::Edm { sigma_data: 0.5 },
        Preconditioning::Ve,
        Preconditioning::Vp { beta_d: 19.9, beta_min: 0.1, steps: 1000.0 },
    ];
    for preconditioning in smooth {
        for sigma in [0.002, 0.3, 1.0, 80.0] {
            let again = preconditioning.sigma(preconditioning.scales(sigma).noise);
            assert!((again / sigma - 1.0).abs() < 1e-9, "{preconditioning:?}: {again} for {sigma}");
        }
    }
    let rounding = Preconditioning::iddpm(0.001, 0.008, 100);
    for time in [0.0, 40.0, 99.0] {
        let sigma = rounding.sigma(time);
        // A little beside it, the timestep is the same.
        assert_eq!(rounding.scales(sigma * 1.001).noise, time);
        assert_eq!(rounding.scales(sigma * 0.999).noise, time);
    }
    assert!(rounding.sigma(100.0).is_nan() && rounding.sigma(-2.0).is_nan());
}

#[test]
fn a_converted_file_says_what_it_is() {
    let loaded = recognise::load(&path("edm", "tiny.safetensors"), None).unwrap();
    let prior = &loaded.prior;
    assert_eq!((prior.name.as_str(), prior.shape(), prior.classes.len()), ("tiny", [3, 16, 16], 2));
    // Its weights are the random ones, so this is the same network.
    let random = assemble(loaded.header, &RandomWeights::default()).unwrap().prior;
    let at = |prior: &Prior| {
        let z = Tensor::from_data(TensorData::new(vec![0.3f32; 768], [1, 3, 16, 16]), &Device::flex());
        let y = prior.denoiser.x0_hat(z, &[prior.schedule.level(1.0)], &Condition::class(1)).unwrap();
        y.into_data().iter::<f32>().collect::<Vec<_>>()
    };
    assert_eq!(at(prior), at(&random));
}

/// A file of another converter, without the preconditioning's prefix and without metadata, whose tensors tell which of the
/// published networks it is.
#[test]
fn a_bare_file_is_a_preset_by_its_tensors() {
    let preset = Preset::named("edm-imagenet-64x64-cond-adm").unwrap();
    let entries = preset.header().network.inventory().unwrap().entries;
    // Names and shapes, over a sparse file of zeros.
    let mut offset = 0;
    let rows: Vec<String> = entries
        .iter()
        .map(|entry| {
            let (start, shape) = (offset, format!("{:?}", entry.shape));
            offset += 2 * entry.len();
            let name = entry.name.strip_prefix("model.").unwrap();
            format!(r#""{name}":{{"dtype":"F16","shape":{shape},"data_offsets":[{start},{offset}]}}"#)
        })
        .collect();
    let header = format!("{{{}}}", rows.join(","));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bare.safetensors");
    std::fs::write(&path, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat()).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len((8 + header.len() + offset) as u64).unwrap();
    let opened = Opened::open(&path).unwrap();
    let recognised = opened.recognise(None).unwrap();
    assert_eq!(recognised.header, preset.header());
}

#[test]
fn a_class_is_asked_for_unless_the_network_was_trained_without_one() {
    let small = Config { model_channels: 4, channel_mult: vec![1], num_blocks: 0, label_dim: 2, ..Config::song(4) };
    let build = |config: &Config| config.build(&Loader::new(&RandomWeights::default(), &Device::flex())).unwrap();
    let none = [Condition::default()];
    assert!(build(&small).check(&none).unwrap_err().contains("class"));
    assert!(build(&Config { label_dropout: 0.1, ..small.clone() }).check(&none).is_ok());
    assert!(build(&small).check(&[Condition::class(1)]).is_ok());
}

#[test]
fn descriptions_that_make_no_sense_name_what_is_wrong() {
    let cases = [
        ("{", "metadata key `edm`"),
        ("[]", "object"),
        (r#"{"img_resolution": 8}"#, "class"),
        (r#"{"class": "Precond", "img_resolution": 8}"#, "Precond"),
        (r#"{"class": "EDMPrecond", "img_resolution": 8, "model_type": "UNet"}"#, "UNet"),
        (r#"{"class": "EDMPrecond", "img_resolution": 8, "fir": true}"#, "fir"),
        (r#"{"class": "EDMPrecond", "img_resolution": 8, "encoder_type": "skip"}"#, "encoder_type"),
        (r#"{"class": "VEPrecond", "img_resolution": 8, "encoder_type": "other"}"#, "other"),
        (r#"{"class": "EDMPrecond", "img_resolution": 8, "sigma_data": "x"}"#, "sigma_data"),
        (r#"{"class": "EDMPrecond", "img_resolution": 8, "sigma_data": -1}"#, "sigma_data"),
        (r#"{"class": "EDMPrecond", "img_resolution": 8, "sigma_max": 0.001}"#, "sigma"),
        (r#"{"class": "VPPrecond", "img_resolution": 8, "beta_d": 0}"#, "beta_d"),
        (r#"{"class": "iDDPMPrecond", "img_resolution": 8, "M": 1e9}"#, "steps"),
        (r#"{"class": "iDDPMPrecond", "img_resolution": 8, "M": 10.5}"#, "steps"),
        (r#"{"class": "EDMPrecond"}"#, "img_resolution"),
        (r#"{"class": "EDMPrecond", "img_resolution": 12}"#, "img_resolution"),
        (r#"{"class": "EDMPrecond", "img_resolution": 1000000}"#, "img_resolution"),
        (r#"{"class": "EDMPrecond", "img_resolution": 8, "channel_mult": [1, 100]}"#, "channel_mult"),
        (r#"{"class": "EDMPrecond", "img_resolution": 8, "channel_mult": [1, -1]}"#, "-1"),
        (r#"{"class": "EDMPrecond", "img_resolution": 8, "img_channels": 18446744073709551615}"#, "img_channels"),
        (r#"{"class": "VPPrecond", "img_resolution": 8, "resample_filter": [1, 2, 1]}"#, "resample_filter"),
        (r#"{"class": "VPPrecond", "img_resolution": 8, "label_dropout": 2}"#, "label_dropout"),
    ];
    for (json, part) in cases {
        let error = header("test", json).expect_err(json).to_string();
        assert!(error.contains(part), "{json}: {error}");
    }
}

#[test]
fn channels_that_groups_or_heads_do_not_divide_are_errors() {
    let small = Config { channel_mult: vec![1], num_blocks: 0, ..Config::song(4) };
    let error = |config: Config| Family::Edm(config).inventory().unwrap_err().to_string();
    assert!(error(Config { model_channels: 18, ..small }).contains("18 channels"));
    let adm = Config { model_channels: 224, channel_mult: vec![1], num_blocks: 0, ..Config::dhariwal(4) };
    assert!(error(adm).contains("3 heads"));
}

/// Numbers of parameters of the original code, without those of augmentation and with the random frequencies.
#[test]
fn published_networks_have_the_size_of_the_original() {
    let sizes = [
        ("edm-cifar10-32x32-cond-vp", 55_734_147),
        ("edm-cifar10-32x32-uncond-ve", 56_395_651),
        ("edm-ffhq-64x64-uncond-vp", 61_804_419),
        ("edm-imagenet-64x64-cond-adm", 295_899_267),
    ];
    for (name, parameters) in sizes {
        let preset = PRESETS.iter().find(|preset| preset.name == name).unwrap();
        assert_eq!(preset.header().network.inventory().unwrap().parameters(), parameters, "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn damaged_descriptions_are_errors_or_networks(
        class in prop::sample::select(vec!["EDMPrecond", "VPPrecond", "VEPrecond", "iDDPMPrecond"]),
        song in any::<bool>(), changes in prop::collection::vec((0.0..1.0, any_json()), 1..5),
    ) {
        let mut description = json!({
            "class": class, "img_resolution": 8, "img_channels": 3, "label_dim": 2, "augment_dim": 0, "model_channels": 16,
            "channel_mult": [1, 2], "channel_mult_emb": 2, "num_blocks": 1, "attn_resolutions": [4], "label_dropout": 0,
        });
        if song {
            let more = json!({
                "model_type": "SongUNet", "embedding_type": "fourier", "channel_mult_noise": 2, "encoder_type": "residual",
                "decoder_type": "skip", "resample_filter": [1, 3, 3, 1],
            });
            description.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        } else {
            description["model_type"] = "DhariwalUNet".into();
        }
        if let Ok(header) = header("test", &changed(description, &changes).to_string()) {
            let _ = header.network.inventory();
        }
    }
}
