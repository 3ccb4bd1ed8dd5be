//! Metrics: declarations, the Prometheus recorder, and typed helpers so that nobody else spells a name.
//!
//! Owns names and help texts ([`tables`]), what `/metrics` answers ([`Metrics::render`]) and the cheap handles of the hot
//! path ([`BrokerMetrics`]). The storage engine records through the `metrics` macros; its names are declared here too.
//! Never here: sockets.
mod broker;
mod declare;
mod lag;
mod process;
mod render;
pub mod tables;
#[cfg(test)]
pub(crate) mod tests;

use std::time::Duration;

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};
use thiserror::Error;
use weir_lake_sink::TableStatus;

pub use broker::{BrokerMetrics, OpenConnection, TopicTraffic, error_name};
pub use declare::{Kind, Metric, Subsystem, Unit};
pub use lag::LagMeter;
pub use render::{GroupSample, PartitionLag};
pub use tables::SUBSYSTEMS;

/// How often samples of histograms move from their lock-free queues into buckets.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Why the recorder cannot be installed.
#[derive(Debug, Error)]
pub enum InstallError {
    #[error("metric {name}: its buckets are not usable")]
    Buckets { name: &'static str, source: BuildError },
    #[error("another metrics recorder is installed in this process; install one once, before the broker starts")]
    Installed,
}

/// Every declared metric.
pub fn declared() -> impl Iterator<Item = &'static Metric> {
    SUBSYSTEMS.iter().flat_map(|subsystem| subsystem.metrics)
}

/// The process's recorded values, to be rendered. Clones share them.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Makes the recorder that the `metrics` macros of the whole process write to. Call it once, before the broker and its
    /// storage are opened: handles that were taken earlier record nothing.
    pub fn install() -> Result<Metrics, InstallError> {
        let (recorder, metrics) = Metrics::build()?;
        metrics::set_global_recorder(recorder).map_err(|_| InstallError::Installed)?;
        describe();
        start_at_zero();
        process::record_constants();
        Ok(metrics)
    }

    fn build() -> Result<(PrometheusRecorder, Metrics), InstallError> {
        let mut builder = PrometheusBuilder::new();
        for metric in declared() {
            if let Kind::Histogram(buckets) = metric.kind {
                builder = builder
                    .set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)
                    .map_err(|source| InstallError::Buckets { name: metric.name, source })?;
            }
        }
        let recorder = builder.build_recorder();
        let metrics = Metrics { handle: recorder.handle() };
        Ok((recorder, metrics))
    }

    /// Moves histogram samples into buckets now and then, for ever: without it they pile up while nobody scrapes.
    pub async fn upkeep(self) {
        loop {
            tokio::time::sleep(UPKEEP_INTERVAL).await;
            self.handle.run_upkeep();
        }
    }

    /// What `/metrics` answers: everything recorded, figures of the process, the consumer groups and the lake tables as they
    /// are now.
    #[must_use]
    pub fn render(&self, ready: bool, groups: &[GroupSample], lake: &[TableStatus]) -> String {
        process::sample();
        metrics::gauge!(tables::process::READY.name).set(if ready { 1.0 } else { 0.0 });
        let mut text = self.handle.render();
        render::append_write_amplification(&mut text);
        render::append_groups(&mut text, groups);
        render::append_lake(&mut text, lake);
        text
    }
}

/// Help texts for everything declared.
fn describe() {
    for metric in declared() {
        let (name, unit, text) = (metric.name, metric.unit.recorder_unit(), metric.description());
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(name, unit, text),
            Kind::Gauge => metrics::describe_gauge!(name, unit, text),
            Kind::Histogram(_) => metrics::describe_histogram!(name, unit, text),
        }
    }
}

/// Counters without labels exist from the start: Prometheus' `increase` does not see a series that begins at 1, and the
/// first failure of a disk is the one to be told about.
fn start_at_zero() {
    for metric in declared() {
        if metric.kind == Kind::Counter && metric.labels.is_empty() {
            metrics::counter!(metric.name).increment(0);
        }
    }
}
