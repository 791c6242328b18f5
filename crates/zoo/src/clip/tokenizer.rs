//! CLIP's byte-pair tokens (Sennrich et al., 2016; Radford et al., 2021).

use std::io::Cursor;
use std::path::Path;
use std::sync::{Arc, LazyLock, OnceLock};

use instant_clip_tokenizer as bpe;
use regex::Regex;
use serde_json::Value;
use unicode_normalization::UnicodeNormalization;

use crate::formats::FormatError;
use crate::{Error, Result};

/// What fills a text up to its full length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Padding {
    /// The end mark again (Stable Diffusion 1, SDXL's first encoder).
    End,
    /// Token 0, which is also "!" (OpenCLIP: Stable Diffusion 2, SDXL's second encoder).
    Zero,
}

/// Tokenizer of a text encoder.
#[derive(Clone)]
pub struct Tokenizer {
    table: Arc<bpe::Tokenizer>,
    padding: Padding,
    length: usize,
}

/// A text as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// As many as the tokenizer's length.
    pub ids: Vec<usize>,
    /// The place of the end mark.
    pub end: usize,
    /// Words at the end for which there was no room; the first may have been read in part.
    pub cut: Vec<String>,
}

/// The end of a word of CLIP's vocabulary, in bytes' names.
const SINGLE: usize = 512;
/// Marks of start and end.
const MARKS: usize = 2;
/// Larger than any file of a tokenizer.
const MAX_BYTES: u64 = 64 << 20;
/// Characters of a word that are looked at: more than any number of tokens that could be read.
const LONGEST_WORD: usize = 1000;

/// Runs of letters, single digits, runs of signs, and English contractions.
static PIECES: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+";
    Regex::new(pattern).expect("the pattern is a constant, and a test reads texts with it")
});

/// The vocabulary of all published encoders.
static PUBLISHED: OnceLock<Arc<bpe::Tokenizer>> = OnceLock::new();

impl Tokenizer {
    /// With the vocabulary of CLIP and OpenCLIP, for texts of `length` tokens, its marks of start and end among them.
    pub fn published(padding: Padding, length: usize) -> Self {
        let table = PUBLISHED.get_or_init(|| Arc::new(bpe::Tokenizer::new())).clone();
        Self { table, padding, length: length.max(MARKS + 1) }
    }

    /// From a folder with `merges.txt` and `vocab.json`, or with `tokenizer.json`.
    ///
    /// # Errors
    /// [`FormatError::Folder`] when the folder holds neither, or another kind of tokenizer.
    pub fn open(folder: &Path, padding: Padding, length: usize) -> Result<Self> {
        let wrong = |file: &Path, problem: String| Error::from(FormatError::Folder { path: file.into(), problem });
        let (whole, merges) = (folder.join("tokenizer.json"), folder.join("merges.txt"));
        let (file, merges, vocabulary) = if merges.is_file() {
            let lines = text(&merges)?.lines().skip(1).map(str::to_owned).collect();
            (merges, lines, json(&folder.join("vocab.json"))?)
        } else if whole.is_file() {
            let mut model = json(&whole)?["model"].take();
            let lines = merge_lines(&model).map_err(|problem| wrong(&whole, problem))?;
            (whole, lines, model["vocab"].take())
        } else {
            return Err(wrong(folder, "has neither merges.txt nor tokenizer.json".into()));
        };
        let table = Self::from_merges(merges, &vocabulary).map_err(|problem| wrong(&file, problem))?;
        Ok(Self { table: Arc::new(table), padding, length: length.max(MARKS + 1) })
    }

