//! Rows, projections and predicates as the property test knows them: one value at a time, without Arrow and DataFusion.
use std::cmp::Ordering;
use std::fmt::Write;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// Types of columns, as DDL.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    Int,
    BigInt,
    Double,
    Text,
    Bool,
    /// DECIMAL(12,2)
    Cents,
    /// ROW<city STRING, zip INT, more ROW<n BIGINT>>
    Place,
}

#[derive(Debug, Clone)]
pub enum Value {
    Null,
    Int(i64),
    Double(f64),
    Text(String),
    Bool(bool),
    Cents(i64),
    Row(Vec<(&'static str, Value)>),
}

/// Also NaN equals itself, and -0.0 is not 0.0.
impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Row(a), Value::Row(b)) => a == b,
            _ => compare(self, other) == Some(Ordering::Equal),
        }
    }
}

fn compare(a: &Value, b: &Value) -> Option<Ordering> {
    Some(match (a, b) {
        (Value::Int(a), Value::Int(b)) => a.cmp(b),
        (Value::Double(a), Value::Double(b)) => a.total_cmp(b),
        (Value::Text(a), Value::Text(b)) => a.cmp(b),
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (Value::Cents(a), Value::Cents(b)) => a.cmp(b),
        _ => return None,
    })
}

impl Kind {
    pub const ALL: [Kind; 7] =
        [Kind::Int, Kind::BigInt, Kind::Double, Kind::Text, Kind::Bool, Kind::Cents, Kind::Place];

    pub fn ddl(&self) -> &'static str {
        match self {
            Kind::Int => "INT",
            Kind::BigInt => "BIGINT",
            Kind::Double => "DOUBLE",
            Kind::Text => "STRING",
            Kind::Bool => "BOOLEAN",
            Kind::Cents => "DECIMAL(12,2)",
            Kind::Place => "ROW<city STRING, zip INT, more ROW<n BIGINT>>",
        }
    }

    pub fn value(&self, rng: &mut StdRng) -> Value {
        if rng.random_bool(0.15) {
            return Value::Null;
        }
        match self {
            Kind::Int => Value::Int(rng.random_range(-5..6)),
            Kind::BigInt => Value::Int(*[-1, 0, 3, 7, i64::MAX, i64::MIN + 1].choose(rng).unwrap()),
            Kind::Double => Value::Double(
                *[-0.0, 0.0, 0.1, -2.5, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 3.0].choose(rng).unwrap(),
            ),
            Kind::Text => Value::Text(text(rng)),
            Kind::Bool => Value::Bool(rng.random()),
            Kind::Cents => Value::Cents(rng.random_range(-300..300)),
            Kind::Place => {
                let more = match rng.random_bool(0.2) {
                    true => Value::Null,
                    false => Value::Row(vec![("n", Kind::BigInt.value(rng))]),
                };
                Value::Row(vec![("city", Kind::Text.value(rng)), ("zip", Kind::Int.value(rng)), ("more", more)])
            }
        }
    }
}

fn text(rng: &mut StdRng) -> String {
    match rng.random_range(0..6) {
        0 => String::new(),
        1 => "Zürich \"quoted\" \\ 'x'".into(),
        // Equal for longer than any statistics or prefix looks.
        2 => format!("{}{}", "long ".repeat(60), rng.random_range(0..3)),
        _ => ["a", "ab", "b", "abc", "3", "-7", "null"].choose(rng).unwrap().to_string(),
    }
}

