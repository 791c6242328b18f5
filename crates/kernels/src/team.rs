//! Tasks shared between the calling thread and the pool's.
//!
//! The calling thread works too, and returns as soon as every task is done: it does not wait for a helper that has not begun.
//! Helpers look out for the next tasks for a moment before they go back to the pool, where they sleep. A network is hundreds
//! of short operations; waking threads for each and sleeping until they are done took longer than many of them.

use crate::parallel::{Shared, pieces};
use std::any::Any;
use std::cell::RefCell;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{Thread, current, park, yield_now};
use std::time::{Duration, Instant};

thread_local! {
    /// The tasks that this thread is at work on.
    static INSIDE: RefCell<Option<Arc<Job>>> = const { RefCell::new(None) };
}

/// Looks at the last tasks before their waiting thread yields, and before it sleeps.
const LOOKS: [usize; 2] = [2000, 2020];
/// How long a helper looks out for the next tasks: longer than what a network does between them. A thread that slept comes late, and
/// at times to the processor of the one that called it.
const LOOKOUT: Duration = Duration::from_millis(1);

/// A thread takes this part of its share of the tasks that are left: many at first, since each time costs the exchange of two cache
/// lines between cores, and few in the end, so that all are done at about the same time.
const PART: usize = 4;

/// The last tasks that were shared.
static BOARD: Mutex<Option<Arc<Job>>> = Mutex::new(None);
/// How many times that was.
static POSTED: AtomicUsize = AtomicUsize::new(0);
/// Helpers that look out for the next.
static WAITING: AtomicUsize = AtomicUsize::new(0);
/// Helpers that were called and have not gone back, whether they have come yet or not. While all threads are busy with tasks of other
/// callers none comes, and no more are called: those of a long run would come all at once at its end. Nor is one called in place of
/// one that is about to be done: the two and the caller would look out for each other's tasks on fewer processors.
static CALLED: AtomicUsize = AtomicUsize::new(0);

/// Whether this thread is at work on tasks.
fn inside() -> bool {
    INSIDE.with_borrow(Option::is_some)
}

/// How many threads there are for the tasks of the calling one: a single one that counts inside of a task, or else the pool's.
pub fn threads() -> usize {
    if inside() { 1 } else { rayon::current_num_threads() }
}

/// Calls `f` for each number below `count`. Tasks inside of tasks run where they are, unless a helper has nothing to do just
/// now: one that is done with its part of the samples takes a share of the others'.
pub(crate) fn each(count: usize, f: impl Fn(usize) + Sync) {
    ranges(count, |range| range.for_each(&f));
}

/// Calls `f` for ranges that together are the numbers below `count`, for which it may prepare something that serves all of a range;
/// otherwise as [`each`].
pub(crate) fn ranges(count: usize, f: impl Fn(Range<usize>) + Sync) {
    let idle = || {
        INSIDE.with_borrow(|job| match job {
            None => threads() - 1,
            Some(job) if job.taken() => WAITING.load(Ordering::Relaxed),
            // Who looks out will find these.
            Some(_) => 0,
        })
    };
    let helpers = if count < 2 { 0 } else { idle().min(count - 1) };
    if helpers == 0 {
        f(0..count);
    } else {
        run(count, helpers, &f);
    }
}

/// The results of `f` for each number below `count`, in their order, from as many [`threads`] as there are. What `f` shares
/// with others inside runs where it is.
pub fn map<T: Send>(count: usize, f: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let mut slots: Vec<Option<T>> = (0..count).map(|_| None).collect();
    parts(&mut slots, 1, |i, slot| slot[0] = Some(f(i)));
    slots.into_iter().flatten().collect() // every slot is filled
}

/// Calls `f` with each piece of `len` values (the last may be shorter) and its number.
pub(crate) fn parts<T: Send>(values: &mut [T], len: usize, f: impl Fn(usize, &mut [T]) + Sync) {
    let (count, piece) = (values.len().div_ceil(len), pieces(values.len(), len));
    let values = Shared::new(values);
    each(count, |i| {
        let range = piece(i);
        // SAFETY: each number is a task of its own, and pieces of different numbers are apart.
        f(i, unsafe { values.slice(range.start, range.len()) });
    });
}

