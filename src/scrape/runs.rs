//! Sums and histograms whose keys come together: the keys of one set of labels are a run.

use std::collections::HashMap;

use crate::float::{DoubleDouble, ExponentStyle, Sum, float_to_string};
use crate::format::parse_bound;
use crate::kind::MetricType;
use crate::scrape::column::Sums;
use crate::scrape::direct::{Indirect, Part, Point};
use crate::scrape::family::MergeOptions;
use crate::scrape::heads::Head;
use crate::scrape::histogram::{bucket_name, count_name};
use crate::scrape::parsed::{Group, ParsedTable};

/// How a bucket's bound begins among its labels. No other text of a plain key is like it: a name
/// or value has no quotes.
const BOUND_BEGIN: &str = "\"le\": \"";

/// The values of a family that is summed.
///
/// Each run must begin with a key of the head that the first run begins with. The keys of one head
/// all have other labels, so no two runs have the same.
pub(super) fn values<'a>(
    parsed: &ParsedTable<'a>,
    group: &Group,
    column: &Sums,
    options: MergeOptions,
    bounds: &mut Bounds<'a>,
) -> Result<Vec<Point>, Indirect> {
    let has_buckets = has_buckets(parsed, group)?;
    let is_single = group.heads.len() == 1;
    let mut values = Vec::with_capacity(group.numbers.len() + group.numbers.len() / 8);
    let mut run = Run::default();
    for &number in &group.numbers {
        let (sum, lossy) = (&column.sums[number as usize], column.lossy[number as usize]);
        if lossy {
            return Err(Indirect::Inexact);
        }
        if is_single {
            values.push(Point { number, part: Part::Own, value: sum.value() });
            continue;
        }
        let labels = parsed.labels(number).text();
        if parsed.head_number(number) == group.heads[0] {
            run.finish(options, &mut values);
            run = Run { number, labels, begin: run.begin, ..Run::default() };
        } else if has_buckets && parsed.head(number).has_bound {
            let bound = run.bound(labels).ok_or(Indirect::ByLabels)?;
            let bound = bounds.of(bound).ok_or(Indirect::ByLabels)?;
            let value = run.add(bound, sum, options)?;
            values.push(Point { number, part: Part::Bucket, value });
            continue;
        } else if run.labels != labels || run.last_bound.is_some() {
            return Err(Indirect::ByLabels);
        }
        values.push(Point { number, part: Part::Own, value: sum.value() });
    }
    run.finish(options, &mut values);
    Ok(values)
}

/// Whether the family has buckets; an error if they are not named as buckets are.
fn has_buckets(parsed: &ParsedTable<'_>, group: &Group) -> Result<bool, Indirect> {
    if parsed.table.kind().metric_type != MetricType::Histogram {
        return Ok(false);
    }
    let heads = || group.heads.iter().map(|head| parsed.head_numbered(*head));
    let is_sound = |(place, head): (usize, &Head<'_>)| {
        let name = &*head.sample;
        if head.has_bound {
            place > 0 && name == bucket_name(&head.family)
        } else {
            name != count_name(&head.family)
        }
    };
    if heads().enumerate().all(is_sound) {
        Ok(heads().any(|head| head.has_bound))
    } else {
        Err(Indirect::ByLabels)
    }
}

/// The keys of one set of labels.
#[derive(Debug, Default)]
struct Run<'a> {
    /// The first key, and its labels.
    number: u32,
    labels: &'a str,
    /// Where the bound begins in the labels of the last bucket.
    begin: usize,
    /// The bound of the last bucket.
    last_bound: Option<f64>,
    /// The sum of the buckets.
    total: DoubleDouble,
}

impl Run<'_> {
    /// The text of a bucket's bound, if its labels are those of this run besides.
    fn bound<'b>(&mut self, bucket: &'b str) -> Option<&'b str> {
        if !bucket.get(self.begin..).is_some_and(|text| text.starts_with(BOUND_BEGIN)) {
            self.begin = bucket.find(BOUND_BEGIN)?;
        }
        let (before, rest) = bucket.split_at(self.begin);
        let (bound, behind) = rest.strip_prefix(BOUND_BEGIN)?.split_once('"')?;
        let is_own = if behind.is_empty() {
            before.strip_suffix(", ").unwrap_or(before) == self.labels
        } else {
            let behind = behind.strip_prefix(", ")?;
            self.labels.len() == before.len() + behind.len()
                && self.labels.starts_with(before)
                && self.labels.ends_with(behind)
        };
        is_own.then_some(bound)
    }

    /// Adds a bucket; gives its value.
    fn add(
        &mut self,
        bound: f64,
        sum: &DoubleDouble,
        options: MergeOptions,
    ) -> Result<f64, Indirect> {
        if self.last_bound.is_some_and(|last| last >= bound) {
            return Err(Indirect::ByLabels);
        }
        self.last_bound = Some(bound);
        if !options.accumulate {
            return Ok(sum.value());
        }
        if self.total.add_sum(sum) { Ok(self.total.value()) } else { Err(Indirect::Inexact) }
    }

    /// Adds the count of a histogram that ends here.
    fn finish(&self, options: MergeOptions, values: &mut Vec<Point>) {
        if options.accumulate && self.last_bound.is_some() {
            let (number, value) = (self.number, self.total.value());
            values.push(Point { number, part: Part::Count, value });
        }
    }
}

/// The bounds of buckets by their texts: most histograms have the same, in the same order.
#[derive(Debug)]
pub(crate) struct Bounds<'a> {
    style: ExponentStyle,
    places: HashMap<&'a str, usize>,
    known: Vec<(&'a str, Option<f64>)>,
    /// The place of the bound that is expected next.
    next: usize,
}

impl<'a> Bounds<'a> {
    /// No bounds yet; they are written in this style.
    pub(crate) fn new(style: ExponentStyle) -> Self {
        Self { style, places: HashMap::new(), known: Vec::new(), next: 0 }
    }

    /// The bound with this text; none if it is written in another way than a scrape writes it.
    fn of(&mut self, text: &'a str) -> Option<f64> {
        let place = match self.known.get(self.next) {
            Some((expected, _)) if *expected == text => self.next,
            _ => self.places.get(text).copied().unwrap_or_else(|| self.insert(text)),
        };
        self.next = if place + 1 == self.known.len() { 0 } else { place + 1 };
        self.known[place].1
    }

    fn insert(&mut self, text: &'a str) -> usize {
        let bound = parse_bound(text).ok();
        let is_written_so =
            |bound: &f64| !bound.is_nan() && float_to_string(*bound, self.style) == text;
        self.known.push((text, bound.filter(is_written_so)));
        self.places.insert(text, self.known.len() - 1);
        self.known.len() - 1
    }
}
