//! Devices to compute on: the CPU, and those of Burn's other backends that cargo features compile in.

use std::fmt;
use std::str::FromStr;

use burn::backend::DispatchDevice;
use burn::tensor::Device;

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The CPU, by the kernels of this program.
    Cpu,
    /// A graphics card by the best graphics interface there is; shaders in WGSL, unless `vulkan` or `metal` is compiled in, too.
    Wgpu,
    /// A graphics card by Vulkan, shaders in SPIR-V.
    Vulkan,
    /// An NVIDIA card by CUDA.
    Cuda,
    /// An Apple card by Metal, shaders in its own language.
    Metal,
    /// An AMD card by ROCm.
    Rocm,
}

impl Kind {
    /// Every kind, compiled in or not.
    pub const ALL: [Self; 6] = [Self::Cpu, Self::Wgpu, Self::Vulkan, Self::Cuda, Self::Metal, Self::Rocm];

    /// Its name: the cargo feature's, or `cpu`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wgpu => "wgpu",
            Self::Vulkan => "vulkan",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
            Self::Rocm => "rocm",
        }
    }

    /// Whether this build has it.
    pub fn is_compiled(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Metal => cfg!(feature = "metal"),
            Self::Rocm => cfg!(feature = "rocm"),
        }
    }
}

/// Why there is no such device.
#[derive(Debug, PartialEq, Eq)]
pub enum DeviceError {
    /// There is no kind of this name.
    Unknown(String),
    /// There is only one CPU.
    OneCpu,
    /// What follows the colon is no number.
    Number(String),
    /// The kind is not compiled in.
    NotCompiled(Kind),
    /// The machine has fewer of the kind than the number says.
    Missing {
        /// What was asked for.
        choice: Choice,
        /// How many there are.
        count: usize,
    },
    /// The driver refuses it.
    Refused(String),
}

impl fmt::Display for DeviceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "there is no kind of device {name:?}"),
            Self::OneCpu => write!(f, "there is only one cpu"),
            Self::Number(text) => write!(f, "{text:?} is not the number of a device"),
            Self::NotCompiled(kind) => {
                write!(f, "{0} needs the cargo feature `{0}`, which this build does not have", kind.name())
            }
            Self::Missing { choice, count: 0 } => write!(f, "this machine has no device for {}", choice.kind.name()),
            Self::Missing { choice, count } => {
                write!(f, "{choice} is not among the {count} of this machine, which are numbered from 0")
            }
            Self::Refused(why) => write!(f, "the device cannot be opened ({why})"),
        }
    }
}

impl std::error::Error for DeviceError {}

/// A device that is asked for: `KIND` or `KIND:NUMBER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// Its kind.
    pub kind: Kind,
    /// Which of several, from 0; the best one unless said.
    pub number: Option<usize>,
}

impl FromStr for Choice {
    type Err = DeviceError;

    /// Whether the kind is compiled in is not asked here.
    fn from_str(text: &str) -> Result<Self, DeviceError> {
        let (name, number) = text.split_once(':').map_or((text, None), |(name, number)| (name, Some(number)));
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| DeviceError::Unknown(name.to_owned()))?;
        let parse = |number: &str| number.parse().map_err(|_| DeviceError::Number(number.to_owned()));
        match (kind, number) {
            (Kind::Cpu, Some(_)) => Err(DeviceError::OneCpu),
            (kind, number) => Ok(Self { kind, number: number.map(parse).transpose()? }),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.name())?;
        self.number.map_or(Ok(()), |number| write!(f, ":{number}"))
    }
}

impl Choice {
    /// Opens the device, plain (not its autodiff twin).
    ///
    /// # Errors
    /// [`DeviceError`] says why there is none.
    pub fn open(self) -> Result<Device, DeviceError> {
        let device = self.find()?;
        device.sync().map_err(|error| DeviceError::Refused(error.to_string()))?;
        Ok(device)
    }

