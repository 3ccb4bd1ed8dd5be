//! Regular expressions of schemas, with bounds on size and on backtracking.
use jsonschema::{PatternOptions, Validator};
use serde_json::{Value, json};

/// Longer ones are an attack.
const PATTERN_BYTES_MAX: usize = 4096;
const COMPILED_BYTES_MAX: usize = 1 << 20;
const BACKTRACKS_MAX: usize = 100_000;

/// Whether a regular expression can be used.
pub(super) fn check(pattern: &str) -> Result<(), String> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(format!("a regular expression of {} bytes; at most {PATTERN_BYTES_MAX} are taken", pattern.len()));
    }
    compile(pattern).map(drop)
}

/// Whether a name matches; None = not known, because the expression is invalid or too expensive.
pub(super) fn matches(pattern: &str, name: &str) -> Option<bool> {
    let validator = compile(pattern).ok()?;
    // An expression that backtracks too much fails to validate, which is the same as no match here.
    Some(validator.is_valid(&Value::from(name)))
}

fn compile(pattern: &str) -> Result<Validator, String> {
    let bounds = PatternOptions::fancy_regex()
        .size_limit(COMPILED_BYTES_MAX)
        .dfa_size_limit(COMPILED_BYTES_MAX)
        .backtrack_limit(BACKTRACKS_MAX);
    let options = jsonschema::options().with_pattern_options(bounds).offline();
    options.build(&json!({ "pattern": pattern })).map_err(|error| {
        let shown: String = pattern.chars().take(100).collect();
        format!("the regular expression `{shown}` cannot be used: {error}")
    })
}
