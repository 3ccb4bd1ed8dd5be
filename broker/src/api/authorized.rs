//! The "authorized operations" bit fields of KIP-430: bit N stands for Kafka's ACL operation N.
//!
//! Without an authoriser everybody may do everything that exists for a resource, which is what Kafka answers then.

const READ: i32 = 1 << 3;
const WRITE: i32 = 1 << 4;
const CREATE: i32 = 1 << 5;
const DELETE: i32 = 1 << 6;
const ALTER: i32 = 1 << 7;
const DESCRIBE: i32 = 1 << 8;
const CLUSTER_ACTION: i32 = 1 << 9;
const DESCRIBE_CONFIGS: i32 = 1 << 10;
const ALTER_CONFIGS: i32 = 1 << 11;
const IDEMPOTENT_WRITE: i32 = 1 << 12;

/// The client did not ask.
pub const NOT_ASKED: i32 = i32::MIN;

pub const TOPIC: i32 = READ | WRITE | CREATE | DELETE | ALTER | DESCRIBE | DESCRIBE_CONFIGS | ALTER_CONFIGS;

pub const GROUP: i32 = READ | DELETE | DESCRIBE | DESCRIBE_CONFIGS | ALTER_CONFIGS;

pub const CLUSTER: i32 =
    CREATE | ALTER | DESCRIBE | CLUSTER_ACTION | DESCRIBE_CONFIGS | ALTER_CONFIGS | IDEMPOTENT_WRITE;

/// `operations` if the client asked for them.
pub fn if_asked(asked: bool, operations: i32) -> i32 {
    if asked { operations } else { NOT_ASKED }
}

#[cfg(test)]
mod tests {
    /// The numbers that Apache Kafka 4.1 answers without an authoriser.
    #[test]
    fn bit_fields_are_kafkas() {
        assert_eq!((super::TOPIC, super::GROUP, super::CLUSTER), (3576, 3400, 8096));
    }
}
