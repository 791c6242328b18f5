//! The losses of VIPaint's two releases, against the authors' own code on a tiny random latent model with fixed noise.

mod ldm;
mod sd3;
mod tiny;
