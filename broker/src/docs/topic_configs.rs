//! topic-configs.md, from the table of [`crate::topic_config`].
use super::markdown::{code, start, table};
use crate::topic_config::TABLE;

const ABOUT: &str = "\
Settings of one topic, given when it is created or altered:

    weir topic create flights -p 3 -c retention.ms=86400000
    weir topic alter flights --set retention.ms=3600000

Names and defaults are Kafka's where Kafka has them; Weir's own begin with `weir.`. An unknown name or a value that is not
allowed is refused, with the nearest valid name. Kafka's tools show the broker-level name as a synonym.";

pub(super) fn page() -> String {
    let mut text = start("Topic configs", "broker/src/topic_config/table.rs", ABOUT);
    text.push('\n');
    let rows = TABLE.iter().map(|config| {
        let mut meaning = config.documentation.to_owned();
        if let Some((value, reason)) = config.unsupported {
            meaning.push_str(&format!(" `{value}` is refused: {reason}."));
        }
        let synonym = config.broker_synonym.unwrap_or_default();
        vec![code(config.name), code(config.default), config.allowed.describe(), code(synonym), meaning]
    });
    table(&mut text, &["Config", "Default", "Value", "Broker-level name", "Meaning"], rows);
    text
}
