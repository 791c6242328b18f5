//! Where networks are compared with their originals.

use std::sync::LazyLock;

use burn::tensor::Device;
use vipaint_nn::device::Choice;

/// The CPU, or the device that the variable `VIPAINT_DEVICE` names, in a build with the cargo feature for it.
pub fn device() -> Device {
    static DEVICE: LazyLock<Device> = LazyLock::new(|| {
        let choice = std::env::var("VIPAINT_DEVICE").unwrap_or_else(|_| "cpu".into());
        let device =
            choice.parse::<Choice>().and_then(Choice::open).unwrap_or_else(|error| panic!("{choice}: {error}"));
        println!("device: {}", vipaint_nn::device::name(&device));
        device
    });
    DEVICE.clone()
}
