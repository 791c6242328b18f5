//! Where priors come from: embedded in the program, a file, an external program, or the hub.

mod unknown;

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use burn::tensor::Device;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use vipaint_core::prior::{Context, Prior};
use vipaint_nn::device::is_cpu;
use vipaint_zoo::{Header, Loaded, Network, Parameterization, exec, text_unet};

use crate::checkpoint::Place;
use crate::error::{Error, Result};
use crate::hub::{Remote, Watcher};
use crate::names;
pub(crate) use unknown::is_path;
use unknown::unknown;

/// A prior that ships with the program.
pub struct Embedded {
    /// Its name.
    pub name: &'static str,
    /// One line on what it makes.
    pub about: &'static str,
    bytes: &'static [u8],
}

/// Every embedded prior; the first is the default.
pub const EMBEDDED: &[Embedded] = &[
    Embedded {
        name: "fashion",
        about: "32x32 grey, ten classes of garments, trained on Fashion-MNIST (see priors/fashion)",
        bytes: include_bytes!("../../../priors/fashion/fashion.safetensors"),
    },
    Embedded {
        name: "avatars",
        about: "64x64 colour, latent, reads prompts, trained on cartoon portraits (see priors/avatars)",
        bytes: vipaint_avatars::PRIOR,
    },
];

/// A place to load a prior from.
#[derive(Clone)]
pub enum Source {
    /// In the program.
    Embedded(&'static Embedded),
    /// A file or a folder.
    File(Place),
    /// A program that speaks the protocol of `docs/exec.md`.
    Exec(String),
    /// Files on the Hugging Face hub.
    Hub(Remote),
}

/// How long an external program's answer is waited for, in seconds, unless `VIPAINT_EXEC_TIMEOUT` says otherwise.
const EXEC_TIMEOUT: f64 = 600.0;

impl Source {
    /// The prior that `--prior` means: an embedded name, the path of a file or a folder (`,preset=NAME` may follow it),
    /// `exec:COMMAND`, or `hf:ORG/REPO[/FILE][@REVISION]` (`,preset=NAME` may follow it, too). Nothing is read, fetched or
    /// started yet.
    ///
    /// # Errors
    /// [`Error::Usage`] when it is none of these.
    pub fn named(text: &str) -> Result<Self> {
        if let Some(embedded) = EMBEDDED.iter().find(|prior| prior.name == text) {
            return Ok(Self::Embedded(embedded));
        }
        if let Some(command) = text.strip_prefix("exec:") {
            return Ok(Self::Exec(command.trim().to_owned()));
        }
        if text.starts_with(Remote::SCHEME) {
            return Ok(Self::Hub(Remote::named("--prior", text)?));
        }
        if let Some(place) = Place::parse(text)? {
            return Ok(Self::File(place));
        }
        Err(unknown(text))
    }

    /// Whether weights are asked for in half precision.
    pub(crate) fn halved(&self) -> bool {
        match self {
            Self::File(place) => place.half,
            Self::Hub(remote) => remote.suffix().split(',').any(|option| option == "weights=f16"),
            Self::Embedded(_) | Self::Exec(_) => false,
        }
    }

    /// The bytes of the prior's file.
    ///
    /// # Errors
    /// [`Error::Input`] when it cannot be read, [`Error::Usage`] when there is none.
    pub fn bytes(&self) -> Result<Vec<u8>> {
        match self {
            Self::Embedded(embedded) => Ok(embedded.bytes.to_vec()),
            Self::File(place) => std::fs::read(&place.path).map_err(|error| Error::unreadable(&place.path, &error)),
            Self::Exec(_) => Err(Error::usage("--prior", "an external program has no file", "give a file")),
            Self::Hub(_) => self.local()?.bytes(),
        }
    }

    /// What it is called in messages.
    pub fn name(&self) -> String {
        match self {
            Self::Embedded(embedded) => embedded.name.to_owned(),
            Self::File(place) => place.path.display().to_string(),
            Self::Exec(command) => format!("exec:{command}"),
            Self::Hub(remote) => remote.text(),
        }
    }

    /// Fetches a prior's files from the hub, if that is where they are, and tells about it.
    ///
    /// # Errors
    /// They cannot be had; the error says why and what to do.
    pub fn fetch(&self, watcher: &mut Watcher) -> Result<()> {
        if let Self::Hub(remote) = self { remote.fetch(watcher).map(drop) } else { Ok(()) }
    }

    /// A prior on the hub as its files here; any other as it is.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub fn local(&self) -> Result<Self> {
        let Self::Hub(remote) = self else { return Ok(self.clone()) };
        let path = remote.fetch(&mut |_| ControlFlow::Continue(()))?;
        Self::named(&format!("{}{}", path.display(), remote.suffix()))
    }

