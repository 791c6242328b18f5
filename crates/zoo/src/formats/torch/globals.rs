//! The Python names that weights need, and those that only an attack uses.

use crate::formats::Dtype;

/// A function or class that weights need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// `torch._utils._rebuild_tensor` and `_v2`: storage, offset, sizes, strides, ...
    Tensor,
    /// `torch._utils._rebuild_tensor_v3`: as above over bytes, with the type as its seventh argument.
    TypedTensor,
    /// `torch._utils._rebuild_parameter` and `..._with_state`: a tensor, ...
    Parameter,
    /// `torch._tensor._rebuild_from_type_v2`: function, class, arguments, state.
    FromType,
    /// A dictionary made from nothing or from pairs.
    Dictionary,
    /// `torch.Size`, of a tuple.
    Size,
    /// A class of storages.
    Storage(Dtype),
    /// `torch.UntypedStorage`: bytes.
    Bytes,
    /// `torch.float32` and so on.
    Dtype(Dtype),
}

/// What a name stands for.
pub(super) enum Meaning {
    Known(Known),
    /// Inert.
    Foreign,
    /// Asked for by attacks only.
    Hostile,
}

/// Modules whose functions reach the system or run code.
const HOSTILE_MODULES: &[&str] = &[
    "_pickle",
    "_posixsubprocess",
    "asyncio",
    "bdb",
    "cPickle",
    "cProfile",
    "code",
    "codeop",
    "commands",
    "ctypes",
    "ftplib",
    "http",
    "httplib",
    "imp",
    "importlib",
    "marshal",
    "multiprocessing",
    "nt",
    "os",
    "pdb",
    "pickle",
    "pip",
    "popen2",
    "posix",
    "posixpath",
    "profile",
    "pty",
    "requests",
    "runpy",
    "shutil",
    "smtplib",
    "socket",
    "subprocess",
    "sys",
    "telnetlib",
    "timeit",
    "trace",
    "urllib",
    "urllib2",
    "webbrowser",
];
/// Built-in functions that do.
const HOSTILE_BUILTINS: &[&str] =
    &["__import__", "apply", "breakpoint", "compile", "eval", "exec", "execfile", "globals", "input", "open", "vars"];
/// Others that do.
const HOSTILE_PREFIXES: &[&str] = &["numpy.testing", "torch.hub", "torch.utils.cpp_extension", "torch._inductor"];

pub(super) fn meaning(module: &str, name: &str) -> Meaning {
    if let Some(known) = known(module, name) {
        return Meaning::Known(known);
    }
    let top = module.split('.').next().unwrap_or_default();
    let builtin = matches!(module, "builtins" | "__builtin__");
    // Since protocol 4 a name may reach through attributes: `torch` `os.system`.
    let through = name.contains('.') && name.split('.').any(|part| HOSTILE_MODULES.contains(&part));
    let hostile = HOSTILE_MODULES.contains(&top)
        || (builtin && HOSTILE_BUILTINS.contains(&name))
        || HOSTILE_PREFIXES.iter().any(|prefix| module.starts_with(prefix))
        || through;
    if hostile { Meaning::Hostile } else { Meaning::Foreign }
}

fn known(module: &str, name: &str) -> Option<Known> {
    Some(match (module, name) {
        ("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2") => Known::Tensor,
        ("torch._utils", "_rebuild_tensor_v3") => Known::TypedTensor,
        ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state") => Known::Parameter,
        ("torch._tensor", "_rebuild_from_type_v2") => Known::FromType,
        ("collections", "OrderedDict" | "defaultdict") | ("builtins" | "__builtin__", "dict") => Known::Dictionary,
        ("torch", "Size") => Known::Size,
        ("torch" | "torch.cuda", _) if name.ends_with("Storage") => match storage(name) {
            Some(dtype) => Known::Storage(dtype),
            None => return None,
        },
        ("torch.storage", "UntypedStorage") => Known::Bytes,
        ("torch", _) => Known::Dtype(dtype(name)?),
        _ => return None,
    })
}

fn storage(name: &str) -> Option<Dtype> {
    Some(match name {
        "DoubleStorage" => Dtype::F64,
        "FloatStorage" => Dtype::F32,
        "HalfStorage" => Dtype::F16,
        "BFloat16Storage" => Dtype::BF16,
        "LongStorage" => Dtype::I64,
        "IntStorage" => Dtype::I32,
        "ShortStorage" => Dtype::I16,
        "CharStorage" => Dtype::I8,
        "ByteStorage" => Dtype::U8,
        "BoolStorage" => Dtype::Bool,
        _ => return None,
    })
}

fn dtype(name: &str) -> Option<Dtype> {
    Some(match name {
        "float64" => Dtype::F64,
        "float32" => Dtype::F32,
        "float16" => Dtype::F16,
        "bfloat16" => Dtype::BF16,
        "int64" => Dtype::I64,
        "int32" => Dtype::I32,
        "int16" => Dtype::I16,
        "int8" => Dtype::I8,
        "uint8" => Dtype::U8,
        "bool" => Dtype::Bool,
        _ => return None,
    })
}