    fn find(self) -> Result<Device, DeviceError> {
        match self.kind {
            Kind::Cpu => Ok(Device::flex()),
            #[cfg(feature = "wgpu")]
            Kind::Wgpu => self.graphics(burn::tensor::wgpu::WgpuBackend::Auto, burn::tensor::DeviceType::Wgpu),
            #[cfg(feature = "vulkan")]
            Kind::Vulkan => self.graphics(burn::tensor::wgpu::WgpuBackend::Vulkan, burn::tensor::DeviceType::Vulkan),
            #[cfg(feature = "metal")]
            Kind::Metal => self.graphics(burn::tensor::wgpu::WgpuBackend::Metal, burn::tensor::DeviceType::Metal),
            #[cfg(feature = "cuda")]
            Kind::Cuda => self.listed(burn::tensor::DeviceType::Cuda),
            #[cfg(feature = "rocm")]
            Kind::Rocm => self.listed(burn::tensor::DeviceType::Rocm),
            #[allow(unreachable_patterns, reason = "where all of them are compiled in")]
            kind => Err(DeviceError::NotCompiled(kind)),
        }
    }

    /// The device of that number among those of the machine.
    #[cfg(any(feature = "wgpu", feature = "vulkan", feature = "cuda", feature = "metal", feature = "rocm"))]
    fn listed(self, of: burn::tensor::DeviceType) -> Result<Device, DeviceError> {
        let all = Device::enumerate(of);
        let count = all.len();
        all.into_iter().nth(self.number.unwrap_or(0)).ok_or(DeviceError::Missing { choice: self, count })
    }

    /// [`Self::listed`]; unless a number is given, what the graphics interface holds for the fastest.
    #[cfg(any(feature = "wgpu", feature = "vulkan", feature = "metal"))]
    fn graphics(
        self,
        api: burn::tensor::wgpu::WgpuBackend,
        of: burn::tensor::DeviceType,
    ) -> Result<Device, DeviceError> {
        use burn::tensor::wgpu::WgpuInitError;
        if self.number.is_some() {
            return self.listed(of);
        }
        Device::wgpu_options().graphics_api(api).init().map_err(|error| match error {
            WgpuInitError::AdapterUnavailable { .. } | WgpuInitError::UnsupportedGraphicsApi { .. } => {
                DeviceError::Missing { choice: self, count: 0 }
            }
            error => DeviceError::Refused(error.to_string()),
        })
    }
}

/// Whether this is the CPU (or its autodiff twin), which the kernels serve.
pub fn is_cpu(device: &Device) -> bool {
    let mut plain = device.as_dispatch();
    if let DispatchDevice::Autodiff(device) = plain {
        plain = device;
    }
    matches!(plain, DispatchDevice::Flex(_))
}

/// What a device is called in reports: `cpu`, or the name that its driver gives.
pub fn name(device: &Device) -> String {
    #[cfg(any(feature = "wgpu", feature = "vulkan", feature = "cuda", feature = "metal", feature = "rocm"))]
    if let Some(identity) = device.identity() {
        return identity.name;
    }
    if is_cpu(device) { "cpu".to_owned() } else { format!("{device:?}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_back_as_they_are_written() {
        for (text, kind, number) in
            [("cpu", Kind::Cpu, None), ("wgpu", Kind::Wgpu, None), ("cuda:1", Kind::Cuda, Some(1))]
        {
            let choice: Choice = text.parse().unwrap();
            assert_eq!((choice, choice.to_string().as_str()), (Choice { kind, number }, text));
        }
        let refused = |text: &str| text.parse::<Choice>().unwrap_err();
        assert_eq!(refused("gpu"), DeviceError::Unknown("gpu".into()));
        assert_eq!(refused("cpu:0"), DeviceError::OneCpu);
        for number in ["", "-1", "one", "99999999999999999999"] {
            assert_eq!(refused(&format!("wgpu:{number}")), DeviceError::Number(number.into()));
        }
    }

    #[test]
    fn the_cpu_is_always_there_and_others_only_where_compiled_in() {
        let cpu = Choice { kind: Kind::Cpu, number: None }.open().unwrap();
        assert!(is_cpu(&cpu) && is_cpu(&cpu.clone().autodiff()));
        assert_eq!(name(&cpu), "cpu");
        for kind in Kind::ALL.into_iter().filter(|kind| !kind.is_compiled()) {
            assert_eq!(Choice { kind, number: None }.open().unwrap_err(), DeviceError::NotCompiled(kind));
        }
    }
}
