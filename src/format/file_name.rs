//! The names of metrics files: `{type}_{pid}.db`, for gauges `gauge_{mode}_{pid}.db`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::str;

use crate::kind::{Kind, MetricType};

/// How every metrics file ends.
const EXTENSION: &str = ".db";

/// What stands for a process in the name of an archive.
pub(crate) const ARCHIVE_PID: &str = "compacted";

/// What the name of a metrics file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileName<'a> {
    /// The kind of the file's entries.
    pub(crate) kind: Kind<'a>,
    /// The process identifier of the writer: any bytes, also none,
    /// or with underscores among them.
    pub(crate) pid: &'a OsStr,
}

impl<'a> FileName<'a> {
    /// Parses the last component of `path`; none if no metrics file has such a name.
    #[must_use]
    pub(crate) fn of_path(path: &'a Path) -> Option<Self> {
        Self::parse(path.file_name()?)
    }

    /// Parses `name`; none if no metrics file has such a name.
    #[must_use]
    pub(crate) fn parse(name: &'a OsStr) -> Option<Self> {
        let stem = name.as_bytes().strip_suffix(EXTENSION.as_bytes())?;
        let (type_name, rest) = split_at_underscore(stem)?;
        let metric_type = MetricType::from_name(str::from_utf8(type_name).ok()?)?;
        let (mode, pid) = match metric_type {
            MetricType::Gauge => split_at_underscore(rest)?,
            _ => (&[][..], rest),
        };
        let mode = str::from_utf8(mode).ok()?;
        let has_mode = !mode.is_empty() || metric_type != MetricType::Gauge;
        let pid = OsStr::from_bytes(pid);
        has_mode.then_some(Self { kind: Kind { metric_type, mode }, pid })
    }

    /// Whether it may be an archive: the file's magic says whether it is.
    #[must_use]
    pub(crate) fn is_archive(&self) -> bool {
        self.pid == ARCHIVE_PID
    }
}

/// Whether the file at `path` has the name of an archive; see [`FileName::is_archive`].
#[must_use]
pub(crate) fn has_archive_name(path: &Path) -> bool {
    FileName::of_path(path).is_some_and(|name| name.is_archive())
}

/// The name of the archive of `kind`.
#[must_use]
pub(crate) fn archive(kind: Kind<'_>) -> String {
    format!("{}_{ARCHIVE_PID}{EXTENSION}", prefix_of(kind))
}

/// The name of an archive of `kind` that is being written: no reader takes it for a metrics file.
#[must_use]
pub(crate) fn temporary(kind: Kind<'_>) -> String {
    format!(".multiprom_{}.tmp", prefix_of(kind))
}

/// How the names of files of this kind begin, as [`kind_of`] takes it.
#[must_use]
pub(crate) fn prefix_of(Kind { metric_type, mode }: Kind<'_>) -> String {
    let separator = if mode.is_empty() { "" } else { "_" };
    format!("{}{separator}{mode}", metric_type.name())
}

fn split_at_underscore(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let place = bytes.iter().position(|&byte| byte == b'_')?;
    Some((&bytes[..place], &bytes[place + 1..]))
}

/// The kind of the files whose names begin with `prefix`, such as `gauge_livesum`.
///
/// A type that nobody knows is summed, as `prometheus_client` does.
#[must_use]
pub(crate) fn kind_of(prefix: &str) -> Kind<'_> {
    let (type_name, mode) = prefix.split_once('_').unwrap_or((prefix, ""));
    Kind { metric_type: MetricType::from_name(type_name).unwrap_or(MetricType::Unknown), mode }
}

/// The name of a file of process `pid`; with a number, if the process is not the first of that name.
#[must_use]
pub(crate) fn file(prefix: &str, pid: &OsStr, number: u32) -> OsString {
    let mut name = OsString::from(format!("{prefix}_"));
    name.push(pid);
    if number > 0 {
        // A hyphen: prometheus_client's reader cuts the pid of a gauge at an underscore.
        name.push(format!("-{number}"));
    }
    name.push(EXTENSION);
    name
}

/// The name of the file in which process `pid` keeps its gauges of `mode`.
///
/// None if `pid` could not be part of a file name, so that no such file exists.
#[must_use]
pub(crate) fn gauge_file(mode: &str, pid: &OsStr) -> Option<OsString> {
    let name = file(&format!("gauge_{mode}"), pid, 0);
    let is_name = !name.as_bytes().iter().any(|byte| matches!(byte, b'/' | b'\0'));
    is_name.then_some(name)
}

/// The number in the name of a file of process `pid`, as [`file()`] gives it; none if the file has no
/// number, or is of another process.
#[must_use]
pub(crate) fn number_of(name: &OsStr, prefix: &str, pid: &OsStr) -> Option<u32> {
    let rest = name.as_bytes().strip_prefix(prefix.as_bytes())?.strip_prefix(b"_")?;
    let rest = rest.strip_prefix(pid.as_bytes())?.strip_prefix(b"-")?;
    let number = rest.strip_suffix(EXTENSION.as_bytes())?;
    let number = str::from_utf8(number).ok()?.parse().ok().filter(|number| *number > 0)?;
    (file(prefix, pid, number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::FOLDABLE;

    #[test]
    fn names_of_metrics_files() {
        for (name, metric_type, mode, pid) in [
            ("counter_123.db", MetricType::Counter, "", "123"),
            ("histogram_worker_a_1.db", MetricType::Histogram, "", "worker_a_1"),
            ("gauge_liveall_7.db", MetricType::Gauge, "liveall", "7"),
            ("gauge_all_worker_a_1.db", MetricType::Gauge, "all", "worker_a_1"),
            ("summary__.db", MetricType::Summary, "", "_"),
            ("counter_.db", MetricType::Counter, "", ""),
            ("gauge_all_.db", MetricType::Gauge, "all", ""),
        ] {
            let expected = FileName { kind: Kind { metric_type, mode }, pid: OsStr::new(pid) };
            assert_eq!(FileName::parse(OsStr::new(name)), Some(expected), "{name}");
        }
        let name = FileName::parse(OsStr::from_bytes(b"counter_\xff.db")).unwrap();
        assert_eq!(name.pid, OsStr::from_bytes(b"\xff"));
    }

    #[test]
    fn archives() {
        for kind in FOLDABLE {
            let name = archive(kind);
            let parsed = FileName::parse(OsStr::new(&name)).unwrap();
            assert!(parsed.is_archive() && parsed.kind == kind && kind.is_foldable(), "{name}");
            assert_eq!(FileName::parse(OsStr::new(&temporary(kind))), None);
        }
        assert_eq!(archive(FOLDABLE[5]), "gauge_sum_compacted.db");
        assert!(!FileName::parse(OsStr::new("counter_1.db")).unwrap().is_archive());
    }

    #[test]
    fn foreign_names() {
        for name in [
            "x.db",
            "counter.db",
            "gauge_all.db",
            "gauge__1.db",
            "counter_1.db.tmp",
            "Counter_1.db",
            ".db",
            "",
            "cache_1.db",
        ] {
            assert_eq!(FileName::parse(OsStr::new(name)), None, "{name}");
        }
    }

    #[test]
    fn a_pid_cannot_lead_out_of_the_directory() {
        assert_eq!(gauge_file("liveall", OsStr::new("../1")), None);
        assert_eq!(gauge_file("liveall", OsStr::new("1\0")), None);
        assert_eq!(gauge_file("liveall", OsStr::new("*")), Some("gauge_liveall_*.db".into()));
    }
}
