//! `vipaint bench gmm`: rows, page, refusals.

use serde_json::Value;

use crate::setup::Setup;

#[test]
fn the_mixture_benchmark_writes_a_page_and_rows() {
    let setup = Setup::new();
    let out = setup.path("gmm");
    let methods = "vipaint,mcgdiff,dps";
    let small = ["--dx", "4", "--dy", "1,2", "--problems", "2", "-n", "30", "--cost", "60", "--methods", methods];
    let mut arguments = vec!["bench", "gmm", "--json", "-o", out.to_str().unwrap()];
    arguments.extend(small);
    let said = setup.run(&arguments);
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let rows: Vec<Value> = serde_json::from_str(&said.stdout).unwrap();
    let names: Vec<&str> = rows.iter().take(5).map(|r| r["method"].as_str().unwrap()).collect();
    assert_eq!(names, ["floor", "prior", "vipaint", "mcgdiff", "dps"]);
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
        (vec!["--methods", "vipaint publshed"], "vipaint published"),
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
    let mut arguments = vec!["bench", "dataset", "--shrink", "2", "--json", "-o", out.to_str().unwrap()];
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
    for wrong in [["--std", "0"], ["--shrink", "3"], ["--shrink", "0"]] {
        let said = setup.run(&[&["bench", "dataset"], &wrong[..]].concat());
        assert_eq!(said.code, Some(2), "{}", said.stderr);
        assert!(said.stderr.contains(wrong[0].trim_start_matches("--")), "{}", said.stderr);
    }
}

#[test]
fn the_benchmark_of_operators_writes_a_page_rows_and_pictures() {
    let setup = Setup::new();
    let out = setup.path("operators");
    let small = [
        ["--operators", "mask:expand,jpeg:10"],
        ["--methods", "vipaint k=1 init_steps=1,dps zeta=2|5,ddnm"],
        ["--tuning", "1"],
        ["-n", "2"],
        ["--cost", "18"],
        ["-o", out.to_str().unwrap()],
    ];
    let said = setup.run(&[&["bench", "operators", "--json"], small.concat().as_slice()].concat());
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let summary: Vec<Value> = serde_json::from_str(&said.stdout).unwrap();
    let rows: Vec<[&str; 2]> =
        summary.iter().map(|r| ["setting", "method"].map(|key| r[key].as_str().unwrap())).collect();
    let (own, dps) = ("vipaint k=1 init_steps=1", "dps zeta=2|5");
    // DDNM is not for JPEG, and says so.
    let of = |setting| [[setting, own], [setting, dps], [setting, "ddnm"]];
    assert_eq!(rows, [&of("mask:expand")[..], &of("jpeg:10")[..2]].concat());
    for row in &summary {
        assert!(
            row["psnr"]["mean"].as_f64().unwrap() > 3.0 && row["residual"]["mean"].as_f64().unwrap() > 0.0,
            "{row}"
        );
        assert_eq!(row["lead_psnr"].is_null(), row["method"] == own, "{row}");
        assert!(row["calls"].as_f64().unwrap() + 2.0 * row["vjps"].as_f64().unwrap() <= 18.0, "{row}");
    }
    assert!(["dps zeta=2", "dps zeta=5"].contains(&summary[1]["used"].as_str().unwrap()));
    let page = std::fs::read_to_string(out.join("operators.md")).unwrap();
    assert!(page.contains("## `jpeg:10`") && page.contains("(operators/mask-expand.png)"));
    assert!(image::open(out.join("operators/jpeg-10.png")).is_ok_and(|sheet| sheet.width() == 4 * 66));
    for (arguments, named) in [
        (["--operators", "bicubc:4"], "bicubic:4"),
        (["--methods", "dps zeta=1|x"], "zeta"),
        (["--prior", "avatars"], "fashion"),
        (["--cost", "0"], "positive cost"),
    ] {
        let said = setup.run(&[&["bench", "operators"], &arguments[..]].concat());
        assert_eq!(said.code, Some(2), "{}", said.stderr);
        assert!(said.stderr.contains(named), "{}", said.stderr);
    }
}
