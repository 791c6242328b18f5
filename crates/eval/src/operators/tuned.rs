//! A method with alternatives for some of its options, of which the best is found on other pictures.

use super::Row;
use crate::Result;
use crate::masks::Contender;

/// A method.
pub struct Tuned {
    /// The text it was made from.
    pub name: String,
    /// What it may be.
    pub alternatives: Vec<Contender>,
}

impl Tuned {
    /// As [`Contender::parse`], with values of an option separated by `|`: `dps zeta=5|10|20`.
    ///
    /// # Errors
    /// Those of [`Contender::parse`].
    pub fn parse(text: &str) -> Result<Self> {
        let mut texts = vec![String::new()];
        for word in text.split_whitespace() {
            let (key, values) = word.split_once('=').map_or((None, word), |(key, values)| (Some(key), values));
            let words =
                values.split('|').map(|value| key.map_or_else(|| value.to_owned(), |key| format!("{key}={value}")));
            let words: Vec<String> = words.collect();
            texts = texts.iter().flat_map(|text| words.iter().map(move |word| format!("{text} {word}"))).collect();
        }
        let alternatives = texts.iter().map(|text| Contender::parse(text)).collect::<Result<Vec<_>>>()?;
        Ok(Self { name: text.split_whitespace().collect::<Vec<_>>().join(" "), alternatives })
    }

    /// The alternative with the highest PSNR on tuning pictures under a setting; the first without any.
    pub(super) fn best(&self, rows: &[Row], setting: &str) -> &Contender {
        let score = |contender: &Contender| {
            let own = |r: &&Row| r.tuning && r.setting == setting && r.method == self.name && r.used == contender.name;
            let scores: Vec<f64> = rows.iter().filter(own).map(|r| r.psnr).collect();
            scores.iter().sum::<f64>() / scores.len().max(1) as f64
        };
        let mut best = (&self.alternatives[0], score(&self.alternatives[0]));
        for contender in &self.alternatives[1..] {
            let score = score(contender);
            if score > best.1 {
                best = (contender, score);
            }
        }
        best.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alternatives_are_multiplied_and_the_best_is_taken() {
        let tuned = Tuned::parse("dps  zeta=5|10 eta=0.5|1").expect("it is well written");
        let names: Vec<&str> = tuned.alternatives.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["dps zeta=5 eta=0.5", "dps zeta=5 eta=1", "dps zeta=10 eta=0.5", "dps zeta=10 eta=1"]);
        let row = |used: &str, setting: &str, psnr: f64| -> Row {
            let numbers = serde_json::json!({
                "setting": setting, "picture": 0, "tuning": true, "method": "dps zeta=5|10 eta=0.5|1", "used": used,
                "psnr": psnr, "psnr_mean": 0.0, "psnr_hidden": null, "ssim": 0.0, "residual": 0.0, "diversity": 0.0,
                "calls": 0, "vjps": 0, "seconds": 0.0,
            });
            serde_json::from_value(numbers).expect("it is a row")
        };
        let rows = [row(names[0], "a", 20.0), row(names[2], "a", 21.0), row(names[3], "b", 30.0)];
        assert_eq!(tuned.best(&rows, "a").name, names[2]);
        assert_eq!(tuned.best(&rows, "b").name, names[3]);
        assert_eq!(tuned.best(&[], "a").name, names[0]);
        assert!(Tuned::parse("dps zeta=5|x").is_err());
    }
}
