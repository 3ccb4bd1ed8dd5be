//! Newtypes for the numbers that Kafka passes around, so that an offset is never taken for an epoch.
//!
//! All of them are transparent and `Copy`; the inner field is public because codecs need it. Wire sentinels (-1 for
//! "none") are turned into `Option` where a message is decoded; these types do not interpret them.

use std::fmt;
use std::ops::{Add, Sub};

use uuid::Uuid;

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }
    };
}

newtype! {
    /// Position of a record in a partition's log.
    Offset(i64)
}
newtype! {
    /// Epoch of a partition's leader; in a single broker it counts the broker's incarnations.
    LeaderEpoch(i32)
}
newtype! {
    /// Index of a partition within its topic.
    PartitionId(i32)
}
newtype! {
    /// Stable identity of a topic; a topic that is deleted and created again gets a new one.
    TopicId(Uuid)
}
newtype! {
    /// Identity of an idempotent or transactional producer.
    ProducerId(i64)
}
newtype! {
    /// Epoch of a producer id; a higher one fences the lower.
    ProducerEpoch(i16)
}
newtype! {
    /// Milliseconds since the Unix epoch.
    Timestamp(i64)
}
newtype! {
    /// Generation of a consumer group: counts its completed rebalances.
    Generation(i32)
}

impl Offset {
    /// The first offset of a log.
    pub const ZERO: Offset = Offset(0);

    /// The offset that follows this one.
    #[must_use]
    pub fn next(self) -> Offset {
        self + 1
    }
}

/// Saturates: an offset that came from the network must not be able to overflow.
impl Add<i64> for Offset {
    type Output = Offset;

    fn add(self, records: i64) -> Offset {
        Offset(self.0.saturating_add(records))
    }
}

/// Number of offsets between two positions; saturates like the addition does.
impl Sub<Offset> for Offset {
    type Output = i64;

    fn sub(self, earlier: Offset) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl TopicId {
    /// The all-zero id that stands for "no id" on the wire.
    pub const ZERO: TopicId = TopicId(Uuid::nil());

    /// Whether this is the "no id" value of the wire.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self.0.is_nil()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offset_arithmetic_saturates_at_the_ends() {
        assert_eq!(Offset(4).next(), Offset(5));
        assert_eq!(Offset(i64::MAX).next(), Offset(i64::MAX));
        assert_eq!(Offset(9) - Offset(4), 5);
        assert_eq!(Offset(i64::MIN) - Offset(1), i64::MIN);
        assert_eq!(format!("{} {:?}", Offset(3), LeaderEpoch(2)), "3 LeaderEpoch(2)");
    }
}