    /// Loads the prior onto the CPU.
    ///
    /// # Errors
    /// [`Error::Input`] when it cannot be read or is damaged, or when an external program fails.
    pub fn load(&self) -> Result<Prior> {
        self.load_on(&Device::flex())
    }

    /// Loads the prior onto a device.
    ///
    /// # Errors
    /// As [`Self::load`], and [`Error::Usage`] for an external program, which has a device of its own.
    pub fn load_on(&self, device: &Device) -> Result<Prior> {
        Ok(self.open(device)?.prior)
    }

    /// Loads the prior onto a device with its raw network, where there is one.
    ///
    /// # Errors
    /// As [`Self::load_on`].
    pub fn open(&self, device: &Device) -> Result<Open> {
        match self {
            Self::Exec(_) if !is_cpu(device) => {
                let problem = "an external program computes where it likes, and all else is fast on the cpu";
                return Err(Error::usage("--device", problem, "leave it out with exec:"));
            }
            Self::Exec(command) => {
                let failed = |error: exec::ExecError| {
                    let remedy = "see docs/exec.md for what the program should do";
                    Error::input(self.name(), format!("cannot be used as a prior ({error})"), remedy)
                };
                let prior = exec::load(command, exec_timeout()?).map_err(failed)?;
                return Ok(Open { prior, raw: None });
            }
            Self::Hub(_) => return self.local()?.open(device),
            Self::File(place) if !place.is_own() => return place.load(device).map(Open::from),
            Self::Embedded(_) | Self::File(_) => {}
        }
        let (bytes, refused) = (self.bytes()?, |error| refuse(&self.name(), &error));
        if text_unet::is_text_prior(&bytes).map_err(refused)? {
            return text_unet::open_bytes_on(&bytes, device).map(Open::from).map_err(refused);
        }
        vipaint_zoo::open_bytes_on(&bytes, device).map(Open::from).map_err(refused)
    }

    /// What a prior's network is made of, without its weights.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn made_of(&self) -> Result<MadeOf> {
        match self {
            Self::Hub(_) => return self.local()?.made_of(),
            Self::File(place) if !place.is_own() => return place.header().map(Box::new).map(MadeOf::Network),
            _ => {}
        }
        let (bytes, refused) = (self.bytes()?, |error| refuse(&self.name(), &error));
        if text_unet::is_text_prior(&bytes).map_err(refused)? {
            return text_unet::header(&bytes).map(Box::new).map(MadeOf::Text).map_err(refused);
        }
        let header = vipaint_zoo::decode(&bytes).map_err(refused)?.0;
        Ok(MadeOf::Network(Box::new(header)))
    }
}

/// A prior, loaded.
pub struct Open {
    /// The prior.
    pub prior: Prior,
    /// Its network, unless that is an external program's.
    pub raw: Option<Raw>,
}

/// A prior's network.
pub struct Raw {
    /// How its output becomes `x0_hat`.
    pub parameterization: Parameterization,
    /// The network itself.
    pub network: Arc<dyn Network>,
    /// What it is made of.
    pub made_of: MadeOf,
}

/// The description of a prior that has a network.
pub enum MadeOf {
    /// A network, perhaps with an autoencoder.
    Network(Box<Header>),
    /// This program's own kind that reads texts.
    Text(Box<text_unet::Header>),
}

impl From<Loaded> for Open {
    fn from(Loaded { header, network, prior }: Loaded) -> Self {
        let parameterization = header.parameterization;
        Self { prior, raw: Some(Raw { parameterization, network, made_of: MadeOf::Network(Box::new(header)) }) }
    }
}

impl From<text_unet::Opened> for Open {
    fn from(text_unet::Opened { header, network, prior }: text_unet::Opened) -> Self {
        let parameterization = Parameterization::Edm { sigma_data: header.sigma_data };
        Self { prior, raw: Some(Raw { parameterization, network, made_of: MadeOf::Text(Box::new(header)) }) }
    }
}

fn exec_timeout() -> Result<Duration> {
    let seconds = match std::env::var("VIPAINT_EXEC_TIMEOUT") {
        Ok(text) => text.parse().ok(),
        Err(_) => Some(EXEC_TIMEOUT),
    };
    let time =
        seconds.filter(|seconds: &f64| *seconds > 0.0).and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.ok_or_else(|| {
        let problem = "is not a positive number of seconds";
        Error::usage("VIPAINT_EXEC_TIMEOUT", problem, format!("{EXEC_TIMEOUT} is the default"))
    })
}

