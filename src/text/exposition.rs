//! Families as text: the Prometheus text format and `OpenMetrics`.
//!
//! Byte for byte what `prometheus_client` writes, its oddities included.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use crate::count;
use crate::error::Result;
use crate::float::write_float;
use crate::format::{PlainLabels, exemplar::Exemplar};
use crate::kind::MetricType;
use crate::scrape::{ExponentStyle, Family, Labels, Merge, MergeOptions, Sample};
use crate::store::LeftOut;
use crate::text::escaping::{self, Charset, Escaping};

/// Samples that only `OpenMetrics` knows; the Prometheus text format has them as gauges behind
/// their family. In this order.
const OPENMETRICS_SUFFIXES: [&str; 3] = ["_created", "_gcount", "_gsum"];
/// A guess at the size of a sample's line, to spare the output from growing often.
const LINE_SIZE: usize = 128;

/// So many names of samples are kept as they are written: those of one family, and more.
const NAMES_KEPT: usize = 8;

/// How a name that needs no quotes is written.
type Escape = fn(Escaping, &str) -> Cow<'_, str>;

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The Prometheus text format.
    Prometheus,
    /// `OpenMetrics` 1.0, without the closing `# EOF`: other families may follow.
    OpenMetrics,
}

/// The text of the metrics files in the directory `path`, and what had to be left out; of the
/// samples with one of `names` only, if there are any.
pub fn directory_text(
    path: &Path,
    options: MergeOptions,
    names: Option<&BTreeSet<String>>,
    format: Format,
    escaping: Escaping,
) -> Result<(String, Vec<LeftOut>)> {
    let mut merge = Merge::of_directory_and_memory(path, count::unwritten, false)?;
    merged_text(&mut merge, options, names, format, escaping)
}

/// The same of files that are merged already.
pub fn merged_text(
    merge: &mut Merge,
    options: MergeOptions,
    names: Option<&BTreeSet<String>>,
    format: Format,
    escaping: Escaping,
) -> Result<(String, Vec<LeftOut>)> {
    if format == Format::OpenMetrics {
        merge.read_exemplars();
    }
    let mut merge = merge.parse(options)?;
    let mut left_out = std::mem::take(&mut merge.left_out);
    let mut families = merge.families(&mut left_out)?;
    if let Some(names) = names {
        families.retain_mut(|family| family.restrict(|name| names.contains(name)));
    }
    let text = text(&families, format, escaping, options.exponents);
    drop(families);
    Ok((text, left_out))
}

