//! The shipped prior and classifier: their sizes, and that the prior draws what it is asked for.

use std::path::PathBuf;

use vipaint_eval::classifier::Classifier;
use vipaint_nn::layers::weights;
use vipaint_train::class_samples;

fn shipped(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../priors/fashion").join(name);
    std::fs::read(path).unwrap()
}

#[test]
fn files_are_small() {
    assert!(shipped("fashion.safetensors").len() <= 8 << 20);
    assert!(shipped("classifier.safetensors").len() <= 300_000);
    let (header, network) = vipaint_zoo::decode(&shipped("fashion.safetensors")).unwrap();
    assert!(weights::gather(&network).len() <= 4_000_000);
    assert_eq!(header.classes.len(), 10);
}

#[test]
fn samples_are_of_their_class() {
    let prior = vipaint_zoo::load_bytes(&shipped("fashion.safetensors")).unwrap();
    let classifier = Classifier::from_bytes(&shipped("classifier.safetensors")).unwrap();
    let samples = class_samples(&prior, 3, 12, 7, 2).unwrap();
    let named = classifier.classes(&samples.concat());
    let right = named.iter().enumerate().filter(|(i, class)| **class == i / 3).count();
    assert!(right >= 22, "{right} of 30");
    // A sample is the same on one thread, and drawn alone.
    assert!(class_samples(&prior, 3, 2, 7, 1).unwrap() == class_samples(&prior, 3, 2, 7, 2).unwrap());
}
