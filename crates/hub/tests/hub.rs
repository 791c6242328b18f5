//! Pulls from a hub on this machine that cuts connections, lies, and refuses.

mod server;

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use server::{COMMIT, Hub, sha256};
use vipaint_hub::{
    Denial, Error, Event, Missing, Network, Precision, Pulled, Reference, Result, Settings, Token, Wheel,
};

const REPO: &str = "some/prior";

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * i % 251) as u8).collect()
}

/// A pipeline with one part, a tokenizer, and things that nobody needs.
fn pipeline() -> Hub {
    let index = r#"{"_class_name": "P", "unet": ["d", "U"], "tokenizer": ["t", "T"], "safety_checker": ["s", "S"]}"#;
    Hub::start(
        REPO,
        &[
            ("README.md", bytes(50)),
            ("model_index.json", index.as_bytes().to_vec()),
            ("tokenizer/vocab with space.txt", bytes(90)),
            ("safety_checker/config.json", b"{}".to_vec()),
            ("safety_checker/model.safetensors", bytes(5000)),
            ("unet/config.json", b"{}".to_vec()),
            ("unet/diffusion_pytorch_model.safetensors", bytes(300_000)),
            ("unet/diffusion_pytorch_model.fp16.safetensors", bytes(150_000)),
            ("unet/diffusion_pytorch_model.bin", bytes(300_001)),
        ],
    )
}

const WEIGHTS: &str = "unet/diffusion_pytorch_model.safetensors";

fn settings(hub: &Hub, cache: &Path) -> Settings {
    let (idle, pause) = (Duration::from_millis(300), Duration::from_millis(1));
    let network = Network { proxy: false, certificates: None, idle, tries: 4, pause };
    Settings { endpoint: hub.endpoint.clone(), cache: cache.into(), token: None, offline: false, network }
}

fn reference() -> Reference {
    Reference::parse(REPO).unwrap()
}

fn pull_with(settings: &Settings) -> Result<Pulled> {
    vipaint_hub::pull(&reference(), Precision::Full, settings, &mut |_| ControlFlow::Continue(()))
}

fn resolve_with(settings: &Settings) -> Result<PathBuf> {
    vipaint_hub::resolve(&reference(), settings, &mut |_| ControlFlow::Continue(()))
}

/// All files below a folder, without locks.
fn tree(folder: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && !path.is_symlink() {
            found.extend(tree(&path));
        } else {
            found.insert(path);
        }
    }
    found.into_iter().filter(|path| path.extension().is_none_or(|end| end != "lock")).collect()
}

