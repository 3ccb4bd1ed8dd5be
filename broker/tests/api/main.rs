//! Wire-level tests of every API: a broker in this process, a real socket, requests in every version that is served.
mod admin;
mod groups;
mod harness;
mod produce_fetch;
mod sessions;
mod sweep;
