//! Whose checkpoint it is, by the names of its tensors alone.

use std::collections::BTreeSet;

/// The code base whose names a checkpoint uses, and for which model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// CompVis' latent diffusion and Stable Diffusion 1, 2, XL: `model.diffusion_model.`, `first_stage_model.`, a text or
    /// class encoder (see [`text_encoder`]).
    CompVis,
    /// The autoencoder of CompVis' code in a file of its own (`vq`: with a codebook).
    CompVisAutoencoder {
        /// Whether it has a codebook.
        vq: bool,
    },
    /// OpenAI's improved- and guided-diffusion.
    OpenAi,
    /// NVIDIA's EDM, as `scripts/edm_to_safetensors.py` writes it.
    Edm,
    /// diffusers' UNet2DModel.
    DiffusersUnet,
    /// diffusers' UNet2DConditionModel.
    DiffusersConditionalUnet,
    /// diffusers' AutoencoderKL and VQModel (`vq`: the latter).
    DiffusersAutoencoder {
        /// Whether it has a codebook.
        vq: bool,
    },
    /// A CLIP text encoder with the names of the transformers library.
    ClipText,
}

/// How a [`Layout::CompVis`] checkpoint reads its condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TextEncoder {
    /// A table of classes (cin256).
    Classes,
    /// CLIP-L (Stable Diffusion 1).
    Clip,
    /// OpenCLIP-H (Stable Diffusion 2).
    OpenClip,
    /// CLIP-L and OpenCLIP-bigG (SDXL).
    Both,
    /// OpenCLIP-bigG alone (SDXL's refiner).
    OpenClipOnly,
}

/// Each layout with names that all its checkpoints have and none of those below it; the first that fits is taken.
const MARKS: &[(Layout, &[&str])] = &[
    (Layout::CompVis, &["model.diffusion_model.input_blocks.0.0.weight"]),
    (Layout::OpenAi, &["input_blocks.0.0.weight", "time_embed.0.weight"]),
    (Layout::Edm, &["model.map_layer0.weight"]),
    (Layout::Edm, &["map_layer0.weight"]),
    (
        Layout::DiffusersConditionalUnet,
        &["time_embedding.linear_1.weight", "mid_block.attentions.0.transformer_blocks.0.norm1.weight"],
    ),
    (Layout::DiffusersUnet, &["time_embedding.linear_1.weight", "mid_block.resnets.0.conv1.weight"]),
    (Layout::CompVisAutoencoder { vq: true }, &["decoder.mid.block_1.conv1.weight", "quantize.embedding.weight"]),
    (Layout::CompVisAutoencoder { vq: false }, &["decoder.mid.block_1.conv1.weight"]),
    (
        Layout::DiffusersAutoencoder { vq: true },
        &["decoder.mid_block.resnets.0.conv1.weight", "quantize.embedding.weight"],
    ),
    (Layout::DiffusersAutoencoder { vq: false }, &["decoder.mid_block.resnets.0.conv1.weight"]),
    (Layout::ClipText, &["text_model.embeddings.token_embedding.weight"]),
];

/// The layout of a checkpoint with these tensors.
pub fn layout<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<Layout> {
    let names: BTreeSet<&str> = names.into_iter().collect();
    MARKS.iter().find(|(_, marks)| marks.iter().all(|mark| names.contains(mark))).map(|(layout, _)| *layout)
}

const CLIP_L: &str = "conditioner.embedders.0.transformer.text_model.embeddings.token_embedding.weight";

/// The text or class encoder in a [`Layout::CompVis`] checkpoint with these tensors, if it has one.
pub fn text_encoder<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<TextEncoder> {
    let marks: &[(TextEncoder, &[&str])] = &[
        (TextEncoder::Both, &[CLIP_L, "conditioner.embedders.1.model.token_embedding.weight"]),
        (TextEncoder::OpenClipOnly, &["conditioner.embedders.0.model.token_embedding.weight"]),
        (TextEncoder::OpenClip, &["cond_stage_model.model.token_embedding.weight"]),
        (TextEncoder::Clip, &["cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"]),
        (TextEncoder::Classes, &["cond_stage_model.embedding.weight"]),
    ];
    let names: BTreeSet<&str> = names.into_iter().collect();
    marks.iter().find(|(_, marks)| marks.iter().all(|mark| names.contains(mark))).map(|(encoder, _)| *encoder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_layout_is_known_by_its_names() {
        let cases: [(&[&str], Option<Layout>); 8] = [
            (
                &["model.diffusion_model.input_blocks.0.0.weight", "first_stage_model.decoder.conv_in.weight"],
                Some(Layout::CompVis),
            ),
            (&["time_embed.0.weight", "input_blocks.0.0.weight", "out.2.weight"], Some(Layout::OpenAi)),
            (&["model.map_layer0.weight", "model.enc.32x32_conv.weight"], Some(Layout::Edm)),
            (
                &["conv_in.weight", "time_embedding.linear_1.weight", "mid_block.resnets.0.conv1.weight"],
                Some(Layout::DiffusersUnet),
            ),
            (
                &[
                    "time_embedding.linear_1.weight",
                    "mid_block.attentions.0.transformer_blocks.0.norm1.weight",
                    "mid_block.resnets.0.conv1.weight",
                ],
                Some(Layout::DiffusersConditionalUnet),
            ),
            (
                &["decoder.mid.block_1.conv1.weight", "quantize.embedding.weight"],
                Some(Layout::CompVisAutoencoder { vq: true }),
            ),
            (&["decoder.mid_block.resnets.0.conv1.weight"], Some(Layout::DiffusersAutoencoder { vq: false })),
            (&["fc.weight", "fc.bias"], None),
        ];
        for (names, expected) in cases {
            assert_eq!(layout(names.iter().copied()), expected, "{names:?}");
        }
    }

    #[test]
    fn text_encoders_are_told_apart() {
        let second = "conditioner.embedders.1.model.token_embedding.weight";
        assert_eq!(text_encoder([CLIP_L, second]), Some(TextEncoder::Both));
        assert_eq!(text_encoder(["cond_stage_model.model.token_embedding.weight"]), Some(TextEncoder::OpenClip));
        assert_eq!(text_encoder(["cond_stage_model.embedding.weight"]), Some(TextEncoder::Classes));
        assert_eq!(text_encoder(["model.diffusion_model.out.0.weight"]), None);
    }
}