/// A value as JSON. `None`: the field is left out.
pub fn json(value: &Value, rng: &mut StdRng) -> Option<String> {
    Some(match value {
        Value::Null if rng.random_bool(0.5) => return None,
        // What does not fit is null as well.
        Value::Null if rng.random_bool(0.2) => "[[7]]".to_owned(),
        Value::Null => "null".to_owned(),
        Value::Int(value) => value.to_string(),
        Value::Double(value) if value.is_nan() => "\"NaN\"".to_owned(),
        Value::Double(value) if value.is_infinite() => {
            format!("\"{}Infinity\"", if *value < 0.0 { "-" } else { "" })
        }
        Value::Double(value) => format!("{value:?}"),
        Value::Text(text) => serde_json::to_string(text).unwrap(),
        Value::Bool(value) => value.to_string(),
        Value::Cents(cents) => cents_text(*cents),
        Value::Row(members) => {
            // Below the top, a value that does not fit makes the whole column null: members are right or left out.
            let member = |(name, value): &(&str, Value)| match value {
                Value::Null => Some(format!("\"{name}\": null")),
                value => json(value, rng).map(|text| format!("\"{name}\":{text}")),
            };
            format!("{{{}}}", members.iter().filter_map(member).collect::<Vec<_>>().join(", "))
        }
    })
}

fn cents_text(cents: i64) -> String {
    format!("{}{}.{:02}", if cents < 0 { "-" } else { "" }, cents.abs() / 100, cents.abs() % 100)
}

/// A value of a record, and what every column of it is.
pub fn row(columns: &[(String, Kind)], rng: &mut StdRng) -> (Option<Vec<u8>>, Vec<Value>) {
    let nulls = vec![Value::Null; columns.len()];
    match rng.random_range(0..20) {
        0 => return (None, nulls),
        1 => {
            let garbage: &[&[u8]] =
                &[b"", b"no JSON", b"[]", b"{\"c0\":1", b"{\"c0\":1}x", b"\xff\xfe", b"{\"c0\":1,\"c0\":2}"];
            return (Some(garbage.choose(rng).unwrap().to_vec()), nulls);
        }
        _ => {}
    }
    let values: Vec<Value> = columns.iter().map(|(_, kind)| kind.value(rng)).collect();
    let mut fields: Vec<String> = Vec::new();
    for ((name, _), value) in columns.iter().zip(&values) {
        if let Some(text) = json(value, rng) {
            fields.push(format!("{}:{text}", serde_json::to_string(name).unwrap()));
        }
    }
    if rng.random_bool(0.2) {
        fields.push("\"unknown\":{\"deep\":[1,2]}".to_owned());
    }
    if rng.random_bool(0.2) {
        fields.reverse();
    }
    (Some(format!("{{{}}}", fields.join(",")).into_bytes()), values)
}

/// What a predicate reads: a column, or a part of one.
#[derive(Debug, Clone)]
pub struct Path {
    pub column: usize,
    pub members: Vec<&'static str>,
    pub kind: Kind,
}

impl Path {
    pub fn random(columns: &[(String, Kind)], rng: &mut StdRng) -> Path {
        let column = rng.random_range(0..columns.len());
        let parts = [(vec!["city"], Kind::Text), (vec!["zip"], Kind::Int), (vec!["more", "n"], Kind::BigInt)];
        match &columns[column].1 {
            Kind::Place => {
                let (members, kind) = parts.choose(rng).unwrap().clone();
                Path { column, members, kind }
            }
            kind => Path { column, members: Vec::new(), kind: kind.clone() },
        }
    }

    fn sql(&self, columns: &[(String, Kind)], rng: &mut StdRng) -> String {
        let mut sql = format!("\"{}\"", columns[self.column].0);
        for member in &self.members {
            let _ = match rng.random_bool(0.5) {
                true => write!(sql, ".{member}"),
                false => write!(sql, "['{member}']"),
            };
        }
        // `a.b['c']` and `a['b'].c` are read as well as the pure forms.
        sql
    }

    pub fn of<'v>(&self, row: &'v [Value]) -> &'v Value {
        let mut value = &row[self.column];
        for member in &self.members {
            let Value::Row(members) = value else { return &Value::Null };
            let Some((_, inner)) = members.iter().find(|(name, _)| name == member) else { return &Value::Null };
            value = inner;
        }
        value
    }
}

