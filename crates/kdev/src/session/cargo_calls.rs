//! The call of cargo for each package in the last cycle, which the next one most likely repeats.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::build::CargoRequest;

#[derive(Default)]
pub(crate) struct KeptCalls(Mutex<BTreeMap<String, CargoRequest>>);

impl KeptCalls {
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }

    /// Returns the call of the last run of a package, once: a run that fails before its build is
    /// repeated without it.
    pub(crate) fn take(&self, package: &str) -> Option<CargoRequest> {
        self.lock().remove(package)
    }

    pub(crate) fn record(&self, package: &str, call: Option<CargoRequest>) {
        if let Some(call) = call {
            self.lock().insert(package.to_owned(), call);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, CargoRequest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
