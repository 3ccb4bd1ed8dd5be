//! Types, enumerated values, numbers and strings.
use serde_json::{Map, Value};

use super::{Check, Conditions, list};

/// Kinds of values. A number that is no integer is `fraction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Types(u8);

const NULL: Types = Types(1);
const BOOLEAN: Types = Types(2);
const INTEGER: Types = Types(4);
const FRACTION: Types = Types(8);
const STRING: Types = Types(16);
const ARRAY: Types = Types(32);
const OBJECT: Types = Types(64);
const ALL: Types = Types(127);
const NONE: Types = Types(0);

impl Types {
    fn and(self, other: Types) -> Types {
        Types(self.0 & other.0)
    }

    fn or(self, other: Types) -> Types {
        Types(self.0 | other.0)
    }

    fn named(name: &str) -> Types {
        match name {
            "null" => NULL,
            "boolean" => BOOLEAN,
            "integer" => INTEGER,
            "number" => INTEGER.or(FRACTION),
            "string" => STRING,
            "array" => ARRAY,
            "object" => OBJECT,
            _ => ALL,
        }
    }

    fn of_value(value: &Value) -> Types {
        match value {
            Value::Null => NULL,
            Value::Bool(_) => BOOLEAN,
            Value::Number(number) if number.as_f64().is_some_and(|n| n.fract() != 0.0) => FRACTION,
            Value::Number(_) => INTEGER,
            Value::String(_) => STRING,
            Value::Array(_) => ARRAY,
            Value::Object(_) => OBJECT,
        }
    }

    /// What the keyword `type` admits.
    fn declared(members: &Map<String, Value>) -> Types {
        match members.get("type") {
            Some(Value::String(name)) => Types::named(name),
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).fold(NONE, |types, name| types.or(Types::named(name)))
            }
            _ => ALL,
        }
    }
}

/// Which kinds of values the writer may have written, where keywords of the reader depend on it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Written {
    pub number: bool,
    pub string: bool,
    pub array: bool,
    pub object: bool,
}

/// The values of `enum` or `const`.
fn values(members: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (members.get("const"), members.get("enum").and_then(Value::as_array)) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(values)) => Some(values.iter().collect()),
        (None, None) => None,
    }
}

/// JSON Schema's equality: 1 and 1.0 are the same number.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        _ => a == b,
    }
}

fn written_types(conditions: &Conditions<'_>) -> Types {
    conditions.all.iter().fold(ALL, |types, condition| {
        let listed = values(condition.members).map(|values| {
            let declared = Types::declared(condition.members);
            values.into_iter().map(Types::of_value).filter(|t| t.and(declared) != NONE).fold(NONE, Types::or)
        });
        types.and(listed.unwrap_or_else(|| Types::declared(condition.members)))
    })
}

/// A bound of numbers: the value, and whether it is itself excluded.
type Bound = (f64, bool);

fn bound(
    members: &Map<String, Value>,
    inclusive: &str,
    exclusive: &str,
    tighter: fn(f64, f64) -> bool,
) -> Option<Bound> {
    let plain = members.get(inclusive).and_then(Value::as_f64);
    match members.get(exclusive) {
        // Draft 4: a flag beside the bound.
        Some(Value::Bool(excluded)) => plain.map(|value| (value, *excluded)),
        Some(excluded) => match (plain, excluded.as_f64()) {
            (Some(value), Some(excluded)) if tighter(value, excluded) => Some((value, false)),
            (_, Some(excluded)) => Some((excluded, true)),
            (plain, None) => plain.map(|value| (value, false)),
        },
        None => plain.map(|value| (value, false)),
    }
}

impl<'a> Check<'a> {
    /// None = the reader lacks a type. Reports by itself.
    pub(super) fn types_fit(
        &mut self,
        conditions: &Conditions<'a>,
        members: &Map<String, Value>,
        path: &str,
    ) -> Option<Written> {
        let (written, read) = (written_types(conditions), Types::declared(members));
        let both = written.and(read);
        if both != written {
            let kind = if both == NONE { "TYPE_CHANGED" } else { "TYPE_NARROWED" };
            self.report(kind, path, "does not admit a type that was admitted");
            return None;
        }
        let has = |types: Types| written.and(types) != NONE;
        Some(Written { number: has(INTEGER.or(FRACTION)), string: has(STRING), array: has(ARRAY), object: has(OBJECT) })
    }

    /// `enum` and `const`.
    pub(super) fn values_fit(&mut self, conditions: &Conditions<'a>, members: &Map<String, Value>, path: &str) -> bool {
        let Some(admitted) = values(members) else { return true };
        let listed = conditions.all.iter().filter_map(|c| values(c.members)).min_by_key(Vec::len);
        let (null, no, yes) = (Value::Null, Value::Bool(false), Value::Bool(true));
        let written: Vec<&Value> = match (listed, written_types(conditions)) {
            (Some(listed), _) => listed,
            (None, NULL) => vec![&null],
            (None, BOOLEAN) => vec![&no, &yes],
            (None, _) => return self.report("ENUM_ARRAY_ADDED", path, "has an `enum` or `const` where there was none"),
        };
        let missing = written.iter().filter(|value| !admitted.iter().any(|other| same(other, value))).count();
        match missing {
            0 => true,
            _ if missing == written.len() => self.report("ENUM_ARRAY_CHANGED", path, "admits other values in `enum`"),
            _ => self.report("ENUM_ARRAY_NARROWED", path, "admits fewer values in `enum`"),
        }
    }

