//! What the compatibility tables of all formats share.
use super::{Dependency, Format, incompatibilities, parse};
use crate::model::Compatibility;

/// One line of a table: what changes, the older schema, the newer one, and for each direction the rule that refuses it.
pub(super) struct Rule {
    pub name: &'static str,
    pub old: &'static str,
    pub new: &'static str,
    /// None = the new schema reads old data.
    pub backward: Option<&'static str>,
    /// None = the old schema reads new data.
    pub forward: Option<&'static str>,
}

/// Checks every line under each of the seven levels; transitive ones look at the same pair here.
pub(super) fn check(format: Format, rules: &[Rule]) {
    let mut wrong = Vec::new();
    for rule in rules {
        let parse =
            |text: &str| parse(format, text, &[]).unwrap_or_else(|error| panic!("{}: {error}: {text}", rule.name));
        let (old, new) = (parse(rule.old), parse(rule.new));
        for level in Compatibility::ALL {
            let found = incompatibilities(&new, &old, level);
            let kinds: Vec<&str> = found.iter().map(|f| f.kind).collect();
            let mut wanted = Vec::new();
            wanted.extend(rule.backward.filter(|_| level.is_backward()));
            wanted.extend(rule.forward.filter(|_| level.is_forward()));
            let right = wanted.iter().all(|kind| kinds.contains(kind)) && wanted.is_empty() == kinds.is_empty();
            if !right {
                wrong.push(format!("{} under {level}: wanted {wanted:?}, got {found:#?}", rule.name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A registered schema under a name.
pub(super) fn dependency(name: &str, text: &str) -> Dependency {
    let reference = crate::model::Reference { name: name.to_owned(), subject: name.to_owned(), version: 1 };
    Dependency { reference, text: text.to_owned() }
}
