//! `vipaint prior`.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum Prior {
    /// List the embedded priors and the presets of checkpoints.
    List,
    /// Describe a prior. A checkpoint's weights are not loaded, but of hf:ORG/REPO all files are fetched first, weights too.
    Info {
        /// Embedded name, file or folder (FILE,preset=NAME,weights=f16 of a checkpoint), hf:ORG/REPO or exec:COMMAND.
        prior: String,
    },
    /// Run one call on given tensors, to compare a converted prior with its origin.
    ///
    /// IN holds z_t [B,C,H,W] f32 and either t [B] (the network's own time input) or sigma [B] (sigma_t / alpha_t), and
    /// optionally class [B] i64, context [B,L,D] and pooled [B,D] (what a text encoder gives) and v [B,C,H,W], a cotangent. OUT
    /// gets raw (the network's raw output), x0_hat and, if v was
    /// given, vjp (the gradient of <v, x0_hat> with respect to z_t). With --decode IN holds z and OUT gets x; with --encode
    /// IN holds x and OUT gets z.
    Check {
        /// Embedded name, file or folder (FILE,preset=NAME,weights=f16 of a checkpoint), or hf:ORG/REPO.
        prior: String,
        /// Safetensors file with the inputs.
        #[arg(long, value_name = "IN")]
        input: PathBuf,
        /// Safetensors file for the results.
        #[arg(long, value_name = "OUT")]
        output: PathBuf,
        /// Check the decoder.
        #[arg(long, conflicts_with = "encode")]
        decode: bool,
        /// Check the encoder.
        #[arg(long)]
        encode: bool,
    },
    /// Fetch a prior from the Hugging Face hub into its cache, without loading it; prints where it is.
    ///
    /// Only the files that a prior needs are fetched; a cut connection is taken up where it broke, also in the next run, and
    /// every file is checked. HF_TOKEN, HF_HOME, HF_ENDPOINT and HF_HUB_OFFLINE are honoured (see docs/hub.md).
    Pull {
        /// hf:ORG/REPO, hf:ORG/REPO@REVISION, or hf:ORG/REPO/FILE for one checkpoint of several.
        prior: String,
        /// Prefer weights of half precision where the repository has both.
        #[arg(long)]
        fp16: bool,
    },
    /// Measure a network: time of a call, of a call with its gradient, and memory. Refused if that should hold more than --memory.
    Bench {
        /// Embedded name, file or folder (FILE,preset=NAME,weights=f16 of a checkpoint), hf:ORG/REPO, or with
        /// --random-weights a known architecture (see `vipaint prior list`).
        prior: String,
        /// Samples of a call.
        #[arg(long, value_name = "B", default_value_t = 1)]
        batch: usize,
        /// Side of the network's input; by default the prior's own.
        #[arg(long, value_name = "S")]
        size: Option<usize>,
        /// Measure the architecture with random weights.
        #[arg(long)]
        random_weights: bool,
        /// Keep the random weights in half precision; arithmetic stays in single precision.
        #[arg(long)]
        half_weights: bool,
        /// Measure the decoder.
        #[arg(long)]
        decode: bool,
        /// Calls of each kind, whose median counts.
        #[arg(long, value_name = "N", default_value_t = 5)]
        rounds: usize,
    },
}
