//! Typed topics: schemas, DDL, and row codecs between Kafka values and Arrow columns.
