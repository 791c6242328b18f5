//! Prior files: what is written is read back, and no file brings the program down.

use std::collections::HashMap;

use burn::tensor::{Device, Tensor};
use proptest::prelude::*;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use vipaint_core::Schedule;
use vipaint_core::prior::Guidance;
use vipaint_nn::layers::weights;
use vipaint_zoo::unet::Config;
use vipaint_zoo::{
    Error, Family, HEADER_FORMAT, Header, MAGIC_KEY, Parameterization, decode, encode, load_bytes, load_file,
};

fn header() -> Header {
    Header {
        format: HEADER_FORMAT,
        name: "tiny".into(),
        network: Family::Unet(Config {
            channels: 1,
            size: 8,
            patch: 2,
            widths: vec![8, 16],
            blocks: vec![1, 1],
            attention: vec![1],
            head_width: 8,
            group_width: 4,
            embedding: 8,
            time_scale: 16.0,
            classes: 2,
            context: 0,
        }),
        schedule: Schedule::Ve { sigma_min: 0.02, sigma_max: 40.0, rho: 7.0 },
        parameterization: Parameterization::Edm { sigma_data: 0.7 },
        data_std: 0.7,
        classes: vec!["a".into(), "b".into()],
        value_range: (-1.0, 1.0),
        autoencoder: None,
    }
}

/// A prior file with weights between -1 and 1, and the weights.
fn file() -> (Vec<u8>, Vec<f32>) {
    let Family::Unet(config) = header().network else { panic!("another family") };
    let network = config.blank(&Device::flex()).unwrap();
    let entries = weights::entries(&network);
    let count: usize = entries.iter().map(weights::Entry::len).sum();
    let values: Vec<f32> = (0..count).map(|i| (i as f32 * 0.37).sin()).collect();
    (encode(&header(), &entries, &values).unwrap(), values)
}

/// The file with its description and tensors changed.
fn altered(change: impl FnOnce(&mut String, &mut Vec<(String, Dtype, Vec<usize>, Vec<u8>)>)) -> Vec<u8> {
    let (bytes, _) = file();
    let parsed = SafeTensors::deserialize(&bytes).unwrap();
    let mut tensors: Vec<_> = parsed
        .tensors()
        .into_iter()
        .map(|(name, v)| (name, v.dtype(), v.shape().to_vec(), v.data().to_vec()))
        .collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    let mut json = header().to_json();
    change(&mut json, &mut tensors);
    let views = tensors.iter().map(|(n, d, s, b)| (n.clone(), TensorView::new(*d, s.clone(), b).unwrap()));
    safetensors::serialize(views, Some(HashMap::from([(MAGIC_KEY.to_string(), json)]))).unwrap()
}

fn error(bytes: &[u8]) -> Error {
    load_bytes(bytes).err().expect("the file is wrong")
}

#[test]
fn weights_survive_within_half_precision() {
    let (bytes, values) = file();
    let (read, network) = decode(&bytes).unwrap();
    assert_eq!(read, header());
    for (got, value) in weights::gather(&network).iter().zip(&values) {
        // f16 has 11 significant bits; below 2^-14 the spacing is 2^-24.
        assert!((got - value).abs() <= value.abs() * 2f32.powi(-11) + 2f32.powi(-25), "{got} for {value}");
    }
}

#[test]
fn a_loaded_prior_works_and_is_recognised() {
    let (bytes, _) = file();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.safetensors");
    std::fs::write(&path, &bytes).unwrap();
    let prior = load_file(&path).unwrap();
    assert_eq!((prior.name.as_str(), prior.shape(), prior.classes.len()), ("tiny", [1, 8, 8], 2));
    assert_eq!(prior.hash.len(), 16);
    assert_eq!(prior.hash, load_bytes(&bytes).unwrap().hash);
    let z = Tensor::<4>::ones([1, 1, 8, 8], &Device::flex());
    let out = prior.x0_hat_at(z, prior.schedule.level(1.0), &Guidance::default()).unwrap();
    assert!(out.into_data().iter::<f32>().all(f32::is_finite));
    assert!(matches!(load_file(&folder.path().join("none")), Err(Error::Io { .. })));
}

