//! The device that `--device` means.

use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Device;
use vipaint::{Error, Result, names};
use vipaint_nn::device::{Choice, DeviceError, Kind, name};

/// What to do when a device fails.
const INSTEAD: &str = "use --device cpu, or see docs/gpu.md";

/// Reads `--device`; nothing is opened yet.
///
/// # Errors
/// [`Error::Usage`] when there is no such device, or this build does not have it.
pub fn parse(text: &str) -> Result<Choice> {
    let refuse = |problem: String, remedy: &str| Err(Error::usage("--device", problem, remedy));
    match text.parse::<Choice>() {
        Ok(choice) if choice.kind.is_compiled() => Ok(choice),
        Ok(choice) => refuse(DeviceError::NotCompiled(choice.kind).to_string(), "use --device cpu"),
        Err(DeviceError::Unknown(kind)) => {
            let known = Kind::ALL.map(Kind::name);
            let remedy = match names::nearest(&kind, known) {
                Some(device) => format!("did you mean {device}?"),
                None => format!("known: {}", known.join(", ")),
            };
            refuse(format!("there is no device {text:?}"), &remedy)
        }
        Err(DeviceError::OneCpu) => {
            let problem = format!("{text} names one of several, and there is only one cpu");
            refuse(problem, "use --device cpu, and --threads for a part of it")
        }
        Err(error) => refuse(error.to_string(), "devices are numbered from 0, as in wgpu:0"),
    }
}

/// Opens a device, and says what it is unless it is the CPU.
///
/// # Errors
/// [`Error::Resource`] when the machine does not have it, or its driver refuses it.
pub fn open(choice: Choice) -> Result<Device> {
    let device = choice.open().map_err(|error| failed(choice, &error.to_string(), INSTEAD))?;
    if choice.kind != Kind::Cpu {
        eprintln!("device {choice}: {}", name(&device));
    }
    Ok(device)
}

/// Runs `work`; a device other than the CPU that fails in the middle of it (it is lost, or out of memory), which is a panic
/// inside of Burn, is an error.
///
/// # Errors
/// Those of `work`, and [`Error::Resource`].
pub fn guarded<T>(choice: Choice, work: impl FnOnce() -> Result<T>) -> Result<T> {
    if choice.kind == Kind::Cpu {
        return work();
    }
    // The first panic is the cause; threads that wait for that one's answer follow.
    let first = Arc::new(Mutex::new(None));
    let kept = first.clone();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or("no reason is given").to_owned();
        let place = info.location().map_or_else(String::new, |at| format!(", {}:{}", at.file(), at.line()));
        kept.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(text + &place);
    }));
    panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        let cause = first.lock().unwrap_or_else(PoisonError::into_inner).take().unwrap_or_default();
        let remedy = format!(
            "if its memory is short lower --batch, or say with --memory what features may take; else {INSTEAD}"
        );
        Err(failed(choice, &format!("the device failed ({})", one_line(&cause)), &remedy))
    })
}

fn failed(choice: Choice, problem: &str, remedy: &str) -> Error {
    Error::Resource { what: format!("--device {choice}"), problem: problem.to_owned(), remedy: remedy.to_owned() }
}

/// Drivers tell long stories.
fn one_line(text: &str) -> String {
    const MOST: usize = 300;
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &words[..end]),
        None => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_fails_is_a_resource_that_is_short() {
        let choice = Choice { kind: Kind::Wgpu, number: None };
        let hook = panic::take_hook();
        let error = guarded(choice, || -> Result<()> { panic!("out of\n  memory {}", 7) }).unwrap_err();
        panic::set_hook(hook);
        assert_eq!(error.exit_code(), 4);
        let text = error.to_string();
        assert!(
            text.contains("--device wgpu") && text.contains("out of memory 7") && text.contains("--batch"),
            "{text}"
        );
        assert!(guarded(choice, || Ok(3)).is_ok_and(|value| value == 3));
        let _ = panic::take_hook();
    }
}
