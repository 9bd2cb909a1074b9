//! What a process says of itself, in an `Info` or an `Enum`: series of which one is true.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::count::series::Series;
use crate::count::state::LockedState;
use crate::count::value::{Caller, Head, ValueClass};
use crate::error::{Error, Result};

/// The value of a series that is true.
const TRUE: f64 = 1.0;
/// That of one that is not.
const FALSE: f64 = 0.0;

/// What a process says by one `Info` or `Enum` with its labels.
#[derive(Debug)]
pub struct Statement {
    class: Arc<ValueClass>,
    /// How the names of its files begin.
    prefix: &'static str,
    /// The series that it has now; none if it was withdrawn. Only a thread that has the lock of the state
    /// locks this, so that no fork finds it locked.
    series: Mutex<Option<Vec<Arc<Series>>>>,
}

impl Statement {
    /// One that says nothing yet, in files that begin with `prefix`.
    #[must_use]
    pub fn new(class: &Arc<ValueClass>, prefix: &'static str) -> Self {
        Self { class: Arc::clone(class), prefix, series: Mutex::new(Some(Vec::new())) }
    }

    /// Says that of the series with these heads the one at place `truth` is true, from now on. Series
    /// that it had before and that are not among these are withdrawn.
    ///
    /// # Errors
    ///
    /// If there is no memory for a series.
    pub fn say(&self, heads: Vec<Head>, truth: usize, caller: &Caller) -> Result<()> {
        LockedState::new().replace_removed();
        let said = self.class.with_state(caller, |class, files, numbers| {
            let mut said = self.series.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(before) = said.as_mut() else { return Some(()) };
            let kind = class.kind(self.prefix);
            let series = class.series(files, kind, heads, numbers)?;
            if let Some(truth) = series.get(truth) {
                // The clock may have been set back: what is said now is later than all before.
                let times = series.iter().map(|series| series.timestamp().next_up());
                truth.set(TRUE, times.fold(now(), f64::max));
                for other in series.iter().filter(|other| !Arc::ptr_eq(other, truth)) {
                    // The time stays: by it scrapes tell which one is true.
                    other.set(FALSE, other.timestamp());
                }
            }
            let is_gone =
                |old: &&Arc<Series>| !series.iter().any(|series| Arc::ptr_eq(series, old));
            before.iter().filter(is_gone).for_each(|gone| class.withdraw(files, kind, gone));
            *before = series;
            Some(())
        });
        said.flatten().ok_or(Error::NoMemory)
    }

    /// Says nothing any more, whatever it is told from now on.
    pub fn withdraw(&self, caller: &Caller) {
        self.class.with_state(caller, |class, files, _| {
            let mut said = self.series.lock().unwrap_or_else(PoisonError::into_inner);
            let kind = class.kind(self.prefix);
            said.take().iter().flatten().for_each(|gone| class.withdraw(files, kind, gone));
        });
    }
}

/// Unix time in seconds.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::{head_of, writer::testing::entries};
    use tempfile::TempDir;

    #[test]
    fn what_is_said_last_is_true_whatever_the_clock_says() {
        let directory = TempDir::new().unwrap();
        let caller = Caller {
            directory: Some(directory.path().into()),
            identifier: Some("statement".into()),
        };
        let class = Arc::new(ValueClass::new(&caller).unwrap());
        let statement = Statement::new(&class, "stateset");
        let say = |truth| {
            let heads = ["first", "second"].map(|key| head_of([key]).unwrap());
            statement.say(heads.to_vec(), truth, &caller).unwrap();
        };
        say(0);
        // The clock is set back by an hour.
        let later = now() + 3600.0;
        statement.series.lock().unwrap().as_ref().unwrap()[0].set(TRUE, later);
        say(1);
        let said = statement.series.lock().unwrap();
        let timestamps: Vec<_> = said.iter().flatten().map(|series| series.timestamp()).collect();
        assert_eq!(timestamps, [later, later.next_up()]);
        let path = directory.path().join("stateset_statement.db");
        let values = [("first".to_owned(), FALSE), ("second".to_owned(), TRUE)];
        assert_eq!(entries(&path), values);
    }
}