/// The families as text.
#[must_use]
pub fn text(
    families: &[Family<'_>],
    format: Format,
    escaping: Escaping,
    exponents: ExponentStyle,
) -> String {
    let lines: usize = families.iter().map(|family| family.samples.len() + 2).sum();
    let out = String::with_capacity(lines * LINE_SIZE);
    let mut writer = Writer { out, escaping, exponents, names: Vec::new(), begins: Vec::new() };
    for family in families {
        match format {
            Format::Prometheus => writer.prometheus(family),
            Format::OpenMetrics => writer.openmetrics(family),
        }
    }
    writer.out
}

struct Writer {
    out: String,
    escaping: Escaping,
    exponents: ExponentStyle,
    /// Names of samples, and how they are written; none for a name in quotes.
    names: Vec<(String, Option<String>)>,
    /// How the labels of the last sample begin in its key, and how they are written.
    begins: Vec<(String, String)>,
}

impl Writer {
    fn prometheus(&mut self, family: &Family<'_>) {
        let (suffix, type_name) = match family.metric_type {
            MetricType::Counter => ("_total", "counter"),
            MetricType::Info => ("_info", "gauge"),
            MetricType::StateSet => ("", "gauge"),
            // A gauge histogram is really a gauge, but this captures the structure better.
            MetricType::GaugeHistogram => ("", "histogram"),
            MetricType::Unknown => ("", "untyped"),
            other => ("", other.name()),
        };
        let help = escaping::line(&family.help);
        self.header(&format!("{}{suffix}", family.name), &help, type_name);
        let is_openmetrics_only = |sample: &Sample<'_>| {
            let suffix = sample.name.strip_prefix(&*family.name);
            suffix.is_some_and(|suffix| OPENMETRICS_SUFFIXES.contains(&suffix))
        };
        let mut has_others = false;
        // Not `for`: several iterators in one another are faster from within.
        family.samples.iter().for_each(|sample| {
            if is_openmetrics_only(&sample) {
                has_others = true;
            } else {
                self.sample(&sample, Escaping::metric_name);
            }
        });
        for suffix in OPENMETRICS_SUFFIXES.iter().filter(|_| has_others) {
            let name = format!("{}{suffix}", family.name);
            let mut samples = family.samples.iter().filter(|sample| sample.name == name).peekable();
            if samples.peek().is_some() {
                self.header(&name, &help, "gauge");
                samples.for_each(|sample| self.sample(&sample, Escaping::metric_name));
            }
        }
    }

    fn openmetrics(&mut self, family: &Family<'_>) {
        let help = escaping::quoted(&family.help);
        self.header(&family.name, &help, family.metric_type.name());
        // prometheus_client escapes sample names by the rules for labels here.
        let escape: Escape = |escaping, name| escaping.characters(name, Charset::Label);
        family.samples.iter().for_each(|sample| self.sample(&sample, escape));
    }

    fn header(&mut self, name: &str, help: &str, type_name: &str) {
        let name = self.escaping.metric_name(name);
        for part in ["# HELP ", &name, " ", help, "\n# TYPE ", &name, " ", type_name, "\n"] {
            self.out.push_str(part);
        }
    }

    /// A sample, whose name is escaped so if it needs no quotes.
    fn sample(&mut self, sample: &Sample<'_>, escape: Escape) {
        let known = self.names.iter().position(|(name, _)| *name == *sample.name);
        let place = known.unwrap_or_else(|| self.learn(&sample.name, escape));
        let (_, Some(name)) = &self.names[place] else { return self.quoted_sample(sample) };
        self.out.push_str(name);
        let brace = self.out.len();
        self.labels(&sample.labels, "{");
        if self.out.len() > brace {
            self.out.push('}');
        }
        self.value(sample);
    }

    /// Keeps how a sample's name is written; gives its place.
    fn learn(&mut self, name: &str, escape: Escape) -> usize {
        if self.names.len() == NAMES_KEPT {
            self.names.clear();
        }
        let is_quoted =
            self.escaping == Escaping::AllowUtf8 && !escaping::is_legacy_metric_name(name);
        let written = (!is_quoted).then(|| escape(self.escaping, name).into_owned());
        self.names.push((name.to_owned(), written));
        self.names.len() - 1
    }

    /// A sample whose name stands in quotes among the labels.
    fn quoted_sample(&mut self, sample: &Sample<'_>) {
        self.out.push('{');
        let name = self.escaping.metric_name(&sample.name);
        self.out.push_str(&name);
        self.labels(&sample.labels, ",");
        self.out.push('}');
        self.value(sample);
    }

    /// The labels; `separator` before the first, if there is one.
    fn labels(&mut self, labels: &Labels<'_>, mut separator: &str) {
        if let Some(labels) = labels.as_plain() {
            return self.plain_labels(labels, separator);
        }
        for (name, value) in labels.sorted() {
            let name = self.escaping.label_name(name);
            for part in [separator, &name, "=\"", &escaping::quoted(value), "\""] {
                self.out.push_str(part);
            }
            separator = ",";
        }
    }

    /// Labels in which no character needs a backslash.
    fn plain_labels(&mut self, mut labels: PlainLabels<'_>, mut separator: &str) {
        let mut place = 0;
        while !labels.is_empty() {
            let known = self.begins.get(place).and_then(|(begin, _)| labels.after(begin));
            let label = known.or_else(|| {
                let (name, begin) = labels.begin()?;
                let written = format!("{}=\"", self.escaping.label_name(name));
                self.begins.truncate(place);
                self.begins.push((begin.to_owned(), written));
                labels.after(begin)
            });
            let Some((value, rest)) = label else { return };
            for part in [separator, &self.begins[place].1, value] {
                self.out.push_str(part);
            }
            (labels, separator, place) = (rest, ",", place + 1);
        }
    }

    #[inline]
    fn value(&mut self, sample: &Sample<'_>) {
        self.out.push(' ');
        write_float(&mut self.out, sample.value, self.exponents);
        if let Some(exemplar) = &sample.exemplar {
            self.exemplar(exemplar);
        }
        self.out.push('\n');
    }

    #[cold]
    fn exemplar(&mut self, Exemplar { labels, value, timestamp }: &Exemplar) {
        self.out.push_str(" # {");
        let mut labels: Vec<_> = labels.iter().collect();
        labels.sort_unstable();
        let mut separator = "";
        for (name, value) in labels {
            for part in [separator, name, "=\"", &escaping::quoted(value), "\""] {
                self.out.push_str(part);
            }
            separator = ",";
        }
        self.out.push_str("} ");
        write_float(&mut self.out, *value, self.exponents);
        // Python's repr() writes the times of any clock like this. Writing to a String cannot fail.
        let _ = write!(self.out, " {timestamp:?}");
    }
}
