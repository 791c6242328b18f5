//! Checkpoints are known by their tensors: every preset at full size (from files that hold zeros and take no space), the
//! options of the parity fixtures, and what is said when something is wrong.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use vipaint_zoo::presets::{PRESETS, Preset};
use vipaint_zoo::recognise::Opened;
use vipaint_zoo::{Error, HEADER_FORMAT, Header};

/// Names and shapes of a checkpoint with this description, as its authors name them.
fn tensors(header: &Header) -> Vec<(String, Vec<usize>)> {
    let network = json!(header.network);
    let below = header.autoencoder.is_some() && network["transformer"].is_null();
    let own = header.network.inventory().unwrap().entries.len();
    let entries = header.inventory().unwrap().entries.into_iter().enumerate();
    let name = |i: usize, name: String| if below && i < own { format!("model.diffusion_model.{name}") } else { name };
    entries.map(|(i, entry)| (name(i, entry.name), entry.shape)).collect()
}

/// A safetensors file of zeros in half precision.
fn write(path: &Path, tensors: &[(String, Vec<usize>)]) {
    let mut at = 0;
    let rows = tensors.iter().map(|(name, shape)| {
        let start = at;
        at += 2 * shape.iter().product::<usize>();
        (name.clone(), json!({ "dtype": "F16", "shape": shape, "data_offsets": [start, at] }))
    });
    let header = Value::Object(rows.collect()).to_string();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len((8 + header.len() + at) as u64).unwrap();
}

/// A folder with a checkpoint, and a prior.toml if it is not empty.
fn folder(tensors: &[(String, Vec<usize>)], toml: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write(&path, tensors);
    if !toml.is_empty() {
        std::fs::write(folder.path().join("prior.toml"), toml).unwrap();
    }
    (folder, path)
}

fn recognise(path: &Path, preset: Option<&str>) -> Result<Header, Error> {
    let preset = preset.map(|name| Preset::named(name).unwrap());
    Ok(Opened::open(path)?.recognise(preset)?.header)
}

/// A description with lists in a fixed order, and without what only quotients of matter.
fn plain(header: &Header) -> Value {
    let mut value = json!(header);
    if let Some(list) = value["network"]["attention_resolutions"].as_array_mut() {
        list.sort_by_key(Value::as_u64);
    }
    value
}

#[test]
fn every_preset_is_known_by_its_tensors() {
    for preset in PRESETS {
        let header = preset.header();
        let (_folder, path) = folder(&tensors(&header), "");
        let alike = |other: &&Preset| tensors(&other.header()) == tensors(&header);
        let others: Vec<&str> = PRESETS.iter().filter(alike).map(|other| other.name).collect();
        match recognise(&path, None) {
            Ok(found) if others.len() == 1 => assert_eq!(plain(&found), plain(&header), "{}", preset.name),
            Ok(found) => {
                let found = Header { name: header.name.clone(), ..found };
                assert_eq!(plain(&found), plain(&header), "{}", preset.name);
            }
            Err(Error::Ambiguous { presets, .. }) => assert_eq!(presets, others, "{}", preset.name),
            Err(error) => panic!("{}: {error}", preset.name),
        }
        let stated = recognise(&path, Some(preset.name)).unwrap();
        assert_eq!(plain(&stated), plain(&header), "{}, stated", preset.name);
    }
}

/// A description with the network of a parity fixture.
fn fixture(name: &str) -> Header {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/parity/{name}.safetensors"));
    let file = vipaint_zoo::formats::Checkpoint::open(&path).unwrap();
    let mut network: Value = serde_json::from_str(&file.metadata()["config"]).unwrap();
    network.as_object_mut().unwrap().remove("seed");
    let latent = name.starts_with("latent") || name.starts_with("generative");
    let config = json!({ "embed_dim": 3, "z_channels": 3, "n_embed": 64, "ch": 32, "attn_resolutions": [128] });
    let header = json!({
        "format": HEADER_FORMAT, "name": "test", "network": network, "classes": [],
        "schedule": { "kind": "vp", "betas": "cosine", "steps": 100 },
        "parameterization": { "kind": "head", "head": "v" }, "data_std": 0.7, "value_range": [-1.0, 1.0],
        "autoencoder": if latent { config } else { Value::Null },
    });
    let mut header: Header = serde_json::from_value(header).unwrap();
    header.classes = (0..header.network.classes()).map(|class| class.to_string()).collect();
    header
}

const STATED: &str = r#"
    name = "test"
    head = "v"
    schedule = { kind = "vp", betas = "cosine", steps = 100 }
    data_std = 0.7
"#;

