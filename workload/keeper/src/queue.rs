//! Requests between the thread that takes them and those that answer: as many as there is room for.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Requests that wait, at most. The front has fewer under way; one that was taken over has to wait
/// then, with its next bytes in the socket.
const ROOM: usize = 256;

#[derive(Debug)]
struct State<T> {
    waiting: VecDeque<T>,
    /// Threads that answer one now.
    busy: usize,
}

/// A queue with room for so many.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    state: Mutex<State<T>>,
    came: Condvar,
    went: Condvar,
}

impl<T> Queue<T> {
    pub(crate) const fn new() -> Self {
        let state = State { waiting: VecDeque::new(), busy: 0 };
        Self { state: Mutex::new(state), came: Condvar::new(), went: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one, as soon as there is room.
    pub(crate) fn put(&self, one: T) {
        let mut state = self.lock();
        while state.waiting.len() >= ROOM {
            state = self.went.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.push_back(one);
        drop(state);
        self.came.notify_one();
    }

    /// Waits for one and answers it, again and again. Never returns: a thread that ends makes
    /// system calls that a locked process may not.
    pub(crate) fn serve(&self, mut answer: impl FnMut(T)) -> ! {
        let mut state = self.lock();
        loop {
            state = match state.waiting.pop_front() {
                None => self.came.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(one) => {
                    state.busy += 1;
                    drop(state);
                    self.went.notify_all();
                    answer(one);
                    let mut state = self.lock();
                    state.busy -= 1;
                    self.went.notify_all();
                    state
                }
            };
        }
    }

    /// Waits until all that came is answered.
    pub(crate) fn wait_until_done(&self) {
        let mut state = self.lock();
        while state.busy > 0 || !state.waiting.is_empty() {
            state = self.went.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Queue, ROOM};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Protects requests from being left when a broker ends, and memory from who asks faster than
    /// is answered.
    #[test]
    fn all_that_came_is_answered_and_no_more_wait_than_there_is_room_for() {
        let queue = Arc::new(Queue::new());
        let (answered, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..3 {
            let (queue, answered) = (queue.clone(), answered.clone());
            std::thread::spawn(move || {
                queue.serve(|_: usize| {
                    std::thread::yield_now();
                    answered.fetch_add(1, Ordering::SeqCst);
                })
            });
        }
        for one in 0..ROOM * 10 {
            queue.put(one);
            let waiting = queue.lock().waiting.len();
            most.fetch_max(waiting, Ordering::SeqCst);
        }
        queue.wait_until_done();
        assert_eq!(answered.load(Ordering::SeqCst), ROOM * 10);
        assert!(most.load(Ordering::SeqCst) <= ROOM);
    }
}
