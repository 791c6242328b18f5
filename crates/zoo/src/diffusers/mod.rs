//! Models of Hugging Face's diffusers library, described by the JSON files of their folders.

pub mod scheduler;
pub mod unet2d;

use serde_json::Value;

/// Whether an option that is not known may be passed over: it is the library's own note (`_class_name`), or unset.
fn passable(key: &str, value: &Value) -> bool {
    key.starts_with('_') || value.is_null()
}
