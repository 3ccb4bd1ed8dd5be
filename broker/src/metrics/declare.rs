//! How a metric is declared: once, with its kind, unit, labels and meaning. Names, help texts, buckets, the generated
//! documentation and the check of dashboards all come from here.

/// What a metric does over time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution with these upper bounds.
    Histogram(&'static [f64]),
}

impl Kind {
    /// Prometheus' word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram(_) => "histogram",
        }
    }
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things: requests, connections, records.
    Count,
    Bytes,
    Seconds,
    /// A quotient without a unit.
    Ratio,
}

impl Unit {
    /// For the documentation.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Unit::Count => "count",
            Unit::Bytes => "bytes",
            Unit::Seconds => "seconds",
            Unit::Ratio => "ratio",
        }
    }

    pub(super) fn recorder_unit(self) -> metrics::Unit {
        match self {
            Unit::Count | Unit::Ratio => metrics::Unit::Count,
            Unit::Bytes => metrics::Unit::Bytes,
            Unit::Seconds => metrics::Unit::Seconds,
        }
    }
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Metric {
    /// Begins with `weir_`; counters end in `_total`.
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub labels: &'static [&'static str],
    description: &'static str,
}

impl Metric {
    pub(super) const fn new(
        name: &'static str,
        kind: Kind,
        unit: Unit,
        labels: &'static [&'static str],
        description: &'static str,
    ) -> Metric {
        Metric { name, kind, unit, labels, description }
    }

    /// One sentence or two.
    #[must_use]
    pub fn description(&self) -> &'static str {
        self.description.trim()
    }

    /// The names under which Prometheus stores it: a histogram has three.
    #[must_use]
    pub fn series(&self) -> Vec<String> {
        match self.kind {
            Kind::Counter | Kind::Gauge => vec![self.name.to_owned()],
            Kind::Histogram(_) => ["bucket", "sum", "count"].map(|part| format!("{}_{part}", self.name)).to_vec(),
        }
    }
}

/// The metrics of one part of the broker.
#[derive(Debug, Clone, Copy)]
pub struct Subsystem {
    pub title: &'static str,
    pub metrics: &'static [Metric],
}

/// `metrics_table! { "Title"; /// Meaning.  NAME = "weir_name", Kind, Unit, ["label"]; ... }`: a constant for each metric
/// and `TABLE` with all of them. The doc comment is the description.
macro_rules! metrics_table {
    ($title:literal; $($(#[doc = $doc:literal])+ $id:ident = $name:literal, $kind:expr, $unit:ident, [$($label:literal),*];)+) => {
        $(
            $(#[doc = $doc])+
            pub const $id: $crate::metrics::Metric = $crate::metrics::Metric::new(
                $name,
                $kind,
                $crate::metrics::Unit::$unit,
                &[$($label),*],
                concat!($($doc),+),
            );
        )+

        /// All of the above.
        pub const TABLE: $crate::metrics::Subsystem =
            $crate::metrics::Subsystem { title: $title, metrics: &[$($id),+] };
    };
}
pub(super) use metrics_table;

/// Upper bounds for times from 100 microseconds to 30 seconds.
pub(super) const SECONDS: Kind = Kind::Histogram(&[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
]);

/// Upper bounds for sizes from 256 bytes to 64 MiB.
pub(super) const BYTES: Kind = Kind::Histogram(&[
    256.0,
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    8_388_608.0,
    16_777_216.0,
    67_108_864.0,
]);