#[test]
fn only_what_is_needed_in_the_layout_of_the_hub() {
    let (hub, cache) = (pipeline(), tempfile::tempdir().unwrap());
    let settings = settings(&hub, cache.path());
    let mut told = (0, 0);
    let pulled = vipaint_hub::pull(&reference(), Precision::Full, &settings, &mut |event| {
        if let Event::Bytes { done, all, .. } = event {
            told = (*done, *all);
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    let root = cache.path().join("models--some--prior");
    let snapshot = root.join("snapshots").join(COMMIT);
    assert_eq!((&pulled.path, pulled.commit.as_str()), (&snapshot, COMMIT));
    let names: Vec<_> = pulled.files.iter().map(|file| (file.name.as_str(), file.checked)).collect();
    let expected = [
        ("model_index.json", Some("git")),
        ("unet/config.json", Some("git")),
        ("tokenizer/vocab with space.txt", Some("git")),
        (WEIGHTS, Some("sha256")),
    ];
    assert_eq!(names, expected);
    let all = pulled.files.iter().map(|file| file.size).sum::<u64>();
    assert_eq!(told, (all, all));
    for (name, _) in expected {
        assert_eq!(std::fs::read(snapshot.join(name)).unwrap(), hub.site().files[name], "{name}");
    }
    assert_eq!(std::fs::read_to_string(root.join("refs/main")).unwrap(), COMMIT);
    let blob = root.join("blobs").join(sha256(&bytes(300_000)));
    assert_eq!(std::fs::canonicalize(snapshot.join(WEIGHTS)).unwrap(), std::fs::canonicalize(blob).unwrap());
    assert!(!std::fs::read_link(snapshot.join(WEIGHTS)).unwrap().is_absolute());
    assert_eq!(tree(&root).len(), 4 + 4 + 1, "blobs, links and the reference, and nothing half done");
    hub.seen();

    // The second time only the revision is asked for.
    let again = pull_with(&settings).unwrap();
    assert!(again.files.iter().all(|file| file.checked.is_none()));
    assert_eq!(hub.seen().len(), 1);
    assert_eq!(resolve_with(&settings).unwrap(), snapshot);
    assert_eq!(hub.seen().len(), 1);
    // A commit cannot change: nothing is asked.
    let fixed = Reference { revision: COMMIT.into(), ..reference() };
    assert_eq!(vipaint_hub::resolve(&fixed, &settings, &mut |_| ControlFlow::Break(())).unwrap(), snapshot);
    // Nor without a network.
    let offline = Settings { offline: true, ..settings.clone() };
    assert_eq!(pull_with(&offline).unwrap().path, snapshot);
    assert_eq!(resolve_with(&offline).unwrap(), snapshot);
    assert!(hub.seen().is_empty());
    // And a hub that is gone is no obstacle, but is told about.
    let (gone, mut notes) = (Settings { endpoint: "http://127.0.0.1:9".into(), ..settings }, Vec::new());
    let path = vipaint_hub::resolve(&reference(), &gone, &mut |event| {
        notes.extend(if let Event::Note(note) = event { Some(note.clone()) } else { None });
        ControlFlow::Continue(())
    });
    assert_eq!((path.unwrap(), notes.len()), (snapshot, 1));
}

#[test]
fn half_precision_if_asked_and_then_it_serves() {
    let (hub, cache) = (pipeline(), tempfile::tempdir().unwrap());
    let settings = settings(&hub, cache.path());
    let pulled = vipaint_hub::pull(&reference(), Precision::Half, &settings, &mut |_| ControlFlow::Continue(()));
    assert!(pulled.unwrap().files.last().unwrap().name.ends_with(".fp16.safetensors"));
    hub.seen();
    assert!(resolve_with(&settings).unwrap().join("unet/diffusion_pytorch_model.fp16.safetensors").is_file());
    assert_eq!(hub.seen().len(), 1, "nothing more is fetched");
}

#[test]
fn a_cut_or_silent_connection_is_taken_up_where_it_broke() {
    for stalls in [false, true] {
        let (hub, cache) = (pipeline(), tempfile::tempdir().unwrap());
        let parts = [1, 70_000, 0, 0, 100_000];
        if stalls {
            hub.site().stalls = parts.into();
        } else {
            hub.site().cuts = parts.into();
        }
        let pulled = pull_with(&settings(&hub, cache.path())).unwrap();
        assert_eq!(std::fs::read(pulled.path.join(WEIGHTS)).unwrap(), bytes(300_000));
        let ranges: Vec<_> =
            hub.seen().iter().filter(|seen| seen.storage).map(|seen| seen.range.unwrap_or(0)).collect();
        assert_eq!(ranges, [0, 1, 70_001, 70_001, 70_001, 170_001]);
    }
}

#[test]
fn an_interrupted_pull_goes_on_in_the_next_run() {
    let (hub, cache) = (pipeline(), tempfile::tempdir().unwrap());
    let settings = settings(&hub, cache.path());
    let stopped = vipaint_hub::pull(&reference(), Precision::Full, &settings, &mut |event| match event {
        Event::Bytes { done, .. } if *done > 100_000 => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    assert!(matches!(stopped, Err(Error::Interrupted)));
    assert!(matches!(resolve_with(&Settings { offline: true, ..settings.clone() }), Err(Error::Offline { .. })));
    hub.seen();
    assert_eq!(std::fs::read(pull_with(&settings).unwrap().path.join(WEIGHTS)).unwrap(), bytes(300_000));
    let last = hub.seen().into_iter().find(|seen| seen.storage).unwrap();
    assert!(last.range.is_some_and(|range| range > 50_000), "{last:?}");
}

#[test]
fn a_server_without_ranges_begins_anew() {
    let (hub, cache) = (pipeline(), tempfile::tempdir().unwrap());
    hub.site().no_ranges = true;
    hub.site().cuts = [200_000, 250_000].into();
    let pulled = pull_with(&settings(&hub, cache.path())).unwrap();
    assert_eq!(std::fs::read(pulled.path.join(WEIGHTS)).unwrap(), bytes(300_000));
}

#[test]
fn what_is_damaged_is_fetched_once_more_and_never_kept() {
    let (hub, cache) = (pipeline(), tempfile::tempdir().unwrap());
    let settings = settings(&hub, cache.path());
    hub.site().damaged = 1;
    assert_eq!(std::fs::read(pull_with(&settings).unwrap().path.join(WEIGHTS)).unwrap(), bytes(300_000));

    let (hub, cache) = (pipeline(), tempfile::tempdir().unwrap());
    let settings = Settings { endpoint: hub.endpoint.clone(), cache: cache.path().into(), ..settings };
    hub.site().damaged = 2;
    let error = pull_with(&settings).unwrap_err();
    assert!(
        matches!(&error, Error::Damaged { file, problem } if file == WEIGHTS && problem.contains("sha256")),
        "{error}"
    );
    assert!(!tree(cache.path()).iter().any(|path| path.metadata().is_ok_and(|file| file.len() > 1000)));
}

#[test]
fn a_wrong_size_is_found_out() {
    for lie in [-1, 1, 100_000] {
        let (hub, cache) = (pipeline(), tempfile::tempdir().unwrap());
        hub.site().lie = lie;
        let error = pull_with(&settings(&hub, cache.path())).unwrap_err();
        assert!(matches!(&error, Error::Damaged { problem, .. } if problem.contains("300000")), "{lie}: {error}");
    }
}

#[test]
fn what_another_tool_left_half_done_is_used_or_replaced() {
    for (left, range) in [(bytes(123_456), Some(123_456)), (vec![7; 1000], Some(1000)), (vec![7; 400_000], None)] {
        let (hub, cache) = (pipeline(), tempfile::tempdir().unwrap());
        let blobs = cache.path().join("models--some--prior/blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join(sha256(&bytes(300_000)) + ".incomplete"), left).unwrap();
        let pulled = pull_with(&settings(&hub, cache.path())).unwrap();
        assert_eq!(std::fs::read(pulled.path.join(WEIGHTS)).unwrap(), bytes(300_000));
        assert_eq!(hub.seen().iter().find(|seen| seen.storage).unwrap().range, range);
    }
}

#[test]
fn a_token_goes_to_the_hub_and_nowhere_else() {
    let (hub, cache) = (pipeline(), tempfile::tempdir().unwrap());
    hub.site().gate = Some(("hf_good".into(), 401, "GatedRepo"));
    let token = |text| Some(Token::new(text, "HF_TOKEN").unwrap());
    let settings = settings(&hub, cache.path());
    for (token, sent) in [(None, false), (token("hf_bad"), true)] {
        let error = pull_with(&Settings { token, ..settings.clone() }).unwrap_err();
        assert!(matches!(error, Error::Denied { reason: Denial::Gated, token, .. } if token == sent), "{error:?}");
    }
    hub.seen();
    pull_with(&Settings { token: token("hf_good"), ..settings }).unwrap();
    let (storage, own): (Vec<_>, Vec<_>) = hub.seen().into_iter().partition(|seen| seen.storage);
    assert!(!storage.is_empty() && storage.iter().all(|seen| seen.token.is_none()));
    assert!(own.iter().all(|seen| seen.token.as_deref() == Some("Bearer hf_good")));
}

#[test]
fn refusals_say_what_is_missing() {
    let (hub, cache) = (pipeline(), tempfile::tempdir().unwrap());
    let settings = settings(&hub, cache.path());
    let either = Missing::Either { repo: REPO.into(), revision: "main".into() };
    let revision = Missing::Revision { repo: REPO.into(), revision: "main".into() };
    for (status, code, expected) in [
        (404, "", either),
        (404, "RevisionNotFound", revision),
        (404, "RepoNotFound", Missing::Repository(REPO.into())),
        (401, "RepoNotFound", Missing::Repository(REPO.into())),
    ] {
        hub.site().answers = [(status, code, None)].into();
        assert!(matches!(pull_with(&settings), Err(Error::Missing(missing)) if missing == expected), "{status} {code}");
    }
    for (status, code, expected) in
        [(403, "", Denial::Token), (401, "", Denial::Token), (403, "GatedRepo", Denial::Gated)]
    {
        hub.site().answers = [(status, code, None)].into();
        assert!(
            matches!(pull_with(&settings), Err(Error::Denied { reason, .. }) if reason == expected),
            "{status} {code}"
        );
    }
    hub.site().answers = [(418, "", None)].into();
    assert!(matches!(pull_with(&settings), Err(Error::Answer { .. })));
    let named = Reference { file: Some("nothing.ckpt".into()), ..reference() };
    let error = vipaint_hub::pull(&named, Precision::Full, &settings, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(matches!(error, Error::Choice { candidates, .. } if candidates.len() == 3));
}

#[test]
fn a_busy_server_is_asked_again_within_reason() {
    let (hub, cache) = (pipeline(), tempfile::tempdir().unwrap());
    let settings = settings(&hub, cache.path());
    hub.site().answers = [(429, "", Some(0)), (503, "", None), (500, "", None)].into();
    pull_with(&settings).unwrap();
    hub.site().answers = [(429, "", None); 4].into();
    assert!(matches!(pull_with(&settings), Err(Error::Busy { status: 429, wait: None, .. })));
    hub.site().answers = [(429, "", Some(3600))].into();
    assert!(matches!(pull_with(&settings), Err(Error::Busy { wait: Some(3600), .. })));
}

#[test]
fn redirects_of_a_renamed_repository_are_followed_and_circles_are_not() {
    let (hub, cache) = (pipeline(), tempfile::tempdir().unwrap());
    hub.site().renamed = Some("old/name".into());
    let old = Reference::parse("old/name").unwrap();
    let settings = settings(&hub, cache.path());
    let pulled = vipaint_hub::pull(&old, Precision::Full, &settings, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(std::fs::read(pulled.path.join(WEIGHTS)).unwrap(), bytes(300_000));
    hub.site().circle = true;
    let error = pull_with(&settings).unwrap_err();
    assert!(matches!(&error, Error::Answer { problem, .. } if problem.contains("without end")), "{error}");
}

#[test]
fn no_hub_and_nothing_cached() {
    let cache = tempfile::tempdir().unwrap();
    let settings = Settings { endpoint: "http://127.0.0.1:9".into(), ..settings(&pipeline(), cache.path()) };
    assert!(matches!(resolve_with(&settings), Err(Error::Unreachable { .. })));
    let offline = Settings { offline: true, ..settings };
    assert!(matches!(resolve_with(&offline), Err(Error::Offline { .. })));
    assert!(matches!(pull_with(&offline), Err(Error::Offline { .. })));
}

#[test]
fn a_wheel_is_fetched_once_and_must_be_the_one_that_was_named() {
    let (hub, folder) = (pipeline(), tempfile::tempdir().unwrap());
    let network = settings(&hub, folder.path()).network;
    hub.site().pages = [
        ("/simple/some-package/".to_owned(), br#"<a href="../../files/w-1.whl#sha256=0">w</a>"#.to_vec()),
        ("/files/w-1.whl".to_owned(), bytes(5000)),
    ]
    .into();
    let (sha256, index) = (sha256(&bytes(5000)), format!("{}/simple/", hub.endpoint));
    let wheel = Wheel { package: "some-package", file: "w-1.whl", sha256: &sha256, size: 5000 };
    let fetch = |wheel: Wheel| wheel.fetch_from(&index, &network, folder.path(), &mut |_| ControlFlow::Continue(()));
    for requests in [2, 0] {
        assert_eq!(std::fs::read(fetch(wheel).unwrap()).unwrap(), bytes(5000));
        assert_eq!(hub.seen().len(), requests);
    }
    // A file that someone changed is fetched again, and one of another hash is refused.
    std::fs::write(folder.path().join("w-1.whl"), bytes(4999)).unwrap();
    assert_eq!(std::fs::read(fetch(wheel).unwrap()).unwrap(), bytes(5000));
    let other = "0".repeat(64);
    assert!(matches!(fetch(Wheel { sha256: &other, ..wheel }), Err(Error::Damaged { .. })));
    assert!(matches!(fetch(Wheel { file: "w-2.whl", ..wheel }), Err(Error::Answer { .. })));
}
