//! Merged samples, as a scrape gives them.

use std::borrow::Cow;
use std::sync::Arc;

use crate::format::exemplar::Exemplar;
use crate::scrape::direct::DirectSamples;
use crate::scrape::labels::Labels;

/// One merged sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample<'a> {
    /// Name, with suffixes.
    pub name: Cow<'a, str>,
    /// The labels.
    pub labels: Labels<'a>,
    /// The value.
    pub value: f64,
    /// When the value was set, if its family has the one that was set last.
    pub timestamp: Option<f64>,
    /// The newest exemplar, if exemplars were asked for.
    pub exemplar: Option<Arc<Exemplar>>,
}

impl Sample<'_> {
    /// The same, borrowing nothing.
    #[must_use]
    pub fn into_owned(self) -> Sample<'static> {
        Sample {
            name: Cow::Owned(self.name.into_owned()),
            labels: self.labels.into_owned(),
            value: self.value,
            timestamp: self.timestamp,
            exemplar: self.exemplar,
        }
    }

    /// The same, borrowing from this one.
    fn borrowed(&self) -> Sample<'_> {
        Sample {
            name: Cow::Borrowed(&*self.name),
            labels: self.labels.borrowed(),
            value: self.value,
            timestamp: self.timestamp,
            exemplar: self.exemplar.clone(),
        }
    }
}

/// The merged samples of a family, in the order of the exposition.
#[derive(Debug, Clone)]
pub enum Samples<'a> {
    /// Made one by one.
    Built(Vec<Sample<'a>>),
    /// Made from keys when they are asked for: a family may have hundreds of thousands.
    Direct(DirectSamples<'a>),
}

impl Samples<'_> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Built(samples) => samples.len(),
            Self::Direct(samples) => samples.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples.
    pub fn iter(&self) -> impl Iterator<Item = Sample<'_>> {
        let (built, direct) = match self {
            Self::Built(samples) => (samples.as_slice(), None),
            Self::Direct(samples) => (&[][..], Some(samples)),
        };
        let direct = direct.into_iter().flat_map(DirectSamples::iter);
        built.iter().map(Sample::borrowed).chain(direct)
    }

    /// Keeps the samples whose names are `wanted`.
    pub(crate) fn retain(&mut self, wanted: impl Fn(&str) -> bool) {
        match self {
            Self::Built(samples) => samples.retain(|sample| wanted(&sample.name)),
            Self::Direct(samples) => samples.retain(wanted),
        }
    }
}
