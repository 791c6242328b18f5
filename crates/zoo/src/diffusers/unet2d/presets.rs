//! The networks of Ho et al. (2020) as `google/ddpm-*` have them.

use vipaint_core::Schedule;
use vipaint_core::prior::Head;
use vipaint_core::schedule::Betas;

use super::{Config, DownBlock, UpBlock, describe};
use crate::Header;
use crate::diffusers::scheduler::Scheduler;

/// With attention at one level.
fn ddpm(name: &str, sample_size: usize, block_out_channels: Vec<usize>, attention: usize) -> Header {
    let levels = block_out_channels.len();
    let down = |i| if i == attention { DownBlock::AttnDownBlock2D } else { DownBlock::DownBlock2D };
    let up = |i| if i == levels - 1 - attention { UpBlock::AttnUpBlock2D } else { UpBlock::UpBlock2D };
    let network = Config {
        sample_size,
        block_out_channels,
        down_block_types: (0..levels).map(down).collect(),
        up_block_types: (0..levels).map(up).collect(),
        flip_sin_to_cos: false,
        freq_shift: 1.0,
        downsample_padding: 0,
        attention_head_dim: None,
        norm_eps: 1e-6,
        ..Config::default()
    };
    let schedule = Schedule::vp(Betas::Linear { start: 1e-4, end: 0.02, steps: 1000 });
    describe(name, network, Scheduler { schedule, head: Head::Eps })
}

pub(crate) fn ddpm_32(name: &'static str) -> Header {
    ddpm(name, 32, vec![128, 256, 256, 256], 1)
}

pub(crate) fn ddpm_256(name: &'static str) -> Header {
    ddpm(name, 256, vec![128, 128, 256, 256, 512, 512], 4)
}
