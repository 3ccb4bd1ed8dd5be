//! Growing pauses between attempts, spread so that many clients do not come back at the same instant.

use std::time::Duration;

use rand::Rng;

/// Doubles from `first` to `longest`; each pause is cut by up to a fifth at random.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// No failure yet.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// Counts a failure and says how long to wait before the next attempt.
    pub fn next_pause(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(self.failures.min(20)).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        doubled.min(self.longest).mul_f64(rand::rng().random_range(0.8..=1.0))
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        let pauses: Vec<_> = (0..40).map(|_| backoff.next_pause().as_millis()).collect();
        assert!((80..=100).contains(&pauses[0]), "{pauses:?}");
        assert!((160..=200).contains(&pauses[1]), "{pauses:?}");
        assert!(pauses[5..].iter().all(|pause| (800..=1000).contains(pause)), "{pauses:?}");
        backoff.reset();
        assert!(backoff.next_pause().as_millis() <= 100);
    }
}
