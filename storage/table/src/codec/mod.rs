//! Row codecs: the bytes of a Kafka value straight into column builders, and arrays straight back into bytes.

pub mod json;
