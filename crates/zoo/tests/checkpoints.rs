//! Checkpoints made by the real PyTorch (see `checkpoints/make.py`): every number is known.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use vipaint_zoo::formats::{Checkpoint, Dtype, Folder, Layout, layout, weights_file};
use vipaint_zoo::{Error, Source};

const FILES: [&str; 10] = [
    "plain.pt",
    "plain-legacy.pt",
    "module.pth",
    "lightning.ckpt",
    "lightning-legacy.ckpt",
    "strange.pt",
    "object.pt",
    "ema.pt",
    "script.pt",
    "shard-1.safetensors",
];

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checkpoints").join(name)
}

fn open(name: &str) -> Checkpoint {
    Checkpoint::open(&path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn refusal(name: &str) -> String {
    Checkpoint::open(&path(name)).err().unwrap_or_else(|| panic!("{name} was read")).to_string()
}

/// What the script puts into a tensor.
fn ramp(start: f32, count: usize) -> Vec<f32> {
    (0..count).map(|i| i as f32 / 8.0 + start).collect()
}

#[test]
fn every_type_and_stride_is_read() {
    for name in ["plain.pt", "plain-legacy.pt"] {
        let file = open(name);
        let base = ramp(0.0, 24);
        let pick = |indices: Vec<usize>| indices.into_iter().map(|i| base[i]).collect::<Vec<f32>>();
        let transposed = pick((0..6).flat_map(|i| (0..4).map(move |j| j * 6 + i)).collect());
        let cases: [(&str, Dtype, &[usize], Vec<f32>); 10] = [
            ("f32", Dtype::F32, &[2, 3], ramp(1.0, 6)),
            ("f16", Dtype::F16, &[2, 3], ramp(2.0, 6)),
            ("bf16", Dtype::BF16, &[5], ramp(3.0, 5)),
            ("f64", Dtype::F64, &[2, 2], ramp(4.0, 4)),
            ("transposed", Dtype::F32, &[6, 4], transposed),
            ("column", Dtype::F32, &[4], pick(vec![2, 8, 14, 20])),
            ("row", Dtype::F32, &[6], pick((6..12).collect())),
            ("scalar", Dtype::F32, &[], vec![7.5]),
            ("empty", Dtype::F32, &[0, 3], vec![]),
            ("parameter", Dtype::F32, &[3], ramp(5.0, 3)),
        ];
        for (tensor, dtype, shape, values) in cases {
            let found = file.get(tensor).unwrap();
            assert_eq!((found.dtype(), found.shape()), (dtype, shape), "{name} {tensor}");
            assert_eq!(found.to_f32().unwrap(), values, "{name} {tensor}");
            let gathered = matches!(tensor, "transposed" | "column");
            assert_eq!(matches!(found.bytes(), Cow::Borrowed(_)), !gathered, "{name} {tensor}");
        }
        assert_eq!(*file.get("i64").unwrap().bytes(), [0u64, 1, 2].map(u64::to_le_bytes).concat());
        assert_eq!(*file.get("flag").unwrap().bytes(), [1, 0]);
        assert!(file.get("i64").unwrap().to_f32().unwrap_err().to_string().contains("i64: holds I64"));
        assert!(file.get("other").unwrap_err().to_string().contains("no tensor other"));
        assert_eq!(file.names().count(), 12);
    }
}

#[test]
fn a_module_is_read_and_compared() {
    let file = open("module.pth");
    assert_eq!(Source::tensor(&file, "0.weight", &[2, 1, 3, 3]).unwrap(), ramp(0.0, 18));
    assert!(Source::tensor(&file, "0.weight", &[2, 9]).unwrap_err().to_string().contains("expected shape [2, 9]"));
    assert_eq!(file.get("0.weight").unwrap().to_f32().unwrap(), ramp(0.0, 18));
    let names: Vec<&str> = file.names().collect();
    let batch_norm = ["1.bias", "1.num_batches_tracked", "1.running_mean", "1.running_var", "1.weight"];
    assert_eq!(names, [&["0.bias", "0.weight"][..], &batch_norm].concat());
    let mismatch = file.compare("0.", [("weight", &[2, 1, 3, 3][..]), ("bias", &[3][..]), ("scale", &[2][..])]);
    assert_eq!(mismatch.to_string(), "1 missing: scale; 1 of another shape: bias [2] instead of [3]");
}

#[test]
fn a_training_checkpoint_gives_its_averaged_weights_only() {
    for name in ["lightning.ckpt", "lightning-legacy.ckpt"] {
        let file = open(name);
        assert!(file.is_ema());
        let names: Vec<&str> = file.names().collect();
        let expected = [
            "betas",
            "first_stage_model.decoder.conv_in.weight",
            "model.diffusion_model.input_blocks.0.0.weight",
            "model.diffusion_model.out.2.bias",
        ];
        assert_eq!(names, expected, "{name}");
        assert_eq!(file.get(names[2]).unwrap().to_f32().unwrap(), ramp(100.0, 6), "{name}");
        assert_eq!(layout(file.names()), Some(Layout::CompVis));
    }
    let file = open("ema.pt");
    assert!(file.is_ema());
    assert_eq!(file.get("w").unwrap().to_f32().unwrap(), ramp(5.0, 2));
}

#[test]
fn what_is_not_supported_is_named_when_it_is_asked_for() {
    let file = open("strange.pt");
    assert_eq!(file.get("weight").unwrap().to_f32().unwrap(), ramp(0.0, 2));
    let cases = [
        ("quantized", "torch._utils._rebuild_qtensor"),
        ("complex", "torch.ComplexFloatStorage"),
        ("float8", "torch.float8_e4m3fn"),
        ("unsigned", "torch.uint16"),
    ];
    for (tensor, global) in cases {
        let error = file.get(tensor).unwrap_err().to_string();
        assert!(error.contains(tensor) && error.contains(global), "{error}");
    }
}

#[test]
fn files_that_are_no_weights_say_what_they_are() {
    assert!(refusal("object.pt").contains("pickled __main__.Network"), "{}", refusal("object.pt"));
    assert!(refusal("script.pt").contains("TorchScript"));
    assert!(refusal("big-endian.pt").contains("big-endian"));
    let folder = tempfile::tempdir().unwrap();
    let cases: [(&[u8], &str); 4] = [
        (b"", "neither"),
        (b"\x89PNG\r\n\x1a\n and so on", "neither"),
        // EDM's own pickles: an object of NVIDIA's code.
        (b"\x80\x04\x8c\x17torch_utils.persistence\x8c\x0aEDMPrecond\x93)\x81.", "torch_utils.persistence"),
        (b"\x10\0\0\0\0\0\0\0{\"a\":1}         ", "not a whole safetensors file"),
    ];
    for (bytes, part) in cases {
        let file = folder.path().join("file");
        std::fs::write(&file, bytes).unwrap();
        let error = Checkpoint::open(&file).err().expect("it is no checkpoint").to_string();
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn shards_are_one_checkpoint() {
    let file = open("model.safetensors.index.json");
    assert_eq!(file.names().collect::<Vec<_>>(), ["a", "b", "half"]);
    assert_eq!(file.get("b").unwrap().to_f32().unwrap(), ramp(3.0, 2));
    assert_eq!(file.get("half").unwrap().to_f32().unwrap(), ramp(2.0, 4));

    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("model.safetensors.index.json");
    std::fs::write(&index, r#"{"weight_map": {"a": "../outside.safetensors"}}"#).unwrap();
    assert!(Checkpoint::open(&index).err().unwrap().to_string().contains("names a shard"));
    std::fs::write(&index, r#"{"weight_map": {"a": "absent.safetensors"}}"#).unwrap();
    assert!(Checkpoint::open(&index).err().unwrap().to_string().contains("absent.safetensors"));
    std::fs::write(&index, r#"{"weights": 1}"#).unwrap();
    assert!(Checkpoint::open(&index).err().unwrap().to_string().contains("weight_map"));
}

#[test]
fn folders_are_told_apart_and_give_their_weights() {
    let folder = tempfile::tempdir().unwrap();
    let unet = folder.path().join("unet");
    std::fs::create_dir(&unet).unwrap();
    std::fs::write(unet.join("config.json"), r#"{"_class_name": "UNet2DModel", "sample_size": 32}"#).unwrap();
    assert!(weights_file(&unet).unwrap_err().to_string().contains("no weights file"));
    std::fs::copy(path("module.pth"), unet.join("diffusion_pytorch_model.bin")).unwrap();
    assert_eq!(Checkpoint::open(&unet).unwrap().names().next(), Some("0.bias"));
    std::fs::copy(path("shard-1.safetensors"), unet.join("diffusion_pytorch_model.safetensors")).unwrap();
    assert_eq!(Checkpoint::open(&unet).unwrap().names().next(), Some("a"));
    let Folder::Model { class, config } = Folder::open(&unet).unwrap() else { panic!("it is a model") };
    assert_eq!((class.as_str(), &config["sample_size"]), ("UNet2DModel", &serde_json::json!(32)));

    let index = r#"{"_class_name": "DDPMPipeline", "_diffusers_version": "0.1", "unet": ["diffusers", "UNet2DModel"]}"#;
    std::fs::write(folder.path().join("model_index.json"), index).unwrap();
    let Folder::Pipeline { class, parts } = Folder::open(folder.path()).unwrap() else { panic!("it is a pipeline") };
    assert_eq!((class.as_str(), parts["unet"].class.as_str()), ("DDPMPipeline", "UNet2DModel"));
    assert!(Checkpoint::open(folder.path()).err().unwrap().to_string().contains("subfolders"));
}

#[test]
fn a_file_cut_anywhere_is_an_error() {
    for name in FILES {
        let whole = std::fs::read(path(name)).unwrap();
        for end in 0..whole.len() {
            assert!(Checkpoint::from_bytes(whole[..end].to_vec()).is_err(), "{name} cut at {end}");
        }
    }
}

/// Looks at everything, so that a wrong place would be found out.
fn read_all(bytes: Vec<u8>) {
    if let Ok(file) = Checkpoint::from_bytes(bytes) {
        for tensor in file.tensors() {
            assert_eq!(tensor.bytes().len(), tensor.shape().iter().product::<usize>() * tensor.dtype().size());
            let _ = tensor.to_f32();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn damaged_files_are_errors_or_checkpoints(
        file in 0..FILES.len(), changes in prop::collection::vec((0.0..1.0f64, any::<u8>()), 1..6),
        cut in prop::option::weighted(0.2, 0.0..1.0f64),
    ) {
        let mut bytes = std::fs::read(path(FILES[file])).unwrap();
        for (place, byte) in changes {
            let at = (place * bytes.len() as f64) as usize;
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate((cut * bytes.len() as f64) as usize);
        }
        read_all(bytes);
    }
}

#[test]
fn a_safetensors_header_may_be_as_long_as_a_pickle_begins() {
    // 0x280 = 640 bytes: the first two are those of a pickle of protocol 2.
    let json = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
    let mut bytes = 640u64.to_le_bytes().to_vec();
    bytes.extend(format!("{json:640}").bytes());
    bytes.extend(2.5f32.to_le_bytes());
    let file = Checkpoint::from_bytes(bytes).unwrap();
    assert_eq!(file.get("a").unwrap().to_f32().unwrap(), [2.5]);
}

/// A safetensors file of one tensor, whose header is `pad` bytes longer than it need be.
fn single(dtype: &str, numbers: &[Vec<u8>], pad: usize) -> Vec<u8> {
    let data = numbers.concat();
    let end = data.len();
    let mut header =
        format!(r#"{{"w":{{"dtype":"{dtype}","shape":[{}],"data_offsets":[0,{end}]}}}}"#, numbers.len()).into_bytes();
    header.resize(header.len() + pad, b' ');
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// The bytes of a number.
type Bytes = fn(f32) -> Vec<u8>;

/// Values are lent where they lie, or made from what is there; enough of them for several threads.
#[test]
fn values_are_the_same_however_they_lie_and_all_are_looked_at() {
    let values: Vec<f32> = (0..200_003).map(|i| (i % 1001) as f32 / 8.0 - 60.0).collect(); // exact in every type but bf16
    let coarse: Vec<f32> = values.iter().map(|x| half::bf16::from_f32(*x).to_f32()).collect();
    let types: [(&str, Bytes, &[f32]); 4] = [
        ("F32", |x| x.to_le_bytes().to_vec(), &values),
        ("F64", |x| f64::from(x).to_le_bytes().to_vec(), &values),
        ("F16", |x| half::f16::from_f32(x).to_le_bytes().to_vec(), &values),
        ("BF16", |x| half::bf16::from_f32(x).to_le_bytes().to_vec(), &coarse),
    ];
    for (dtype, bytes, expected) in types {
        for pad in 0..4 {
            let mut numbers: Vec<Vec<u8>> = values.iter().map(|x| bytes(*x)).collect();
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("w.safetensors");
            std::fs::write(&path, single(dtype, &numbers, pad)).unwrap();
            let file = Checkpoint::open(&path).unwrap();
            assert!(*file.values("w", &[values.len()]).unwrap() == *expected, "{dtype} after {pad}");
            assert!(*file.values("w", &[values.len()]).unwrap().part(7..9) == expected[7..9]);
            for (place, wrong) in [(0, f32::NAN), (values.len() - 1, f32::NEG_INFINITY), (100_000, f32::INFINITY)] {
                let right = std::mem::replace(&mut numbers[place], bytes(wrong));
                let file = Checkpoint::from_bytes(single(dtype, &numbers, pad)).unwrap();
                assert!(
                    matches!(file.tensor("w", &[values.len()]), Err(Error::NotFinite(name)) if name == "w"),
                    "{dtype} with {wrong} at {place}"
                );
                numbers[place] = right;
            }
        }
    }
}
