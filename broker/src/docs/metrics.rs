//! metrics.md, from the tables of [`crate::metrics`].
use super::markdown::{code, heading, start, table};
use crate::metrics::{Kind, SUBSYSTEMS};

const ABOUT: &str = "\
What `http://127.0.0.1:9644/metrics` answers (the address is the setting `http.listen`). Counters count since the process started.
A histogram `NAME` is stored as `NAME_bucket`, `NAME_sum` and `NAME_count`. Counters without labels begin at 0; any other series appears when it
first has a value.

Alert rules are in [deploy/prometheus/alerts.yml](../../deploy/prometheus/alerts.yml), a dashboard in
[deploy/grafana/dashboards/weir.json](../../deploy/grafana/dashboards/weir.json).";

pub(super) fn page() -> String {
    let mut text = start("Metrics", "broker/src/metrics/tables.rs", ABOUT);
    for subsystem in SUBSYSTEMS {
        heading(&mut text, subsystem.title);
        let rows = subsystem.metrics.iter().map(|metric| {
            let labels: Vec<String> = metric.labels.iter().map(|label| code(label)).collect();
            let description = metric.description().to_owned();
            vec![
                code(metric.name),
                metric.kind.name().to_owned(),
                metric.unit.name().to_owned(),
                labels.join(", "),
                description,
            ]
        });
        table(&mut text, &["Metric", "Kind", "Unit", "Labels", "Meaning"], rows);
    }
    heading(&mut text, "Buckets");
    let histograms = SUBSYSTEMS.iter().flat_map(|s| s.metrics).filter_map(|metric| match metric.kind {
        Kind::Histogram(bounds) => {
            let bounds: Vec<String> = bounds.iter().map(f64::to_string).collect();
            Some(vec![code(metric.name), bounds.join(", ")])
        }
        Kind::Counter | Kind::Gauge => None,
    });
    table(&mut text, &["Histogram", "Upper bounds"], histograms);
    text
}
