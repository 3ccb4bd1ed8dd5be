//! Embedded Schema Registry with the REST interface of Confluent.
