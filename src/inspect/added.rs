//! Adds families to the text of a scrape, and finds out how large that text is.

use std::collections::BTreeSet;

use memchr::{memchr_iter, memmem};

use crate::scrape::{ExponentStyle, Family};
use crate::text::{Escaping, Format, text};

/// How the line begins that names a family; the line of its help comes before.
const TYPE: &[u8] = b"# TYPE ";

/// How to write families.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    /// The text format.
    pub format: Format,
    /// How names are escaped.
    pub escaping: Escaping,
    /// How numbers are written.
    pub exponents: ExponentStyle,
}

/// Adds `families` to `to`, but not those of a name that is there already or in one of `others`: it is
/// the application's. Only samples with one of `names`, if there are any.
pub fn add(
    to: &mut String,
    mut families: Vec<Family<'_>>,
    others: &[&[u8]],
    names: Option<&BTreeSet<String>>,
    style: Style,
) {
    let Style { format, escaping, exponents } = style;
    let is_wanted = |name: &str| names.is_none_or(|names| names.contains(name));
    families.retain_mut(|family| family.restrict(is_wanted));
    let texts = others.iter().copied().chain([to.as_bytes()]);
    let taken: BTreeSet<&[u8]> = texts.flat_map(family_names).collect();
    let is_new = |text: &String| !family_names(text.as_bytes()).any(|name| taken.contains(name));
    // Mostly all of them are new.
    let all = text(&families, format, escaping, exponents);
    let added = if is_new(&all) {
        all
    } else {
        let each = families.chunks(1).map(|family| text(family, format, escaping, exponents));
        each.filter(is_new).collect()
    };
    to.push_str(&added);
}

/// How many samples a text has.
#[must_use]
pub fn count_samples(text: &str) -> usize {
    let lines = memchr_iter(b'\n', text.as_bytes()).count();
    lines.saturating_sub(2 * family_names(text.as_bytes()).count())
}

/// The names of the families of a text.
fn family_names(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    memmem::find_iter(text, TYPE).filter_map(move |place| {
        // Within a line it is a part of a help text or a label's value.
        let is_line = place == 0 || text[place - 1] == b'\n';
        let line = text[place + TYPE.len()..].split(|&byte| byte == b'\n').next()?;
        // The name may have spaces, the type behind it has none.
        let end = line.iter().rposition(|&byte| byte == b' ').filter(|_| is_line)?;
        Some(&line[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::MetricType;
    use crate::scrape::{Labels, Sample, Samples};

    const STYLE: Style = Style {
        format: Format::Prometheus,
        escaping: Escaping::Underscores,
        exponents: ExponentStyle::TwoDigits,
    };

    fn family(name: &str) -> Family<'_> {
        let sample = Sample {
            name: format!("{name}_total").into(),
            labels: Labels::of_owned(vec![("l".into(), "# TYPE b counter".into())]),
            value: 1.0,
            timestamp: None,
            exemplar: None,
        };
        Family {
            name: name.into(),
            help: "About\n# TYPE c_total counter".into(),
            metric_type: MetricType::Counter,
            mode: None,
            samples: Samples::Built(vec![sample]),
        }
    }

    #[test]
    fn what_the_application_has_is_not_added() {
        let mut written = text(&[family("a")], STYLE.format, STYLE.escaping, STYLE.exponents);
        assert_eq!(count_samples(&written), 1);
        let other = b"# HELP b_total x\n# TYPE b_total counter\n";
        let families = ["a", "b", "c"].map(family).into();
        add(&mut written, families, &[other], None, STYLE);
        let names: Vec<_> = family_names(written.as_bytes()).collect();
        assert_eq!(names, [b"a_total", b"c_total"]);
        assert_eq!(count_samples(&written), 2);
    }

    #[test]
    fn only_samples_that_are_asked_for_are_added() {
        let mut written = String::new();
        let names = BTreeSet::from(["b_total".to_owned()]);
        add(&mut written, ["a", "b"].map(family).into(), &[], Some(&names), STYLE);
        assert_eq!(family_names(written.as_bytes()).collect::<Vec<_>>(), [b"b_total"]);
    }
}