struct Job {
    /// The next task.
    next: AtomicUsize,
    /// Tasks that are not done.
    left: AtomicUsize,
    count: usize,
    /// Threads that may take some.
    threads: usize,
    task: *const (dyn Fn(Range<usize>) + Sync),
    caller: Thread,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: what `task` points to may be shared between threads, and `Job::work` says why it is there when it is called.
unsafe impl Send for Job {}
// SAFETY: as above.
unsafe impl Sync for Job {}

fn run<'a>(count: usize, helpers: usize, task: &'a (dyn Fn(Range<usize>) + Sync + 'a)) {
    let task: *const (dyn Fn(Range<usize>) + Sync + 'a) = task;
    // SAFETY: only the lifetime changes, which a pointer does not promise.
    #[allow(clippy::transmute_ptr_to_ptr, reason = "a cast may not extend the lifetime of a trait object")]
    let task: *const (dyn Fn(Range<usize>) + Sync + 'static) = unsafe { std::mem::transmute(task) };
    let (next, left) = (AtomicUsize::new(0), AtomicUsize::new(count));
    let threads = helpers + 1;
    let job = Arc::new(Job { next, left, count, threads, task, caller: current(), panic: Mutex::new(None) });
    *BOARD.lock().unwrap_or_else(PoisonError::into_inner) = Some(job.clone());
    POSTED.fetch_add(1, Ordering::SeqCst);
    let missing = if inside() { 0 } else { helpers.saturating_sub(CALLED.load(Ordering::SeqCst)) };
    for _ in 0..missing {
        CALLED.fetch_add(1, Ordering::SeqCst);
        rayon::spawn(help);
    }
    job.work();
    job.wait();
    let panic = job.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(panic) = panic {
        resume_unwind(panic);
    }
}

/// Does the tasks that were shared last, and those that are posted in time.
fn help() {
    loop {
        let seen = POSTED.load(Ordering::Acquire);
        let job = BOARD.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(job) = job {
            job.work();
        }
        WAITING.fetch_add(1, Ordering::Relaxed);
        let found = look_out(seen);
        WAITING.fetch_sub(1, Ordering::Relaxed);
        if !found {
            CALLED.fetch_sub(1, Ordering::SeqCst);
            // Who posted before that did not call another.
            if POSTED.load(Ordering::SeqCst) == seen {
                return;
            }
            CALLED.fetch_add(1, Ordering::SeqCst);
        }
    }
}

/// Whether something was posted since `seen`, soon enough.
fn look_out(seen: usize) -> bool {
    let start = Instant::now();
    loop {
        for _ in 0..64 {
            if POSTED.load(Ordering::Acquire) != seen {
                return true;
            }
            std::hint::spin_loop();
        }
        if start.elapsed() > LOOKOUT {
            return false;
        }
    }
}

impl Job {
    /// The next tasks, unless all are taken.
    fn take(&self) -> Option<Range<usize>> {
        let past = |first: usize| first + ((self.count - first) / (PART * self.threads)).max(1);
        let next = |first: usize| (first < self.count).then(|| past(first));
        let first = self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).ok()?;
        Some(first..past(first))
    }

    /// Whether no task is left to take.
    fn taken(&self) -> bool {
        self.next.load(Ordering::Relaxed) >= self.count
    }

    /// Does tasks until all are taken.
    fn work(self: &Arc<Self>) {
        let before = INSIDE.replace(Some(self.clone()));
        while let Some(range) = self.take() {
            let number = range.len();
            // SAFETY: these tasks are not done, so `run`, which waits for them, has not returned, and what they borrow is alive.
            let result = catch_unwind(AssertUnwindSafe(|| unsafe { (*self.task)(range) }));
            if let Err(panic) = result {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
            if self.left.fetch_sub(number, Ordering::AcqRel) == number && current().id() != self.caller.id() {
                self.caller.unpark();
            }
        }
        INSIDE.set(before);
    }

    /// Until all tasks are done.
    fn wait(&self) {
        let mut looks = 0;
        while self.left.load(Ordering::Acquire) > 0 {
            match looks {
                looks if looks < LOOKS[0] => std::hint::spin_loop(),
                looks if looks < LOOKS[1] => yield_now(),
                _ => park(),
            }
            looks += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_pool<T: Send>(threads: usize, f: impl FnOnce() -> T + Send) -> T {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(f)
    }

    #[test]
    fn every_task_is_done_once() {
        for threads in [1, 2, 5] {
            in_pool(threads, || {
                for count in [0, 1, 2, 7, 1000] {
                    assert_eq!(map(count, |i| i), (0..count).collect::<Vec<_>>());
                }
                let mut values = vec![0; 1003];
                parts(&mut values, 10, |i, part| part.iter_mut().for_each(|value| *value += i));
                assert!(values.iter().enumerate().all(|(i, value)| *value == i / 10));
            });
        }
    }

    #[test]
    fn tasks_inside_of_tasks_and_from_many_callers() {
        let sum = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        each(3, |_| each(5, |i| _ = sum.fetch_add(i, Ordering::Relaxed)));
                    }
                });
            }
        });
        assert_eq!(sum.into_inner(), 4 * 200 * 3 * 10);
    }

    #[test]
    fn helpers_do_not_pile_up_while_nobody_is_free() {
        in_pool(2, || {
            // Both threads share tasks of their own all the time, so that no helper can come.
            let busy = || (0..20_000).for_each(|_| each(2, |_| ()));
            rayon::join(busy, busy);
            // Other tests have pools of their own, of at most five threads.
            assert!(CALLED.load(Ordering::Relaxed) < 100);
        });
    }

    #[test]
    fn an_idle_helper_takes_a_share_of_the_tasks_inside_of_another() {
        in_pool(2, || {
            // One of two tasks is done at once; its thread looks out, though perhaps not in time, and is found by the other's.
            let helped = || {
                let threads = Mutex::new(std::collections::HashSet::new());
                each(2, |part| {
                    for _ in 0..if part == 0 { 0 } else { 100 } {
                        each(2, |_| {
                            threads.lock().unwrap().insert(current().id());
                            std::thread::sleep(Duration::from_micros(50));
                        });
                    }
                });
                threads.into_inner().unwrap().len() == 2
            };
            assert!((0..100).any(|_| helped()));
        });
    }

    #[test]
    fn a_panic_arrives_after_the_other_tasks_are_done() {
        in_pool(2, || {
            let done = AtomicUsize::new(0);
            let task = |i: usize| {
                if i == 3 {
                    panic!("three")
                } else {
                    done.fetch_add(1, Ordering::Relaxed);
                }
            };
            let panic = catch_unwind(AssertUnwindSafe(|| each(100, task))).unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"three"));
            // Those that were taken together with it are left out.
            assert!((80..100).contains(&done.into_inner()));
            each(2, |_| ()); // and others follow
        });
    }
}
