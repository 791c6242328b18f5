//! What a pickle is made of here: small values, and tables of what they refer to.

use super::globals::Known;
use crate::formats::Dtype;

/// A value. Numbers that do not matter (floats, long integers) are [`Value::Plain`].
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    None,
    Plain,
    Bool(bool),
    Int(i64),
    Text(&'a str),
    /// A tuple, list or set.
    Sequence(u32),
    Dictionary(u32),
    Known(Known),
    Storage(u32),
    Tensor(u32),
    /// The result of something that is not known here.
    Foreign(u32),
}

/// A storage of a torch file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Storage<'a> {
    pub key: &'a str,
    /// Of its numbers; `None` for bytes.
    pub dtype: Option<Dtype>,
    /// Numbers, or bytes.
    pub count: usize,
}

/// A tensor of a torch file, not yet compared with its storage.
#[derive(Debug)]
pub(super) struct Tensor {
    pub storage: u32,
    pub dtype: Dtype,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// What values refer to. It only grows, by at most what the pickle's instructions spell out.
#[derive(Debug, Default)]
pub(super) struct Arena<'a> {
    pub sequences: Vec<Vec<Value<'a>>>,
    pub dictionaries: Vec<Vec<(Value<'a>, Value<'a>)>>,
    pub storages: Vec<Storage<'a>>,
    pub tensors: Vec<Tensor>,
    /// Module and name.
    pub foreign: Vec<(&'a str, &'a str)>,
}

impl<'a> Arena<'a> {
    pub fn sequence(&mut self, items: Vec<Value<'a>>) -> Value<'a> {
        Value::Sequence(push(&mut self.sequences, items))
    }

    pub fn dictionary(&mut self, pairs: Vec<(Value<'a>, Value<'a>)>) -> Value<'a> {
        Value::Dictionary(push(&mut self.dictionaries, pairs))
    }

    pub fn storage(&mut self, storage: Storage<'a>) -> Value<'a> {
        Value::Storage(push(&mut self.storages, storage))
    }

    pub fn tensor(&mut self, tensor: Tensor) -> Value<'a> {
        Value::Tensor(push(&mut self.tensors, tensor))
    }

    pub fn foreign(&mut self, module: &'a str, name: &'a str) -> Value<'a> {
        Value::Foreign(push(&mut self.foreign, (module, name)))
    }

    /// The items of a sequence.
    pub fn items(&self, value: Value<'a>) -> Option<&[Value<'a>]> {
        match value {
            Value::Sequence(id) => Some(&self.sequences[id as usize]),
            _ => None,
        }
    }

    /// The whole numbers, none negative, in a sequence.
    pub fn sizes(&self, value: Value<'a>) -> Option<Vec<usize>> {
        self.items(value)?.iter().map(|item| size(*item)).collect()
    }

    /// What a value is, for messages.
    pub fn describe(&self, value: Value<'a>) -> String {
        match value {
            Value::Foreign(id) => {
                let (module, name) = self.foreign[id as usize];
                format!("{module}.{name}")
            }
            Value::None => "None".into(),
            Value::Plain | Value::Int(_) | Value::Bool(_) => "number or bytes".into(),
            Value::Text(_) => "text".into(),
            Value::Sequence(_) => "list".into(),
            Value::Dictionary(_) => "dictionary without torch's tensors".into(),
            Value::Known(known) => format!("{known:?}"),
            Value::Storage(_) => "storage".into(),
            Value::Tensor(_) => "single tensor".into(),
        }
    }
}

/// A whole number that is not negative.
pub(super) fn size(value: Value<'_>) -> Option<usize> {
    match value {
        Value::Int(number) => usize::try_from(number).ok(),
        _ => None,
    }
}

fn push<T>(table: &mut Vec<T>, item: T) -> u32 {
    table.push(item);
    // The machine stops long before 2^32 instructions, each of which adds at most one row.
    (table.len() - 1) as u32
}