#[derive(Debug, Clone)]
pub enum Predicate {
    Compare(Path, &'static str, Value),
    IsNull(Path, bool),
    In(Path, Vec<Value>, bool),
    Between(Path, Value, Value),
    StartsWith(Path, String),
    /// `100 / (path - k) > m`
    Divides(Path, i64, i64),
    /// `path * 9223372036854775807 < 5`
    Overflows(Path),
    /// `CAST(path AS BIGINT) > m`
    Casts(Path, i64),
    /// `_offset % k = 0`
    OffsetModulo(i64),
    And(Box<Predicate>, Box<Predicate>),
    Or(Box<Predicate>, Box<Predicate>),
    Not(Box<Predicate>),
}

/// The row raises an error.
#[derive(Debug, PartialEq)]
pub struct Raises;

impl Predicate {
    pub fn random(columns: &[(String, Kind)], rng: &mut StdRng) -> Predicate {
        let Some(raising) = rng.random_bool(0.4).then(|| Predicate::raising(columns, rng)).flatten() else {
            return Predicate::tree(columns, 3, rng);
        };
        // What raises is combined with one more leaf only: larger ones may be simplified to constants, which raise nothing.
        let other = Box::new(Predicate::tree(columns, 0, rng));
        match rng.random_range(0..4) {
            0 => Predicate::And(Box::new(raising), other),
            1 => Predicate::Or(Box::new(raising), other),
            2 => Predicate::Not(Box::new(raising)),
            _ => raising,
        }
    }

    fn raising(columns: &[(String, Kind)], rng: &mut StdRng) -> Option<Predicate> {
        let path = Path::random(columns, rng);
        match path.kind {
            Kind::BigInt if rng.random() => Some(Predicate::Overflows(path)),
            Kind::Int | Kind::BigInt => {
                Some(Predicate::Divides(path, rng.random_range(-3..4), rng.random_range(-20..20)))
            }
            Kind::Text => Some(Predicate::Casts(path, rng.random_range(-9..9))),
            _ => None,
        }
    }

    fn tree(columns: &[(String, Kind)], depth: usize, rng: &mut StdRng) -> Predicate {
        let inner = |rng: &mut StdRng| Box::new(Predicate::tree(columns, depth - 1, rng));
        if depth > 0 && rng.random_bool(0.6) {
            return match rng.random_range(0..3) {
                0 => Predicate::And(inner(rng), inner(rng)),
                1 => Predicate::Or(inner(rng), inner(rng)),
                _ => Predicate::Not(inner(rng)),
            };
        }
        let path = Path::random(columns, rng);
        let literal = |rng: &mut StdRng| loop {
            match path.kind.value(rng) {
                Value::Null => {}
                // SQL has no literals for these.
                Value::Double(value) if !value.is_finite() || value.to_bits() == (-0.0f64).to_bits() => {}
                value => break value,
            }
        };
        match rng.random_range(0..8) {
            0 => Predicate::IsNull(path, rng.random()),
            1 => Predicate::OffsetModulo(rng.random_range(2..6)),
            2 if path.kind != Kind::Bool => {
                Predicate::In(path.clone(), (0..rng.random_range(1..5)).map(|_| literal(rng)).collect(), rng.random())
            }
            3 if path.kind != Kind::Bool => Predicate::Between(path.clone(), literal(rng), literal(rng)),
            4 if path.kind == Kind::Text => Predicate::StartsWith(path, "a".into()),
            _ => {
                let op = ["=", "<>", "<", "<=", ">", ">="].choose(rng).unwrap();
                Predicate::Compare(path.clone(), op, literal(rng))
            }
        }
    }

