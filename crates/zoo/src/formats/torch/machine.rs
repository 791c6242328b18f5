//! The stack machine of pickles (Python's `pickletools` documents every instruction), for protocols 2 to 5 and only the
//! instructions that weights need.

use std::collections::HashMap;

use super::code::Code;
use super::globals::{Known, Meaning, meaning};
use super::value::{Arena, Storage, Tensor, Value, size};
use crate::formats::Dtype;
use crate::formats::error::{FormatError, Result};

/// Instructions that are carried out at most: a large training checkpoint has some 300,000. An instruction costs at most
/// some 100 bytes of memory.
const MAX_INSTRUCTIONS: usize = 1 << 22;

/// A pickle being read.
pub(super) struct Machine<'a> {
    code: Code<'a>,
    stack: Vec<Value<'a>>,
    marks: Vec<usize>,
    memo: HashMap<u32, Value<'a>>,
    left: usize,
    pub arena: Arena<'a>,
}

impl<'a> Machine<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self {
            code: Code::new(bytes),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            left: MAX_INSTRUCTIONS,
            arena: Arena::default(),
        }
    }

    /// Offset of what follows the pickles read so far.
    pub fn at(&self) -> usize {
        self.code.at
    }

    /// Reads one pickle to its end.
    pub fn run(&mut self) -> Result<Value<'a>> {
        self.stack.clear();
        self.marks.clear();
        self.memo.clear();
        loop {
            self.left = self.left.saturating_sub(1);
            if self.left == 0 {
                return Err(FormatError::Limit { what: "pickle instructions", limit: MAX_INSTRUCTIONS });
            }
            let at = self.code.at;
            let opcode = self.code.u8()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode, at)?;
        }
    }

    fn step(&mut self, opcode: u8, at: usize) -> Result<()> {
        match opcode {
            0x80 => {
                let protocol = self.code.u8()?;
                if !(2..=5).contains(&protocol) {
                    return self.code.error(format!("protocol {protocol} is not known"));
                }
            }
            0x95 => {
                self.code.length()?; // a frame's length, which matters to buffered readers only
            }
            b'N' => self.stack.push(Value::None),
            0x88 => self.stack.push(Value::Bool(true)),
            0x89 => self.stack.push(Value::Bool(false)),
            b'K' | b'M' | b'J' | 0x8a | 0x8b | b'G' => self.number(opcode)?,
            b'X' | 0x8c | 0x8d | b'U' | b'T' | b'C' | b'B' | 0x8e | 0x96 => self.text(opcode)?,
            b'q' | b'r' | 0x94 | b'h' | b'j' => self.remember(opcode)?,
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.since_mark()?),
            b'2' => {
                let top = self.pop()?;
                self.stack.extend([top, top]);
            }
            b')' | 0x85 | 0x86 | 0x87 | b't' | b']' | b'}' | 0x8f | 0x91 => self.collection(opcode)?,
            b'a' | b'e' | 0x90 | b's' | b'u' => self.fill(opcode)?,
            b'c' => {
                let (module, name) = (self.code.line()?, self.code.line()?);
                self.global(module, name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Value::Text(module), Value::Text(name)) = (module, name) else {
                    return self.code.error("a function's name is not text");
                };
                self.global(module, name)?;
            }
            b'R' | 0x81 | 0x92 => {
                if opcode == 0x92 {
                    self.pop()?; // keyword arguments, which nothing known here takes
                }
                let (arguments, function) = (self.pop()?, self.pop()?);
                let result = self.call(function, arguments)?;
                self.stack.push(result);
            }
            b'b' => {
                // Attributes of a dictionary (a state dict's `_metadata`) or of something inert: not needed.
                let (_, object) = (self.pop()?, self.pop()?);
                if !matches!(object, Value::Dictionary(_) | Value::Foreign(_)) {
                    let what = self.arena.describe(object);
                    return self.code.error(format!("attributes are set on a {what}"));
                }
                self.stack.push(object);
            }
            b'Q' => {
                let id = self.pop()?;
                let value = self.persistent(id)?;
                self.stack.push(value);
            }
            b'i' => {
                // Protocol 0's way to make an object: never in weights. Its name says what was tried.
                let (module, name) = (self.code.line()?, self.code.line()?);
                self.global(module, name)?;
                return Err(FormatError::Opcode { opcode, at });
            }
            _ => return Err(FormatError::Opcode { opcode, at }),
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Value<'a>> {
        // What lies below a mark belongs to an unfinished collection.
        if self.stack.len() <= self.marks.last().copied().unwrap_or(0) {
            return self.code.error("takes a value that is not there");
        }
        match self.stack.pop() {
            Some(value) => Ok(value),
            None => self.code.error("takes a value that is not there"),
        }
    }

    fn since_mark(&mut self) -> Result<Vec<Value<'a>>> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => self.code.error("ends a collection that was not begun"),
        }
    }

    fn number(&mut self, opcode: u8) -> Result<()> {
        let value = match opcode {
            b'K' => Value::Int(self.code.u8()?.into()),
            b'M' => Value::Int(self.code.u16()?.into()),
            b'J' => Value::Int((self.code.u32()? as i32).into()),
            b'G' => {
                self.code.take(8)?;
                Value::Plain
            }
            _ => {
                let count = if opcode == 0x8a { usize::from(self.code.u8()?) } else { self.code.u32()? as usize };
                let bytes = self.code.take(count)?;
                match bytes.last() {
                    None => Value::Int(0),
                    Some(_) if count > 8 => Value::Plain,
                    Some(last) => {
                        let mut number = [if last & 0x80 == 0 { 0 } else { 0xff }; 8]; // the sign goes on
                        number[..count].copy_from_slice(bytes);
                        Value::Int(i64::from_le_bytes(number))
                    }
                }
            }
        };
        self.stack.push(value);
        Ok(())
    }

    fn text(&mut self, opcode: u8) -> Result<()> {
        let count = match opcode {
            0x8c | b'U' | b'C' => usize::from(self.code.u8()?),
            b'X' | b'T' | b'B' => self.code.u32()? as usize,
            _ => self.code.length()?,
        };
        let value = match opcode {
            b'X' | 0x8c | 0x8d => Value::Text(self.code.text(count)?),
            // Python 2's text, or its bytes.
            b'U' | b'T' => str::from_utf8(self.code.take(count)?).map_or(Value::Plain, Value::Text),
            _ => {
                self.code.take(count)?;
                Value::Plain
            }
        };
        self.stack.push(value);
        Ok(())
    }

    fn remember(&mut self, opcode: u8) -> Result<()> {
        let index = match opcode {
            b'q' | b'h' => u32::from(self.code.u8()?),
            b'r' | b'j' => self.code.u32()?,
            _ => self.memo.len() as u32,
        };
        if matches!(opcode, b'h' | b'j') {
            let Some(value) = self.memo.get(&index) else { return self.code.error("recalls what was not remembered") };
            self.stack.push(*value);
        } else {
            let value = self.pop()?;
            self.stack.push(value);
            self.memo.insert(index, value);
        }
        Ok(())
    }

    fn collection(&mut self, opcode: u8) -> Result<()> {
        let items = match opcode {
            0x85..=0x87 => {
                let mut items = Vec::with_capacity(3);
                for _ in 0x85..=opcode {
                    items.push(self.pop()?);
                }
                items.reverse();
                items
            }
            b't' | 0x91 => self.since_mark()?,
            _ => Vec::new(),
        };
        let value = if opcode == b'}' { self.arena.dictionary(Vec::new()) } else { self.arena.sequence(items) };
        self.stack.push(value);
        Ok(())
    }

    fn fill(&mut self, opcode: u8) -> Result<()> {
        let items = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                vec![key, value]
            }
            _ => self.since_mark()?,
        };
        let pairs = matches!(opcode, b's' | b'u');
        match self.stack.last() {
            Some(Value::Sequence(id)) if !pairs => self.arena.sequences[*id as usize].extend(items),
            Some(Value::Dictionary(id)) if pairs && items.len() % 2 == 0 => {
                let pairs = items.chunks_exact(2).map(|pair| (pair[0], pair[1]));
                self.arena.dictionaries[*id as usize].extend(pairs);
            }
            Some(Value::Foreign(_)) => {}
            _ => return self.code.error("fills something that is no list or dictionary"),
        }
        Ok(())
    }

    fn global(&mut self, module: &'a str, name: &'a str) -> Result<()> {
        let value = match meaning(module, name) {
            Meaning::Known(known) => Value::Known(known),
            Meaning::Foreign => self.arena.foreign(module, name),
            Meaning::Hostile => return Err(FormatError::Hostile { global: format!("{module}.{name}") }),
        };
        self.stack.push(value);
        Ok(())
    }

    fn call(&mut self, function: Value<'a>, arguments: Value<'a>) -> Result<Value<'a>> {
        let known = match function {
            Value::Foreign(_) => return Ok(function), // its result is as inert as itself
            Value::Known(known) => known,
            other => {
                let what = self.arena.describe(other);
                return self.code.error(format!("calls a {what}"));
            }
        };
        let Some(items) = self.arena.items(arguments).map(<[_]>::to_vec) else {
            return self.code.error("calls a function without a tuple of arguments");
        };
        match (known, &items[..]) {
            (Known::Tensor, [storage, offset, shape, strides, ..]) => {
                self.tensor(*storage, [*offset, *shape, *strides], None)
            }
            (Known::TypedTensor, [storage, offset, shape, strides, _, _, dtype, ..]) => match dtype {
                Value::Known(Known::Dtype(dtype)) => self.tensor(*storage, [*offset, *shape, *strides], Some(*dtype)),
                Value::Foreign(_) => Ok(*dtype),
                _ => self.code.error("a tensor's type is no type"),
            },
            (Known::Parameter, [tensor @ (Value::Tensor(_) | Value::Foreign(_)), ..]) => Ok(*tensor),
            (Known::FromType, [function @ Value::Known(inner), _, arguments, ..]) if *inner != Known::FromType => {
                self.call(*function, *arguments)
            }
            (Known::FromType, [function @ Value::Foreign(_), ..]) => Ok(*function),
            (Known::Dictionary, []) => Ok(self.arena.dictionary(Vec::new())),
            (Known::Dictionary, [pairs, ..]) => {
                // Pairs, or a default dictionary's factory.
                let pairs = self.arena.items(*pairs).unwrap_or_default();
                let pair = |pair: &Value<'a>| match self.arena.items(*pair) {
                    Some([key, value]) => Some((*key, *value)),
                    _ => None,
                };
                let pairs = pairs.iter().map_while(pair).collect();
                Ok(self.arena.dictionary(pairs))
            }
            (Known::Size, [sizes @ Value::Sequence(_)]) => Ok(*sizes),
            _ => self.code.error(format!("calls {known:?} with {} unsuitable arguments", items.len())),
        }
    }

    /// A tensor over a storage; an inert name where the storage is one.
    fn tensor(
        &mut self,
        storage: Value<'a>,
        [offset, shape, strides]: [Value<'a>; 3],
        dtype: Option<Dtype>,
    ) -> Result<Value<'a>> {
        let id = match storage {
            Value::Storage(id) => id,
            Value::Foreign(_) => return Ok(storage),
            _ => return self.code.error("a tensor without a storage"),
        };
        let sizes = (size(offset), self.arena.sizes(shape), self.arena.sizes(strides));
        let (Some(offset), Some(shape), Some(strides)) = sizes else {
            return self.code.error("a tensor whose sizes are not whole numbers from 0 on");
        };
        let Some(dtype) = self.arena.storages[id as usize].dtype.or(dtype) else {
            return self.code.error("a tensor of bytes without a type");
        };
        Ok(self.arena.tensor(Tensor { storage: id, dtype, offset, shape, strides }))
    }

    /// A storage: `("storage", class, key, device, count)`, and in the older format a view of it, which is not supported.
    fn persistent(&mut self, id: Value<'a>) -> Result<Value<'a>> {
        let items = self.arena.items(id).unwrap_or_default();
        let [Value::Text("storage"), class, Value::Text(key), _, count, view @ ..] = items else {
            return self.code.error("refers to something outside the pickle that is no storage");
        };
        if !matches!(view, [] | [Value::None]) {
            return self.code.error("a storage that is a view of another; save the file again with a newer PyTorch");
        }
        let dtype = match class {
            Value::Known(Known::Storage(dtype)) => Some(*dtype),
            Value::Known(Known::Bytes) => None,
            Value::Foreign(_) => return Ok(*class),
            _ => return self.code.error("a storage without a class"),
        };
        let Some(count) = size(*count) else { return self.code.error("a storage of a negative size") };
        let key = *key;
        Ok(self.arena.storage(Storage { key, dtype, count }))
    }
}
