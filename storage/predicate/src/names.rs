//! What a message suggests in place of a name that does not exist.
use std::fmt;

/// Names a message lists.
const LISTED_MAX: usize = 20;

/// The name most like the wanted one, or else the names there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Suggestion {
    Near(String),
    /// The first few, and how many there are in all.
    Of(Vec<String>, usize),
}

impl Suggestion {
    pub fn new<'a>(name: &str, candidates: impl Iterator<Item = &'a str> + Clone) -> Suggestion {
        match nearest(name, candidates.clone()) {
            Some(near) => Suggestion::Near(near),
            None => {
                let count = candidates.clone().count();
                Suggestion::Of(candidates.take(LISTED_MAX).map(str::to_owned).collect(), count)
            }
        }
    }
}

/// To follow a message: `; did you mean a?`
impl fmt::Display for Suggestion {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Suggestion::Near(name) => write!(out, "; did you mean {name}?"),
            Suggestion::Of(names, count) => {
                write!(out, "; there is {}", names.join(", "))?;
                let more = count.saturating_sub(names.len());
                if more > 0 { write!(out, " and {more} more") } else { Ok(()) }
            }
        }
    }
}

/// The candidate most like `name`, if one is near.
pub(crate) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(&name.to_lowercase(), &candidate.to_lowercase());
    let (distance, found) = candidates.map(|c| (distance(c), c)).min()?;
    (distance <= 1 + name.len() / 4).then(|| found.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_otherwise_the_names_are_listed() {
        let names: Vec<String> = (0..30).map(|i| format!("column_{i}")).collect();
        let suggest = |name: &str| Suggestion::new(name, names.iter().map(String::as_str)).to_string();
        assert_eq!(suggest("Column_7"), "; did you mean column_7?");
        let listed = suggest("price");
        assert!(listed.starts_with("; there is column_0, column_1, "), "{listed}");
        assert!(listed.ends_with("column_19 and 10 more"), "{listed}");
    }
}
