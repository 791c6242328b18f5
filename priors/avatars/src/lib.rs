//! The text-conditioned latent prior `avatars`, embedded, with held-out portraits and masks to try it on. Its model card is
//! this folder's README.md.

/// The prior's file: text encoder, denoiser and autoencoder.
pub const PRIOR: &[u8] = include_bytes!("../avatars.safetensors");

macro_rules! png {
    ($folder:literal, $name:literal) => {
        ($name, include_bytes!(concat!("../", $folder, "/", $name, ".png")).as_slice())
    };
}

/// Portraits that the prior was not trained on, 64x64 in colour: name and PNG file.
pub const PORTRAITS: &[(&str, &[u8])] = &[
    png!("portraits", "ada"),
    png!("portraits", "bo"),
    png!("portraits", "cem"),
    png!("portraits", "dora"),
    png!("portraits", "eve"),
    png!("portraits", "finn"),
    png!("portraits", "gus"),
    png!("portraits", "hana"),
];

/// Masks for portraits, white where known: what they hide and the PNG file. `face` hides all but the face's centre.
pub const MASKS: &[(&str, &[u8])] = &[
    png!("masks", "hair"),
    png!("masks", "eyes"),
    png!("masks", "mouth"),
    png!("masks", "half"),
    png!("masks", "face"),
];
