//! Query parameters. As in Confluent's registry, a flag that is not `true` is false, and unknown parameters are ignored.
use std::collections::HashMap;

/// The parameters of a request.
#[derive(Debug, Default)]
pub(super) struct Query {
    all: HashMap<String, Vec<String>>,
}

impl Query {
    pub fn parse(text: &str) -> Query {
        let mut query = Query::default();
        for (key, value) in form_urlencoded::parse(text.as_bytes()) {
            query.all.entry(key.into_owned()).or_default().push(value.into_owned());
        }
        query
    }

    /// The first value.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.all(key).first().map(String::as_str).filter(|value| !value.is_empty())
    }

    pub fn all(&self, key: &str) -> &[String] {
        self.all.get(key).map_or(&[], Vec::as_slice)
    }

    /// Python writes `True`.
    pub fn is(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// `offset` and `limit`; a limit that is not positive is none.
    pub fn page<T>(&self, items: Vec<T>) -> Vec<T> {
        let number = |key| self.get(key).and_then(|value| value.parse::<i64>().ok());
        let skip = usize::try_from(number("offset").unwrap_or(0)).unwrap_or(0);
        let take = number("limit").and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
        items.into_iter().skip(skip).take(take.unwrap_or(usize::MAX)).collect()
    }
}
