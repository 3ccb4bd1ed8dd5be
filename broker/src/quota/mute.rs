//! Until when a connection is not read from (KIP-219): its client was told so in an answer, and may not obey.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::Throttle;

/// One connection's silence. Times are milliseconds of one monotonic clock.
#[derive(Debug, Default)]
pub struct Mute {
    until_ms: AtomicU64,
}

impl Mute {
    /// Nothing more is read for so long; a longer silence stays.
    pub fn extend(&self, now_ms: u64, throttle: Throttle) {
        if throttle.0 > 0 {
            self.until_ms.fetch_max(now_ms.saturating_add(throttle.0), Ordering::AcqRel);
        }
    }

    /// How much of the silence is left.
    #[must_use]
    pub fn left(&self, now_ms: u64) -> Duration {
        Duration::from_millis(self.until_ms.load(Ordering::Acquire).saturating_sub(now_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_silence_holds() {
        let mute = Mute::default();
        assert_eq!(mute.left(5), Duration::ZERO);
        mute.extend(100, Throttle(50));
        mute.extend(110, Throttle(10));
        assert_eq!(mute.left(120), Duration::from_millis(30));
        assert_eq!(mute.left(150), Duration::ZERO);
    }
}
