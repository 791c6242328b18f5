//! Training: it learns, and a resumed run is the uninterrupted one, bit by bit.

mod common;

use std::path::Path;
use std::sync::atomic::Ordering;

use vipaint_train::{Event, Model, Objective, Options, Recipe, export, held_out_errors, train};

fn quiet(recipe: &Recipe, folder: &Path) -> vipaint_train::Outcome {
    train(recipe, folder, &Options::default(), &mut |_| {}).unwrap()
}

/// The tensors of a checkpoint; its metadata holds the seconds, which differ.
fn tensors(folder: &Path) -> Vec<u8> {
    let bytes = std::fs::read(folder.join("checkpoint.ckpt.safetensors")).unwrap();
    let head = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[8 + head..].to_vec()
}

fn unet(recipe: &mut Recipe) -> &mut vipaint_zoo::unet::Config {
    match &mut recipe.network {
        Model::Unet(config) => config,
        other => panic!("the tiny recipe is for a U-Net, not {other:?}"),
    }
}

#[test]
fn resumed_equals_uninterrupted() {
    let root = tempfile::tempdir().unwrap();
    common::write_data(root.path());
    let recipe = common::recipe(root.path());
    let (whole, parts) = (root.path().join("whole"), root.path().join("parts"));
    assert!(quiet(&recipe, &whole).finished);

    // Stopped by the flag after the first line of the log, then after every following one.
    let mut sessions = 0;
    loop {
        let options = Options::default();
        let stop = options.stop.clone();
        let outcome = train(&recipe, &parts, &options, &mut |event| {
            if matches!(event, Event::Step { .. }) {
                stop.store(true, Ordering::Relaxed);
            }
        })
        .unwrap();
        sessions += 1;
        if outcome.finished {
            break;
        }
        assert!(sessions < 10);
    }
    assert!(sessions > 1);
    assert!(tensors(&whole) == tensors(&parts), "the weights differ");
    let prior = |folder: &Path| {
        let file = folder.join("prior.safetensors");
        export(folder, &file).unwrap();
        std::fs::read(file).unwrap()
    };
    assert!(prior(&whole) == prior(&parts), "the exported priors differ");
}

#[test]
fn a_time_limit_saves_and_returns() {
    let root = tempfile::tempdir().unwrap();
    common::write_data(root.path());
    let options = Options { stop_after: Some(std::time::Duration::ZERO), ..Options::default() };
    let outcome = train(&common::recipe(root.path()), root.path(), &options, &mut |_| {}).unwrap();
    assert!(!outcome.finished && outcome.images == 0);
    assert!(root.path().join("checkpoint.ckpt.safetensors").exists());
}

#[test]
fn both_losses_learn() {
    let root = tempfile::tempdir().unwrap();
    common::write_data(root.path());
    let edm = Recipe { images: 1600, ..common::recipe(root.path()) };
    let schedule = vipaint_core::schedule::Betas::Cosine { steps: 100 };
    let mut v = edm.clone();
    v.objective = Objective::V { schedule };
    unet(&mut v).time_scale = 1.0;
    for (name, recipe) in [("edm", edm), ("v", v)] {
        let folder = root.path().join(name);
        let mut losses = Vec::new();
        train(&recipe, &folder, &Options::default(), &mut |event| {
            if let Event::Step { loss, .. } = event {
                losses.push(loss);
            }
        })
        .unwrap();
        let (first, last) = (losses[0], losses[losses.len() - 1]);
        assert!(last < 0.7 * first, "{name}: {losses:?}");
        assert!(folder.join("curves.png").exists() && folder.join("samples-00001600.png").exists());

        // Held-out errors: below the data's variance, growing with the noise, the same on any number of threads.
        let file = folder.join("prior.safetensors");
        export(&folder, &file).unwrap();
        let prior = vipaint_zoo::load_file(&file).unwrap();
        let data = recipe.data.load(recipe.shape()).unwrap();
        let errors = held_out_errors(&prior, &data.test, 10, 1, 1).unwrap();
        assert_eq!(errors, held_out_errors(&prior, &data.test, 10, 1, 3).unwrap());
        assert!(errors.iter().all(|e| e.mse < prior.data_std.powi(2)), "{errors:?}");
        assert!(errors[0].mse < errors[5].mse, "{errors:?}");
    }
}

#[test]
fn a_checkpoint_of_another_run_is_refused() {
    let root = tempfile::tempdir().unwrap();
    common::write_data(root.path());
    let recipe = common::recipe(root.path());
    let options = Options { stop_after: Some(std::time::Duration::ZERO), ..Options::default() };
    train(&recipe, root.path(), &options, &mut |_| {}).unwrap();
    let message = |recipe: &Recipe| train(recipe, root.path(), &options, &mut |_| {}).unwrap_err().to_string();
    let mut other = recipe.clone();
    unet(&mut other).embedding = 32;
    assert!(message(&other).contains("network"));
    assert!(message(&Recipe { seed: 4, ..recipe.clone() }).contains("seed"));
    let file = root.path().join("checkpoint.ckpt.safetensors");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
    assert!(message(&recipe).contains("checkpoint"));
    assert!(export(root.path(), &root.path().join("prior")).is_err());
}

#[test]
fn a_run_starts_from_an_earlier_ones_weights() {
    let root = tempfile::tempdir().unwrap();
    common::write_data(root.path());
    let first = common::recipe(root.path());
    quiet(&first, &root.path().join("first"));
    let file = root.path().join("first.safetensors");
    export(&root.path().join("first"), &file).unwrap();

    // No step is made: what is exported is what was read.
    let second = Recipe { init: Some(file.clone()), ..first.clone() };
    let folder = root.path().join("second");
    let options = Options { stop_after: Some(std::time::Duration::ZERO), ..Options::default() };
    let outcome = train(&second, &folder, &options, &mut |_| {}).unwrap();
    assert_eq!(outcome.images, 0);
    let again = root.path().join("second.safetensors");
    export(&folder, &again).unwrap();
    assert!(std::fs::read(&file).unwrap() == std::fs::read(&again).unwrap(), "the weights were not taken over");

    let message = |recipe: &Recipe, folder: &str| {
        train(recipe, &root.path().join(folder), &Options::default(), &mut |_| {}).unwrap_err().to_string()
    };
    // A run that started elsewhere does not go on under this recipe.
    assert!(message(&first, "second").contains("another `init`"));
    let mut wider = Recipe { init: Some(file.clone()), ..first.clone() };
    unet(&mut wider).widths = vec![8, 24];
    assert!(message(&wider, "third").contains("first.safetensors"));
    std::fs::write(&file, b"no file of weights").unwrap();
    assert!(message(&second, "fourth").contains("first.safetensors"));
}
