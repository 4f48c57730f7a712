//! Read-only requests that several threads make at the same time.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::cluster::error::Result;
use crate::cx::Cx;
use crate::parallel::Shared;

/// The requests of one run, by their command lines. Threads that ask while the same request is under
/// way get the answer of the next one: no answer is older than the question.
#[derive(Debug, Default)]
pub(crate) struct SharedRequests(Shared<BTreeMap<String, State>>);

#[derive(Debug, Default)]
struct State {
    /// The number of requests that have begun.
    begun: u64,
    is_running: bool,
    /// The latest answer, and the number of its request.
    answer: Option<(u64, Arc<Value>)>,
}

impl State {
    /// Returns the answer of a request that has begun after this many.
    fn answer_after(&self, begun: u64) -> Option<Arc<Value>> {
        let (number, answer) = self.answer.as_ref()?;
        (*number > begun).then(|| answer.clone())
    }
}

/// Marks the end of a request, also if it has failed.
struct RequestEnd<'a> {
    requests: &'a SharedRequests,
    key: &'a str,
    answer: Option<Arc<Value>>,
}

impl SharedRequests {
    /// Returns the answer of a request that begins after this call. An error is not shared.
    pub(super) fn get(
        &self,
        cx: &Cx,
        key: &str,
        request: impl FnOnce() -> Result<Value>,
    ) -> Result<Arc<Value>> {
        let begun = self.count_begun(key);
        self.get_after(cx, key, begun, request)
    }

    /// Returns how many requests have begun.
    fn count_begun(&self, key: &str) -> u64 {
        self.0.lock().entry(key.to_owned()).or_default().begun
    }

    /// Returns the answer of a request that begins after this many.
    fn get_after(
        &self,
        cx: &Cx,
        key: &str,
        begun: u64,
        request: impl FnOnce() -> Result<Value>,
    ) -> Result<Arc<Value>> {
        let check = || -> Result<()> { Ok(cx.check_interrupt()?) };
        let known = self.0.wait(check, |states| {
            let state = states.entry(key.to_owned()).or_default();
            if let Some(answer) = state.answer_after(begun) {
                return Some(Some(answer));
            }
            let is_free = !std::mem::replace(&mut state.is_running, true);
            state.begun += u64::from(is_free);
            is_free.then_some(None)
        })?;
        if let Some(known) = known {
            return Ok(known);
        }
        let mut end = RequestEnd { requests: self, key, answer: None };
        let answer = Arc::new(request()?);
        end.answer = Some(answer.clone());
        Ok(answer)
    }
}

impl Drop for RequestEnd<'_> {
    fn drop(&mut self) {
        let answer = self.answer.take();
        self.requests.0.change(|states| {
            let Some(state) = states.get_mut(self.key) else { return };
            state.is_running = false;
            if let Some(answer) = answer {
                state.answer = Some((state.begun, answer));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cluster::Error;

    #[test]
    fn answer_is_shared_but_never_older_than_question() {
        let (cx, requests) = (Cx::new(&|_| ()), SharedRequests::default());
        let get = |begun: u64, answer: u64| {
            let found = requests.get_after(&cx, "key", begun, || Ok(json!(answer))).unwrap();
            found.as_u64().unwrap()
        };
        let before = requests.count_begun("key");
        assert_eq!(get(before, 1), 1);
        // These asked before the first request began, and after it.
        assert_eq!(get(before, 2), 1);
        assert_eq!(get(requests.count_begun("key"), 3), 3);
        assert_eq!(requests.count_begun("other"), 0);
    }

    #[test]
    fn error_is_not_shared() {
        let (cx, requests) = (Cx::new(&|_| ()), SharedRequests::default());
        let fail = || Err(Error::NoCurrentContext { missing: Vec::new() });
        requests.get_after(&cx, "key", 0, fail).unwrap_err();
        assert_eq!(*requests.get_after(&cx, "key", 0, || Ok(json!(1))).unwrap(), 1);
    }
}