    pub(super) fn numbers_fit(
        &mut self,
        conditions: &Conditions<'a>,
        members: &Map<String, Value>,
        path: &str,
    ) -> bool {
        let lower: fn(f64, f64) -> bool = |a, b| a < b;
        let upper: fn(f64, f64) -> bool = |a, b| a > b;
        let maximum = (
            "maximum",
            "exclusiveMaximum",
            lower,
            ["MAXIMUM_ADDED", "MAXIMUM_DECREASED", "EXCLUSIVE_MAXIMUM_ADDED", "EXCLUSIVE_MAXIMUM_DECREASED"],
        );
        let minimum = (
            "minimum",
            "exclusiveMinimum",
            upper,
            ["MINIMUM_ADDED", "MINIMUM_INCREASED", "EXCLUSIVE_MINIMUM_ADDED", "EXCLUSIVE_MINIMUM_INCREASED"],
        );
        let mut fits = true;
        for (inclusive, exclusive, tighter, kinds) in [maximum, minimum] {
            let Some((limit, excluded)) = bound(members, inclusive, exclusive, tighter) else { continue };
            let written = conditions.all.iter().filter_map(|c| bound(c.members, inclusive, exclusive, tighter));
            let written = written.reduce(|a, b| if tighter(a.0, b.0) || (a.0 == b.0 && a.1) { a } else { b });
            let offset = if excluded { 2 } else { 0 };
            fits &= match written {
                None => self.report(kinds[offset], path, &format!("has a bound `{inclusive}` where there was none")),
                Some((value, out)) if tighter(value, limit) || (value == limit && (out || !excluded)) => true,
                Some(_) => self.report(kinds[offset + 1], path, &format!("has a tighter bound `{inclusive}`")),
            };
        }
        let Some(step) = members.get("multipleOf").and_then(Value::as_f64) else { return fits };
        let steps: Vec<f64> = conditions.all.iter().filter_map(|c| c.members.get("multipleOf")?.as_f64()).collect();
        let whole = |value: f64| ((value / step).round() * step - value).abs() <= value.abs() * 1e-12;
        if steps.iter().any(|written| whole(*written)) {
            return fits;
        }
        let integers = written_types(conditions).and(FRACTION) == NONE && whole(1.0);
        let kind = if steps.is_empty() { "MULTIPLE_OF_ADDED" } else { "MULTIPLE_OF_CHANGED" };
        (integers || self.report(kind, path, "has a `multipleOf` that not all numbers fulfil that were admitted"))
            && fits
    }

    pub(super) fn strings_fit(
        &mut self,
        conditions: &Conditions<'a>,
        members: &Map<String, Value>,
        path: &str,
    ) -> bool {
        let mut fits =
            self.count_fits(conditions, members, path, "maxLength", ["MAX_LENGTH_ADDED", "MAX_LENGTH_DECREASED"]);
        fits &= self.count_fits(conditions, members, path, "minLength", ["MIN_LENGTH_ADDED", "MIN_LENGTH_INCREASED"]);
        if let Some(pattern) = members.get("pattern") {
            let before: Vec<_> = conditions.all.iter().filter_map(|c| c.members.get("pattern")).collect();
            if !before.contains(&pattern) {
                let kind = if before.is_empty() { "PATTERN_ADDED" } else { "PATTERN_CHANGED" };
                fits = self.report(kind, path, "has another `pattern`");
            }
        }
        fits
    }

    /// A limit of a length or number, upper (`max...`) or lower (`min...`).
    pub(super) fn count_fits(
        &mut self,
        conditions: &Conditions<'a>,
        members: &Map<String, Value>,
        path: &str,
        key: &str,
        kinds: [&'static str; 2],
    ) -> bool {
        let Some(limit) = members.get(key).and_then(Value::as_f64) else { return true };
        let upper = key.starts_with("max");
        if !upper && limit <= 0.0 {
            return true;
        }
        let written = conditions.all.iter().filter_map(|c| c.members.get(key)?.as_f64());
        let written = written.reduce(if upper { f64::min } else { f64::max });
        match written {
            None => self.report(kinds[0], path, &format!("has `{key}` where there was none")),
            Some(written) if (upper && written <= limit) || (!upper && written >= limit) => true,
            Some(_) => self.report(kinds[1], path, &format!("has a tighter `{key}`")),
        }
    }
}

/// The strings of a list.
pub(super) fn names<'a>(members: &'a Map<String, Value>, key: &str) -> impl Iterator<Item = &'a str> + use<'a> {
    list(members, key).iter().filter_map(Value::as_str)
}
