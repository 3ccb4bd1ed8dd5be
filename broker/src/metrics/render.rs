//! What is added to the recorder's text: values that are computed when they are asked for.
//!
//! Consumer groups come and go, and a recorder keeps a series for ever once it was set; so their lag is never recorded but
//! written out from what exists now.
use std::fmt::Write;

use weir_lake_sink::TableStatus;

use super::tables::{groups, lake, storage};
use super::{Kind, Metric};

/// A consumer group at this moment.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupSample {
    pub group: String,
    pub members: usize,
    /// Of each partition with a committed offset.
    pub lags: Vec<PartitionLag>,
}

/// How far a group is behind the end of a partition.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionLag {
    pub topic: String,
    pub partition: i32,
    /// End of the partition minus the committed offset.
    pub records: u64,
    /// Age of the first record that is not committed; `None` = not known, and the series is left out.
    pub seconds: Option<f64>,
}

pub(super) fn append_groups(text: &mut String, samples: &[GroupSample]) {
    if samples.is_empty() {
        return;
    }
    head(text, &groups::GROUP_MEMBERS);
    for sample in samples {
        line(text, &groups::GROUP_MEMBERS, &[&sample.group], sample.members as f64);
    }
    let lags = || samples.iter().flat_map(|s| s.lags.iter().map(move |lag| (s, lag)));
    head(text, &groups::GROUP_LAG_RECORDS);
    for (sample, lag) in lags() {
        let labels = [sample.group.as_str(), &lag.topic, &lag.partition.to_string()];
        line(text, &groups::GROUP_LAG_RECORDS, &labels, lag.records as f64);
    }
    head(text, &groups::GROUP_LAG_SECONDS);
    for (sample, lag) in lags() {
        if let Some(seconds) = lag.seconds {
            let labels = [sample.group.as_str(), &lag.topic, &lag.partition.to_string()];
            line(text, &groups::GROUP_LAG_SECONDS, &labels, seconds);
        }
    }
}

pub(super) fn append_lake(text: &mut String, tables: &[TableStatus]) {
    if tables.is_empty() {
        return;
    }
    head(text, &lake::LAG_RECORDS);
    for table in tables {
        line(text, &lake::LAG_RECORDS, &[&table.topic], table.lag_records as f64);
    }
    head(text, &lake::LAG_SECONDS);
    for table in tables {
        line(text, &lake::LAG_SECONDS, &[&table.topic], table.lag_seconds);
    }
    head(text, &lake::STATE);
    for table in tables {
        line(text, &lake::STATE, &[&table.topic, table.state.name()], 1.0);
    }
    let gates: Vec<_> = tables.iter().filter_map(|table| Some((&table.topic, table.gate?))).collect();
    if gates.is_empty() {
        return;
    }
    head(text, &lake::GATE_HELD_BYTES);
    for (topic, gate) in &gates {
        line(text, &lake::GATE_HELD_BYTES, &[topic], gate.held_bytes as f64);
    }
    head(text, &lake::GATE_DROPPED);
    for (topic, gate) in &gates {
        line(text, &lake::GATE_DROPPED, &[topic], gate.dropped as f64);
    }
}

/// The quotient of two counters that the storage engine keeps.
pub(super) fn append_write_amplification(text: &mut String) {
    let written = value(text, storage::BYTES_WRITTEN.name);
    let ingested = value(text, storage::BYTES_INGESTED.name);
    if let (Some(written), Some(ingested)) = (written, ingested)
        && ingested > 0.0
    {
        head(text, &storage::WRITE_AMPLIFICATION);
        line(text, &storage::WRITE_AMPLIFICATION, &[], written / ingested);
    }
}

/// The value of a series without labels.
fn value(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

fn head(text: &mut String, metric: &Metric) {
    debug_assert!(matches!(metric.kind, Kind::Counter | Kind::Gauge), "{} is written by the recorder", metric.name);
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# HELP {} {}", metric.name, metric.description());
    let _ = writeln!(text, "# TYPE {} {}", metric.name, metric.kind.name());
}

fn line(text: &mut String, metric: &Metric, values: &[&str], value: f64) {
    debug_assert_eq!(metric.labels.len(), values.len(), "{}", metric.name);
    text.push_str(metric.name);
    for (index, (label, value)) in metric.labels.iter().zip(values).enumerate() {
        text.push(if index == 0 { '{' } else { ',' });
        text.push_str(label);
        text.push_str("=\"");
        escape(text, value);
        text.push('"');
    }
    if !values.is_empty() {
        text.push('}');
    }
    let _ = writeln!(text, " {value}");
}

/// Group names are any text a client chose.
fn escape(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_written_with_escaped_labels_and_unknown_ages_left_out() {
        let lag = |topic: &str, partition, records, seconds| PartitionLag {
            topic: topic.to_owned(),
            partition,
            records,
            seconds,
        };
        let samples = [GroupSample {
            group: "a\"b\\c\nd".to_owned(),
            members: 2,
            lags: vec![lag("flights", 0, 7, Some(1.5)), lag("flights", 1, 3, None)],
        }];
        let mut text = String::new();
        append_groups(&mut text, &samples);
        let values: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            values,
            [
                r#"weir_group_members{group="a\"b\\c\nd"} 2"#,
                r#"weir_group_lag_records{group="a\"b\\c\nd",topic="flights",partition="0"} 7"#,
                r#"weir_group_lag_records{group="a\"b\\c\nd",topic="flights",partition="1"} 3"#,
                r#"weir_group_lag_seconds{group="a\"b\\c\nd",topic="flights",partition="0"} 1.5"#,
            ]
        );
        assert!(text.contains("# TYPE weir_group_lag_records gauge\n"));
    }

    #[test]
    fn write_amplification_is_the_quotient_of_the_counters() {
        let mut text = "# TYPE weir_storage_bytes_written_total counter\nweir_storage_bytes_written_total 300\n\
                        weir_storage_bytes_ingested_total 200\n"
            .to_owned();
        append_write_amplification(&mut text);
        assert!(text.ends_with("weir_write_amplification 1.5\n"), "{text}");
        let mut nothing_yet = "weir_storage_bytes_written_total 300\n".to_owned();
        append_write_amplification(&mut nothing_yet);
        assert!(!nothing_yet.contains("amplification"));
    }
}
