//! Families as `prometheus_client`'s own objects.

use std::iter;

use hashbrown::HashMap;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyFloat, PyList, PyString, PyTuple};

use super::once::intern;
use super::value::exemplar_object;
use crate::format::PID_LABEL;
use crate::format::exemplar::Exemplar;
use crate::kind::MetricType;
use crate::scrape::{Family, Labels, UnmergedFamily};

/// After so many samples other Python threads get a turn.
const SAMPLES_A_TURN: usize = 1000;

/// The fields of a sample that are always given: name, labels, value. The timestamp is next.
const GIVEN_FIELDS: usize = 3;

/// What a family says of itself.
struct Header<'a> {
    name: &'a str,
    help: &'a str,
    metric_type: MetricType,
    mode: Option<&'a str>,
}

/// Makes `Metric`s and `Sample`s.
pub(super) struct Maker<'py> {
    metric_class: Bound<'py, PyAny>,
    sample_class: Bound<'py, PyAny>,
    /// `tuple.__new__`, which makes a named tuple without running its Python code.
    new_tuple: Bound<'py, PyAny>,
    /// The values of a sample's fields that are not given.
    defaults: Vec<Bound<'py, PyAny>>,
    /// Names and label values: most come again and again.
    strings: HashMap<String, Bound<'py, PyString>>,
    samples_made: usize,
}

impl<'py> Maker<'py> {
    /// Makes objects of these two classes of `prometheus_client`.
    pub(super) fn new(
        metric_class: Bound<'py, PyAny>,
        sample_class: Bound<'py, PyAny>,
    ) -> PyResult<Self> {
        let py = metric_class.py();
        let defaults = sample_class.getattr(intern!(py, "_field_defaults"))?;
        let fields = sample_class.getattr(intern!(py, "_fields"))?.try_iter()?;
        let defaults = fields.skip(GIVEN_FIELDS).map(|field| defaults.get_item(field?));
        Ok(Self {
            new_tuple: py.get_type::<PyTuple>().getattr(intern!(py, "__new__"))?,
            defaults: defaults.collect::<PyResult<_>>()?,
            metric_class,
            sample_class,
            strings: HashMap::new(),
            samples_made: 0,
        })
    }

    /// A merged family; with the times at which values were set, if it `keeps_times`.
    pub(super) fn family(
        &mut self,
        family: &Family<'_>,
        keeps_times: bool,
    ) -> PyResult<Bound<'py, PyAny>> {
        let samples = PyList::empty(self.py());
        for sample in family.samples.iter() {
            let labels = self.labels(&sample.labels)?.into_any();
            let exemplar = sample.exemplar.map(|exemplar| self.exemplar(&exemplar)).transpose()?;
            let time = sample.timestamp.filter(|_| keeps_times);
            let time = time.map(|time| PyFloat::new(self.py(), time).into_any());
            self.add_sample(&samples, &sample.name, labels, sample.value, [time, exemplar])?;
        }
        let Family { name, help, metric_type, mode, .. } = family;
        self.metric(
            Header { name, help, metric_type: *metric_type, mode: mode.as_deref() },
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
            let timestamp =
                sample.pid.as_ref().map(|_| PyFloat::new(py, sample.timestamp).into_any());
            let name = &sample.key.sample;
            self.add_sample(&samples, name, labels.into_any(), sample.value, [timestamp, None])?;
        }
        let UnmergedFamily { name, help, metric_type, mode, .. } = family;
        self.metric(
            Header { name, help, metric_type: *metric_type, mode: mode.as_deref() },
            &samples,
        )
    }

    pub(super) fn py(&self) -> Python<'py> {
        self.metric_class.py()
    }

    fn metric(
        &self,
        header: Header<'_>,
        samples: &Bound<'py, PyList>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = self.py();
        // The name is set afterwards: what an old file holds may not be a name that the
        // constructor takes, and must not fail a scrape.
        let metric =
            self.metric_class.call1(("multiprom", header.help, header.metric_type.name()))?;
        metric.setattr(intern!(py, "name"), header.name)?;
        metric.setattr(intern!(py, "samples"), samples)?;
        if let Some(mode) = header.mode {
            metric.setattr(intern!(py, "_multiprocess_mode"), mode)?;
        }
        Ok(metric)
    }

    fn add_sample(
        &mut self,
        samples: &Bound<'py, PyList>,
        name: &str,
        labels: Bound<'py, PyAny>,
        value: f64,
        others: [Option<Bound<'py, PyAny>>; 2],
    ) -> PyResult<()> {
        let py = self.py();
        self.samples_made += 1;
        if self.samples_made.is_multiple_of(SAMPLES_A_TURN) {
            py.detach(|| ());
        }
        let given = [self.string(name).into_any(), labels, PyFloat::new(py, value).into_any()];
        // Timestamp and exemplar are the first fields that have defaults.
        let others = others.into_iter().chain(iter::repeat(None));
        let others = self.defaults.iter().zip(others);
        let others = others.map(|(default, given)| given.unwrap_or_else(|| default.clone()));
        let fields: Vec<_> = given.into_iter().chain(others).collect();
        samples.append(self.new_tuple.call1((&self.sample_class, PyTuple::new(py, fields)?))?)
    }

    /// An object of the class `Exemplar` that belongs to that of samples.
    fn exemplar(&self, exemplar: &Exemplar) -> PyResult<Bound<'py, PyAny>> {
        let module = self.sample_class.getattr(intern!(self.py(), "__module__"))?;
        let module = self.py().import(module.cast_into::<PyString>()?)?;
        exemplar_object(&module.getattr(intern!(self.py(), "Exemplar"))?, exemplar)
    }

    fn labels(&mut self, labels: &Labels<'_>) -> PyResult<Bound<'py, PyDict>> {
        let dict = PyDict::new(self.py());
        for (name, value) in labels.iter() {
            dict.set_item(self.string(name), self.string(value))?;
        }
        Ok(dict)
    }

    fn string(&mut self, text: &str) -> Bound<'py, PyString> {
        if let Some(known) = self.strings.get(text) {
            return known.clone();
        }
        let string = PyString::new(self.py(), text);
        self.strings.insert(text.to_owned(), string.clone());
        string
    }
}