    pub fn sql(&self, columns: &[(String, Kind)], rng: &mut StdRng) -> String {
        match self {
            Predicate::Compare(path, op, value) => format!("{} {op} {}", path.sql(columns, rng), literal(value)),
            Predicate::IsNull(path, true) => format!("{} IS NULL", path.sql(columns, rng)),
            Predicate::IsNull(path, false) => format!("{} IS NOT NULL", path.sql(columns, rng)),
            Predicate::In(path, list, negated) => {
                let list: Vec<_> = list.iter().map(literal).collect();
                let not = if *negated { "NOT " } else { "" };
                format!("{} {not}IN ({})", path.sql(columns, rng), list.join(", "))
            }
            Predicate::Between(path, low, high) => {
                format!("{} BETWEEN {} AND {}", path.sql(columns, rng), literal(low), literal(high))
            }
            Predicate::StartsWith(path, prefix) => format!("{} LIKE '{prefix}%'", path.sql(columns, rng)),
            Predicate::Divides(path, k, m) => format!("100 / ({} - ({k})) > {m}", path.sql(columns, rng)),
            Predicate::Overflows(path) => format!("{} * 9223372036854775807 < 5", path.sql(columns, rng)),
            Predicate::Casts(path, m) => format!("CAST({} AS BIGINT) > {m}", path.sql(columns, rng)),
            Predicate::OffsetModulo(k) => format!("_offset % {k} = 0"),
            Predicate::And(a, b) => format!("({} AND {})", a.sql(columns, rng), b.sql(columns, rng)),
            Predicate::Or(a, b) => format!("({} OR {})", a.sql(columns, rng), b.sql(columns, rng)),
            Predicate::Not(a) => format!("NOT ({})", a.sql(columns, rng)),
        }
    }

    /// `None` is NULL.
    pub fn eval(&self, offset: i64, row: &[Value]) -> Result<Option<bool>, Raises> {
        let ordering = |path: &Path, value: &Value| compare(path.of(row), value);
        Ok(match self {
            Predicate::Compare(path, op, value) => ordering(path, value).map(|found| match *op {
                "=" => found.is_eq(),
                "<>" => found.is_ne(),
                "<" => found.is_lt(),
                "<=" => found.is_le(),
                ">" => found.is_gt(),
                _ => found.is_ge(),
            }),
            Predicate::IsNull(path, null) => Some(matches!(path.of(row), Value::Null) == *null),
            Predicate::In(path, list, negated) => match path.of(row) {
                Value::Null => None,
                value => Some(list.iter().any(|item| item == value) != *negated),
            },
            Predicate::Between(path, low, high) => {
                ordering(path, low).zip(ordering(path, high)).map(|(low, high)| low.is_ge() && high.is_le())
            }
            Predicate::StartsWith(path, prefix) => match path.of(row) {
                Value::Text(text) => Some(text.starts_with(prefix)),
                _ => None,
            },
            Predicate::Divides(path, k, m) => match path.of(row) {
                Value::Int(value) => {
                    let by = value.checked_sub(*k).filter(|by| *by != 0).ok_or(Raises)?;
                    Some(100 / by > *m)
                }
                _ => None,
            },
            Predicate::Overflows(path) => match path.of(row) {
                Value::Int(value) => Some(value.checked_mul(i64::MAX).ok_or(Raises)? < 5),
                _ => None,
            },
            Predicate::Casts(path, m) => match path.of(row) {
                Value::Text(text) => Some(text.parse::<i64>().map_err(|_| Raises)? > *m),
                _ => None,
            },
            Predicate::OffsetModulo(k) => Some(offset % k == 0),
            Predicate::And(a, b) => match a.eval(offset, row)? {
                Some(false) => Some(false),
                a => match (a, b.eval(offset, row)?) {
                    (_, Some(false)) => Some(false),
                    (Some(true), b) => b,
                    _ => None,
                },
            },
            Predicate::Or(a, b) => match a.eval(offset, row)? {
                Some(true) => Some(true),
                a => match (a, b.eval(offset, row)?) {
                    (_, Some(true)) => Some(true),
                    (Some(false), b) => b,
                    _ => None,
                },
            },
            Predicate::Not(a) => a.eval(offset, row)?.map(|found| !found),
        })
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::Int(value) => value.to_string(),
        // With an exponent a float, otherwise a decimal that becomes one.
        Value::Double(value) => format!("{value:?}"),
        Value::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Bool(value) => value.to_string(),
        Value::Cents(cents) => cents_text(*cents),
        Value::Null | Value::Row(_) => "NULL".to_owned(),
    }
}
