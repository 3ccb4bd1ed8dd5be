//! Recorded answers against replayed ones.

use std::fmt;

use serde_json::Value;

use super::allowed::{self, Allowed};
use super::normalise::TEXTS;
use super::{Recording, Step};

/// One place where the two answers differ.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    pub scenario: String,
    pub step: String,
    /// Path of field names and list indices inside the answer, e.g. `topics[0].error_code`.
    pub path: String,
    /// What Apache Kafka answered; null where the path is missing.
    pub kafka: Value,
    /// What the broker under test answered.
    pub weir: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { scenario, step, path, kafka, weir } = self;
        write!(f, "{scenario}: {step}: {path}: Kafka {}, weir {}", short(kafka), short(weir))
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 300 { text.chars().take(300).chain("...".chars()).collect() } else { text }
}

/// The outcome of a comparison.
#[derive(Debug, Default)]
pub struct Report {
    /// Steps compared.
    pub steps: usize,
    /// Fields compared.
    pub fields: usize,
    /// Differences that nobody intended.
    pub unexpected: Vec<Difference>,
    /// Differences that `allowed.rs` intends.
    pub allowed: usize,
    /// Entries of `allowed.rs` that met no difference: stale, so they fail the test as well.
    pub unused: Vec<String>,
}

impl Report {
    /// True when everything was as it should be, and something was compared.
    pub fn is_ok(&self) -> bool {
        self.unexpected.is_empty() && self.unused.is_empty() && self.steps > 0
    }
}

/// Compares every step of every recorded scenario that the filter keeps. No difference is an intended one when Apache Kafka is
/// compared with itself.
pub fn compare(recorded: &Recording, replayed: &Recording, only: Option<&str>, itself: bool) -> Report {
    compare_with(recorded, replayed, only, if itself { &[] } else { allowed::LIST })
}

fn compare_with(recorded: &Recording, replayed: &Recording, only: Option<&str>, list: &[Allowed]) -> Report {
    let mut report = Report::default();
    let mut used = vec![false; list.len()];
    for (scenario, steps) in recorded.iter().filter(|(name, _)| only.is_none_or(|part| name.contains(part))) {
        let nothing = Vec::new();
        let answers = replayed.get(scenario).unwrap_or(&nothing);
        let mut differences = Vec::new();
        let mut add = |step: &Step, found: Vec<(String, Value, Value)>| {
            differences.extend(found.into_iter().map(|(path, kafka, weir)| Difference {
                scenario: scenario.clone(),
                step: step.step.clone(),
                path,
                kafka,
                weir,
            }));
        };
        for (i, step) in steps.iter().enumerate() {
            report.steps += 1;
            match answers.get(i) {
                Some(answer) if answer.step == step.step => {
                    let mut found = Vec::new();
                    walk("", &step.answer, &answer.answer, &mut report.fields, &mut found);
                    add(step, found);
                }
                other => {
                    let got = other.map_or(Value::Null, |answer| Value::String(answer.step.clone()));
                    add(step, vec![("(step)".to_owned(), Value::String(step.step.clone()), got)]);
                    break;
                }
            }
        }
        if let Some(extra) = answers.get(steps.len()) {
            add(extra, vec![("(step)".to_owned(), Value::Null, Value::String(extra.step.clone()))]);
        }
        for difference in differences {
            let matching = list.iter().position(|allowed| allowed.covers(&difference));
            match matching {
                Some(i) => {
                    used[i] = true;
                    report.allowed += 1;
                }
                None => report.unexpected.push(difference),
            }
        }
    }
    if only.is_none() {
        report.unused =
            list.iter().zip(used).filter(|(_, used)| !used).map(|(allowed, _)| allowed.to_string()).collect();
    }
    report
}

fn walk(path: &str, kafka: &Value, weir: &Value, fields: &mut usize, found: &mut Vec<(String, Value, Value)>) {
    match (kafka, weir) {
        (Value::Object(left), Value::Object(right)) => {
            let mut names: Vec<&String> = left.keys().chain(right.keys()).collect();
            names.sort();
            names.dedup();
            for name in names.into_iter().filter(|name| !TEXTS.contains(&name.as_str())) {
                let inner = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                let (l, r) = (left.get(name).unwrap_or(&Value::Null), right.get(name).unwrap_or(&Value::Null));
                walk(&inner, l, r, fields, found);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (i, (l, r)) in left.iter().zip(right).enumerate() {
                walk(&format!("{path}[{i}]"), l, r, fields, found);
            }
        }
        _ => {
            *fields += 1;
            if kafka != weir {
                found.push((path.to_owned(), kafka.clone(), weir.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn recording(answer: Value) -> Recording {
        Recording::from([("s".to_owned(), vec![Step { step: "one Fetch v4".to_owned(), answer }])])
    }

    #[test]
    fn a_different_error_code_is_reported_with_its_path_and_a_different_text_is_not() {
        let kafka = recording(json!({"topics": [{"error_code": 3, "error_message": "a"}]}));
        let weir = recording(json!({"topics": [{"error_code": 0, "error_message": "b"}]}));
        let report = compare_with(&kafka, &weir, None, &[]);
        assert_eq!(report.unexpected.len(), 1);
        assert_eq!(report.unexpected[0].path, "topics[0].error_code");
        assert!(!report.is_ok());
        assert!(compare_with(&kafka, &kafka, None, &[]).is_ok());
    }

    #[test]
    fn a_missing_step_and_a_step_too_many_are_differences() {
        let kafka = recording(json!(1));
        assert_eq!(compare_with(&kafka, &Recording::new(), None, &[]).unexpected.len(), 1);
        let mut more = recording(json!(1));
        let extra = Step { step: "two".to_owned(), answer: json!(2) };
        more.get_mut("s").unwrap().push(extra);
        assert_eq!(compare_with(&kafka, &more, None, &[]).unexpected.len(), 1);
    }

    #[test]
    fn an_intended_difference_passes_and_one_that_no_longer_exists_fails() {
        let list =
            [Allowed { scenario: "s", step: "one", path: "code", kafka: None, weir: Some("1"), reason: "because" }];
        let (kafka, weir) = (recording(json!({"code": 0})), recording(json!({"code": 1})));
        let report = compare_with(&kafka, &weir, None, &list);
        assert!(report.is_ok(), "{report:?}");
        assert_eq!(report.allowed, 1);
        assert!(!compare_with(&kafka, &kafka, None, &list).is_ok());
        assert!(!compare_with(&kafka, &recording(json!({"code": 2})), None, &list).is_ok());
    }
}
