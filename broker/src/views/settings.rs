//! The topic configs that make a topic a view.
use crate::topic_config::TopicConfigs;

/// Bytes of `weir.view.select` and of `weir.view.where`.
pub const TEXT_MAX: usize = 16 << 10;

/// `weir.view.*` of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ViewSettings {
    /// `weir.view.source`: the topic whose rows are shown.
    pub source: String,
    /// `weir.view.select`: column paths; `None` shows values as they were produced.
    pub select: Option<Vec<String>>,
    /// `weir.view.where`; `None` shows every row.
    pub predicate: Option<String>,
}

impl ViewSettings {
    /// `None`: the topic is no view.
    pub fn of(configs: &TopicConfigs) -> Option<ViewSettings> {
        let text = |name: &str| Some(configs.get(name).trim()).filter(|text| !text.is_empty()).map(str::to_owned);
        Some(ViewSettings {
            source: text("weir.view.source")?,
            select: text("weir.view.select").map(|list| paths(&list)),
            predicate: text("weir.view.where"),
        })
    }
}

/// The paths of a comma-separated list. A comma inside of double quotes is part of a name.
fn paths(list: &str) -> Vec<String> {
    let mut quoted = false;
    let parts = list.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    parts.map(str::trim).filter(|path| !path.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_separated_by_commas_outside_of_quotes() {
        assert_eq!(paths(r#"a, user.city ,"x,y".z,"#), ["a", "user.city", r#""x,y".z"#]);
        assert_eq!(paths(" , "), Vec::<String>::new());
    }

    #[test]
    fn a_topic_without_a_source_is_no_view() {
        let configs = TopicConfigs::parse([("retention.ms", Some("1000"))]).unwrap();
        assert_eq!(ViewSettings::of(&configs), None);
        let configs = [("weir.view.source", Some("orders")), ("weir.view.where", Some("a > 1"))];
        let view = ViewSettings::of(&TopicConfigs::parse(configs).unwrap()).unwrap();
        assert_eq!((view.source.as_str(), view.select, view.predicate.as_deref()), ("orders", None, Some("a > 1")));
    }
}
