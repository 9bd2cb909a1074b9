//! Families as `prometheus_client`'s own objects.

use std::collections::HashMap;

use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::family::{Family, Labels};
use crate::merge::PID_LABEL;
use crate::metric::MetricType;
use crate::unmerged::UnmergedFamily;

/// After so many samples other Python threads get a turn.
const SAMPLES_A_TURN: usize = 1000;

/// Makes `Metric`s and `Sample`s.
pub(super) struct Maker<'py> {
    metric_class: Bound<'py, PyAny>,
    sample_class: Bound<'py, PyAny>,
    /// Names that come again and again: of labels, and of a histogram's samples.
    names: HashMap<String, Bound<'py, PyString>>,
    samples_made: usize,
}

impl<'py> Maker<'py> {
    /// Makes objects of these two classes of `prometheus_client`.
    pub(super) fn new(metric_class: Bound<'py, PyAny>, sample_class: Bound<'py, PyAny>) -> Self {
        Self { metric_class, sample_class, names: HashMap::new(), samples_made: 0 }
    }

    /// A merged family.
    pub(super) fn family(&mut self, family: &Family<'_>) -> PyResult<Bound<'py, PyAny>> {
        let samples = PyList::empty(self.py());
        for sample in &family.samples {
            let fields = (self.name(&sample.name), self.labels(&sample.labels)?, sample.value);
            self.add_sample(&samples, fields)?;
        }
        self.metric(
            &family.name,
            &family.help,
            family.metric_type,
            family.mode.as_deref(),
            &samples,
        )
    }

    /// An unmerged family: its samples have tuples as labels, as in `prometheus_client`.
    pub(super) fn unmerged(&mut self, family: &UnmergedFamily) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py();
        let samples = PyList::empty(py);
        for sample in &family.samples {
            let own = sample.key.labels.iter().map(|(name, value)| (&**name, &**value));
            let pid = sample.pid.as_deref().map(|pid| (PID_LABEL, pid));
            let labels = PyTuple::new(py, own.chain(pid).collect::<Vec<_>>())?;
            let name = self.name(&sample.key.sample);
            if sample.pid.is_some() {
                self.add_sample(&samples, (name, labels, sample.value, sample.timestamp))?;
            } else {
                self.add_sample(&samples, (name, labels, sample.value))?;
            }
        }
        self.metric(
            &family.name,
            &family.help,
            family.metric_type,
            family.mode.as_deref(),
            &samples,
        )
    }

    pub(super) fn py(&self) -> Python<'py> {
        self.metric_class.py()
    }

    fn metric(
        &self,
        name: &str,
        help: &str,
        metric_type: MetricType,
        mode: Option<&str>,
        samples: &Bound<'py, PyList>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py();
        // The name is set afterwards: what an old file holds may not be a name that the
        // constructor takes, and must not fail a scrape.
        let metric = self.metric_class.call1(("multiprom", help, metric_type.name()))?;
        metric.setattr(intern!(py, "name"), name)?;
        metric.setattr(intern!(py, "samples"), samples)?;
        if let Some(mode) = mode {
            metric.setattr(intern!(py, "_multiprocess_mode"), mode)?;
        }
        Ok(metric)
    }

    fn add_sample(
        &mut self,
        samples: &Bound<'py, PyList>,
        fields: impl pyo3::call::PyCallArgs<'py>,
    ) -> PyResult<()> {
        self.samples_made += 1;
        if self.samples_made.is_multiple_of(SAMPLES_A_TURN) {
            self.py().detach(|| ());
        }
        samples.append(self.sample_class.call1(fields)?)
    }

    fn labels(&mut self, labels: &Labels<'_>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(self.py());
        for (name, value) in labels.iter() {
            dict.set_item(self.name(name), value)?;
        }
        Ok(dict)
    }

    fn name(&mut self, name: &str) -> Bound<'py, PyString> {
        if let Some(known) = self.names.get(name) {
            return known.clone();
        }
        let text = PyString::new(self.py(), name);
        self.names.insert(name.to_owned(), text.clone());
        text
    }
}
