//! What tests of several modules need: a topic in memory, and stores that fail.
pub mod lake;
pub mod log;
pub mod rest;
