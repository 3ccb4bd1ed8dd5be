//! Random damage to schemas of all formats: no parser and no comparison panics, hangs or overflows its stack.
//!
//! An in-tree fuzzer that runs on stable: seeds are valid schemas, a mutation deletes, repeats, swaps or replaces a piece. What
//! parses is compared with its seed under every level, both ways. `WEIRTEST_FUZZ_SECONDS` sets how long (default 3), and
//! `WEIRTEST_FUZZ_SEED` where it begins. A panic inside a parser is caught by the product and counts as a refusal, so panics are
//! counted here by a hook: the test fails with the text that caused one in our own code.
use std::cell::RefCell;
use std::time::{Duration, Instant};

use weir_registry::format::{incompatibilities, parse};
use weir_registry::{Compatibility, Format};

const SEEDS: &[(Format, &str)] = &[
    (
        Format::Avro,
        r#"{"type":"record","name":"a.R","aliases":["S"],"fields":[{"name":"x","type":["null","int"],"default":null},{"name":"e","type":{"type":"enum","name":"E","symbols":["A","B"],"default":"A"}},{"name":"m","type":{"type":"map","values":{"type":"array","items":"R"}}},{"name":"d","type":{"type":"fixed","name":"D","size":8,"logicalType":"decimal","precision":9,"scale":2}}]}"#,
    ),
    (
        Format::Json,
        r##"{"$schema":"http://json-schema.org/draft-07/schema#","$id":"http://x/r.json","type":"object","properties":{"a":{"type":"string","pattern":"^[a-z]+$","maxLength":9},"b":{"oneOf":[{"type":"null"},{"$ref":"#/definitions/n"}]},"c":{"type":"array","items":[{"type":"integer"}],"additionalItems":false}},"required":["a"],"patternProperties":{"^x":{"enum":[1,2.5,"z"]}},"additionalProperties":{"not":{"type":"number","minimum":3}},"definitions":{"n":{"type":"object","properties":{"next":{"$ref":"#"}},"dependencies":{"p":["q"]}}}}"##,
    ),
    (
        Format::Json,
        r##"{"$schema":"https://json-schema.org/draft/2020-12/schema","prefixItems":[{"type":"string"}],"items":false,"contains":{"const":1},"unevaluatedProperties":false,"allOf":[{"if":{"required":["a"]},"then":{"minProperties":1}}],"$defs":{"x":{"$anchor":"h"}},"propertyNames":{"$ref":"#h"}}"##,
    ),
    (
        Format::Protobuf,
        "syntax = \"proto3\"; package p.q; import \"google/protobuf/timestamp.proto\"; option java_package = \"x\"; message M { reserved 5, 7 to 9; enum E { A = 0; B = 1 [deprecated = true]; } message N { map<string, M> m = 1; } google.protobuf.Timestamp t = 1; repeated N n = 2; optional int32 o = 3; oneof x { string s = 4; bytes b = 6 [json_name = \"BB\"]; } } service S { rpc R (M) returns (stream M); }",
    ),
    (
        Format::Protobuf,
        "syntax = \"proto2\"; message M { required int32 a = 1 [default = 5]; optional group G = 2 { optional string s = 1; } extensions 100 to max; } extend M { optional bytes e = 100 [default = \"\\001\"]; }",
    ),
    (Format::Protobuf, "Cgd4LnByb3RvEgFwIh8KAU0SCQoBYRgBIAEoBRIPCgFuGAIgAygLMgQucC5NKgoKAUUSBQoBWhAAYgZwcm90bzM="),
];

/// A small generator, so that a seed names a run.
struct Random(u64);

impl Random {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % below.max(1) as u64) as usize
    }
}

const PIECES: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ":",
    ",",
    "null",
    "-1",
    "1e999",
    "9223372036854775808",
    "\\u0000",
    "\u{e9}",
    "\"$ref\":\"#\"",
    "\"type\":",
    "message M {",
    "}",
    "oneof o {",
    "map<string,",
    "\"default\":",
    "= 0;",
    "[packed = true]",
    "//",
    "/*",
    "'",
    "#",
];

fn mutate(text: &str, random: &mut Random) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for _ in 0..1 + random.next(4) {
        let at = random.next(characters.len());
        let len = random.next(24).min(characters.len() - at);
        match random.next(5) {
            0 => drop(characters.drain(at..at + len)),
            1 => {
                let piece: Vec<char> = characters[at..at + len].to_vec();
                let times = [1, 2, 200][random.next(3)];
                for _ in 0..times {
                    characters.splice(at..at, piece.iter().copied());
                }
            }
            2 => drop(characters.splice(at..at, PIECES[random.next(PIECES.len())].chars())),
            3 => {
                let other = random.next(characters.len());
                if at < characters.len() {
                    characters.swap(at, other);
                }
            }
            _ => drop(characters.splice(at..at + len, PIECES[random.next(PIECES.len())].chars())),
        }
        if characters.is_empty() {
            break;
        }
    }
    characters.into_iter().collect()
}

thread_local! {
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

#[allow(clippy::disallowed_methods, reason = "the length of a run is set from outside")]
fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn damaged_schemas_never_panic() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        if place.contains("fuzz.rs") {
            eprintln!("{info}");
        }
        PANICS.with_borrow_mut(|panics| panics.push(place));
    }));
    let mut random = Random(setting("WEIRTEST_FUZZ_SEED", 7).max(1));
    let until = Instant::now() + Duration::from_secs(setting("WEIRTEST_FUZZ_SECONDS", 3));
    let (mut rounds, mut parsed) = (0u64, 0u64);
    while Instant::now() < until {
        let (format, seed) = SEEDS[random.next(SEEDS.len())];
        let text = mutate(seed, &mut random);
        let started = Instant::now();
        if let Ok(schema) = parse(format, &text, &[]) {
            parsed += 1;
            let original = parse(format, seed, &[]).expect("a seed is valid");
            for (new, old) in [(&schema, &original), (&original, &schema), (&schema, &schema)] {
                let _ = incompatibilities(new, old, Compatibility::FullTransitive);
            }
            // A schema always reads what it wrote.
            assert_eq!(incompatibilities(&schema, &schema, Compatibility::Full), [], "{text}");
        }
        assert!(started.elapsed() < Duration::from_secs(20), "{:?} for {text}", started.elapsed());
        let own: Vec<String> = PANICS.with_borrow_mut(std::mem::take);
        assert!(!own.iter().any(|place| place.contains("broker/registry/src")), "{own:?} for {text}");
        rounds += 1;
    }
    eprintln!("{rounds} schemas, {parsed} of them valid");
    assert!(parsed > 0 && rounds > parsed);
}
