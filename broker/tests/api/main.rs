//! Wire-level tests of every API: a broker in this process, a real socket, requests in every version that is served.
#![allow(clippy::unwrap_used, clippy::expect_used)] // a test: Clippy sees #[test] functions only

mod admin;
mod authentication;
mod authorization;
mod authorization_requests;
mod authorization_tokens;
mod authorization_web;
mod broker_configs;
mod clustered;
mod column_acls;
mod column_client;
mod columnar;
mod columnar_produce;
mod connection_limits;
mod groups;
mod harness;
mod history;
mod lake;
mod produce_fetch;
mod quotas;
mod sessions;
mod shares;
mod slow_readers;
mod stop;
mod sweep;
mod transactions;
mod typed;
mod views;