#[test]
fn wrong_tensors_are_named() {
    let message = |e: Error| e.to_string();
    let bytes = altered(|_, t| t.retain(|(name, ..)| name != "stem.weight"));
    assert!(matches!(error(&bytes), Error::Missing(names) if names == ["stem.weight"]));
    let bytes = altered(|_, t| t.push(("zz.extra".into(), Dtype::F32, vec![1], vec![0; 4])));
    assert!(matches!(error(&bytes), Error::Unexpected(names) if names == ["zz.extra"]));
    let bytes = altered(|_, t| {
        for t in t.iter_mut() {
            if t.0 == "stem.weight" {
                t.2.swap(0, 1);
            }
        }
    });
    assert!(message(error(&bytes)).contains("stem.weight: expected shape [8, 4, 3, 3], the file has [4, 8, 3, 3]"));
    let bytes = altered(|_, t| {
        for t in t.iter_mut() {
            if t.0 == "stem.bias" {
                t.1 = Dtype::I16;
            }
        }
    });
    assert!(matches!(error(&bytes), Error::Dtype { name, .. } if name == "stem.bias"));
    let bytes = altered(|_, t| {
        for t in t.iter_mut() {
            if t.0 == "stem.bias" {
                t.3[..2].fill(0xff);
            }
        }
    });
    assert!(matches!(error(&bytes), Error::NotFinite(name) if name == "stem.bias"));
}

#[test]
fn wrong_descriptions_are_refused() {
    let cases = [
        ("\"format\":1", "\"format\":9", "format 9"),
        ("\"sigma_max\":40.0", "\"sigma_max\":0.001", "sigma_min < sigma_max"),
        ("\"sigma_data\":0.7", "\"sigma_data\":-1", "sigma_data"),
        ("\"data_std\":0.7", "\"data_std\":0", "data_std"),
        ("[\"a\",\"b\"]", "[\"a\"]", "classes"),
        ("\"embedding\":8", "\"embedding\":800000000000", "embedding"),
        ("\"size\":8", "\"size\":-8", "invalid value"),
        ("\"widths\":[8,16]", "\"widths\":[8,1000000000000]", "widths"),
        ("\"family\":\"unet\"", "\"family\":\"gan\"", "gan"),
        ("\"sigma_min\":0.02", "\"sigma_min\":1e999", "number"),
    ];
    for (from, to, expected) in cases {
        let bytes = altered(|json, _| {
            assert!(json.contains(from), "{json}");
            *json = json.replace(from, to);
        });
        let message = error(&bytes).to_string();
        assert!(message.contains(expected), "{to}: {message}");
    }
}

#[test]
fn schedules_that_would_fill_the_memory_are_refused() {
    let ve = r#""schedule":{"kind":"ve","sigma_min":0.02,"sigma_max":40.0,"rho":7.0}"#;
    let schedules = [
        r#"{"kind":"vp","betas":"cosine","steps":1000000000000000}"#,
        r#"{"kind":"vp","betas":"cosine","steps":1}"#,
        r#"{"kind":"vp","betas":"linear","start":2.0,"end":3.0,"steps":10}"#,
        r#"{"kind":"vp","betas":"table","alphas_cumprod":[]}"#,
        r#"{"kind":"vp","betas":"table","alphas_cumprod":[0.5,0.9]}"#,
        r#"{"kind":"flow","shift":-3.0}"#,
    ];
    for schedule in schedules {
        let bytes = altered(|json, _| *json = json.replace(ve, &format!("\"schedule\":{schedule}")));
        assert!(error(&bytes).to_string().contains("schedule"), "{schedule}: {}", error(&bytes));
    }
}

#[test]
fn truncated_files_are_refused() {
    let (bytes, _) = file();
    for length in (0..bytes.len()).step_by(bytes.len() / 40) {
        assert!(load_bytes(&bytes[..length]).is_err(), "{length} bytes");
    }
    assert!(load_bytes(&u64::MAX.to_le_bytes()).is_err());
}

proptest! {
    /// Damage anywhere gives a prior or an error, never a panic.
    #[test]
    fn damaged_files_do_not_panic(position in 0.0..1.0f64, value: u8, in_head: bool) {
        let (mut bytes, _) = file();
        let head = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize + 8;
        let reach = if in_head { head } else { bytes.len() };
        bytes[(position * reach as f64) as usize] = value;
        let _ = load_bytes(&bytes);
    }

    /// Nor do arbitrary bytes.
    #[test]
    fn arbitrary_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(load_bytes(&bytes).is_err());
    }
}
