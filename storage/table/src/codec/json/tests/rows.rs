//! Random tables, and writers of JSON rows with habits (and lapses).

use std::sync::Arc;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};

use crate::schema::{DataType, Field, TableSchema, TimeUnit};

pub fn schema(random: &mut StdRng) -> Arc<TableSchema> {
    let count = random.random_range(1..9);
    let names = ["a", "b\"q", "long name", "é", "id", "f", "g/h", "i"];
    let columns = names[..count].iter().map(|name| field(name, random, 0)).collect();
    Arc::new(TableSchema::create(columns, &[]).unwrap())
}

fn field(name: &str, random: &mut StdRng, depth: usize) -> Field {
    let field = Field::new(name, data_type(random, depth));
    if random.random_bool(0.2) { field.not_null() } else { field }
}

fn unit(random: &mut StdRng) -> TimeUnit {
    if random.random() { TimeUnit::Millis } else { TimeUnit::Micros }
}

fn data_type(random: &mut StdRng, depth: usize) -> DataType {
    match random.random_range(0..if depth < 3 { 21 } else { 17 }) {
        0 => DataType::Boolean,
        1 => DataType::TinyInt,
        2 => DataType::SmallInt,
        3 => DataType::Int,
        4 => DataType::BigInt,
        5 => {
            let precision = random.random_range(1..=38);
            DataType::Decimal { precision, scale: random.random_range(0..=precision) }
        }
        6 => DataType::Float,
        7 | 8 => DataType::Double,
        9 | 10 => DataType::String,
        11 => DataType::Bytes,
        12 => DataType::Date,
        13 => DataType::Time(unit(random)),
        14 => DataType::Timestamp(unit(random)),
        15 => DataType::TimestampLtz(unit(random)),
        16 => {
            if random.random() {
                DataType::Uuid
            } else {
                DataType::Json
            }
        }
        17 | 18 => DataType::Array(Box::new(field("item", random, depth + 1))),
        19 => {
            let key = Field::new("key", DataType::String).not_null();
            DataType::Map(Box::new(key), Box::new(field("value", random, depth + 1)))
        }
        _ => DataType::Row(["x", "y", "z"].map(|name| field(name, random, depth + 1)).to_vec()),
    }
}

/// One producer: its spacing, escapes and number forms are mostly the same.
pub struct Writer {
    colon: &'static str,
    comma: &'static str,
    pad: &'static str,
    ascii: bool,
    slash: bool,
    omit: bool,
    float: u8,
    stamp: u8,
    quoted: bool,
    shuffle: bool,
    /// Odd things now and then.
    lapses: f64,
}