/// What a prior.toml must say of a network: what no tensor tells.
fn stated(header: &Header) -> String {
    let network = json!(header.network);
    let mut text = format!("{STATED}\n[network]\n");
    let keys = ["image_size", "num_heads", "num_head_channels", "num_heads_upsample", "use_new_attention_order"];
    for key in keys {
        if !network[key].is_null() {
            writeln!(text, "{key} = {}", network[key]).unwrap();
        }
    }
    if header.autoencoder.is_some() {
        text += "[autoencoder]\nscale_factor = 1\nshift_factor = 0\n";
    }
    text
}

#[test]
fn every_option_is_known_by_its_tensors() {
    let folder_of_fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/parity");
    let mut checked = 0;
    for entry in std::fs::read_dir(folder_of_fixtures).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        if !["guided", "latent", "generative"].iter().any(|family| name.starts_with(family)) {
            continue;
        }
        let header = fixture(&name);
        let (_folder, path) = folder(&tensors(&header), &stated(&header));
        let found = recognise(&path, None).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(plain(&found), plain(&header), "{name}");
        checked += 1;
    }
    assert!(checked >= 12, "{checked} fixtures");
}

/// What is said of a checkpoint that cannot be used.
fn refusal(tensors: &[(String, Vec<usize>)], toml: &str) -> String {
    let (_folder, path) = folder(tensors, toml);
    match recognise(&path, None) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it is not refused"),
    }
}

#[test]
fn what_is_untold_missing_unexpected_or_misshaped_is_named() {
    let header = fixture("guided-everything");
    let all = tensors(&header);
    let said = refusal(&all, "");
    for part in
        ["network.image_size", "network.num_heads or", "use_new_attention_order", "schedule", "parameterization"]
    {
        assert!(said.contains(part), "{said}");
    }
    let toml = stated(&header);
    let without: Vec<_> = all.iter().filter(|(name, _)| name != "middle_block.0.out_layers.3.bias").cloned().collect();
    let said = refusal(&without, &toml);
    assert!(said.contains("1 missing: middle_block.0.out_layers.3.bias"), "{said}");
    let more = [all.clone(), vec![("middle_block.3.weight".into(), vec![2])]].concat();
    let said = refusal(&more, &toml);
    assert!(said.contains("1 unexpected: middle_block.3.weight"), "{said}");
    let bent = |(name, shape): &(String, Vec<usize>)| {
        (name.clone(), if name == "out.0.bias" { vec![7] } else { shape.clone() })
    };
    let said = refusal(&all.iter().map(bent).collect::<Vec<_>>(), &toml);
    assert!(said.contains("out.0.bias [7] instead of [32]"), "{said}");
    let said = refusal(&[("fc.weight".into(), vec![2, 2])], "");
    assert!(said.contains("no known family") && said.contains("fc.weight"), "{said}");
}

#[test]
fn a_wrong_prior_toml_is_refused_by_field() {
    let all = tensors(&fixture("guided-everything"));
    for (toml, part) in [
        ("colour = 3", "colour"),
        ("preset = \"no-such\"", "no-such"),
        ("preset = \"adm-imagenet-64\"\n[network]\nheads = 3", "`heads`"),
        ("preset = \"adm-imagenet-64\"\n[network]\nimage_size = 0", "image_size"),
        ("preset = \"adm-imagenet-64\"\nclasses = [\"one\"]", "classes"),
        ("preset = \"adm-imagenet-64\"\nclasses = \"absent.txt\"", "absent.txt"),
        ("preset = \"adm-imagenet-64\"\nschedule = { kind = \"vp\", betas = \"cosine\", steps = 10000000 }", "steps"),
    ] {
        let said = refusal(&all, toml);
        assert!(said.contains(part), "{toml}: {said}");
    }
}

#[test]
fn classes_may_be_named_in_a_file() {
    let header = fixture("guided-everything");
    let toml = format!("classes = \"names.txt\"\n{}", stated(&header));
    let (folder, path) = folder(&tensors(&header), &toml);
    std::fs::write(folder.path().join("names.txt"), "ant\nbee\ncat\ndog\n").unwrap();
    assert_eq!(recognise(&path, None).unwrap().classes, ["ant", "bee", "cat", "dog"]);
}

#[test]
fn hashes_tell_weights_and_descriptions_apart() {
    let header = fixture("guided-everything");
    let toml = stated(&header);
    let (_folder, path) = folder(&tensors(&header), &toml);
    let hash = || Opened::open(&path).unwrap().recognise(None).unwrap().hash(false);
    let first = hash();
    assert_eq!(vipaint_zoo::recognise::load(&path, None).unwrap().prior.hash, first);
    assert_eq!(hash(), first);
    // The last bytes of the last tensor.
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() = 1;
    std::fs::write(&path, bytes).unwrap();
    let second = hash();
    assert_ne!(second, first);
    std::fs::write(path.with_file_name("prior.toml"), toml.replace("head = \"v\"", "head = \"eps\"")).unwrap();
    assert_ne!(hash(), second);
}
