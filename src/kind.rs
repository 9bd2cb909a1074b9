//! Metric types, gauge modes, and how values of one series are put together.

/// The type of a family, as `prometheus_client` names it in file names and in `Metric.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MetricType {
    /// Only ever rises.
    Counter,
    /// Rises and falls; merged by its mode.
    Gauge,
    /// `_sum` and `_count`.
    Summary,
    /// `_bucket`s, `_sum` and `_count`.
    Histogram,
    /// `OpenMetrics`' gauge histogram.
    GaugeHistogram,
    /// `OpenMetrics`' info.
    Info,
    /// `OpenMetrics`' state set.
    StateSet,
    /// No type is known.
    Unknown,
}

impl MetricType {
    /// The type named `name`, if `prometheus_client` knows it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "summary" => Self::Summary,
            "histogram" => Self::Histogram,
            "gaugehistogram" => Self::GaugeHistogram,
            "info" => Self::Info,
            "stateset" => Self::StateSet,
            "unknown" | "untyped" => Self::Unknown,
            _ => return None,
        })
    }

    /// The name in `Metric.type` and in `OpenMetrics`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Summary => "summary",
            Self::Histogram => "histogram",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Info => "info",
            Self::StateSet => "stateset",
            Self::Unknown => "unknown",
        }
    }
}

/// How the modes begin of gauges that count only while their process lives.
const LIVE: &str = "live";

/// How the values that several processes hold of one series become one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// Added up.
    Sum,
    /// The smallest.
    Min,
    /// The largest.
    Max,
    /// The one with the latest timestamp; a timestamp of 0 means never set.
    MostRecent,
    /// One series a process, told apart by a `pid` label.
    PerProcess,
}

/// The type of a family and, for gauges, its mode: what a file's name says of its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind<'a> {
    /// The metric type.
    pub metric_type: MetricType,
    /// The gauge mode; empty for the other types.
    pub mode: &'a str,
}

/// Every kind that is foldable. Their order is a part of a file format: `store/withdrawals.rs` finds the
/// numbers of a kind by it. So a new kind goes to the end.
pub(crate) const FOLDABLE: [Kind<'static>; 9] = {
    const fn kind(metric_type: MetricType, mode: &'static str) -> Kind<'static> {
        Kind { metric_type, mode }
    }
    [
        kind(MetricType::Counter, ""),
        kind(MetricType::Summary, ""),
        kind(MetricType::Histogram, ""),
        kind(MetricType::GaugeHistogram, ""),
        kind(MetricType::Unknown, ""),
        kind(MetricType::Gauge, "sum"),
        kind(MetricType::Gauge, "min"),
        kind(MetricType::Gauge, "max"),
        kind(MetricType::Gauge, "mostrecent"),
    ]
};

impl Kind<'_> {
    /// Whether its entries count only while their process lives: `live*` gauges, and what processes
    /// say of themselves.
    #[must_use]
    pub fn is_live(self) -> bool {
        match self.metric_type {
            MetricType::Gauge => self.mode.starts_with(LIVE),
            MetricType::Info | MetricType::StateSet => true,
            _ => false,
        }
    }

    /// Whether `OpenMetrics` has exemplars of its samples.
    #[must_use]
    pub fn has_exemplars(self) -> bool {
        matches!(self.metric_type, MetricType::Counter | MetricType::Histogram)
    }

    /// Whether what several dead processes hold can be one value for good.
    #[must_use]
    pub fn is_foldable(self) -> bool {
        !self.is_live() && self.rule() != Rule::PerProcess
    }

    /// Whether an archive adds up what dead processes held.
    #[must_use]
    pub fn is_added_up(self) -> bool {
        !self.is_live() && self.rule() == Rule::Sum
    }

    /// The rule for families of this kind; a gauge mode that is not known behaves as `all`.
    #[must_use]
    pub fn rule(self) -> Rule {
        match self.metric_type {
            MetricType::Gauge => {}
            // A value of 0 says that the process does not say this any more.
            MetricType::Info => return Rule::Max,
            // The state whose timestamp is the latest: see `scrape/states.rs`.
            MetricType::StateSet => return Rule::MostRecent,
            _ => return Rule::Sum,
        }
        match self.mode.strip_prefix(LIVE).unwrap_or(self.mode) {
            "sum" => Rule::Sum,
            "min" => Rule::Min,
            "max" => Rule::Max,
            "mostrecent" => Rule::MostRecent,
            _ => Rule::PerProcess,
        }
    }
}
