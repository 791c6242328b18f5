//! The text encoders and their tokenizer against the transformers library (see `scripts/fixtures/clip.py`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use vipaint_zoo::clip::{Config, Naming, Padding, Tokenizer, Tokens, Weights, encode};
use vipaint_zoo::formats::Checkpoint;
use vipaint_zoo::{Loader, RandomWeights, Source};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clip").join(name)
}

#[test]
fn tokens_are_those_of_the_python_tokenizer() {
    let rows: serde_json::Value = serde_json::from_slice(&std::fs::read(path("tokens.json")).unwrap()).unwrap();
    let rows = rows.as_array().unwrap();
    assert!(rows.len() >= 50);
    for (padding, filler) in [(Padding::End, 49407), (Padding::Zero, 0)] {
        let tokenizer = Tokenizer::published(padding, 77);
        for row in rows {
            let expected: Vec<usize> = serde_json::from_value(row["ids"].clone()).unwrap();
            let Tokens { ids, end, .. } = tokenizer.tokenize(row["text"].as_str().unwrap());
            assert_eq!(ids[..=end], expected, "{row}");
            assert_eq!(ids.len(), 77);
            assert!(ids[end + 1..].iter().all(|id| *id == filler), "{row}");
        }
    }
}

#[test]
fn what_is_cut_is_named() {
    let tokenizer = Tokenizer::published(Padding::End, 77);
    let text = |count: usize| (0..count).map(|_| "cat").collect::<Vec<_>>().join(" ");
    assert_eq!(tokenizer.tokenize(&text(75)).cut, Vec::<String>::new());
    let tokens = tokenizer.tokenize(&format!("{} dog, and a fox", text(75)));
    assert_eq!((tokens.end, tokens.cut), (76, vec!["dog,".into(), "and".into(), "a".into(), "fox".into()]));
    // A word of two tokens, for which there is room for one.
    let tokens = tokenizer.tokenize(&format!("{} dog,", text(74)));
    assert_eq!((tokens.end, tokens.cut), (76, vec!["dog,".to_owned()]));
    let endless = "a".repeat(1_000_000);
    assert_eq!(tokenizer.tokenize(&endless).cut.len(), 1);
}

#[test]
fn vocabularies_of_another_numbering_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Tokenizer::open(folder.path(), Padding::End, 77).err().unwrap().to_string();
    assert!(open().contains("neither merges.txt nor tokenizer.json"));
    std::fs::write(folder.path().join("merges.txt"), "#version: 0.2\na b\n").unwrap();
    std::fs::write(folder.path().join("vocab.json"), r#"{"!": 1}"#).unwrap();
    assert!(open().contains("is not numbered as CLIP's vocabulary"));
    std::fs::remove_file(folder.path().join("merges.txt")).unwrap();
    std::fs::write(folder.path().join("tokenizer.json"), r#"{"model": {"type": "Unigram"}}"#).unwrap();
    assert!(open().contains("Unigram"));
}

/// The largest difference, in parts of the largest magnitude.
fn difference(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    let scale = expected.iter().fold(0f32, |most, x| most.max(x.abs()));
    got.iter().zip(expected).fold(0f32, |most, (a, b)| most.max((a - b).abs())) / scale
}

#[test]
fn encoders_agree_with_the_transformers_library() {
    let file = Checkpoint::open(&path("encoders.safetensors")).unwrap();
    let values = |name: &str| file.get(name).unwrap().to_f32().unwrap();
    let ids =
        |name: &str| -> Vec<usize> { file.get(name).unwrap().bytes().chunks_exact(4).map(|b| b[0] as usize).collect() };
    let clip = Config {
        vocab_size: 64,
        max_position_embeddings: 12,
        hidden_size: 32,
        intermediate_size: 128,
        num_hidden_layers: 4,
        num_attention_heads: 4,
        ..Config::clip_l()
    };
    let wider = |config: Config| Config {
        hidden_size: 40,
        intermediate_size: 80,
        hidden_act: Config::open_clip_h().hidden_act,
        skip: 1,
        ..config
    };
    let big = Config { final_norm: false, projection_dim: 24, ..wider(clip.clone()) };
    let transformers = Naming::Transformers { root: "cond_stage_model.transformer.".into(), nested: true };
    let open = |root: &str| Naming::OpenClip { root: root.into() };
    let cases = [
        (clip.clone(), transformers.clone(), "ids_end", "clip_l", None),
        (clip.clone().penultimate(), transformers, "ids_end", "clip_l_penultimate", None),
        (wider(clip), open("cond_stage_model.model."), "ids_zero", "open_clip_h", None),
        (big, open("conditioner.embedders.1.model."), "ids_zero", "big_g", Some("big_g_pooled")),
    ];
    for (config, naming, ids_name, tokens, pooled) in cases {
        let weights = Weights::new(Arc::new(RandomWeights::default()), naming);
        let given = Tokens { ids: ids(ids_name), end: 8, cut: Vec::new() };
        let embedded = encode(&config, &Loader::new(&weights, &Device::flex()), &given).unwrap();
        // Sums of at most 128 products of numbers near 1 through four blocks: 1e-5 in single precision, five times that on tile registers,
        // where a product may be off by 2^-15 of itself and is by a tenth of it.
        assert!(difference(&embedded.tokens, &values(tokens)) < 5e-5, "{tokens}");
        match pooled {
            Some(pooled) => assert!(difference(&embedded.pooled, &values(pooled)) < 5e-5, "{pooled}"),
            None => assert!(embedded.pooled.is_empty()),
        }
        // What is counted and what is read is the same.
        for entry in config.inventory().unwrap().entries {
            assert!(weights.tensor(&entry.name, &entry.shape).is_ok());
        }
    }
}

#[test]
fn the_published_encoders_have_the_published_numbers_of_parameters() {
    // With all blocks: CLIP-L 123,060,480; OpenCLIP-H 352,984,064 + its projection 1024^2; bigG 694,659,840.
    let count = |config: Config| config.inventory().unwrap().parameters();
    assert_eq!(count(Config::clip_l()), 123_060_480);
    assert_eq!(count(Config { skip: 0, ..Config::open_clip_h() }), 352_984_064);
    assert_eq!(count(Config::open_clip_big_g()), 694_659_840);
}
