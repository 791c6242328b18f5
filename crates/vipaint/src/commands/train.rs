//! `vipaint train`

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::json;
use vipaint::{Error, Result};
use vipaint_train::{Event, Options, Recipe, export, train};

use super::Session;
use crate::cli;
use crate::progress::Progress;

pub fn run(raw: cli::Train, session: &Session) -> Result<ExitCode> {
    session.cpu_only("train")?;
    let recipe = Recipe::load(&raw.recipe).map_err(|error| refuse(&error))?;
    let folder = raw.output.unwrap_or_else(|| PathBuf::from("runs").join(&recipe.name));
    let options = Options { stop: session.interrupt.flag(), ..Options::default() };
    let mut progress = Progress::new();
    train(&recipe, &folder, &options, &mut |event| tell(&mut progress, &recipe, &event))
        .map_err(|error| refuse(&error))?;
    progress.finish();
    let prior = folder.join(format!("{}.safetensors", recipe.name));
    let outcome = export(&folder, &prior).map_err(|error| refuse(&error))?;
    if session.json {
        super::print_json(&json!({
            "recipe": raw.recipe, "folder": folder, "prior": prior,
            "finished": outcome.finished, "images": outcome.images, "seconds": outcome.seconds,
        }));
    } else {
        super::say(&format!("seen      {} of {} pictures in {:.0} s", outcome.images, recipe.images, outcome.seconds));
        super::say(&format!("prior     {}", prior.display()));
    }
    if outcome.finished {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("interrupted; go on with: vipaint train {} -o {}", raw.recipe.display(), folder.display());
    Ok(ExitCode::from(super::INTERRUPTED))
}

fn tell(progress: &mut Progress, recipe: &Recipe, event: &Event) {
    match event {
        Event::Started { parameters, images, .. } => {
            eprintln!(
                "{parameters} weights; {}",
                match (images, &recipe.init) {
                    (0, None) => "from the start".to_string(),
                    (0, Some(file)) => format!("from the weights of {}", file.display()),
                    (images, _) => format!("going on after {images} pictures"),
                }
            );
        }
        Event::Step { images, of, loss, images_per_second, .. } => {
            progress.tell("train", *images, *of, format!("loss {loss:.4}, {images_per_second:.0} pictures/s"));
        }
        Event::Saved { path } => progress.note(&format!("saved {}", path.display())),
        Event::Drawn { path } => progress.note(&format!("look at {}", path.display())),
        Event::HeldOut { figures } => {
            for (what, value) in figures {
                progress.note(&format!("held-out {what}: {value:.4}"));
            }
        }
    }
}

fn refuse(error: &vipaint_train::Error) -> Error {
    use vipaint_train::Error as Train;
    let text = error.to_string();
    match error {
        Train::Io { path, source } if source.kind() == std::io::ErrorKind::NotFound => {
            Error::input(path.display().to_string(), "does not exist", "check the path")
        }
        Train::Io { .. } | Train::Plot(_) => {
            Error::Resource { what: "train".into(), problem: text, remedy: "check the folder and the disk".into() }
        }
        Train::Diverged { .. } => Error::input("recipe", text, "start again in a new folder"),
        _ => Error::input("train", text, "correct it and run the command again"),
    }
}