/// A prior file that cannot be used.
pub(crate) fn refuse(name: &str, error: &vipaint_zoo::Error) -> Error {
    Error::input(
        name,
        format!("cannot be used as a prior ({error})"),
        "take another copy, or make it with `vipaint train`",
    )
}

/// The class that `--class` means: a name or an index.
///
/// # Errors
/// [`Error::Usage`] when the prior does not have it.
pub fn class(prior: &Prior, text: &str) -> Result<usize> {
    if prior.classes.is_empty() {
        return Err(Error::usage("--class", format!("prior {} knows no classes", prior.name), "leave the option out"));
    }
    let named = prior.classes.iter().position(|name| name.eq_ignore_ascii_case(text));
    let indexed = || text.parse().ok().filter(|index| *index < prior.classes.len());
    named.or_else(indexed).ok_or_else(|| {
        let known = prior.classes.iter().map(String::as_str);
        Error::usage("--class", format!("prior {} has no class {text:?}", prior.name), names::remedy(text, known))
    })
}

/// A prompt as a prior reads it.
pub struct Prompt {
    /// Its embedding.
    pub context: Arc<Context>,
    /// What a user should know about how it was read.
    pub warnings: Vec<String>,
}

/// What `--prompt` or `--negative-prompt` means.
///
/// # Errors
/// [`Error::Usage`] when the prior reads no text, or knows no word of it.
pub fn text(prior: &Prior, option: &'static str, text: &str) -> Result<Prompt> {
    let Some(encoder) = &prior.text else {
        return Err(Error::usage(option, format!("prior {} reads no text", prior.name), "leave the option out"));
    };
    let read = encoder.read(text)?;
    let list = |words: &[String]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
    let nothing_known = read.context == encoder.read("")?.context;
    if nothing_known {
        let problem = if read.unknown.is_empty() {
            "says nothing".to_owned()
        } else {
            format!("says nothing that prior {} understands; it does not know {}", prior.name, list(&read.unknown))
        };
        return Err(Error::usage(option, problem, "see the words that it knows with `vipaint prior info`"));
    }
    let mut warnings = Vec::new();
    if !read.unknown.is_empty() {
        let (name, words) = (&prior.name, list(&read.unknown));
        warnings.push(format!("{option}: prior {name} does not know {words}; the other words count"));
    }
    if !read.cut.is_empty() {
        warnings.push(format!("{option}: is too long; not read: {}", list(&read.cut)));
    }
    Ok(Prompt { context: Arc::new(read.context), warnings })
}

/// What is known about a prior: its description and its weights.
///
/// # Errors
/// [`Error::Input`] when it cannot be read or is damaged.
pub fn info(source: &Source) -> Result<Value> {
    let source = &source.local()?;
    if let Source::File(place) = source
        && !place.is_own()
    {
        return place.info();
    }
    let prior = source.load()?;
    if let Source::Exec(_) = source {
        return Ok(json!({
            "name": prior.name,
            "hash": prior.hash,
            "shape": prior.shape(),
            "pictures": prior.autoencoder.image_shape(prior.shape()),
            "value_range": prior.value_range,
            "data_std": prior.data_std,
            "classes": prior.classes,
            "schedule": prior.schedule,
        }));
    }
    let bytes = source.bytes()?;
    if text_unet::is_text_prior(&bytes).map_err(|error| refuse(&source.name(), &error))? {
        let header = text_unet::header(&bytes).map_err(|error| refuse(&source.name(), &error))?;
        let mut network = json!(header.network);
        let words = network["text"]["words"].take();
        return Ok(json!({
            "name": prior.name,
            "hash": prior.hash,
            "shape": prior.shape(),
            "pictures": prior.autoencoder.image_shape(prior.shape()),
            "value_range": prior.value_range,
            "data_std": prior.data_std,
            "schedule": header.schedule,
            "network": network,
            "autoencoder": header.autoencoder,
            "decoded_error": header.decoded_error,
            "words": words,
            "bytes": bytes.len(),
        }));
    }
    let (header, _) = vipaint_zoo::decode(&bytes).map_err(|error| refuse(&source.name(), &error))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|error| refuse(&source.name(), &error.into()))?;
    let parameters: usize = file.tensors().iter().map(|(_, view)| view.shape().iter().product::<usize>()).sum();
    Ok(json!({
        "name": prior.name,
        "hash": prior.hash,
        "shape": prior.shape(),
        "value_range": prior.value_range,
        "data_std": prior.data_std,
        "classes": prior.classes,
        "schedule": header.schedule,
        "prediction": header.parameterization,
        "network": header.network,
        "parameters": parameters,
        "bytes": bytes.len(),
    }))
}