impl Writer {
    pub fn new(random: &mut StdRng) -> Writer {
        let pick = |from: &[&'static str], random: &mut StdRng| *from.choose(random).unwrap();
        Writer {
            colon: pick(&[":", ": ", " : ", ":\t"], random),
            comma: pick(&[",", ", ", " ,", ",\n  "], random),
            pad: pick(&["", "", " ", "\r\n"], random),
            ascii: random.random(),
            slash: random.random_bool(0.3),
            omit: random.random(),
            float: random.random_range(0..5),
            stamp: random.random_range(0..4),
            quoted: random.random_bool(0.2),
            shuffle: random.random_bool(0.1),
            lapses: *[0.0, 0.0, 0.02].choose(random).unwrap(),
        }
    }

    fn lapse(&self, random: &mut StdRng) -> bool {
        random.random_bool(self.lapses)
    }

    pub fn row(&mut self, fields: &[Field], random: &mut StdRng) -> String {
        let around = if self.lapse(random) { " \n" } else { "" };
        format!("{around}{}{around}", self.object(fields, random))
    }

    fn object(&self, fields: &[Field], random: &mut StdRng) -> String {
        let mut members = Vec::new();
        let mut order: Vec<_> = fields.iter().collect();
        if self.shuffle {
            order.shuffle(random);
        }
        for field in order {
            let null = field.nullable && random.random_bool(0.2);
            if null && (self.omit ^ self.lapse(random)) {
                continue;
            }
            let value = if null { "null".to_string() } else { self.value(&field.data_type, random) };
            let space = if self.lapse(random) { "  " } else { "" };
            members.push(format!("{space}{}{}{space}{value}", self.string(&field.name, random), self.colon));
        }
        self.joined('{', members, '}')
    }

    fn joined(&self, open: char, members: Vec<String>, close: char) -> String {
        if members.is_empty() {
            return format!("{open}{close}");
        }
        format!("{open}{}{}{}{close}", self.pad, members.join(self.comma), self.pad)
    }

    fn string(&self, text: &str, random: &mut StdRng) -> String {
        let mut out = String::from("\"");
        for each in text.chars() {
            match each {
                '"' | '\\' => out.extend(['\\', each]),
                '/' if self.slash => out.push_str("\\/"),
                '\n' => out.push_str("\\n"),
                _ if each < ' ' || (self.ascii && each > '~') || self.lapse(random) => {
                    each.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
                }
                _ => out.push(each),
            }
        }
        out + "\""
    }

    fn digits(&self, count: u8, random: &mut StdRng) -> String {
        (0..count).map(|_| char::from(b'0' + random.random_range(0..10u8))).collect()
    }

    fn value(&self, data_type: &DataType, random: &mut StdRng) -> String {
        match data_type {
            DataType::Boolean => random.random::<bool>().to_string(),
            DataType::TinyInt => random.random::<i8>().to_string(),
            DataType::SmallInt => random.random::<i16>().to_string(),
            DataType::Int if self.lapse(random) => "1.0e2".to_string(),
            DataType::Int => random.random::<i32>().to_string(),
            DataType::BigInt if self.quoted => format!("\"{}\"", random.random::<i64>()),
            DataType::BigInt => (random.random::<i64>() >> random.random_range(0..64)).to_string(),
            DataType::Decimal { precision, scale } => self.decimal(*precision, *scale, random),
            DataType::Float => self.float(f64::from(random.random_range(-999..999i16)) / 8.0, random),
            DataType::Double => self.double(random),
            DataType::String => {
                let parts = [
                    "",
                    "abc",
                    "/path/",
                    "é",
                    "😀",
                    "\n",
                    "\u{1}",
                    "\"",
                    "\\",
                    "<b>",
                    "\u{2028}",
                    "日本語",
                    "a long plain text",
                ];
                let text: String = (0..random.random_range(0..4)).map(|_| *parts.choose(random).unwrap()).collect();
                self.string(&text, random)
            }
            DataType::Bytes => format!("\"{}\"", ["", "AA==", "AAE=", "AAEC", "+/+/"].choose(random).unwrap()),
            DataType::Date => format!("\"{}\"", self.date(random)),
            DataType::Time(unit) => format!("\"{}\"", self.clock(*unit, random)),
            DataType::Timestamp(_) | DataType::TimestampLtz(_) if self.stamp == 3 => random.random::<i64>().to_string(),
            DataType::Timestamp(unit) => self.stamp(*unit, "", random),
            DataType::TimestampLtz(unit) => {
                let zone = ["Z", "+00:00", "-03:30"][usize::from(self.stamp)];
                self.stamp(*unit, if self.lapse(random) { "+0130" } else { zone }, random)
            }
            DataType::Uuid => {
                let hex = format!("{:032x}", random.random::<u128>());
                let text =
                    format!("\"{}-{}-{}-{}-{}\"", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
                if self.quoted { text.to_uppercase() } else { text }
            }
            DataType::Json => {
                ["{\"a\" : [1, null]}", "1.50", "\"x\\u0041\"", "[ ]", "true"].choose(random).unwrap().to_string()
            }
            DataType::Array(item) => {
                let items = (0..random.random_range(0..4)).map(|_| self.item(item, random)).collect();
                self.joined('[', items, ']')
            }
            DataType::Map(_, value) => {
                let keys = ["k", "é", "/"];
                let member = |key: &&str, random: &mut StdRng| {
                    format!("{}{}{}", self.string(key, random), self.colon, self.item(value, random))
                };
                let members = keys[..random.random_range(0..3)].iter().map(|key| member(key, random)).collect();
                self.joined('{', members, '}')
            }
            DataType::Row(members) => self.object(members, random),
        }
    }

    fn item(&self, field: &Field, random: &mut StdRng) -> String {
        if field.nullable && random.random_bool(0.2) {
            return "null".to_string();
        }
        self.value(&field.data_type, random)
    }

    fn decimal(&self, precision: u8, scale: u8, random: &mut StdRng) -> String {
        let whole = random.random_range(0..=(precision - scale).min(12));
        let whole = self.digits(whole, random).trim_start_matches('0').to_string();
        let whole = if whole.is_empty() { "0".to_string() } else { whole };
        let behind = self.digits(scale, random);
        let text = if scale == 0 { whole } else { format!("{whole}.{behind}") };
        if self.quoted { format!("\"{text}\"") } else { text }
    }

    fn double(&self, random: &mut StdRng) -> String {
        let value = match random.random_range(0..5) {
            0 => f64::from_bits(random.random()),
            1 => f64::from(random.random_range(-10_000..10_000)) / 100.0,
            2 => f64::from(random.random_range(-9..9)),
            3 => random.random::<f64>() * 1e-6,
            _ => random.random::<f64>() * 1e18,
        };
        if value.is_nan() {
            return "\"NaN\"".to_string();
        }
        self.float(value, random)
    }

    fn float(&self, value: f64, random: &mut StdRng) -> String {
        if self.lapse(random) {
            return ["1e3", "1.50", "-0", "1E+2", "0.10e1", "0e0"].choose(random).unwrap().to_string();
        }
        match self.float {
            0 if value.abs() < 1e15 => format!("{value:.2}"),
            1 => format!("{value:?}").replace('e', "E"),
            2 => format!("{value}"),
            3 => serde_json::to_string(&value).unwrap(),
            _ => format!("{value:e}"),
        }
    }

    fn date(&self, random: &mut StdRng) -> String {
        let (year, month, day) =
            (random.random_range(0..=9999), random.random_range(1..=12), random.random_range(1..=28));
        format!("{year:04}-{month:02}-{day:02}")
    }

    fn clock(&self, unit: TimeUnit, random: &mut StdRng) -> String {
        let clock = |random: &mut StdRng| {
            let (hour, minute, second) =
                (random.random_range(0..24), random.random_range(0..60), random.random_range(0..60));
            format!("{hour:02}:{minute:02}:{second:02}")
        };
        match self.stamp {
            0 => clock(random),
            1 => format!("{}.{}", clock(random), self.digits(unit.digits(), random)),
            _ => format!("{}.{}", clock(random), self.digits(random.random_range(1..=unit.digits()), random)),
        }
    }

    fn stamp(&self, unit: TimeUnit, zone: &str, random: &mut StdRng) -> String {
        let between = if self.quoted { ' ' } else { 'T' };
        // Years that no zone moves out of four digits.
        let date = self.date(random).replacen("0000", "0001", 1).replacen("9999", "9998", 1);
        format!("\"{date}{between}{}{zone}\"", self.clock(unit, random))
    }
}