    /// `vocabulary` must number as CLIP's does: bytes, bytes that end a word, one for each merge, the marks.
    fn from_merges(mut merges: Vec<String>, vocabulary: &Value) -> Result<bpe::Tokenizer, String> {
        while merges.last().is_some_and(|line| line.trim().is_empty()) {
            merges.pop();
        }
        let id = |token: &str| vocabulary.get(token).and_then(Value::as_u64);
        let differs = |token: &str, place: usize| match id(token) {
            Some(id) if id == place as u64 => None,
            other => Some(format!("is not numbered as CLIP's vocabulary: {token:?} is {other:?}, not {place}")),
        };
        // A folder may hold more merges than its vocabulary has tokens; the published merges.txt does not.
        let end = SINGLE + merges.len() + 1;
        let size = u16::try_from(end + 1).map_err(|_| format!("has {} merges, more than CLIP's", merges.len()))?;
        let single = [("!", 0), ("a", 64), ("!</w>", SINGLE / 2), ("a</w>", 320)];
        let marks = [("<|startoftext|>", end - 1), ("<|endoftext|>", end)];
        let merged = merges.iter().enumerate().map(|(i, line)| (line.replacen(' ', "", 1), SINGLE + i));
        let named = single.into_iter().chain(marks).map(|(token, place)| (token.to_owned(), place));
        if let Some(problem) = named.chain(merged).find_map(|(token, place)| differs(token.trim(), place)) {
            return Err(problem);
        }
        let lines = format!("#version\n{}", merges.join("\n"));
        bpe::Tokenizer::with_vocabulary(Cursor::new(lines), size).map_err(|error| error.to_string())
    }

    /// Number of different tokens.
    pub fn size(&self) -> usize {
        usize::from(self.table.end_of_text().to_u16()) + 1
    }

    /// The tokens of a text: normalised (Unicode's form C), in lower case, cut after as many as there is room for. Marks that
    /// are written out in it are read as any other characters.
    pub fn tokenize(&self, text: &str) -> Tokens {
        let [start, end] =
            [self.table.start_of_text(), self.table.end_of_text()].map(|mark| usize::from(mark.to_u16()));
        let (mut ids, mut cut) = (vec![start], Vec::new());
        for word in text.split_whitespace() {
            if ids.len() >= self.length - 1 {
                cut.push(word.to_owned());
                continue;
            }
            ids.extend(self.word(word));
            if ids.len() > self.length - 1 || word.chars().nth(LONGEST_WORD).is_some() {
                ids.truncate(self.length - 1);
                cut.push(word.to_owned());
            }
        }
        let place = ids.len();
        ids.push(end);
        ids.resize(self.length, if self.padding == Padding::End { end } else { 0 });
        Tokens { ids, end: place, cut }
    }

    fn word(&self, word: &str) -> Vec<usize> {
        // Letter by letter, as the tokenizers library does it: `str::to_lowercase` knows the Greek final sigma.
        let word: String = word.chars().take(LONGEST_WORD).nfc().flat_map(char::to_lowercase).collect();
        let mut tokens = Vec::new();
        // Piece by piece, so that no piece is one of the table's own marks.
        PIECES.find_iter(&word).for_each(|piece| self.table.encode(piece.as_str(), &mut tokens));
        tokens.into_iter().map(|token| usize::from(token.to_u16())).collect()
    }
}

/// Merges as lines; newer files hold them as pairs.
fn merge_lines(model: &Value) -> Result<Vec<String>, String> {
    if model["type"].as_str().is_some_and(|kind| kind != "BPE") {
        return Err(format!("is a tokenizer of another kind, {}", model["type"]));
    }
    let rows = model["merges"].as_array().ok_or("has no merges")?;
    let line = |row: &Value| match row {
        Value::String(line) => Some(line.clone()),
        _ => Some(format!("{} {}", row.get(0)?.as_str()?, row.get(1)?.as_str()?)),
    };
    rows.iter().map(line).collect::<Option<_>>().ok_or_else(|| "has merges that are not pairs".to_owned())
}

fn text(path: &Path) -> Result<String> {
    let failed = |source| Error::Io { path: path.to_path_buf(), source };
    if std::fs::metadata(path).map_err(failed)?.len() > MAX_BYTES {
        return Err(FormatError::Limit { what: "bytes of a tokenizer", limit: MAX_BYTES as usize }.into());
    }
    std::fs::read_to_string(path).map_err(failed)
}

fn json(path: &Path) -> Result<Value> {
    serde_json::from_str(&text(path)?).map_err(|error| {
        FormatError::Folder { path: path.to_path_buf(), problem: format!("is not JSON ({error})") }.into()
    })
}
