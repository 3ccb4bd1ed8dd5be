//! A rate over sliding samples, Kafka's: so many samples of a second each, and the current one.

/// How long one sample counts, in milliseconds (`quota.window.size.seconds`).
pub const SAMPLE_MS: u64 = 1_000;

/// Samples that are kept (`quota.window.num`).
pub const SAMPLES: usize = 11;

/// Longest silence that is asked for: a mistaken quota holds nobody for ever.
const THROTTLE_MAX_MS: u64 = 3_600_000;

/// What was counted in the last seconds.
#[derive(Debug, Clone, Default)]
pub struct RateWindow {
    /// Start and sum of samples, oldest first; a sample begins when something is counted.
    samples: std::collections::VecDeque<(u64, f64)>,
}

impl RateWindow {
    /// Counts `amount` at `now_ms`, and tells how long to be silent, in milliseconds, so that the rate comes down to `limit`
    /// in a second. 0 = it is within.
    pub fn record(&mut self, now_ms: u64, amount: f64, limit: f64) -> u64 {
        self.forget(now_ms);
        match self.samples.back_mut() {
            Some((start, sum)) if now_ms < *start + SAMPLE_MS => *sum += amount,
            _ => self.samples.push_back((now_ms, amount)),
        }
        let window_ms = self.window_ms(now_ms) as f64;
        let rate = self.samples.iter().map(|(_, sum)| sum).sum::<f64>() / window_ms * 1000.0;
        if rate <= limit {
            return 0;
        }
        // With nothing counted for so long more, the same sum over the longer window is the limit.
        let silence = (rate - limit) / limit * window_ms;
        (silence.ceil() as u64).min(THROTTLE_MAX_MS)
    }

    /// Takes back what was counted last, because it did not come to be.
    pub fn take_back(&mut self, amount: f64) {
        if let Some((_, sum)) = self.samples.back_mut() {
            *sum -= amount;
        }
    }

    /// Whether nothing that still counts was counted.
    pub fn is_idle(&mut self, now_ms: u64) -> bool {
        self.forget(now_ms);
        self.samples.is_empty()
    }

    fn forget(&mut self, now_ms: u64) {
        let kept = SAMPLE_MS * SAMPLES as u64;
        while self.samples.front().is_some_and(|(start, _)| start + kept <= now_ms) {
            self.samples.pop_front();
        }
    }

    /// From the oldest sample to now, and at least all samples but the current one: a burst after silence is spread over them.
    fn window_ms(&self, now_ms: u64) -> u64 {
        let oldest = self.samples.front().map_or(now_ms, |(start, _)| *start);
        now_ms.saturating_sub(oldest).max(SAMPLE_MS * (SAMPLES as u64 - 1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn burst_within_the_window_is_free_and_more_is_not() {
        let mut window = RateWindow::default();
        assert_eq!(window.record(5_000, 1_000.0, 100.0), 0, "ten seconds' worth");
        let silence = window.record(5_000, 100.0, 100.0);
        assert_eq!(silence, 1_000, "a second's worth too much");
        assert_eq!(window.record(16_001, 1_000.0, 100.0), 0, "forgotten by then");
    }

    #[test]
    fn silence_is_forgotten_and_memory_with_it() {
        let mut window = RateWindow::default();
        window.record(0, 1e12, 1.0);
        assert!(!window.is_idle(10_999));
        assert!(window.is_idle(11_000));
        assert_eq!(window.record(0, 1e12, 1.0), THROTTLE_MAX_MS);
    }

    proptest! {
        /// Whoever is silent for as long as it is told sends no faster than the limit in the long run. The model is the plain
        /// sum. Seen failing with half of the silence.
        #[test]
        fn who_obeys_stays_within_the_limit(
            amounts in prop::collection::vec((1u32..5_000, 0u64..300), 200..400),
            limit in 500u32..5_000,
        ) {
            let (mut window, mut now, mut sum) = (RateWindow::default(), 1_000_000u64, 0.0);
            let start = now;
            for (amount, pause) in amounts {
                sum += f64::from(amount);
                now += window.record(now, f64::from(amount), f64::from(limit)) + pause;
            }
            // A first burst is free up to the window, and the last amount is not paid for yet. As in Kafka a sample leaves whole,
            // a second's worth at once, so the rate is kept to about a fifth.
            let elapsed = (now - start) as f64 / 1000.0 + (SAMPLES as f64) + 1.0;
            prop_assert!(sum <= f64::from(limit) * elapsed * 1.25 + 5_000.0, "{sum} in {elapsed} s at {limit}");
        }
    }
}
