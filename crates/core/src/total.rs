//! Sums of all values of a tensor that are the same every time.

use burn::backend::DispatchDevice;
use burn::tensor::{Device, Tensor};

/// The sum of all values. // [1]
///
/// Graphics cards may add up a whole tensor by atomic additions, whose order and so whose last digits change from run to run;
/// along one dimension they do not.
pub(crate) fn sum<const D: usize>(x: Tensor<D>) -> Tensor<1> {
    if on_cpu(&x.device()) {
        return x.sum();
    }
    let n = x.shape().num_elements();
    x.reshape([1, n]).sum_dim(1).reshape([1])
}

fn on_cpu(device: &Device) -> bool {
    let mut plain = device.as_dispatch();
    if let DispatchDevice::Autodiff(device) = plain {
        plain = device;
    }
    matches!(plain, DispatchDevice::Flex(_))
}
