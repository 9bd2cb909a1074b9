//! What makes a native method: where it belongs, what it does, and what it leaves to
//! `prometheus_client`.

use pyo3::prelude::*;

use super::descriptor::{Call, Definition};
use super::stock::Stocks;

/// What a method gives; none if it has done nothing, and `prometheus_client`'s function is to do it.
pub(super) type Outcome<'py> = PyResult<Option<Bound<'py, PyAny>>>;

/// A method of one of `prometheus_client`'s classes, done natively.
pub(super) trait Method {
    /// The module of the class.
    const MODULE: &'static str;
    /// The class.
    const CLASS: &'static str;
    /// The method.
    const NAME: &'static str;
    /// The parameters of `prometheus_client`'s function, without annotations.
    const PARAMETERS: &'static [&'static str];

    /// All names that `prometheus_client`'s function uses, but for its own variables: where a version
    /// uses others, its function stays. Empty if the parameters say enough.
    const NAMES: &'static [&'static str] = &[];

    /// Does what the method does, or nothing.
    fn call<'py>(call: &Call<'_, 'py>) -> Outcome<'py> {
        let _ = call;
        Ok(None)
    }

    /// What is known of the method, in a `static` of its own: see [`known!`].
    fn known() -> &'static Known;
}

/// [`Method::known`] for an implementation. The body cannot stand in the trait, where all methods
/// would have one `static` in common.
macro_rules! known {
    () => {
        fn known() -> &'static $crate::python::native::method::Known {
            static KNOWN: $crate::python::native::method::Known =
                $crate::python::native::method::Known::new();
            &KNOWN
        }
    };
}
pub(super) use known;

/// What a method is, but for what it does. Functions that take this are compiled once for all methods.
pub(super) struct About {
    pub(super) module: &'static str,
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) parameters: &'static [&'static str],
    pub(super) names: &'static [&'static str],
    pub(super) known: fn() -> &'static Known,
}

impl About {
    pub(super) const fn of<M: Method>() -> Self {
        Self {
            module: M::MODULE,
            class: M::CLASS,
            name: M::NAME,
            parameters: M::PARAMETERS,
            names: M::NAMES,
            known: M::known,
        }
    }
}

/// What is known of a method once it is in use.
pub(super) struct Known {
    pub(super) definition: Definition,
    pub(super) stocks: Stocks,
}

impl Known {
    pub(super) const fn new() -> Self {
        Self { definition: Definition::new(), stocks: Stocks::new() }
    }
}
