//! The names of metrics files: `{type}_{pid}.db`, for gauges `gauge_{mode}_{pid}.db`.

use std::path::Path;

use crate::metric::{Kind, MetricType};

/// How every metrics file ends.
pub(crate) const EXTENSION: &str = ".db";

/// What the name of a metrics file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileName<'a> {
    /// The kind of the file's entries.
    pub kind: Kind<'a>,
    /// The process identifier of the writer: any text, also with underscores in it.
    pub pid: &'a str,
}

impl<'a> FileName<'a> {
    /// Parses the last component of `path`.
    #[must_use]
    pub(crate) fn of_path(path: &'a Path) -> Option<Self> {
        path.file_name()?.to_str().and_then(Self::parse)
    }

    /// Parses `name`, the last component of a path; none if no metrics file has such a name.
    #[must_use]
    pub(crate) fn parse(name: &'a str) -> Option<Self> {
        let (type_name, rest) = name.strip_suffix(EXTENSION)?.split_once('_')?;
        let metric_type = MetricType::from_name(type_name)?;
        let (mode, pid) = match metric_type {
            MetricType::Gauge => rest.split_once('_')?,
            _ => ("", rest),
        };
        let complete = !pid.is_empty() && (!mode.is_empty() || metric_type != MetricType::Gauge);
        complete.then_some(Self { kind: Kind { metric_type, mode }, pid })
    }
}

/// The name of the file in which process `pid` keeps its gauges of `mode`.
///
/// None if `pid` could not be part of a file name, so that no such file exists.
#[must_use]
pub(crate) fn gauge_file(mode: &str, pid: &str) -> Option<String> {
    let name = format!("gauge_{mode}_{pid}{EXTENSION}");
    (!name.contains(['/', '\0'])).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_metrics_files() {
        for (name, metric_type, mode, pid) in [
            ("counter_123.db", MetricType::Counter, "", "123"),
            ("histogram_worker_a_1.db", MetricType::Histogram, "", "worker_a_1"),
            ("gauge_liveall_7.db", MetricType::Gauge, "liveall", "7"),
            ("gauge_all_worker_a_1.db", MetricType::Gauge, "all", "worker_a_1"),
            ("summary__.db", MetricType::Summary, "", "_"),
        ] {
            let expected = FileName { kind: Kind { metric_type, mode }, pid };
            assert_eq!(FileName::parse(name), Some(expected), "{name}");
        }
    }

    #[test]
    fn foreign_names() {
        for name in [
            "x.db",
            "counter.db",
            "counter_.db",
            "gauge_all.db",
            "gauge_all_.db",
            "gauge__1.db",
            "counter_1.db.tmp",
            "Counter_1.db",
            ".db",
            "",
            "cache_1.db",
        ] {
            assert_eq!(FileName::parse(name), None, "{name}");
        }
    }

    #[test]
    fn a_pid_cannot_lead_out_of_the_directory() {
        assert_eq!(gauge_file("liveall", "../1"), None);
        assert_eq!(gauge_file("liveall", "1\0"), None);
        assert_eq!(gauge_file("liveall", "*").as_deref(), Some("gauge_liveall_*.db"));
    }
}
