// Every reader of files from elsewhere, as a function of bytes that must neither panic nor take memory without bound.

use std::io::Write;

use burn::tensor::Device;
use vipaint_core::posterior::Stored;
use vipaint_zoo::exec::Message;
use vipaint_zoo::formats::Checkpoint;

/// Safetensors, torch's zip archives and pickles, and its older format.
pub fn checkpoint(bytes: &[u8]) {
    if let Ok(file) = Checkpoint::from_bytes(bytes.to_vec()) {
        for tensor in file.tensors() {
            assert!(tensor.bytes().len() <= bytes.len());
            let _ = tensor.to_f32();
        }
    }
}

/// IDX files of pictures and labels.
pub fn idx(bytes: &[u8]) {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("room for it");
    let _ = vipaint_train::data::read_images(file.path());
    let _ = vipaint_train::data::read_labels(file.path());
}

/// Posterior files.
pub fn posterior(bytes: &[u8]) {
    let _ = Stored::load(bytes, &Device::flex());
}

/// Messages of external programs, with and without their length.
pub fn message(bytes: &[u8]) {
    let _ = Message::read(&mut &bytes[..]);
    let _ = Message::decode(bytes);
}

/// This program's own prior files.
pub fn prior(bytes: &[u8]) {
    let _ = vipaint_zoo::load_bytes(bytes);
}
