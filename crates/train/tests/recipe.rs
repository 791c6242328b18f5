//! Recipes: errors name the key.

mod common;

use std::path::Path;

use vipaint_train::Recipe;

fn message(from: &str, to: &str) -> String {
    let text = common::text(Path::new("data"));
    assert!(text.contains(from), "{from}");
    Recipe::parse(&text.replacen(from, to, 1)).unwrap_err().to_string()
}

#[test]
fn errors_name_the_key() {
    for (from, to, key) in [
        ("seed = 3", "sead = 3", "sead"),
        ("lr = 3e-3", "learning_rate = 3e-3", "learning_rate"),
        ("pad = 1", "padding = 1", "padding"),
        ("lr = 3e-3\n", "", "lr"),
        ("lr = 3e-3", "lr = -1.0", "optimizer.lr"),
        ("lr = 3e-3", "lr = nan", "optimizer.lr"),
        ("batch = 8", "batch = 0", "optimizer.batch"),
        ("pieces = 2", "pieces = 3", "optimizer.pieces"),
        ("betas = [0.9, 0.99]", "betas = [0.9, 1.0]", "optimizer.betas"),
        ("class_dropout = 0.2", "class_dropout = 1.5", "optimizer.class_dropout"),
        ("decay = 0.5", "decay = 2.0", "optimizer.decay"),
        ("images = 320", "images = 0", "images"),
        ("name = \"tiny\"", "name = \" \"", "name"),
        ("sigma_min = 0.02", "sigma_min = 50.0", "sigma_min"),
        ("kind = \"edm\"", "kind = \"gan\"", "gan"),
        ("size = 8", "size = 9", "size"),
        ("blocks = [1, 1]", "blocks = [1]", "blocks"),
        ("held_out = 6", "held_out = 0", "output.held_out"),
    ] {
        let message = message(from, to);
        assert!(message.contains(key), "{to}: {message}");
    }
}

#[test]
fn the_shipped_recipe_is_valid() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../priors/fashion/recipe.toml");
    let recipe = Recipe::load(&path).unwrap();
    assert_eq!(recipe.shape(), [1, 32, 32]);
    let missing = Recipe::load(Path::new("no-such-recipe.toml")).unwrap_err().to_string();
    assert!(missing.contains("no-such-recipe.toml"));
}

#[test]
fn the_learning_rate_rises_stays_and_falls_to_zero() {
    let recipe = common::recipe(Path::new("data"));
    let peak = recipe.optimizer.lr;
    assert!((recipe.lr(0) - peak * 8.0 / 40.0).abs() < 1e-12);
    assert!((recipe.lr(40) - peak).abs() < 1e-12);
    assert!((recipe.lr(160) - peak).abs() < 1e-12);
    assert!((recipe.lr(240) - peak / 2.0).abs() < 1e-12);
    assert_eq!(recipe.lr(320), 0.0);
}
