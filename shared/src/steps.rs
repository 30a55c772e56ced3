//! Steps: how much bytes from outside make the gateway do, counted where a loop could get out of hand (B1).
//!
//! Time cannot be asserted in a test and hides what grows with the square until the input is large; a count shows it on a
//! kilobyte. Tests and the fuzzer count; elsewhere [`count`] is nothing at all.

/// Counts steps: items looked at, names compared, bytes searched.
#[inline]
#[cfg_attr(not(any(test, feature = "steps")), expect(unused_variables, reason = "nobody counts"))]
pub(crate) fn count(steps: usize) {
    #[cfg(any(test, feature = "steps"))]
    counted::count(steps as u64);
}

#[cfg(any(test, feature = "steps"))]
pub use counted::of;

#[cfg(any(test, feature = "steps"))]
mod counted {
    use std::cell::Cell;

    thread_local! {
        static TAKEN: Cell<u64> = const { Cell::new(0) };
        static MAX: Cell<u64> = const { Cell::new(u64::MAX) };
    }

    pub(super) fn count(steps: u64) {
        let taken = TAKEN.get().saturating_add(steps);
        TAKEN.set(taken);
        assert!(taken <= MAX.get(), "more than {} steps", MAX.get());
    }

    /// Does `work` and says how many steps it took on this thread.
    ///
    /// # Panics
    /// At the first step after `most`, so that work without an end shows too.
    pub fn of<T>(max: u64, work: impl FnOnce() -> T) -> (T, u64) {
        TAKEN.set(0);
        MAX.set(max);
        let done = work();
        MAX.set(u64::MAX);
        (done, TAKEN.get())
    }
}
