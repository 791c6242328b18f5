//! `vipaint bench gmm`: rows, page, refusals.

use serde_json::Value;

use crate::setup::Setup;

#[test]
fn the_mixture_benchmark_writes_a_page_and_rows() {
    let setup = Setup::new();
    let out = setup.path("gmm");
    let methods = "vipaint particles,mcgdiff,dps";
    let small = ["--dx", "4", "--dy", "1,2", "--problems", "2", "-n", "30", "--cost", "60", "--methods", methods];
    let mut arguments = vec!["bench", "gmm", "--json", "-o", out.to_str().unwrap()];
    arguments.extend(small);
    let said = setup.run(&arguments);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let rows: Vec<Value> = serde_json::from_str(&said.stdout).unwrap();
    let names: Vec<&str> = rows.iter().take(5).map(|r| r["method"].as_str().unwrap()).collect();
    assert_eq!(names, ["floor", "prior", "vipaint particles", "mcgdiff", "dps"]);
    assert_eq!(rows.len(), 10);
    for row in &rows {
        for key in ["dx", "dy", "mean", "ci", "median", "calls", "seconds"] {
            assert!(row[key].is_number(), "{key}: {row}");
        }
        assert!(row["cost"].as_f64().unwrap() <= 100.0, "{row}");
        assert_eq!(row["distances"].as_array().unwrap().len(), 2);
    }
    let page = std::fs::read_to_string(out.join("gmm.md")).unwrap();
    assert!(page.contains("## dx = 4, dy = 2") && page.contains("bench gmm --dx 4 --dy 1,2 --problems 2"));
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("gmm.json")).unwrap()).unwrap();
    assert_eq!(report["rows"].as_array().unwrap().len(), 10);
}

#[test]
fn wrong_cells_and_methods_are_refused() {
    let setup = Setup::new();
    for (arguments, named) in [
        (vec!["--methods", "vipaint partcles"], "vipaint particles"),
        (vec!["--dx", "2", "--dy", "4"], "at most as many"),
        (vec!["--problems", "0"], "at least one"),
        (vec!["--dx", "eight"], "--dx"),
    ] {
        let said = setup.run(&[vec!["bench", "gmm"], arguments].concat());
        assert_eq!(said.code, Some(2), "{}", said.stderr);
        assert!(said.stderr.contains(named), "{}", said.stderr);
    }
}

#[test]
fn the_picture_benchmark_writes_a_page_and_rows() {
    let setup = Setup::new();
    let out = setup.path("dataset");
    let small = ["--masks", "expand", "--methods", "vipaint k=2,ddnm", "--count", "2", "-n", "5", "--cost", "60"];
    let mut arguments = vec!["bench", "dataset", "--json", "-o", out.to_str().unwrap()];
    arguments.extend(small);
    let said = setup.run(&arguments);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let summary: Vec<Value> = serde_json::from_str(&said.stdout).unwrap();
    let names: Vec<&str> = summary.iter().map(|r| r["method"].as_str().unwrap()).collect();
    assert_eq!(names, ["exact", "prior", "vipaint k=2", "ddnm"]);
    for row in &summary {
        assert!(row["distance"]["mean"].as_f64().unwrap() > 0.0, "{row}");
        let cost = row["calls"].as_f64().unwrap() + 2.0 * row["vjps"].as_f64().unwrap();
        assert!(cost <= 60.0, "{row}");
    }
    let page = std::fs::read_to_string(out.join("dataset.md")).unwrap();
    assert!(page.contains("## expand") && page.contains("--methods \"vipaint k=2,ddnm\" --count 2 -n 5"));
    let wrong = setup.run(&["bench", "dataset", "--std", "0"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.stderr);
}
