//! The methods of `prometheus_client`'s metrics that programs call all the time, done natively.
//!
//! A method descriptor is put in the place of a method of `prometheus_client`'s own class, so that
//! instances, subclasses and programs find the classes that they know. It does what the method
//! does where everything is as usual, from what the instance has at that moment; only the buckets of a
//! histogram are kept, with its sum, and the sum of a summary, with its count. In all other cases it
//! calls `prometheus_client`'s function with the same arguments: so errors are the same, and whatever a
//! program has patched or overridden is heeded. No lock is held, and a signal handler, a callback of
//! the garbage collector or another thread may come in at each call of Python.

mod children;
mod counting;
mod descriptor;
mod exemplars;
mod function;
mod install;
mod labels;
mod limit;
mod making;
mod method;
mod removal;
mod shortcut;
mod stating;
mod stock;
mod timing;

pub(super) use descriptor::call_method;
pub(super) use install::{install_methods, remove_methods};
pub(super) use limit::limit_series;
pub(super) use shortcut::Shortcut;
pub(super) use stating::{Statement, repeat_statement};
