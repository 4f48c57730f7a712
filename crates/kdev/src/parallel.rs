//! Runs work in several threads.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

/// The maximum number of threads.
const MAX_THREADS: usize = 16;

/// The time between two checks of a thread that waits for a shared value.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Runs two functions in parallel.
pub(crate) fn run_both<A, B: Send>(
    one: impl FnOnce() -> A,
    other: impl FnOnce() -> B + Send,
) -> (A, B) {
    thread::scope(|scope| {
        let other = scope.spawn(other);
        (one(), join_thread(other))
    })
}

/// Calls a function with each item, in a limited number of threads. The results are in the
/// order of the items.
pub(crate) fn map_all<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let worker = || {
        while let Some((index, item)) = take_next(items, &next) {
            let result = work(item);
            results.lock().unwrap_or_else(PoisonError::into_inner).push((index, result));
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = items.iter().take(MAX_THREADS).map(|_| scope.spawn(worker)).collect();
        workers.into_iter().for_each(join_thread);
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

fn take_next<'a, T>(items: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let index = next.fetch_add(1, Ordering::SeqCst);
    Some((index, items.get(index)?))
}

/// Returns the result of a thread. Its panic is resumed in this thread.
pub(crate) fn join_thread<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Answers that several threads need, by key. Only the first thread queries a key: the others wait
/// for it.
#[derive(Default)]
pub(crate) struct Answers<T>(Mutex<BTreeMap<String, Arc<Mutex<Option<T>>>>>);

impl<T: Clone> Answers<T> {
    /// Returns the known answer, or queries it. An error is not kept.
    pub(crate) fn get_or_query<E>(
        &self,
        key: String,
        query: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = answers.entry(key).or_default().clone();
        drop(answers);
        let mut answer = answer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = &*answer {
            return Ok(known.clone());
        }
        let new = query()?;
        Ok(answer.insert(new).clone())
    }
}

/// A value that threads change, and whose changes others wait for.
#[derive(Debug, Default)]
pub(crate) struct Shared<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Shared<T> {
    pub(crate) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Condvar::new() }
    }

    /// Locks the value. Threads that wait are not woken.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let changed = change(&mut self.lock());
        self.changed.notify_all();
        changed
    }

    /// Waits until `take` returns something, which may change the value. Fails as soon as `check`
    /// does, which is called repeatedly.
    pub(crate) fn wait<R, E>(
        &self,
        check: impl Fn() -> Result<(), E>,
        mut take: impl FnMut(&mut T) -> Option<R>,
    ) -> Result<R, E> {
        let mut value = self.lock();
        loop {
            if let Some(taken) = take(&mut value) {
                drop(value);
                self.changed.notify_all();
                return Ok(taken);
            }
            check()?;
            let waited = self.changed.wait_timeout(value, CHECK_INTERVAL);
            value = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn map_all_runs_each_item_once_in_limited_threads() {
        let items: Vec<usize> = (0..100).collect();
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let doubled = map_all(&items, |item| {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            thread::sleep(std::time::Duration::from_millis(1));
            now.fetch_sub(1, Ordering::SeqCst);
            item * 2
        });
        assert_eq!(doubled, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert!((2..=MAX_THREADS).contains(&most.into_inner()));
    }

    #[test]
    fn shared_value_is_awaited_until_check_fails() {
        let shared = Shared::new(0);
        let awaited = thread::scope(|scope| {
            let awaited = scope.spawn(|| {
                let take = |value: &mut i32| (*value == 2).then(|| std::mem::take(value));
                shared.wait(|| Ok::<_, ()>(()), take)
            });
            shared.change(|value| *value += 1);
            shared.change(|value| *value += 1);
            awaited.join().unwrap()
        });
        assert_eq!((awaited, *shared.lock()), (Ok(2), 0));
        assert_eq!(shared.wait(|| Err("interrupted"), |_| None::<()>), Err("interrupted"));
    }
}
