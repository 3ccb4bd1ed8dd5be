//! One dictionary per column and segment: built while rows come in, given up as soon as it does not pay.

use std::sync::Arc;

use ahash::AHashMap;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, Int16Array, StringArray};

use crate::DICTIONARY_BYTES_MAX;

/// Entries at most: keys are int16.
const ENTRIES_MAX: usize = i16::MAX as usize;
/// A dictionary must leave at most this many percent of the plain size.
const PAYS_PERCENT: usize = 70;

/// Distinct values of a string column so far.
#[derive(Debug, Default)]
pub(crate) struct DictionaryBuilder {
    keys: AHashMap<Box<str>, i16>,
    values: Vec<Box<str>>,
    value_bytes: usize,
    rows: usize,
    plain_bytes: usize,
}

impl DictionaryBuilder {
    /// Keys of the rows; `None` when a bound is passed. The builder is of no use then, except for [`Self::expand`].
    pub(crate) fn add(&mut self, strings: &StringArray) -> Option<Int16Array> {
        let mut keys = Vec::with_capacity(strings.len());
        for value in strings {
            let Some(value) = value else {
                keys.push(0);
                continue;
            };
            let key = match self.keys.get(value) {
                Some(key) => *key,
                None => self.insert(value)?,
            };
            self.plain_bytes += value.len();
            keys.push(key);
        }
        self.rows += strings.len();
        Some(Int16Array::new(keys.into(), strings.nulls().cloned()))
    }

    fn insert(&mut self, value: &str) -> Option<i16> {
        let full = self.values.len() >= ENTRIES_MAX || self.value_bytes + value.len() > DICTIONARY_BYTES_MAX;
        if full {
            return None;
        }
        let key = self.values.len() as i16;
        self.keys.insert(value.into(), key);
        self.values.push(value.into());
        self.value_bytes += value.len();
        Some(key)
    }

    /// Whether keys and values take clearly less than the plain strings.
    pub(crate) fn pays(&self) -> bool {
        let plain = self.plain_bytes + 4 * self.rows;
        let encoded = 2 * self.rows + self.value_bytes + 4 * (self.values.len() + 1);
        self.rows > 0 && encoded * 100 <= plain * PAYS_PERCENT && self.values.len() * 2 <= self.rows
    }

    /// The strings of keys.
    pub(crate) fn expand(&self, keys: &ArrayRef) -> ArrayRef {
        let keys = keys.as_primitive::<arrow_array::types::Int16Type>();
        Arc::new(keys.iter().map(|key| key.map(|key| &*self.values[key as usize])).collect::<StringArray>())
    }

    /// The values in key order.
    pub(crate) fn values(&self) -> ArrayRef {
        Arc::new(StringArray::from_iter_values(self.values.iter().map(|value| &**value)))
    }
}
